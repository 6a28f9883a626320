//! What must hold for any bytes that a device answers; used by the fuzz target and by the replay of its corpus.
//!
//! Not tests of meaning (those stand beside the code). Each reading is compared with a second, plain one: an identity, a
//! session or a yes that the second does not find in the bytes is an invented one. Each check panics when that happens.

use serde_json::{Value, value::RawValue};
use sluice::actuators::reply::{LONGEST_TEXT, Objects};
use sluice::actuators::{Account, Identity, LONGEST_REPLY, Secret, bitaxe, luxos, whatsminer};
use sluice::curtail::Watts;
use sluice::curtail::fleet::{Mode, Observation};
use std::collections::BTreeMap;

/// The first byte says the family, and for HTTP the status; the rest is the answer.
pub(crate) fn device_answer(data: &[u8]) {
    let [first, reply @ ..] = data else {
        return;
    };
    if reply.len() > LONGEST_REPLY {
        return;
    }
    match first % 4 {
        0 => luxos(reply),
        // As it came, and with the length that it should have: few inputs would guess that.
        1 => whatsminer(reply),
        2 => {
            let length = u32::try_from(reply.len()).expect("under 256 KiB");
            whatsminer(&[&length.to_le_bytes(), reply].concat());
        }
        _ => bitaxe(u16::from(first / 4) * 10, reply),
    }
    objects(reply);
}

fn luxos(reply: &[u8]) {
    let json = plain(reply);
    let first = |section: &str| json.as_ref().and_then(|json| json.get(section)?.get(0));
    let part = |name: &str| first(name).filter(|part| is_success(part));
    let success = json.as_ref().filter(|json| is_success(json));
    if luxos::done(reply).is_ok() {
        assert!(success.is_some(), "an invented yes");
    }
    if let Ok(who) = luxos::who(reply) {
        said_by(success, &["MACAddr", "SerialNumber"], &who.id);
        short(&[&who.model]);
    }
    if let Ok(session) = luxos::session(reply) {
        let said = success.and_then(|json| json["SESSION"][0]["SessionID"].as_str());
        assert_eq!(said, Some(session.as_str()), "an invented session");
        requests(&session);
    }
    if let Ok((who, session)) = luxos::who_has(reply) {
        said_by(part("config"), &["MACAddr", "SerialNumber"], &who.id);
        let said = part("session").and_then(|json| json["SESSION"][0]["SessionID"].as_str());
        assert_eq!(said, Some(session.as_str()), "an invented session");
    }
    if let Ok(identity) = luxos::who_in_full(reply) {
        said_by(part("config"), &["MACAddr", "SerialNumber"], &identity.id);
        short(&[&identity.model, &identity.version]);
    }
    if let Ok((who, profiles)) = luxos::who_can(reply) {
        said_by(part("config"), &["MACAddr", "SerialNumber"], &who.id);
        let rows = part("profiles").and_then(|json| json["PROFILES"].as_array());
        assert!(profiles.is_none() || rows.is_some(), "invented profiles");
        for (profiles, rows) in profiles.iter().zip(rows) {
            choices(profiles, rows);
        }
    }
    if let Ok((who, observation)) = luxos::observation(reply) {
        said_by(part("config"), &["MACAddr", "SerialNumber"], &who.id);
        let mode = part("config").and_then(|json| json["CONFIG"][0]["CurtailMode"].as_str());
        let asleep = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("sleep"));
        assert_eq!(observation.mode == Mode::Off, asleep, "an invented sleep");
        believable(&observation);
    }
}

