//! Difficulty that follows a miner: powers of two, a wanted share rate, bounds (STRATUM.md section 1).
//!
//! Not a clock and not a sender: a session asks for the next difficulty directly before a notify. The invariant: what is
//! advertised is never above the link's difficulty, unless the miner's known hashrate would break the share-rate ceiling.
//!
//! How it decides: a hashrate is estimated (independent of difficulty, so it survives a change of link), `own` is where
//! the miner would be if links did not matter, and what is advertised is `own` brought under the link:
//!
//! ```text
//! accepted shares -> fast, slow averages -> hashrate -> own (x4 or /4 a step) -> min(link) -> or the ceiling's -> advertised
//! ```

use super::Difficulty;
use std::time::{Duration, Instant};

/// Time constant of the average that decides in the steady state: 80 shares at 12 a minute, 11 % of noise.
const SLOW_S: f64 = 200.0;
/// Time constant of the average that notices a step: 20 shares at 12 a minute, 22 % of noise.
const FAST_S: f64 = 50.0;
/// The fast average replaces the slow one outside these multiples of it: three sigma of a steady miner, so that a step of
/// four is believed within three minutes.
const BREAK: (f64, f64) = (0.42, 1.9);
/// The difficulty stays while the share rate is within these multiples of the wanted one: 6.4 to 19.5 a minute at 12.
const KEEP: (f64, f64) = (0.535, 1.625);
/// A new difficulty is the power of two at or below this multiple of the ideal: rates from 0.67 to 1.33 of the wanted
/// one, in the middle of [`KEEP`], so that a step is not undone by noise.
const AIM: f64 = 1.5;
/// Shares before a hashrate is called known, and shares that lift the wait of [`Vardiff::MIN_INTERVAL`].
const ENOUGH: u16 = 8;
const RUSH: u16 = 20;
/// Weight of an average that a break has made the truth: old shares are still in it, so new ones count more for a while.
const AFTER_BREAK: f32 = 0.4;
/// How much of the fast average is of after a step down by four, at the time when it is believed; the rest is older.
const OF_THE_NEW: f32 = 0.65;
/// Seconds that must have been seen before a step down: at 8 a minute, no share in that time happens once in 14 times.
const SILENCE_S: f64 = 20.0;
const STEP: f64 = 4.0;
const HASHES_PER_SHARE: f64 = 4_294_967_296.0;

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
    /// What was last advertised.
    current: Difficulty,
    /// Where the miner would be if the link allowed it.
    own: Difficulty,
    /// What the miner asked not to go below.
    suggested_min: Difficulty,
    /// When `current` last changed.
    changed_at: Instant,
    /// When the averages were last decayed.
    at: Instant,
    fast: Average,
    slow: Average,
    /// Shares since the start and since the last change, both saturating.
    shares: u16,
    since_change: u16,
    /// Whether anything was advertised yet: until then no time counts.
    advertised: bool,
}

/// Hashes and seconds, both weighted by e^(-age / time constant); their quotient is unbiased from the start.
#[derive(Clone, Copy, Debug)]
struct Average {
    hashes: f32,
    seconds: f32,
}

/// A hashrate estimate.
#[derive(Clone, Copy)]
struct Estimate {
    average: Average,
    fast: Average,
    /// The fast average has replaced the slow one.
    broke: bool,
}

impl Vardiff {
    /// How long vardiff waits at least between two changes, unless 20 shares came since the last one.
    pub const MIN_INTERVAL: Duration = Duration::from_secs(20);

    /// Starts at the configured start, rounded down to a power of two, within bounds.
    pub fn new(now: Instant, config: &Config) -> Self {
        let mut vardiff = Self {
            current: Difficulty::ONE,
            own: config.start.floor_to_power_of_two(),
            suggested_min: Difficulty::MIN,
            changed_at: now,
            at: now,
            fast: Average::EMPTY,
            slow: Average::EMPTY,
            shares: 0,
            since_change: 0,
            advertised: false,
        };
        vardiff.own = vardiff.bounded(config, vardiff.own);
        vardiff.current = match config.fixed {
            Some(fixed) => fixed.floor_to_power_of_two(),
            None => vardiff.own,
        };
        vardiff
    }

