//! Difficulty that follows a miner: powers of two, a wanted share rate, bounds.

use super::Difficulty;
use std::time::{Duration, Instant};

/// Bounds and aims of one listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// First difficulty of a miner we know nothing about.
    pub start: Difficulty,
    /// Never below (a miner or its user-agent may raise this for itself).
    pub min: Difficulty,
    /// Never above.
    pub max: Difficulty,
    /// Fixed: no vardiff at all.
    pub fixed: Option<Difficulty>,
    /// Wanted shares per minute, 6..=20 in the field; 12 by default.
    pub shares_per_minute: f64,
    /// The most shares per minute a miner may send because its pool's difficulty is low, before we go above the pool's difficulty (under-credit).
    pub ceiling_per_minute: f64,
}

/// The state of one miner's difficulty.
#[derive(Debug)]
pub struct Vardiff {
    _todo: (),
}

impl Vardiff {
    /// Starts at the configured start, rounded down to a power of two, within bounds.
    pub fn new(_now: Instant, _config: &Config) -> Self {
        todo!()
    }
    /// The miner (or its user agent, or its password) asked for no less than this. Fractions allowed.
    pub fn suggest_min(&mut self, _difficulty: Difficulty) {
        todo!()
    }
    /// The miner suggests where to be now (`mining.suggest_difficulty`, `d=`): a start, bounded as everything else.
    pub fn suggest(&mut self, _difficulty: Difficulty) {
        todo!()
    }
    /// An accepted share that counted for `difficulty`.
    pub fn accepted(&mut self, _now: Instant, _difficulty: Difficulty) {
        todo!()
    }
    /// The difficulty to advertise with the next job from a link whose difficulty is `link`; at most x4 or /4 from the last
    /// one, except that a lower `link` applies at once. A power of two. Rounded down. Also remembers it as current.
    pub fn next(&mut self, _now: Instant, _config: &Config, _link: Difficulty) -> Difficulty {
        todo!()
    }
    /// The current one (what was last advertised).
    pub fn current(&self) -> Difficulty {
        todo!()
    }
    /// Whether a retarget is due, so that it is worth asking for refreshed work before the link's own refresh.
    pub fn wants_change(&self, _now: Instant, _config: &Config, _link: Difficulty) -> bool {
        todo!()
    }
    /// Hashes per second as estimated from accepted shares so far; `None` before there is enough to say.
    pub fn hashrate(&self, _now: Instant) -> Option<f64> {
        todo!()
    }
    /// How long vardiff waits at least between two changes.
    pub const MIN_INTERVAL: Duration = Duration::from_secs(20);
}
