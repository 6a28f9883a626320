//! The ends of the world: simulated miners and pools on their pipes. What befalls them is in `faults`.
//!
//! Invariant: a peer sees nothing but bytes and the end of a connection.

use crate::clock::{MS, Ns, S};
use crate::conn::{Conn, Wire};
use crate::cores::{Cutters, MinerCore, PoolCore};
use crate::event::Ev;
use crate::pipe::{Item, Pipe};
use crate::plan::{Cut, MinerPlan, PoolPlan, below};
use crate::world::World;
use sluice::proxy::lease::SessionId;
use sluice::proxy::session::{Session, v2};
use sluice::sim::poolcore::PoolOutput;
use std::time::Instant;

/// Send and receive buffers of a connection together, as a default kernel gives at least.
const ROOM: usize = 64 * 1024;

/// A simulated miner and its connection.
#[derive(Debug)]
pub struct MinerPeer {
    pub core: MinerCore,
    pub conn: Option<usize>,
    /// It shall not come back.
    pub retired: bool,
    /// Something was done to it that a watch on time must forgive.
    pub tainted: bool,
    /// Connections it lost through no fault of the proxy's.
    pub excused: u64,
    timer: Option<Ns>,
}

impl MinerPeer {
    /// Not connected.
    pub fn new(plan: &MinerPlan) -> Self {
        Self {
            core: MinerCore::new(plan),
            conn: None,
            retired: false,
            tainted: false,
            excused: 0,
            timer: None,
        }
    }
}

/// A simulated pool's process.
#[derive(Debug)]
pub struct PoolPeer {
    pub core: PoolCore,
    pub dead_until: Ns,
    pub frozen_until: Ns,
    pub frozen: bool,
    timer: Option<Ns>,
}

impl PoolPeer {
    /// Listening as soon as it opens.
    pub fn new(now: Instant, plan: &PoolPlan) -> Self {
        Self {
            core: PoolCore::new(now, plan),
            dead_until: plan.opens,
            frozen_until: 0,
            frozen: false,
            timer: None,
        }
    }
}

/// A connection to a pool.
#[derive(Debug)]
pub struct Up {
    pub link: usize,
    pub up: Pipe,
    pub down: Pipe,
    /// The link has let go of it.
    pub orphan: bool,
    /// The pool has closed it.
    pub closed: bool,
    cutters: Cutters,
}

impl World {
    // --- miners

    pub fn connect_miner(&mut self, at: usize) {
        let peer = &mut self.miners[at];
        if peer.conn.is_some() || peer.retired || self.ending {
            return;
        }
        let id = self.conns.len();
        let now = self.clock.instant();
        let own = SessionId(id as u64);
        let wire = if self.plan.miners[at].v2.is_some() {
            let ids = self.sessions.clone();
            Wire::v2(v2::Session::new(
                now,
                own,
                ids,
                self.config.clone(),
                self.mask,
            ))
        } else {
            Wire::v1(own, Session::new(now, own, self.config.clone(), self.mask))
        };
        let (latency, jitter) = self.plan.miners[at].latency;
        let pipe = || Pipe::new(latency, jitter, ROOM);
        self.conns
            .push(Some(Box::new(Conn::new(at, pipe(), pipe(), wire))));
        peer.conn = Some(id);
        peer.core.connected(now);
        self.wake_session(id);
        self.run_miner(at);
    }

    pub fn run_miner(&mut self, at: usize) {
        let now = self.clock.instant();
        let peer = &mut self.miners[at];
        let Some(id) = peer.conn else { return };
        peer.core.run(now);
        let torn = self.plan.miners[at].v2.is_some();
        while let Some(mut bytes) = peer.core.poll_bytes() {
            let Some(conn) = self.conns[id].as_deref_mut() else {
                return;
            };
            if torn && self.rng.chance(0.1) {
                let rest = bytes.split_off(below(&mut self.rng, bytes.len() as u64) as usize);
                let head = Item::Bytes(std::mem::replace(&mut bytes, rest));
                let arrival = conn.up.push(self.clock.now(), &mut self.rng, head);
                self.clock.plan(arrival, Ev::ToSession(id));
            }
            let arrival = conn
                .up
                .push(self.clock.now(), &mut self.rng, Item::Bytes(bytes));
            self.clock.plan(arrival, Ev::ToSession(id));
        }
        if peer.core.hangs_up() {
            peer.core.disconnected(false);
            return self.leave(at, Cut::Goodbye, Some(S));
        }
        let Some(due) = peer.core.due() else {
            return;
        };
        let due = self.clock.ns(due);
        if peer
            .timer
            .is_none_or(|timer| timer <= self.clock.now() || timer > due)
        {
            peer.timer = Some(due);
            self.clock.plan(due, Ev::Miner(at));
        }
    }