    /// The miner (or its user agent, or its password) asked for no less than this. Fractions allowed.
    pub fn suggest_min(&mut self, difficulty: Difficulty) {
        self.suggested_min = difficulty;
    }

    /// The miner suggests where to be now (`mining.suggest_difficulty`, `d=`): a start, bounded as everything else.
    /// Ignored once its hashrate is known, or a miner could keep itself at a flood of easy shares.
    pub fn suggest(&mut self, difficulty: Difficulty) {
        if self.shares < ENOUGH {
            self.own = difficulty.floor_to_power_of_two();
        }
    }

    /// An accepted share that counted for `difficulty`.
    pub fn accepted(&mut self, now: Instant, difficulty: Difficulty) {
        self.advance(now);
        let hashes = (difficulty.value() * HASHES_PER_SHARE) as f32;
        self.fast.hashes += hashes;
        self.slow.hashes += hashes;
        self.shares = self.shares.saturating_add(1);
        self.since_change = self.since_change.saturating_add(1);
    }

    /// The difficulty to advertise with the next job from a link whose difficulty is `link`; at most x4 or /4 from the last
    /// one, except that a lower `link` applies at once, and that a higher one may be followed at once to what the known
    /// hashrate wants. A power of two. Rounded down. Also remembers it as current.
    pub fn next(&mut self, now: Instant, config: &Config, link: Difficulty) -> Difficulty {
        if !self.advertised {
            (self.at, self.changed_at, self.advertised) = (now, now, true);
        }
        self.advance(now);
        let (own, next) = self.decide(now, config, link);
        let (fast, slow) = (self.fast.rate(), self.slow.rate());
        if (own < self.own && fast < slow) || (own > self.own && fast > slow) {
            // A step believes the newer shares, or the older ones would undo it.
            self.slow = self.fast;
        }
        self.own = own;
        if next != self.current {
            self.current = next;
            self.changed_at = now;
            self.since_change = 0;
        }
        next
    }

    /// The current one (what was last advertised).
    pub fn current(&self) -> Difficulty {
        self.current
    }

    /// Whether a retarget is due, so that it is worth asking for refreshed work before the link's own refresh.
    pub fn wants_change(&self, now: Instant, config: &Config, link: Difficulty) -> bool {
        self.advertised && self.decide(now, config, link).1 != self.current
    }

    /// Hashes per second as estimated from accepted shares so far; `None` before there is enough to say.
    pub fn hashrate(&self, now: Instant) -> Option<f64> {
        (self.shares >= ENOUGH).then(|| self.estimate(now).average.rate())
    }

    /// Decays the averages to `now` and believes a break.
    fn advance(&mut self, now: Instant) {
        if !self.advertised {
            return;
        }
        let estimate = self.estimate(now);
        self.fast = estimate.fast;
        self.slow = estimate.average;
        if estimate.broke {
            self.slow.hashes *= AFTER_BREAK;
            self.slow.seconds *= AFTER_BREAK;
            self.fast = self.slow;
        }
        self.at = self.at.max(now);
    }

