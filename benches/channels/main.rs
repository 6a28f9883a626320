//! What does a Stratum V2 channel cost? A share from its frame to the frame of its verdict, beside `channels_sv2`, the
//! reference implementation, in the same run; the merkle roots and jobs of 10,000 standard channels at a new block; the
//! memory of an idle connection and of one more channel on it. Without `--bench`, or with `--smoke`: small, for CI.
//!
//! Compare ratios of one run, not nanoseconds of two machines. Invariant: every share that is timed is accepted.

#[path = "../../tests/oracle_sv2/channel.rs"]
mod channel;
mod lab;
mod memory;
#[path = "../common/usage.rs"]
#[expect(dead_code, reason = "other benchmarks ask for more of it")]
mod usage;

use lab::{Client, Kind};
use sluice::work::{Lane, Work, share};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let smoke = !full || std::env::args().any(|arg| arg == "--smoke");
    shares(if smoke { 2 } else { 300 });
    block(if smoke { 64 } else { 10_000 }, if smoke { 1 } else { 20 });
    memory::report(if smoke { 20 } else { 2_000 });
}

/// Nanoseconds a share, the least of many rounds of sixteen.
fn shares(rounds: u32) {
    println!(
        "{:<44}{:>10}{:>12}",
        "share in, verdict out", "ns", "x ours"
    );
    for kind in [Kind::Extended, Kind::Standard] {
        let mut alone = Client::new(kind);
        let mut together = Client::new(kind);
        let mut rival = lab::Rival::new(kind);
        let (mut one, mut sixteen, mut theirs) = (f64::MAX, f64::MAX, f64::MAX);
        for _ in 0..rounds {
            one = one.min(timed(16, || (0..16).for_each(|_| alone.shares(1))));
            sixteen = sixteen.min(timed(16, || together.shares(16)));
            theirs = theirs.min(timed(16, || rival.shares(16)));
        }
        let show = |name: &str, ns: f64, ratio: f64| {
            println!("{kind:?}: {name:<34}{ns:>10.0}{ratio:>12.2}");
        };
        show("alone", one, 1.0);
        show("sixteen together", sixteen, 1.0);
        show(
            "channels_sv2 validate_share, to alone",
            theirs,
            theirs / one,
        );
        show(
            "channels_sv2 validate_share, to sixteen",
            theirs,
            theirs / sixteen,
        );
    }
}

fn timed(shares: u32, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / f64::from(shares)
}

/// A new block for standard channels, each on a connection of its own.
fn block(channels: u32, rounds: u32) {
    let works: Vec<Work> = (0..rounds).map(|serial| lab::work(serial + 1)).collect();
    let lanes: Vec<_> = (0..channels).map(|lane| (Lane(lane), [0; 8])).collect();
    let mut roots = vec![[0; 32]; lanes.len()];
    let least = works
        .iter()
        .map(|work| {
            let start = Instant::now();
            share::roots(black_box(work), black_box(&lanes), &mut roots);
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::ZERO);
    println!(
        "{channels} merkle roots: {:.2} ms (must: 10 for 10,000)",
        least.as_secs_f64() * 1e3
    );
    let mut fleet: Vec<Client> = (0..channels).map(|_| Client::new(Kind::Standard)).collect();
    let mut least = Duration::MAX;
    for round in 0..rounds {
        let issue = lab::issue(1_000_000 + round);
        let start = Instant::now();
        let bytes: usize = fleet
            .iter_mut()
            .map(|client| client.job(&issue, &roots))
            .sum();
        least = least.min(start.elapsed());
        assert!(bytes > 0, "every channel is told its job");
    }
    println!(
        "{channels} standard channels told a new block (roots apart): {:.2} ms",
        least.as_secs_f64() * 1e3
    );
}
