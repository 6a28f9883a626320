//! Drives session machines as `tasks/session.rs` does: the same order of events, outputs, waits and ends, in virtual time.
//!
//! Invariant: whatever the task would await for is a state here (`Parked`, a mailbox), and nothing is read meanwhile.

use crate::clock::{Ns, S};
use crate::event::Ev;
use crate::lines::DownTap;
use crate::pipe::{Item, Pipe};
use crate::world::World;
use sluice::machine::Machine;
use sluice::proxy::lease::{Lease, ListenerId, ResumeToken, SessionId, Submission};
use sluice::proxy::router;
use sluice::proxy::session::{Close, Event, Input, NoSeat, Output, Session};
use sluice::proxy::tally::Drop as Dropped;
use sluice::stratum::v1::line::Lines;
use sluice::work::{LinkId, share};
use std::collections::VecDeque;
use std::sync::Arc;

const MAX_LINE: usize = 4096;
const LINES_A_TURN: usize = 32;
const SLOW_READER: Ns = 30 * S;
/// Rounds of one turn that no honest task needs.
const SPINNING: u32 = 5000;
const LINK_WAIT: Ns = 2 * S;

/// The router's answer to an attach.
pub type SeatReply = Result<(Box<sluice::proxy::lease::Seat>, Lease), NoSeat>;

/// The oneshot of an attach.
#[derive(Debug, Default)]
pub enum Mailbox {
    /// Nothing was asked.
    #[default]
    None,
    /// Asked.
    Waiting,
    /// Answered.
    Reply(SeatReply),
}

/// A share that waits for room in a link's queue.
#[derive(Debug)]
pub struct Parked {
    /// The share; `None` once the link has taken it.
    pub share: Option<Box<Submission>>,
    worker: Arc<str>,
    hashes: u128,
    until: Ns,
}

/// One connection, both of its directions, and the task that serves it.
#[derive(Debug)]
pub struct Conn {
    pub miner: usize,
    pub up: Pipe,
    pub down: Pipe,
    pub session: Option<Session>,
    pub tap: DownTap,
    pub awake: bool,
    pub seat: Mailbox,
    pub orders: Option<Lease>,
    pub order_news: bool,
    pub order_close: Option<Close>,
    pub follow: Option<usize>,
    pub parked: Option<Parked>,
    pub blocked_since: Option<Ns>,
    /// The miner's side is gone (it hung up, or was cut).
    pub left: bool,
    work_seen: u64,
    inbox: VecDeque<Vec<u8>>,
    peer_ended: Option<bool>,
    lines: Lines,
    out: Vec<u8>,
    close: Option<Close>,
    vanished: bool,
    ending: bool,
    timer: Option<Ns>,
    armed: Option<Ns>,
}

impl Conn {
    /// Just accepted.
    pub fn new(miner: usize, up: Pipe, down: Pipe, session: Session) -> Self {
        Self {
            miner,
            up,
            down,
            session: Some(session),
            tap: DownTap::default(),
            awake: false,
            seat: Mailbox::None,
            orders: None,
            order_news: false,
            order_close: None,
            follow: None,
            parked: None,
            blocked_since: None,
            left: false,
            work_seen: 0,
            inbox: VecDeque::new(),
            peer_ended: None,
            lines: Lines::new(MAX_LINE),
            out: Vec::new(),
            close: None,
            vanished: false,
            ending: false,
            timer: None,
            armed: None,
        }
    }

    fn machine(&mut self) -> &mut Session {
        self.session
            .as_mut()
            .expect("it ends in `end_session` alone")
    }
}

impl World {
    pub fn reach_session(&mut self, id: usize) {
        let now = self.clock.now();
        loop {
            let Some(conn) = self.conns[id].as_deref_mut() else {
                return;
            };
            match conn.up.pop(now) {
                Ok(None) => return,
                Err(later) => return self.clock.plan(later, Ev::ToSession(id)),
                Ok(Some(parcel)) => match parcel.item {
                    Item::Bytes(bytes) => conn.inbox.push_back(bytes),
                    Item::Fin => conn.peer_ended = Some(false),
                    Item::Rst => conn.peer_ended = Some(true),
                },
            }
            self.wake_session(id);
        }
    }

