//! What one share costs: every kernel of this machine at every batch size, against the bound "44 compressions", against
//! naive sha2 and, where it is built in, against `channels_sv2`.
//!
//! Not a criterion harness: the question is a ratio within one run (PERFORMANCE.md section 1), so each figure is the
//! least of many repetitions, taken in turns. The invariant: every timed way gives the same hash, asserted first.
//!
//! `--smoke` (or `SLUICE_BENCH_SMOKE=1`, or no `--bench`) runs in well under a second; `--instructions` counts
//! instructions per share under callgrind, where valgrind is installed (it hides SHA-NI and AVX-512: the portable kernel
//! and AVX2 are counted).

use sha2::{Digest, Sha256, block_api::compress256};
use sluice::work::hash::{self, Kernel, Plan};
use sluice::work::share::{self, Share};
use sluice::work::{Difficulty, Lane, Layout, LinkId, Parts, Proof, Target, Work, WorkId};
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

/// 5 for a 300-byte coinbase after one block of midstate, 36 for 12 branches, 3 for the header.
const COMPRESSIONS: usize = 44;
const LANE: Lane = Lane(0x0102_0304);
/// Shares that callgrind sees.
const COUNTED: usize = 200;
/// Batch sizes measured.
const SIZES: [usize; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];
/// Multiplies in the chain that a cycle is measured by; each waits three cycles for the one before.
const CHAIN: u64 = 3_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let work = work();
    assert_correct(&work);
    if let Some(at) = arguments.iter().position(|a| a == "--count") {
        let shares = arguments[at + 2].parse();
        let kernel = hash::kernels().find(|kernel| kernel.name() == arguments[at + 1]);
        let plan = Plan::only(kernel.expect("--count is our own argument"));
        return prove_many(&work, plan, 1, shares.expect("--count is our own argument"));
    }
    if has("--instructions") {
        return instructions();
    }
    let smoke = has("--smoke") || std::env::var_os("SLUICE_BENCH_SMOKE").is_some();
    let full = has("--bench") && !smoke;
    report(&work, if full { 400 } else { 2 });
}

/// Something timed: its name, its batch size if it has one, the least nanoseconds so far.
struct Row<'a> {
    name: String,
    per_run: usize,
    run: Box<dyn FnMut() + 'a>,
    least: f64,
}

impl<'a> Row<'a> {
    fn new(name: &str, per_run: usize, run: impl FnMut() + 'a) -> Self {
        Self {
            name: name.to_owned(),
            per_run,
            run: Box::new(run),
            least: f64::MAX,
        }
    }

    /// Nanoseconds per share.
    fn each(&self) -> f64 {
        self.least / self.per_run as f64
    }
}

fn report(work: &Work, repetitions: u32) {
    let selected = hash::select(None, Instant::now).expect("auto is always there");
    println!("plan: {}", selected.plan);
    let blocks = vec![[0x5a; 64]; COMPRESSIONS * 16];
    let mut rows = vec![
        Row::new("cycle", CHAIN as usize * 3, chain),
        Row::new("bulk", 16, move || {
            let mut state = [1; 8];
            compress256(&mut state, black_box(&blocks));
            black_box(state);
        }),
        Row::new("naive sha2", 8, || {
            for nonce in 0..8 {
                black_box(naive_hash(black_box(work), &share_of(nonce)));
            }
        }),
    ];
    for (name, plan) in plans() {
        for n in SIZES {
            // Each run is 16 shares or a little more, so that the clock's own time does not count.
            let rounds = 16usize.div_ceil(n);
            let run = move || prove_many(work, plan, n, n * rounds);
            rows.push(Row::new(&name, n * rounds, run));
        }
    }
    for n in [1, 16] {
        rows.push(Row::new("header only", 16, move || hash_headers(n)));
        rows.push(Row::new("root only", 16, move || hash_roots(work, n)));
    }
    for _ in 0..repetitions {
        for row in &mut rows {
            let start = Instant::now();
            (row.run)();
            row.least = row.least.min(start.elapsed().as_nanos() as f64);
        }
    }
    print(&rows);
}

