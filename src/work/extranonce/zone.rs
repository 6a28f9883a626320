//! One zone of the space: places of one size, given next-fit, with a rest. Not what a place is: only its number.
//!
//! The one invariant (I1, asserted in release builds too): no place is given out while it is live or at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Most rests that are ended in one go, so that no single allocation takes longer than about a tenth of a millisecond.
const COLLECT_AT_ONCE: usize = 512;

/// Next-fit allocation with a rest: a place under which work was sent is not given out again before its rest is over.
#[derive(Debug)]
pub(super) struct Zone {
    places: u64,
    /// Where the search goes on.
    next: u64,
    taken: Runs,
    /// Every taken place: `None` while live, else when its rest is over.
    holds: BTreeMap<u32, Option<Instant>>,
    /// The resting ones, soonest first.
    by_time: BTreeSet<(Instant, u32)>,
    max_resting: usize,
}

impl Zone {
    /// At most 2^32 places; allocation starts at `first` and wraps. With `max_resting` at rest there is no new place.
    pub(super) fn new(places: u64, first: u64, max_resting: usize) -> Self {
        Self {
            places,
            next: first % places,
            taken: Runs::default(),
            holds: BTreeMap::new(),
            by_time: BTreeSet::new(),
            max_resting,
        }
    }

    /// The next place that is neither live nor resting at `now`; `None` when all are taken or too many rest.
    pub(super) fn allocate(&mut self, now: Instant) -> Option<u32> {
        loop {
            let collected = self.collect(now);
            if let Some(place) = self.free_place() {
                return Some(self.take(place));
            }
            if !collected {
                return None;
            }
        }
    }

    /// Takes a given place out of its rest. False if it is live or unknown to be resting.
    pub(super) fn reclaim(&mut self, place: u32) -> bool {
        let Some(hold) = self.holds.get_mut(&place) else {
            return false;
        };
        let Some(until) = hold.take() else {
            return false;
        };
        self.by_time.remove(&(until, place));
        true
    }

    /// Gives a live place back; it rests until `rest_until` (`None`: free at once). False if it is not live.
    #[must_use]
    pub(super) fn release(&mut self, place: u32, rest_until: Option<Instant>) -> bool {
        if !matches!(self.holds.get(&place), Some(None)) {
            return false;
        }
        match rest_until {
            Some(until) => {
                self.holds.insert(place, Some(until));
                self.by_time.insert((until, place));
            }
            None => self.free(place),
        }
        true
    }

    /// Live places.
    pub(super) fn live(&self) -> usize {
        self.holds.len() - self.by_time.len()
    }

    /// Places at rest (some may be over, they are collected as allocation goes).
    pub(super) fn resting(&self) -> usize {
        self.by_time.len()
    }

    /// Ends some rests that are over; says whether there was any.
    fn collect(&mut self, now: Instant) -> bool {
        for done in 0..COLLECT_AT_ONCE {
            match self.by_time.first() {
                Some(&(until, place)) if until <= now => {
                    self.by_time.pop_first();
                    self.free(place);
                }
                _ => return done > 0,
            }
        }
        true
    }

    fn free_place(&self) -> Option<u64> {
        if self.by_time.len() >= self.max_resting {
            return None;
        }
        self.taken.first_gap(self.next, self.places)
    }

    fn take(&mut self, place: u64) -> u32 {
        let number = u32::try_from(place).expect("a zone has at most 2^32 places");
        let before = self.holds.insert(number, None);
        assert!(before.is_none(), "place {number:x} was given out twice");
        self.taken.insert(place);
        self.next = (place + 1) % self.places;
        number
    }

