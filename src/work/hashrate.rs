//! Hashrate over 1 m, 5 m and 1 h from difficulty-weighted shares.
//!
//! For showing, not for deciding (that is `vardiff`). The invariant: each rate is unbiased from the first minute on,
//! because the sum is divided by the weight of the time really observed, not by the window.

use std::time::{Duration, Instant};

/// Time constants in seconds: 1 m, 5 m, 1 h.
const WINDOWS_S: [f64; 3] = [60.0, 300.0, 3600.0];

/// Less observed time counts as this much, or the first share of a connection would show as an absurd rate.
const LEAST_OBSERVED: Duration = Duration::from_secs(1);

/// Three exponentially weighted rates, right from the first minute on (start-up is normalised by the time observed).
#[derive(Clone, Debug)]
pub struct Hashrate {
    started: Instant,
    /// When `sums` were last decayed.
    at: Instant,
    /// Hashes, each weighted by e^(-age / window).
    sums: [f64; 3],
}

impl Hashrate {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            at: now,
            sums: [0.0; 3],
        }
    }

    /// Adds proven hashes.
    pub fn add(&mut self, now: Instant, hashes: u128) {
        self.sums = self.decayed(now);
        self.at = self.at.max(now);
        for sum in &mut self.sums {
            *sum += hashes as f64;
        }
    }

    /// Hashes per second over about 1 m, 5 m, 1 h, as of `now`.
    pub fn rates(&self, now: Instant) -> [f64; 3] {
        let observed = now.saturating_duration_since(self.started);
        let observed_s = observed.max(LEAST_OBSERVED).as_secs_f64();
        let sums = self.decayed(now);
        std::array::from_fn(|i| {
            let weight_s = -WINDOWS_S[i] * (-observed_s / WINDOWS_S[i]).exp_m1();
            sums[i] / weight_s
        })
    }

    fn decayed(&self, now: Instant) -> [f64; 3] {
        let age_s = now.saturating_duration_since(self.at).as_secs_f64();
        let [minute, five, hour] = self.sums;
        // An hour is twelve times 5 minutes, and those five times one: powers of one exponential.
        let per_hour = (-age_s / WINDOWS_S[2]).exp();
        let per_five = per_hour.powi(12);
        [minute * per_five.powi(5), five * per_five, hour * per_hour]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHES: u128 = 1 << 40;

    fn after(start: Instant, s: f64) -> Instant {
        start + Duration::from_secs_f64(s)
    }

    fn near(rate: f64, expected: f64, tolerance: f64) -> bool {
        (rate / expected - 1.0).abs() < tolerance
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Hashrate>() <= 64);
    }

    #[test]
    fn a_constant_miner_is_shown_right_at_every_time() {
        let start = Instant::now();
        let mut hashrate = Hashrate::new(start);
        let expected = HASHES as f64 / 2.0;
        for i in 0..5_000u32 {
            let now = after(start, 1.0 + 2.0 * f64::from(i));
            hashrate.add(now, HASHES);
            if i >= 15 {
                let rates = hashrate.rates(after(start, 2.0 + 2.0 * f64::from(i)));
                assert!(
                    rates.iter().all(|r| near(*r, expected, 0.02)),
                    "{i} {rates:?}"
                );
            }
        }
    }

    #[test]
    fn silence_lets_the_short_rate_fall_first() {
        let start = Instant::now();
        let mut hashrate = Hashrate::new(start);
        for i in 0..3_600 {
            hashrate.add(after(start, f64::from(i)), HASHES);
        }
        let [minute, five, hour] = hashrate.rates(after(start, 3_900.0));
        let expected = HASHES as f64;
        assert!(minute < 0.01 * expected);
        assert!(near(five, expected / std::f64::consts::E, 0.02));
        assert!(hour > 0.8 * expected);
    }

    #[test]
    fn poisson_arrivals_are_unbiased_from_the_first_minute_on() {
        let start = Instant::now();
        let mut seed = 1u64;
        let mut means = [[0.0; 3]; 2];
        let runs = 2_000;
        for _ in 0..runs {
            let mut hashrate = Hashrate::new(start);
            let mut t = 0.0;
            loop {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let uniform = ((seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
                t -= 5.0 * uniform.ln();
                if t > 60.0 {
                    break;
                }
                hashrate.add(after(start, t), HASHES);
            }
            for (mean, at) in means.iter_mut().zip([60.0, 61.0]) {
                for (m, rate) in mean.iter_mut().zip(hashrate.rates(after(start, at))) {
                    *m += rate / f64::from(runs);
                }
            }
        }
        assert!(
            means[0].iter().all(|m| near(*m, HASHES as f64 / 5.0, 0.03)),
            "{means:?}"
        );
    }

    #[test]
    fn nothing_and_a_clock_that_stands_still_give_finite_rates() {
        let start = Instant::now();
        let mut hashrate = Hashrate::new(start);
        assert_eq!(hashrate.rates(start), [0.0; 3]);
        hashrate.add(start, u128::MAX);
        assert!(hashrate.rates(start).iter().all(|rate| rate.is_finite()));
    }
}
