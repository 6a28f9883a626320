//! Lanes: who rolls which part of the search space (ARCHITECTURE section 4).
//!
//! Not a duplicate window and not a session: this is only the bookkeeping of who holds which lane. The one invariant
//! (I1, asserted in release builds too): no lane is given out while it is live or at rest.
//!
//! Bytes that a pool leaves free, and how they are cut:
//!
//! | pool's extranonce2 | pad | lane (k) | rolled by the miner (m) |
//! |---|---|---|---|
//! | >= 8 | the rest | 4 | 4 |
//! | 7 | | 3 | 4 |
//! | 6 | | 2 | 4 |
//! | 5 | | 3 | 2 |
//! | 4 | | 2 | 2 |

use super::MAX_EXTRANONCE2;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Most lanes at rest at once: a fleet of 50,000 may vanish whole. About 28 MB with what the router keeps of each, which
/// is what bounds it. At the limit there is no new lane; the router then lets the longest rested go on, memory and all.
const MAX_RESTING: usize = 65_536;

/// Most rests that are ended in one go, so that no single allocation takes longer than about a tenth of a millisecond.
const COLLECT_AT_ONCE: usize = 512;

/// How the bytes that a pool leaves free are cut: `lane` bytes are ours, `rolled` the miner's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// k, 2..=4.
    pub lane: u8,
    /// m, 2..=8.
    pub rolled: u8,
}

impl Layout {
    /// 4+4, for pools that give 8 bytes or more.
    pub const WIDE: Self = Self { lane: 4, rolled: 4 };

    /// The layout for a pool that gives `size` bytes of extranonce2; `None` below 4 (cannot be shared) and for 255.
    pub fn for_pool(size: u8) -> Option<Self> {
        let (lane, rolled) = match size {
            0..=3 => return None,
            4 => (2, 2),
            5 => (3, 2),
            6 => (2, 4),
            7 => (3, 4),
            8..=MAX_EXTRANONCE2 => (4, 4),
            _ => return None,
        };
        Some(Self { lane, rolled })
    }
    /// k + m.
    pub fn total(self) -> u8 {
        self.lane + self.rolled
    }
    /// How many lanes there are: 2^(8k).
    pub fn lanes(self) -> u64 {
        1 << (8 * u32::from(self.lane))
    }
}

/// One lane; big-endian value of its k bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(pub u32);

impl Lane {
    /// The lane's bytes as the miner is told them (its extranonce1); only the first `layout.lane` count.
    pub fn bytes(self, layout: Layout) -> [u8; 4] {
        let unused = 32 - 8 * u32::from(layout.lane.min(4));
        self.0.checked_shl(unused).unwrap_or(0).to_be_bytes()
    }
}

/// Next-fit allocation with a rest: a lane under which work was sent is not given out again before its rest is over.
#[derive(Debug)]
pub struct Lanes {
    lanes: u64,
    /// Where the search goes on.
    next: u64,
    taken: Runs,
    /// Every taken lane: `None` while live, else when its rest is over.
    holds: BTreeMap<u32, Option<Instant>>,
    /// The resting ones, soonest first.
    by_time: BTreeSet<(Instant, u32)>,
    max_resting: usize,
}

impl Lanes {
    /// Allocation starts at `first` and wraps.
    pub fn new(layout: Layout, first: Lane) -> Self {
        let lanes = layout.lanes();
        Self {
            lanes,
            next: u64::from(first.0) % lanes,
            taken: Runs::default(),
            holds: BTreeMap::new(),
            by_time: BTreeSet::new(),
            max_resting: MAX_RESTING,
        }
    }

    /// The next lane that is neither live nor resting at `now`; `None` when all are taken or too many rest.
    pub fn allocate(&mut self, now: Instant) -> Option<Lane> {
        loop {
            let collected = self.collect(now);
            if let Some(lane) = self.free_lane() {
                return Some(self.take(lane));
            }
            if !collected {
                return None;
            }
        }
    }

    /// Takes a given lane out of its rest (session resume). False if it is live or unknown to be resting.
    pub fn reclaim(&mut self, lane: Lane) -> bool {
        let Some(hold) = self.holds.get_mut(&lane.0) else {
            return false;
        };
        let Some(until) = hold.take() else {
            return false;
        };
        self.by_time.remove(&(until, lane.0));
        true
    }

    /// Gives a live lane back; it rests until `rest_until` (`None`: it never got work, free at once).
    ///
    /// # Panics
    /// If the lane is not live: whoever gives back what it does not hold would free another's lane (I1).
    pub fn release(&mut self, lane: Lane, rest_until: Option<Instant>) {
        let hold = self.holds.get_mut(&lane.0);
        assert!(
            matches!(hold, Some(None)),
            "a lane that is not live was released: {lane:?}"
        );
        match rest_until {
            Some(until) => {
                self.holds.insert(lane.0, Some(until));
                self.by_time.insert((until, lane.0));
            }
            None => self.free(lane.0),
        }
    }

    /// Live lanes.
    pub fn live(&self) -> usize {
        self.holds.len() - self.by_time.len()
    }

