//! Lanes: who rolls which part of the search space (ARCHITECTURE section 4).
//!
//! Not a duplicate window and not a session: this is only the bookkeeping of who holds which lane. The one invariant
//! (I1, asserted in release builds too): no lane is given out while it is live or at rest, alone or within a block.
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
//!
//! # Blocks
//! A miner that wants to roll `width` bytes more than m (a V2 extended channel) holds an aligned block of 2^(8 width)
//! lanes and is told the k - width bytes that they have in common; at least one is left. Every width has a zone of its own:
//!
//! | k | single lanes | width 1 | width 2 | width 3 |
//! |---|---|---|---|---|
//! | 2 | 7/8: 57,344 | 1/8: 32 | | |
//! | 3 | 1/8: 2,097,152 | 1/8: 8,192 | 3/4: 192 | |
//! | 4 | 1/8: 536,870,912 | 1/8: 2,097,152 | 1/8: 8,192 | 5/8: 160 |
//!
//! So no width can lock out another, neither by its number nor by lanes scattered so that no whole block is free, as
//! next-fit would scatter them in one space for all; blocks cannot overlap since zones do not; and the next free place of
//! a zone is found without a walk. What is lost: where k is 2, an eighth of the places for single miners.

mod zone;

use super::MAX_EXTRANONCE2;
use std::time::Instant;
use zone::Zone;

/// Most single lanes at rest at once: a fleet of 50,000 may vanish whole. About 28 MB with what the router keeps of each,
/// which is what bounds it. At the limit there is no new lane; the router then lets the longest rested go on, memory and all.
const MAX_RESTING: usize = 65_536;

/// Most blocks of one width at rest at once. However many lanes it has, a block is one seat with one memory, so it counts
/// for one: some 5 MB for all three widths. Who asks for blocks is a proxy, and 4,096 of them are a large site's. Limits are
/// apart for the same reason as zones: proxies that come and go must not use up what single miners may leave at rest.
const MAX_RESTING_BLOCKS: usize = 4_096;

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
    /// How many widths there are, 0 (a single lane) included: one byte of the lane at least stays ours.
    pub const WIDTHS: usize = 4;

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
    /// How many of them are given one by one; the others are for blocks.
    pub fn singles(self) -> u64 {
        self.zone(0).1
    }
    /// How many bytes of its lane a miner must roll that wants `extranonce` bytes in all: 0 where m will do, `None` where no
    /// byte would be left to tell it from others.
    pub fn width_for(self, extranonce: u8) -> Option<u8> {
        let width = extranonce.saturating_sub(self.rolled);
        (width < self.lane).then_some(width)
    }

    /// The first lane of a width's zone, the space counted from its start, and how many places the zone has.
    fn zone(self, width: u8) -> (u64, u64) {
        let eighths: &[u64] = match self.lane {
            0..=2 => &[0, 7, 8],
            3 => &[0, 1, 2, 8],
            _ => &[0, 1, 2, 3, 8],
        };
        let (from, to) = (eighths[usize::from(width)], eighths[usize::from(width) + 1]);
        let eighth = self.lanes() / 8;
        (from * eighth, ((to - from) * eighth) >> (8 * width))
    }
}

/// One lane; big-endian value of its k bytes. Of a block: its first, whose low bytes are zero.
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
    layout: Layout,
    /// Where the first zone starts: as near below the first lane given as the alignment of the largest blocks allows.
    start: u64,
    /// By width.
    zones: Vec<Zone>,
}

impl Lanes {
    /// Allocation of single lanes starts at `first` and wraps within its zone.
    pub fn new(layout: Layout, first: Lane) -> Self {
        let first = u64::from(first.0) % layout.lanes();
        let largest_block = layout.lanes() >> 8;
        let zone = |width| {
            let (_, places) = layout.zone(width);
            match width {
                0 => Zone::new(places, first % largest_block, MAX_RESTING),
                _ => Zone::new(places, 0, MAX_RESTING_BLOCKS),
            }
        };
        Self {
            layout,
            start: first - first % largest_block,
            zones: (0..layout.lane).map(zone).collect(),
        }
    }

    /// The next lane that is neither live nor resting at `now`; `None` when all are taken or too many rest.
    pub fn allocate(&mut self, now: Instant) -> Option<Lane> {
        self.allocate_block(now, 0)
    }

    /// The first of the next block of 2^(8 `width`) lanes of which none is live or resting at `now`, aligned; `None` when
    /// all are taken, too many rest, or no block is that wide.
    ///
    /// # Panics
    /// If the block is not whole within its width's zone: it would overlap another's (I1).
    pub fn allocate_block(&mut self, now: Instant, width: u8) -> Option<Lane> {
        let place = self.zones.get_mut(usize::from(width))?.allocate(now)?;
        let lane = self.lane(width, place);
        assert_eq!(self.place(lane), Some((width, place)), "zones are apart");
        Some(lane)
    }