    fn age_s(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.at).as_secs_f64()
    }

    /// The slow average, or the fast one where the two have parted beyond noise.
    fn estimate(&self, now: Instant) -> Estimate {
        let fast = self.fast.decayed(self.age_s(now), FAST_S);
        let slow = self.slow.decayed(self.age_s(now), SLOW_S);
        let ratio = fast.rate() / slow.rate();
        // How many shares the fast average saw, or should have seen: few prove nothing.
        let share = self.current.value() * HASHES_PER_SHARE;
        let seen = f64::from(fast.hashes) / share;
        let expected = slow.rate() * f64::from(fast.seconds) / share;
        let up = ratio > BREAK.1 && seen >= 10.0;
        let down = ratio < BREAK.0 && expected >= 6.0;
        let broke = up || down;
        let mut average = if broke { fast } else { slow };
        if down {
            average.hashes *= OF_THE_NEW;
        }
        Estimate {
            average,
            fast,
            broke,
        }
    }

    /// Where the miner should be, and what to advertise for it.
    fn decide(&self, now: Instant, config: &Config, link: Difficulty) -> (Difficulty, Difficulty) {
        let cap = link.floor_to_power_of_two();
        if let Some(fixed) = config.fixed {
            return (self.own, fixed.floor_to_power_of_two().min(cap));
        }
        let estimate = self.estimate(now);
        // A lucky first share at far too high a start would weigh too long in the slow one.
        let average = if self.shares < ENOUGH {
            estimate.fast
        } else {
            estimate.average
        };
        let due = now.saturating_duration_since(self.changed_at) >= Self::MIN_INTERVAL
            || self.since_change >= RUSH;
        let mut own = self.bounded(config, self.own);
        if self.advertised && due {
            own = self.bounded(config, self.stepped(config, own, average, estimate.fast));
        }
        if self.shares < ENOUGH {
            return (own, own.min(cap));
        }
        let least = self.under_ceiling(config, cap, average.rate(), due);
        (own, own.min(cap.max(least)))
    }

    /// `own` after at most one step towards the wanted share rate.
    fn stepped(
        &self,
        config: &Config,
        own: Difficulty,
        average: Average,
        fast: Average,
    ) -> Difficulty {
        let ideal = |rate: f64| rate * 60.0 / HASHES_PER_SHARE / config.shares_per_minute;
        let share = self.current.value() * HASHES_PER_SHARE;
        // A step down takes the benefit of the doubt: one more share might have come just now.
        let doubted = |average: Average| {
            (f64::from(average.hashes) + share) / f64::from(average.seconds).max(1.0)
        };
        let doubt = doubted(average);
        let known = self.shares >= ENOUGH;
        let high = known && ideal(average.rate()) > own.value() * KEEP.1;
        let low = f64::from(average.seconds) >= SILENCE_S && ideal(doubt) < own.value() * KEEP.0;
        let rate = match (high, low) {
            (true, _) => average.rate().max(fast.rate()),
            (_, true) => doubt.min(doubted(fast)),
            _ => return own,
        };
        let wanted = Difficulty::MIN.max(Difficulty::ONE.scaled(ideal(rate) * AIM));
        let wanted = wanted.floor_to_power_of_two();
        if known && self.current < own {
            // The link holds it under: nothing of this is advertised, so it need not climb.
            return wanted;
        }
        wanted.max(own.scaled(1.0 / STEP)).min(own.scaled(STEP))
    }

    /// The smallest power of two that keeps the share rate under the ceiling; it may be above the link's.
    fn under_ceiling(&self, config: &Config, cap: Difficulty, rate: f64, due: bool) -> Difficulty {
        let at_ceiling = |margin: f64| {
            let least = rate * 60.0 / HASHES_PER_SHARE / (config.ceiling_per_minute * margin);
            Difficulty::ONE.scaled(least).ceil_to_power_of_two()
        };
        // Down again only once there is a fifth of room, so that noise does not flap it.
        let standing = self.current > cap && self.current <= at_ceiling(0.8);
        let least = at_ceiling(1.0);
        if standing && least < self.current {
            return self.current;
        }
        if least > self.current && least > cap {
            // A step of vardiff's own: timed and limited, unless the link just moved under it.
            let limit = self.current.max(cap).scaled(if due { STEP } else { 1.0 });
            return least.min(limit);
        }
        least
    }

    /// Within the listener's and the miner's own bounds; the listener's upper one wins.
    fn bounded(&self, config: &Config, difficulty: Difficulty) -> Difficulty {
        let min = config.min.max(self.suggested_min).ceil_to_power_of_two();
        let max = config.max.floor_to_power_of_two();
        difficulty.max(min).min(max)
    }
}

impl Average {
    const EMPTY: Self = Self {
        hashes: 0.0,
        seconds: 0.0,
    };

    fn decayed(self, age_s: f64, constant_s: f64) -> Self {
        let decay = (-age_s / constant_s).exp();
        let seconds = f64::from(self.seconds) * decay + constant_s * (1.0 - decay);
        Self {
            hashes: (f64::from(self.hashes) * decay) as f32,
            seconds: seconds as f32,
        }
    }

    /// Hashes per second; less than a quarter of a second of observation counts as that much.
    fn rate(self) -> f64 {
        f64::from(self.hashes) / f64::from(self.seconds).max(0.25)
    }
}

#[cfg(test)]
mod tests;
