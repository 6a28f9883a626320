//! What does a V1 line cost? Nanoseconds each, the least of many rounds, and as a ratio to searching the same bytes for
//! their end once (a bound no parser beats). Without `--bench`, or with `--smoke`: in well under a second, for CI.
//! `--instructions` counts those of a submit, against a limit (`common/instructions.rs`).
//!
//! Compare ratios of one run, not nanoseconds of two machines.

use sluice::stratum::v1::line::Lines;
use sluice::stratum::v1::message::Id;
use sluice::stratum::v1::{down, up};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "common/instructions.rs"]
mod instructions;
use instructions::Way;

const SUBMIT: &[u8] =
    br#"{"id":4711,"method":"mining.submit","params":["bc1qexample.rig42","1f","abcd0001","504e86ed","b2957c02","04002000"]}"#;
/// No line of firmware we know: odd at its very end, so that the short way is gone to no avail.
const LONG: &[u8] =
    br#"{"id":4711,"method":"mining.submit","params":["bc1qexample.rig42","1f","abcd0001","504e86ed","b2957c02",null]}"#;
/// What callgrind counts: a submit, as it is parsed and without the short way.
const WAYS: [Way; 2] = [
    Way {
        name: "parse a submit",
        argument: "short",
        times: 10_000,
        each: 1,
    },
    Way {
        name: "parse a submit, the long way",
        argument: "long",
        times: 10_000,
        each: 1,
    },
];

fn main() -> ExitCode {
    if let Some(code) = instructions::asked(&WAYS, parse_many) {
        return code;
    }
    report();
    ExitCode::SUCCESS
}

fn report() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let smoke = !full || std::env::args().any(|arg| arg == "--smoke");
    let rounds = if smoke { 20 } else { 2000 };
    let branch = [[0xa5; 32]; 12];
    let job = down::notification::Job {
        id: 0x1f,
        prev_hash: &[0x5a; 32],
        coinb1: &[1; 120],
        coinb2: &[2; 180],
        branch: &branch,
        version: 0x2000_0000,
        nbits: 0x1703_4219,
        ntime: 0x6849_f2b1,
        clean: true,
    };
    let notify = job.render();
    let share = up::request::Submit {
        user: "bc1qexample.rig42",
        job: "6849f2b100000001",
        en2: &[0; 8],
        ntime: 1,
        nonce: 2,
        version_bits: Some(3),
    };
    let mut stream = SUBMIT.to_vec();
    stream.push(b'\n');

    println!("{:<28}{:>10}{:>10}{:>12}", "", "bytes", "ns", "x bound");
    let submit_bound = least(rounds, || search(black_box(SUBMIT)));
    let notify_bound = least(rounds, || search(black_box(&notify)));
    let mut out = Vec::with_capacity(4096);
    let show = |name: &str, bytes: usize, ns: f64, bound: f64| {
        println!("{name:<28}{bytes:>10}{ns:>10.1}{:>12.1}", ns / bound);
    };
    show(
        "search a submit (bound)",
        SUBMIT.len(),
        submit_bound,
        submit_bound,
    );
    let ns = least(rounds, || {
        Lines::new(4096).next(&mut black_box(&stream[..])).is_some()
    });
    show("cut a submit", stream.len(), ns, submit_bound);
    let fast = least(rounds, || down::parse(black_box(SUBMIT)).is_ok());
    show("parse a submit", SUBMIT.len(), fast, submit_bound);
    let slow = least(rounds, || down::parse_slow(black_box(SUBMIT)).is_ok());
    show("the same, the long way", SUBMIT.len(), slow, submit_bound);
    println!("{:<28}{:>32.1} x faster", "", slow / fast);
    let ns = least(rounds, || down::fast::submit(black_box(LONG)).is_none());
    show("what the long way pays more", LONG.len(), ns, submit_bound);
    let ns = least(rounds, || {
        out.clear();
        down::reply::accepted(&mut out, black_box(Id("4711")));
        out.len()
    });
    show("write accepted", out.len(), ns, submit_bound);
    let ns = least(rounds, || {
        out.clear();
        up::request::submit(&mut out, black_box(4711), black_box(&share));
        out.len()
    });
    show("write a submit", out.len(), ns, submit_bound);
    show(
        "search a notify (bound)",
        notify.len(),
        notify_bound,
        notify_bound,
    );
    let ns = least(rounds, || {
        up::parse(black_box(notify.trim_ascii_end())).is_ok()
    });
    show("parse a notify", notify.len(), ns, notify_bound);
    let ns = least(rounds, || black_box(&job).render().len());
    show("render a notify", notify.len(), ns, notify_bound);
}

/// A submit parsed again and again, one way or the other.
fn parse_many(way: &str, lines: usize) -> bool {
    let slow = way == "long";
    for _ in 0..lines {
        let line = black_box(SUBMIT);
        let good = if slow {
            down::parse_slow(line).is_ok()
        } else {
            down::parse(line).is_ok()
        };
        assert!(black_box(good));
    }
    true
}

/// Nanoseconds of one call: the least mean of a hundred, over many rounds.
fn least<T>(rounds: u32, mut work: impl FnMut() -> T) -> f64 {
    const CALLS: u32 = 100;
    let round = |work: &mut dyn FnMut() -> T| {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(work());
        }
        start.elapsed()
    };
    let best = (0..rounds).map(|_| round(&mut work)).min();
    best.unwrap_or(Duration::ZERO).as_nanos() as f64 / f64::from(CALLS)
}

/// Whether the bytes hold a line end (core's word-wise search).
fn search(bytes: &[u8]) -> bool {
    bytes.contains(&b'\n')
}
