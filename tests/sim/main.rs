//! The virtual-time world: the real session, link and router machines between simulated miners and pools, with faults,
//! one seed each. Not the sockets (those are `e2e_*`): the drivers here mirror `src/tasks` in an invented time.
//!
//! A failing seed prints the one line that repeats it. Invariant: one seed, one history, on every machine.

#![expect(
    unreachable_pub,
    reason = "a test crate of one binary; each file says what it is"
)]

mod channels;
mod checks;
#[path = "../common/clock.rs"]
mod clock;
mod conn;
mod cores;
mod event;
mod faults;
mod heard;
mod lines;
mod links;
mod pairings;
mod peers;
mod pipe;
mod plan;
mod scenarios;
mod sessions;
mod tap;
mod upstream;
mod world;

use plan::Plan;
use world::World;

/// Seeds of one test function.
const EACH: u64 = 250;

/// Prints how to repeat a seed, also when a machine panics.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "SLUICE_SEED={} cargo test --test sim one_seed -- --nocapture",
                self.0
            );
        }
    }
}

fn live(seed: u64) -> World {
    let _repeat = Repeat(seed);
    let mut world = World::new(Plan::random(seed));
    world.run();
    world.close_books();
    let failures = &world.books.failures;
    assert!(
        failures.is_empty(),
        "seed {seed}:\n  {}",
        failures.join("\n  ")
    );
    world
}

/// How V1 (0) and V2 (1) met: credited shares by miner and pool, moves of a miner by pool and pool.
#[derive(Debug, Default)]
struct Mix {
    shares: [[u64; 2]; 2],
    switches: [[u64; 2]; 2],
}

impl Mix {
    fn add(&mut self, world: &World) {
        let (miners, pools) = (&world.plan.miners, &world.plan.pools);
        let pool = |at: usize| usize::from(pools[at].v2.is_some());
        for ((miner, link), count) in &world.books.credits {
            let miner = usize::from(miners[*miner].v2.is_some());
            self.shares[miner][pool(*link)] += count;
        }
        for ((from, to), count) in &world.books.switches {
            self.switches[pool(*from)][pool(*to)] += count;
        }
    }
}

fn from_env() -> Option<u64> {
    std::env::var("SLUICE_SEED").ok()?.parse().ok()
}

fn live_many(first: u64) {
    if from_env().is_some() {
        return;
    }
    let (mut shares, mut lost_pools, mut resumed) = (0, 0, 0);
    let mut mix = Mix::default();
    for seed in first..first + EACH {
        let world = live(seed);
        shares += world.books.accepted;
        lost_pools += world.watch.detections;
        mix.add(&world);
        resumed += world
            .miners
            .iter()
            .map(|m| m.core.stats().resumed)
            .sum::<u64>();
    }
    println!("{EACH} seeds, {shares} shares, {lost_pools} lost pools, {resumed} resumed, {mix:?}");
    let rarest = mix.shares.iter().chain(&mix.switches).flatten().min();
    assert!(
        rarest.is_some_and(|count| *count > EACH),
        "a pairing, or a move between pools of two kinds, that next to never is: {mix:?}"
    );
    assert!(
        shares > EACH * 100,
        "worlds in which next to nothing happens prove nothing"
    );
}

#[test]
fn one_seed() {
    let seed = from_env().unwrap_or(0);
    let world = live(seed);
    let (books, watch) = (&world.books, &world.watch);
    println!(
        "seed {seed}: {} miners, {} pools, {} accepted, refused {:?}, {} lost pools, moves {:?}, parked {}",
        world.miners.len(),
        world.pools.len(),
        books.accepted,
        books.rejected,
        watch.detections,
        books.moves,
        books.parked,
    );
}

/// What two runs of a seed must agree in.
fn digest(world: &World) -> String {
    let books = &world.books;
    format!(
        "{} {} {:?} {:?} {:?} {:?} {:?}",
        books.accepted,
        books.submits_read,
        books.by_link,
        books.rejected,
        books.written_ids,
        books.closes,
        books.judged
    )
}

#[test]
fn a_seed_has_one_history() {
    for seed in (0..40).step_by(3) {
        assert_eq!(digest(&live(seed)), digest(&live(seed)), "seed {seed}");
    }
}

#[test]
fn seeds_of_the_first_quarter_keep_every_promise() {
    live_many(0);
}

#[test]
fn seeds_of_the_second_quarter_keep_every_promise() {
    live_many(EACH);
}

#[test]
fn seeds_of_the_third_quarter_keep_every_promise() {
    live_many(2 * EACH);
}

#[test]
fn seeds_of_the_fourth_quarter_keep_every_promise() {
    live_many(3 * EACH);
}
