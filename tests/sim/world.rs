//! The world: simulated miners and pools at the ends, the real machines in between, one clock. Decides nothing about
//! mining; every delay is chance from the seed.
//!
//! ```text
//!   SimMiner <─ pipes ─> Session ──queue──> Link <─ pipes ─> SimPool        peers | sessions | links | peers
//!                           └────> Router <───┘                             links
//! ```
//! Invariant: one seed, one history.

use crate::checks::Watch;
use crate::clock::{Clock, MS, Ns, S};
use crate::conn::Conn;
use crate::event::Ev;
use crate::links::{LinkTask, RouterTask};
use crate::peers::{MinerPeer, PoolPeer, Up};
use crate::plan::{POLICY, Plan, UNIX, below};
use crate::tap::Books;
use sluice::proxy::lease::{ListenerId, SessionId};
use sluice::proxy::session;
use sluice::sim::rng::Rng;
use sluice::work::{Lane, LinkId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

/// A task that was woken runs within this time: threads and queues, and the reason that events overtake each other.
pub const TURN: Ns = MS / 20;
/// After the miners stop: whatever is under way ends.
const SETTLE: Ns = 45 * S;

/// Everything.
pub struct World {
    pub clock: Clock<Ev>,
    pub rng: Rng,
    pub plan: Plan,
    pub config: Arc<session::Config>,
    pub conns: Vec<Option<Box<Conn>>>,
    /// The ids of channels past the first of their connection, whose id is the connection's place in `conns`.
    pub sessions: Arc<AtomicU64>,
    /// The connection of every seat that was asked for.
    pub homes: HashMap<SessionId, usize>,
    pub miners: Vec<MinerPeer>,
    pub links: Vec<LinkTask>,
    pub pools: Vec<PoolPeer>,
    pub ups: Vec<Option<Up>>,
    pub router: RouterTask,
    /// What a session is told before its lease (the hub's masks).
    pub mask: u32,
    pub books: Books,
    pub watch: Watch,
    pub ending: bool,
}

impl World {
    /// As planned, before anything has happened.
    pub fn new(plan: Plan) -> Self {
        let clock = Clock::new();
        let now = clock.instant();
        let config = session::Config {
            listener: ListenerId(0),
            vardiff: plan.vardiff.clone(),
            password: None,
            submits: session::Bucket {
                per_second: 20.0,
                burst: 200.0,
            },
            others: session::Bucket {
                per_second: 5.0,
                burst: 20.0,
            },
            version_mask: POLICY,
            channels: 64,
            fast_lines: true,
            wall: session::WallAnchor {
                at: now,
                unix_s: u64::from(UNIX),
            },
        };
        let ids = Arc::new(AtomicU32::new(plan.seed as u32 & 0x0fff_ffff));
        let links = (0..plan.pools.len()).map(|at| LinkTask::new(now, &plan, at, ids.clone()));
        let pools = plan.pools.iter().map(|pool| PoolPeer::new(now, pool));
        let miners = plan.miners.iter().map(MinerPeer::new);
        let mut world = Self {
            links: links.collect(),
            pools: pools.collect(),
            miners: miners.collect(),
            router: RouterTask::new(now, &plan),
            rng: Rng::new(plan.seed ^ 0x0077_6f72_6c64),
            config: Arc::new(config),
            conns: Vec::new(),
            sessions: Arc::new(AtomicU64::new(1 << 32)),
            homes: HashMap::new(),
            ups: Vec::new(),
            mask: POLICY,
            books: Books::new(plan.pools.len()),
            watch: Watch::default(),
            ending: false,
            clock,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.books.watched = self.plan.watched;
        self.books.ceiling = self.plan.vardiff.ceiling_per_minute < 1e8;
        for at in 0..self.links.len() {
            self.clock.plan(0, Ev::Link(at));
            self.clock.plan(self.plan.pools[at].opens, Ev::Pool(at));
        }
        self.clock.plan(0, Ev::Router);
        self.clock.plan(S, Ev::Beat);
        for at in 0..self.miners.len() {
            self.clock.plan(self.plan.miners[at].joins, Ev::Connect(at));
        }
        for at in 0..self.plan.faults.len() {
            self.clock.plan(self.plan.faults[at].0, Ev::Fault(at));
        }
    }

    /// To the planned end, then until everything has settled.
    pub fn run(&mut self) {
        self.run_until(self.plan.length);
        self.end();
    }

    /// Up to a time.
    pub fn run_until(&mut self, end: Ns) {
        while let Some(event) = self.clock.next(end) {
            self.happen(event);
        }
    }

    /// Miners stop hashing, stalled and frozen peers go on, what is under way ends; then the books are closed.
    pub fn end(&mut self) {
        self.ending = true;
        for at in 0..self.miners.len() {
            self.miners[at].core.set_hashrate(self.clock.instant(), 0.0);
        }
        for at in 0..self.pools.len() {
            self.thaw(at);
        }
        let end = self.clock.now() + SETTLE;
        self.run_until(end);
    }

    fn happen(&mut self, event: Ev) {
        match event {
            Ev::Miner(at) => self.run_miner(at),
            Ev::Connect(at) => self.connect_miner(at),
            Ev::ToMiner(conn) => self.reach_miner(conn),
            Ev::ToSession(conn) => self.reach_session(conn),
            Ev::Session(conn) => self.run_session(conn),
            Ev::Link(at) => self.run_link(at),
            Ev::Connected(at) => self.connected(at),
            Ev::ToPool(up) => self.reach_pool(up),
            Ev::FromPool(up) => self.reach_link(up),
            Ev::Pool(at) => self.run_pool(at),
            Ev::Router => self.run_router(),
            Ev::Beat => self.beat(),
            Ev::Fault(at) => self.befall(self.plan.faults[at].1),
            Ev::Check(at) => self.look(at),
        }
    }

    /// When a task that is woken now will run.
    pub fn soon(&mut self) -> Ns {
        self.clock.now() + below(&mut self.rng, TURN)
    }

    pub fn wake_session(&mut self, conn: usize) {
        let at = self.soon();
        if let Some(Some(awake)) = self.conns.get_mut(conn).map(|c| c.as_mut())
            && !std::mem::replace(&mut awake.awake, true)
        {
            self.clock.plan(at, Ev::Session(conn));
        }
    }

    pub fn wake_link(&mut self, link: usize) {
        let at = self.soon();
        if !std::mem::replace(&mut self.links[link].awake, true) {
            self.clock.plan(at, Ev::Link(link));
        }
    }

    pub fn wake_router(&mut self) {
        let at = self.soon();
        if !std::mem::replace(&mut self.router.awake, true) {
            self.clock.plan(at, Ev::Router);
        }
    }

    /// A rule is broken.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.books.fail(self.clock.now(), what);
    }
}

/// The machine's configuration of one link.
pub fn link_config(plan: &Plan, at: usize) -> sluice::proxy::link::Config {
    use sluice::proxy::link::{Config, Identity, Protocol};
    let by_worker = plan.pools[at].by_worker;
    Config {
        id: LinkId(at as u16),
        name: format!("pool{at}"),
        protocol: if plan.pools[at].v2.is_some() {
            Protocol::V2
        } else {
            Protocol::V1
        },
        host: "pool.invalid".into(),
        port: 3333,
        tls: false,
        user: if by_worker {
            "account.{worker}"
        } else {
            "account"
        }
        .into(),
        password: "x".into(),
        identity: if by_worker {
            Identity::Worker
        } else {
            Identity::Account
        },
        version_mask: POLICY,
        reconnect_hosts: Vec::new(),
        shares_per_second: plan.shares_per_second,
        easiest: sluice::work::Difficulty::MIN,
        refresh: plan.refresh,
        seed: plan.seed ^ at as u64,
    }
}

/// The machine's configuration of the router.
pub fn router_config(plan: &Plan) -> sluice::proxy::router::Config {
    use sluice::proxy::router::{Config, Pool};
    let pool = |(at, pool): (usize, &crate::plan::PoolPlan)| Pool {
        id: LinkId(at as u16),
        tier: pool.tier,
        share: pool.share,
    };
    Config {
        pools: plan.pools.iter().enumerate().map(pool).collect(),
        listeners: vec![(0..plan.pools.len()).map(|at| LinkId(at as u16)).collect()],
        version_mask: POLICY,
        layout: plan.layout,
        first_lane: Lane(plan.first_lane),
        rest: Duration::from_secs(120),
        rest_vanished: Duration::from_secs(600),
        dwell: plan.dwell,
        failback_after: plan.failback,
        layout_wait: Duration::from_secs(10),
    }
}
