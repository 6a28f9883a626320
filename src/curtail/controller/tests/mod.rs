//! What one turn of the controller does with a handful of machines; whole sites are in `tests/power`.

mod orders;
mod starts;
mod watts;

use super::*;
use crate::{
    curtail::{
        fleet::{Capability, Mode, Model, Observation, Off, Receipt},
        signal::{Ask, Envelope, Refusal, Scope},
        site::{Feeder, FeederId, Group, GroupId, Law, Source, Telemetry},
        view::{Liveness, OrderState, ReservationState},
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
