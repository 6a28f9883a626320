//! What one turn of the controller does with a handful of machines; whole sites are in `tests/power`.

use super::*;
use crate::{
    curtail::{
        fleet::{Capability, Mode, Model, Observation, Off, Receipt},
        plan,
        signal::Scope,
        site::{Feeder, FeederId, Group, GroupId, Law, Source, Telemetry},
        view::Liveness,
    },
    machine::Machine as _,
};

/// Two feeders with a group each, room for everything, one source.
fn site() -> Site {
    let feeder = |n: u16| Feeder {
        name: format!("f{n}"),
        rating: Watts(1_000_000),
        starts_per_s: 2,
    };
    let group = |n: u16| Group {
        name: format!("g{n}"),
        feeder: FeederId(n),
        overhead_permille: 1000,
        heat_floor: Watts::ZERO,
        limit: Watts::UNLIMITED,
        most_starting: 10,
    };
    Site {
        name: "here".into(),
        limit: Watts::UNLIMITED,
        other_load: Watts::ZERO,
        guard: Watts::ZERO,
        safe: Watts::ZERO,
        feeders: (0..2).map(feeder).collect(),
        groups: (0..2).map(group).collect(),
        sources: vec![Source {
            name: "desk".into(),
            most_urgent: 0,
            heartbeat: None,
            dead_after: Duration::from_secs(30),
        }],
        calendar: Vec::new(),
        telemetry: Telemetry::default(),
        law: Law::default(),
    }
}

/// So many machines of 1,000 W, dealt over both groups.
fn running(now: Instant, machines: u16) -> Controller {
    let mut controller = Controller::new(now, site());
    let kind = Kind {
        model: Model {
            name: "m".into(),
            hashrate: 1e14,
            watts: Watts(1_000),
            idle: Watts(10),
        },
        can: Capability {
            trim: None,
            off: Some(Off {
                down: Duration::from_secs(5),
                up: Duration::from_secs(10),
                persists: true,
            }),
        },
    };
    controller.handle_input(now, Input::Clock(Wall(1_000_000)));
    controller.handle_input(now, Input::Kind(kind));
    for n in 0..machines {
        let facts = Facts {
            name: format!("m{n}"),
            group: GroupId(n % 2),
            kind: 0,
        };
        controller.handle_input(
            now,
            Input::Machine {
                facts,
                intent: None,
            },
        );
    }
    controller.drain();
    controller
}

fn cap(seq: u64, watts: i64) -> Input {
    let envelope = Envelope {
        source: "desk".into(),
        audience: "here".into(),
        epoch: 1,
        seq,
        issued_at: Wall(1_000_000),
        ends_at: None,
        expires_at: Wall(5_000_000),
        starts_at: None,
        class: 1,
        ask: Ask::Cap(Watts(watts)),
        ramp_watts_per_s: None,
        deadline: None,
        scope: Scope::Mining,
    };
    Input::Signal {
        call: seq,
        envelope: Box::new(envelope),
        digest: [seq as u8; 32],
        admin: false,
        dry_run: false,
    }
}

fn commands(outputs: &[Output]) -> Vec<MachineId> {
    let told = |output: &Output| match output {
        Output::Command { machine, .. } => Some(*machine),
        _ => None,
    };
    outputs.iter().filter_map(told).collect()
}

#[test]
fn as_many_give_way_as_a_cap_needs_and_not_one_more() {
    let now = Instant::now();
    let mut controller = running(now, 20);
    controller.handle_input(now, cap(1, 15_050));
    assert_eq!(commands(&controller.drain()).len(), 5);
    // 20 kW less five times 990 W is 15,050 W to the watt; one watt less takes a sixth.
    let mut controller = running(now, 20);
    controller.handle_input(now, cap(1, 15_049));
    assert_eq!(commands(&controller.drain()).len(), 6);
}

#[test]
fn a_cap_that_mining_keeps_anyhow_commands_nobody() {
    let now = Instant::now();
    let mut controller = running(now, 20);
    controller.handle_input(now, cap(1, 20_000));
    let said = controller.drain();
    assert!(commands(&said).is_empty());
    assert_eq!(controller.view(now).orders[0].state, OrderState::Proven);
}

#[test]
fn a_command_and_its_order_are_put_out_by_the_call_that_took_the_order() {
    let now = Instant::now();
    let mut controller = running(now, 4);
    controller.handle_input(now, cap(1, 2_020));
    let said = controller.drain();
    let order =
        |output: &Output| matches!(output, Output::Save(save) if matches!(**save, Save::Order(_)));
    assert!(said.iter().any(order));
    assert_eq!(commands(&said).len(), 2);
    assert!(matches!(
        said.last(),
        Some(Output::Answer { answer: Ok(_), .. })
    ));
}

