//! The proxy is killed while machines come down: nothing it had promised is forgotten, and nothing goes up by itself.
//!
//! Caps get lower and lower and machines stay off for long, so that no machine has a reason to start: each start is a fault.

use super::desk::Letter;
use super::plant::{Plan, Plant};
use crate::wait::looking;
use sluice::sim::rng::Rng;
use std::time::{Duration, Instant};

/// Parts of full power, one cap after the other.
const CAPS: [f64; 5] = [0.8, 0.62, 0.45, 0.28, 0.1];
/// Ramps and their proof take four seconds; some kills shall fall before the answer, some after all is done.
const MOMENTS: Duration = Duration::from_secs(5);
/// How soon after its start the proxy must know again where everything is.
const RECONCILED: Duration = Duration::from_secs(10);
/// Between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn killed_at_30_moments_of_a_ramp_the_proxy_forgets_no_order_and_raises_nothing() {
    for seed in 1..=6 {
        kills(seed);
    }
}

fn kills(seed: u64) {
    let mut plant = Plant::start(Plan {
        minimum_off: Duration::from_secs(3600),
        seed,
        ..Plan::of(&[20, 20])
    });
    let mut rng = Rng::new(seed);
    let full = plant.watts();
    let mut promised: Vec<(String, Letter, u64)> = Vec::new();
    for cap in CAPS {
        let limit = (full * cap) as u64;
        let after = MOMENTS.mul_f64(rng.unit());
        // Every third moment is within the milliseconds in which the order is made durable and answered.
        let after = match rng.next_u64() % 3 {
            0 => after.mul_f64(0.01),
            _ => after,
        };
        let begun = Instant::now();
        let letter = plant.desk.cap("ems", limit);
        let answer = kill_during(&mut plant, &letter, after);
        let killed_at = plant.watts();
        let killed = Instant::now();
        let before = plant.site.counts().orders;
        if let Some(id) = answer {
            promised.push((id, letter, limit));
        }

        let started = Instant::now();
        plant.restart();

        let said = plant.desk.power();
        for (id, _, watts) in &promised {
            let order = said.orders.iter().find(|order| order.id == *id);
            let order = order.unwrap_or_else(|| panic!("{id} is forgotten: {said:?}"));
            assert_eq!(
                order.watts.0,
                i64::try_from(*watts).expect("small"),
                "{order:?}"
            );
        }
        let Some((id, letter, limit)) = promised.last() else {
            continue; // killed before it had promised anything
        };
        let left = RECONCILED.saturating_sub(started.elapsed());
        let what = || format!("reconciled: {:?}", plant.desk.power());
        looking(PAUSE, left, what, || {
            let there = plant.watts() <= *limit as f64;
            (there && plant.desk.power().held.is_none() && plant.desk.proven(id)).then_some(())
        });
        let reconciled = started.elapsed();
        let (status, again) = plant.desk.send(letter).expect("the API answers");
        assert_eq!(
            (status, again["id"].as_str()),
            (200, Some(id.as_str())),
            "{again}"
        );
        let most = plant.most_since(killed);
        assert!(
            most <= killed_at.max(*limit as f64) * 1.001,
            "{most} after {killed_at}"
        );
        assert_eq!(
            plant.eyes.starts_since(begun).len(),
            0,
            "somebody was started"
        );
        eprintln!(
            "killed {after:?} after the order of {limit} W at {killed_at:.0} W: reconciled in {reconciled:?}, {} orders to devices",
            plant.site.counts().orders - before
        );
    }
    assert!(
        !promised.is_empty(),
        "no order was answered before its kill"
    );
}

/// Sends an order and kills the proxy so long after that; the order's id if it was answered.
fn kill_during(plant: &mut Plant, letter: &Letter, after: Duration) -> Option<String> {
    let sent = Instant::now();
    let desk = &plant.desk;
    let proxy = &mut plant.proxy;
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| desk.send(letter));
        while sent.elapsed() < after {
            std::thread::sleep(Duration::from_micros(200));
        }
        proxy.kill();
        let (status, answer) = answer.join().expect("it sends")?;
        assert_eq!(status, 202, "{answer}");
        Some(answer["id"].as_str()?.to_owned())
    })
}
