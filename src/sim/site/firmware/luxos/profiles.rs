//! LuxOS profiles: the 25 that the firmware makes by itself, and its thermal manager ATM, which takes them over.
//!
//! | request | reply |
//! |---|---|
//! | `profiles` | `PROFILES`: 16 steps down, the default, 8 steps up, each with its watts, code 323 |
//! | `profileset` "SID,420MHz" | code 321, and the ramp of a boot begins; "SID,2,420MHz" likewise: an old form, 0 to 3 is a board |
//! | `atm` | `ATM`, code 339 |
//! | `atmset` "SID,enabled=true" | code 340 |
//!
//! Not selectors (`2500W`, `+1`). Invariant: while ATM is on no profile changes by request.

use super::{Machine, Said, error, ok};
use crate::sim::site::{device::Verb, faults::Fault, model::Model};
use serde_json::{Value, json};

/// Steps of 25 MHz from the default (docs.luxor.tech, "Preset Profiles").
const STEPS: std::ops::RangeInclusive<i32> = -16..=8;
/// What the default runs at: an S19j Pro's.
const DEFAULT_MHZ: i32 = 545;

/// `profiles`.
pub(super) fn list(machine: &Machine) -> Said {
    let rows: Value = STEPS
        .map(|step| row(machine.device.model(), step))
        .collect();
    ok(323, "List profiles", Some(("PROFILES", rows)))
}

fn row(model: &Model, step: i32) -> Value {
    let part = f64::from(percent(step)) / 100.0;
    json!({
        "Profile Name": name(step),
        "Step": step.to_string(),
        "Frequency": DEFAULT_MHZ + 25 * step,
        "Voltage": 13.8 + 0.15 * f64::from(step),
        "Watts": (model.watts * part).round() as u64,
        "Hashrate": model.hashrate * part / 1e12,
        "IsDynamic": false,
        "IsTuned": false,
    })
}

/// `atm`.
pub(super) fn atm(machine: &Machine) -> Said {
    let settings = json!([{
        "Enabled": is_atm(machine),
        "MaxProfile": "default",
        "MinProfile": "",
        "StartupMinutes": 15,
        "PostRampMinutes": 15,
        "TempWindow": 5.0,
    }]);
    ok(339, "ATM configuration values", Some(("ATM", settings)))
}

/// `atmset` behind its session.
pub(super) fn set_atm<'a>(machine: &mut Machine, settings: impl Iterator<Item = &'a str>) -> Said {
    for setting in settings {
        machine.luxos.atm = match setting {
            "enabled=true" => true,
            "enabled=false" => false,
            _ => return error(14, "Invalid parameter"),
        };
    }
    ok(340, "ATM configuration updated", None)
}

/// `profileset` behind its session: what is ordered of the machine, and the yes to it.
pub(super) fn set<'a>(
    machine: &Machine,
    mut parts: impl Iterator<Item = &'a str>,
) -> Result<(Verb, Said), Said> {
    if is_atm(machine) {
        return Err(error(420, "ATM is enabled"));
    }
    let is_board = |part: &str| matches!(part.parse::<u8>(), Ok(0..=3));
    let wanted = match parts.next() {
        Some(part) if is_board(part) => parts.next(),
        part => part,
    };
    let step = STEPS.into_iter().find(|step| wanted == Some(&name(*step)));
    let step = step.ok_or_else(|| error(14, "Unknown profile"))?;
    let set = json!([{"Board": 0, "FrequencyStep": 5, "Profile": name(step), "VoltageStep": 0.05}]);
    let said = ok(321, "Profile Set", Some(("PROFILE", set)));
    Ok((Verb::Percent(percent(step)), said))
}

/// Whether ATM is on.
pub(super) fn is_atm(machine: &Machine) -> bool {
    machine.luxos.atm || machine.device.fault() == Some(Fault::Atm)
}

/// The profile of a machine that was told to draw `percent` of full watts: its name and its step.
pub(super) fn of(percent: u8) -> (String, String) {
    let step = (i32::from(percent) - 100) / 5;
    (name(step), step.to_string())
}

/// Five percent of full watts a step: near the default that is what real ones differ by.
fn percent(step: i32) -> u8 {
    u8::try_from(100 + 5 * step).expect("16 steps down leave 20 percent")
}

fn name(step: i32) -> String {
    match step {
        0 => "default".into(),
        step => format!("{}MHz", DEFAULT_MHZ + 25 * step),
    }
}