    /// Lanes at rest (some may be over, they are collected as allocation goes).
    pub fn resting(&self) -> usize {
        self.by_time.len()
    }

    /// Ends some rests that are over; says whether there was any.
    fn collect(&mut self, now: Instant) -> bool {
        for done in 0..COLLECT_AT_ONCE {
            match self.by_time.first() {
                Some(&(until, lane)) if until <= now => {
                    self.by_time.pop_first();
                    self.free(lane);
                }
                _ => return done > 0,
            }
        }
        true
    }

    fn free_lane(&self) -> Option<u64> {
        if self.by_time.len() >= self.max_resting {
            return None;
        }
        self.taken.first_gap(self.next, self.lanes)
    }

    fn take(&mut self, lane: u64) -> Lane {
        let lane32 = u32::try_from(lane).expect("a lane has at most four bytes");
        let before = self.holds.insert(lane32, None);
        assert!(before.is_none(), "lane {lane32:x} was given out twice");
        self.taken.insert(lane);
        self.next = (lane + 1) % self.lanes;
        Lane(lane32)
    }

    fn free(&mut self, lane: u32) {
        self.holds.remove(&lane);
        self.taken.remove(u64::from(lane));
    }
}

/// A set of numbers as maximal runs (`start` to `end`, exclusive), so that the next gap is found without a walk over
/// what is taken, however full it is.
#[derive(Debug, Default)]
struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// The first number not in the set, from `from` on and around; numbers are below `end`.
    fn first_gap(&self, from: u64, end: u64) -> Option<u64> {
        let gap = self.end_of_run(from);
        if gap < end {
            return Some(gap);
        }
        let gap = self.end_of_run(0);
        (gap < end).then_some(gap)
    }

    /// The end of the run that holds `at`, or `at` itself. Runs are maximal, so that is a gap.
    fn end_of_run(&self, at: u64) -> u64 {
        match self.0.range(..=at).next_back() {
            Some((_, &end)) if end > at => end,
            _ => at,
        }
    }

    fn insert(&mut self, at: u64) {
        let end = self.0.remove(&(at + 1)).unwrap_or(at + 1);
        match self.0.range_mut(..at).next_back() {
            Some((_, last)) if *last == at => *last = end,
            _ => {
                self.0.insert(at, end);
            }
        }
    }

    fn remove(&mut self, at: u64) {
        let Some((&start, last)) = self.0.range_mut(..=at).next_back() else {
            return;
        };
        let end = std::mem::replace(last, at);
        if start == at {
            self.0.remove(&start);
        }
        if at + 1 < end {
            self.0.insert(at + 1, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

    const NARROW: Layout = Layout { lane: 2, rolled: 2 };

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn layouts_follow_what_the_pool_leaves() {
        let sizes = [
            (4, (2, 2)),
            (5, (3, 2)),
            (6, (2, 4)),
            (7, (3, 4)),
            (8, (4, 4)),
            (254, (4, 4)),
        ];
        for (size, (lane, rolled)) in sizes {
            assert_eq!(Layout::for_pool(size), Some(Layout { lane, rolled }));
        }
        for size in [0, 3, 255] {
            assert_eq!(Layout::for_pool(size), None);
        }
    }

    #[test]
    fn a_lanes_bytes_are_its_big_endian_value() {
        assert_eq!(Lane(0x0102_0304).bytes(Layout::WIDE), [1, 2, 3, 4]);
        assert_eq!(Lane(0x0304).bytes(NARROW)[..2], [3, 4]);
        assert_eq!(
            Lane(0x02_0304).bytes(Layout { lane: 3, rolled: 2 })[..3],
            [2, 3, 4]
        );
    }

    #[test]
    fn a_freed_lane_is_the_last_to_be_given_again() {
        let now = Instant::now();
        let mut lanes = Lanes::new(NARROW, Lane(65_534));
        let taken: Vec<u32> = (0..3).map(|_| lanes.allocate(now).unwrap().0).collect();
        assert_eq!(taken, [65_534, 65_535, 0]);
        lanes.release(Lane(65_534), None);
        assert_eq!(lanes.allocate(now), Some(Lane(1)));
        for _ in 2..65_534 {
            lanes.allocate(now).unwrap();
        }
        assert_eq!(lanes.allocate(now), Some(Lane(65_534)));
        assert_eq!(lanes.allocate(now), None);
    }

    #[test]
    fn the_widest_layout_wraps_at_its_last_lane() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Layout::WIDE, Lane(u32::MAX));
        assert_eq!(lanes.allocate(now), Some(Lane(u32::MAX)));
        assert_eq!(lanes.allocate(now), Some(Lane(0)));
    }

    #[test]
    fn a_resting_lane_waits_exactly_until_its_rest_is_over() {
        let start = Instant::now();
        let mut lanes = Lanes::new(NARROW, Lane(0));
        for _ in 0..65_536 {
            lanes.allocate(start).unwrap();
        }
        lanes.release(Lane(7), Some(start + seconds(120)));
        assert_eq!((lanes.live(), lanes.resting()), (65_535, 1));
        let early = start + seconds(120) - Duration::from_nanos(1);
        assert_eq!(lanes.allocate(early), None);
        assert_eq!(lanes.allocate(start + seconds(120)), Some(Lane(7)));
        assert_eq!((lanes.live(), lanes.resting()), (65_536, 0));
    }

    #[test]
    fn only_a_resting_lane_can_be_reclaimed_and_only_once() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Layout::WIDE, Lane(5));
        let lane = lanes.allocate(now).unwrap();
        assert!(!lanes.reclaim(lane), "it is live");
        assert!(!lanes.reclaim(Lane(99)), "nobody ever held it");
        lanes.release(lane, Some(now + seconds(600)));
        assert!(lanes.reclaim(lane));
        assert!(!lanes.reclaim(lane));
        assert_eq!((lanes.live(), lanes.resting()), (1, 0));
        lanes.release(lane, None);
        assert!(!lanes.reclaim(lane), "it is free");
    }

    #[test]
    #[should_panic(expected = "not live")]
    fn releasing_a_lane_twice_is_a_bug() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Layout::WIDE, Lane(0));
        let lane = lanes.allocate(now).unwrap();
        lanes.release(lane, Some(now));
        lanes.release(lane, Some(now));
    }

    #[test]
    fn too_many_resting_lanes_refuse_new_miners_until_one_rest_is_over() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Layout::WIDE, Lane(0));
        lanes.max_resting = 10;
        for i in 0..9 {
            let lane = lanes.allocate(now).unwrap();
            lanes.release(lane, Some(now + seconds(100 + i)));
        }
        let last = lanes.allocate(now).expect("nine may rest");
        lanes.release(last, Some(now + seconds(100)));
        assert_eq!(lanes.allocate(now), None, "ten may not");
        assert!(lanes.allocate(now + seconds(100)).is_some());
    }

    #[test]
    fn many_rests_that_end_together_are_all_collected_when_needed() {
        let now = Instant::now();
        let mut lanes = Lanes::new(NARROW, Lane(0));
        for _ in 0..65_536 {
            let lane = lanes.allocate(now).unwrap();
            lanes.release(lane, Some(now + seconds(1)));
        }
        assert_eq!(lanes.allocate(now), None);
        for _ in 0..65_536 {
            lanes.allocate(now + seconds(1)).unwrap();
        }
        assert_eq!((lanes.live(), lanes.resting()), (65_536, 0));
    }

    #[test]
    fn a_nearly_full_space_with_scattered_gaps_is_not_walked() {
        // 200,000 allocations with one gap at a time: minutes if each walked 65,536 lanes.
        let now = Instant::now();
        let mut lanes = Lanes::new(NARROW, Lane(0));
        for _ in 0..65_536 {
            lanes.allocate(now).unwrap();
        }
        let mut gap = 1u32;
        for _ in 0..200_000 {
            gap = gap.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let lane = Lane(gap >> 16);
            lanes.release(lane, None);
            assert_eq!(lanes.allocate(now), Some(lane));
        }
    }

    proptest! {
        /// Against a plain map of who holds what, in a space so small that it wraps and fills.
        #[test]
        fn no_lane_is_ever_shared(first: u32, ops in prop::collection::vec((0u8..6, any::<u16>(), 0u64..20), 1..400)) {
            let mut now = Instant::now();
            let mut lanes = Lanes::new(NARROW, Lane(first));
            lanes.lanes = 16;
            lanes.next %= 16;
            let mut model: HashMap<u32, Option<Instant>> = HashMap::new();
            for (op, pick, time) in ops {
                let live: Vec<u32> = (0..16).filter(|lane| model.get(lane) == Some(&None)).collect();
                let chosen = (!live.is_empty()).then(|| live[usize::from(pick) % live.len()]);
                match (op, chosen) {
                    (0..=2, _) => {
                        let free = (0..16).filter(|l| model.get(l).is_none_or(|h| h.is_some_and(|t| t <= now))).count();
                        match lanes.allocate(now) {
                            Some(lane) => {
                                let held = model.insert(lane.0, None);
                                prop_assert!(held.is_none_or(|h| h.is_some_and(|t| t <= now)));
                            }
                            None => prop_assert_eq!(free, 0),
                        }
                    }
                    (3, Some(lane)) => {
                        lanes.release(Lane(lane), Some(now + seconds(time)));
                        model.insert(lane, Some(now + seconds(time)));
                    }
                    (4, Some(lane)) => {
                        lanes.release(Lane(lane), None);
                        model.remove(&lane);
                    }
                    (5, _) => {
                        let lane = u32::from(pick % 16);
                        if lanes.reclaim(Lane(lane)) {
                            prop_assert!(matches!(model.insert(lane, None), Some(Some(_))));
                        } else {
                            prop_assert!(!model.get(&lane).is_some_and(|h| h.is_some_and(|t| t > now)));
                        }
                    }
                    _ => {}
                }
                now += seconds(time / 4);
                prop_assert_eq!(lanes.live(), model.values().filter(|h| h.is_none()).count());
            }
        }
    }
}
