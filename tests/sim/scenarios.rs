//! Worlds written by hand: weights over many shares, a large fleet on a pool that starts far too low.
//!
//! Invariant: what is claimed is measured from what the miners were credited, not from the proxy's counters alone.

use crate::clock::{MS, Ns, S};
use crate::plan::{Cut, Fault, ONE, Plan};
use crate::world::World;
use sluice::sim::Temperament;
use sluice::sim::poolconfig::PoolVardiff;
use std::time::Duration;

/// Two dwells and two horizons of the controller, and what vardiff needs to know everyone.
const WARM_UP: Ns = 300 * S;

fn healthy(world: &World) {
    let failures = &world.books.failures;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Parts of the difficulty-weighted shares by pool after the warm-up, with miners joining and leaving.
fn split(seed: u64, shares: &[f64]) -> Vec<f64> {
    let mut plan = Plan::quiet(seed);
    plan.watched = false;
    plan.length = WARM_UP + 1100 * S;
    plan.vardiff.shares_per_minute = 20.0;
    for share in shares {
        plan.pool(0, *share, 400.0);
    }
    for at in 0..72u32 {
        let rate = 18.0 + f64::from(at % 7);
        plan.miner(Temperament::ALL[at as usize % 6], rate).joins = Ns::from(at) * 100 * MS;
    }
    for at in 0..12u64 {
        plan.miner(Temperament::Bitaxe, 20.0).joins = (200 + 60 * at) * S;
        let leaves = (230 + 60 * at) * S;
        let fault = Fault::Cut(at as usize * 5, Cut::Goodbye, None);
        plan.faults.push((leaves, fault));
    }
    let mut world = World::new(plan);
    world.run_until(WARM_UP);
    let before = world.books.by_link.clone();
    world.run_until(world.plan.length);
    let after: Vec<(u64, u128)> = world.books.by_link.clone();
    let counted: u64 = after.iter().zip(&before).map(|(a, b)| a.0 - b.0).sum();
    assert!(counted >= 20_000, "only {counted} shares");
    let work = after.iter().zip(&before).map(|(a, b)| (a.1 - b.1) as f64);
    let work: Vec<f64> = work.collect();
    let all: f64 = work.iter().sum();
    world.end();
    world.close_books();
    healthy(&world);
    work.iter().map(|part| part / all).collect()
}

#[test]
fn weights_of_three_to_one_are_kept_within_two_percent() {
    for seed in 0..3 {
        let parts = split(seed, &[3.0, 1.0]);
        println!("{parts:.4?}");
        assert!((parts[0] - 0.75).abs() < 0.02, "{parts:?}");
    }
}

#[test]
fn weights_of_fifty_thirty_twenty_are_kept_within_two_percent() {
    for seed in 0..3 {
        let parts = split(seed, &[50.0, 30.0, 20.0]);
        println!("{parts:.4?}");
        for (part, wanted) in parts.iter().zip([0.5, 0.3, 0.2]) {
            assert!((part - wanted).abs() < 0.02, "{parts:?}");
        }
    }
}

/// To a pool that starts at a thousandth of the fitting difficulty.
fn ten_thousand_miners_fail_over(failover: Ns) {
    const MINERS: usize = 10_000;
    const CEILING: f64 = 12.0;
    let mut plan = Plan::quiet(7);
    plan.watched = false;
    plan.length = failover + 80 * S;
    plan.vardiff.shares_per_minute = 6.0;
    plan.vardiff.ceiling_per_minute = CEILING;
    plan.shares_per_second = 16.0;
    let fitting = 4096.0;
    plan.pool(0, 1.0, fitting);
    let backup = plan.pool(1, 1.0, fitting / 1000.0);
    backup.config.vardiff = Some(PoolVardiff {
        shares_per_s: 16.0,
        every: Duration::from_secs(6),
    });
    for at in 0..MINERS {
        let miner = plan.miner(Temperament::ALL[at % 6], 6.4);
        miner.joins = (at as Ns) * MS;
        miner.config.suggest_difficulty = 64.0 / ONE;
    }
    plan.faults.push((failover, Fault::PoolDies(0, 3600 * S)));
    let mut world = World::new(plan);
    // The first to come found only the backup up; since the preferred pool is, nothing is under-credited.
    world.run_until(12 * S);
    let before = world.books.judged.under_credit_hashes;
    world.run_until(failover);
    assert_eq!(world.books.judged.under_credit_hashes, before);
    let (mut most, mut under) = (0.0f64, Vec::new());
    while world.clock.now() < world.plan.length {
        let (shares, credit) = (world.books.accepted, world.books.judged.under_credit_hashes);
        let until = world.clock.now() + 10 * S;
        world.run_until(until);
        world.clock.rest_until(until);
        let rate = (world.books.accepted - shares) as f64 * 6.0 / MINERS as f64;
        most = most.max(rate);
        under.push(world.books.judged.under_credit_hashes - credit);
    }
    println!("most shares a minute and miner {most:.2}, under-credit by 10 s {under:?}");
    world.end();
    world.close_books();
    healthy(&world);
    assert!(most <= CEILING, "{most} shares a minute and miner");
    assert!(under.iter().any(|hashes| *hashes > 0), "{under:?}");
    assert_eq!(under.last(), Some(&0), "{under:?}");
    let disconnects: u64 = world
        .miners
        .iter()
        .map(|m| m.core.stats().disconnects)
        .sum();
    assert_eq!(disconnects, 0);
}

/// Few miners have shown eight shares by then.
#[test]
fn ten_thousand_miners_fail_over_to_a_thousandth_a_minute_after_the_start() {
    ten_thousand_miners_fail_over(60 * S);
}

#[test]
fn ten_thousand_miners_fail_over_to_a_thousandth_two_minutes_after_the_start() {
    ten_thousand_miners_fail_over(120 * S);
}

#[test]
fn ten_thousand_miners_fail_over_to_a_thousandth_three_minutes_after_the_start() {
    ten_thousand_miners_fail_over(180 * S);
}
