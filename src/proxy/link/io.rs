//! What goes into a link and comes out of it: plain values, no behaviour.

use crate::proxy::lease::{Issue, Submission};
use crate::proxy::tally::Drop as Dropped;
use crate::stratum::v2::frame::Frame;
use crate::work::{Difficulty, Layout, LinkId};
use std::sync::Arc;
use std::time::Duration;

/// A pool's reasons, one closed set for both protocols.
pub use crate::stratum::v1::up::RefusalKind;

/// How names go up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// All shares under one name.
    Account,
    /// Each worker is authorized and submits under its own.
    Worker,
}

/// What a pool speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Stratum V1: lines of JSON.
    V1,
    /// Stratum V2: frames; the driver does the Noise handshake and the cipher.
    V2,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which link.
    pub id: LinkId,
    /// What it speaks.
    pub protocol: Protocol,
    /// Name of the pool in logs and metrics.
    pub name: String,
    /// Host of the URL (for the reconnect rule).
    pub host: String,
    /// Port of the URL (V2 tells the pool what it was reached by).
    pub port: u16,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// User template, may contain `{worker}`.
    pub user: String,
    /// Password sent with every authorize.
    pub password: String,
    /// How names go up.
    pub identity: Identity,
    /// Version bits that policy allows.
    pub version_mask: u32,
    /// Hosts that a reconnect may name (exact, or `*.suffix`). Empty: only the host itself.
    pub reconnect_hosts: Vec<String>,
    /// Wanted shares per second on this link, for `mining.suggest_difficulty`.
    pub shares_per_second: f64,
    /// The least difficulty that any of our listeners gives: below it a V2 pool need not go, nor should it, since nothing
    /// is told to a miner above its link's.
    pub easiest: Difficulty,
    /// Refresh work after this long without a new job.
    pub refresh: Duration,
    /// Seed of the back-off jitter.
    pub seed: u64,
}

/// What happens to a link.
#[derive(Debug)]
pub enum Input<'a> {
    /// A socket is connected (TLS done; on V2 the Noise handshake).
    Connected,
    /// It could not be, for this reason.
    ConnectFailed(&'a str),
    /// One line.
    Line(&'a [u8]),
    /// One frame, in plaintext.
    Frame(Frame<'a>),
    /// A line or a frame above the cap.
    Overlong,
    /// The socket ended (why, for the log).
    Disconnected(&'a str),
    /// The process layout is known (or has changed).
    Layout(Layout),
    /// A share to submit.
    Submit(Box<Submission>),
    /// Somebody needs work its lane has not seen.
    Refresh,
    /// Hashes per second of the miners leased to this link, or that would be at a failover.
    Fleet(f64),
    /// The process drains: no new connections; settle what is in flight.
    Drain,
}

/// What a link wants done.
#[derive(Debug)]
pub enum Output {
    /// Open a socket, to the configured place or (after the pool asked to reconnect) to this host and port (0: the
    /// configured one). On V2 the authority key is the configured one in every case.
    Connect(Option<(String, u16)>),
    /// Bytes for the pool, coalesced; on V2 whole frames in plaintext.
    Send(Vec<u8>),
    /// Close the socket.
    Disconnect,
    /// New work for every miner of the link: publish it.
    Issue(Arc<Issue>),
    /// What the router and the board must know; latest wins.
    Status(Status),
    /// A share got its end.
    Settle(Settlement),
    /// Something worth a log line.
    Event(Event),
}

/// The state of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Logged in, with work.
    pub up: bool,
    /// Size of the pool's extranonce2, once known.
    pub extranonce2_size: Option<u8>,
    /// Version bits granted (0: none), once known.
    pub version_mask: Option<u32>,
    /// The pool's difficulty for the next work.
    pub difficulty: Option<Difficulty>,
    /// More than half of at least 20 shares rejected lately.
    pub suspect: bool,
    /// Gives too little extranonce for the layout.
    pub excluded: bool,
    /// Connections made so far.
    pub epoch: u32,
}

/// The end of one submitted share.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Worker.
    pub worker: Arc<str>,
    /// Weight at the pool's difficulty.
    pub hashes: u128,
    /// What the pool said, or why it was never asked.
    pub result: SettleResult,
    /// Between writing and answer.
    pub latency: Option<Duration>,
    /// It was a block candidate.
    pub block: bool,
}

/// The pool's verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettleResult {
    /// Yes.
    Accepted,
    /// No.
    Rejected(RefusalKind),
    /// The connection ended first.
    Unknown,
    /// Never written.
    Dropped(Dropped),
}

/// Log-worthy.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Logged in and working.
    Up,
    /// Down, and why; next attempt in.
    Down {
        /// Why, in words for a person.
        reason: String,
        /// Next attempt in.
        retry_in: Duration,
    },
    /// The pool refused our login.
    LoginRefused(String),
    /// The pool refused a worker; its shares go under the link's own name.
    WorkerRefused {
        /// Its name.
        worker: String,
        /// The pool's words.
        text: String,
    },
    /// The pool's difficulty changed.
    Difficulty(Difficulty),
    /// A message to show.
    Message(String),
    /// Bad notifies, and why.
    BadNotify(&'static str),
    /// A reconnect to a host that is not allowed.
    ReconnectRefused(String),
    /// Extranonce changed.
    Extranonce,
    /// A new block (clean work).
    NewBlock,
}
