//! What is counted: closed sets of reasons, integer weights, sums that conserve (I6).

/// Why a miner's share was refused. Every refusal moves exactly one of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Reject {
    /// Parameters missing, of the wrong type, bad hex.
    InvalidParams,
    /// extranonce2 of the wrong length.
    Extranonce2Length,
    /// Version bits outside the mask.
    VersionBits,
    /// ntime out of range.
    Ntime,
    /// Limits: duplicate window full.
    Overloaded,
    /// A job we do not know (any more).
    JobNotFound,
    /// A job that a clean one has replaced.
    Stale,
    /// The same hash again.
    Duplicate,
    /// Above the target it was issued under.
    LowDifficulty,
    /// A worker that was not authorized on this connection.
    UnauthorizedWorker,
    /// Before subscribe.
    NotSubscribed,
}

impl Reject {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::InvalidParams,
        Self::Extranonce2Length,
        Self::VersionBits,
        Self::Ntime,
        Self::Overloaded,
        Self::JobNotFound,
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::UnauthorizedWorker,
        Self::NotSubscribed,
    ];

    /// The V1 error code (STRATUM.md section 1).
    pub const fn code(self) -> i32 {
        match self {
            Self::InvalidParams
            | Self::Extranonce2Length
            | Self::VersionBits
            | Self::Ntime
            | Self::Overloaded => 20,
            Self::JobNotFound | Self::Stale => 21,
            Self::Duplicate => 22,
            Self::LowDifficulty => 23,
            Self::UnauthorizedWorker => 24,
            Self::NotSubscribed => 25,
        }
    }

    /// What the miner reads.
    pub const fn text(self) -> &'static str {
        match self {
            Self::InvalidParams => "Invalid parameters",
            Self::Extranonce2Length => "Invalid extranonce2 length",
            Self::VersionBits => "Invalid version bits",
            Self::Ntime => "ntime out of range",
            Self::Overloaded => "Overloaded, try again later",
            Self::JobNotFound => "Job not found",
            Self::Stale => "Stale share",
            Self::Duplicate => "Duplicate share",
            Self::LowDifficulty => "Low difficulty share",
            Self::UnauthorizedWorker => "Unauthorized worker",
            Self::NotSubscribed => "Not subscribed",
        }
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InvalidParams => "invalid_params",
            Self::Extranonce2Length => "extranonce2_length",
            Self::VersionBits => "version_bits",
            Self::Ntime => "ntime",
            Self::Overloaded => "overloaded",
            Self::JobNotFound => "job_not_found",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::UnauthorizedWorker => "unauthorized_worker",
            Self::NotSubscribed => "not_subscribed",
        }
    }
}

/// Why an accepted share that meets the pool's target did not reach the pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Drop {
    /// The link's queue stayed full for the bounded wait.
    LinkFull,
    /// The link is down, or the connection its work came from is gone.
    LinkLost,
    /// The pool has moved on to another block or extranonce before it could be written.
    Stale,
}

impl Drop {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LinkFull, Self::LinkLost, Self::Stale];
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LinkFull => "link_full",
            Self::LinkLost => "link_lost",
            Self::Stale => "stale",
        }
    }
}

/// Shares with their weight: a count and the hashes they prove on average (difficulty * 2^32, integer).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Weighted {
    /// How many.
    pub shares: u64,
    /// Expected hashes.
    pub hashes: u128,
}

impl Weighted {
    /// Adds one share.
    pub fn add(&mut self, hashes: u128) {
        self.shares += 1;
        self.hashes += hashes;
    }
    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        self.shares += other.shares;
        self.hashes += other.hashes;
    }
}

/// Sums that are mostly zero: no room taken until the first is not. An honest second has none of them.
#[derive(Clone, Default, Debug)]
pub struct Rare<const N: usize>(Option<Box<[Weighted; N]>>);

impl<const N: usize> Rare<N> {
    /// Nothing was ever counted.
    pub const fn is_zero(&self) -> bool {
        self.0.is_none()
    }

    fn merge(&mut self, other: &Self) {
        if other.0.is_some() {
            for (to, from) in self.iter_mut().zip(other.iter()) {
                to.merge(*from);
            }
        }
    }
}

impl<const N: usize> std::ops::Deref for Rare<N> {
    type Target = [Weighted; N];
    fn deref(&self) -> &[Weighted; N] {
        match &self.0 {
            Some(sums) => sums,
            None => {
                const {
                    &[Weighted {
                        shares: 0,
                        hashes: 0,
                    }; N]
                }
            }
        }
    }
}

impl<const N: usize> std::ops::DerefMut for Rare<N> {
    fn deref_mut(&mut self) -> &mut [Weighted; N] {
        self.0
            .get_or_insert_with(|| Box::new([Weighted::default(); N]))
    }
}

impl<const N: usize> PartialEq for Rare<N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<const N: usize> Eq for Rare<N> {}

/// The judged side, per session, worker or listener. `received = accepted + sum(rejected)` always.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Judged {
    /// Submits read and answered.
    pub received: Weighted,
    /// Accepted by our verdict.
    pub accepted: Weighted,
    /// Refused, by reason (index: `Reject as usize`). The weight is that of the job's difficulty where the job is known, else 0.
    pub rejected: Rare<{ Reject::ALL.len() }>,
    /// Of the accepted: met the pool's target and were handed to a link. Weight: the pool's difficulty.
    pub forwarded: Weighted,
    /// Met the pool's target and were not handed over (queue full).
    pub dropped: Rare<{ Drop::ALL.len() }>,
    /// Hashes worked for above the pool's difficulty, which the pool does not credit.
    pub under_credit_hashes: u128,
    /// Block candidates.
    pub blocks: u64,
}

impl Judged {
    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.received.merge(other.received);
        self.accepted.merge(other.accepted);
        self.forwarded.merge(other.forwarded);
        self.rejected.merge(&other.rejected);
        self.dropped.merge(&other.dropped);
        self.under_credit_hashes += other.under_credit_hashes;
        self.blocks += other.blocks;
    }

    /// I6, the judged half.
    pub fn conserves(&self) -> bool {
        let mut sum = self.accepted;
        for rejected in self.rejected.iter() {
            sum.merge(*rejected);
        }
        sum == self.received
    }
}

/// The pool's side, per link. `submitted = accepted + rejected + unknown + in_flight` always.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Handed to the writer.
    pub submitted: Weighted,
    /// The pool said yes.
    pub accepted: Weighted,
    /// The pool said no, by `RefusalKind as usize`.
    pub rejected: [Weighted; 6],
    /// The connection ended before the pool answered.
    pub unknown: Weighted,
    /// Written, not answered yet.
    pub in_flight: Weighted,
    /// Never written, by `Drop as usize`.
    pub dropped: [Weighted; Drop::ALL.len()],
}

impl Settled {
    /// I6, the pool's half.
    pub fn conserves(&self) -> bool {
        let mut sum = self.accepted;
        for rejected in self.rejected {
            sum.merge(rejected);
        }
        sum.merge(self.unknown);
        sum.merge(self.in_flight);
        sum == self.submitted
    }
}
