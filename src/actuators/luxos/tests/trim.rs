//! LuxOS trimmed by profiles, against the simulated firmware: real sockets, and the firmware's clock in the test's hand.

use super::*;
use crate::curtail::fleet::Kind;
use crate::sim::site::{
    address,
    device::Device as Body,
    faults::Fault,
    firmware::{self, Received},
    model::LAB_S21,
};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_percentage_is_the_largest_profile_within_it_half_a_minute_later() {
    let lab = Lab::new(None).await;
    lab.apply(Setpoint::Percent(73)).await.unwrap();
    assert_eq!(lab.wrote(), ["profileset 395MHz"]);
    lab.pass(2);
    let early = lab.observe().await;
    assert_eq!(early.mode, Mode::Trimmed(70));
    assert!(early.watts.unwrap() > Watts(3_000), "{early:?}");
    lab.pass(30);
    let settled = lab.observe().await;
    assert_eq!(settled.mode, Mode::Trimmed(70));
    assert!(settled.watts.unwrap() < Watts(2_520), "{settled:?}");
}

#[tokio::test]
async fn the_lowest_profile_is_taken_and_below_it_there_is_none() {
    let lab = Lab::new(None).await;
    lab.apply(Setpoint::Percent(20)).await.unwrap();
    assert_eq!(lab.wrote(), ["profileset 145MHz"]);
    assert_eq!(
        lab.apply(Setpoint::Percent(19)).await,
        refusal("no profile draws 19 percent or less")
    );
    assert_eq!(lab.wrote().len(), 1);
}

#[tokio::test]
async fn a_profile_outlives_a_boot() {
    let lab = Lab::new(None).await;
    lab.apply(Setpoint::Percent(70)).await.unwrap();
    lab.pass(60);
    lab.sim().reboot();
    lab.pass(160);
    assert_eq!(lab.observe().await.mode, Mode::Trimmed(70));
}

#[tokio::test]
async fn run_is_the_default_profile_from_a_trim_and_a_wakeup_before_it_from_sleep() {
    let lab = Lab::new(None).await;
    lab.apply(Setpoint::Run).await.unwrap();
    lab.apply(Setpoint::Percent(70)).await.unwrap();
    lab.pass(60);
    lab.apply(Setpoint::Run).await.unwrap();
    lab.pass(60);
    assert_eq!(lab.observe().await.mode, Mode::Running);
    lab.apply(Setpoint::Percent(50)).await.unwrap();
    lab.pass(60);
    lab.apply(Setpoint::Off).await.unwrap();
    lab.pass(60);
    assert_eq!(lab.observe().await.mode, Mode::Off);
    lab.apply(Setpoint::Run).await.unwrap();
    lab.pass(60);
    assert_eq!(lab.observe().await.mode, Mode::Running);
    assert_eq!(
        lab.wrote(),
        [
            "curtail wakeup",
            "profileset 395MHz",
            "profileset default",
            "profileset 295MHz",
            "curtail sleep",
            "curtail wakeup",
            "profileset default",
        ]
    );
}

#[tokio::test]
async fn a_machine_with_atm_on_is_never_trimmed_and_its_profile_is_no_trim() {
    let lab = Lab::new(None).await;
    lab.apply(Setpoint::Percent(70)).await.unwrap();
    lab.pass(60);
    lab.sim().fault(Some(Fault::Atm));
    assert_eq!(
        lab.apply(Setpoint::Percent(50)).await,
        refusal("its ATM is on and chooses the profile itself")
    );
    assert_eq!(lab.observe().await.mode, Mode::Running);
    lab.apply(Setpoint::Run).await.unwrap();
    assert_eq!(lab.wrote(), ["profileset 395MHz", "curtail wakeup"]);
}

#[tokio::test]
async fn atm_that_comes_on_under_the_write_is_the_firmwares_own_no() {
    let lab = Lab::scripted(None, |request, sim, answer| {
        if request.contains("logon") {
            sim.fault(Some(Fault::Atm));
        }
        Act::Say(answer)
    });
    let lab = lab.await;
    assert_eq!(
        lab.apply(Setpoint::Percent(70)).await,
        refusal("ATM is enabled (code 420)")
    );
    assert!(lab.machine.got().last().unwrap().contains("logoff"));
}

