//! The pieces the board is made of: totals of a listener, the account of a worker, the state of a pool. Plain values
//! without locks; the board owns the locks. Invariant: each account conserves on its own (I6), whoever comes and goes.

use crate::proxy::link::{SettleResult, Settlement, Status};
use crate::proxy::session::Close;
use crate::proxy::tally::{Judged, Reject, Settled, Weighted};
use crate::work::hashrate::Hashrate;
use std::time::{Duration, Instant};

/// Why a connection was refused before it became a session. A closed set, the label of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum RefusedConnection {
    /// As many miners as `limits.connections` allows are connected.
    Cap,
    /// More new connections per second than `limits.accepts` allows.
    Rate,
    /// The TLS handshake failed.
    Tls,
    /// As many from one address as `limits.per_address` allows.
    PerAddress,
    /// The Noise handshake failed, or there is no authority key to do one with.
    Noise,
}

impl RefusedConnection {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 5] = [
        Self::Cap,
        Self::Rate,
        Self::Tls,
        Self::PerAddress,
        Self::Noise,
    ];
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cap => "cap",
            Self::Rate => "rate",
            Self::Tls => "tls",
            Self::PerAddress => "per_address",
            Self::Noise => "noise",
        }
    }
}

/// What a listener has seen since the start; outlives its sessions.
#[derive(Debug)]
pub struct ListenerTotals {
    /// Shares by verdict.
    pub judged: Judged,
    /// Accepted work over time.
    pub rate: Hashrate,
    /// Connected now.
    pub connections: u64,
    /// Ended, by `Close as usize`.
    pub closed: [u64; Close::ALL.len()],
}

impl ListenerTotals {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> Self {
        Self {
            judged: Judged::default(),
            rate: Hashrate::new(now),
            connections: 0,
            closed: [0; Close::ALL.len()],
        }
    }
}

/// What one worker name has done since the start, over all its connections, and what pools said to it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Shares by our verdict.
    pub judged: Judged,
    /// Accepted work over time.
    pub rate: Hashrate,
    /// Accepted by a pool.
    pub pool_accepted: Weighted,
    /// Rejected by a pool.
    pub pool_rejected: Weighted,
}

impl Worker {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> Self {
        Self {
            judged: Judged::default(),
            rate: Hashrate::new(now),
            pool_accepted: Weighted::default(),
            pool_rejected: Weighted::default(),
        }
    }

    /// Counts what a pool said about one of its shares; silence counts on the link alone.
    pub fn settle(&mut self, settlement: &Settlement) {
        match settlement.result {
            SettleResult::Accepted => self.pool_accepted.add(settlement.hashes),
            SettleResult::Rejected(_) => self.pool_rejected.add(settlement.hashes),
            SettleResult::Unknown | SettleResult::Dropped(_) => {}
        }
    }
}

/// What one connection did: only what the API shows of a miner (the whole [`Judged`] is kept per worker and listener).
#[derive(Debug)]
pub struct Activity {
    /// Accepted by our verdict.
    pub accepted: u64,
    /// Refused, by `Reject as usize`.
    pub rejected: [u64; Reject::ALL.len()],
    /// Accepted work over time.
    pub rate: Hashrate,
    /// When an observation last brought a share.
    pub last_share: Instant,
}

impl Activity {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> Self {
        Self {
            accepted: 0,
            rejected: [0; Reject::ALL.len()],
            rate: Hashrate::new(now),
            last_share: now,
        }
    }

    /// Adds what was judged since the last observation.
    pub fn add(&mut self, judged: &Judged, now: Instant) {
        self.accepted += judged.accepted.shares;
        if !judged.rejected.is_zero() {
            for (to, from) in self.rejected.iter_mut().zip(judged.rejected.iter()) {
                *to += from.shares;
            }
        }
        self.rate.add(now, judged.accepted.hashes);
        if judged.received.shares > 0 {
            self.last_share = now;
        }
    }
}

/// What is known of a pool.
#[derive(Debug)]
pub struct PoolState {
    /// As its link last said; `None` before it did.
    pub status: Option<Status>,
    /// When it went up or down last.
    pub changed: Instant,
    /// The last job (refreshes count: they too are fresh work for miners).
    pub last_issue: Option<Instant>,
    /// Its ledger.
    pub settled: Settled,
    /// Our verdict against the pool's (I7).
    pub divergence: Divergence,
    /// Why it is down, or what it last said, in words.
    pub note: Option<String>,
}