    pub fn reach_miner(&mut self, id: usize) {
        let now = self.clock.now();
        loop {
            let Some(conn) = self.conns[id].as_deref_mut() else {
                return;
            };
            let at = conn.miner;
            let current = self.miners[at].conn == Some(id);
            match conn.down.pop(now) {
                Ok(None) => return,
                Err(later) => return self.clock.plan(later, Ev::ToMiner(id)),
                Ok(Some(parcel)) if current => match parcel.item {
                    Item::Bytes(bytes) => self.miner_reads(at, &bytes),
                    Item::Fin | Item::Rst => {
                        let peer = &mut self.miners[at];
                        peer.core.disconnected(true);
                        peer.conn = None;
                        let back = now + 500 * MS + below(&mut self.rng, S);
                        self.clock.plan(back, Ev::Connect(at));
                    }
                },
                Ok(Some(_)) => {}
            }
            let Some(conn) = self.conns[id].as_deref_mut() else {
                return;
            };
            if conn.blocked_since.is_some() && conn.live {
                self.wake_session(id);
            }
            self.run_miner(at);
        }
    }

    fn miner_reads(&mut self, at: usize, bytes: &[u8]) {
        let now = self.clock.instant();
        if !self.miners[at].core.read(now, bytes) {
            self.fail("a line or frame too long for a miner");
        }
    }

    /// The miner's side of a connection ends.
    pub fn leave(&mut self, at: usize, cut: Cut, back: Option<Ns>) {
        let peer = &mut self.miners[at];
        peer.retired |= back.is_none();
        let Some(id) = peer.conn.take() else { return };
        let now = self.clock.now();
        if let Some(conn) = self.conns[id].as_deref_mut() {
            conn.left = true;
            let item = match cut {
                Cut::Goodbye => Some(Item::Fin),
                Cut::Reset => Some(Item::Rst),
                Cut::Silent => None,
            };
            match item {
                Some(item) => {
                    let arrival = conn.up.push(now, &mut self.rng, item);
                    self.clock.plan(arrival, Ev::ToSession(id));
                }
                None => (conn.up.dead, conn.down.dead) = (true, true),
            }
        }
        if let Some(after) = back {
            self.clock.plan(now + after, Ev::Connect(at));
        }
    }

    /// The proxy's side of a connection has ended.
    pub fn hang_up_on(&mut self, id: usize, conn: &mut Conn) {
        let at = conn.down.push(self.clock.now(), &mut self.rng, Item::Fin);
        self.clock.plan(at, Ev::ToMiner(id));
    }

    // --- pools

    pub fn connected(&mut self, link: usize) {
        let now = self.clock.now();
        if !self.links[link].connecting {
            return;
        }
        if self.pools[link].dead_until > now || self.ending {
            self.links[link].connected = Some(Err("refused"));
            return self.wake_link(link);
        }
        let (latency, jitter) = self.plan.pools[link].latency;
        let room = self.plan.unwritten.min(ROOM);
        let id = self.ups.len();
        self.ups.push(Some(Up {
            link,
            up: Pipe::new(latency, jitter, room.max(600)),
            down: Pipe::new(latency, jitter, ROOM),
            orphan: false,
            closed: false,
            cutters: Cutters::default(),
        }));
        self.pools[link].core.connected(id as u64);
        self.links[link].connected = Some(Ok(id));
        self.wake_link(link);
    }

