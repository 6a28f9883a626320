//! Hashrate over 1 m, 5 m and 1 h from difficulty-weighted shares.

use std::time::Instant;

/// Three exponentially weighted rates, right from the first minute on (start-up is normalised by the time observed).
#[derive(Clone, Debug)]
pub struct Hashrate {
    _todo: (),
}

impl Hashrate {
    /// Nothing seen yet.
    pub fn new(_now: Instant) -> Self {
        todo!()
    }
    /// Adds proven hashes.
    pub fn add(&mut self, _now: Instant, _hashes: u128) {
        todo!()
    }
    /// Hashes per second over about 1 m, 5 m, 1 h, as of `now`.
    pub fn rates(&self, _now: Instant) -> [f64; 3] {
        todo!()
    }
}
