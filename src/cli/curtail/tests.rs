//! The verbs against the real API, with a scripted controller behind it.

use super::*;
use crate::api::auth::{self, Scopes, Secret, Token};
use crate::api::control::{Accepted, Call, Control};
use crate::curtail::Wall;
use crate::curtail::signal::{Envelope, FOR_GOOD, Refusal};
use crate::curtail::view::{
    OrderState, OrderStatus, Preview, ReservationState, ReservationStatus, View,
};
use clap::Parser;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[test]
fn a_cap_is_planned_first_and_then_sent_as_it_was_meant() {
    let lab = Lab::start([]);
    assert_eq!(
        lab.run("cap 4.2MW --for 30m --deadline 20s --scope feeder:A1"),
        0
    );
    let signals = lab.signals();
    let [(plan, true), (order, false)] = signals.as_slice() else {
        panic!("{signals:?}");
    };
    assert_eq!(order.ask, Ask::Cap(Watts(4_200_000)));
    assert_eq!(
        (&*order.source, &*order.audience, order.epoch),
        ("operator", "north", 1)
    );
    assert_eq!(order.scope, Scope::Feeder("A1".into()));
    assert_eq!(order.deadline, Some(Duration::from_secs(20)));
    let lasts = order.ends_at.expect("it ends").0 - order.issued_at.0;
    assert!((1_790_000..=1_800_000).contains(&lasts), "{lasts}");
    assert_eq!(Some(order.expires_at), order.ends_at);
    assert!(order.seq >= plan.seq && order.seq == order.issued_at.0.unsigned_abs());
    assert_eq!(
        (plan.ask.clone(), plan.ends_at),
        (order.ask.clone(), order.ends_at)
    );
}

#[test]
fn a_dry_run_of_any_verb_changes_nothing() {
    let lab = Lab::start([(ReservationState::Pending, 0)]);
    for line in [
        "preview 4.2MW",
        "cap 4.2MW --dry-run",
        "setpoint 3MW --dry-run",
        "reserve 800kW --dry-run",
        "reserve 800kW --wait --dry-run",
        "estop --dry-run",
        "release o-1 --dry-run",
        "release r-1 --dry-run --json",
    ] {
        assert_eq!(lab.run(line), 0, "{line}");
    }
    assert!(lab.signals().iter().all(|(_, dry_run)| *dry_run));
    assert_eq!(
        lab.said()
            .iter()
            .filter(|said| said.ends_with("(dry)"))
            .count(),
        8
    );
    assert_eq!(lab.said().len(), 8);
}

#[test]
fn an_order_without_an_end_lasts_until_it_is_released_and_a_stop_is_sent_at_once() {
    let lab = Lab::start([]);
    assert_eq!(lab.run("setpoint 3MW --show-http"), 0);
    assert_eq!(lab.run("estop"), 0);
    let signals = lab.signals();
    let [_, (setpoint, false), (stop, false)] = signals.as_slice() else {
        panic!("{signals:?}");
    };
    assert_eq!((setpoint.ends_at, setpoint.expires_at), (None, FOR_GOOD));
    assert!(stop.is_estop() && !setpoint.is_estop());
    assert_eq!(lab.run("release o-1"), 0);
    assert_eq!(lab.said().last().map(String::as_str), Some("release o-1"));
}

#[test]
fn whoever_waits_gets_a_grant_that_outlives_it() {
    let lab = Lab::start([(ReservationState::Granted, 800_000)]);
    assert_eq!(lab.run("reserve 800kW --for 2h --wait"), 0);
    let signals = lab.signals();
    let [_, (order, false)] = signals.as_slice() else {
        panic!("{signals:?}");
    };
    let lease = order.expires_at.0 - order.issued_at.0;
    assert!(
        (59_000..=60_000).contains(&lease),
        "short while it waits: {lease}"
    );
    let ends_at = order.ends_at.expect("two hours");
    let said = lab.said();
    let renewed = said.last().expect("a renewal");
    let until: i64 = renewed
        .strip_prefix("renew r-1 ")
        .and_then(|ms| ms.parse().ok())
        .expect("renewed");
    assert!((until - ends_at.0).abs() < 5_000, "to the end of the job");
}

