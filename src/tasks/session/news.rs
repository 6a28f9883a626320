//! What reaches a session from its mailbox: its seat, its orders, new work, the drain.
//!
//! Invariant: while the miner does not read, newer work only replaces older.

use super::super::mail::{DRAIN, ORDERS, SEAT, WORK};
use super::super::{Published, SeatReply, SessionOrders};
use super::Conn;
use crate::machine::Machine;
use crate::proxy::session::Input;
use crate::work::LinkId;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// Takes what these flags announce.
    pub(super) fn opened(&mut self, now: Instant, flags: u8) {
        if flags & SEAT != 0
            && let Some(reply) = self.mailbox.take_seat()
        {
            self.seated(now, reply);
        }
        if flags & ORDERS != 0 {
            let orders = self.mailbox.orders();
            let SessionOrders { lease, close, .. } = orders;
            match close {
                Some(why) => self.session.handle_input(now, Input::Close(why)),
                None => {
                    self.session.handle_input(now, Input::Lease(lease));
                    self.follow(now, lease.link);
                    self.watched(now, orders.watched);
                }
            }
        }
        if flags & WORK != 0 {
            self.worked(now);
        }
        if flags & DRAIN != 0 {
            self.session.handle_input(now, Input::Drain);
        }
    }

    fn seated(&mut self, now: Instant, reply: SeatReply) {
        match reply {
            Ok((seat, lease)) => {
                self.session.handle_input(now, Input::Seated(seat, lease));
                self.follow(now, lease.link);
            }
            Err(why) => self.session.handle_input(now, Input::NoSeat(why)),
        }
    }

    fn watched(&mut self, now: Instant, watched: bool) {
        if std::mem::replace(&mut self.watched, watched) != watched {
            self.session.handle_input(now, Input::Watched(watched));
        }
    }

    /// Listens to the work of the leased link.
    fn follow(&mut self, now: Instant, link: Option<LinkId>) {
        self.shard.hub.board.leased(self.id, link);
        self.link = link;
        self.mailbox.follow(link);
        self.worked(now);
    }

    /// Takes the newest work of its link; while the miner does not read, newer work only replaces older.
    pub(super) fn worked(&mut self, now: Instant) {
        if !self.out.is_clear() {
            self.work_waits = true;
            return;
        }
        let Some(port) = self
            .link
            .and_then(|link| self.shard.hub.links.get(usize::from(link.0)))
        else {
            return;
        };
        let Some(Published { issue, at }) = port.work.borrow().clone() else {
            return;
        };
        self.out.job_from = Some(at);
        self.session.handle_input(now, Input::Issue(&issue));
    }
}