    pub fn run_session(&mut self, id: usize) {
        // Taken out, because its turn reaches into everything else.
        let Some(mut conn) = self.conns[id].take() else {
            return;
        };
        conn.awake = false;
        if conn.session.is_some() && !self.turn(id, &mut conn) {
            self.close_down(id, &mut conn);
        }
        self.conns[id] = Some(conn);
    }

    /// `false`: the task has ended.
    fn turn(&mut self, id: usize, conn: &mut Conn) -> bool {
        let now = self.clock.now();
        if !self.unpark(conn) {
            return true;
        }
        for step in 0.. {
            if step == SPINNING {
                panic!("session {id} spins");
            }
            if conn.ending {
                return !self.end_session(id, conn);
            }
            if !self.carry_out(id, conn) {
                return true;
            }
            self.flush(id, conn);
            if conn.close.is_some() && (conn.out.is_empty() || conn.blocked_since.is_some()) {
                conn.ending = true;
                let why = conn.close.unwrap_or(Close::Peer);
                let instant = self.clock.instant();
                conn.machine().handle_input(instant, Input::Close(why));
                continue;
            }
            if conn.lines.has_line() && may_read(self, conn) {
                self.read_lines(conn, &[]);
                continue;
            }
            if !self.next_event(id, conn, now) {
                return true;
            }
        }
        true
    }

    /// One event of the task's select, in its order. `false`: there is none, the timer is set.
    fn next_event(&mut self, id: usize, conn: &mut Conn, now: Ns) -> bool {
        let blocked = !conn.out.is_empty();
        if let Mailbox::Reply(_) = conn.seat {
            self.seated(conn);
        } else if std::mem::take(&mut conn.order_news) {
            self.ordered(conn);
        } else if !blocked
            && conn
                .follow
                .is_some_and(|l| self.links[l].version > conn.work_seen)
        {
            self.worked(conn);
        } else if blocked && self.write(id, conn) {
            conn.blocked_since = None;
        } else if !blocked && may_read(self, conn) && !conn.inbox.is_empty() {
            let chunk = conn.inbox.pop_front().expect("just looked");
            self.read_lines(conn, &chunk);
        } else if !blocked && may_read(self, conn) && conn.peer_ended.is_some() {
            conn.vanished = conn.peer_ended == Some(true);
            conn.close.get_or_insert(Close::Peer);
        } else if blocked && conn.peer_ended == Some(true) {
            conn.vanished = true;
            conn.close.get_or_insert(Close::Peer);
            conn.out.clear();
        } else {
            return self.timer(id, conn, now);
        }
        true
    }

    fn timer(&mut self, id: usize, conn: &mut Conn, now: Ns) -> bool {
        let instant = self.clock.instant();
        let machine = conn.machine();
        let timeout = machine.poll_timeout().map(|(at, _)| at);
        let paused = machine.paused_until(instant);
        let times = [timeout, paused].into_iter().flatten();
        let slow = conn.blocked_since.map(|since| since + SLOW_READER);
        let due = times.map(|at| self.clock.ns(at)).chain(slow).min();
        let due = due.unwrap_or(now + 3600 * S);
        if due > now && conn.timer.is_none_or(|at| at > now) {
            conn.timer = Some(due);
            // An event that comes earlier looks again; one more for every change would drown a large world.
            if conn.armed.is_none_or(|at| at <= now || at > due) {
                conn.armed = Some(due);
                self.clock.plan(due, Ev::Session(id));
            }
            return false;
        }
        conn.timer = None;
        if conn
            .blocked_since
            .is_some_and(|since| now >= since + SLOW_READER)
        {
            conn.close = Some(Close::SlowReader);
        } else {
            conn.machine().handle_timeout(instant);
        }
        true
    }

