//! What one share costs: `work::share::prove` against the bound "44 compressions" and against naive sha2.
//!
//! Not a criterion harness: the question is a ratio within one run (PERFORMANCE.md section 1), so each figure is the
//! least of many repetitions, taken in turns. The invariant: every timed way gives the same hash, asserted first.
//!
//! `--smoke` (or `SLUICE_BENCH_SMOKE=1`, or no `--bench`) runs in well under a second; `--instructions` counts
//! instructions per share under callgrind, where valgrind is installed (it hides SHA-NI: portable code is counted).

use sha2::{Digest, Sha256, block_api::compress256};
use sluice::work::share::{self, Share};
use sluice::work::{Difficulty, Lane, Layout, LinkId, Parts, Target, Work, WorkId};
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

/// 5 for a 300-byte coinbase after one block of midstate, 36 for 12 branches, 3 for the header.
const COMPRESSIONS: usize = 44;
const LANE: Lane = Lane(0x0102_0304);
/// Shares that callgrind sees.
const COUNTED: u32 = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let work = work();
    assert_correct(&work);
    if let Some(at) = arguments.iter().position(|a| a == "--count") {
        let shares = arguments[at + 1]
            .parse()
            .expect("--count is our own argument");
        return prove_many(&work, shares);
    }
    if has("--instructions") {
        return instructions();
    }
    let smoke = has("--smoke") || std::env::var_os("SLUICE_BENCH_SMOKE").is_some();
    let full = has("--bench") && !smoke;
    report(&work, if full { (300, 2_000) } else { (3, 100) });
}

fn report(work: &Work, (repetitions, shares): (u32, u32)) {
    let blocks = vec![[0x5a; 64]; COMPRESSIONS * 16];
    let (mut bulk, mut ours, mut naive) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..repetitions {
        bulk = bulk.min(
            least(&mut || {
                for _ in 0..shares / 16 {
                    let mut state = [1; 8];
                    compress256(&mut state, black_box(&blocks));
                    black_box(state);
                }
            }) / f64::from(shares / 16 * 16),
        );
        ours = ours.min(least(&mut || prove_many(work, shares)) / f64::from(shares));
        naive = naive.min(
            least(&mut || {
                for nonce in 0..shares {
                    black_box(naive_hash(black_box(work), &share_of(nonce)));
                }
            }) / f64::from(shares),
        );
    }
    println!("bound, {COMPRESSIONS} bulk compressions: {bulk:8.0} ns");
    for (name, ns) in [("prove", ours), ("naive sha2", naive)] {
        println!(
            "{name:<10} {ns:8.0} ns/share {:9.0} shares/s  hash efficiency {:.3}",
            1e9 / ns,
            bulk / ns
        );
    }
}

/// Nanoseconds of one run.
fn least(run: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64
}

fn prove_many(work: &Work, shares: u32) {
    for nonce in 0..shares {
        black_box(share::prove(black_box(work), LANE, &share_of(nonce)));
    }
}

fn assert_correct(work: &Work) {
    for nonce in 0..4 {
        let share = share_of(nonce);
        assert_eq!(
            share::prove(work, LANE, &share).hash,
            naive_hash(work, &share)
        );
    }
}

/// Runs itself under callgrind with and without shares; the difference is theirs.
fn instructions() {
    let own = std::env::current_exe().expect("a running program has a path");
    let count = |shares: u32| -> Option<u64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&own)
            .args(["--count", &shares.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find(|line| line.contains("Collected"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    match (count(0), count(COUNTED)) {
        (Some(none), Some(some)) => {
            let each = (some - none) / u64::from(COUNTED);
            println!("{each} instructions per share (without SHA-NI)");
        }
        _ => println!("callgrind gave no count: is valgrind installed?"),
    }
}

/// The straightforward way: build the coinbase, hash it whole, fold, hash the header.
fn naive_hash(work: &Work, share: &Share) -> [u8; 32] {
    let twice = |data: &[u8]| -> [u8; 32] { Sha256::digest(Sha256::digest(data)).into() };
    let mut node = twice(&share::coinbase(work, LANE, share));
    for sibling in work.branch.iter() {
        node = twice(&[node, *sibling].concat());
    }
    let header = [
        &share.version.to_le_bytes()[..],
        &work.prev_hash,
        &node,
        &share.ntime.to_le_bytes(),
        &work.nbits.to_le_bytes(),
        &share.nonce.to_le_bytes(),
    ]
    .concat();
    twice(&header)
}

fn share_of(nonce: u32) -> Share {
    Share {
        en2: u64::from(nonce).to_le_bytes(),
        ntime: 1_700_000_000,
        nonce,
        version: 0x2000_0000,
    }
}

/// A 300-byte coinbase with the lane in its second block, 12 branches.
fn work() -> Work {
    Work::new(Parts {
        id: WorkId(1),
        link: LinkId(0),
        epoch: 0,
        pool_job: "1".into(),
        generation: 0,
        prev_hash: [7; 32],
        version: 0x2000_0000,
        version_mask: 0x1fff_e000,
        nbits: 0x1705_1234,
        ntime: 1_700_000_000,
        pool_ntime: 1_700_000_000,
        layout: Layout::WIDE,
        pad: 0,
        coinbase_prefix: (0..110).collect(),
        coinbase_suffix: (0..182).collect(),
        branch: (0..12).map(|i| [i; 32]).collect(),
        pool_target: Target::from_difficulty(Difficulty::ONE),
        pool_difficulty: Difficulty::ONE,
    })
    .expect("this work is within limits")
}