    /// Takes a given lane or block out of its rest (session resume). False if it is live or unknown to be resting.
    pub fn reclaim(&mut self, lane: Lane) -> bool {
        self.place(lane)
            .is_some_and(|(width, place)| self.zones[usize::from(width)].reclaim(place))
    }

    /// Gives a live lane or block back; it rests until `rest_until` (`None`: it never got work, free at once).
    ///
    /// # Panics
    /// If the lane is not live: whoever gives back what it does not hold would free another's lane (I1).
    pub fn release(&mut self, lane: Lane, rest_until: Option<Instant>) {
        let released = self.place(lane).is_some_and(|(width, place)| {
            self.zones[usize::from(width)].release(place, rest_until)
        });
        assert!(released, "a lane that is not live was released: {lane:?}");
    }

    /// Live lanes; a block counts for one.
    pub fn live(&self) -> usize {
        self.zones.iter().map(Zone::live).sum()
    }

    /// Lanes at rest (some may be over, they are collected as allocation goes); a block counts for one.
    pub fn resting(&self) -> usize {
        self.zones.iter().map(Zone::resting).sum()
    }

    fn lane(&self, width: u8, place: u32) -> Lane {
        let (zone, _) = self.layout.zone(width);
        let at = self.start + zone + (u64::from(place) << (8 * width));
        Lane(u32::try_from(at % self.layout.lanes()).expect("a lane has at most four bytes"))
    }

