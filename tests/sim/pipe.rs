//! One direction of a TCP connection: bytes arrive in order, late, or never. Not a socket: nobody waits in here.
//!
//! Invariant: what is popped is what was pushed, in order, never before its time.

use crate::clock::Ns;
use sluice::sim::rng::Rng;
use std::collections::VecDeque;

/// What travels.
#[derive(Debug)]
pub enum Item {
    /// A segment.
    Bytes(Vec<u8>),
    /// The orderly end.
    Fin,
    /// The disorderly end.
    Rst,
}

/// Something on its way.
#[derive(Debug)]
pub struct Parcel {
    at: Ns,
    /// What it is.
    pub item: Item,
}

/// A direction.
#[derive(Debug)]
pub struct Pipe {
    way: VecDeque<Parcel>,
    latency: Ns,
    jitter: Ns,
    last: Ns,
    bytes: usize,
    /// Bytes that fit before a writer blocks (send and receive buffers together).
    pub room: usize,
    /// The reader does not read before this.
    pub stalled: Ns,
    /// Nothing arrives any more, and nobody is told.
    pub dead: bool,
}

impl Pipe {
    /// An empty one.
    pub fn new(latency: Ns, jitter: Ns, room: usize) -> Self {
        Self {
            way: VecDeque::new(),
            latency,
            jitter,
            last: 0,
            bytes: 0,
            room,
            stalled: 0,
            dead: false,
        }
    }

    /// How much can be written now.
    pub fn free(&self) -> usize {
        self.room.saturating_sub(self.bytes)
    }

    /// Sends; gives the time of arrival, for the event.
    pub fn push(&mut self, now: Ns, rng: &mut Rng, item: Item) -> Ns {
        let jitter = rng.next_u64() % self.jitter.max(1);
        let at = (now + self.latency + jitter).max(self.last);
        self.last = at;
        if let Item::Bytes(bytes) = &item {
            self.bytes += bytes.len();
        }
        self.way.push_back(Parcel { at, item });
        at.max(self.stalled)
    }

    /// What has arrived. `Err`: something will have, then.
    pub fn pop(&mut self, now: Ns) -> Result<Option<Parcel>, Ns> {
        let Some(first) = self.way.front().filter(|_| !self.dead) else {
            return Ok(None);
        };
        let at = first.at.max(self.stalled);
        if at > now {
            return Err(at);
        }
        let parcel = self.way.pop_front();
        if let Some(Parcel {
            item: Item::Bytes(bytes),
            ..
        }) = &parcel
        {
            self.bytes -= bytes.len();
        }
        Ok(parcel)
    }
}
