//! What goes into the router and comes out of it: plain values, no behaviour.

use crate::proxy::lease::{LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId};
use crate::proxy::link::Status;
use crate::proxy::session::{Attach, Close, NoSeat};
use crate::work::{Lane, Layout, LinkId};
use std::time::Duration;

/// One pool as the router sees it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Which link.
    pub id: LinkId,
    /// Lower mines first; higher is failover.
    pub tier: u8,
    /// Weight within the tier.
    pub share: f64,
}

/// What the router is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// All pools.
    pub pools: Vec<Pool>,
    /// Pools each listener may use (index: `ListenerId`).
    pub listeners: Vec<Vec<LinkId>>,
    /// Policy for version rolling.
    pub version_mask: u32,
    /// Pinned layout; `None`: from the smallest of the pools.
    pub layout: Option<Layout>,
    /// Where lane allocation starts.
    pub first_lane: Lane,
    /// How long a lane rests after a clean goodbye.
    pub rest: Duration,
    /// How long it rests when the miner vanished.
    pub rest_vanished: Duration,
    /// A lease is not moved for weights before this.
    pub dwell: Duration,
    /// A preferred pool must have been healthy this long before fail-back.
    pub failback_after: Duration,
    /// How long subscribes wait for the layout.
    pub layout_wait: Duration,
}

/// What happens to the router.
#[derive(Debug)]
pub enum Input {
    /// A session wants a seat. `token`: fresh randomness from the driver.
    Attach {
        /// Who.
        session: SessionId,
        /// Where.
        listener: ListenerId,
        /// What.
        attach: Attach,
        /// Fresh randomness, becomes its resume token.
        token: ResumeToken,
    },
    /// A session is over; its lane comes back with what it remembers.
    Detach {
        /// Who.
        session: SessionId,
        /// Its lane and memory, if it was seated; `true` if it ever got work.
        memory: Option<(Lane, LaneMemory, bool)>,
        /// No FIN was seen: it may still be mining.
        vanished: bool,
    },
    /// The miner's version capability changed after it was seated.
    Capability {
        /// Who.
        session: SessionId,
        /// Bits.
        version_mask: u32,
        /// Least bits.
        min_bits: u32,
    },
    /// A session proved hashes for a link (its observation).
    Work {
        /// Who.
        session: SessionId,
        /// For whom.
        link: LinkId,
        /// Hashes.
        proven: u128,
    },
    /// A link's state.
    Link(LinkId, Status),
}

/// What the router wants done.
#[derive(Debug)]
pub enum Output {
    /// A seat for a session that asked.
    Seat(SessionId, Box<Seat>, Lease),
    /// No seat.
    NoSeat(SessionId, NoSeat),
    /// The session's lease is now this.
    Lease(SessionId, Lease),
    /// What a miner of this listener may roll, as far as is known (for the answer to `mining.configure`).
    Mask(ListenerId, u32),
    /// End a session.
    Close(SessionId, Close),
    /// Tell every link the layout.
    Layout(Layout),
    /// Tell a link the hashes per second to size its difficulty for.
    Fleet(LinkId, f64),
    /// Something worth a log line.
    Event(Event),
}

/// Log-worthy.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Miners moved between links, and why.
    Moved {
        /// From.
        from: Option<LinkId>,
        /// To.
        to: Option<LinkId>,
        /// How many.
        miners: usize,
        /// `failover`, `failback`, `weights`.
        why: &'static str,
    },
    /// The layout is known.
    Layout(Layout),
    /// A pool gives too little for the layout.
    Excluded(LinkId),
    /// No pool is left: every miner reconnects once.
    LayoutShrank(Layout),
}
