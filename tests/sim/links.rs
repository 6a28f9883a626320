//! Drives link machines and the router as `tasks/link.rs` and `tasks/router.rs` do.
//!
//! Invariant: a link's queue is bounded; who waits for room gets it in the order of waiting.

use crate::clock::{Ns, S};
use crate::conn::{Conn, Held, Mailbox};
use crate::event::Ev;
use crate::pipe::Item;
use crate::plan::Plan;
use crate::upstream::Tap;
use crate::world::{World, link_config, router_config};
use sluice::machine::Machine;
use sluice::proxy::lease::{Issue, Lease, SessionId, Submission};
use sluice::proxy::link::{Input, Link, Output, Status};
use sluice::proxy::router::{self, Router};
use sluice::stratum::v1::line::Lines;
use sluice::stratum::v2::frame::{Frames, MAX_UP};
use sluice::work::{Layout, LinkId};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

const MAX_LINE: usize = 128 * 1024;
const BATCH: usize = 256;

/// What is left of a read.
#[derive(Debug)]
enum Cut {
    Lines(Lines),
    Frames(Frames),
}

impl Cut {
    fn of(v2: bool) -> Self {
        if v2 {
            Self::Frames(Frames::new(MAX_UP))
        } else {
            Self::Lines(Lines::new(MAX_LINE))
        }
    }

    fn read(&mut self, now: Instant, mut chunk: &[u8], machine: &mut Link) {
        match self {
            Self::Lines(lines) => {
                while let Some(line) = lines.next(&mut chunk) {
                    machine.handle_input(now, line.map_or(Input::Overlong, Input::Line));
                }
                lines.keep(chunk);
            }
            Self::Frames(frames) => {
                while let Some(frame) = frames.next(&mut chunk) {
                    machine.handle_input(now, frame.map_or(Input::Overlong, Input::Frame));
                }
                frames.keep(chunk);
            }
        }
    }
}

/// One link and its task.
#[derive(Debug)]
pub struct LinkTask {
    pub machine: Link,
    pub shares: VecDeque<Box<Submission>>,
    /// Sessions that wait for room.
    pub waiters: VecDeque<usize>,
    pub refresh: bool,
    pub published: Option<Arc<Issue>>,
    /// Counts what was published.
    pub version: u64,
    pub awake: bool,
    pub status: Option<Status>,
    /// The connection in force.
    pub up: Option<usize>,
    /// The outcome of an attempt.
    pub connected: Option<Result<usize, &'static str>>,
    pub connecting: bool,
    pub inbox: VecDeque<Vec<u8>>,
    pub ended: Option<&'static str>,
    pub tap: Tap,
    layout: Option<Layout>,
    fleet: f64,
    orders: bool,
    cut: Cut,
    out: Vec<u8>,
    timer: Option<Ns>,
}

impl LinkTask {
    /// Of a plan.
    pub fn new(now: Instant, plan: &Plan, at: usize, ids: Arc<AtomicU32>) -> Self {
        Self {
            machine: Link::new(now, link_config(plan, at), ids),
            shares: VecDeque::new(),
            waiters: VecDeque::new(),
            refresh: false,
            published: None,
            version: 0,
            awake: true,
            status: None,
            up: None,
            connected: None,
            connecting: false,
            inbox: VecDeque::new(),
            ended: None,
            tap: Tap::of(plan.pools[at].v2.is_some()),
            layout: None,
            fleet: 0.0,
            orders: false,
            cut: Cut::of(plan.pools[at].v2.is_some()),
            out: Vec::new(),
            timer: None,
        }
    }

    /// Whether its miners can work for it.
    pub fn is_up(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.up)
    }
}

/// The router and its task.
pub struct RouterTask {
    pub machine: Router,
    pub inbox: VecDeque<router::Input>,
    pub works: Vec<(SessionId, LinkId, u128)>,
    pub awake: bool,
    seated: HashMap<SessionId, ()>,
    timer: Option<Ns>,
}

impl RouterTask {
    /// Of a plan.
    pub fn new(now: Instant, plan: &Plan) -> Self {
        Self {
            machine: Router::new(now, router_config(plan)),
            inbox: VecDeque::new(),
            works: Vec::new(),
            awake: true,
            seated: HashMap::new(),
            timer: None,
        }
    }
}

impl World {
    pub fn run_link(&mut self, at: usize) {
        self.links[at].awake = false;
        for step in 0.. {
            if step == 5000 {
                panic!("link {at} spins");
            }
            self.carry_out_link(at);
            self.write_link(at);
            if !self.next_link_event(at) {
                return;
            }
        }
    }