/// A profile that is chosen is one of the answer's, within what was asked of its default, and nothing else to `profileset`.
fn choices(profiles: &luxos::Profiles, rows: &[Value]) {
    let named = |name: &str| {
        let is = name.to_owned();
        let same = move |row: &&Value| {
            let said = row["Profile Name"].as_str();
            said.is_some_and(|said| said == is || is == "default" && said.eq_ignore_ascii_case(&is))
        };
        rows.iter()
            .filter(same)
            .filter_map(|row| number(&row["Watts"]))
            .map(f64::round)
    };
    for percent in [0, 1, 50, 70, 99, 100] {
        let Some(chosen) = profiles.at_most(percent) else {
            continue;
        };
        let within = |full: f64| {
            let asked = full * f64::from(percent);
            let mut watts = named(&chosen.name);
            watts.any(|watts| watts > 0.0 && watts * 100.0 <= asked)
        };
        assert!(named("default").any(within), "an invented profile");
        let request = luxos::Write::Profile("S", &chosen.name).request();
        let json = plain(&request).expect("a request is JSON");
        let mut parameter = json["parameter"].as_str().expect("text").split(',');
        assert_eq!(parameter.next(), Some("S"));
        assert_eq!(parameter.next(), Some(chosen.name.as_str()));
        assert_eq!(parameter.next(), None);
        let number = chosen
            .name
            .trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let bare = ["", "W", "kW", "THs"].contains(&&chosen.name[number.len()..]);
        assert!(
            !(bare && number.parse::<f64>().is_ok()),
            "a board or a power for a name"
        );
    }
}

fn whatsminer(reply: &[u8]) {
    let json = reply.get(4..).and_then(plain);
    let success = json.as_ref().filter(|json| is_zero(&json["code"]));
    if let Ok(Some(end)) = whatsminer::end(reply) {
        assert!((5..=LONGEST_REPLY).contains(&end) && end <= reply.len());
    }
    if whatsminer::done(reply).is_ok() {
        assert!(success.is_some(), "an invented yes");
    }
    if let Ok(who) = whatsminer::who(reply) {
        said_by(success, &["mac", "miner-sn"], &who.identity.id);
        short(&[&who.identity.model, &who.identity.version]);
        assert!(who.salt.chars().count() <= LONGEST_TEXT);
        let account = Account {
            name: "super".to_owned(),
            password: Secret("x".to_owned()),
        };
        let request = whatsminer::Write::Stop.request(&account, &who);
        plain(&request[4..]).expect("a request is JSON");
    }
    if let Ok(summary) = whatsminer::summary(reply) {
        let said = success.map(|json| &json["msg"]["summary"]["up-freq-finish"]);
        let said = said.expect("an invented summary");
        assert!(!summary.tuned || is_number(said, 1.0), "invented tuning");
        assert!(
            summary
                .percent
                .is_none_or(|percent| (1..=100).contains(&percent))
        );
        watts(summary.watts);
    }
    if let Ok(percent) = whatsminer::percent(reply) {
        assert!(success.is_some(), "an invented yes");
        assert!(percent.is_none_or(|percent| (1..=100).contains(&percent)));
    }
}

fn bitaxe(status: u16, body: &[u8]) {
    let yes = (200..300).contains(&status);
    assert_eq!(bitaxe::done(status).is_ok(), yes);
    if let Ok((Identity { id, model, version }, observation)) = bitaxe::info(status, body) {
        assert!(yes, "an identity in a refusal");
        let json = plain(body);
        said_by(json.as_ref(), &["macAddr"], &id);
        short(&[&model, &version]);
        believable(&observation);
        let paused = json
            .map(|json| json["miningPaused"].clone())
            .unwrap_or_default();
        let is_true = paused == true
            || paused
                .as_str()
                .is_some_and(|t| t.eq_ignore_ascii_case("true"));
        assert_eq!(observation.mode == Mode::Off, is_true, "an invented pause");
    }
}

