//! One shard: a thread, its runtime, and what its sessions share. Sessions never leave their shard.

use super::Hub;
use super::mail::{DRAIN, Mailbox, WORK};
use crate::proxy::lease::SessionId;
use crate::proxy::session::Observation;
use crate::work::LinkId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Every so many verdicts one is timed: a histogram needs no more.
const TIMED: u32 = 16;

/// What the sessions of one shard share. The locks are never contended (one thread) and never held across an await.
#[derive(Debug)]
pub struct Shard {
    /// The rest of the process.
    pub hub: Arc<Hub>,
    books: Mutex<Books>,
    mailboxes: Mutex<HashMap<SessionId, Arc<Mailbox>>>,
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
            mailboxes: Mutex::default(),
        }
    }

    fn mailboxes(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<Mailbox>>> {
        self.mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that wants to hear of work and of the drain.
    pub fn joined(&self, session: SessionId, mailbox: Arc<Mailbox>) {
        self.mailboxes().insert(session, mailbox);
    }

    /// It is gone.
    pub fn left(&self, session: SessionId) {
        self.mailboxes().remove(&session);
    }

    /// Tells every session that follows the link.
    fn new_work(&self, link: LinkId) {
        let mailboxes = self.mailboxes();
        let followers = mailboxes.values().filter(|mailbox| mailbox.follows(link));
        followers.for_each(|mailbox| mailbox.ring(WORK));
    }

    /// Tells everybody to finish.
    fn drain(&self) {
        let mailboxes = self.mailboxes();
        mailboxes.values().for_each(|mailbox| mailbox.ring(DRAIN));
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

/// Waits for one link's work and tells this shard's sessions: a wake on the own thread, not one from another for each.
pub async fn herald(shard: Arc<Shard>, link: LinkId) {
    let Some(mut work) = shard
        .hub
        .links
        .get(usize::from(link.0))
        .map(|port| port.work.clone())
    else {
        return;
    };
    while work.changed().await.is_ok() {
        shard.new_work(link);
    }
}

/// Waits for the drain and tells this shard's sessions.
pub async fn drain(shard: Arc<Shard>, cancel: CancellationToken) {
    cancel.cancelled().await;
    shard.drain();
}