impl PoolState {
    /// Nothing known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            status: None,
            changed: now,
            last_issue: None,
            settled: Settled::default(),
            divergence: Divergence::new(now),
            note: None,
        }
    }

    /// Whether miners can mine here.
    pub fn is_up(&self) -> bool {
        self.status.as_ref().is_some_and(|s| s.up && !s.excluded)
    }
}

/// I7: what we accepted and the pool rejected, over the last 2.5 to 5 minutes, in hashes.
///
/// Two buckets of half the window: the older is forgotten whole, which costs precision in time and nothing else.
#[derive(Debug)]
pub struct Divergence {
    current: Bucket,
    previous: Bucket,
    rotated: Instant,
}

#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    answered: Weighted,
    rejected: Weighted,
}

impl Divergence {
    /// Half of the 5 minutes of I7.
    pub const HALF: Duration = Duration::from_secs(150);
    /// More than this part of the work rejected is an alarm (I7).
    pub const ALARM: f64 = 0.01;
    /// Fewer answers say nothing about a percent: below 100, a single stale share would already be an alarm.
    pub const MIN_ANSWERS: u64 = 100;

    /// Nothing seen yet.
    pub fn new(now: Instant) -> Self {
        Self {
            current: Bucket::default(),
            previous: Bucket::default(),
            rotated: now,
        }
    }

    /// Counts one end of a share; what the pool never answered says nothing about its verdict.
    pub fn add(&mut self, settlement: &Settlement, now: Instant) {
        let rejected = match settlement.result {
            SettleResult::Accepted => false,
            SettleResult::Rejected(_) => true,
            SettleResult::Unknown | SettleResult::Dropped(_) => return,
        };
        self.rotate(now);
        self.current.answered.add(settlement.hashes);
        if rejected {
            self.current.rejected.add(settlement.hashes);
        }
    }

    /// The rejected part of the work, if it is an alarm: 0.02 means 2 %.
    pub fn alarm(&mut self, now: Instant) -> Option<f64> {
        self.rotate(now);
        let mut answered = self.current.answered;
        answered.merge(self.previous.answered);
        let mut rejected = self.current.rejected;
        rejected.merge(self.previous.rejected);
        if answered.shares < Self::MIN_ANSWERS || answered.hashes == 0 {
            return None;
        }
        let part = rejected.hashes as f64 / answered.hashes as f64;
        (part > Self::ALARM).then_some(part)
    }

    fn rotate(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.rotated);
        if age < Self::HALF {
            return;
        }
        let current = std::mem::take(&mut self.current);
        self.previous = if age < 2 * Self::HALF {
            current
        } else {
            Bucket::default()
        };
        self.rotated = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stratum::v1::up::RefusalKind;

    #[test]
    fn one_percent_rejected_is_no_alarm_and_a_little_more_is_one() {
        let now = Instant::now();
        let mut divergence = Divergence::new(now);
        settle(&mut divergence, 198, 2, now);
        assert_eq!(divergence.alarm(now), None);
        settle(&mut divergence, 0, 1, now);
        assert!(divergence.alarm(now).is_some_and(|part| part > 0.01));
    }

    #[test]
    fn too_few_answers_are_no_alarm_and_just_enough_are_one() {
        let now = Instant::now();
        let mut divergence = Divergence::new(now);
        settle(&mut divergence, 49, 50, now);
        assert_eq!(divergence.alarm(now), None);
        settle(&mut divergence, 0, 1, now);
        assert!(divergence.alarm(now).is_some());
    }

    #[test]
    fn an_alarm_is_over_when_its_window_is() {
        let now = Instant::now();
        let mut divergence = Divergence::new(now);
        settle(&mut divergence, 100, 100, now);
        assert!(divergence.alarm(now + Divergence::HALF).is_some());
        assert_eq!(divergence.alarm(now + 2 * Divergence::HALF), None);
        settle(&mut divergence, 100, 100, now + 2 * Divergence::HALF);
        assert_eq!(divergence.alarm(now + 5 * Divergence::HALF), None);
    }

    #[test]
    fn close_reasons_index_by_their_discriminant() {
        for (at, reason) in Close::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
        for (at, reason) in RefusedConnection::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }

    fn settle(divergence: &mut Divergence, accepted: usize, rejected: usize, now: Instant) {
        let results = std::iter::repeat_n(SettleResult::Accepted, accepted).chain(
            std::iter::repeat_n(SettleResult::Rejected(RefusalKind::Other), rejected),
        );
        for result in results {
            let settlement = Settlement {
                worker: "w".into(),
                hashes: 1 << 32,
                result,
                latency: None,
                block: false,
            };
            divergence.add(&settlement, now);
        }
    }
}
