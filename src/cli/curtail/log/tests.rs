//! A recorded run, shown and run again.

use super::*;
use crate::curtail::controller::{Input, Save};
use crate::curtail::fleet::Facts;
use crate::curtail::reserve::Reservation;
use crate::curtail::site::{GroupId, Law, Site, Source, Telemetry};
use crate::curtail::view::ReservationState;
use crate::curtail::{MachineId, Setpoint, Watts};
use crate::ledger::{Batch, Entry, Hash};
use crate::machine::Machine;

const START: Wall = Wall(1_795_330_800_000);

#[test]
fn a_recorded_run_comes_out_again_and_a_bent_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let entries = recorded();
    write(&path, entries.clone());
    let done = run_again(&path, Instant::now()).expect("the same decisions");
    assert_eq!((done.runs, done.turns, done.skipped), (1, 3, 0));
    assert!(done.decisions > 0);

    let bent = folder.path().join("bent.db");
    let mut entries = entries;
    let turn = entries.iter_mut().find(|entry| entry.body.contains("o-1"));
    let turn = turn.expect("the order was taken");
    turn.body = turn
        .body
        .replace("\"limit_watts\":4200000", "\"limit_watts\":4200001");
    write(&bent, entries);
    let stopped = run_again(&bent, Instant::now()).expect_err("another decision");
    assert!(
        matches!(stopped, Stopped::Differs { n: 3, .. }),
        "{stopped}"
    );
    assert!(stopped.to_string().contains("4200001"), "{stopped}");
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_even_when_it_follows() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    write(&path, recorded());
    let args = LogArgs {
        which: Which::default(),
        follow: true,
        entries: 1000,
        json: true,
    };
    let ended = print(&path, &args, &mut Closed).expect_err("nobody reads");
    assert!(matches!(ended, Ended::Output(_)), "{ended}");
}

#[test]
fn the_log_says_who_ordered_what_and_what_came_of_it_and_leaves_quiet_turns_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    write(&path, recorded());
    let reader = Ledger::read_only(&path).expect("a ledger");
    let entries: Vec<Stored> = reader
        .entries(1)
        .map(|entry| entry.expect("readable"))
        .collect();
    let mut teller = Teller::default();
    let lines: Vec<String> = entries.iter().filter_map(|e| teller.line(e)).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("begins, site north"), "{}", lines[0]);
    assert!(
        lines[1].contains("cap 4.20 MW for mining by ems (class 1, epoch 1, seq 12); taken as o-1, mining may draw 4.20 MW"),
        "{}",
        lines[1]
    );
    assert!(as_json(&entries[0]).starts_with(r#"{"at":"2026-11-22T07:00:00Z","body":{"#));
}

#[test]
fn machines_are_named_eight_of_a_command_and_a_grant_is_told_once() {
    let mut teller = Teller::default();
    let facts = |n: usize| Input::Machine {
        facts: Facts {
            name: format!("asic{n}"),
            group: GroupId(0),
            kind: 0,
        },
        intent: None,
    };
    let arrived = Turn {
        at_ms: 0,
        // One twice, as when its facts change: it keeps its number.
        inputs: (0..12).map(|n| facts(n.min(10))).collect(),
        outputs: Vec::new(),
    };
    teller.learn(&stored(1, &arrived));
    let off = |n: u32| Output::Command {
        machine: MachineId(n),
        setpoint: Setpoint::Off,
        attempt: 1,
    };
    let mut line = |outputs: Vec<Output>| {
        let turn = Turn {
            at_ms: 1,
            inputs: Vec::new(),
            outputs,
        };
        let line = teller.line(&stored(2, &turn));
        line.map(|line| line.split_once("Z  ").expect("a time").1.trim().to_owned())
    };
    let nine = "9 machines are told to go off: asic0, asic1, asic2, asic3, asic4, asic5, asic6, asic7 and 1 more";
    assert_eq!(line((0..9).map(off).collect()).as_deref(), Some(nine));
    let eight =
        "8 machines are told to go off: asic0, asic1, asic2, asic3, asic4, asic5, asic6, asic7";
    assert_eq!(line((0..8).map(off).collect()).as_deref(), Some(eight));
    let one = line(vec![off(10)]);
    assert_eq!(one.as_deref(), Some("asic10 is told to go off"));
    let stranger = line(vec![off(11)]);
    assert_eq!(stranger.as_deref(), Some("machine 11 is told to go off"));
    let granted = || vec![Output::Save(Box::new(Save::Reservation(reservation())))];
    let grant = "r-1 granted: 150.00 kW are proven free";
    assert_eq!(line(granted()).as_deref(), Some(grant));
    assert_eq!(line(granted()), None, "a renewal is no second grant");
}

fn stored(n: u64, turn: &Turn) -> Stored {
    Stored {
        n,
        at_ms: START.0,
        kind: "turn".into(),
        body: serde_json::to_string(turn).expect("plain values"),
        hash: Hash([0; 32]),
    }
}

fn reservation() -> Reservation {
    let asked = r#"{"source":"slurm","audience":"north","epoch":1,"seq":1,"issued_at":"2026-11-22T07:00:01Z","expires_at":"2026-11-22T08:00:00Z","class":2,"kind":"reserve","watts":150000,"scope":"site"}"#;
    Reservation {
        n: 1,
        envelope: crate::curtail::signal::parse(asked.as_bytes()).expect("an order"),
        accepted_at: START,
        state: ReservationState::Granted,
        granted_at: Some(START),
        granted: Watts(150_000),
        achievable: None,
        base: Watts::ZERO,
        accepted: None,
        renewed: None,
    }
}

#[test]
fn what_is_no_ledger_or_not_of_this_version_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere.db");
    let stopped = run_again(&nowhere, Instant::now()).expect_err("nothing there");
    assert!(matches!(stopped, Stopped::Ledger(_)), "{stopped}");
    let path = folder.path().join("other.db");
    let mut entries = recorded();
    entries[2].body = "{\"tick\":1}".into();
    write(&path, entries);
    let stopped = run_again(&path, Instant::now()).expect_err("no turn");
    assert!(
        matches!(stopped, Stopped::Unreadable { n: 3, .. }),
        "{stopped}"
    );
}

