//! Tests of vardiff in simulated time, with Poisson arrivals.
//!
//! Not a session: a notify comes every 30 s and whenever vardiff wants one. The invariant of the world below: the same
//! seed gives the same run.

use super::*;

#[test]
fn it_is_small() {
    assert!(size_of::<Vardiff>() <= 96, "{}", size_of::<Vardiff>());
}

#[test]
fn a_far_too_low_start_is_left_within_seconds() {
    let mut world = World::new(1, 100e12);
    let start = world.seconds;
    while world.rate() > 25.0 {
        world.run(1.0);
        assert!(world.seconds - start < 20.0, "{:?}", world.vardiff);
    }
}

#[test]
fn a_far_too_high_start_is_left_within_five_minutes() {
    let mut reached = 0;
    for seed in 0..50 {
        let mut world = World::new(seed, 1e12);
        world.config.start = difficulty(65_536.0);
        world.vardiff = Vardiff::new(world.now(), &world.config);
        world.run(300.0);
        reached += u32::from(world.rate() > 5.5);
    }
    assert!(reached >= 45, "{reached} of 50");
}

/// The constants were tuned on 960 runs each of another generator; these runs are others.
#[test]
fn a_step_of_hashrate_is_followed_within_five_minutes() {
    const RUNS: u32 = 480;
    for (factor, percent) in [(0.05, 93), (0.25, 93), (4.0, 96), (20.0, 94)] {
        let mut reached = 0;
        for run in 0..RUNS {
            // Everywhere between two powers of two, and at any time between two notifies.
            let hashrate = 100e12 * 2f64.powf(f64::from(run) / 24.0);
            let mut world = World::new(u64::from(run) + 100_000, hashrate);
            world.run(1800.0 + f64::from(run) * 1.37 % 30.0);
            world.hashrate *= factor;
            world.run(300.0);
            reached += u32::from((6.0..=20.0).contains(&world.rate()));
        }
        println!("step {factor}: {reached} of {RUNS}");
        assert!(reached * 100 >= RUNS * percent, "{factor}: {reached}");
    }
}

#[test]
fn a_steady_miner_stays_within_6_to_20_shares_a_minute_and_seldom_moves() {
    let (mut minutes, mut outside, mut changes) = (0u32, 0u32, 0u32);
    for step in 0..24u32 {
        let hashrate = 100e12 * 2f64.powf(f64::from(step) / 24.0);
        let mut world = World::new(u64::from(step), hashrate);
        world.run(900.0);
        let before = world.changes;
        for _ in 0..240 {
            world.run(60.0);
            minutes += 1;
            outside += u32::from(!(6.0..=20.0).contains(&world.rate()));
        }
        changes += world.changes - before;
    }
    let per_hour = f64::from(changes) / (f64::from(minutes) / 60.0);
    println!("{outside} of {minutes} minutes outside, {per_hour} changes an hour");
    assert!(
        outside * 50 < minutes,
        "{outside} of {minutes} minutes outside"
    );
    assert!(per_hour < 0.6, "{per_hour} changes an hour");
}

#[test]
fn what_is_advertised_is_never_above_the_link() {
    for link in [0.7, 1.0, 1000.0, 65_536.0] {
        let mut world = World::new(3, 1e12);
        world.config.ceiling_per_minute = f64::INFINITY;
        world.config.min = difficulty(512.0);
        world.link = difficulty(link);
        for _ in 0..300 {
            world.run(1.0);
            assert!(world.vardiff.current().value() <= link);
        }
    }
}

#[test]
fn every_step_is_at_most_four_and_a_power_of_two() {
    for (hashrate, start) in [(100e12, 1.0), (1e9, 1_048_576.0)] {
        let mut world = World::new(5, hashrate);
        world.config.start = difficulty(start);
        world.vardiff = Vardiff::new(world.now(), &world.config);
        world.run(600.0);
        assert!(world.changes >= 3);
        assert!(world.largest_step > 1.0 && world.largest_step <= 4.0);
    }
}

#[test]
fn a_lower_link_applies_at_once_and_a_higher_one_goes_straight_to_the_known_hashrate() {
    let mut world = World::new(7, 100e12);
    world.config.ceiling_per_minute = f64::INFINITY;
    world.run(1200.0);
    let settled = world.vardiff.current();
    world.link = difficulty(1024.0);
    assert!(
        world
            .vardiff
            .wants_change(world.now(), &world.config, world.link)
    );
    assert_eq!(world.notify(), difficulty(1024.0));
    world.run(60.0);
    world.link = difficulty(1e9);
    let back = world.notify();
    assert!(back >= settled.scaled(0.5) && back <= settled.scaled(2.0));
}

