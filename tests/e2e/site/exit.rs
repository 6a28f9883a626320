//! The proxy is told to end: what becomes of the machines is what `curtail.on_exit` says, and the next start decides anew.

use super::plant::{Plan, Plant};
use rustix::process::Signal;
use std::time::Duration;

/// 20 s for the watts, and what a drain takes.
const END: Duration = Duration::from_secs(40);
const SAFE: u64 = 60_000;

#[test]
fn with_on_exit_safe_mining_is_at_the_safe_watts_when_the_proxy_has_ended_and_comes_back_with_it() {
    let mut plant = Plant::start(Plan {
        on_exit: "safe",
        ..plan()
    });
    let full = plant.watts();
    assert!(full > 1.5 * SAFE as f64, "{full} W are no test");

    assert_eq!(ended(&mut plant), 0, "it ended well");

    let left = plant.watts();
    assert!(left <= SAFE as f64, "{left} W are left");
    assert!(
        left > SAFE as f64 / 2.0,
        "{left} W: more gave way than had to"
    );
    plant.restart();
    let orders = plant.desk.power().orders;
    assert!(orders.is_empty(), "nobody ordered anything: {orders:?}");
    plant.all_mine();
}

#[test]
fn with_on_exit_leave_every_machine_is_as_it_was_when_the_proxy_has_ended() {
    let mut plant = Plant::start(plan());
    let cap = plant.desk.cap("ems", (plant.watts() * 0.5) as u64);
    let order = plant.desk.order(&cap);
    plant.proven(&order);
    let before = asleep(&plant);
    assert!(!before.is_empty(), "nobody gave way");

    assert_eq!(ended(&mut plant), 0, "it ended well");

    assert_eq!(asleep(&plant), before);
}

fn plan() -> Plan {
    Plan {
        safe_watts: SAFE,
        minimum_off: Duration::from_secs(1),
        ..Plan::of(&[20, 20])
    }
}

/// As systemd ends it; the exit code.
fn ended(plant: &mut Plant) -> i32 {
    plant.proxy.signal(Signal::TERM);
    plant.proxy.ends(END)
}

fn asleep(plant: &Plant) -> Vec<usize> {
    let machines = plant.site.machines().into_iter();
    let asleep = machines.filter(|machine| machine.asleep);
    asleep.map(|machine| machine.number).collect()
}
