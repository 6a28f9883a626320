//! Virtual time: a queue of events in nanoseconds from an arbitrary base. Not a scheduler: it knows no priorities, and
//! what an event is belongs to the world that plans it.
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

/// Time and what is to come.
#[derive(Debug)]
pub struct Clock<E> {
    base: Instant,
    now: Ns,
    sequence: u64,
    queue: BinaryHeap<Reverse<(Ns, u64, E)>>,
}

impl<E: Ord> Clock<E> {
    /// At the beginning.
    pub fn new() -> Self {
        Self {
            // Machines may look back beyond the beginning.
            base: Instant::now() + Duration::from_secs(1_000_000),
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
    pub fn plan(&mut self, at: Ns, event: E) {
        self.sequence += 1;
        let at = at.max(self.now);
        self.queue.push(Reverse((at, self.sequence, event)));
    }

    /// The next event up to `end`, and time moves to it.
    pub fn next(&mut self, end: Ns) -> Option<E> {
        let Reverse((at, _, _)) = self.queue.peek()?;
        if *at > end {
            return None;
        }
        let Reverse((at, _, event)) = self.queue.pop().expect("just seen");
        self.now = at;
        Some(event)
    }
}
