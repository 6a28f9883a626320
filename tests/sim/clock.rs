//! Virtual time: a queue of events in nanoseconds from an arbitrary base. Not a scheduler: it knows no priorities.
//!
//! Invariant: events leave in the order of their time, and in the order they were put in where times are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Nanoseconds since the world began.
pub type Ns = u64;
/// One second.
pub const S: Ns = 1_000_000_000;
/// One millisecond.
pub const MS: Ns = 1_000_000;
/// One microsecond.
pub const US: Ns = 1_000;

/// What can happen; the numbers are indices of the world's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ev {
    /// A miner's own timers, its next share among them.
    Miner(usize),
    /// A miner opens a connection.
    Connect(usize),
    /// Bytes reach the miner of a connection.
    ToMiner(usize),
    /// Bytes reach a session.
    ToSession(usize),
    /// A session's task runs.
    Session(usize),
    /// A link's task runs.
    Link(usize),
    /// A link's connection attempt ends.
    Connected(usize),
    /// Bytes reach the pool of a connection.
    ToPool(usize),
    /// Bytes reach the link of a connection.
    FromPool(usize),
    /// A pool's own timers.
    Pool(usize),
    /// The router's task runs.
    Router,
    /// The shard's beat.
    Beat,
    /// A fault of the plan.
    Fault(usize),
    /// Something to be looked at, later than what caused it.
    Check(usize),
}

/// Time and what is to come.
#[derive(Debug)]
pub struct Clock {
    base: Instant,
    now: Ns,
    sequence: u64,
    queue: BinaryHeap<Reverse<(Ns, u64, Ev)>>,
}

impl Clock {
    /// At the beginning.
    pub fn new() -> Self {
        Self {
            base: Instant::now(),
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
        }
    }

    /// Since the beginning.
    pub fn now(&self) -> Ns {
        self.now
    }

    /// The same as machines want it.
    pub fn instant(&self) -> Instant {
        self.at(self.now)
    }

    /// Any time as machines want it.
    pub fn at(&self, ns: Ns) -> Instant {
        self.base + Duration::from_nanos(ns)
    }

    /// A machine's time as ours.
    pub fn ns(&self, instant: Instant) -> Ns {
        instant.saturating_duration_since(self.base).as_nanos() as Ns
    }

    /// Nothing happens until then.
    pub fn rest_until(&mut self, at: Ns) {
        self.now = self.now.max(at);
    }

    /// Plans an event; what is past happens now.
    pub fn plan(&mut self, at: Ns, event: Ev) {
        self.sequence += 1;
        self.queue
            .push(Reverse((at.max(self.now), self.sequence, event)));
    }

    /// The next event up to `end`; the clock goes there.
    pub fn next(&mut self, end: Ns) -> Option<Ev> {
        let Reverse((at, ..)) = self.queue.peek()?;
        if *at > end {
            return None;
        }
        let Reverse((at, _, event)) = self.queue.pop()?;
        self.now = at;
        Some(event)
    }
}
