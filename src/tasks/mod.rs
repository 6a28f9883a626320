//! Everything that loops and awaits, one file per kind of task. What it decides is decided by the machines.
//!
//! ```text
//!   shard threads: listen ─> session ──shares (bounded)──> link ─┐  control thread: links and the router
//!                     ^  ^                                       │
//!                     │  └── mail <── herald <── work (watch) <───┘
//!                     └───── mail <── router <── attach, works, status (bounded)
//! ```
//! Invariant: what goes up may wait for a bounded time, what comes down is the latest and never waits; so the
//! waits-for graph has no cycle.

pub mod admin;
pub mod curtail;
pub mod feed;
pub mod judge;
pub mod link;
pub mod listen;
pub mod mail;
pub mod net;
pub mod noise;
pub mod power;
pub mod reconcile;
pub mod roots;
pub mod router;
pub mod session;
pub mod shard;

use crate::proxy::lease::{Issue, Lease, Seat, SessionId, Submission};
use crate::proxy::router as machine;
use crate::proxy::session::{Close, NoSeat};
use crate::telemetry::Board;
use crate::work::{Layout, LinkId};
use mail::Mailbox;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Instant;
use tokio::sync::{Notify, mpsc, watch};

/// Messages to the router that may wait. A login is one, a second of a shard's work is one: at 10,000 logins a second
/// this is most of a second, after which sessions wait for it.
pub const ROUTER_QUEUE: usize = 8192;
/// Block candidates that may wait for one link: a handful a year, so a full queue is a fault of ours.
pub const BLOCK_QUEUE: usize = 64;

/// The newest work of a link and when it was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// What every miner of the link is to be given.
    pub issue: Arc<Issue>,
    /// For the time from the pool's job to the last miner written.
    pub at: Instant,
}

/// The sessions' end of one link.
#[derive(Debug)]
pub struct LinkPort {
    /// Shares for its pool.
    pub shares_tx: mpsc::Sender<Box<Submission>>,
    /// Block candidates: read first.
    pub blocks_tx: mpsc::Sender<Box<Submission>>,
    /// Somebody needs refreshed work.
    pub refresh: Notify,
    /// Its work.
    pub work: watch::Receiver<Option<Published>>,
}

/// What the router tells a link; latest wins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkOrders {
    /// The layout of the process, once known.
    pub layout: Option<Layout>,
    /// Hashes per second to size the pool's difficulty for.
    pub fleet: f64,
}

/// What the router tells a seated session; latest wins.
#[derive(Clone, Copy, Debug)]
pub struct SessionOrders {
    /// Its lease.
    pub lease: Lease,
    /// End it.
    pub close: Option<Close>,
    /// Its machine is told to give way.
    pub watched: bool,
}

/// The router's answer to an attach.
pub type SeatReply = Result<(Box<Seat>, Lease), NoSeat>;

/// A message to the router task.
#[derive(Debug)]
pub enum ToRouter {
    /// A session wants a seat.
    Attach(Box<machine::Input>, SessionId, Arc<Mailbox>),
    /// Anything that needs no answer.
    Input(Box<machine::Input>),
    /// What the sessions of a shard proved in the last second.
    Works(Works),
}

/// Hashes proven by sessions for links.
pub type Works = Vec<(SessionId, LinkId, u128)>;

/// What every session can reach.
#[derive(Debug)]
pub struct Hub {
    /// To the router.
    pub router_tx: mpsc::Sender<ToRouter>,
    /// Index: `LinkId`.
    pub links: Vec<LinkPort>,
    /// What a miner may roll, by listener, before its lease says so.
    pub masks: Vec<AtomicU32>,
    /// The read model.
    pub board: Arc<Board>,
    /// Sessions as machines, where a site is configured.
    pub power: Option<Arc<power::Power>>,
    /// Source of session ids.
    pub next_session: Arc<AtomicU64>,
}
