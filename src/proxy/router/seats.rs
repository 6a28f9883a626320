//! Seats: which session holds which lane, and how it gets it back. Not leases.
//!
//! Invariant (I1): a lane, or a block of lanes, has one holder; it changes hands only after its rest, by the token of its
//! last holder, or whole and with its memory when there is no other left of its width.

use super::Input;
use crate::proxy::lease::{LaneMemory, ListenerId, ResumeToken, Seat, SessionId};
use crate::proxy::session::{Attach, NoSeat};
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
    Refused(Wish, NoSeat),
}

/// A lane or block at rest and what it remembers.
#[derive(Debug)]
struct Rested {
    lane: Lane,
    width: u8,
    memory: LaneMemory,
    until: Instant,
}

/// All seats of the process.
#[derive(Debug)]
pub(super) struct Seats {
    layout: Layout,
    lanes: Lanes,
    live: HashMap<ResumeToken, SessionId>,
    /// With the width of what it holds.
    tokens: HashMap<SessionId, (ResumeToken, u8)>,
    rested: HashMap<ResumeToken, Rested>,
    /// When rests end, in order, by width.
    ends: [BTreeMap<(Instant, Lane), ResumeToken>; Layout::WIDTHS],
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
            ends: Default::default(),
            handovers: BTreeMap::new(),
        }
    }

    /// Seats a session: its old lane if its token says so, else the next free one of the width it wants.
    pub(super) fn seat(&mut self, now: Instant, wish: Wish) -> Seating {
        self.collect(now);
        let Some(width) = self.layout.width_for(wish.attach.extranonce) else {
            return Seating::Refused(wish, NoSeat::TooWide);
        };
        if let Some(token) = wish.attach.resume {
            if let Some(&holder) = self.live.get(&token) {
                // A second resume of the same seat replaces the first wish; that one gets a lane of its own.
                if let Some((mut other, _)) = self.handovers.insert(holder, (wish, now + HANDOVER))
                {
                    other.attach.resume = None;
                    return self.seat(now, other);
                }
                return Seating::Evict(holder);
            }
            if let Some(rested) = self.wake(token, width) {
                return self.settle(wish, token, rested);
            }
        }
        self.fresh(now, wish, width)
    }

    fn fresh(&mut self, now: Instant, wish: Wish, width: u8) -> Seating {
        let token = wish.token;
        if let Some(lane) = self.lanes.allocate_block(now, width) {
            let fresh = Rested {
                lane,
                width,
                memory: LaneMemory::default(),
                until: now,
            };
            return self.settle(wish, token, fresh);
        }
        match self.longest_rested(width) {
            Some(rested) => self.settle(wish, token, rested),
            None => Seating::Refused(wish, NoSeat::Full),
        }
    }

    /// Connections that come and go must not lock everybody out until their lanes have rested. The lane that has rested
    /// longest goes on with its memory: its new holder gets only work that nobody has searched under it, and what was
    /// accepted stays known. So the search spaces stay apart (I1), as they do for a resume.
    ///
    /// Only one of the same width will do. Of a wider one the rest of the block would have to remember too, and many
    /// narrow ones would bring more shares than one memory may hold. Nobody is locked out by that: each width has lanes
    /// and rests that no other can use up.
    fn longest_rested(&mut self, width: u8) -> Option<Rested> {
        while let Some((_, token)) = self.ends[usize::from(width)].pop_first() {
            if let Some(rested) = self.rested.remove(&token)
                && self.lanes.reclaim(rested.lane)
            {
                return Some(rested);
            }
        }
        None
    }

    /// `place`: a lane that is live by now, and what it remembers.
    fn settle(&mut self, wish: Wish, token: ResumeToken, place: Rested) -> Seating {
        let before = self.live.insert(token, wish.session);
        assert!(before.is_none(), "a token has one holder (I1)");
        self.tokens.insert(wish.session, (token, place.width));
        let seat = Seat {
            lane: place.lane,
            layout: self.layout,
            width: place.width,
            token,
            memory: place.memory,
        };
        Seating::Seated(wish, Box::new(seat))
    }

    /// The lane of a token, if it is at rest and as wide as is wanted: what a miner rolls is part of its place.
    fn wake(&mut self, token: ResumeToken, width: u8) -> Option<Rested> {
        let rested = self.rested.get(&token)?;
        if rested.width != width {
            return None;
        }
        let rested = self.rested.remove(&token)?;
        self.ends[usize::from(width)].remove(&(rested.until, rested.lane));
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
        if let Some((token, width)) = self.tokens.remove(&session) {
            self.live.remove(&token);
            self.lanes.release(lane, rest_until);
            if let Some(until) = rest_until {
                let rested = Rested {
                    lane,
                    width,
                    memory,
                    until,
                };
                self.rested.insert(token, rested);
                self.ends[usize::from(width)].insert((until, lane), token);
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
        for ends in &mut self.ends {
            while let Some(end) = ends.first_entry().filter(|end| end.key().0 <= now) {
                self.rested.remove(&end.remove());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{LinkId, WorkId};

    const REST: Duration = Duration::from_secs(600);
    const NARROW: Layout = Layout { lane: 2, rolled: 2 };
    /// Places of the only zone for blocks that this layout has, of 256 lanes each.
    const BLOCKS: u64 = 32;

    #[test]
    fn when_every_lane_rests_the_longest_rested_goes_on_with_its_memory_and_live_ones_are_never_taken()
     {
        for (extranonce, places) in [(0, NARROW.singles()), (3, BLOCKS)] {
            let now = Instant::now();
            let mut seats = Seats::new(NARROW, Lane(0));
            let held = seated(seats.seat(now, wish(0, extranonce)));
            for at in 1..places {
                rest(&mut seats, now, at, extranonce);
            }
            for at in places..2 * places - 1 {
                let seat = seated(seats.seat(now, wish(at, extranonce)));
                assert_ne!(seat.lane, held.lane);
                assert_eq!(
                    seat.memory.sent,
                    [(LinkId(0), WorkId(7))],
                    "its work is not searched again"
                );
            }
            let last = seats.seat(now, wish(u64::MAX, extranonce));
            assert!(matches!(last, Seating::Refused(_, NoSeat::Full)));
        }
    }

    #[test]
    fn blocks_at_rest_serve_no_single_miner_and_lanes_at_rest_no_block() {
        for (extranonce, places, other) in [(0, NARROW.singles(), 3), (3, BLOCKS, 0)] {
            let now = Instant::now();
            let mut seats = Seats::new(NARROW, Lane(0));
            for at in 0..places {
                rest(&mut seats, now, at, extranonce);
            }
            let width = |seat: Box<Seat>| (seat.width, seat.memory.sent.len());
            let others = width(seated(seats.seat(now, wish(places, other))));
            assert_eq!(others, (u8::from(other > 0), 0), "it has a zone of its own");
            let same = width(seated(seats.seat(now, wish(places + 1, extranonce))));
            assert_eq!(same, (u8::from(extranonce > 0), 1));
        }
    }

    #[test]
    fn a_block_is_resumed_by_who_wants_as_much_and_nobody_else() {
        let now = Instant::now();
        let resume = |extranonce| {
            let mut seats = Seats::new(NARROW, Lane(0));
            let lane = rest(&mut seats, now, 0, 3);
            let mut again = wish(1, extranonce);
            again.attach.resume = Some(wish(0, 0).token);
            (lane, seated(seats.seat(now, again)))
        };
        let (lane, seat) = resume(3);
        assert_eq!((seat.lane, seat.width), (lane, 1));
        assert_eq!(seat.memory.sent.len(), 1);
        let (lane, seat) = resume(2);
        assert_ne!(seat.lane, lane);
        assert_eq!((seat.width, seat.memory.sent.len()), (0, 0));
    }

    #[test]
    fn a_block_that_rests_comes_back_without_its_memory_when_its_rest_is_over() {
        let now = Instant::now();
        let mut seats = Seats::new(NARROW, Lane(0));
        for at in 0..BLOCKS {
            rest(&mut seats, now, at, 3);
        }
        let over = now + REST + Duration::from_millis(BLOCKS);
        let seat = seated(seats.seat(over, wish(BLOCKS, 3)));
        assert_eq!((seat.width, seat.memory.sent.len()), (1, 0));
        assert!(seats.rested.is_empty());
        assert!(seats.ends.iter().all(BTreeMap::is_empty));
    }

    /// A session that comes, works and goes; its lane rests, the later the longer.
    fn rest(seats: &mut Seats, now: Instant, session: u64, extranonce: u8) -> Lane {
        let seat = seated(seats.seat(now, wish(session, extranonce)));
        let memory = LaneMemory {
            sent: vec![(LinkId(0), WorkId(7))],
            ..LaneMemory::default()
        };
        let until = now + REST + Duration::from_millis(session);
        let waited = seats.leave(SessionId(session), seat.lane, memory, Some(until));
        assert!(waited.is_none());
        seat.lane
    }

    fn wish(session: u64, extranonce: u8) -> Wish {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&session.to_le_bytes());
        Wish {
            session: SessionId(session),
            listener: ListenerId(0),
            attach: Attach {
                resume: None,
                version_mask: 0,
                min_bits: 0,
                extranonce,
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
