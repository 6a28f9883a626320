//! One shard: a thread, its runtime, and what its sessions share. Sessions never leave their shard.

use super::Hub;
use crate::proxy::lease::SessionId;
use crate::proxy::session::Observation;
use crate::work::LinkId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Every so many verdicts one is timed: a histogram needs no more.
const TIMED: u32 = 16;

/// What the sessions of one shard share. The locks are never contended (one thread) and never held across an await.
#[derive(Debug)]
pub struct Shard {
    /// The rest of the process.
    pub hub: Arc<Hub>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    works: Vec<(SessionId, Vec<(LinkId, u128)>)>,
    broadcast: Option<Duration>,
    verdicts: u32,
}

impl Shard {
    /// An empty shard.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            books: Mutex::default(),
        }
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        // A session that panicked leaves counts, not structure: they stay usable.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session's observation: to the board now, to the router with the next beat.
    pub fn observe(&self, observation: Observation, now: Instant) {
        self.hub.board.observe(&observation, now);
        if !observation.for_links.is_empty() {
            self.books()
                .works
                .push((observation.session, observation.for_links));
        }
    }

    /// A job was written to a miner this long after its pool sent it.
    pub fn wrote_job(&self, after: Duration) {
        let mut books = self.books();
        books.broadcast = books.broadcast.max(Some(after));
    }

    /// Whether the next verdict shall be timed.
    pub fn times_verdict(&self) -> bool {
        let mut books = self.books();
        books.verdicts = books.verdicts.wrapping_add(1);
        books.verdicts.is_multiple_of(TIMED)
    }

    /// What came together since the last beat.
    pub fn beat(&self) -> Vec<(SessionId, Vec<(LinkId, u128)>)> {
        let mut books = self.books();
        if let Some(slowest) = books.broadcast.take() {
            self.hub.board.broadcast_seconds(slowest.as_secs_f64());
        }
        std::mem::take(&mut books.works)
    }
}

/// Sends the shard's work to the router once a second, until the last session is gone.
pub async fn beat(shard: Arc<Shard>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let works = shard.beat();
        if !works.is_empty()
            && shard
                .hub
                .router_tx
                .send(super::ToRouter::Works(works))
                .await
                .is_err()
        {
            return;
        }
    }
}
