//! Seats: which session holds which lane, and how it gets it back. Not leases.
//!
//! Invariant (I1): a lane has one holder; it changes hands only after its rest, or by the token of its last holder.

use super::Input;
use crate::proxy::lease::{LaneMemory, ListenerId, ResumeToken, Seat, SessionId};
use crate::proxy::session::Attach;
use crate::work::extranonce::Lanes;
use crate::work::{Lane, Layout};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// How long a resume waits for the old connection to let go, before it gets a fresh lane.
const HANDOVER: Duration = Duration::from_secs(2);

/// A session that asked for a seat.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) session: SessionId,
    pub(super) listener: ListenerId,
    pub(super) attach: Attach,
    pub(super) token: ResumeToken,
}

impl Wish {
    /// From the router's input; `None` for any other input.
    pub(super) fn from_input(input: Input) -> Option<Self> {
        match input {
            Input::Attach {
                session,
                listener,
                attach,
                token,
            } => Some(Self {
                session,
                listener,
                attach,
                token,
            }),
            _ => None,
        }
    }
}

/// What became of a wish.
#[derive(Debug)]
pub(super) enum Seating {
    Seated(Wish, Box<Seat>),
    /// The token's holder must go first; the wish waits.
    Evict(SessionId),
    Full(Wish),
}

/// A lane at rest and what it remembers.
#[derive(Debug)]
struct Rested {
    lane: Lane,
    memory: LaneMemory,
    until: Instant,
}

/// All seats of the process.
#[derive(Debug)]
pub(super) struct Seats {
    layout: Layout,
    lanes: Lanes,
    live: HashMap<ResumeToken, SessionId>,
    tokens: HashMap<SessionId, ResumeToken>,
    rested: HashMap<ResumeToken, Rested>,
    /// When rests end, in order.
    ends: BTreeMap<(Instant, Lane), ResumeToken>,
    /// Wishes that wait for a holder to let go, by that holder.
    handovers: BTreeMap<SessionId, (Wish, Instant)>,
}

impl Seats {
    pub(super) fn new(layout: Layout, first: Lane) -> Self {
        Self {
            layout,
            lanes: Lanes::new(layout, first),
            live: HashMap::new(),
            tokens: HashMap::new(),
            rested: HashMap::new(),
            ends: BTreeMap::new(),
            handovers: BTreeMap::new(),
        }
    }

    /// Seats a session: its old lane if its token says so, else the next free one.
    pub(super) fn seat(&mut self, now: Instant, wish: Wish) -> Seating {
        self.collect(now);
        if let Some(token) = wish.attach.resume {
            if let Some(&holder) = self.live.get(&token) {
                // A second resume of the same seat replaces the first wish; that one gets a lane of its own.
                if let Some((other, _)) = self.handovers.insert(holder, (wish, now + HANDOVER)) {
                    return self.fresh(now, other);
                }
                return Seating::Evict(holder);
            }
            if let Some(rested) = self.wake(token) {
                return self.settle(wish, token, rested.lane, rested.memory);
            }
        }
        self.fresh(now, wish)
    }

    fn fresh(&mut self, now: Instant, wish: Wish) -> Seating {
        let token = wish.token;
        if let Some(lane) = self.lanes.allocate(now) {
            return self.settle(wish, token, lane, LaneMemory::default());
        }
        // Connections that come and go must not lock everybody out until their lanes have rested. The lane that has
        // rested longest goes on with its memory: its new holder gets only work that nobody has searched under it, and
        // what was accepted stays known. So the search spaces stay apart (I1), as they do for a resume.
        while let Some((_, token_before)) = self.ends.pop_first() {
            if let Some(rested) = self.rested.remove(&token_before)
                && self.lanes.reclaim(rested.lane)
            {
                return self.settle(wish, token, rested.lane, rested.memory);
            }
        }
        Seating::Full(wish)
    }