/// A start, a quiet turn, one with an order, and one more: as the controller's task writes them.
fn recorded() -> Vec<Entry> {
    let begin = Begin {
        version: "0.1.0".into(),
        config_hash: "00".into(),
        site: site(),
    };
    let cap = r#"{"source":"ems","audience":"north","epoch":1,"seq":12,"issued_at":"2026-11-22T07:00:01Z","expires_at":"2026-11-22T08:00:00Z","class":1,"kind":"cap","watts":4200000,"scope":"mining"}"#;
    let signal = Input::Signal {
        call: 1,
        envelope: Box::new(crate::curtail::signal::parse(cap.as_bytes()).expect("an order")),
        digest: [7; 32],
        admin: false,
        dry_run: false,
    };
    let clock = |s: i64| Input::Clock(Wall(START.0 + s * 1000));
    let turns = [vec![clock(0)], vec![clock(1), signal], vec![clock(2)]];
    let base = Instant::now();
    let mut controller = crate::curtail::controller::Controller::new(base, begin.site.clone());
    let mut entries = vec![entry("start", serde_json::to_string(&begin))];
    for (s, inputs) in turns.into_iter().enumerate() {
        let now = base + Duration::from_secs(s as u64);
        for input in &inputs {
            controller.handle_input(now, input.clone());
        }
        controller.handle_timeout(now);
        let turn = Turn {
            at_ms: s as u64 * 1000,
            inputs,
            outputs: controller.drain(),
        };
        entries.push(entry("turn", serde_json::to_string(&turn)));
    }
    entries
}

fn entry(kind: &str, body: Result<String, serde_json::Error>) -> Entry {
    Entry {
        at_ms: START.0,
        kind: kind.into(),
        body: body.expect("plain values"),
    }
}

fn write(path: &Path, audit: Vec<Entry>) {
    let (mut ledger, _) = Ledger::open(path).expect("a new ledger");
    let batch = Batch {
        audit,
        ..Batch::default()
    };
    ledger.commit(&batch).expect("room on the disk");
    ledger.close().expect("written");
}

fn site() -> Site {
    Site {
        name: "north".into(),
        limit: Watts(10_000_000),
        other_load: Watts::ZERO,
        guard: Watts::ZERO,
        safe: Watts::ZERO,
        feeders: Vec::new(),
        groups: Vec::new(),
        sources: vec![Source {
            name: "ems".into(),
            most_urgent: 0,
            heartbeat: None,
            dead_after: Duration::from_secs(30),
        }],
        calendar: Vec::new(),
        telemetry: Telemetry::default(),
        law: Law::default(),
    }
}