    /// The reverse: the width of the zone that a lane is in, and its place there; `None` if it is no block's first.
    fn place(&self, lane: Lane) -> Option<(u8, u32)> {
        let lanes = self.layout.lanes();
        let at = (u64::from(lane.0) + lanes - self.start) % lanes;
        let width = (0..self.layout.lane).rfind(|width| self.layout.zone(*width).0 <= at)?;
        let in_zone = at - self.layout.zone(width).0;
        let place = u32::try_from(in_zone >> (8 * width)).ok()?;
        (self.lane(width, place) == lane).then_some((width, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const NARROW: Layout = Layout { lane: 2, rolled: 2 };
    const MIDDLE: Layout = Layout { lane: 3, rolled: 4 };

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
    fn a_width_is_what_is_wanted_beyond_the_layout_and_leaves_a_byte_of_the_lane() {
        let wide = |extranonce| Layout::WIDE.width_for(extranonce);
        assert_eq!([wide(0), wide(4), wide(5)], [Some(0), Some(0), Some(1)]);
        assert_eq!([wide(7), wide(8), wide(255)], [Some(3), None, None]);
        let narrow = |extranonce| NARROW.width_for(extranonce);
        assert_eq!([narrow(2), narrow(3), narrow(4)], [Some(0), Some(1), None]);
    }

    #[test]
    fn zones_follow_each_other_and_fill_the_space_with_whole_blocks() {
        let places: Vec<Vec<u64>> = [NARROW, MIDDLE, Layout::WIDE]
            .map(|layout| {
                let mut end = 0;
                let places = (0..layout.lane).map(|width| {
                    let (from, places) = layout.zone(width);
                    assert_eq!((from, from % (1 << (8 * width))), (end, 0));
                    end += places << (8 * width);
                    places
                });
                let places = places.collect();
                assert_eq!(end, layout.lanes());
                places
            })
            .into();
        assert_eq!(places[0], [57_344, 32]);
        assert_eq!(places[1], [2_097_152, 8_192, 192]);
        assert_eq!(places[2], [536_870_912, 2_097_152, 8_192, 160]);
    }

    #[test]
    fn single_lanes_start_at_the_first_and_wrap_where_the_space_does() {
        let now = Instant::now();
        let mut lanes = Lanes::new(NARROW, Lane(65_534));
        let taken: Vec<u32> = (0..3).map(|_| lanes.allocate(now).unwrap().0).collect();
        assert_eq!(taken, [65_534, 65_535, 0]);
        let mut lanes = Lanes::new(Layout::WIDE, Lane(u32::MAX));
        assert_eq!(lanes.allocate(now), Some(Lane(u32::MAX)));
        assert_eq!(lanes.allocate(now), Some(Lane(0)));
    }

    #[test]
    fn single_lanes_and_blocks_each_get_all_of_their_zone_and_no_more() {
        let now = Instant::now();
        let mut lanes = Lanes::new(NARROW, Lane(12_345));
        let mut free = vec![true; 65_536];
        for (width, places) in [(0, 57_344), (1, 32)] {
            for _ in 0..places {
                let lane = lanes.allocate_block(now, width).expect("its zone has room");
                for taken in free.iter_mut().skip(lane.0 as usize).take(1 << (8 * width)) {
                    assert!(std::mem::take(taken), "{lane:?} overlaps");
                }
            }
            assert_eq!(lanes.allocate_block(now, width), None);
        }
        assert!(!free.contains(&true));
        assert_eq!((lanes.live(), lanes.resting()), (57_344 + 32, 0));
    }

    #[test]
    fn a_block_is_aligned_and_the_widest_leaves_one_byte() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Layout::WIDE, Lane(0xdead_beef));
        for width in 0..4 {
            let lane = lanes.allocate_block(now, width).expect("there is room");
            assert_eq!(lane.0 % (1 << (8 * width)), 0);
        }
        assert_eq!(lanes.allocate_block(now, 4), None);
    }

    #[test]
    fn too_many_blocks_at_rest_refuse_blocks_of_their_width_and_nobody_else() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Layout::WIDE, Lane(0));
        for _ in 0..4_096 {
            let block = lanes.allocate_block(now, 2).expect("fewer are at rest");
            lanes.release(block, Some(now + seconds(600)));
        }
        assert_eq!(lanes.allocate_block(now, 2), None);
        assert!(lanes.allocate(now).is_some());
        assert!(lanes.allocate_block(now, 1).is_some());
        assert!(lanes.allocate_block(now + seconds(600), 2).is_some());
    }

    #[test]
    fn only_a_resting_lane_can_be_reclaimed_and_only_once() {
        let now = Instant::now();
        for width in [0, 2] {
            let mut lanes = Lanes::new(Layout::WIDE, Lane(5));
            let lane = lanes.allocate_block(now, width).unwrap();
            assert!(!lanes.reclaim(lane), "it is live");
            assert!(!lanes.reclaim(Lane(99)), "nobody ever held it");
            lanes.release(lane, Some(now + seconds(600)));
            assert!(!lanes.reclaim(Lane(lane.0 + 1)), "it is not the first");
            assert!(lanes.reclaim(lane));
            assert!(!lanes.reclaim(lane));
            assert_eq!((lanes.live(), lanes.resting()), (1, 0));
            lanes.release(lane, None);
            assert!(!lanes.reclaim(lane), "it is free");
        }
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
    #[should_panic(expected = "not live")]
    fn releasing_a_part_of_a_block_is_a_bug() {
        let now = Instant::now();
        let mut lanes = Lanes::new(Layout::WIDE, Lane(0));
        let block = lanes.allocate_block(now, 1).unwrap();
        lanes.release(Lane(block.0 + 1), None);
    }

    /// Who holds what, as plain ranges of numbers.
    struct Held {
        from: u64,
        lanes: u64,
        rests_until: Option<Instant>,
    }

    proptest! {
        /// Against plain ranges: what is live or at rest never overlaps, and a refusal means that the zone is full.
        #[test]
        fn no_lane_is_ever_shared_whatever_the_widths(
            layout in prop::sample::select(vec![NARROW, MIDDLE, Layout::WIDE]),
            first: u32,
            ops in prop::collection::vec((0u8..7, any::<u16>(), 0u64..20), 1..400),
        ) {
            let mut now = Instant::now();
            let mut lanes = Lanes::new(layout, Lane(first));
            let mut held: Vec<Held> = Vec::new();
            for (op, pick, time) in ops {
                held.retain(|h| h.rests_until.is_none_or(|until| until > now));
                let chosen = (!held.is_empty()).then(|| usize::from(pick) % held.len());
                match (op, chosen) {
                    (0..=3, _) => {
                        let width = op % layout.lane;
                        let size = 1u64 << (8 * width);
                        let (_, places) = layout.zone(width);
                        let of_width = held.iter().filter(|h| h.lanes == size).count() as u64;
                        let Some(Lane(from)) = lanes.allocate_block(now, width) else {
                            prop_assert_eq!(of_width, places);
                            continue;
                        };
                        let from = u64::from(from);
                        prop_assert!(from.is_multiple_of(size) && from + size <= layout.lanes());
                        for other in &held {
                            prop_assert!(from + size <= other.from || other.from + other.lanes <= from);
                        }
                        held.push(Held { from, lanes: size, rests_until: None });
                    }
                    (4, Some(at)) if held[at].rests_until.is_none() => {
                        lanes.release(Lane(held[at].from as u32), Some(now + seconds(time)));
                        held[at].rests_until = Some(now + seconds(time));
                    }
                    (5, Some(at)) if held[at].rests_until.is_none() => {
                        lanes.release(Lane(held[at].from as u32), None);
                        held.swap_remove(at);
                    }
                    (6, Some(at)) => {
                        let rested = held[at].rests_until.take().is_some();
                        prop_assert_eq!(lanes.reclaim(Lane(held[at].from as u32)), rested);
                    }
                    _ => {}
                }
                now += seconds(time / 8);
                prop_assert_eq!(lanes.live(), held.iter().filter(|h| h.rests_until.is_none()).count());
            }
        }
    }
}
