//! Who is started when: the budget of a feeder, the minimum off, and how long commands are on their way.

use super::*;

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
