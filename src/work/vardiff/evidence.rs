//! What a miner's shares say about its hashrate: an average of the recent ones, and two tests that tell when the hashrate
//! has left what was usual. Not a policy and not a clock: vardiff decides, and says how long was waited at what.
//!
//! Invariant: counts say the same whatever difficulties they were gathered at, because time is counted as exposure,
//! seconds over difficulty; so a change of difficulty or of link loses nothing. No rate is ever infinite or not a number.
//!
//! ```text
//!   share, wait ──> recent  (seconds)  ──────────────────────────> what is believed now
//!              ├──> usual   (shares)  ── the rate that is tested ──┐
//!              ├──> fewer   (since it may have fallen) ── beyond doubt: replaces recent and usual
//!              └──> more    (since it may have risen)  ── likewise
//! ```
//!
//! The tests are Page's CUSUM for a Poisson process: the logarithm of how much likelier the shares are after a change by
//! a factor than without one, counted from the moment since when that is largest. Additions and products only.

/// Seconds that `recent` remembers; what is older weighs less and less. At 12 shares a minute 9 % of noise.
const MEMORY_S: f32 = 280.0;
/// Shares that `usual` remembers. Long, and in shares: the time after a fall must not water down what it fell from.
const USUAL: f32 = 200.0;
const USUAL_KEPT: f32 = USUAL / (USUAL + 1.0);
/// The fall and the rise that are looked for. Below 0.61 and above 1.56 of the usual rate the evidence grows (where it
/// turns is (factor - 1) / ln(factor)); a lesser change is left to `recent`.
const FALL: f32 = 0.33;
const RISE: f32 = 2.3;
const LN_FALL: f32 = -1.108_662_6;
const LN_RISE: f32 = 0.832_909_1;
/// How much likelier a change must be than none: e^7.5, e^9. With less a steady miner is moved more often than once in
/// two hours; with more a fall to a quarter is noticed later than three minutes after it.
const FALLEN: f32 = 7.5;
const RISEN: f32 = 9.0;
/// The most that one belief raises a rate by: what was held up on the way arrives all at once.
const MOST: f32 = 32.0;
/// No exposure falls below this (2^63 is the highest difficulty there is), so that every rate is finite.
const LEAST_EXPOSURE: f32 = 1e-30;

/// Shares, and how long they took: all that a Poisson process leaves behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// How many shares, each of whatever difficulty.
    pub(super) shares: f32,
    /// Seconds over difficulty.
    exposure: f32,
}

/// Everything remembered of one miner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    recent: Counts,
    /// How many seconds `recent` is about, up to its memory.
    seconds: f32,
    usual: Counts,
    fewer: Counts,
    more: Counts,
}

impl Counts {
    const NONE: Self = Self {
        shares: 0.0,
        exposure: 0.0,
    };

    fn new(shares: f32, exposure: f32) -> Self {
        let exposure = exposure.max(LEAST_EXPOSURE);
        Self { shares, exposure }
    }

    /// Difficulty per second; times 2^32: hashes per second.
    pub(super) fn rate(self) -> f64 {
        f64::from(self.shares / self.exposure)
    }

    /// The same if one more share had come just now: what silence cannot rule out.
    pub(super) fn doubted(self) -> f64 {
        f64::from((self.shares + 1.0) / self.exposure)
    }

    /// How much likelier these shares are at `factor` times the rate than at the rate, as a logarithm.
    fn favours(self, factor: f32, ln_factor: f32, rate: f32) -> f32 {
        self.shares * ln_factor - (factor - 1.0) * rate * self.exposure
    }
}

impl Evidence {
    /// A guess that weighs as much as one share that took `seconds` at `difficulty`.
    pub(super) fn guessed(seconds: f64, difficulty: f64) -> Self {
        Self::of(Counts::new(1.0, (seconds / difficulty) as f32))
    }

    fn of(counts: Counts) -> Self {
        Self {
            recent: counts,
            seconds: 0.0,
            usual: counts,
            fewer: Counts::NONE,
            more: Counts::NONE,
        }
    }

    /// What is believed now.
    pub(super) fn counts(&self) -> Counts {
        self.recent
    }

