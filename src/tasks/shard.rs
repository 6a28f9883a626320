//! One shard: a thread, its runtime, and what its sessions share. Sessions never leave their shard.

use super::judge::Judge;
use super::mail::{DRAIN, Mailbox, WORK};
use super::roots::Roots;
use super::{Hub, Works};
use crate::proxy::lease::SessionId;
use crate::proxy::session::Observation;
use crate::work::LinkId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Observations that a shard keeps room for: 8,192 of 192 bytes.
const MOST_ROOM: usize = 8192;

/// What the sessions of one shard share. The locks are never contended (one thread) and never held across an await.
#[derive(Debug)]
pub struct Shard {
    /// The rest of the process.
    pub hub: Arc<Hub>,
    /// Shares since its thread last slept, and whether there was at most one before that.
    turn: AtomicU32,
    lonely: AtomicBool,
    batches: bool,
    judge: Mutex<Judge>,
    roots: Mutex<Roots>,
    books: Mutex<Books>,
    mailboxes: Mutex<HashMap<SessionId, Arc<Mailbox>>>,
}

#[derive(Debug, Default)]
struct Books {
    observations: Vec<Observation>,
    broadcast: Option<Duration>,
}

impl Shard {
    /// An empty shard. `batches`: whether shares are judged together.
    pub fn new(hub: Arc<Hub>, batches: bool) -> Self {
        Self {
            hub,
            turn: AtomicU32::new(0),
            lonely: AtomicBool::new(true),
            batches,
            judge: Mutex::default(),
            roots: Mutex::default(),
            books: Mutex::default(),
            mailboxes: Mutex::default(),
        }
    }

    fn mailboxes(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Mailbox>>> {
        self.mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that wants to hear of work and of the drain.
    pub fn joined(&self, session: SessionId, mailbox: Arc<Mailbox>) {
        if let Some(power) = &self.hub.power {
            power.reachable(session, mailbox.clone());
        }
        self.mailboxes().insert(session, mailbox);
    }

    /// It is gone.
    pub fn left(&self, session: SessionId) {
        if let Some(power) = &self.hub.power {
            power.left(session);
        }
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

    fn books(&self) -> MutexGuard<'_, Books> {
        // A session that panicked leaves counts, not structure: they stay usable.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a session's observation for the next beat. All of a second are then booked in one go: what they touch lies
    /// scattered over the whole fleet, and waiting for it side by side costs half of waiting for it share by share.
    pub fn observe(&self, observation: Observation) {
        self.books().observations.push(observation);
    }

    /// Books what was observed so far; gives back what the router wants of it.
    pub fn book(&self, now: Instant) -> Works {
        let mut observations = std::mem::take(&mut self.books().observations);
        let mut works = Vec::with_capacity(observations.len());
        self.hub.board.book(observations.iter(), now);
        if let Some(power) = &self.hub.power {
            power.accepted(&observations);
        }
        for observation in observations.drain(..) {
            if let Some(link) = observation.link {
                works.push((
                    observation.session,
                    link,
                    observation.judged.accepted.hashes,
                ));
            }
        }
        // Its room serves the next second, unless a storm made it large.
        observations.shrink_to(MOST_ROOM);
        self.books().observations = observations;
        works
    }

    /// A job was written to a miner this long after its pool sent it.
    pub fn wrote_job(&self, after: Duration) {
        let mut books = self.books();
        books.broadcast = books.broadcast.max(Some(after));
    }

    /// Its thread has nothing to do and goes to sleep.
    pub fn rests(&self) {
        let shares = self.turn.load(Ordering::Relaxed);
        self.lonely.store(shares <= 1, Ordering::Relaxed);
        self.turn.store(0, Ordering::Relaxed);
    }

    /// Counts a share; whether it is better judged at once than kept for company: alone so far, and after a turn that
    /// brought no more than one, it mostly stays alone.
    pub fn is_quiet(&self) -> bool {
        let shares = self.turn.load(Ordering::Relaxed);
        self.turn.store(shares.saturating_add(1), Ordering::Relaxed);
        !self.batches || (shares == 0 && self.lonely.load(Ordering::Relaxed))
    }

    /// The judge.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        // A panic in between leaves requests nobody waits for: they are answered with the next ones.
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Merkle roots.
    pub fn roots(&self) -> MutexGuard<'_, Roots> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the router wants of the last second; everything else of it goes to the board.
    pub fn beat(&self, now: Instant) -> Works {
        if let Some(slowest) = self.books().broadcast.take() {
            self.hub.board.broadcast_seconds(slowest.as_secs_f64());
        }
        let batches = self.judge().batches();
        self.hub.board.judged_batches(batches);
        self.book(now)
    }
}

/// Sends the shard's work to the router once a second, until the last session is gone.
pub async fn beat(shard: Arc<Shard>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let works = shard.beat(Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::board::tests as fixture;
    use std::sync::atomic::AtomicU64;
    use tokio::sync::mpsc;

    fn shard(batches: bool) -> Shard {
        let hub = Hub {
            router_tx: mpsc::channel(1).0,
            links: Vec::new(),
            masks: Vec::new(),
            board: Arc::new(fixture::board(Instant::now())),
            power: None,
            next_session: Arc::new(AtomicU64::new(1)),
        };
        Shard::new(Arc::new(hub), batches)
    }

    /// What is said of each share of a turn, and a sleep.
    fn turn(shard: &Shard, shares: usize) -> Vec<bool> {
        let quiet = (0..shares).map(|_| shard.is_quiet()).collect();
        shard.rests();
        quiet
    }

    #[test]
    fn the_first_share_after_a_turn_of_one_is_judged_at_once() {
        let shard = shard(true);
        assert_eq!(turn(&shard, 1), [true]);
        assert_eq!(turn(&shard, 3), [true, false, false]);
    }

    #[test]
    fn the_first_share_after_a_turn_of_two_waits_for_company() {
        let shard = shard(true);
        assert_eq!(turn(&shard, 2), [true, false]);
        assert_eq!(turn(&shard, 1), [false]);
        assert_eq!(turn(&shard, 1), [true]);
    }

    #[test]
    fn without_batches_every_share_is_judged_at_once() {
        let shard = shard(false);
        assert_eq!(turn(&shard, 3), [true; 3]);
    }
}
