//! What the meter teaches: how far real watts are from counted ones.
//!
//! The plan counts nameplates and setpoints; the meter shows what they come to. The difference is added to what the plan
//! counts. Invariant: it is learned only from a settled fleet and good readings, from the mean of the last ten so that noise is
//! not taken for power; at once where they show far more than was known; and never beyond a tenth of what is counted either
//! way: a meter that lies cannot run away.

use super::Watts;
use std::time::{Duration, Instant};

/// Readings whose mean is taken: 1 % of noise in each leaves 0.3 %.
const READINGS: usize = 10;
/// More than that above what was known, of what is counted, is no noise: it is taken over after two readings.
const FAR: f64 = 0.03;
/// Largest correction, of what is counted.
const MOST: f64 = 0.10;
/// So far from the count, of it, a settled meter shows something else: kilowatts as watts, or another feeder.
const DOUBTFUL: f64 = 0.30;
/// A reading older than this is none.
const STALE: Duration = Duration::from_secs(10);
/// Shares tell of the time before they came: so long after a command they say nothing of what is counted now.
const LAGGING: Duration = Duration::from_secs(15);
/// What shares showed is believed so long after they last did.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Standard deviations by which shares must show more than is counted (CURTAILMENT.md section 4).
const SIGMAS: f64 = 3.0;
/// Shares that tell 3 % from chance at three deviations: the count begins anew then.
const ENOUGH: u64 = 10_000;

/// The correction and the latest reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trim {
    bias: f64,
    /// The latest differences, of settled readings; the oldest is overwritten.
    errors: [f64; READINGS],
    /// How many there have been.
    seen: usize,
    /// The latest readings, settled or not.
    levels: [f64; READINGS],
    /// How many of them there are.
    read: usize,
    reading: Option<(Watts, Instant)>,
    fresh: bool,
    doubt: Option<(Watts, Watts)>,
    /// A command was on its way then.
    moved: Option<Instant>,
    /// Shares since counting began: how many, and their watts times how many.
    shares: (u64, f64),
    /// What they showed beyond the count, and when.
    beyond: Option<(f64, Instant)>,
}

impl Trim {
    /// A reading of what mining draws at the meter, or that there is none to be believed.
    pub fn read(&mut self, now: Instant, mining: Option<Watts>) {
        let gap = self
            .reading
            .is_none_or(|(_, at)| now.saturating_duration_since(at) > STALE);
        if mining.is_none() || gap {
            // What was known of a fleet that nobody watched may be long gone; what it may draw beyond the count stays.
            self.seen = 0;
            self.bias = self.bias.max(0.0);
        }
        self.reading = mining.map(|watts| (watts, now));
        self.fresh = mining.is_some();
        match mining {
            Some(watts) => {
                self.levels[self.read % READINGS] = watts.0 as f64;
                self.read += 1;
            }
            None => self.read = 0,
        }
    }

    /// What the meter shows beyond doubt: the latest reading or the mean of the last ten, whichever is less.
    pub fn level(&self, now: Instant) -> Option<Watts> {
        let latest = self.meter(now)?;
        let known = self.read.min(READINGS);
        let mean = self.levels[..known].iter().sum::<f64>() / known.max(1) as f64;
        Some(latest.min(Watts(mean as i64)))
    }

    /// What mining draws at the meter, if that was read lately.
    pub fn meter(&self, now: Instant) -> Option<Watts> {
        self.reading
            .filter(|(_, at)| now.saturating_duration_since(*at) <= STALE)
            .map(|(watts, _)| watts)
    }

    /// Learns from the latest reading, once for each: `counted` is what the plan believes at the meter, `settled`
    /// whether nothing commanded is still on its way.
    pub fn learn(&mut self, now: Instant, counted: Watts, settled: bool) {
        if !settled {
            self.moved = Some(now);
        }
        let Some(meter) = self.meter(now).filter(|_| self.fresh && settled) else {
            return;
        };
        self.fresh = false;
        let counted = counted.0.max(0) as f64;
        self.errors[self.seen % READINGS] = meter.0 as f64 - counted;
        self.seen += 1;
        let known = self.seen.min(READINGS);
        let last = |n: usize| {
            let at = |back: usize| self.errors[(self.seen - 1 - back) % READINGS];
            (0..n).map(at).sum::<f64>() / n as f64
        };
        let soon = last(known.min(2));
        self.bias = match known >= 2 && soon - self.bias > counted * FAR {
            true => soon,
            false => self.bias + (last(known) - self.bias) * known as f64 / READINGS as f64,
        };
        let most = counted * MOST;
        self.bias = self.bias.clamp(-most, most);
        let far = last(known).abs() > counted * DOUBTFUL;
        self.doubt = (known == READINGS && far).then_some((meter, Watts(counted as i64)));
        if self.doubt.is_some() {
            self.bias = self.bias.max(0.0);
        }
    }

    /// What the meter shows and what is counted, where they are too far apart to be of the same fleet: nothing is started
    /// into what such a meter leaves free.
    pub fn doubt(&self) -> Option<(Watts, Watts)> {
        self.doubt
    }

