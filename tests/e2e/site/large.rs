//! 5,000 machines of mixed firmware behind a meter: how fast a cap is kept and proven, how true it is where machines lie
//! and keep silent, and how the fleet comes back.
//!
//! Measurements with an opinion: each says its figures and fails where the limits are not kept. They need a
//! machine that has nothing else to do (`.config/nextest.toml` gives them all of it) and 20,000 descriptors. With
//! `SLUICE_ALL` set the cap is given five times, else once.

use super::plant::{Plan, Plant};
use crate::wait::looking;
use rustix::process::{Resource, getrlimit, setrlimit};
use sluice::sim::site::faults::Faults;
use std::time::{Duration, Instant};

/// Four feeders of 1,250.
const FEEDERS: [usize; 4] = [1250; 4];
/// A machine is a connection to the pool and, now and then, one to its firmware, each with both ends.
const DESCRIPTORS: u64 = 20_000;
/// So long after an order that machines cannot be relied on for, the meter is to be within 1 %.
const WATCHED: Duration = Duration::from_secs(60);
/// Between two looks: what they cost is not to slow down what is measured.
const PAUSE: Duration = Duration::from_millis(50);

fn plan() -> Plan {
    Plan {
        metered: true,
        watts: (0.02, 0.03),
        hashrate: 250_000.0,
        starts_per_s: 20,
        minimum_off: Duration::from_secs(20),
        ..Plan::of(&FEEDERS)
    }
}

#[test]
fn of_5000_machines_a_cap_of_60_percent_less_is_kept_in_15_s_and_proven_in_25() {
    raise_descriptors();
    let plant = Plant::start(plan());
    let runs = match std::env::var_os("SLUICE_ALL") {
        Some(_) => 5,
        None => 1,
    };
    let mut bad = Vec::new();
    for run in 1..=runs {
        let (under, proven) = cap(&plant, 0.4, Duration::from_secs(60));
        eprintln!(
            "run {run}: under the limit after {under:?}, proven after {proven:?}; load {}",
            load()
        );
        if under > Duration::from_secs(15)
            || proven > under.max(Duration::from_secs(15)) + Duration::from_secs(10)
        {
            bad.push(run);
        }
        restore(&plant);
    }
    assert!(bad.is_empty(), "too late in runs {bad:?}");
}

#[test]
fn of_5000_machines_3_percent_lie_and_2_percent_are_silent_and_the_meter_is_within_1_percent() {
    raise_descriptors();
    let plant = Plant::start(Plan {
        faults: Faults {
            acks_only: 0.03,
            silent_though_applied: 0.02,
            ..Faults::default()
        },
        ..plan()
    });
    let begun = Instant::now();
    let limit = plant.watts() * 0.4;
    let order = plant.desk.order(&plant.desk.cap("ems", limit as u64));
    let mut told = Duration::ZERO;
    let mut proven = None;
    looking(
        PAUSE,
        WATCHED * 2,
        || "the end".into(),
        || {
            if proven.is_none() && plant.desk.proven(&order) {
                proven = Some(begun.elapsed());
            }
            if begun.elapsed() >= told {
                told += Duration::from_secs(2);
                let off = plant.watts() / limit - 1.0;
                let machines = plant.desk.power().machines;
                eprintln!(
                    "{:?}: {:+.2} % of the limit, {machines:?}",
                    begun.elapsed(),
                    off * 100.0
                );
            }
            (begun.elapsed() >= WATCHED).then_some(())
        },
    );
    let seen = plant.wiring.seen_since(begun);
    let over = seen
        .iter()
        .rev()
        .find(|power| power.mining_watts > limit * 1.01);
    eprintln!(
        "within 1 % above after {:?}, proven after {proven:?}; load {}",
        over.map(|power| power.at - begun),
        load()
    );
    let off = plant.watts() / limit - 1.0;
    assert!(off.abs() <= 0.01, "{off:+.4}");
}

/// Caps, and says how long it took to be under the limit for good, and to be proven.
fn cap(plant: &Plant, part: f64, patience: Duration) -> (Duration, Duration) {
    let limit = plant.watts() * part;
    let begun = Instant::now();
    let order = plant.desk.order(&plant.desk.cap("ems", limit as u64));
    let what = || format!("the order is proven: {:?}", plant.desk.power());
    looking(PAUSE, patience, what, || {
        plant.desk.proven(&order).then_some(())
    });
    let proven = begun.elapsed();
    let seen = plant.wiring.seen_since(begun);
    let over = seen.iter().rev().find(|power| power.mining_watts > limit);
    let under = over.map_or(Duration::ZERO, |power| power.at - begun);
    plant.desk.release(&order);
    (under, proven)
}

/// Everything comes back, within its budgets.
fn restore(plant: &Plant) {
    let begun = Instant::now();
    let before = plant.site.miners().expect("they mine");
    plant.all_mine();
    let after = plant.site.miners().expect("they mine");
    let starts = plant.eyes.most_starts(Duration::from_millis(900));
    let strict = plant.eyes.most_starts(Duration::from_secs(1));
    let rest = plant.eyes.shortest_off();
    eprintln!(
        "restored in {:?}: {} connected, {} connections failed, {starts} starts a feeder in 0.9 s, {strict} in 1 s, shortest off {rest:?}; load {}",
        begun.elapsed(),
        after.connects - before.connects,
        after.connect_failures - before.connect_failures,
        load()
    );
    assert_eq!(after.connect_failures, before.connect_failures);
    assert_eq!(after.violations_total(), 0, "{:?}", after.violations);
    assert!(starts <= plant.plan.starts_per_s as usize, "{starts}");
    assert!(
        rest.is_none_or(|rest| rest >= plant.plan.minimum_off),
        "{rest:?}"
    );
    assert!(plant.wiring.trips().is_empty());
}

/// Up to the hard limit; what is started from here inherits it.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit everybody may");
    let have = limit.current.unwrap_or(u64::MAX);
    assert!(
        have >= DESCRIPTORS,
        "{have} descriptors, not {DESCRIPTORS}: raise `ulimit -Hn`"
    );
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