    fn read_lines(&mut self, conn: &mut Conn, mut chunk: &[u8]) {
        let now = self.clock.instant();
        let Conn {
            lines,
            session,
            tap,
            miner,
            ..
        } = conn;
        let session = session.as_mut().expect("read before the end");
        for _ in 0..LINES_A_TURN {
            match lines.next(&mut chunk) {
                Some(Ok(line)) => {
                    tap.read(&mut self.books, self.clock.now(), *miner, line);
                    session.handle_input(now, Input::Line(line));
                }
                Some(Err(_)) => session.handle_input(now, Input::Overlong),
                None => break,
            }
        }
        lines.keep(chunk);
    }

    fn seated(&mut self, conn: &mut Conn) {
        let now = self.clock.instant();
        match std::mem::take(&mut conn.seat) {
            Mailbox::Reply(Ok((seat, lease))) => {
                conn.orders.get_or_insert(lease);
                conn.machine().handle_input(now, Input::Seated(seat, lease));
                self.follow(conn, lease.link);
            }
            Mailbox::Reply(Err(why)) => conn.machine().handle_input(now, Input::NoSeat(why)),
            _ => {}
        }
    }

    fn ordered(&mut self, conn: &mut Conn) {
        let now = self.clock.instant();
        if let Some(why) = conn.order_close {
            return conn.machine().handle_input(now, Input::Close(why));
        }
        let Some(lease) = conn.orders else { return };
        conn.machine().handle_input(now, Input::Lease(lease));
        self.follow(conn, lease.link);
    }

    fn follow(&mut self, conn: &mut Conn, link: Option<LinkId>) {
        let link = link.map(|link| usize::from(link.0));
        conn.tap.leased(self.clock.now(), link);
        conn.follow = link;
        self.worked(conn);
    }

    fn worked(&mut self, conn: &mut Conn) {
        let Some(link) = conn.follow else { return };
        conn.work_seen = self.links[link].version;
        let Some(issue) = self.links[link].published.clone() else {
            return;
        };
        let now = self.clock.instant();
        conn.machine().handle_input(now, Input::Issue(&issue));
    }

