//! Hash bounds: [`Target`] (256 bits, exact) and [`Difficulty`] (how pools and miners talk about it).

/// A 256-bit bound, little-endian limbs: `limbs[3]` is the most significant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Little-endian 64-bit limbs.
    pub limbs: [u64; 4],
}

impl Target {
    /// The whole hash space.
    pub const MAX: Self = Self {
        limbs: [u64::MAX; 4],
    };
    /// From the compact form; `None` for negative, zero or overflowing ones.
    pub fn from_nbits(_nbits: u32) -> Option<Self> {
        todo!()
    }
    /// The bound that a share of this difficulty must meet: floor(2^208 * 65535 / d), exact for every f64.
    pub fn from_difficulty(_difficulty: Difficulty) -> Self {
        todo!()
    }
    /// The largest f64 difficulty... of a hash or target: 65535 * 2^208 / self.
    pub fn difficulty(&self) -> f64 {
        todo!()
    }
    /// From 64 hex digits, big-endian (`mining.suggest_target`).
    pub fn from_hex(_hex: &[u8]) -> Option<Self> {
        todo!()
    }
    /// Whether a hash (digest byte order, as SHA-256 emits it) meets this bound.
    pub fn is_met_by(&self, _hash: &[u8; 32]) -> bool {
        todo!()
    }
}

/// A difficulty that is finite and within 2^-32 ..= 2^63.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Difficulty(f64);

impl Difficulty {
    /// 1, the unit.
    pub const ONE: Self = Self(1.0);
    /// 2^-32: every hash but a few meets it.
    pub const MIN: Self = Self(1.0 / 4_294_967_296.0);
    /// 2^63.
    pub const MAX: Self = Self(9_223_372_036_854_775_808.0);
    /// Refuses NaN, infinities and what is out of range.
    pub fn new(_value: f64) -> Option<Self> {
        todo!()
    }
    /// As a number.
    pub fn value(self) -> f64 {
        self.0
    }
    /// The largest power of two at or below.
    pub fn floor_to_power_of_two(self) -> Self {
        todo!()
    }
    /// Expected hashes per share, floor(d * 2^32): the integer weight all accounting uses (I6). Never 0.
    pub fn hashes(self) -> u128 {
        todo!()
    }
    /// The smaller.
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }
    /// The larger.
    pub fn max(self, other: Self) -> Self {
        if other.0 > self.0 { other } else { self }
    }
    /// Multiplied and clamped into range.
    pub fn scaled(self, _factor: f64) -> Self {
        todo!()
    }
}