    fn next_link_event(&mut self, at: usize) -> bool {
        let now = self.clock.instant();
        let room = self.links[at].out.len() < self.plan.unwritten;
        let link = &mut self.links[at];
        if let Some(chunk) = link.inbox.pop_front() {
            link.tap
                .received(&mut self.books, self.clock.now(), at, &chunk);
            link.cut.read(now, &chunk, &mut link.machine);
        } else if let Some(why) = link.ended.take() {
            self.let_go(at);
            self.links[at]
                .machine
                .handle_input(now, Input::Disconnected(why));
        } else if let Some(result) = link.connected.take() {
            link.connecting = false;
            match result {
                Ok(up) => {
                    link.up = Some(up);
                    link.cut = Cut::of(self.plan.pools[at].v2.is_some());
                    link.out.clear();
                    link.tap.connected(up);
                    link.machine.handle_input(now, Input::Connected);
                }
                Err(why) => link.machine.handle_input(now, Input::ConnectFailed(why)),
            }
        } else if std::mem::take(&mut link.orders) {
            if let Some(layout) = link.layout {
                link.machine.handle_input(now, Input::Layout(layout));
            }
            link.machine.handle_input(now, Input::Fleet(link.fleet));
        } else if std::mem::take(&mut link.refresh) {
            link.machine.handle_input(now, Input::Refresh);
        } else if room && !link.shares.is_empty() {
            self.take_shares(at);
        } else {
            return self.link_timer(at);
        }
        true
    }

    fn take_shares(&mut self, at: usize) {
        let now = self.clock.instant();
        for _ in 0..BATCH {
            let Some(share) = self.links[at].shares.pop_front() else {
                return;
            };
            self.admit_waiter(at);
            self.links[at]
                .machine
                .handle_input(now, Input::Submit(share));
        }
    }

    /// Room in the queue goes to who waits longest.
    fn admit_waiter(&mut self, at: usize) {
        while let Some(id) = self.links[at].waiters.pop_front() {
            let parked = self.conns[id]
                .as_mut()
                .and_then(|conn| conn.parked.as_mut());
            if let Some(share) = parked.and_then(|parked| parked.share.take()) {
                self.links[at].shares.push_back(share);
                return self.wake_session(id);
            }
        }
    }

    fn link_timer(&mut self, at: usize) -> bool {
        let now = self.clock.now();
        let link = &mut self.links[at];
        let Some((due, _)) = link.machine.poll_timeout() else {
            return false;
        };
        let due = self.clock.ns(due);
        if due <= now {
            link.machine.handle_timeout(self.clock.instant());
            return true;
        }
        if link.timer.is_none_or(|timer| timer <= now || timer > due) {
            link.timer = Some(due);
            self.clock.plan(due, Ev::Link(at));
        }
        false
    }

    fn carry_out_link(&mut self, at: usize) {
        while let Some(output) = self.links[at].machine.poll_output() {
            let now = self.clock.now();
            match output {
                Output::Connect(_) => {
                    self.links[at].connecting = true;
                    let latency = 2 * self.plan.pools[at].latency.0;
                    self.clock.plan(now + latency, Ev::Connected(at));
                }
                Output::Send(bytes) => {
                    let link = &mut self.links[at];
                    link.tap.sent(&mut self.books, now, at, &bytes);
                    link.out.extend_from_slice(&bytes);
                }
                Output::Disconnect => {
                    // What fits leaves, as a drain's last shares do; the rest is lost with the connection.
                    self.write_link(at);
                    let link = &mut self.links[at];
                    link.out.clear();
                    self.let_go(at);
                }
                Output::Issue(issue) => self.publish(at, issue),
                Output::Status(status) => {
                    self.status_changed(at, &status);
                    self.links[at].status = Some(status.clone());
                    self.tell_router(router::Input::Link(LinkId(at as u16), status));
                }
                Output::Settle(end) => self.books.settled(at, &end),
                Output::Event(_) => {}
            }
        }
    }

    fn publish(&mut self, at: usize, issue: Arc<Issue>) {
        self.work_published(at, &issue);
        let link = &mut self.links[at];
        link.published = Some(issue);
        link.version += 1;
        for id in 0..self.conns.len() {
            let of = |held: &Held| held.follow == Some(at);
            let follows = |conn: &Conn| conn.live && conn.held.iter().any(of);
            if self.conns[id].as_deref().is_some_and(follows) {
                self.wake_session(id);
            }
        }
    }