    pub fn reach_pool(&mut self, id: usize) {
        let now = self.clock.now();
        let instant = self.clock.instant();
        loop {
            let Some(up) = self.ups[id].as_mut() else {
                return;
            };
            let link = up.link;
            if self.pools[link].frozen {
                return;
            }
            let parcel = match up.up.pop(now) {
                Ok(None) => break,
                Err(later) => {
                    self.clock.plan(later, Ev::ToPool(id));
                    break;
                }
                Ok(Some(parcel)) => parcel,
            };
            match parcel.item {
                Item::Bytes(bytes) if !up.closed => {
                    let (pool, books) = (&mut self.pools[link].core, &mut self.books);
                    pool.read(instant, (link, id), &mut up.cutters, books, &bytes);
                }
                Item::Bytes(_) => {}
                Item::Fin | Item::Rst => {
                    up.closed = true;
                    self.pools[link].core.disconnected(id as u64);
                }
            }
            self.wake_link(link);
            self.pool_writes(link);
        }
        let link = self.ups[id].as_ref().map(|up| up.link);
        if let Some(link) = link {
            self.run_pool(link);
        }
    }

    pub fn run_pool(&mut self, at: usize) {
        let now = self.clock.now();
        if self.pools[at].frozen || self.pools[at].dead_until > now {
            return;
        }
        let pool = &mut self.pools[at];
        if pool
            .core
            .poll_timeout()
            .is_some_and(|due| due <= self.clock.instant())
        {
            pool.core.handle_timeout(self.clock.instant());
        }
        if let Some(due) = pool.core.poll_timeout() {
            let due = self.clock.ns(due);
            if pool.timer.is_none_or(|timer| timer <= now || timer > due) {
                pool.timer = Some(due);
                self.clock.plan(due, Ev::Pool(at));
            }
        }
        self.pool_writes(at);
    }

    pub fn pool_writes(&mut self, at: usize) {
        let now = self.clock.now();
        while let Some(output) = self.pools[at].core.poll_output() {
            let (id, item) = match output {
                PoolOutput::Write(id, bytes) => (id as usize, Item::Bytes(bytes)),
                PoolOutput::Close(id) => (id as usize, Item::Rst),
            };
            let Some(up) = self.ups[id].as_mut() else {
                continue;
            };
            up.closed |= matches!(item, Item::Rst);
            let sends = match &item {
                Item::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            };
            let arrival = match (item, &self.plan.pools[at].v2) {
                (Item::Bytes(mut head), Some(_)) if self.plan.pools[at].torn => {
                    let cut = below(&mut self.rng, head.len() as u64) as usize;
                    let rest = Item::Bytes(head.split_off(cut));
                    let arrival = up.down.push(now, &mut self.rng, Item::Bytes(head));
                    self.clock.plan(arrival, Ev::FromPool(id));
                    up.down.push(now, &mut self.rng, rest)
                }
                (item, _) => up.down.push(now, &mut self.rng, item),
            };
            if let Some(bytes) = sends {
                if self.plan.pools[at].v2.is_some() {
                    self.books.pool_writes_frames(at, id, now, arrival, &bytes);
                } else {
                    self.books.pool_writes(at, id, now, arrival, &bytes);
                }
            }
            self.clock.plan(arrival, Ev::FromPool(id));
        }
    }

    pub fn reach_link(&mut self, id: usize) {
        let now = self.clock.now();
        loop {
            let Some(up) = self.ups[id].as_mut() else {
                return;
            };
            let (at, live) = (up.link, !up.orphan);
            match up.down.pop(now) {
                Ok(None) => return,
                Err(later) => return self.clock.plan(later, Ev::FromPool(id)),
                Ok(Some(parcel)) if live => match parcel.item {
                    Item::Bytes(bytes) => self.links[at].inbox.push_back(bytes),
                    Item::Fin | Item::Rst => self.links[at].ended = Some("reset"),
                },
                Ok(Some(_)) => {}
            }
            self.wake_link(at);
        }
    }

    /// The link closes its connection, or has lost it.
    pub fn let_go(&mut self, at: usize) {
        let link = &mut self.links[at];
        link.connecting = false;
        link.inbox.clear();
        link.ended = None;
        let Some(id) = link.up.take() else { return };
        if let Some(up) = self.ups[id].as_mut() {
            up.orphan = true;
            let arrival = up.up.push(self.clock.now(), &mut self.rng, Item::Fin);
            self.clock.plan(arrival, Ev::ToPool(id));
        }
    }

    /// A stopped pool goes on.
    pub fn thaw(&mut self, at: usize) {
        if std::mem::take(&mut self.pools[at].frozen) {
            for id in 0..self.ups.len() {
                if self.ups[id].as_ref().is_some_and(|up| up.link == at) {
                    self.reach_pool(id);
                }
            }
            self.run_pool(at);
        }
    }
}
