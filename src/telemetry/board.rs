//! The read model: what tasks tell it, kept so that the API can show it. Not a source of decisions, not a queue.
//!
//! It holds the project's only concurrent maps; all else is a lock per account, taken once per observation (at most
//! one a second and miner), never per share. A miner that is connected and idle costs at most 700 bytes, one that has
//! sent shares some hundred more (a test measures both). Invariant: what is told is counted once, and counts of
//! listeners, workers and pools outlive the connections they came from (I6).

mod read;

use super::counters::{Activity, ListenerTotals, PoolState, RefusedConnection, Worker};
use crate::proxy::lease::{ListenerId, SessionId};
use crate::proxy::link::{self, Settlement, Status};
use crate::proxy::router;
use crate::proxy::session::{self, Close, Observation};
use crate::proxy::tally::{Judged, Settled};
use crate::work::{Difficulty, Lane, LinkId};
use dashmap::DashMap;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most worker names with an account of their own (STRATUM.md section 4); the rest share [`OTHER`]. At about 1 KiB
/// each that is 20 MB, whatever names miners think of.
pub const MAX_WORKERS: usize = 20_000;
/// The account of all workers beyond the cap.
pub const OTHER: &str = "other";

/// What is shown of a pool and never changes.
#[derive(Clone, Debug)]
pub struct PoolCard {
    /// Name in logs and metrics.
    pub name: String,
    /// Where, without credentials.
    pub url: String,
    /// The user template, without password.
    pub user: String,
    /// Lower mines first.
    pub tier: u8,
    /// Weight within the tier.
    pub share: f64,
    /// Whether the connection is not encrypted.
    pub plaintext: bool,
}

