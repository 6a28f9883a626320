//! A source goes silent, a lease runs out, a clock jumps: nothing is ever raised by it.

use crate::clock::S;
use crate::plan::Plan;
use crate::signals::{cap, order};
use crate::sound;
use crate::world::World;
use sluice::curtail::signal::{Ask, Envelope, Refusal};
use sluice::curtail::view::{Liveness, OrderState};
use sluice::curtail::{Setpoint, Wall, Watts};
use std::time::Duration;

/// 400 machines under a cap of 60 % by a source that beats.
fn capped() -> (World, String, Watts) {
    let mut world = World::new(Plan::mixed(1, 400, 2, 2));
    world.senses.beating.insert("grid".into());
    world.run(5);
    let limit = world.plan.part(0.6);
    let id = world.must(cap("grid", limit));
    world.run(60);
    assert_eq!(world.state(&id), OrderState::Proven);
    (world, id, limit)
}

fn liveness(world: &mut World, name: &str) -> Liveness {
    let sources = world.view().sources;
    let found = sources.iter().find(|of| of.name == name);
    found.expect("configured").state
}

#[test]
fn a_silent_source_holds_within_15_seconds_and_mining_is_at_safe_watts_by_45() {
    let (mut world, _, limit) = capped();
    world.senses.beating.clear();
    let silent = world.clock.now();
    world.run_until(silent + 15 * S);
    assert_eq!(liveness(&mut world, "grid"), Liveness::Hold);
    assert!(world.view().held.is_some());
    assert!(world.books.truth.site <= limit.0 as f64);
    world.run_until(silent + 45 * S);
    assert_eq!(liveness(&mut world, "grid"), Liveness::Lost);
    let safe = world.plan.site.safe;
    assert!(safe < limit);
    assert!(
        world.books.truth.site <= safe.0 as f64,
        "{}",
        world.books.truth.site
    );
    world.run(600);
    assert!(world.books.truth.site <= safe.0 as f64);
    sound(&world);
}

#[test]
fn a_source_that_is_heard_again_in_time_changes_nothing() {
    let (mut world, id, _) = capped();
    let commands = world.books.commands;
    world.senses.beating.clear();
    world.run(13);
    world.senses.beating.insert("grid".into());
    world.run(60);
    assert_eq!(world.books.commands, commands);
    assert_eq!(world.state(&id), OrderState::Proven);
    sound(&world);
}

#[test]
fn a_lost_source_that_comes_back_gets_its_own_limit_again() {
    let (mut world, id, limit) = capped();
    world.senses.beating.clear();
    world.run(60);
    world.senses.beating.insert("grid".into());
    world.run(600);
    let drawn = world.books.truth.site;
    assert!(
        drawn <= limit.0 as f64 && drawn > limit.0 as f64 * 0.97,
        "{drawn}"
    );
    assert_eq!(world.state(&id), OrderState::Proven);
    sound(&world);
}

#[test]
fn a_lease_that_runs_out_leads_to_safe_watts_and_not_to_a_release() {
    let mut world = World::new(Plan::mixed(2, 200, 2, 1));
    world.run(5);
    let limit = world.plan.part(0.6);
    let id = world.must(Envelope {
        expires_at: Wall(60_000),
        ..cap("desk", limit)
    });
    world.run(120);
    assert_eq!(world.state(&id), OrderState::Expired);
    assert!(world.books.truth.site <= world.plan.site.safe.0 as f64);
    // Alive again: what expired is over.
    world.must(cap("desk", world.plan.part(0.9)));
    world.run(600);
    assert!(world.books.truth.site > world.plan.part(0.85).0 as f64);
    sound(&world);
}

#[test]
fn a_planned_end_is_a_release_although_the_sender_has_gone() {
    let mut world = World::new(Plan::mixed(3, 200, 2, 1));
    world.run(5);
    let id = world.must(Envelope {
        ends_at: Some(Wall(60_000)),
        expires_at: Wall(60_000),
        ..cap("desk", world.plan.part(0.5))
    });
    world.run(62);
    assert_eq!(world.state(&id), OrderState::Ended);
    world.run(600);
    assert!(world.books.truth.site > world.plan.nameplate().0 as f64 * 0.99);
    sound(&world);
}