    fn settle(
        &mut self,
        wish: Wish,
        token: ResumeToken,
        lane: Lane,
        memory: LaneMemory,
    ) -> Seating {
        let before = self.live.insert(token, wish.session);
        assert!(before.is_none(), "a token has one holder (I1)");
        self.tokens.insert(wish.session, token);
        let seat = Seat {
            lane,
            layout: self.layout,
            width: 0,
            token,
            memory,
        };
        Seating::Seated(wish, Box::new(seat))
    }

    fn wake(&mut self, token: ResumeToken) -> Option<Rested> {
        let rested = self.rested.remove(&token)?;
        self.ends.remove(&(rested.until, rested.lane));
        self.lanes.reclaim(rested.lane).then_some(rested)
    }

    /// A session is over. Its lane rests until then (`None`: it never got work). Gives back the wish that waited for it.
    pub(super) fn leave(
        &mut self,
        session: SessionId,
        lane: Lane,
        memory: LaneMemory,
        rest_until: Option<Instant>,
    ) -> Option<Wish> {
        if let Some(token) = self.tokens.remove(&session) {
            self.live.remove(&token);
            self.lanes.release(lane, rest_until);
            if let Some(until) = rest_until {
                self.rested.insert(
                    token,
                    Rested {
                        lane,
                        memory,
                        until,
                    },
                );
                self.ends.insert((until, lane), token);
            }
        }
        self.handovers.remove(&session).map(|(wish, _)| wish)
    }

    /// Wishes whose holder did not let go in time; they shall have fresh lanes.
    pub(super) fn impatient(&mut self, now: Instant) -> Vec<Wish> {
        self.handovers
            .extract_if(.., |_, (_, until)| now >= *until)
            .map(|(_, (mut wish, _))| {
                wish.attach.resume = None;
                wish
            })
            .collect()
    }

    /// A session that waits may be gone before its turn.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.handovers
            .retain(|_, (wish, _)| wish.session != session);
    }

    fn collect(&mut self, now: Instant) {
        while let Some((&(until, lane), _)) = self.ends.first_key_value() {
            if until > now {
                break;
            }
            if let Some(token) = self.ends.remove(&(until, lane)) {
                self.rested.remove(&token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{LinkId, WorkId};

    const REST: Duration = Duration::from_secs(600);

    #[test]
    fn when_every_lane_rests_the_longest_rested_goes_on_with_its_memory_and_live_ones_are_never_taken()
     {
        let now = Instant::now();
        let layout = Layout { lane: 2, rolled: 2 };
        let mut seats = Seats::new(layout, Lane(0));
        let held = seated(seats.seat(now, wish(0)));
        for at in 1..layout.lanes() {
            let seat = seated(seats.seat(now, wish(at)));
            let memory = LaneMemory {
                sent: vec![(LinkId(0), WorkId(7))],
                ..LaneMemory::default()
            };
            let later = now + REST + Duration::from_millis(at);
            assert!(
                seats
                    .leave(SessionId(at), seat.lane, memory, Some(later))
                    .is_none()
            );
        }
        let lanes = layout.lanes();
        for at in lanes..2 * lanes - 1 {
            let seat = seated(seats.seat(now, wish(at)));
            assert_ne!(seat.lane, held.lane);
            assert_eq!(
                seat.memory.sent,
                [(LinkId(0), WorkId(7))],
                "its work is not searched again"
            );
        }
        assert!(matches!(seats.seat(now, wish(u64::MAX)), Seating::Full(_)));
    }

    fn wish(session: u64) -> Wish {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&session.to_le_bytes());
        Wish {
            session: SessionId(session),
            listener: ListenerId(0),
            attach: Attach {
                resume: None,
                version_mask: 0,
                min_bits: 0,
                extranonce: 0,
            },
            token: ResumeToken(token),
        }
    }

    fn seated(seating: Seating) -> Box<Seat> {
        match seating {
            Seating::Seated(_, seat) => seat,
            other => panic!("no seat: {other:?}"),
        }
    }
}
