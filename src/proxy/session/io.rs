//! What goes into a session and comes out of it: plain values, no behaviour.

use crate::proxy::lease::{Issue, Lease, ListenerId, ResumeToken, Seat, SessionId, Submission};
use crate::proxy::tally::{Drop as Dropped, Judged};
use crate::work::{Difficulty, Lane, LinkId, Proof, Share, Work, vardiff};
use std::sync::Arc;
use std::time::Instant;

/// What a listener decides for its sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which listener.
    pub listener: ListenerId,
    /// Difficulty.
    pub vardiff: vardiff::Config,
    /// Password a worker must give; `None`: everyone may mine.
    pub password: Option<String>,
    /// Submits per second and burst (the bucket); empty means that reading stops.
    pub submits: Bucket,
    /// Other messages per second and burst.
    pub others: Bucket,
    /// Version bits that policy lets any miner roll (BIP 310).
    pub version_mask: u32,
    /// Stratum V2 channels on one connection.
    pub channels: usize,
    /// Shares are read the short way where that is certain.
    pub fast_lines: bool,
    /// Wall-clock at a monotonic instant, so that ntime can be judged without a clock.
    pub wall: WallAnchor,
}

/// Rate and burst of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Tokens per second.
    pub per_second: f64,
    /// Most tokens.
    pub burst: f64,
}

/// Ties the wall clock to the monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct WallAnchor {
    /// The monotonic side.
    pub at: Instant,
    /// Unix seconds then.
    pub unix_s: u64,
}