#[test]
fn an_acknowledgement_proves_nothing_and_a_reading_does() {
    let now = Instant::now();
    let mut controller = running(now, 4);
    controller.handle_input(now, cap(1, 3_010));
    let told = commands(&controller.drain());
    let later = now + Duration::from_secs(6);
    controller.handle_input(
        now,
        Input::Receipt {
            machine: told[0],
            attempt: 1,
            receipt: Receipt::Acknowledged,
        },
    );
    controller.handle_timeout(later);
    assert_eq!(controller.view(later).orders[0].state, OrderState::Acting);
    let seen = Observation {
        watts: Some(Watts(10)),
        mode: Mode::Off,
        uptime_s: None,
    };
    controller.handle_input(
        later,
        Input::Observed {
            machine: told[0],
            seen,
        },
    );
    controller.handle_timeout(later + TICK);
    assert_eq!(controller.view(later).orders[0].state, OrderState::Proven);
}

#[test]
fn being_looked_at_changes_nothing() {
    let now = Instant::now();
    let (mut one, mut two) = (running(now, 30), running(now, 30));
    for second in 0..60 {
        let at = now + Duration::from_secs(second);
        if second == 3 {
            one.handle_input(at, cap(1, 12_000));
            two.handle_input(at, cap(1, 12_000));
        }
        let _ = one.view(at);
        one.handle_timeout(at);
        two.handle_timeout(at);
        assert_eq!(one.drain(), two.drain(), "second {second}");
    }
}

fn hashed(controller: &mut Controller, at: Instant, watts: i64, shares: u64) -> usize {
    let watts = Watts(watts);
    controller.handle_input(at, Input::Hashed { watts, shares });
    controller.handle_timeout(at + TICK);
    commands(&controller.drain()).len()
}

#[test]
fn without_a_meter_a_fleet_that_hashes_more_than_counts_sheds_once_chance_is_ruled_out() {
    let now = Instant::now();
    let at = now + Duration::from_secs(60);
    let mut controller = running(now, 20);
    controller.handle_input(now, cap(1, 20_000));
    // 8 % more, from 1,000 shares: chance alone makes 9.5 %.
    assert_eq!(hashed(&mut controller, at, 21_600, 1_000), 0);
    // The same again is none: after 2,000 shares 151 W are beyond it.
    let later = at + 10 * TICK;
    assert_eq!(hashed(&mut controller, later, 21_600, 1_000), 1);
}

#[test]
fn shares_below_the_count_raise_nobody() {
    let now = Instant::now();
    let mut controller = running(now, 20);
    controller.handle_input(now, cap(1, 15_050));
    controller.drain();
    let told: usize = (6..60)
        .map(|n| hashed(&mut controller, now + n * TICK * 10, 5_000, 100_000))
        .sum();
    // Those that never answered are told again; nobody is told to run.
    assert!(told > 0);
    assert!(
        controller
            .machines()
            .iter()
            .filter(|m| m.setpoint == Setpoint::Off)
            .count()
            >= 5
    );
}

/// A site of one feeder's worth of machines that were all put off, each taking the order `way` after it was told, and whose
/// cap has just been released.
fn released(begin: Instant, way: Duration, law: Law) -> (Controller, Instant) {
    let mut controller = running(begin, 6);
    controller.site.law = law;
    controller.handle_input(begin, cap(1, 60));
    let told = commands(&controller.drain());
    assert_eq!(told.len(), 6);
    for machine in &told {
        let receipt = Receipt::Acknowledged;
        controller.handle_input(begin + way, answer(*machine, 1, receipt));
    }
    let seen = Observation {
        watts: Some(Watts(10)),
        mode: Mode::Off,
        uptime_s: None,
    };
    let at = begin + way + Duration::from_secs(1);
    for machine in told {
        controller.handle_input(at, Input::Observed { machine, seen });
    }
    controller.handle_input(
        at,
        Input::Release {
            call: 2,
            id: "o-1".into(),
            by: None,
            admin: true,
        },
    );
    controller.drain();
    (controller, at)
}

fn answer(machine: MachineId, attempt: u32, receipt: Receipt) -> Input {
    Input::Receipt {
        machine,
        attempt,
        receipt,
    }
}

/// Turns when it is due until machines are started, or `until`.
fn starts(controller: &mut Controller, until: Instant) -> Option<(Vec<MachineId>, Instant)> {
    loop {
        let (due, _) = controller.poll_timeout().expect("it always turns");
        if due > until {
            return None;
        }
        controller.handle_timeout(due);
        let told = commands(&controller.drain());
        if !told.is_empty() {
            return Some((told, due));
        }
    }
}

fn at_once() -> Law {
    Law {
        minimum_off: Duration::ZERO,
        restore_after: Duration::ZERO,
        ..Law::default()
    }
}

#[test]
fn the_next_starts_wait_for_a_second_after_the_last_ones_arrived() {
    let (mut controller, at) = released(Instant::now(), Duration::ZERO, at_once());
    let long = at + Duration::from_secs(10);
    let (first, told) = starts(&mut controller, long).expect("starts");
    assert_eq!(first.len(), 4, "two on each of two feeders");
    let arrived = told + Duration::from_millis(400);
    for machine in first {
        controller.handle_input(arrived, answer(machine, 2, Receipt::Acknowledged));
    }
    let (next, told) = starts(&mut controller, long).expect("more starts");
    assert_eq!(next.len(), 2);
    let since = told - arrived;
    assert!(since >= Duration::from_secs(1), "{since:?}");
    assert!(since <= Duration::from_millis(1200), "{since:?}");
}