    fn free(&mut self, place: u32) {
        self.holds.remove(&place);
        self.taken.remove(u64::from(place));
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

    const PLENTY: usize = 65_536;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_freed_place_is_the_last_to_be_given_again() {
        let now = Instant::now();
        let mut zone = Zone::new(100, 98, PLENTY);
        let taken: Vec<u32> = (0..3).map(|_| zone.allocate(now).unwrap()).collect();
        assert_eq!(taken, [98, 99, 0]);
        assert!(zone.release(98, None));
        for place in 1..98 {
            assert_eq!(zone.allocate(now), Some(place));
        }
        assert_eq!(zone.allocate(now), Some(98));
        assert_eq!(zone.allocate(now), None);
    }

    #[test]
    fn the_largest_zone_wraps_at_its_last_place() {
        let now = Instant::now();
        let mut zone = Zone::new(1 << 32, u64::from(u32::MAX), PLENTY);
        assert_eq!(zone.allocate(now), Some(u32::MAX));
        assert_eq!(zone.allocate(now), Some(0));
    }

    #[test]
    fn a_resting_place_waits_exactly_until_its_rest_is_over() {
        let start = Instant::now();
        let mut zone = Zone::new(1000, 0, PLENTY);
        for _ in 0..1000 {
            zone.allocate(start).unwrap();
        }
        assert!(zone.release(7, Some(start + seconds(120))));
        assert_eq!((zone.live(), zone.resting()), (999, 1));
        let early = start + seconds(120) - Duration::from_nanos(1);
        assert_eq!(zone.allocate(early), None);
        assert_eq!(zone.allocate(start + seconds(120)), Some(7));
        assert_eq!((zone.live(), zone.resting()), (1000, 0));
    }

    #[test]
    fn too_many_at_rest_refuse_new_holders_until_one_rest_is_over() {
        let now = Instant::now();
        let mut zone = Zone::new(1 << 32, 0, 10);
        for i in 0..9 {
            let place = zone.allocate(now).unwrap();
            assert!(zone.release(place, Some(now + seconds(100 + i))));
        }
        let last = zone.allocate(now).expect("nine may rest");
        assert!(zone.release(last, Some(now + seconds(100))));
        assert_eq!(zone.allocate(now), None, "ten may not");
        assert!(zone.allocate(now + seconds(100)).is_some());
    }

    #[test]
    fn many_rests_that_end_together_are_all_collected_when_needed() {
        let now = Instant::now();
        let mut zone = Zone::new(65_536, 0, PLENTY);
        for _ in 0..65_536 {
            let place = zone.allocate(now).unwrap();
            assert!(zone.release(place, Some(now + seconds(1))));
        }
        assert_eq!(zone.allocate(now), None);
        for _ in 0..65_536 {
            zone.allocate(now + seconds(1)).unwrap();
        }
        assert_eq!((zone.live(), zone.resting()), (65_536, 0));
    }

    #[test]
    fn a_nearly_full_zone_with_scattered_gaps_is_not_walked() {
        // 200,000 allocations with one gap at a time: minutes if each walked 65,536 places.
        let now = Instant::now();
        let mut zone = Zone::new(65_536, 0, PLENTY);
        for _ in 0..65_536 {
            zone.allocate(now).unwrap();
        }
        let mut gap = 1u32;
        for _ in 0..200_000 {
            gap = gap.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = gap >> 16;
            assert!(zone.release(place, None));
            assert_eq!(zone.allocate(now), Some(place));
        }
    }

    proptest! {
        /// Against a plain map of who holds what, in a zone so small that it wraps and fills.
        #[test]
        fn no_place_is_ever_shared(first: u32, ops in prop::collection::vec((0u8..6, any::<u16>(), 0u64..20), 1..400)) {
            let mut now = Instant::now();
            let mut zone = Zone::new(16, u64::from(first), PLENTY);
            let mut model: HashMap<u32, Option<Instant>> = HashMap::new();
            for (op, pick, time) in ops {
                let live: Vec<u32> = (0..16).filter(|place| model.get(place) == Some(&None)).collect();
                let chosen = (!live.is_empty()).then(|| live[usize::from(pick) % live.len()]);
                match (op, chosen) {
                    (0..=2, _) => {
                        let free = (0..16).filter(|l| model.get(l).is_none_or(|h| h.is_some_and(|t| t <= now))).count();
                        match zone.allocate(now) {
                            Some(place) => {
                                let held = model.insert(place, None);
                                prop_assert!(held.is_none_or(|h| h.is_some_and(|t| t <= now)));
                            }
                            None => prop_assert_eq!(free, 0),
                        }
                    }
                    (3, Some(place)) => {
                        prop_assert!(zone.release(place, Some(now + seconds(time))));
                        model.insert(place, Some(now + seconds(time)));
                    }
                    (4, Some(place)) => {
                        prop_assert!(zone.release(place, None));
                        model.remove(&place);
                    }
                    (5, _) => {
                        let place = u32::from(pick % 16);
                        if zone.reclaim(place) {
                            prop_assert!(matches!(model.insert(place, None), Some(Some(_))));
                        } else {
                            prop_assert!(!model.get(&place).is_some_and(|h| h.is_some_and(|t| t > now)));
                        }
                    }
                    _ => {}
                }
                now += seconds(time / 4);
                prop_assert_eq!(zone.live(), model.values().filter(|h| h.is_none()).count());
            }
        }
    }
}
