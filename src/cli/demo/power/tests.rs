//! Each way in which the demo must fail: it is told of a site that does wrong.

use super::*;
use crate::sim::site::{breaker::Trip, job::JobRecord, plant::Power};
use std::time::Instant;

const LIMIT: f64 = 800e3;

fn look(seconds: u64, site_watts: f64, mining: (f64, i64)) -> Look {
    let view = crate::curtail::view::View {
        limit_watts: Some(Watts(mining.1)),
        ..Default::default()
    };
    Look {
        elapsed: Duration::from_secs(seconds),
        fleet: Default::default(),
        counted: Default::default(),
        pools: Vec::new(),
        proxy: Default::default(),
        view: view.into(),
        truth: Power {
            at: Instant::now(),
            site_watts,
            mining_watts: mining.0,
            hall_watts: 0.0,
        },
        hashing: 0,
        stops: 0,
        trips: Vec::new(),
        job_watts: 0.0,
        busy_nodes: 0,
        job: None,
    }
}

/// What is wrong once these looks were seen.
fn wrong(looks: impl IntoIterator<Item = Look>) -> Vec<String> {
    let mut story = PowerStory::new(1, LIMIT, None);
    let mut end = Duration::ZERO;
    for look in looks {
        story.advance(&look);
        end = look.elapsed;
    }
    story.end(end, false);
    story.wrong().to_vec()
}

#[test]
fn a_site_that_keeps_its_limits_is_good() {
    let kept = (0..60).map(|s| look(s, 799e3, (500e3, 500_000)));
    assert_eq!(wrong(kept), [""; 0]);
}

#[test]
fn a_breaker_that_trips_is_told_once() {
    let tripped = (0..5).map(|s| {
        let trip = Trip {
            name: "hall".into(),
            at: Instant::now(),
            watts: 130e3,
            rating_watts: 100e3,
        };
        Look {
            trips: vec![trip; usize::from(s > 1)],
            ..look(s, 1.0, (1.0, 1_000))
        }
    });
    assert_eq!(
        wrong(tripped),
        ["breaker hall tripped at 130 kW: it is rated for 100 kW"]
    );
}

#[test]
fn a_grant_before_the_watts_were_free_is_told_and_one_on_the_watt_is_not() {
    for (room, early) in [(199_999.0, true), (200_000.0, false)] {
        let record = JobRecord {
            room_watts: Some(room),
            watts: 200_000,
            outcome: Some(JobOutcome::Ran),
            ..JobRecord::default()
        };
        let granted = Look {
            job: Some(record),
            ..look(1, 1.0, (1.0, 1_000))
        };
        let wrong = wrong([granted]);
        assert_eq!(wrong.len(), usize::from(early), "{wrong:?}");
        assert!(wrong.iter().all(|text| text.contains("came early")));
    }
}

#[test]
fn mining_above_a_limit_is_told_from_its_deadline_on() {
    // The limit falls at 10 s to 300 kW, and 500 kW are drawn until then and `late` seconds more.
    let after = |late: u64| {
        (0..60).map(move |s| {
            let limit = if s < 10 { 600_000 } else { 300_000 };
            let drawn = if s < 10 + late { 500e3 } else { 299e3 };
            look(s, 700e3, (drawn, limit))
        })
    };
    assert_eq!(wrong(after(15)), [""; 0]);
    assert_eq!(
        wrong(after(17)),
        ["mining drew 500 kW where 300 kW are allowed"]
    );
}

#[test]
fn a_site_above_its_limit_is_told_at_any_time() {
    assert_eq!(
        wrong([look(1, LIMIT * 1.01, (1.0, 1_000))]),
        ["the site drew 808 kW where 800 kW are allowed"]
    );
}

#[test]
fn a_job_that_is_never_granted_is_told() {
    let mut story = PowerStory::new(1, LIMIT, Some((1, 1_000)));
    story.end(Duration::from_secs(90), false);
    assert_eq!(
        story.wrong(),
        ["not all machines were mining and known in time"]
    );
}