    /// `false`: a share waits for room.
    fn carry_out(&mut self, id: usize, conn: &mut Conn) -> bool {
        let now = self.clock.instant();
        while let Some(output) = conn.machine().poll_output() {
            match output {
                Output::Send(bytes) => {
                    let Conn {
                        tap, miner, out, ..
                    } = conn;
                    tap.sent(&mut self.books, self.clock.now(), *miner, &bytes);
                    out.extend_from_slice(&bytes);
                }
                Output::Judge(request) => {
                    let proof = share::prove(&request.work, request.lane, &request.share);
                    conn.machine()
                        .handle_input(now, Input::Judged(&request, &proof));
                }
                Output::Submit(share) => match self.submit(id, conn, share) {
                    true => {}
                    false => return false,
                },
                Output::Attach(attach) => {
                    let mut token = [0; 16];
                    token[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
                    token[8..].copy_from_slice(&self.rng.next_u64().to_le_bytes());
                    conn.seat = Mailbox::Waiting;
                    self.tell_router(router::Input::Attach {
                        session: SessionId(id as u64),
                        listener: ListenerId(0),
                        attach,
                        token: ResumeToken(token),
                    });
                }
                Output::Refresh(link) => {
                    self.links[usize::from(link.0)].refresh = true;
                    self.wake_link(usize::from(link.0));
                }
                Output::Close(why) => conn.close = Some(why),
                other => self.told(id, other),
            }
        }
        true
    }

    /// What needs neither answer nor wait.
    fn told(&mut self, id: usize, output: Output) {
        match output {
            Output::Observe(seen) => {
                self.books.observed(&seen.judged);
                if let Some(link) = seen.link {
                    let proven = seen.judged.accepted.hashes;
                    self.router.works.push((seen.session, link, proven));
                }
            }
            Output::Event(Event::Capability {
                version_mask,
                min_bits,
            }) => self.tell_router(router::Input::Capability {
                session: SessionId(id as u64),
                version_mask,
                min_bits,
            }),
            _ => {}
        }
    }

    /// To the link the work came from. `false`: parked.
    fn submit(&mut self, id: usize, conn: &mut Conn, share: Box<Submission>) -> bool {
        let (worker, hashes) = (share.worker.clone(), share.work.pool_difficulty.hashes());
        let link = usize::from(share.work.link.0);
        let task = &mut self.links[link];
        if task.shares.len() < self.plan.link_queue {
            task.shares.push_back(share);
            self.wake_link(link);
            let now = self.clock.instant();
            let done = Input::Submitted(&worker, Ok(()), hashes);
            conn.machine().handle_input(now, done);
            return true;
        }
        task.waiters.push_back(id);
        let until = self.clock.now() + LINK_WAIT;
        self.books.parked += 1;
        conn.parked = Some(Parked {
            share: Some(share),
            worker,
            hashes,
            until,
        });
        self.clock.plan(until, Ev::Session(id));
        false
    }

    /// `false`: still waiting.
    fn unpark(&mut self, conn: &mut Conn) -> bool {
        let Some(parked) = &conn.parked else {
            return true;
        };
        let result = match parked.share {
            None => Ok(()),
            Some(_) if self.clock.now() >= parked.until => Err(Dropped::LinkFull),
            Some(_) => return false,
        };
        let Some(Parked { worker, hashes, .. }) = conn.parked.take() else {
            return true;
        };
        let now = self.clock.instant();
        conn.machine()
            .handle_input(now, Input::Submitted(&worker, result, hashes));
        true
    }

    fn flush(&mut self, id: usize, conn: &mut Conn) {
        if !conn.out.is_empty() && conn.blocked_since.is_none() && !self.write(id, conn) {
            conn.blocked_since = Some(self.clock.now());
        }
    }

    /// As much as fits; `true`: all.
    fn write(&mut self, id: usize, conn: &mut Conn) -> bool {
        let fits = conn.down.free().min(conn.out.len());
        if fits > 0 {
            let bytes: Vec<u8> = conn.out.drain(..fits).collect();
            let at = conn
                .down
                .push(self.clock.now(), &mut self.rng, Item::Bytes(bytes));
            self.clock.plan(at, Ev::ToMiner(id));
        }
        conn.out.is_empty()
    }

    /// The task's `end`; `true`: done.
    fn end_session(&mut self, id: usize, conn: &mut Conn) -> bool {
        while let Some(output) = conn.machine().poll_output() {
            match output {
                Output::Submit(share) => match self.submit(id, conn, share) {
                    true => {}
                    false => return false,
                },
                Output::Observe(_) | Output::Event(_) => self.told(id, output),
                Output::Send(bytes) => {
                    // Nobody reads it, but it was the answer.
                    let Conn { tap, miner, .. } = conn;
                    tap.sent(&mut self.books, self.clock.now(), *miner, &bytes);
                }
                _ => {}
            }
        }
        true
    }

    /// The task is over: the seat goes back, the miner sees the end.
    fn close_down(&mut self, id: usize, conn: &mut Conn) {
        let mut session = conn.session.take().expect("it ends once");
        let asked = !matches!(conn.seat, Mailbox::None) || conn.orders.is_some();
        let mut memory = session.take_memory();
        if let Mailbox::Reply(Ok((seat, _))) = std::mem::take(&mut conn.seat) {
            let worked = !seat.memory.sent.is_empty();
            memory = Some((seat.lane, seat.memory, worked));
        }
        if asked {
            self.tell_router(router::Input::Detach {
                session: SessionId(id as u64),
                memory,
                vanished: conn.vanished,
            });
        }
        let why = conn.close.unwrap_or(Close::Peer);
        let (left, tainted) = (conn.left, conn.tap.tainted);
        self.books
            .closed(self.clock.now(), conn.miner, why, left, tainted);
        self.hang_up_on(id, conn);
    }
}

fn may_read(world: &World, conn: &mut Conn) -> bool {
    let now = world.clock.instant();
    conn.out.is_empty() && conn.close.is_none() && conn.machine().paused_until(now).is_none()
}