#[test]
fn starts_that_are_still_on_their_way_let_nobody_follow() {
    let (mut controller, at) = released(Instant::now(), Duration::ZERO, at_once());
    let (first, told) = starts(&mut controller, at + Duration::from_secs(5)).expect("starts");
    assert_eq!(first.len(), 4);
    assert_eq!(
        starts(&mut controller, told + Duration::from_secs(29)),
        None
    );
    let (next, _) = starts(&mut controller, told + Duration::from_secs(31)).expect("given up");
    assert_eq!(next.len(), 2);
}

#[test]
fn the_minimum_off_begins_when_the_machine_took_the_order() {
    let law = Law {
        minimum_off: Duration::from_secs(20),
        ..at_once()
    };
    let (begin, way) = (Instant::now(), Duration::from_millis(900));
    let (mut controller, at) = released(begin, way, law);
    let (_, told) = starts(&mut controller, at + Duration::from_secs(60)).expect("starts");
    let off = told - (begin + way);
    assert!(off >= Duration::from_secs(20), "{off:?}");
    assert!(off <= Duration::from_secs(22), "{off:?}");
}

#[test]
fn a_silent_source_holds_before_its_third_beat_is_overdue_and_not_a_second_late() {
    let begin = Instant::now();
    let mut site = site();
    site.sources[0].heartbeat = Some(Duration::from_secs(5));
    let mut controller = Controller::new(begin, site);
    controller.handle_input(begin, Input::Clock(Wall(1_000_000)));
    controller.handle_input(begin + Duration::from_millis(337), cap(1, 60));
    let heard = begin + Duration::from_millis(337);
    let state = |controller: &Controller, at| controller.view(at).sources[0].state;
    let before = heard + Duration::from_millis(14_499);
    assert_eq!(state(&controller, before), Liveness::Live);
    while let Some((due, _)) = controller.poll_timeout().filter(|(due, _)| *due < before) {
        controller.handle_timeout(due);
    }
    let (due, _) = controller.poll_timeout().expect("it always turns");
    assert_eq!(due, heard + Duration::from_millis(14_500));
    assert_eq!(state(&controller, due), Liveness::Hold);
}

#[test]
fn a_trim_by_profile_is_taken_after_the_quick_ones_and_never_for_a_deadline_before_it_settles() {
    let now = Instant::now();
    for (need, seconds, slow, quick) in [
        (300, 15, 0, 1),
        (300, 60, 0, 1),
        (1_300, 15, 0, 2),
        (1_300, 60, 1, 2),
    ] {
        let controller = mixed(now);
        let drawn = controller
            .field(now)
            .sums(|machine, kind| machine.expected(kind));
        let mut limits = drawn.clone();
        limits.site -= Watts(need);
        let how = plan::Shed {
            need: plan::Need::Hard,
            time: Duration::from_secs(seconds),
            fine: true,
        };
        let plan = plan::shed(&controller.field(now), &drawn, &limits, how);
        let trims = |kind: u16| {
            let of = |id: &MachineId| controller.machines[id.0 as usize].facts.kind == kind;
            let trimmed = |to: &Setpoint| matches!(to, Setpoint::Percent(_));
            let changes = plan.changes.iter();
            changes.filter(|(id, to)| of(id) && trimmed(to)).count()
        };
        assert_eq!(
            (trims(0), trims(1)),
            (slow, quick),
            "{need} W in {seconds} s: {plan:?}"
        );
    }
}

/// Two inefficient machines that are trimmed in 30 s, two efficient ones that are trimmed in 1 s.
fn mixed(now: Instant) -> Controller {
    let mut controller = Controller::new(now, site());
    controller.handle_input(now, Input::Clock(Wall(1_000_000)));
    for (hashrate, settles) in [(5e13, 30), (1e14, 1)] {
        let trim = crate::curtail::fleet::Trim {
            floor_percent: 50,
            settles: Duration::from_secs(settles),
            persists: true,
        };
        let kind = Kind {
            model: Model {
                name: "m".into(),
                hashrate,
                watts: Watts(1_000),
                idle: Watts(10),
            },
            can: Capability {
                trim: Some(trim),
                off: Some(Off {
                    down: Duration::from_secs(5),
                    up: Duration::from_secs(10),
                    persists: true,
                }),
            },
        };
        controller.handle_input(now, Input::Kind(kind));
    }
    for n in 0..4 {
        let facts = Facts {
            name: format!("m{n}"),
            group: GroupId(0),
            kind: n / 2,
        };
        controller.handle_input(
            now,
            Input::Machine {
                facts,
                intent: None,
            },
        );
    }
    controller.drain();
    controller
}
