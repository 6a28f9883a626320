//! Who sent a cap goes silent: nothing goes up, then mining goes to its safe watts.

use super::plant::{Plan, Plant};
use crate::lab::within;
use crate::wait::looking;
use sluice::curtail::view::{Liveness, SourceStatus, View};
use std::time::{Duration, Instant};

#[test]
fn a_source_that_goes_silent_holds_everything_and_then_mining_goes_to_its_safe_watts() {
    silence(
        ("1s", Duration::from_secs(1)),
        ("8s", Duration::from_secs(8)),
    );
}

#[test]
fn with_the_times_of_a_farm_hold_comes_within_15_s_and_safe_watts_within_45() {
    silence(
        ("5s", Duration::from_secs(5)),
        ("30s", Duration::from_secs(30)),
    );
}

/// When the third beat is missed at the latest: HOLD. Then safe watts.
fn silence(heartbeat: (&'static str, Duration), dead: (&'static str, Duration)) {
    let safe = 60_000;
    let plant = Plant::start(Plan {
        heartbeat: Some((heartbeat.0, dead.0)),
        safe_watts: safe,
        minimum_off: Duration::from_secs(1),
        ..Plan::of(&[20, 20])
    });
    let full = plant.watts();
    let own = plant
        .desk
        .order(&plant.desk.cap("ems", (full * 0.9) as u64));
    let other = plant
        .desk
        .order(&plant.desk.cap("people", (full * 0.6) as u64));
    // The source lives until the caps are proven.
    let what = || format!("both caps are proven: {:?}", plant.desk.power());
    let spoke = looking(heartbeat.1 / 5, Duration::from_secs(25), what, || {
        let spoke = Instant::now();
        let (status, answer) = plant.desk.send(&plant.desk.heartbeat("ems"))?;
        assert!(status < 300, "{status} {answer}");
        (plant.desk.proven(&own) && plant.desk.proven(&other)).then_some(spoke)
    });

    // What the proxy says of itself counts from the last sign of life; looking at it takes time of its own.
    let silent = within(heartbeat.1 * 3 + Duration::from_secs(2), "HOLD", || {
        let ems = ems(&plant.desk.power());
        ems.age_s.filter(|_| ems.state == Liveness::Hold)
    });
    let held = spoke.elapsed();
    let beats = silent / heartbeat.1.as_secs_f64();
    assert!(beats <= 3.0, "HOLD after {silent} s of silence");
    // There is room now, and nobody may take it.
    plant.desk.release(&other);
    let limit = dead.1 + Duration::from_secs(15);
    within(limit.saturating_sub(spoke.elapsed()), "safe watts", || {
        (plant.watts() <= f64::from(safe as u32)).then_some(())
    });
    let kept = spoke.elapsed();
    assert_eq!(ems(&plant.desk.power()).state, Liveness::Lost);
    assert_eq!(
        plant.eyes.starts_since(spoke).len(),
        0,
        "somebody was started in the silence"
    );
    eprintln!("HOLD after {held:?}, safe watts after {kept:?} of silence");
}

fn ems(view: &View) -> SourceStatus {
    let mut sources = view.sources.iter();
    let ems = sources.find(|source| source.name == "ems");
    ems.expect("it is configured").clone()
}
