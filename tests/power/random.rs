//! Worlds dealt from a seed: a few hundred machines with every fault, several sources, orders, reservations, boots, other
//! tools, lost senses, jumping clocks, deaths of the process. Every rule of `checks.rs` after every turn.

use crate::clock::{MS, S};
use crate::ledger::Crash;
use crate::plan::{Plan, below};
use crate::signals::order;
use crate::world::World;
use crate::{Repeat, seeds, sound};
use sluice::curtail::Wall;
use sluice::curtail::Watts;
use sluice::curtail::signal::{Ask, Envelope, Scope};
use sluice::curtail::site::Dated;
use sluice::sim::rng::Rng;
use sluice::sim::site::device::Verb;
use sluice::sim::site::faults::Faults;
use std::time::Duration;

const SOURCES: [&str; 4] = ["grid", "desk", "gpus", "night"];

/// A site dealt from the seed.
fn dealt(seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ 0x0064_6561_6c74);
    let machines = 20 + below(&mut rng, 180) as usize;
    let feeders = 1 + below(&mut rng, 3) as usize;
    let groups = 1 + below(&mut rng, 3) as usize;
    let mut plan = Plan::mixed(seed, machines, feeders, groups);
    if rng.chance(0.2) {
        for of in plan.machines.iter_mut().step_by(17) {
            *of = crate::plan::NO_OFF;
        }
    }
    if rng.chance(0.4) {
        plan = plan.metered(0.02, 0.005);
    }
    if rng.chance(0.5) {
        plan.shares_per_minute = 48.0;
    }
    plan.site.law.minimum_off = Duration::from_secs([30, 60, 300][below(&mut rng, 3) as usize]);
    plan.site.law.minimum_on = Duration::from_secs([30, 120][below(&mut rng, 2) as usize]);
    plan.site.law.restore_after = Duration::from_secs([5, 30][below(&mut rng, 2) as usize]);
    for feeder in &mut plan.site.feeders {
        feeder.starts_per_s = 1 + below(&mut rng, 8) as u32;
    }
    for group in &mut plan.site.groups {
        group.most_starting = 2 + below(&mut rng, 20) as u32;
    }
    if rng.chance(0.7) {
        plan.faults = faults(&mut rng);
    }
    plan
}

fn faults(rng: &mut Rng) -> Faults {
    let mut part = || rng.unit() * 0.05;
    Faults {
        acks_only: part(),
        errors_though_applied: part(),
        silent_though_applied: part(),
        slow: part(),
        slow_by: Duration::from_millis(2_500),
        exhausted: part(),
        reboots: part(),
        reboot_every: Duration::from_secs(200),
        swapped: part() / 2.0,
        swapped_after: Duration::from_secs(120),
        refuses: part(),
        // No LuxOS of this world is trimmed.
        atm: 0.0,
        lies_in_telemetry: seed_coin(rng),
    }
}

fn seed_coin(rng: &mut Rng) -> bool {
    rng.chance(0.3)
}

/// An order dealt from the world's chance.
fn asked(world: &mut World) -> Envelope {
    let rng = &mut world.rng;
    let part = 0.1 + 0.9 * rng.unit();
    let source = SOURCES[below(rng, 4) as usize];
    let kind = below(rng, 10);
    let lease = 20 + below(rng, 300) as i64;
    let ends = rng.chance(0.5);
    let class = 1 + below(rng, 3) as u8;
    let feeder = below(rng, world.plan.site.feeders.len() as u64);
    let group = below(rng, world.plan.site.groups.len() as u64);
    let watts = world.plan.part(part);
    let (ask, scope) = match kind {
        0..4 => (Ask::Cap(watts), Scope::Mining),
        4..6 => (Ask::Setpoint(watts), Scope::Mining),
        6 => (Ask::Relative(Watts(watts.0 / 3)), Scope::Mining),
        7 => (
            Ask::Cap(Watts(watts.0 / world.plan.site.feeders.len() as i64)),
            Scope::Feeder(format!("f{feeder}")),
        ),
        _ => (
            Ask::Cap(Watts(watts.0 / world.plan.site.groups.len() as i64)),
            Scope::Group(format!("g{group}")),
        ),
    };
    let ramp = (kind == 1).then_some(Watts(watts.0 / 10));
    Envelope {
        class,
        scope,
        expires_at: Wall(lease * 1000),
        ends_at: ends.then_some(Wall(lease * 900)),
        ramp_watts_per_s: ramp,
        deadline: ramp.map(|_| Duration::from_secs(30)),
        ..order(source, ask)
    }
}

