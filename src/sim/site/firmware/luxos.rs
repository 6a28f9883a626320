//! LuxOS: cgminer-style JSON over TCP, with one session for whoever writes.
//!
//! | request | reply |
//! |---|---|
//! | `{"command":"power"}` | `{"STATUS":[{"STATUS":"S",...}],"POWER":[{"Watts":3498,...}],"id":1}` NUL |
//! | `logon` | `SESSION`, code 316; while another session lives: error 402 |
//! | `curtail` "SID,sleep" or "SID,wakeup" | code 1; a strange SID: error 403 |
//! | `profiles`, `profileset`, `atm`, `atmset` | see `profiles` below |
//!
//! Invariant: at most one session lives; it dies after 60 s without a request of its own, and with every boot or swap.

mod profiles;

use super::{Machine, Received, Reply, mac, spoken};
use crate::sim::site::{
    device::{Identity, Telemetry, Verb},
    faults::Fault,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Clients that may be connected.
pub const CLIENTS: usize = 32;
/// A session that is not used dies after this.
pub const SESSION_LIVES: Duration = Duration::from_secs(60);
/// Commands in one request joined by `+`.
const JOINED_AT_MOST: usize = 16;

/// What the firmware remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    session: Option<Session>,
    opened: u64,
    /// Its own power manager.
    atm: bool,
}

#[derive(Clone, Debug)]
struct Session {
    id: String,
    used: Instant,
    /// The boot and the machine that it belongs to.
    boot: (u32, Identity),
}

/// STATUS letter, code, message; then the section, if there is one.
struct Said {
    status: &'static str,
    code: u32,
    message: String,
    section: Option<(&'static str, Value)>,
}

/// Answers one request.
pub fn handle(machine: &mut Machine, received: Received, request: &[u8]) -> Reply {
    let mut reply = Reply {
        bytes: None,
        delay: machine.device.read_delay(),
        order: false,
        status: 0,
    };
    let request = serde_json::from_slice::<Value>(request).unwrap_or(Value::Null);
    let text = |key| request.get(key).and_then(Value::as_str);
    let (command, parameter) = (
        text("command").unwrap_or(""),
        text("parameter").unwrap_or(""),
    );
    let envelope = match command.contains('+') {
        true => joined(machine, received, command),
        false => match answer(machine, received, command, parameter, &mut reply.order) {
            Some(said) => envelope(said, received.unix_s),
            None => return reply,
        },
    };
    let mut bytes = envelope.to_string().into_bytes();
    bytes.push(0);
    reply.bytes = Some(bytes);
    reply
}

/// `version+power`: reads alone, each under its own name.
fn joined(machine: &mut Machine, received: Received, command: &str) -> Value {
    let mut all = json!({"id": 1});
    for one in command.split('+').take(JOINED_AT_MOST) {
        let said = read(machine, received, one).unwrap_or_else(|| error(14, "Invalid command"));
        all[one] = json!([envelope(said, received.unix_s)]);
    }
    all
}

fn answer(
    machine: &mut Machine,
    received: Received,
    command: &str,
    parameter: &str,
    order: &mut bool,
) -> Option<Said> {
    if command == "logon" {
        return Some(logon(machine, received));
    }
    if let Some(said) = read(machine, received, command) {
        return Some(said);
    }
    let verbs = ["logoff", "curtail", "profileset", "rebootdevice", "atmset"];
    if !verbs.contains(&command) {
        return Some(error(14, "Invalid command"));
    }
    *order = !["logoff", "atmset"].contains(&command);
    let mut parts = parameter.split(',').map(str::trim);
    if !machine.luxos.is_session(
        &machine.device.identity(),
        machine.device.wear().boots,
        received.at,
        parts.next(),
    ) {
        return Some(error(403, "Invalid session ID"));
    }
    if command == "logoff" {
        machine.luxos.session = None;
        return Some(ok(317, "Session dropped", None));
    }
    let done = ok(1, &format!("{command} done"), None);
    let (verb, good) = match command {
        "atmset" => return Some(profiles::set_atm(machine, parts)),
        "profileset" => match profiles::set(machine, parts) {
            Ok(order) => order,
            Err(no) => return Some(no),
        },
        "rebootdevice" => (Verb::Reboot, done),
        _ => match parts.next() {
            Some("sleep") => (Verb::Sleep, done),
            Some("wakeup") => (Verb::Wake, done),
            _ => return Some(error(14, "Invalid parameter")),
        },
    };
    let outcome = machine.device.command(received.at, verb);
    spoken(
        outcome.answer,
        good,
        error(14, "Command failed"),
        error(14, "Not ready"),
    )
}

fn logon(machine: &mut Machine, received: Received) -> Said {
    let boot = (machine.device.wear().boots, machine.device.identity());
    let lives = machine
        .luxos
        .session
        .as_ref()
        .is_some_and(|s| s.lives(boot, received.at));
    if lives || machine.device.fault() == Some(Fault::Exhausted) {
        return error(402, "Session already active");
    }
    machine.luxos.opened += 1;
    // Machine, boot and count: no two machines ever gave out the same.
    let id = format!(
        "{:08x}{:02x}{:04x}",
        boot.1.serial as u32,
        boot.0 & 0xff,
        machine.luxos.opened & 0xffff
    );
    machine.luxos.session = Some(Session {
        id: id.clone(),
        used: received.at,
        boot,
    });
    ok(
        316,
        "Session created",
        Some(("SESSION", json!([{"SessionID": id}]))),
    )
}

impl Memory {
    /// Whether this is the session that lives; using it keeps it alive.
    fn is_session(
        &mut self,
        identity: &Identity,
        boots: u32,
        now: Instant,
        id: Option<&str>,
    ) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        let good = session.lives((boots, *identity), now) && id == Some(session.id.as_str());
        if good {
            session.used = now;
        }
        good
    }
}