#[test]
fn a_jumping_wall_clock_neither_raises_nor_extends_anything() {
    let mut calm = None;
    for jump in [0, -7_200_000, -3_000, 3_000, 7_200_000] {
        let mut world = World::new(Plan::mixed(4, 200, 2, 1));
        world.run(5);
        let limit = world.plan.part(0.6);
        let id = world.must(Envelope {
            expires_at: Wall(120_000),
            ..cap("desk", limit)
        });
        world.run(30);
        world.skew_ms = jump;
        world.run(80);
        let (raises, commands) = (world.books.raises, world.books.commands);
        let calm = *calm.get_or_insert((raises, commands));
        assert_eq!((raises, commands), calm, "jump of {jump} ms");
        assert_eq!(world.state(&id), OrderState::Proven, "jump of {jump} ms");
        world.run(20);
        assert_eq!(world.state(&id), OrderState::Expired, "jump of {jump} ms");
        sound(&world);
    }
}

#[test]
fn a_renewal_after_a_jump_of_the_clock_lasts_no_longer_than_it_says() {
    let mut world = World::new(Plan::mixed(5, 50, 1, 1));
    world.run(5);
    let id = world.must(Envelope {
        expires_at: Wall(60_000),
        ..cap("desk", world.plan.part(0.6))
    });
    world.run(10);
    // NTP found that the clock had been an hour behind; the sender's and ours agree again.
    world.skew_ms = -3_600_000;
    world.run(2);
    world.skew_ms = 0;
    world.run(2);
    world.skew_ms = 3_600_000;
    world.run(2);
    let at = Wall(world.wall().0 + 60_000);
    assert!(world.renew_at(&id, at).is_ok());
    world.run(62);
    assert_eq!(world.state(&id), OrderState::Expired);
}

#[test]
fn after_a_restart_an_expired_order_still_leads_to_safe_watts() {
    let mut world = World::new(Plan::mixed(6, 200, 2, 1));
    world.run(5);
    world.must(Envelope {
        expires_at: Wall(30_000),
        ..cap("desk", world.plan.part(0.6))
    });
    world.run(60);
    let safe = world.plan.site.safe.0 as f64;
    assert!(world.books.truth.site <= safe);
    world.crash = Some(crate::ledger::Crash {
        step: 0,
        phase: 2,
        down: 2 * S,
    });
    world.run(600);
    assert_eq!(world.books.deaths, 1);
    assert!(world.books.truth.site <= safe);
    sound(&world);
}

#[test]
fn the_deeper_cap_wins_whoever_sent_it_and_its_end_gives_way_to_the_other() {
    let mut world = World::new(Plan::mixed(7, 200, 2, 1));
    world.run(5);
    let (mild, deep) = (world.plan.part(0.8), world.plan.part(0.4));
    world.must(cap("desk", mild));
    let id = world.must(cap("night", deep));
    world.run(30);
    assert!(world.books.truth.site <= deep.0 as f64);
    world.release(&id);
    world.run(700);
    let drawn = world.books.truth.site;
    assert!(
        drawn <= mild.0 as f64 && drawn > mild.0 as f64 * 0.97,
        "{drawn} of {mild}"
    );
    sound(&world);
}

#[test]
fn a_heat_floor_gives_way_to_a_cap_and_not_to_a_setpoint() {
    let mut plan = Plan::mixed(8, 200, 2, 1);
    let floor = Watts(plan.part(0.3).0);
    for group in &mut plan.site.groups {
        group.heat_floor = floor;
    }
    let mut world = World::new(plan);
    world.books.lenient = true;
    world.run(5);
    let wish = world.plan.part(0.2);
    let id = world.must(order("desk", Ask::Setpoint(wish)));
    world.run(60);
    for group in &world.books.truth.groups {
        // The floor is in machine watts, the truth is at the meter.
        assert!(*group / 1.05 >= floor.0 as f64, "{group} of {floor}");
    }
    world.release(&id);
    world.must(cap("desk", wish));
    world.run(30);
    assert!(world.books.truth.site <= wish.0 as f64);
    assert!(world.books.failures.is_empty());
}

