//! `[curtail]`: the knobs of the control law, the ledger, and what becomes of machines at the end.
//!
//! Defaults are [`Law`]'s; `keys` lists them as text, and a test holds the two together. Invariant: what wears machines
//! out or proves nothing needs `curtail.lab`.

use super::OnExit;
use crate::config::build::World;
use crate::config::file::Section;
use crate::config::finding::{Findings, Severity};
use crate::config::quantities;
use crate::config::tree::Value;
use crate::config::units::{self, Want, want};
use crate::curtail::Watts;
use crate::curtail::site::Law;
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The ledger's file, where nothing else is said.
const LEDGER: &str = "sluice-ledger.db";

/// What `[curtail]` says.
pub(super) struct Curtail {
    pub(super) law: Law,
    pub(super) safe: Watts,
    pub(super) ledger: PathBuf,
    pub(super) on_exit: OnExit,
}

/// Reads it; `None` if something is wrong.
pub(super) fn read(
    section: &Section<'_>,
    lab: bool,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Curtail> {
    let safe = section.take("safe", findings, |v| {
        quantities::watts(v, &(Watts::ZERO..=super::MOST_WATTS))
    });
    let words = [("leave", OnExit::Leave), ("safe", OnExit::Safe)];
    let on_exit = section.take("on_exit", findings, |v| units::either(v, words));
    let ledger = ledger(section, world, findings);
    let law = law(section, lab, findings);
    Some(Curtail {
        law: law?,
        safe: safe?,
        ledger: ledger?,
        on_exit: on_exit?,
    })
}

fn law(section: &Section<'_>, lab: bool, findings: &mut Findings) -> Option<Law> {
    let mut time = |key: &str, least: Duration, most: Duration| {
        let least = if lab { Duration::ZERO } else { least };
        section.take(key, findings, |v| {
            units::duration(v, &(least..=most)).map_err(|want| shorter(want, v, most, lab))
        })
    };
    // Power cycles are what wears machines out; a minute is what a boot takes.
    let minimum_off = time("minimum_off", MINUTE, DAY);
    let minimum_on = time("minimum_on", MINUTE, DAY);
    // Below five ticks a dip of a second looks like headroom.
    let restore_after = time("restore_after", 5 * SECOND, HOUR);
    // Telemetry is asked about once a minute; less calls a rebooting machine gone.
    let offline_after = time("offline_after", 2 * MINUTE, DAY);
    let quarantine = time("quarantine", MINUTE, 7 * DAY);
    // Above, a replayed order is fresh for too long; below, NTP over a bad line is not good enough.
    let skew = time("skew", Duration::from_millis(500), 60 * SECOND);
    let mut whole = |key: &str, range| section.take(key, findings, |v| units::whole(v, &range));
    // One every 5 minutes is 288; more cannot be with a minimum off of that.
    let cycles = whole("most_cycles_a_day", 1..=if lab { 100_000 } else { 288 });
    let orders = whole("most_orders", 16..=65_536);
    let reservations = whole("most_reservations", 16..=65_536);
    let breaker = section.take("breaker", findings, |v| {
        quantities::percent(v, &(100..=1000))
    });
    let deadband = section.take("deadband", findings, |v| quantities::percent(v, &(1..=50)));
    let deadlines = section.take("deadlines", findings, deadlines);
    if breaker.is_some_and(|permille| permille > 800) {
        let message = "above 80 %: a breaker is rated for that much of continuous load";
        section.say(Severity::Warning, "breaker", message, findings);
    }
    Some(Law {
        minimum_off: minimum_off?,
        minimum_on: minimum_on?,
        most_cycles_a_day: cycles?,
        restore_after: restore_after?,
        breaker_permille: breaker?,
        deadband_permille: deadband?,
        deadlines: deadlines?,
        skew: skew?,
        offline_after: offline_after?,
        most_orders: orders? as usize,
        most_reservations: reservations? as usize,
        quarantine: quarantine?,
    })
}

/// Says what would permit a time that is too short.
fn shorter(want: Want, value: &Value, most: Duration, lab: bool) -> Want {
    match !lab && units::duration(value, &(Duration::ZERO..=most)).is_ok() {
        true => want.hint("curtail.lab permits less, for tests: it wears machines out"),
        false => want,
    }
}

/// Four durations, from the most urgent class on, none shorter than the one before.
fn deadlines(value: &Value) -> Result<[Duration; 4], Want> {
    let wanted =
        || want("four durations from 1s to 1h, one per class, none shorter than the one before");
    let Value::List(nodes) = value else {
        return Err(wanted());
    };
    let times: Result<Vec<Duration>, Want> = nodes
        .iter()
        .map(|node| units::duration(&node.value, &(SECOND..=HOUR)))
        .collect();
    let times = times.map_err(|_| wanted())?;
    let times = <[Duration; 4]>::try_from(times).map_err(|_| wanted())?;
    match times.is_sorted() {
        true => Ok(times),
        false => Err(wanted()),
    }
}

/// Where the ledger is: as said (relative to the file), else in the service's state folder (systemd's
/// `StateDirectory=`), else beside the file.
pub(super) fn ledger(
    section: &Section<'_>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<PathBuf> {
    if section.given("ledger").is_some() {
        let path = section.take("ledger", findings, |v| units::line(v, 4096))?;
        return Some(world.base.join(path));
    }
    let state = (world.env)("STATE_DIRECTORY");
    // There may be several, joined by colons.
    let state = state.as_deref().and_then(|all| all.split(':').next());
    Some(match state.filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join(LEDGER),
        None => world.base.join(LEDGER),
    })
}
