//! What reaches the channels of a connection from their mailboxes: seats, orders, new work, the drain.
//!
//! Invariant: work is given last and once, so that it can go to all channels together; while the client does not read,
//! newer work only replaces older.

use super::Conn;
use crate::machine::Machine;
use crate::proxy::session;
use crate::proxy::session::v2::Input;
use crate::tasks::mail::{DRAIN, ORDERS, SEAT, WORK};
use crate::work::LinkId;
use smallvec::SmallVec;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// Everything that came by mail; work last and once, so that it can go to all channels together.
    pub(super) fn open_mail(&mut self, now: Instant) {
        let mut links: SmallVec<[LinkId; 2]> = SmallVec::new();
        let mut flags = 0;
        if !self.held.iter().any(|held| held.id == self.own) {
            flags |= self.door.take() & DRAIN;
        }
        for at in 0..self.held.len() {
            let came = self.held[at].mailbox.take();
            flags |= came & DRAIN;
            if came & SEAT != 0 {
                self.seated(now, at);
            }
            if came & ORDERS != 0 {
                self.ordered(now, at);
            }
            if came & (SEAT | ORDERS | WORK) != 0 {
                links.extend(self.held[at].link);
            }
        }
        links.sort_unstable();
        links.dedup();
        self.worked(now, links);
        if flags & DRAIN != 0 {
            self.session.handle_input(now, Input::Drain);
        }
    }

    fn seated(&mut self, now: Instant, at: usize) {
        let Some(reply) = self.held[at].mailbox.take_seat() else {
            return;
        };
        let input = match reply {
            Ok((seat, lease)) => {
                self.follow(at, lease.link);
                session::Input::Seated(seat, lease)
            }
            Err(why) => session::Input::NoSeat(why),
        };
        let id = self.held[at].id;
        self.session.handle_input(now, Input::Of(id, input));
    }

    fn ordered(&mut self, now: Instant, at: usize) {
        let orders = self.held[at].mailbox.orders();
        let id = self.held[at].id;
        if let Some(why) = orders.close {
            let close = session::Input::Close(why);
            return self.session.handle_input(now, Input::Of(id, close));
        }
        self.follow(at, orders.lease.link);
        let lease = session::Input::Lease(orders.lease);
        self.session.handle_input(now, Input::Of(id, lease));
        let watched = orders.watched;
        if std::mem::replace(&mut self.held[at].watched, watched) != watched {
            let watched = session::Input::Watched(watched);
            self.session.handle_input(now, Input::Of(id, watched));
        }
    }

    fn follow(&mut self, at: usize, link: Option<LinkId>) {
        let held = &mut self.held[at];
        self.shard.hub.board.leased(held.id, link);
        held.link = link;
        held.mailbox.follow(link);
    }

    /// Takes the newest work of these links; while the client does not read, newer work only replaces older.
    pub(super) fn worked(&mut self, now: Instant, links: SmallVec<[LinkId; 2]>) {
        if !self.out.is_clear() {
            self.work_waits |= !links.is_empty();
            return;
        }
        for link in links {
            let port = self.shard.hub.links.get(usize::from(link.0));
            let Some(published) = port.and_then(|port| port.work.borrow().clone()) else {
                continue;
            };
            self.out.job_from = Some(published.at);
            self.session
                .handle_input(now, Input::Issue(&published.issue));
        }
    }
}