    /// Shares stand for so many watts at the meter, of which `committed` count. More than chance can explain is believed to
    /// be drawn, less is not: a machine may hash for somebody else.
    pub fn hashed(&mut self, now: Instant, watts: Watts, shares: u64, committed: Watts) {
        let moved = self
            .moved
            .is_some_and(|at| now.saturating_duration_since(at) < LAGGING);
        if moved || self.shares.0 >= ENOUGH {
            self.shares = (0, 0.0);
        }
        if moved {
            return;
        }
        self.shares.0 += shares;
        self.shares.1 += watts.0 as f64 * shares as f64;
        let known = self.shares.0.max(1) as f64;
        let least = self.shares.1 / known * (1.0 - SIGMAS / known.sqrt());
        let counted = committed.0.max(0) as f64;
        if least > counted {
            self.beyond = Some(((least - counted).min(counted * MOST), now));
        }
    }

    /// What shares showed to be drawn beyond the count, lately.
    pub fn hashing(&self, now: Instant) -> Watts {
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < REMEMBERED;
        let beyond = self.beyond.filter(|(_, at)| fresh(at));
        Watts(beyond.map_or(0, |(watts, _)| watts as i64))
    }

    /// Something that was learned of one machine makes it count for so much more (or less) than the `before` of all: the
    /// whole stays what the meter shows, which is no less than its level.
    pub fn attribute(&mut self, now: Instant, before: Watts, counted: Watts) {
        let unseen = match self.level(now) {
            Some(level) => (level.0 - before.0) as f64 - self.bias,
            None => return,
        };
        let counted = match counted.0 as f64 {
            more if more > 0.0 => (more - unseen.max(0.0)).max(0.0),
            less => less,
        };
        self.bias -= counted;
        for error in &mut self.errors {
            *error -= counted;
        }
    }

    /// Commands change what is counted to so many times that: what the table is off by changes with it. What draws less than
    /// it counts for may be a few machines that count in full and are off: that does not grow with the others.
    pub fn scale(&mut self, times: f64) {
        let times = times.clamp(0.0, 10.0);
        let scale = |watts: &mut f64| *watts *= if *watts < 0.0 { times.min(1.0) } else { times };
        scale(&mut self.bias);
        self.errors.iter_mut().for_each(scale);
    }

    /// While commands are on their way the meter still shows more than they will leave, but never more than what is
    /// `committed`, not proven off: beyond that somebody runs who should not.
    pub fn learn_unsettled(&mut self, now: Instant, committed: Watts) {
        let Some(level) = self.level(now) else {
            return;
        };
        let beyond = (level - committed).0 as f64;
        let most = committed.0.max(0) as f64 * MOST;
        if beyond > self.bias + committed.0.max(0) as f64 * FAR / 3.0 {
            self.bias = beyond.min(most);
        }
    }

    /// What to add to counted watts to get real ones.
    pub fn bias(&self) -> Watts {
        Watts(self.bias as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(meter: i64, counted: i64, times: u32) -> i64 {
        let mut trim = Trim::default();
        let now = Instant::now();
        for _ in 0..times {
            trim.read(now, Some(Watts(meter)));
            trim.learn(now, Watts(counted), true);
        }
        trim.bias().0
    }

    #[test]
    fn more_than_counted_is_believed_within_three_readings_and_less_within_thirty() {
        assert!(learned(1_040_000, 1_000_000, 3) > 38_000);
        let less = learned(960_000, 1_000_000, 3);
        assert!((-20_000..-10_000).contains(&less), "{less}");
        assert!(learned(960_000, 1_000_000, 30) < -39_000);
    }

    #[test]
    fn no_meter_moves_the_count_by_more_than_a_tenth() {
        assert_eq!(learned(9_000_000, 1_000_000, 50), 100_000);
        assert_eq!(learned(800_000, 1_000_000, 500), -100_000);
    }

    #[test]
    fn a_meter_of_something_else_is_doubted_and_frees_nothing() {
        for (meter, doubted) in [(690, true), (710, false), (1_290, false), (1_310, true)] {
            let mut trim = Trim::default();
            let now = Instant::now();
            for _ in 0..READINGS {
                assert_eq!(trim.doubt(), None);
                trim.read(now, Some(Watts(meter)));
                trim.learn(now, Watts(1_000), true);
            }
            assert_eq!(trim.doubt().is_some(), doubted, "{meter} of 1000");
            assert!(!doubted || trim.bias() >= Watts::ZERO);
        }
    }

    #[test]
    fn after_a_gap_in_its_readings_the_meter_lowers_no_count_until_it_has_been_read_anew() {
        let mut trim = Trim::default();
        let now = Instant::now();
        for _ in 0..READINGS {
            trim.read(now, Some(Watts(950)));
            trim.learn(now, Watts(1_000), true);
        }
        assert!(trim.bias() < Watts(-30));
        for reading in [None, Some(Watts(950))] {
            let mut trim = trim;
            trim.read(now + STALE + Duration::from_secs(1), reading);
            assert_eq!(trim.bias(), Watts::ZERO);
        }
    }

    #[test]
    fn an_unsettled_fleet_and_a_reading_used_before_teach_nothing() {
        let mut trim = Trim::default();
        let now = Instant::now();
        trim.read(now, Some(Watts(2_000)));
        trim.learn(now, Watts(1_000), false);
        assert_eq!(trim.bias(), Watts::ZERO);
        trim.learn(now, Watts(1_000), true);
        let once = trim.bias();
        trim.learn(now, Watts(1_000), true);
        assert_eq!(trim.bias(), once);
        assert_eq!(trim.meter(now + STALE + Duration::from_secs(1)), None);
    }
}