#[test]
fn a_miner_first_seen_on_an_easy_link_jumps_when_it_moves_to_a_hard_one() {
    let mut world = World::new(8, 100e9);
    world.link = Difficulty::ONE;
    world.config.start = Difficulty::ONE;
    world.config.ceiling_per_minute = f64::INFINITY;
    world.vardiff = Vardiff::new(world.now(), &world.config);
    world.run(60.0);
    assert_eq!(world.vardiff.current(), Difficulty::ONE);
    world.link = difficulty(65_536.0);
    world.notify();
    assert!((6.0..=20.0).contains(&world.rate()), "{}", world.rate());
}

#[test]
fn the_ceiling_lifts_an_easy_link_just_enough_and_not_before() {
    for (hashrate, lifted) in [(5e9, false), (13e9, true), (100e12, true)] {
        let mut world = World::new(9, hashrate);
        world.link = Difficulty::ONE;
        world.run(600.0);
        let current = world.vardiff.current();
        assert_eq!(current > world.link, lifted, "{current:?}");
        if lifted {
            let (rate, ceiling) = (world.rate(), world.config.ceiling_per_minute);
            assert!(rate <= ceiling * 1.1, "{rate}");
            assert!(
                rate >= ceiling * 0.35,
                "{rate}: more than what the ceiling needs"
            );
        }
    }
}

#[test]
fn a_move_to_an_easy_link_lands_at_the_ceiling_at_once() {
    let mut world = World::new(10, 100e12);
    world.run(1200.0);
    world.link = Difficulty::ONE;
    world.notify();
    let ceiling = world.config.ceiling_per_minute;
    assert!((ceiling * 0.35..=ceiling * 1.2).contains(&world.rate()));
}

/// Whenever the link turns a thousand times too easy: with the start difficulty right, and four times too high.
#[test]
fn the_ceiling_holds_from_the_first_share_on() {
    const MINERS: u32 = 240;
    for (start_factor, met_after) in [1.0, 4.0]
        .into_iter()
        .flat_map(|factor| [1.0, 5.0, 20.0, 60.0, 120.0, 300.0].map(|after| (factor, after)))
    {
        let (mut shares, mut ceiling) = (0.0, 0.0);
        for run in 0..MINERS {
            let ideal = 4096.0 * 2f64.powf(f64::from(run) / 24.0);
            let mut world = World::new(u64::from(run), ideal * HASHES_PER_SHARE / 5.0);
            world.config.start = difficulty(ideal * start_factor);
            world.config.ceiling_per_minute = 24.0;
            world.vardiff = Vardiff::new(world.now(), &world.config);
            world.run(met_after);
            world.link = difficulty(ideal / 1000.0);
            world.notify();
            let before = world.shares;
            world.run(30.0);
            shares += f64::from(world.shares - before);
            ceiling += world.config.ceiling_per_minute / 2.0;
        }
        assert!(shares <= ceiling, "{shares} > {ceiling} after {met_after}");
    }
}

#[test]
fn a_miner_that_begins_on_far_too_easy_a_link_is_near_the_ceiling_after_some_ten_shares() {
    let mut mean = 0.0;
    for run in 0..100 {
        let mut world = World::new(run, 4096.0 * HASHES_PER_SHARE / 5.0);
        world.config.start = difficulty(4096.0);
        world.config.ceiling_per_minute = 24.0;
        world.vardiff = Vardiff::new(world.now(), &world.config);
        world.link = difficulty(4.0);
        assert_eq!(world.notify(), world.link, "the first obeys its link");
        world.run(2.0);
        assert!(world.shares <= 15, "run {run}: {}", world.shares);
        // Ten shares leave a third of doubt: one power of two.
        assert!(world.rate() <= 48.0, "run {run}: {}", world.rate());
        mean += world.rate() / 100.0;
    }
    assert!(mean <= 24.0, "{mean}");
}

#[test]
fn a_small_miner_that_starts_on_an_easy_link_is_soon_no_more_above_it() {
    for run in 0..100 {
        // Ideal is 64, what the listener guesses is 16 times that.
        let mut world = World::new(run, 64.0 * HASHES_PER_SHARE / 5.0);
        world.link = difficulty(50.0);
        world.run(95.0);
        assert_eq!(world.vardiff.current(), difficulty(32.0), "run {run}");
    }
}

#[test]
fn a_suggestion_after_the_first_job_is_where_it_starts_over() {
    let (mut low, mut high) = (0, 0);
    for run in 0..100 {
        let mut world = World::new(run, 65_536.0 * HASHES_PER_SHARE / 5.0);
        world.run(0.01);
        world.vardiff.suggest(difficulty(65_536.0));
        world.notify();
        world.run(25.0);
        low += u32::from(world.rate() < 6.0);
        high += u32::from(world.rate() > 25.0);
    }
    assert!(low + high <= 8, "{low} too low, {high} too high");
}

