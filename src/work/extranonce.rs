//! Lanes: who rolls which part of the search space (ARCHITECTURE section 4).

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
    /// The layout for a pool that gives `size` bytes of extranonce2; `None` below 4 (cannot be shared).
    pub fn for_pool(_size: u8) -> Option<Self> {
        todo!()
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
    pub fn bytes(self, _layout: Layout) -> [u8; 4] {
        todo!()
    }
}

/// Next-fit allocation with a rest: a lane under which work was sent is not given out again before its rest is over.
#[derive(Debug)]
pub struct Lanes {
    _todo: (),
}

impl Lanes {
    /// Allocation starts at `first` and wraps.
    pub fn new(_layout: Layout, _first: Lane) -> Self {
        todo!()
    }
    /// The next lane that is neither live nor resting at `now`; `None` when all are taken.
    pub fn allocate(&mut self, _now: std::time::Instant) -> Option<Lane> {
        todo!()
    }
    /// Takes a given lane out of its rest (session resume). False if it is live or unknown to be resting.
    pub fn reclaim(&mut self, _lane: Lane) -> bool {
        todo!()
    }
    /// Gives a lane back; it rests until `rest_until` (`None`: it never got work, free at once).
    pub fn release(&mut self, _lane: Lane, _rest_until: Option<std::time::Instant>) {
        todo!()
    }
    /// Live lanes.
    pub fn live(&self) -> usize {
        todo!()
    }
    /// Lanes at rest (some may be over, they are collected as allocation goes).
    pub fn resting(&self) -> usize {
        todo!()
    }
}
