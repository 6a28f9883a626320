//! LuxOS against a scripted machine: what it is sent, and what is made of its answers.

use super::*;
use crate::actuators::{
    LONGEST_REPLY,
    testing::{Act, IMPATIENCE, MAC, Machine, address, device, named, padded, say},
};
use crate::curtail::{Watts, fleet::Mode};

mod trim;

const NO_SESSION: &str =
    r#"{"STATUS":[{"STATUS":"E","Code":402,"Msg":"Another session is active"}],"id":1}"#;
const NO: &str = r#"{"STATUS":[{"STATUS":"E","Code":403,"Msg":"Invalid session ID"}],"id":1}"#;

#[tokio::test]
async fn a_write_is_identity_session_command_and_session_back_on_one_connection() {
    for (setpoint, action) in [(Setpoint::Off, "sleep"), (Setpoint::Run, "wakeup")] {
        let machine = Machine::start(|request| say(&good(request))).await;
        assert_eq!(luxos(&machine).apply(&device(), setpoint).await, Ok(()));
        assert_eq!(
            machine.got(),
            [
                r#"{"command":"config"}"#.to_owned(),
                r#"{"command":"logon"}"#.to_owned(),
                format!(r#"{{"command":"curtail","parameter":"yJN2nlj1,{action}"}}"#),
                r#"{"command":"logoff","parameter":"yJN2nlj1"}"#.to_owned(),
            ]
        );
        assert_eq!(machine.clients(), 1);
    }
}

#[tokio::test]
async fn another_machine_at_the_address_gets_not_even_a_logon() {
    let machine = Machine::start(|request| say(&good(request))).await;
    let other = named("d4:33:b2:5d:e0:57");
    let found = || Failure::WrongIdentity {
        found: MAC.to_owned(),
    };
    let luxos = luxos(&machine);
    assert_eq!(luxos.apply(&other, Setpoint::Off).await, Err(found()));
    assert_eq!(machine.got(), [r#"{"command":"config"}"#]);
    assert_eq!(luxos.observe(&other).await, Err(found()));
}

#[tokio::test]
async fn what_luxos_cannot_do_is_not_even_connected_for() {
    let machine = Machine::start(|request| say(&good(request))).await;
    for setpoint in [Setpoint::Percent(50), Setpoint::Withdrawn] {
        let outcome = luxos(&machine).apply(&device(), setpoint).await;
        assert!(matches!(outcome, Err(Failure::Unsupported(_))));
    }
    assert_eq!(machine.clients(), 0);
}

#[tokio::test]
async fn a_session_of_somebody_else_is_busy_and_nothing_is_written() {
    let machine = Machine::start(|request| match request.contains("logon") {
        true => say(NO_SESSION),
        false => say(&good(request)),
    });
    let machine = machine.await;
    assert_eq!(
        luxos(&machine).apply(&device(), Setpoint::Off).await,
        Err(Failure::Busy("Another session is active".to_owned()))
    );
    assert_eq!(machine.got().len(), 2);
}

#[tokio::test]
async fn firmware_that_closes_after_each_answer_is_written_to_once_it_named_its_session() {
    let script = |request: &str| Act::SayLast(good(request).into_bytes());
    let machine = Machine::start(script).await;
    assert_eq!(
        luxos(&machine).apply(&device(), Setpoint::Off).await,
        Ok(())
    );
    assert_eq!(
        machine.got(),
        [
            r#"{"command":"config"}"#,
            r#"{"command":"logon"}"#,
            r#"{"command":"config+session"}"#,
            r#"{"command":"curtail","parameter":"yJN2nlj1,sleep"}"#,
            r#"{"command":"logoff","parameter":"yJN2nlj1"}"#,
        ]
    );
}

#[tokio::test]
async fn a_session_held_by_another_machine_or_client_is_given_back_unused() {
    for (from, to, expected) in [
        (
            "D4:33:B2:5D:E0:56",
            "D4:33:B2:5D:E0:57",
            Failure::WrongIdentity {
                found: "d4:33:b2:5d:e0:57".to_owned(),
            },
        ),
        (
            "yJN2nlj1",
            "other",
            Failure::Busy("another client took the session".to_owned()),
        ),
    ] {
        let machine = Machine::start(move |request| {
            let answer = good(request);
            Act::SayLast(match request.contains("config+session") {
                true => answer.replace(from, to).into_bytes(),
                false => answer.into_bytes(),
            })
        });
        let machine = machine.await;
        let outcome = luxos(&machine).apply(&device(), Setpoint::Off).await;
        assert_eq!(outcome, Err(expected));
        let got = machine.got();
        assert!(!got.iter().any(|request| request.contains("curtail")));
        assert!(got.last().unwrap().contains("logoff"));
    }
}

#[tokio::test]
async fn a_no_is_refused_silence_and_nonsense_are_unknown_and_the_session_goes_back_each_time() {
    let acts: [fn() -> Act; 6] = [
        || say(NO),
        || Act::Ignore,
        || say("{}"),
        || say("nonsense"),
        || say(r#"{"STATUS":[{"STATUS":"S"#),
        || Act::Close,
    ];
    for (index, act) in acts.into_iter().enumerate() {
        let machine = Machine::start(move |request| match request.contains("curtail") {
            true => act(),
            false => say(&good(request)),
        });
        let machine = machine.await;
        let outcome = luxos(&machine).apply(&device(), Setpoint::Off).await;
        match index {
            0 => assert_eq!(
                outcome,
                Err(Failure::Refused("Invalid session ID (code 403)".to_owned()))
            ),
            _ => assert!(matches!(outcome, Err(Failure::Unknown(_))), "{index}"),
        }
        assert!(machine.got().last().unwrap().contains("logoff"), "{index}");
    }
}

#[tokio::test]
async fn a_session_id_that_would_break_out_of_a_request_is_not_used() {
    for id in [
        r#"x\",\"command\":\"reboot"#,
        "a,b",
        "",
        "é",
        &"x".repeat(65),
    ] {
        let session =
            format!(r#"{{"STATUS":[{{"STATUS":"S"}}],"SESSION":[{{"SessionID":"{id}"}}]}}"#);
        let machine = Machine::start(move |request| match request.contains("logon") {
            true => say(&session),
            false => say(&good(request)),
        });
        let machine = machine.await;
        let outcome = luxos(&machine).apply(&device(), Setpoint::Off).await;
        assert!(matches!(outcome, Err(Failure::Unreachable(_))), "{id}");
        assert_eq!(machine.got().len(), 2, "{id}");
    }
}

#[tokio::test]
async fn an_answer_is_the_same_with_nul_pretty_printed_dripping_or_closed_after() {
    let config = good("config+version");
    let value = serde_json::from_str::<serde_json::Value>(&config).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let acts: [Box<dyn Fn(Vec<u8>) -> Act + Send + Sync>; 4] = [
        Box::new(|bytes| Act::Say([&bytes[..], b"\0"].concat())),
        Box::new(|bytes| Act::Say([b"\r\n", &bytes[..], b"\r\n"].concat())),
        Box::new(Act::Drip),
        Box::new(Act::SayLast),
    ];
    for act in acts {
        let pretty = pretty.clone();
        let machine = Machine::start(move |_| act(pretty.clone().into_bytes())).await;
        let identity = luxos(&machine).identify(address()).await.unwrap();
        assert_eq!(identity.id, MAC);
        assert_eq!(identity.model, "Antminer S21");
        assert_eq!(identity.version, "2026.1.15");
    }
}

#[tokio::test]
async fn an_answer_cut_short_too_slow_doubled_or_not_json_is_unreachable() {
    let config = good("config+version");
    let acts: [fn(&str) -> Act; 6] = [
        |config| Act::SayLast(config.as_bytes()[..40].to_vec()),
        |_| Act::Ignore,
        |config| Act::Say(config.as_bytes()[..40].to_vec()),
        |_| Act::Drip(padded("{}", LONGEST_REPLY)[..LONGEST_REPLY - 1].to_vec()),
        |config| Act::Say([config, config].concat().into_bytes()),
        |_| say("HTTP/1.1 400 Bad Request\r\n\r\n"),
    ];
    for (index, act) in acts.into_iter().enumerate() {
        let config = config.clone();
        let machine = Machine::start(move |_| act(&config)).await;
        let outcome = luxos(&machine).identify(address()).await;
        assert!(
            matches!(outcome, Err(Failure::Unreachable(_))),
            "{index}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_of_256_kib_is_read_and_one_byte_more_is_not() {
    for (length, fits) in [(LONGEST_REPLY, true), (LONGEST_REPLY + 1, false)] {
        let reply = padded(&good("config+version"), length);
        let machine = Machine::start(move |_| Act::Say(reply.clone())).await;
        let identity = luxos(&machine).identify(address()).await;
        assert_eq!(identity.is_ok(), fits, "{identity:?}");
    }
}

#[tokio::test]
async fn what_it_does_is_read_in_one_request() {
    let cases = [
        ("None", "\"GHS 5s\":200000.5", Mode::Running),
        ("None", "\"GHS 5s\":0", Mode::Between),
        ("Sleep", "\"GHS 5s\":0", Mode::Off),
        ("Sleep", "\"GHS 5s\":12.5", Mode::Off),
        ("Waking", "\"GHS 5s\":200000", Mode::Between),
    ];
    for (curtail, ghs, mode) in cases {
        let machine = Machine::start(move |request| {
            say(&good(request)
                .replace(
                    "\"CurtailMode\":\"None\"",
                    &format!("\"CurtailMode\":\"{curtail}\""),
                )
                .replace("\"GHS 5s\":200000.5", ghs))
        });
        let machine = machine.await;
        let expected = Observation {
            watts: Some(Watts(3510)),
            mode,
            uptime_s: Some(77),
        };
        assert_eq!(luxos(&machine).observe(&device()).await, Ok(expected));
        assert_eq!(machine.got(), [r#"{"command":"config+summary+power"}"#]);
    }
}

#[test]
fn nothing_can_be_written_but_sleep_wakeup_a_profile_and_the_session_for_it() {
    let all = [
        Write::Logon,
        Write::Sleep("S"),
        Write::Wakeup("S"),
        Write::Profile("S", "295MHz"),
        Write::Logoff("S"),
    ];
    let requests = all.map(|write| {
        // A new write does not compile until it stands here too.
        match write {
            Write::Logon | Write::Sleep(_) | Write::Wakeup(_) => {}
            Write::Profile(..) | Write::Logoff(_) => {}
        }
        String::from_utf8(write.request()).unwrap()
    });
    assert_eq!(
        requests,
        [
            r#"{"command":"logon"}"#,
            r#"{"command":"curtail","parameter":"S,sleep"}"#,
            r#"{"command":"curtail","parameter":"S,wakeup"}"#,
            r#"{"command":"profileset","parameter":"S,295MHz"}"#,
            r#"{"command":"logoff","parameter":"S"}"#,
        ]
    );
}

#[tokio::test]
async fn an_address_outside_of_the_ranges_is_not_connected_to() {
    let machine = Machine::start(|request| say(&good(request))).await;
    let mut config = machine.config(NAME);
    config.simulation = false;
    let refused = Err(Failure::NotAllowed(address()));
    let outcome = Luxos::new(&config).apply(&device(), Setpoint::Off).await;
    assert_eq!(outcome, refused);
    config.simulation = true;
    config.allowed.clear();
    let outcome = Luxos::new(&config).apply(&device(), Setpoint::Off).await;
    assert_eq!(outcome, refused);
    assert_eq!(machine.clients(), 0);
}

fn luxos(machine: &Machine) -> Luxos {
    Luxos {
        patience: IMPATIENCE,
        ..Luxos::new(&machine.config(NAME))
    }
}

/// What an honest machine says.
fn good(request: &str) -> String {
    const STATUS: &str = r#""STATUS":[{"STATUS":"S","When":1,"Code":22,"Msg":"ok","Description":"LUXminer"}],"id":1"#;
    let part = |name: &str| {
        let section = match name {
            "config" => {
                r#""CONFIG":[{"MACAddr":"D4:33:B2:5D:E0:56","SerialNumber":"SN1","Model":"Antminer S21","CurtailMode":"None"}],"#
            }
            "version" => {
                r#""VERSION":[{"API":"3.7","LUXminer":"2026.1.15","Type":"Antminer S21"}],"#
            }
            "summary" => r#""SUMMARY":[{"GHS 5s":200000.5,"Elapsed":77}],"#,
            "power" => r#""POWER":[{"Watts":3510,"PSU":true}],"#,
            "session" | "logon" => r#""SESSION":[{"SessionID":"yJN2nlj1"}],"#,
            _ => "",
        };
        format!("{{{section}{STATUS}}}")
    };
    let known = ["config", "version", "summary", "power", "session", "logon"];
    let asked = || known.iter().filter(|name| request.contains(*name));
    match request.contains('+') {
        true => {
            let parts = asked().map(|name| format!(r#""{name}":[{}]"#, part(name)));
            format!("{{{},\"id\":1}}", parts.collect::<Vec<_>>().join(","))
        }
        false => part(asked().next().unwrap_or(&"")),
    }
}
