//! Drives session machines as `tasks/session.rs` does: the same order of events, outputs, waits and ends, in virtual time.
//!
//! Invariant: whatever the task would await for is a state here (`Parked`, a mailbox), and nothing is read meanwhile.

use crate::clock::{Ns, S};
use crate::conn::{Conn, Held, Mailbox, Parked, Wire};
use crate::event::Ev;
use crate::pipe::Item;
use crate::world::World;
use sluice::proxy::lease::{ListenerId, ResumeToken, SessionId, Submission};
use sluice::proxy::router;
use sluice::proxy::session::v2::Output;
use sluice::proxy::session::{self, Close, Event, Input};
use sluice::proxy::tally::Drop as Dropped;
use sluice::work::{LinkId, share};

const LINES_A_TURN: usize = 32;
const SLOW_READER: Ns = 30 * S;
/// Rounds of one turn that no honest task needs.
const SPINNING: u32 = 5000;
const LINK_WAIT: Ns = 2 * S;

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
        if conn.live && !self.turn(id, &mut conn) {
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
                conn.wire.close(instant, why);
                continue;
            }
            if conn.wire.has_more() && may_read(self, conn) {
                self.read(conn, &[]);
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
        if self.open_mail(conn, blocked) {
            return true;
        }
        if blocked && self.write(id, conn) {
            conn.blocked_since = None;
        } else if !blocked && may_read(self, conn) && !conn.inbox.is_empty() {
            let chunk = conn.inbox.pop_front().expect("just looked");
            self.read(conn, &chunk);
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
        let timeout = conn.wire.poll_timeout();
        let paused = conn.wire.paused_until(instant);
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
            conn.wire.handle_timeout(instant);
        }
        true
    }

    fn read(&mut self, conn: &mut Conn, chunk: &[u8]) {
        let now = (self.clock.now(), self.clock.instant());
        let (books, miner) = (&mut self.books, conn.miner);
        conn.wire.read(books, now, miner, chunk, LINES_A_TURN);
    }

    /// Everything that came by mail; work last and once, so that it can go to all channels together.
    fn open_mail(&mut self, conn: &mut Conn, blocked: bool) -> bool {
        let mut came = false;
        for at in 0..conn.held.len() {
            came |= self.seated(conn, at) | self.ordered(conn, at);
        }
        let mut links: Vec<usize> = Vec::new();
        for held in conn.held.iter_mut().filter(|_| !blocked) {
            if let Some(link) = held.follow
                && self.links[link].version > held.work_seen
            {
                held.work_seen = self.links[link].version;
                links.push(link);
            }
        }
        links.sort_unstable();
        links.dedup();
        let now = self.clock.instant();
        for link in links {
            came = true;
            if let Some(issue) = self.links[link].published.clone() {
                conn.wire.issue(now, &issue);
            }
        }
        came
    }

    fn seated(&mut self, conn: &mut Conn, at: usize) -> bool {
        let now = self.clock.instant();
        let held = &mut conn.held[at];
        let Mailbox::Reply(reply) = std::mem::replace(&mut held.seat, Mailbox::Waiting) else {
            return false;
        };
        held.seat = Mailbox::Empty;
        let id = held.id;
        match reply {
            Ok((seat, lease)) => {
                let own = usize::from(seat.layout.lane - seat.width);
                held.lane = seat.lane.bytes(seat.layout)[..own].to_vec();
                held.orders.get_or_insert(lease);
                conn.wire.tell(now, id, Input::Seated(seat, lease));
                self.follow(conn, at, lease.link);
            }
            Err(why) => conn.wire.tell(now, id, Input::NoSeat(why)),
        }
        true
    }

    fn ordered(&mut self, conn: &mut Conn, at: usize) -> bool {
        let now = self.clock.instant();
        let held = &mut conn.held[at];
        if !std::mem::take(&mut held.order_news) {
            return false;
        }
        if let Some(why) = held.order_close {
            conn.wire.tell(now, held.id, Input::Close(why));
        } else if let Some(lease) = held.orders {
            conn.wire.tell(now, held.id, Input::Lease(lease));
            self.follow(conn, at, lease.link);
        }
        true
    }

    fn follow(&mut self, conn: &mut Conn, at: usize, link: Option<LinkId>) {
        let held = &mut conn.held[at];
        let link = link.map(|link| usize::from(link.0));
        if held.lease.map(|(_, link)| link) != link {
            held.lease = link.map(|link| (self.clock.now(), link));
        }
        held.follow = link;
        held.work_seen = 0;
    }

    /// `false`: a share waits for room.
    fn carry_out(&mut self, id: usize, conn: &mut Conn) -> bool {
        let now = self.clock.instant();
        loop {
            while let Some(output) = conn.wire.poll_output() {
                match output {
                    Output::Send(bytes) => {
                        self.say(conn, &bytes);
                        conn.out.extend_from_slice(&bytes);
                    }
                    Output::Of(of, session::Output::Submit(share)) => {
                        if !self.submit(id, of, conn, share) {
                            return false;
                        }
                    }
                    Output::Of(of, output) => self.act(id, conn, of, output),
                    Output::Root(of, work, lane) => conn.roots_asked.push((of, work, lane)),
                    Output::Closed(of, _) => self.channel_closed(conn, of),
                    Output::Close(why) => conn.close = Some(why),
                }
            }
            if conn.shares_asked.is_empty() && conn.roots_asked.is_empty() {
                return true;
            }
            for (of, request) in std::mem::take(&mut conn.shares_asked) {
                let proof = share::prove(&request.work, request.lane, &request.share);
                conn.wire.tell(now, of, Input::Judged(&request, &proof));
            }
            for (of, work, lane) in std::mem::take(&mut conn.roots_asked) {
                let mut roots = [[0; 32]];
                share::roots(&work, &[(lane, [0; 8])], &mut roots);
                conn.wire.root(now, of, &work, roots[0]);
            }
        }
    }

    fn say(&mut self, conn: &mut Conn, bytes: &[u8]) {
        let Conn {
            wire, miner, held, ..
        } = conn;
        wire.sent(&mut self.books, self.clock.now(), *miner, held, bytes);
    }

    fn act(&mut self, id: usize, conn: &mut Conn, of: SessionId, output: session::Output) {
        let now = self.clock.instant();
        match output {
            session::Output::Judge(request) => {
                // One by one, or with whatever else came in this turn.
                if matches!(conn.wire, Wire::V2 { .. }) {
                    return conn.shares_asked.push((of, request));
                }
                let proof = share::prove(&request.work, request.lane, &request.share);
                conn.wire.tell(now, of, Input::Judged(&request, &proof));
            }
            session::Output::Attach(attach) => {
                let mut token = [0; 16];
                token[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
                token[8..].copy_from_slice(&self.rng.next_u64().to_le_bytes());
                conn.held.push(Held::new(of));
                self.homes.insert(of, id);
                self.tell_router(router::Input::Attach {
                    session: of,
                    listener: ListenerId(0),
                    attach,
                    token: ResumeToken(token),
                });
            }
            session::Output::Refresh(link) => {
                self.links[usize::from(link.0)].refresh = true;
                self.wake_link(usize::from(link.0));
            }
            other => self.told(of, other),
        }
    }

    /// What needs neither answer nor wait.
    fn told(&mut self, of: SessionId, output: session::Output) {
        match output {
            session::Output::Observe(seen) => {
                self.books.observed(&seen.judged);
                if let Some(link) = seen.link {
                    let proven = seen.judged.accepted.hashes;
                    self.router.works.push((seen.session, link, proven));
                }
            }
            session::Output::Event(Event::Capability {
                version_mask,
                min_bits,
            }) => self.tell_router(router::Input::Capability {
                session: of,
                version_mask,
                min_bits,
            }),
            _ => {}
        }
    }

    /// To the link the work came from. `false`: parked.
    fn submit(
        &mut self,
        id: usize,
        of: SessionId,
        conn: &mut Conn,
        share: Box<Submission>,
    ) -> bool {
        let (worker, hashes) = (share.worker.clone(), share.work.pool_difficulty.hashes());
        let link = usize::from(share.work.link.0);
        let task = &mut self.links[link];
        if task.shares.len() < self.plan.link_queue {
            task.shares.push_back(share);
            self.wake_link(link);
            let now = self.clock.instant();
            let done = Input::Submitted(&worker, Ok(()), hashes);
            conn.wire.tell(now, of, done);
            return true;
        }
        task.waiters.push_back(id);
        let until = self.clock.now() + LINK_WAIT;
        self.books.parked += 1;
        conn.parked = Some(Parked {
            of,
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
        let Some(Parked {
            of, worker, hashes, ..
        }) = conn.parked.take()
        else {
            return true;
        };
        let now = self.clock.instant();
        let done = Input::Submitted(&worker, result, hashes);
        conn.wire.tell(now, of, done);
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
        while let Some(output) = conn.wire.poll_output() {
            match output {
                Output::Of(of, session::Output::Submit(share)) => {
                    let done = self.submit(id, of, conn, share);
                    if !done {
                        return false;
                    }
                }
                Output::Of(
                    of,
                    output @ (session::Output::Observe(_) | session::Output::Event(_)),
                ) => self.told(of, output),
                // Nobody reads it, but it was the answer.
                Output::Send(bytes) => self.say(conn, &bytes),
                Output::Closed(of, _) => self.channel_closed(conn, of),
                _ => {}
            }
        }
        true
    }

    /// A seat goes back.
    fn channel_closed(&mut self, conn: &mut Conn, of: SessionId) {
        let mut memory = conn.wire.take_memory(of);
        let miner = conn.miner;
        if let Wire::V2 { tap, .. } = &mut conn.wire {
            tap.gone(&mut self.books, self.clock.now(), miner, of);
        }
        self.books.gone(of);
        let Some(at) = conn.held.iter().position(|held| held.id == of) else {
            return;
        };
        let held = conn.held.remove(at);
        if let Mailbox::Reply(Ok((seat, _))) = held.seat {
            let worked = !seat.memory.sent.is_empty();
            memory = Some((seat.lane, seat.memory, worked));
        }
        self.homes.remove(&of);
        self.tell_router(router::Input::Detach {
            session: of,
            memory,
            vanished: conn.vanished || conn.close == Some(Close::SlowReader),
        });
    }

    /// The task is over: the seats go back, the miner sees the end.
    fn close_down(&mut self, id: usize, conn: &mut Conn) {
        conn.live = false;
        if matches!(conn.wire, Wire::V2 { .. }) {
            for seen in conn.wire.last_observations() {
                self.told(seen.session, session::Output::Observe(Box::new(seen)));
            }
        }
        for of in conn.held.iter().map(|held| held.id).collect::<Vec<_>>() {
            self.channel_closed(conn, of);
        }
        let why = conn.close.unwrap_or(Close::Peer);
        let (left, tainted) = (conn.left, conn.tainted);
        self.books
            .closed(self.clock.now(), conn.miner, why, left, tainted);
        self.hang_up_on(id, conn);
    }
}

fn may_read(world: &World, conn: &Conn) -> bool {
    let now = world.clock.instant();
    conn.out.is_empty() && conn.close.is_none() && conn.wire.paused_until(now).is_none()
}
