//! The virtual-time world of power: the real controller, simulated machines with every fault, one seed each. Not sockets,
//! not files (those are `tasks/` and `ledger/`): the driver and the ledger here are models of them in an invented time.
//!
//! A failing seed prints the one line that repeats it. Invariant: one seed, one history, on every machine.

#![expect(
    unreachable_pub,
    reason = "a test crate of one binary; each file says what it is"
)]

mod cap;
mod checks;
#[path = "../common/clock.rs"]
mod clock;
mod driver;
mod event;
mod faults;
mod kills;
mod ledger;
mod loss;
mod plan;
mod random;
mod reserve;
mod restore;
mod same;
mod senses;
mod signals;
mod units;
mod world;

use world::World;

/// Prints how to repeat a seed, also when a machine panics.
pub struct Repeat(pub &'static str, pub u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "SLUICE_SEED={} cargo test --test power {} -- --nocapture",
                self.1, self.0
            );
        }
    }
}

/// The seeds of a test: the one that is asked for, or so many; ten times... all of them with `SLUICE_ALL`.
pub fn seeds(few: u64, all: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    match number("SLUICE_SEED") {
        Some(seed) => seed..seed + 1,
        None if std::env::var_os("SLUICE_ALL").is_some() => 0..all,
        None => 0..few,
    }
}

/// No rule was broken.
pub fn sound(world: &World) {
    let failures = &world.books.failures;
    let shown = failures.iter().take(12).cloned().collect::<Vec<_>>();
    assert!(
        failures.is_empty(),
        "seed {}: {} broken rules\n  {}",
        world.plan.seed,
        failures.len(),
        shown.join("\n  ")
    );
}