/// Cycles per share and hash efficiency.
fn print(rows: &[Row<'_>]) {
    let (cycle, bulk, naive) = (rows[0].each(), rows[1].each(), rows[2].each());
    println!("one cycle: {cycle:.3} ns");
    println!(
        "bound, {COMPRESSIONS} bulk compressions: {bulk:.0} ns, {:.0} cycles",
        bulk / cycle
    );
    println!("naive sha2: {naive:.0} ns, {:.0} cycles", naive / cycle);
    println!("cycles per share (hash efficiency) by shares together:");
    print!("{:<13}", "");
    SIZES.iter().for_each(|n| print!("{n:>14}"));
    let (table, parts) = rows[3..].split_at(plans().len() * SIZES.len());
    for row in table.chunks(SIZES.len()) {
        print!("\n{:<13}", row[0].name);
        for cell in row {
            let cycles = format!("{:.0} ({:.3})", cell.each() / cycle, bulk / cell.each());
            print!("{cycles:>14}");
        }
    }
    println!();
    for (n, rows) in [1, 16].iter().zip(parts.chunks(2)) {
        for row in rows {
            let cycles = row.each() / cycle;
            println!(
                "{}, {n} together: {cycles:.0} cycles, {:.0} ns",
                row.name,
                row.each()
            );
        }
    }
}

/// Every kernel alone and the plan in force.
fn plans() -> Vec<(String, Plan)> {
    let alone = |kernel: Kernel| (kernel.name().to_owned(), Plan::only(kernel));
    let auto = ("auto".to_owned(), hash::plan());
    hash::kernels().map(alone).chain([auto]).collect()
}

/// Squares that wait for each other: 3 cycles each on every x86-64 of the last ten years.
fn chain() {
    let mut x = black_box(0x9e37_79b9_7f4a_7c15u64);
    for _ in 0..CHAIN {
        x = x.wrapping_mul(x);
    }
    black_box(x);
}

fn hash_headers(together: usize) {
    let headers = black_box([[7; 80]; 16]);
    let mut hashes = [[0; 32]; 16];
    let plan = hash::plan();
    for (headers, hashes) in headers.chunks(together).zip(hashes.chunks_mut(together)) {
        hash::headers(plan, headers, hashes);
    }
    black_box(hashes);
}

fn hash_roots(work: &Work, together: usize) {
    let extranonces = black_box([(LANE, [7; 8]); 16]);
    let mut roots = [[0; 32]; 16];
    for (extranonces, roots) in extranonces.chunks(together).zip(roots.chunks_mut(together)) {
        share::roots(work, extranonces, roots);
    }
    black_box(roots);
}

/// So many shares in batches of `together`.
fn prove_many(work: &Work, plan: Plan, together: usize, shares: usize) {
    let mut claims = [(LANE, share_of(0)); 16];
    let mut proofs = [Proof::NONE; 16];
    for at in (0..shares).step_by(together) {
        for (nonce, claim) in (at..).zip(&mut claims[..together]) {
            claim.1 = share_of(nonce as u32);
        }
        let claims = black_box(&claims[..together]);
        share::prove_all_by(plan, black_box(work), claims, &mut proofs);
        black_box(&proofs);
    }
}

fn assert_correct(work: &Work) {
    let claims: Vec<_> = (0..16).map(|nonce| (LANE, share_of(nonce))).collect();
    for (name, plan) in plans() {
        let mut proofs = [Proof::NONE; 16];
        share::prove_all_by(plan, work, &claims, &mut proofs);
        for (proof, (_, share)) in proofs.iter().zip(&claims) {
            assert_eq!(proof.hash, naive_hash(work, share), "{name}");
        }
    }
}

/// Runs itself under callgrind with and without shares; the difference is theirs.
fn instructions() {
    let own = std::env::current_exe().expect("a running program has a path");
    let count = |kernel: &str, shares: usize| -> Option<u64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&own)
            .args(["--count", kernel, &shares.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find(|line| line.contains("Collected"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    for kernel in ["portable", "sha-ni"] {
        match (count(kernel, 0), count(kernel, COUNTED)) {
            (Some(none), Some(some)) => {
                let each = (some - none) / COUNTED as u64;
                println!("{kernel}: {each} instructions per share");
            }
            _ => println!(
                "{kernel}: callgrind gave no count (no valgrind, or it lacks these instructions)"
            ),
        }
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