#[test]
fn whoever_waits_for_a_part_gives_it_back_unless_it_is_accepted() {
    let lab = Lab::start([(ReservationState::Partial, 500_000)]);
    assert_eq!(lab.run("reserve 800kW --wait"), 75);
    assert_eq!(lab.said().last().map(String::as_str), Some("release r-1"));
    let lab = Lab::start([(ReservationState::Partial, 500_000)]);
    assert_eq!(lab.run("reserve 800kW --wait --accept-partial"), 0);
    assert_eq!(
        lab.said().last(),
        Some(&format!("renew r-1 {}", FOR_GOOD.0))
    );
}

#[test]
fn a_wait_for_more_than_can_be_had_orders_nothing_and_one_for_all_of_it_does() {
    let lab = Lab::start([(ReservationState::Partial, 900_000)]);
    assert_eq!(lab.run("reserve 900001W --wait"), 75);
    assert_eq!(lab.said(), ["reserve (dry)"; 2], "nothing but dry runs");
    assert_eq!(lab.run("reserve 50MW --wait"), 75, "however far beyond");
    assert!(lab.signals().iter().all(|(_, dry_run)| *dry_run));
    assert_eq!(lab.run("reserve 900001W --wait --accept-partial"), 0);
    assert!(lab.said().contains(&"reserve".to_owned()));
    let lab = Lab::start([(ReservationState::Granted, 900_000)]);
    assert_eq!(lab.run("reserve 900kW --wait"), 0);
}

#[test]
fn what_is_over_may_be_released_again_and_what_never_was_may_not() {
    let lab = Lab::start([]);
    for line in ["release o-8", "release r-9", "release r-9 --json"] {
        assert_eq!(lab.run(line), 0, "{line}");
    }
    assert!(lab.said().is_empty(), "{:?}", lab.said());
    assert_eq!(lab.run("release o-7"), 1);
    assert_eq!(lab.run("release r-7"), 1);
}

#[test]
fn a_release_says_what_comes_back_or_what_still_bounds_it() {
    let mut power = Power {
        site: "north".into(),
        view: View {
            bound_by: Some("o-2".into()),
            ..View::default()
        },
    };
    let none = "release   o-2 ends: no machine was held back\n";
    assert_eq!(show::ends("o-2", &power, false), none);
    power.view.machines.proven = 11;
    assert_eq!(
        show::ends("o-2", &power, false),
        "release   o-2 ends: 11 machines are off or trimmed and start again, staggered, as far as nothing else bounds them\n"
    );
    assert_eq!(
        show::ends("o-1", &power, true),
        "release   o-1 would end: 11 machines are off or trimmed, and mining stays bound by o-2\n"
    );
    power.view.held = Some("ems is silent".into());
    assert_eq!(
        show::ends("o-2", &power, false),
        "release   o-2 ends: 11 machines are off or trimmed; nothing is raised yet: ems is silent\n"
    );
}

#[test]
fn a_wait_that_has_taken_too_long_is_given_up_and_one_that_is_over_is_said() {
    let lab = Lab::start([(ReservationState::Pending, 0)]);
    assert_eq!(lab.run("reserve 800kW --wait --within 0s"), 75);
    assert_eq!(lab.said().last().map(String::as_str), Some("release r-1"));
    let lab = Lab::start([(ReservationState::Expired, 0)]);
    assert_eq!(lab.run("reserve 800kW --wait"), 1);
    assert!(lab.said().iter().all(|said| !said.starts_with("release")));
}

#[test]
fn what_is_refused_is_1_what_cannot_be_meant_is_2_and_nobody_there_is_69() {
    let lab = Lab::start([]);
    assert_eq!(lab.run("cap 4.2MW --source ems --token wrong"), 1);
    assert_eq!(lab.run("cap 4.2MW --source the_ems!"), 2);
    assert_eq!(lab.run("release 17"), 2);
    assert_eq!(lab.run("release o-2 --dry-run"), 1);
    assert_eq!(lab.run("reserve 1W --at 2026-11-22T08:00:00Z"), 0);
    assert_eq!(lab.run("cap 4.2MW --source refused"), 1);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let api = format!("http://{}", nobody.local_addr().expect("bound"));
    drop(nobody);
    let line = Line::parse_from(["curtail", "status", "--api", &api]);
    assert_eq!(code(main(line.verb)), 69);
}