impl Session {
    fn lives(&self, boot: (u32, Identity), now: Instant) -> bool {
        self.boot == boot && now.saturating_duration_since(self.used) < SESSION_LIVES
    }
}

fn read(machine: &mut Machine, received: Received, command: &str) -> Option<Said> {
    let telemetry = machine.device.telemetry(received.at);
    let said = match command {
        "version" => ok(
            22,
            "LUXminer versions",
            Some((
                "VERSION",
                json!([{
                    "API": "3.7",
                    "LUXminer": machine.device.model().version,
                    "Type": machine.device.model().name,
                }]),
            )),
        ),
        "config" => ok(
            33,
            "LUXminer config",
            Some(("CONFIG", json!([config(machine, &telemetry)]))),
        ),
        "summary" => ok(
            11,
            "Summary",
            Some(("SUMMARY", json!([summary(&telemetry)]))),
        ),
        "power" => ok(
            311,
            "Power usage",
            Some((
                "POWER",
                json!([{"PSU": true, "Watts": telemetry.watts.round() as u64}]),
            )),
        ),
        "profiles" => profiles::list(machine),
        "atm" => profiles::atm(machine),
        "session" => {
            let boot = (machine.device.wear().boots, machine.device.identity());
            let live = machine
                .luxos
                .session
                .as_ref()
                .filter(|s| s.lives(boot, received.at));
            let id = live.map_or("", |session| session.id.as_str());
            ok(
                319,
                "Session information",
                Some(("SESSION", json!([{"SessionID": id}]))),
            )
        }
        _ => return None,
    };
    Some(said)
}

fn config(machine: &Machine, telemetry: &Telemetry) -> Value {
    let identity = machine.device.identity();
    let (profile, step) = profiles::of(telemetry.percent);
    json!({
        "MACAddr": mac(&identity, false),
        "SerialNumber": format!("SIM{:016X}", identity.serial),
        "Hostname": "LuxOS",
        "IPAddr": machine.address.to_string(),
        "Model": machine.device.model().name,
        "ProductVariant": machine.device.model().name,
        "CurtailMode": if telemetry.asleep { "Sleep" } else { "None" },
        "Profile": profile,
        "ProfileStep": step,
        "IsAtmEnabled": profiles::is_atm(machine),
        "IsPowerSupplyOn": !telemetry.asleep,
        "IsTuning": false,
        "SystemStatus": "Normal",
    })
}

fn summary(telemetry: &Telemetry) -> Value {
    let ghs = telemetry.hashrate / 1e9;
    json!({
        "GHS 5s": ghs,
        "GHS 30m": ghs,
        "GHS av": ghs,
        "Elapsed": telemetry.uptime.as_secs(),
        "Accepted": 0,
        "Rejected": 0,
        "Hardware Errors": 0,
    })
}

fn ok(code: u32, message: &str, section: Option<(&'static str, Value)>) -> Said {
    Said {
        status: "S",
        code,
        message: message.to_owned(),
        section,
    }
}

fn error(code: u32, message: &str) -> Said {
    Said {
        status: "E",
        code,
        message: message.to_owned(),
        section: None,
    }
}

fn envelope(said: Said, unix_s: u64) -> Value {
    let mut whole = json!({
        "STATUS": [{
            "STATUS": said.status,
            "When": unix_s,
            "Code": said.code,
            "Msg": said.message,
            "Description": "LUXminer, simulated",
        }],
        "id": 1,
    });
    if let Some((name, section)) = said.section {
        whole[name] = section;
    }
    whole
}