/// Something happens.
fn befall(world: &mut World) {
    let n = below(&mut world.rng, world.units.len() as u64) as usize;
    let now = world.clock.instant();
    match below(&mut world.rng, 14) {
        0..6 => {
            let envelope = asked(world);
            let _ = world.send_signal(envelope);
        }
        6 => {
            world.units[n].device.reboot(now);
            world.upset(n);
        }
        7 => {
            world.units[n].device.command(now, Verb::Wake);
            world.upset(n);
        }
        8 => {
            let ids: Vec<String> = world.books.orders.keys().cloned().collect();
            if let Some(id) = ids.first() {
                world.release(id);
            }
        }
        9 => {
            let source = SOURCES[n % 4];
            if !world.senses.beating.remove(source) {
                world.senses.beating.insert(source.into());
            }
        }
        10 => world.senses.meter_lost = !world.senses.meter_lost,
        11 => world.skew_ms += [-600_000, -1_500, 1_500, 600_000][n % 4],
        12 => world.skew_ms = 0,
        _ => {
            let step = world.steps + below(&mut world.rng, 400);
            let phase = below(&mut world.rng, 3) as u8;
            let down = (200 + below(&mut world.rng, 5_000)) * MS;
            world.crash.get_or_insert(Crash { step, phase, down });
        }
    }
}

/// A world of ten minutes.
fn lived(seed: u64) -> World {
    let _repeat = Repeat("worlds_dealt", seed);
    let mut world = World::new(dealt(seed));
    for source in ["grid", "gpus"] {
        world.senses.beating.insert(source.into());
    }
    world.run(3);
    while world.clock.now() < 600 * S {
        befall(&mut world);
        let pause = 1 + below(&mut world.rng, 40);
        world.run(pause);
    }
    world
}

#[test]
fn worlds_dealt_from_seeds_keep_every_rule() {
    let (mut deaths, mut commands, mut raises) = (0, 0, 0);
    for seed in seeds(60, 10_000) {
        let world = lived(seed);
        sound(&world);
        deaths += world.books.deaths;
        commands += world.books.commands;
        raises += world.books.raises;
    }
    println!("{deaths} deaths, {commands} commands, {raises} raises");
}

#[test]
fn a_calendar_in_a_dealt_world_is_kept() {
    for seed in seeds(10, 200) {
        let _repeat = Repeat("a_calendar", seed);
        let mut plan = dealt(seed);
        plan.faults = Faults::default();
        let limit = plan.part(0.5);
        plan.site.calendar = vec![Dated {
            from: Wall(1_790_000_060_000),
            until: Some(Wall(1_790_000_180_000)),
            mining: limit,
            reason: "hall 2".into(),
        }];
        let metered = plan.site.telemetry.meter.is_some();
        let immovable: i64 = plan
            .machines
            .iter()
            .filter(|of| **of == crate::plan::NO_OFF)
            .count() as i64
            * 20;
        let mut world = World::new(plan);
        world.run(50);
        let before = world.books.truth.site;
        world.run(110);
        let slack = if metered { 1.005 } else { 1.0 };
        assert!(world.books.truth.site <= limit.0 as f64 * slack + immovable as f64);
        world.run(600);
        assert!(
            world.books.truth.site > before * 0.95,
            "the calendar is over"
        );
        sound(&world);
    }
}