    fn write_link(&mut self, at: usize) {
        let link = &mut self.links[at];
        let Some(up) = link.up else { return };
        let Some(conn) = &mut self.ups[up] else {
            return;
        };
        let fits = conn.up.free().min(link.out.len());
        if fits == 0 {
            return;
        }
        let bytes: Vec<u8> = link.out.drain(..fits).collect();
        let arrival = conn
            .up
            .push(self.clock.now(), &mut self.rng, Item::Bytes(bytes));
        self.clock.plan(arrival, Ev::ToPool(up));
    }

    pub fn tell_router(&mut self, input: router::Input) {
        self.router.inbox.push_back(input);
        self.wake_router();
    }

    pub fn beat(&mut self) {
        for (session, link, proven) in std::mem::take(&mut self.router.works) {
            self.router.inbox.push_back(router::Input::Work {
                session,
                link,
                proven,
            });
        }
        self.wake_router();
        self.clock.plan(self.clock.now() + S, Ev::Beat);
    }

    pub fn run_router(&mut self) {
        self.router.awake = false;
        let now = self.clock.instant();
        self.carry_out_router();
        while let Some(input) = self.router.inbox.pop_front() {
            self.note_router_input(&input);
            if let router::Input::Detach { session, .. } = &input {
                self.router.seated.remove(session);
            }
            self.router.machine.handle_input(now, input);
            self.carry_out_router();
        }
        let due = self.router.machine.poll_timeout();
        if due.is_some_and(|(due, _)| due <= now) {
            self.router.machine.handle_timeout(now);
            self.carry_out_router();
        }
        if let Some((due, _)) = self.router.machine.poll_timeout() {
            let due = self.clock.ns(due);
            if self.router.timer != Some(due) {
                self.router.timer = Some(due);
                self.clock.plan(due, Ev::Router);
            }
        }
    }

    fn carry_out_router(&mut self) {
        while let Some(output) = self.router.machine.poll_output() {
            match output {
                router::Output::Seat(session, seat, lease) => self.seat(session, seat, lease),
                router::Output::NoSeat(session, why) => {
                    if let Some((id, held)) = self.waiting(session) {
                        held.seat = Mailbox::Reply(Err(why));
                        self.wake_session(id);
                    }
                }
                router::Output::Lease(session, lease) => {
                    self.order(session, |held| held.orders = Some(lease));
                }
                router::Output::Close(session, why) => {
                    self.order(session, |held| held.order_close = Some(why));
                }
                router::Output::Layout(layout) => {
                    for at in 0..self.links.len() {
                        self.links[at].layout = Some(layout);
                        self.links[at].orders = true;
                        self.wake_link(at);
                    }
                }
                router::Output::Fleet(link, rate) => {
                    let at = usize::from(link.0);
                    self.links[at].fleet = rate;
                    self.links[at].orders = true;
                    self.wake_link(at);
                }
                router::Output::Mask(_, mask) => self.mask = mask,
                router::Output::Event(event) => self.books.router_event(&event),
            }
        }
    }

    /// A seat of a connection that lives, and which that is.
    fn held(&mut self, session: SessionId) -> Option<(usize, &mut Held)> {
        let id = *self.homes.get(&session)?;
        let held = self.conns[id].as_deref_mut()?.held(session)?;
        Some((id, held))
    }

    fn waiting(&mut self, session: SessionId) -> Option<(usize, &mut Held)> {
        self.held(session)
            .filter(|(_, held)| matches!(held.seat, Mailbox::Waiting))
    }

    fn seat(&mut self, session: SessionId, seat: Box<sluice::proxy::lease::Seat>, lease: Lease) {
        self.note_seat(session, &seat);
        self.router.seated.insert(session, ());
        if let Some((id, held)) = self.waiting(session) {
            held.orders = Some(lease);
            held.seat = Mailbox::Reply(Ok((seat, lease)));
            return self.wake_session(id);
        }
        // The session is gone: its seat comes back.
        self.router.seated.remove(&session);
        let worked = !seat.memory.sent.is_empty();
        let memory = Some((seat.lane, seat.memory, worked));
        let input = router::Input::Detach {
            session,
            memory,
            vanished: false,
        };
        self.note_router_input(&input);
        self.router
            .machine
            .handle_input(self.clock.instant(), input);
    }

    fn order(&mut self, session: SessionId, change: impl FnOnce(&mut Held)) {
        if !self.router.seated.contains_key(&session) {
            return;
        }
        if let Some((id, held)) = self.held(session) {
            change(held);
            held.order_news = true;
            self.wake_session(id);
        }
    }
}