/// Submit latencies by pool; kept as the family that is exported, because one cannot be put together at a scrape.
pub type SubmitSeconds = Family<[(&'static str, String); 1], Histogram, fn() -> Histogram>;

/// How the words of a pool begin, among notes of our own.
const SAYS: &str = "says: ";

/// The read model of a running proxy.
#[derive(Debug)]
pub struct Board {
    started: Instant,
    miners: DashMap<SessionId, Miner>,
    workers: DashMap<Arc<str>, Box<Worker>>,
    worker_count: AtomicUsize,
    max_workers: usize,
    listeners: Vec<(String, Mutex<ListenerTotals>)>,
    pools: Vec<Pool>,
    /// Observations of sessions nobody introduced: counted here, so that nothing is lost, and shown nowhere.
    strays: Mutex<Judged>,
    refused: [AtomicU64; RefusedConnection::ALL.len()],
    arrived: AtomicU64,
    left: AtomicU64,
    moved: AtomicU64,
    verdict: Histogram,
    batches: AtomicU64,
    broadcast: Histogram,
    submit: SubmitSeconds,
}

#[derive(Debug)]
struct Pool {
    card: PoolCard,
    state: Mutex<PoolState>,
}

/// One connected miner; the bulky part is there from its first share on.
#[derive(Debug)]
struct Miner {
    peer: SocketAddr,
    since: Instant,
    worker: Option<Arc<str>>,
    agent: Option<Arc<str>>,
    activity: Option<Box<Activity>>,
    difficulty: Option<Difficulty>,
    lane: Option<Lane>,
    version_mask: Option<u32>,
    link: Option<LinkId>,
    listener: ListenerId,
    resumed: bool,
    is_v2: bool,
}

impl Board {
    /// An empty board. Indices are those of `ListenerId` and `LinkId`.
    pub fn new(now: Instant, listeners: Vec<String>, pools: Vec<PoolCard>) -> Self {
        let totals = |name| (name, Mutex::new(ListenerTotals::new(now)));
        let pool = |card| Pool {
            card,
            state: Mutex::new(PoolState::new(now)),
        };
        Self {
            started: now,
            miners: DashMap::new(),
            workers: DashMap::new(),
            worker_count: AtomicUsize::new(0),
            max_workers: MAX_WORKERS,
            listeners: listeners.into_iter().map(totals).collect(),
            pools: pools.into_iter().map(pool).collect(),
            strays: Mutex::default(),
            refused: Default::default(),
            arrived: AtomicU64::new(0),
            left: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            verdict: seconds(0.000_001),
            batches: AtomicU64::new(0),
            broadcast: seconds(0.000_1),
            submit: SubmitSeconds::new_with_constructor(|| seconds(0.001)),
        }
    }

    /// A miner has connected (TLS done).
    pub fn connected(&self, id: SessionId, listener: ListenerId, peer: SocketAddr, now: Instant) {
        let miner = Miner {
            peer,
            since: now,
            worker: None,
            agent: None,
            activity: None,
            difficulty: None,
            lane: None,
            version_mask: None,
            link: None,
            listener,
            resumed: false,
            is_v2: false,
        };
        if self.miners.insert(id, miner).is_some() {
            return;
        }
        self.arrived.fetch_add(1, Relaxed);
        if let Some(mut totals) = self.listener(listener) {
            totals.connections += 1;
        }
    }

    /// A session is a channel of Stratum V2: a connection says so only after it was let in.
    pub fn speaks_v2(&self, id: SessionId) {
        if let Some(mut miner) = self.miners.get_mut(&id) {
            miner.is_v2 = true;
        }
    }

    /// A connection was turned away before it became a session.
    pub fn refused_connection(&self, reason: RefusedConnection, _now: Instant) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    /// A session has said something of itself.
    pub fn session_event(&self, id: SessionId, event: &session::Event, _now: Instant) {
        let Some(mut miner) = self.miners.get_mut(&id) else {
            return;
        };
        match event {
            session::Event::Subscribed {
                agent,
                lane,
                resumed,
            } => {
                miner.agent = Some(agent.clone());
                miner.lane = Some(*lane);
                miner.resumed = *resumed;
            }
            session::Event::Authorized(worker) => miner.worker = Some(worker.clone()),
            session::Event::VersionMask(mask) => miner.version_mask = Some(*mask),
            // Blocks are counted by observations; the rest concerns others.
            session::Event::Refused(_)
            | session::Event::Capability { .. }
            | session::Event::Block(_) => {}
        }
    }

    /// A session mines for this pool from now on.
    pub fn leased(&self, id: SessionId, link: Option<LinkId>) {
        if let Some(mut miner) = self.miners.get_mut(&id) {
            miner.link = link;
        }
    }

    /// What a session judged since its last observation.
    pub fn observe(&self, observation: &Observation, now: Instant) {
        self.book(std::iter::once(observation), now);
    }

    /// What many sessions judged: what they touch lies scattered over the whole fleet, so the sums of the listeners are
    /// made on the way and booked once.
    pub fn book<'a>(&self, observations: impl Iterator<Item = &'a Observation>, now: Instant) {
        let mut sums = vec![Judged::default(); self.listeners.len()];
        for observation in observations {
            let judged = &observation.judged;
            let listener = self.row(observation, now);
            if *judged == Judged::default() {
                continue;
            }
            match listener.and_then(|listener| sums.get_mut(usize::from(listener.0))) {
                Some(sum) => sum.merge(judged),
                None => lock(&self.strays).merge(judged),
            }
            self.worker(&observation.worker, now, |worker| {
                worker.judged.merge(judged);
                worker.rate.add(now, judged.accepted.hashes);
            });
        }
        for (sum, (_, totals)) in sums.iter().zip(&self.listeners) {
            if *sum != Judged::default() {
                let mut totals = lock(totals);
                totals.judged.merge(sum);
                totals.rate.add(now, sum.accepted.hashes);
            }
        }
    }

    /// Notes an observation with its miner; gives back where that came in, if it is known.
    fn row(&self, observation: &Observation, now: Instant) -> Option<ListenerId> {
        let judged = &observation.judged;
        self.miners.get_mut(&observation.session).map(|mut miner| {
            miner.difficulty = Some(observation.difficulty);
            if judged.received.shares > 0 {
                let worker = &observation.worker;
                if !miner
                    .worker
                    .as_ref()
                    .is_some_and(|known| Arc::ptr_eq(known, worker))
                {
                    miner.worker = Some(worker.clone());
                }
                miner
                    .activity
                    .get_or_insert_with(|| Box::new(Activity::new(now)))
                    .add(judged, now);
            }
            miner.listener
        })
    }

    /// A miner's connection is over.
    pub fn closed(&self, id: SessionId, why: Close, _now: Instant) {
        let Some((_, miner)) = self.miners.remove(&id) else {
            return;
        };
        self.left.fetch_add(1, Relaxed);
        if let Some(mut totals) = self.listener(miner.listener) {
            totals.connections -= 1;
            totals.closed[why as usize] += 1;
        }
    }

    /// A link's state has changed.
    pub fn link_status(&self, link: LinkId, status: &Status, now: Instant) {
        let Some(mut pool) = self.pool(link) else {
            return;
        };
        let was_up = pool.is_up();
        pool.status = Some(status.clone());
        if pool.is_up() != was_up {
            pool.changed = now;
        }
    }

    /// A link has said something for a person; the last word is shown with the pool.
    pub fn link_event(&self, link: LinkId, event: &link::Event) {
        let Some(mut pool) = self.pool(link) else {
            return;
        };
        pool.note = match event {
            // What was wrong is over; what the pool says may have come in the same breath as its first job.
            link::Event::Up => pool.note.take().filter(|note| note.starts_with(SAYS)),
            link::Event::Down { reason, .. } => Some(reason.clone()),
            link::Event::LoginRefused(text) => Some(format!("login refused: {text}")),
            link::Event::ReconnectRefused(host) => Some(format!("refused to move to {host}")),
            link::Event::Message(text) => Some(format!("{SAYS}{text}")),
            _ => return,
        };
    }

    /// A link has given its miners work.
    pub fn link_issue(&self, link: LinkId, now: Instant) {
        if let Some(mut pool) = self.pool(link) {
            pool.last_issue = Some(now);
        }
    }

    /// Shares were written to a pool that may answer them much later, or never: `totals` is the link's ledger now.
    pub fn submitted(&self, link: LinkId, totals: &Settled) {
        if let Some(mut pool) = self.pool(link) {
            pool.settled = totals.clone();
        }
    }

    /// A share has come to its end; `totals` is the link's ledger after it.
    pub fn settled(&self, link: LinkId, end: &Settlement, totals: &Settled, now: Instant) {
        if let Some(mut pool) = self.pool(link) {
            pool.settled = totals.clone();
            pool.divergence.add(end, now);
        }
        if let Some(latency) = end.latency {
            self.submit_seconds(link, latency.as_secs_f64());
        }
        self.worker(&end.worker, now, |worker| worker.settle(end));
    }

    /// The router has said something.
    pub fn router_event(&self, event: &router::Event) {
        match event {
            router::Event::Moved { miners, .. } => {
                self.moved.fetch_add(*miners as u64, Relaxed);
            }
            router::Event::Excluded(link) => {
                if let Some(mut pool) = self.pool(*link) {
                    pool.note = Some("gives too little extranonce for our layout".to_owned());
                }
            }
            router::Event::Layout(_) | router::Event::LayoutShrank(_) => {}
        }
    }

    /// From reading a share to having its verdict, in seconds. A sample of the shares will do.
    pub fn verdict_seconds(&self, seconds: f64) {
        self.verdict.observe(seconds);
    }

    /// Runs of the hash kernels: what was judged together counts once.
    pub fn judged_batches(&self, batches: u64) {
        self.batches.fetch_add(batches, Relaxed);
    }

    /// From a pool's job to the last miner written, in seconds.
    pub fn broadcast_seconds(&self, seconds: f64) {
        self.broadcast.observe(seconds);
    }

    /// From writing a share to the pool's answer, in seconds. [`Board::settled`] calls it for those with a latency.
    pub fn submit_seconds(&self, link: LinkId, seconds: f64) {
        if let Some(pool) = self.pools.get(usize::from(link.0)) {
            let labels = [("pool", pool.card.name.clone())];
            self.submit.get_or_create(&labels).observe(seconds);
        }
    }

    /// I7: the part of our accepted work that the pool rejects, if that is an alarm (above 1 % over 5 minutes).
    pub fn divergence(&self, link: LinkId, now: Instant) -> Option<f64> {
        self.pool(link)?.divergence.alarm(now)
    }

    fn listener(&self, id: ListenerId) -> Option<MutexGuard<'_, ListenerTotals>> {
        self.listeners
            .get(usize::from(id.0))
            .map(|(_, totals)| lock(totals))
    }

    fn pool(&self, id: LinkId) -> Option<MutexGuard<'_, PoolState>> {
        self.pools
            .get(usize::from(id.0))
            .map(|pool| lock(&pool.state))
    }

    /// The account of a worker; beyond the cap, the one of all others.
    fn worker(&self, name: &Arc<str>, now: Instant, change: impl FnOnce(&mut Worker)) {
        if let Some(mut worker) = self.workers.get_mut(name) {
            return change(&mut worker);
        }
        let claimed = self.worker_count.fetch_update(Relaxed, Relaxed, |n| {
            (n < self.max_workers).then_some(n + 1)
        });
        let key = match claimed {
            Ok(_) => name.clone(),
            Err(_) => Arc::from(OTHER),
        };
        // Two threads may both claim a place for one new name; the cap is then reached one early, never passed.
        let mut worker = self
            .workers
            .entry(key)
            .or_insert_with(|| Box::new(Worker::new(now)));
        change(&mut worker);
    }
}

/// 24 buckets, each twice the one before: from a microsecond that is up to 8 s.
fn seconds(first: f64) -> Histogram {
    Histogram::new(exponential_buckets(first, 2.0, 24))
}

/// A panic elsewhere leaves sums that are still sums: the board goes on showing them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests;
