//! When to try a pool again: 1 s doubling to 30 s with full jitter, so that a thousand proxies do not come back as one.

use std::time::Duration;

/// The longest wait; never a ban for ever.
const CEILING: Duration = Duration::from_secs(30);
/// Below this a refused port would be hammered.
const FLOOR: Duration = Duration::from_millis(200);

/// Doubling with jitter from a seed.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    state: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            state: seed | 1,
        }
    }

    /// The pool has proven good.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// One more failure: how long to wait.
    pub(super) fn next(&mut self) -> Duration {
        let cap = Duration::from_secs(1 << self.failures.min(5)).min(CEILING);
        self.failures = self.failures.saturating_add(1);
        cap.mul_f64(self.chance()).max(FLOOR)
    }

    /// 0..1 (xorshift64*; quality does not matter here, being spread does).
    fn chance(&mut self) -> f64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_stay_in_bounds_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(7);
        let mut longest = Duration::ZERO;
        for failure in 0..200 {
            let wait = backoff.next();
            let cap = Duration::from_secs(1 << failure.min(5)).min(CEILING);
            assert!(wait >= FLOOR && wait <= cap.max(FLOOR));
            longest = longest.max(wait);
        }
        assert!(longest > Duration::from_secs(20));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}