    /// Time without a share, at this difficulty.
    pub(super) fn wait(&mut self, seconds: f32, difficulty: f64) {
        let exposure = seconds / difficulty as f32;
        self.recent.exposure += exposure;
        self.usual.exposure += exposure;
        self.fewer.exposure += exposure;
        self.more.exposure += exposure;
        self.seconds += seconds;
        if self.seconds > MEMORY_S {
            let kept = MEMORY_S / self.seconds;
            self.recent = Counts::new(self.recent.shares * kept, self.recent.exposure * kept);
            self.seconds = MEMORY_S;
        }
        let rate = self.usual.shares / self.usual.exposure;
        if self.fewer.favours(FALL, LN_FALL, rate) > FALLEN {
            *self = Self::of(self.fewer);
        } else if self.more.favours(RISE, LN_RISE, rate) <= 0.0 {
            self.more = Counts::NONE;
        }
    }

    /// A share.
    pub(super) fn share(&mut self) {
        self.recent.shares += 1.0;
        self.fewer.shares += 1.0;
        self.more.shares += 1.0;
        let usual = self.usual;
        self.usual = if usual.shares < USUAL {
            Counts::new(usual.shares + 1.0, usual.exposure)
        } else {
            Counts::new(usual.shares, usual.exposure * USUAL_KEPT)
        };
        let rate = self.usual.shares / self.usual.exposure;
        if self.more.favours(RISE, LN_RISE, rate) > RISEN {
            let least = self.more.shares / (MOST * rate);
            *self = Self::of(Counts::new(self.more.shares, self.more.exposure.max(least)));
        } else if self.fewer.favours(FALL, LN_FALL, rate) <= 0.0 {
            self.fewer = Counts::NONE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_believed_once_it_is_beyond_doubt_and_not_before() {
        // e^7.5 is reached once 7.5 / 0.67 shares were expected, at a rate that the wait itself has lowered by 7 %.
        for (waited, believed) in [(1.15, false), (1.27, true)] {
            let mut evidence = steady(150);
            evidence.wait(waited, 1.0);
            assert_eq!(evidence.counts().shares == 0.0, believed, "{evidence:?}");
        }
    }

    #[test]
    fn a_rush_is_believed_once_it_is_beyond_doubt_and_not_before() {
        for (shares, believed) in [(9, false), (14, true)] {
            let mut evidence = steady(150);
            for _ in 0..shares {
                evidence.wait(0.005, 1.0);
                evidence.share();
            }
            assert_eq!(evidence.counts().shares < 20.0, believed, "{evidence:?}");
        }
    }

    #[test]
    fn what_was_held_up_and_comes_at_once_raises_the_rate_but_not_without_bound() {
        let mut evidence = steady(150);
        for _ in 0..12 {
            evidence.share();
        }
        let rate = evidence.counts().rate();
        assert!((100.0..=500.0).contains(&rate), "{rate}");
    }

    #[test]
    fn the_same_hashrate_is_read_at_any_difficulty() {
        let mut evidence = Evidence::guessed(0.1, 1.0);
        for difficulty in [1.0, 32.0, 1.0 / 64.0, 8.0] {
            for _ in 0..40 {
                evidence.wait((difficulty / 10.0) as f32, difficulty);
                evidence.share();
            }
            let rate = evidence.counts().rate();
            assert!((rate / 10.0 - 1.0).abs() < 0.05, "{rate} at {difficulty}");
        }
    }

    #[test]
    fn no_flood_and_no_silence_makes_a_rate_that_is_not_a_number() {
        for difficulty in [1.0 / 4_294_967_296.0, 9.3e18] {
            let mut evidence = Evidence::guessed(5.0, difficulty);
            for round in 0..200_000 {
                evidence.share();
                if round % 10_000 == 0 {
                    evidence.wait(1e9, difficulty);
                }
                let counts = evidence.counts();
                assert!(counts.rate().is_finite() && counts.doubted().is_finite());
            }
        }
    }

    /// Ten shares a second at difficulty one, evenly.
    fn steady(shares: u32) -> Evidence {
        let mut evidence = Evidence::guessed(0.1, 1.0);
        for _ in 0..shares {
            evidence.wait(0.1, 1.0);
            evidence.share();
        }
        evidence
    }
}