/// The end of an object is where it is however the stream grows, and what ends there is one value or none.
fn objects(stream: &[u8]) {
    let at_once = Objects::default().end(stream);
    let mut slowly = Objects::default();
    let mut by_bytes = Ok(None);
    for length in 1..=stream.len().min(512) {
        by_bytes = slowly.end(&stream[..length]);
        if by_bytes != Ok(None) {
            break;
        }
    }
    match &at_once {
        Ok(Some(end)) if *end > 512 => {}
        _ if stream.len() > 512 && by_bytes == Ok(None) => {}
        _ => assert_eq!(at_once, by_bytes),
    }
    if let Ok(Some(end)) = at_once
        && let Some(json) = plain(&stream[..end])
    {
        assert!(json.is_object());
    }
}

/// The second reading: JSON between padding. What the drivers skip may be wrong inside (an SSID that is no UTF-8, a number
/// that no `f64` holds, any depth): it is nothing here, and so cannot be what an identity or a yes was read from.
fn plain(bytes: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(bytes);
    tree(
        text.trim_matches(|c: char| c == '\0' || c.is_ascii_whitespace()),
        64,
    )
}

fn tree(text: &str, deepest: usize) -> Option<Value> {
    let below = |raw: &RawValue| tree(raw.get(), deepest - 1).unwrap_or_default();
    let raw = serde_json::from_str::<&RawValue>(text).ok()?;
    Some(match raw.get().as_bytes().first() {
        _ if deepest == 0 => Value::Null,
        Some(b'{') => {
            let map = serde_json::from_str::<BTreeMap<String, &RawValue>>(text).ok()?;
            let entries = map.into_iter().map(|(key, raw)| (key, below(raw)));
            Value::Object(entries.collect())
        }
        Some(b'[') => {
            let items = serde_json::from_str::<Vec<&RawValue>>(text).ok()?;
            items.into_iter().map(below).collect()
        }
        _ => serde_json::from_str(text).unwrap_or_default(),
    })
}

fn is_success(json: &Value) -> bool {
    json["STATUS"][0]["STATUS"] == "S"
}

fn is_zero(code: &Value) -> bool {
    is_number(code, 0.0)
}

fn is_number(value: &Value, wanted: f64) -> bool {
    number(value) == Some(wanted)
}

fn number(value: &Value) -> Option<f64> {
    let text = value.as_str().and_then(|text| text.trim().parse().ok());
    value.as_f64().or(text)
}

/// `id` stands somewhere in `json` under one of `keys`, in whatever spelling.
fn said_by(json: Option<&Value>, keys: &[&str], id: &str) {
    let json = json.expect("an identity out of nothing");
    let plain_id = id.strip_prefix("serial:").unwrap_or(id);
    assert!((1..=LONGEST_TEXT).contains(&plain_id.len()) && plain_id.is_ascii());
    let mut left = vec![json];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(map) => {
                let said = keys.iter().filter_map(|key| map.get(*key)?.as_str());
                for text in said {
                    if id.starts_with("serial:") && text.trim() == plain_id
                        || squeezed(text) == squeezed(id)
                    {
                        return;
                    }
                }
                left.extend(map.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    panic!("an invented identity: {id}");
}

fn squeezed(text: &str) -> String {
    let kept = text.trim().chars().filter(|c| !":-".contains(*c));
    kept.collect::<String>().to_ascii_lowercase()
}

fn short(texts: &[&String]) {
    for text in texts {
        assert!(
            text.len() <= LONGEST_TEXT && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        );
    }
}

fn believable(observation: &Observation) {
    watts(observation.watts);
    assert!(!matches!(observation.mode, Mode::Trimmed(0 | 100..)));
}

fn watts(watts: Option<Watts>) {
    assert!(watts.is_none_or(|Watts(watts)| (0..=100_000).contains(&watts)));
}

/// A session id does not break out of the requests that it goes into.
fn requests(session: &str) {
    for write in [luxos::Write::Sleep(session), luxos::Write::Logoff(session)] {
        let json = plain(&write.request()).expect("a request is JSON");
        let parameter = json["parameter"].as_str().expect("text");
        assert_eq!(parameter.split(',').next(), Some(session));
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(2));
    }
}
