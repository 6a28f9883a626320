//! What does a Stratum V2 channel cost? A share from its frame to the frame of its verdict, beside `channels_sv2`, the
//! reference implementation, in the same run; the merkle roots and jobs of 10,000 standard channels at a new block; the
//! memory of an idle connection and of one more channel on it. Without `--bench`, or with `--smoke`: small, for CI.
//!
//! Compare ratios of one run, not nanoseconds of two machines. Invariant: every share that is timed is accepted.

#[path = "../../tests/oracle_sv2/channel.rs"]
#[expect(dead_code, reason = "its shares are built, here they are parsed")]
mod channel;
mod lab;
mod memory;
mod rival;
#[path = "../common/usage.rs"]
#[expect(dead_code, reason = "other benchmarks ask for more of it")]
mod usage;

use lab::{Client, Kind};
use rival::Rival;
use sluice::work::{Lane, Work, share};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Shares of one read, as many as the widest kernel takes.
const TOGETHER: u32 = 16;

fn main() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let smoke = !full || std::env::args().any(|arg| arg == "--smoke");
    shares(if smoke { 2 } else { 2_000 });
    if std::env::args().any(|arg| arg == "--shares") {
        return;
    }
    block(if smoke { 64 } else { 10_000 }, if smoke { 1 } else { 20 });
    memory::report(if smoke { 20 } else { 2_000 });
}

/// Nanoseconds a share, the least of many rounds of sixteen.
fn shares(rounds: u32) {
    println!(
        "{:<44}{:>8}{:>12}{:>14}",
        "share in, verdict out", "ns", "to alone", "to sixteen"
    );
    let ours = std::env::args().any(|arg| arg == "--ours");
    for kind in [Kind::Extended, Kind::Standard] {
        let (mut alone, mut together) = (Client::new(kind), Client::new(kind));
        let mut spread = Client::with(kind, 1_000);
        let (mut rival, mut bare) = (Rival::new(kind), Rival::new(kind));
        let mut least = [f64::MAX; 6];
        for _ in 0..rounds {
            let reads: Vec<_> = (0..TOGETHER).map(|_| alone.written(1)).collect();
            let read = together.written(TOGETHER);
            let spread_read = spread.written(TOGETHER);
            let mut single = rival.written(TOGETHER);
            let mut frames = rival.written(TOGETHER);
            let parsed = bare.parsed(TOGETHER);
            if ours {
                // For a profiler.
                reads.iter().for_each(|read| alone.shares(read, true));
                together.shares(&read, false);
                continue;
            }
            let round = [
                timed(|| reads.iter().for_each(|read| alone.shares(read, true))),
                timed(|| together.shares(&read, false)),
                timed(|| spread.shares(&spread_read, false)),
                timed(|| {
                    single.chunks_mut(1).for_each(|frame| rival.answer(frame));
                }),
                timed(|| rival.answer(&mut frames)),
                timed(|| bare.judge(parsed)),
            ];
            for (least, ns) in least.iter_mut().zip(round) {
                *least = least.min(ns);
            }
        }
        let names = [
            "alone, frame to frame",
            "sixteen together, frame to frame",
            "sixteen on as many of 1,000 channels",
            "channels_sv2 alone, frame to frame",
            "channels_sv2 sixteen, frame to frame",
            "channels_sv2 validate_share, no frames",
        ];
        for (name, ns) in names.into_iter().zip(least) {
            let [one, sixteen, ..] = least;
            let name = format!("{kind:?}: {name}");
            println!(
                "{name:<50}{ns:>8.0}{:>10.2}{:>12.2}",
                ns / one,
                ns / sixteen
            );
        }
    }
}

/// Nanoseconds for each of sixteen.
fn timed(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / f64::from(TOGETHER)
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