impl WallAnchor {
    /// Unix seconds at a later monotonic instant.
    pub fn unix_at(&self, now: Instant) -> u64 {
        self.unix_s + now.saturating_duration_since(self.at).as_secs()
    }
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// One line without its terminator.
    Line(&'a [u8]),
    /// A line was longer than the cap.
    Overlong,
    /// The router's answer to [`Output::Attach`].
    Seated(Box<Seat>, Lease),
    /// The router has no seat.
    NoSeat(NoSeat),
    /// The lease changed (after being seated).
    Lease(Lease),
    /// The miner is told to give way (or no longer is): its vardiff is frozen, and shares are to come more often.
    Watched(bool),
    /// The latest work of the leased link.
    Issue(&'a Arc<Issue>),
    /// The answer to [`Output::Judge`], in the order asked.
    Judged(&'a JudgeRequest, &'a Proof),
    /// What became of an [`Output::Submit`]; the weight is that of the pool's difficulty.
    Submitted(&'a Arc<str>, Result<(), Dropped>, u128),
    /// The process drains: answer what was read, then close.
    Drain,
    /// The router ends this session.
    Close(Close),
    /// What was to be sent could not be for 30 s.
    SlowReader,
}

/// Why there is no seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSeat {
    /// All lanes are taken or at rest.
    Full,
    /// It wants to roll more than a lane can be: no byte would be left that is ours.
    TooWide,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Output {
    /// Bytes for the miner, coalesced.
    Send(Vec<u8>),
    /// Judge a share (`work::share::prove`), answer with [`Input::Judged`] in this order.
    Judge(JudgeRequest),
    /// Hand a share to the link its work came from.
    Submit(Box<Submission>),
    /// Ask the router for a seat.
    Attach(Attach),
    /// Work of this link that the lane has not seen yet is wanted.
    Refresh(LinkId),
    /// At most once a second, and at the end: what was judged since the last one.
    Observe(Box<Observation>),
    /// Something worth showing.
    Event(Event),
    /// End the connection, after what was to be sent.
    Close(Close),
}

/// A share to be judged.
#[derive(Clone, Debug)]
pub struct JudgeRequest {
    /// What it was found on.
    pub work: Arc<Work>,
    /// The lane.
    pub lane: Lane,
    /// The share.
    pub share: Share,
    /// The merkle root, where nothing of the coinbase is rolled and it was computed when the job was told (V2 standard
    /// channels): then the header alone is to be hashed.
    pub root: Option<[u8; 32]>,
}

/// A wish for a seat.
#[derive(Clone, Debug)]
pub struct Attach {
    /// Resume this one if it can be.
    pub resume: Option<ResumeToken>,
    /// Version bits the miner can roll and the least it wants.
    pub version_mask: u32,
    /// `min-bit-count`.
    pub min_bits: u32,
    /// Bytes of extranonce that the miner wants to roll itself; 0: what the layout gives will do.
    pub extranonce: u8,
}

/// What one session did since its last observation, for one worker and one link.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The session.
    pub session: SessionId,
    /// Whose shares these were (sanitised).
    pub worker: Arc<str>,
    /// For whom the accepted shares were mined; `None`: there are none.
    pub link: Option<LinkId>,
    /// The counts.
    pub judged: Judged,
    /// Difficulty advertised now.
    pub difficulty: Difficulty,
}

/// Changes of state that logs and the board show.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Subscribed, with its sanitised user agent.
    Subscribed {
        /// User agent.
        agent: Arc<str>,
        /// The lane.
        lane: Lane,
        /// It came back to its lane.
        resumed: bool,
    },
    /// A worker was authorized.
    Authorized(Arc<str>),
    /// A worker was refused (password).
    Refused(Arc<str>),
    /// Version rolling changed.
    VersionMask(u32),
    /// The router must know that the miner's own mask changed after it was seated.
    Capability {
        /// Bits the miner can roll.
        version_mask: u32,
        /// `min-bit-count`.
        min_bits: u32,
    },
    /// A block candidate, whole: header, coinbase, branch as hex.
    Block(Box<BlockCandidate>),
}

/// All that is needed to build a block again.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockCandidate {
    /// Whose work.
    pub link: LinkId,
    /// The pool's job.
    pub pool_job: Box<str>,
    /// Found by.
    pub worker: Arc<str>,
    /// Block hash, display order.
    pub hash: String,
    /// 80 bytes.
    pub header: String,
    /// The coinbase without witness.
    pub coinbase: String,
    /// Merkle branch.
    pub branch: Vec<String>,
}

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Close {
    /// Nothing came for 10 s.
    FirstByte,
    /// No subscribe for 15 s.
    SubscribeDeadline,
    /// No authorize for 30 s.
    AuthorizeDeadline,
    /// A line above the cap.
    Overlong,
    /// Not Stratum.
    Malformed,
    /// Too much nonsense in a row.
    Misbehaved,
    /// No lane to give.
    NoSeat,
    /// Another connection resumed this session.
    Resumed,
    /// The miner does not read.
    SlowReader,
    /// The layout shrank.
    LayoutChanged,
    /// We are going.
    Draining,
    /// Its work is withdrawn, to save power.
    Withdrawn,
    /// The miner ended it.
    Peer,
}

impl Close {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::FirstByte,
        Self::SubscribeDeadline,
        Self::AuthorizeDeadline,
        Self::Overlong,
        Self::Malformed,
        Self::Misbehaved,
        Self::NoSeat,
        Self::Resumed,
        Self::SlowReader,
        Self::LayoutChanged,
        Self::Draining,
        Self::Withdrawn,
        Self::Peer,
    ];
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::FirstByte => "first_byte_deadline",
            Self::SubscribeDeadline => "subscribe_deadline",
            Self::AuthorizeDeadline => "authorize_deadline",
            Self::Overlong => "overlong_line",
            Self::Malformed => "malformed",
            Self::Misbehaved => "misbehaved",
            Self::NoSeat => "no_seat",
            Self::Resumed => "resumed",
            Self::SlowReader => "slow_reader",
            Self::LayoutChanged => "layout_changed",
            Self::Draining => "draining",
            Self::Withdrawn => "withdrawn",
            Self::Peer => "peer",
        }
    }
}