#[test]
fn watts_without_their_unit_are_not_even_sent() {
    for line in [
        "cap 4200000",
        "cap 4.2",
        "reserve 800",
        "cap 4.2mW",
        "cap 1MW --for 30",
    ] {
        let words = std::iter::once("curtail").chain(line.split(' '));
        assert!(Line::try_parse_from(words).is_err(), "{line}");
    }
}

#[test]
fn status_shows_what_bounds_mining_and_no_name_reaches_the_terminal() {
    let mut view = View {
        limit_watts: Some(Watts(4_200_000)),
        bound_by: Some("o-1\u{1b}[31m".into()),
        site_limit_watts: Some(Watts(5_000_000)),
        orders: vec![order("o-1")],
        alarms: vec!["meter\nstale".into()],
        ..View::default()
    };
    view.machines.running = 1_181;
    let power = Power {
        site: "north".into(),
        view,
    };
    let text = show::power(&power, Wall(1_795_330_800_000));
    let first = "site      north: 5.00 MW, mining may draw 4.20 MW (o-1?[31m)\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("machines  1,181 running\n"), "{text}");
    assert!(text.contains("ALARM     meter?stale\n"), "{text}");
    assert!(text.contains("in 1h 0m"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

/// A served API whose controller takes everything, and answers for reservations what the script says, one look each,
/// the last for ever.
struct Lab {
    api: String,
    said: Arc<Mutex<Vec<String>>>,
    signals: Arc<Mutex<Vec<(Envelope, bool)>>>,
    cancel: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Lab {
    fn start<const N: usize>(script: [(ReservationState, i64); N]) -> Self {
        let (control, mut calls, view) = Control::new("north");
        let standing = script
            .first()
            .map(|(state, granted)| reservation(*state, *granted));
        view.send_replace(Arc::new(View {
            orders: vec![
                order("o-1"),
                OrderStatus {
                    state: OrderState::Ended,
                    ..order("o-8")
                },
            ],
            reservations: standing
                .into_iter()
                .chain([ReservationStatus {
                    id: "r-9".into(),
                    ..reservation(ReservationState::Released, 0)
                }])
                .collect(),
            ..View::default()
        }));
        let site = crate::api::Site::new(control, credentials());
        let board = Arc::new(crate::telemetry::board::tests::board(
            std::time::Instant::now(),
        ));
        let config = crate::config::Api {
            address: ([127, 0, 0, 1], 0).into(),
            worker_metrics: false,
        };
        let cancel = CancellationToken::new();
        let spawned = crate::tasks::admin::spawn(&config, board, Some(site), cancel.clone());
        let (address, admin) = spawned.expect("a free port on loopback");
        let said = Arc::new(Mutex::new(Vec::new()));
        let signals = Arc::new(Mutex::new(Vec::new()));
        let (says, keeps) = (said.clone(), signals.clone());
        let controller = std::thread::spawn(move || {
            let _view = view;
            while let Some(call) = calls.blocking_recv() {
                take(call, &says, &keeps);
            }
        });
        Self {
            api: format!("http://{address}"),
            said,
            signals,
            cancel,
            threads: vec![admin, controller],
        }
    }

    fn run(&self, line: &str) -> u8 {
        let mut words = vec!["curtail"];
        words.extend(line.split(' '));
        words.extend(["--api", &self.api]);
        if !line.contains("--token") {
            words.extend(["--token", "root-secret"]);
        }
        code(main(Line::parse_from(words).verb))
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic holds it").clone()
    }

    fn signals(&self) -> Vec<(Envelope, bool)> {
        self.signals.lock().expect("no panic holds it").clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.cancel.cancel();
        for thread in self.threads.drain(..) {
            thread.join().expect("it does not panic");
        }
    }
}

/// An exit code tells its number to nobody but a shell, and to its debug form.
fn code(code: ExitCode) -> u8 {
    let text = format!("{code:?}");
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("unix_exit_status(n)")
}

fn take(call: Call, said: &Mutex<Vec<String>>, signals: &Mutex<Vec<(Envelope, bool)>>) {
    let say = |text: String| said.lock().expect("no panic holds it").push(text);
    let dry = |dry_run: bool| if dry_run { " (dry)" } else { "" };
    let (reply, answer) = match call {
        Call::Signal {
            envelope,
            dry_run,
            reply,
            ..
        } => {
            say(format!("{}{}", envelope.ask.kind(), dry(dry_run)));
            let answer = match &envelope.ask {
                _ if envelope.source == "refused" => Err(Refusal::UnknownSource),
                Ask::Reserve(watts) if dry_run => Ok(Accepted::Preview(planned(*watts))),
                _ if dry_run => Ok(Accepted::Preview(Preview::default())),
                Ask::Reserve(_) => reserved(),
                _ => ordered(),
            };
            let mut signals = signals.lock().expect("no panic holds it");
            signals.push((*envelope, dry_run));
            (reply, answer)
        }
        Call::Release {
            id, dry_run, reply, ..
        } => {
            say(format!("release {id}{}", dry(dry_run)));
            let answer = match dry_run {
                true => Ok(Accepted::Preview(Preview::default())),
                false if id.starts_with("r-") => reserved(),
                false => ordered(),
            };
            (reply, answer)
        }
        Call::Renew {
            id,
            expires_at,
            reply,
            ..
        } => {
            say(format!("renew {id} {}", expires_at.0));
            (reply, reserved())
        }
        Call::Heartbeat { reply, .. } => (reply, Ok(Accepted::Done)),
    };
    let _ = reply.send(answer);
}

/// Of a site that can give 900 kW.
fn planned(asked: Watts) -> Preview {
    Preview {
        limit_watts: (Watts(1_000_000) - asked).at_least_zero(),
        then_watts: Watts(100_000),
        excess_watts: (asked - Watts(900_000)).at_least_zero().min(Watts(100_000)),
        ..Preview::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is a script")]
fn ordered() -> Result<Accepted, Refusal> {
    Ok(Accepted::Order {
        status: Box::new(order("o-1")),
        plan: None,
        repeated: false,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "it is a script")]
fn reserved() -> Result<Accepted, Refusal> {
    Ok(Accepted::Reservation {
        status: Box::new(reservation(ReservationState::Pending, 0)),
        plan: None,
        repeated: false,
    })
}

fn credentials() -> auth::Config {
    auth::Config {
        tokens: vec![Token {
            name: "root".into(),
            secret: Secret::new("root-secret"),
            scopes: Scopes {
                read: true,
                curtail: true,
                admin: true,
            },
            source: None,
        }],
        sources: Vec::new(),
    }
}

fn order(id: &str) -> OrderStatus {
    OrderStatus {
        id: id.into(),
        source: "operator".into(),
        epoch: 1,
        seq: 12,
        class: 1,
        kind: "cap".into(),
        watts: Watts(4_200_000),
        scope: Scope::Mining,
        state: OrderState::Accepted,
        accepted_at: Wall(1_795_330_800_000),
        deadline_at: Wall(1_795_330_815_000),
        proven_at: None,
        ends_at: Some(Wall(1_795_334_400_000)),
        expires_at: Wall(1_795_334_400_000),
        limit_watts: Watts(4_200_000),
        excess_watts: None,
        achievable_watts: None,
        eta_s: None,
        text: "taken".into(),
    }
}

fn reservation(state: ReservationState, granted: i64) -> ReservationStatus {
    ReservationStatus {
        id: "r-1".into(),
        source: "operator".into(),
        watts: Watts(800_000),
        state,
        granted_watts: Watts(granted),
        achievable_watts: Some(Watts(granted)),
        eta_s: None,
        starts_at: Wall(1_795_330_800_000),
        granted_at: None,
        ends_at: None,
        expires_at: FOR_GOOD,
        text: "mining gives way".into(),
    }
}