#[tokio::test]
async fn a_sleeping_machine_is_not_trimmed_and_no_session_is_taken_for_it() {
    let lab = Lab::new(None).await;
    lab.apply(Setpoint::Off).await.unwrap();
    lab.pass(60);
    let before = lab.machine.got().len();
    assert_eq!(
        lab.apply(Setpoint::Percent(70)).await,
        Err(Failure::Busy("asleep: wake it first".to_owned()))
    );
    assert_eq!(
        lab.machine.got()[before..],
        [r#"{"command":"config+profiles"}"#]
    );
}

#[tokio::test]
async fn firmware_without_a_list_or_a_default_is_refused_a_trim_and_woken_all_the_same() {
    for (from, to) in [
        ("\"PROFILES\"", "\"OTHERS\""),
        ("\"default\"", "\"factory\""),
        ("profiles\",\"STATUS\":\"S\"", "profiles\",\"STATUS\":\"E\""),
    ] {
        let lab = Lab::scripted(None, move |_, _, answer| {
            let text = String::from_utf8(answer).unwrap();
            Act::Say(text.replace(from, to).into_bytes())
        });
        let lab = lab.await;
        let trim = lab.apply(Setpoint::Percent(70)).await;
        assert_eq!(
            trim,
            refusal("it lists no profiles, or no default one"),
            "{from}"
        );
        lab.apply(Setpoint::Run).await.unwrap();
        assert_eq!(lab.wrote(), ["curtail wakeup"], "{from}");
    }
}

#[tokio::test]
async fn another_machine_at_the_address_is_asked_who_it_is_and_nothing_else() {
    let lab = Lab::new(None).await;
    for setpoint in [Setpoint::Percent(70), Setpoint::Run] {
        let other = named("02:00:00:00:00:01");
        let outcome = lab.luxos().apply(&other, setpoint).await;
        assert!(matches!(outcome, Err(Failure::WrongIdentity { .. })));
    }
    let read = r#"{"command":"config+profiles"}"#;
    assert_eq!(lab.machine.got()[1..], [read, read]);
}

#[tokio::test]
async fn firmware_that_closes_after_each_answer_names_its_session_before_each_write() {
    let lab = Lab::scripted(None, |_, _, answer| Act::SayLast(answer)).await;
    lab.apply(Setpoint::Percent(70)).await.unwrap();
    lab.pass(60);
    assert_eq!(lab.observe().await.mode, Mode::Trimmed(70));
    lab.apply(Setpoint::Off).await.unwrap();
    lab.pass(60);
    let before = lab.machine.got().len();
    lab.apply(Setpoint::Run).await.unwrap();
    let commands = lab.commands();
    assert_eq!(
        commands[before..],
        [
            "config+profiles",
            "logon",
            "config+session",
            "curtail wakeup",
            "config+session",
            "profileset default",
            "logoff",
        ]
    );
}

#[tokio::test]
async fn a_profile_that_was_set_under_an_error_or_silence_is_read_back() {
    for (fault, refused) in [
        (Fault::ErrorThoughApplied, true),
        (Fault::SilentThoughApplied, false),
    ] {
        let lab = Lab::new(Some(fault)).await;
        match lab.apply(Setpoint::Percent(70)).await {
            Err(Failure::Refused(_)) => assert!(refused),
            Err(Failure::Unknown(_)) => assert!(!refused),
            other => panic!("{other:?}"),
        }
        lab.pass(60);
        assert_eq!(lab.observe().await.mode, Mode::Trimmed(70));
    }
}

#[tokio::test]
async fn without_the_key_no_profile_is_read_set_or_shown() {
    let lab = Lab::new(None).await;
    lab.apply(Setpoint::Percent(70)).await.unwrap();
    lab.pass(60);
    let before = lab.machine.got().len();
    let plain = Luxos {
        profiles: false,
        ..lab.luxos()
    };
    let seen = plain.observe(&lab.device).await.unwrap();
    assert_eq!(seen.mode, Mode::Running);
    plain.apply(&lab.device, Setpoint::Run).await.unwrap();
    let trim = plain.apply(&lab.device, Setpoint::Percent(70)).await;
    assert!(matches!(trim, Err(Failure::Unsupported(_))));
    assert_eq!(
        lab.commands()[before..],
        [
            "config+summary+power",
            "config",
            "logon",
            "curtail wakeup",
            "logoff"
        ]
    );
    assert_eq!(plain.capability().trim, None);
}

#[test]
fn a_trim_is_offered_only_to_a_deadline_that_leaves_it_half_a_minute() {
    let luxos = Luxos::new(&Config {
        profiles: true,
        ..Config::default()
    });
    let kind = Kind {
        model: crate::curtail::fleet::Model {
            name: "Antminer S21".to_owned(),
            hashrate: 200e12,
            watts: Watts(3500),
            idle: Watts(25),
        },
        can: luxos.capability(),
    };
    let settles = kind.settles(Setpoint::Run, Setpoint::Percent(70));
    assert_eq!(settles, Some(Duration::from_secs(30)));
    let off = kind.settles(Setpoint::Percent(70), Setpoint::Off);
    assert_eq!(off, Some(Duration::from_secs(5)));
}

#[test]
fn a_profile_that_cannot_be_judged_is_neither_running_nor_a_trim() {
    let watts = Some(Watts(2450));
    for (profile, atm, watts, mode) in [
        ("395MHz", false, watts, Mode::Trimmed(70)),
        ("395MHz", false, None, Mode::Between),
        ("custom", false, watts, Mode::Between),
        ("570MHz", false, watts, Mode::Running),
        ("Default", false, watts, Mode::Running),
        ("", false, watts, Mode::Running),
        ("395MHz", true, watts, Mode::Running),
    ] {
        let who = Who {
            id: MAC.to_owned(),
            model: String::new(),
            asleep: Some(false),
            profile: profile.to_owned(),
            atm,
        };
        let seen = Observation {
            watts,
            mode: Mode::Running,
            uptime_s: None,
        };
        let rows = [("default", 3500), ("395MHz", 2450), ("570MHz", 3675)];
        let row = |(name, watts)| Profile::new(name, Watts(watts)).unwrap();
        let profiles = Profiles::new(rows.map(row).to_vec());
        let found = super::super::trim(&who, profiles.as_ref(), &seen);
        assert_eq!(found, mode, "{profile} {atm} {watts:?}");
        assert_eq!(super::super::trim(&who, None, &seen), Mode::Running);
    }
}

fn refusal(why: &str) -> Result<(), Failure> {
    Err(Failure::Refused(why.to_owned()))
}

/// The simulated firmware and its clock.
struct Sim {
    firmware: firmware::Machine,
    now: Received,
}

impl Sim {
    fn fault(&mut self, fault: Option<Fault>) {
        self.firmware.device.set_fault(self.now.at, fault);
    }

    fn reboot(&mut self) {
        self.firmware.device.reboot(self.now.at);
    }
}

/// A machine with that firmware, and the driver's idea of it.
struct Lab {
    machine: Machine,
    sim: Arc<Mutex<Sim>>,
    device: Device,
}

impl Lab {
    async fn new(fault: Option<Fault>) -> Self {
        Self::scripted(fault, |_, _, answer| Act::Say(answer)).await
    }

    /// `act` may change each answer of the firmware, and the firmware after it.
    async fn scripted(
        fault: Option<Fault>,
        act: impl Fn(&str, &mut Sim, Vec<u8>) -> Act + Send + Sync + 'static,
    ) -> Self {
        let now = Received {
            at: Instant::now(),
            unix_s: 1_800_000_000,
        };
        let body = Body::new(now.at, LAB_S21, 1.0, fault, 7);
        let firmware = firmware::Machine::new(body, address::address(0), "");
        let sim = Arc::new(Mutex::new(Sim { firmware, now }));
        let at = sim.clone();
        let machine = Machine::start(move |request| {
            let mut sim = at.lock().unwrap();
            let now = sim.now;
            let reply = firmware::luxos::handle(&mut sim.firmware, now, request.as_bytes());
            match reply.bytes {
                Some(answer) => act(request, &mut sim, answer),
                None => Act::Ignore,
            }
        });
        let machine = machine.await;
        let device = Luxos::new(&machine.config(NAME)).identify(address()).await;
        Self {
            machine,
            sim,
            device: named(&device.unwrap().id),
        }
    }

    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.sim.lock().unwrap()
    }

    fn pass(&self, seconds: u64) {
        let now = &mut self.sim().now;
        now.at += Duration::from_secs(seconds);
        now.unix_s += seconds;
    }

    fn luxos(&self) -> Luxos {
        Luxos {
            profiles: true,
            ..luxos(&self.machine)
        }
    }

    async fn apply(&self, setpoint: Setpoint) -> Result<(), Failure> {
        self.luxos().apply(&self.device, setpoint).await
    }

    async fn observe(&self) -> Observation {
        self.luxos().observe(&self.device).await.unwrap()
    }

    /// What it was asked after it was identified: each command with what follows the session.
    fn commands(&self) -> Vec<String> {
        let word = |request: &String| {
            let json = serde_json::from_str::<serde_json::Value>(request).unwrap();
            let after = json["parameter"].as_str().and_then(|p| p.split_once(','));
            let command = json["command"].as_str().unwrap();
            after.map_or(command.to_owned(), |(_, after)| {
                format!("{command} {after}")
            })
        };
        self.machine.got().iter().map(word).collect()
    }

    /// The writes of it.
    fn wrote(&self) -> Vec<String> {
        let is_write = |command: &String| command.contains(' ');
        self.commands().into_iter().filter(is_write).collect()
    }
}