#[test]
fn minimum_on_is_broken_by_a_cap_and_not_by_a_setpoint() {
    let mut plan = Plan::mixed(9, 100, 1, 1);
    plan.site.law.minimum_off = Duration::from_secs(30);
    let mut world = World::new(plan);
    world.books.lenient = true;
    world.run(5);
    let id = world.must(cap("desk", world.plan.part(0.1)));
    world.run(60);
    world.release(&id);
    world.run(120);
    let full = world.plan.nameplate().0 as f64;
    assert!(
        world.books.truth.site > full * 0.9,
        "{}",
        world.books.truth.site
    );
    let started: Vec<usize> = (0..world.units.len())
        .filter(|n| {
            world.units[*n].told == (Setpoint::Run, world.units[*n].told.1)
                && world.units[*n].told.1 > 0
        })
        .collect();
    assert!(started.len() > 60);
    let id = world.must(order("desk", Ask::Setpoint(world.plan.part(0.1))));
    world.run(30);
    let off = |world: &World| {
        world
            .units
            .iter()
            .filter(|unit| unit.told.0 == Setpoint::Off)
            .count()
    };
    let told_off = |n: &&usize| world.units[**n].told.0 == Setpoint::Off;
    assert_eq!(started.iter().filter(told_off).count(), 0);
    world.release(&id);
    world.must(cap("desk", world.plan.part(0.1)));
    world.run(30);
    assert!(off(&world) > 80);
    assert!(world.books.failures.is_empty());
}

#[test]
fn an_emergency_stop_puts_everything_off_and_nothing_wakes_before_its_release() {
    let mut world = World::new(Plan::mixed(10, 300, 2, 2));
    world.run(5);
    let id = world.must(Envelope {
        class: 0,
        ..cap("desk", Watts::ZERO)
    });
    world.run(60);
    assert!(world.units.iter().all(|unit| unit.device.asleep()));
    // Idle boards draw on: no more can be had, and the order says what is left.
    let status = world.status(&id);
    assert_eq!(status.state, OrderState::Proven);
    assert!(status.text.contains("drawn idle"), "{}", status.text);
    let idle = world.plan.idle().0 as f64;
    assert!(world.books.truth.site <= idle * 1.0001);
    let raises = world.books.raises;
    world.run(900);
    assert_eq!(world.books.raises, raises);
    sound(&world);
}

#[test]
fn kilowatts_sent_as_watts_and_numbers_used_before_are_refused() {
    let mut world = World::new(Plan::mixed(11, 300, 2, 2));
    world.run(5);
    let limit = world.plan.part(0.5);
    let few = Watts(limit.0 / 1000);
    assert_eq!(
        world.send_signal(cap("desk", few)),
        Err(Refusal::ImplausibleWatts)
    );
    let now = world.true_wall();
    let again = Envelope {
        seq: 1_000,
        issued_at: now,
        expires_at: Wall(now.0 + 60_000),
        ..cap("desk", limit)
    };
    let first = world.send_raw(again.clone()).expect("taken");
    let commands = world.books.commands;
    let second = world.send_raw(again.clone()).expect("answered again");
    assert_eq!(world.books.commands, commands);
    let (
        sluice::curtail::controller::Answer::Order { status: one, .. },
        sluice::curtail::controller::Answer::Order {
            status: two,
            repeated,
        },
    ) = (first, second)
    else {
        panic!("orders are answered with orders");
    };
    assert!(repeated && one.id == two.id);
    let other = Envelope {
        ask: Ask::Cap(world.plan.part(0.9)),
        ..again.clone()
    };
    assert_eq!(world.send_raw(other), Err(Refusal::SequenceConflict));
    let stale = Envelope { seq: 999, ..again };
    assert_eq!(world.send_raw(stale), Err(Refusal::StaleSequence));
    sound(&world);
}
