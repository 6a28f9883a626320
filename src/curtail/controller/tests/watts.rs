//! What draws: shares without a meter, trims by kind.

use super::*;
use crate::curtail::plan;

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
