//! What reaches a session from outside its socket: its seat, its orders, word of new work, the drain. Not a queue:
//! every entry is latest-wins state behind a flag.
//!
//! One per session instead of a watch channel each: a share is then handled without touching a lock or a waiter list.
//! Invariant: a flag is set after what it announces, and taken before that is read, so nothing is missed.

use super::{SeatReply, SessionOrders};
use crate::proxy::lease::Lease;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The router has answered.
pub const SEAT: u8 = 1;
/// The router has changed the lease, or ends the session.
pub const ORDERS: u8 = 2;
/// The leased link has new work.
pub const WORK: u8 = 4;
/// The process drains.
pub const DRAIN: u8 = 8;

/// Follows no link.
const NO_LINK: u32 = u32::MAX;

/// The letter box of one session.
#[derive(Debug)]
pub struct Mailbox {
    flags: AtomicU8,
    /// Whose work it wants to hear of.
    link: AtomicU32,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    waker: Option<Waker>,
    seat: Option<SeatReply>,
    orders: SessionOrders,
}

impl Default for Mailbox {
    fn default() -> Self {
        let lease = Lease {
            link: None,
            version_mask: 0,
        };
        let orders = SessionOrders {
            lease,
            close: None,
            watched: false,
        };
        Self {
            flags: AtomicU8::new(0),
            link: AtomicU32::new(NO_LINK),
            inside: Mutex::new(Inside {
                waker: None,
                seat: None,
                orders,
            }),
        }
    }
}

impl Mailbox {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Plain values: whole even if a holder panicked.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets flags and wakes the session.
    pub fn ring(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::Release);
        let waker = self.inside().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The router's answer to an attach.
    pub fn seat(&self, reply: SeatReply) {
        let mut inside = self.inside();
        if let Ok((_, lease)) = &reply {
            // What else it is told comes with the lease in force.
            inside.orders.lease = *lease;
        }
        inside.seat = Some(reply);
        drop(inside);
        self.ring(SEAT);
    }

    /// The router's later word.
    pub fn order(&self, change: impl FnOnce(&mut SessionOrders)) {
        change(&mut self.inside().orders);
        self.ring(ORDERS);
    }

    /// Whose waker to wake. Called when the session's task first waits, and again only if its waker ever differs.
    pub fn listen(&self, waker: &Waker) {
        self.inside().waker = Some(waker.clone());
    }

    /// Whether something has been announced.
    pub fn has_mail(&self) -> bool {
        self.flags.load(Ordering::Relaxed) != 0
    }

    /// What has been announced since the last call.
    pub fn take(&self) -> u8 {
        if self.flags.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.flags.swap(0, Ordering::Acquire)
    }

    /// The seat, once.
    pub fn take_seat(&self) -> Option<SeatReply> {
        self.inside().seat.take()
    }

    /// The orders in force.
    pub fn orders(&self) -> SessionOrders {
        self.inside().orders
    }

    /// From now on, new work of this link rings.
    pub fn follow(&self, link: Option<crate::work::LinkId>) {
        self.link.store(
            link.map_or(NO_LINK, |link| u32::from(link.0)),
            Ordering::Release,
        );
    }

    /// Whether it follows this link.
    pub fn follows(&self, link: crate::work::LinkId) -> bool {
        self.link.load(Ordering::Acquire) == u32::from(link.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::lease::{LaneMemory, ResumeToken, Seat};
    use crate::work::{Lane, Layout, LinkId};

    #[test]
    fn a_session_that_is_told_to_give_way_keeps_the_lease_of_its_seat() {
        let lease = Lease {
            link: Some(LinkId(3)),
            version_mask: 7,
        };
        let mailbox = Mailbox::default();
        let seat = Seat {
            lane: Lane(1),
            layout: Layout::WIDE,
            width: 0,
            token: ResumeToken([1; 16]),
            memory: LaneMemory::default(),
        };
        mailbox.seat(Ok((Box::new(seat), lease)));
        mailbox.order(|orders| orders.watched = true);
        assert_eq!(mailbox.orders().lease, lease);
    }
}