#[test]
fn bounds_hold_and_are_powers_of_two_inside_them() {
    let mut world = World::new(11, 100e12);
    world.config.min = difficulty(100.0);
    world.config.max = difficulty(1_000.0);
    world.config.start = difficulty(1.0);
    world.vardiff = Vardiff::new(world.now(), &world.config);
    assert_eq!(world.vardiff.current(), difficulty(128.0));
    world.run(600.0);
    assert_eq!(world.vardiff.current(), difficulty(512.0));
    world.vardiff.suggest_min(difficulty(5_000.0));
    assert_eq!(world.notify(), difficulty(512.0));
    world.config.max = difficulty(1e9);
    assert!(world.notify() >= difficulty(8_192.0));
    world.link = difficulty(4_096.0);
    world.config.ceiling_per_minute = f64::INFINITY;
    assert_eq!(
        world.notify(),
        difficulty(4_096.0),
        "the link overrides a suggested minimum"
    );
}

#[test]
fn a_suggestion_is_a_start_until_the_hashrate_is_known() {
    let mut world = World::new(12, 100e12);
    world.vardiff.suggest(difficulty(70_000.0));
    assert_eq!(world.notify(), difficulty(65_536.0));
    world.run(300.0);
    let settled = world.vardiff.current();
    world.vardiff.suggest(difficulty(1.0));
    assert_eq!(world.notify(), settled);
}

#[test]
fn fixed_is_fixed_but_not_above_the_link() {
    let mut world = World::new(13, 100e12);
    world.config.fixed = Some(difficulty(3_000.0));
    world.vardiff = Vardiff::new(world.now(), &world.config);
    world.run(100.0);
    assert_eq!(world.vardiff.current(), difficulty(2_048.0));
    world.link = difficulty(100.0);
    assert_eq!(world.notify(), difficulty(64.0));
}

#[test]
fn the_hashrate_is_known_after_a_while_and_about_right() {
    let mut world = World::new(14, 100e12);
    assert_eq!(world.vardiff.hashrate(world.now()), None);
    let mut mean = 0.0;
    for _ in 0..200 {
        world.run(300.0);
        mean += world.vardiff.hashrate(world.now()).unwrap() / 200.0;
    }
    assert!((mean / 100e12 - 1.0).abs() < 0.05, "{mean:e}");
}

#[test]
fn a_miner_gone_silent_is_followed_down_to_the_minimum() {
    let mut world = World::new(15, 100e12);
    world.run(600.0);
    world.hashrate = 1.0;
    world.run(3_600.0);
    assert_eq!(world.vardiff.current(), Difficulty::ONE);
}

/// One miner, its link, and time.
struct World {
    start: Instant,
    seconds: f64,
    seed: u64,
    hashrate: f64,
    link: Difficulty,
    config: Config,
    vardiff: Vardiff,
    next_notify: f64,
    changes: u32,
    shares: u32,
    /// Up or down, as a factor.
    largest_step: f64,
}

impl World {
    fn new(seed: u64, hashrate: f64) -> Self {
        let config = Config {
            start: difficulty(1024.0),
            min: Difficulty::ONE,
            max: Difficulty::MAX,
            fixed: None,
            shares_per_minute: 12.0,
            ceiling_per_minute: 120.0,
        };
        let start = Instant::now();
        Self {
            start,
            seconds: 0.0,
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            hashrate,
            link: Difficulty::MAX,
            vardiff: Vardiff::new(start, &config),
            config,
            next_notify: 0.0,
            changes: 0,
            shares: 0,
            largest_step: 1.0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.seconds)
    }

    /// True shares a minute at the current difficulty.
    fn rate(&self) -> f64 {
        self.hashrate * 60.0 / HASHES_PER_SHARE / self.vardiff.current().value()
    }

    fn notify(&mut self) -> Difficulty {
        let before = self.vardiff.current();
        let now = self.now();
        let next = self.vardiff.next(now, &self.config, self.link);
        self.changes += u32::from(next != before);
        let step = next.value() / before.value();
        self.largest_step = self.largest_step.max(step).max(1.0 / step);
        assert_eq!(next, next.floor_to_power_of_two());
        self.next_notify = self.seconds + 30.0;
        next
    }

    fn run(&mut self, seconds: f64) {
        let end = self.seconds + seconds;
        loop {
            if self.seconds >= self.next_notify {
                self.notify();
            }
            // The process is memoryless: drawing anew after each stop changes nothing.
            let share = self.seconds - self.uniform().ln() * 60.0 / self.rate();
            let stop = end.min(self.next_notify);
            if share >= stop {
                self.seconds = stop;
                if stop == end {
                    return;
                }
                continue;
            }
            self.seconds = share;
            self.shares += 1;
            let (now, current) = (self.now(), self.vardiff.current());
            self.vardiff.accepted(now, current);
            if self.vardiff.wants_change(now, &self.config, self.link) {
                self.notify();
            }
        }
    }

    fn uniform(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        ((self.seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

fn difficulty(value: f64) -> Difficulty {
    Difficulty::new(value).unwrap()
}
