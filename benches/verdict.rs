//! What one share costs: every kernel of this machine at every batch size, against the bound "44 compressions", against
//! naive sha2 and against `validate_share` of `channels_sv2`, the reference implementation of Stratum V2.
//!
//! Not a criterion harness: the question is a ratio within one run (PERFORMANCE.md section 1), so each figure is the
//! least of many repetitions, taken in turns. The invariant: every timed way gives the same hash, asserted first.
//!
//! `--smoke` (or `SLUICE_BENCH_SMOKE=1`, or no `--bench`) runs in well under a second; `--instructions` counts
//! those per share for the kernels that valgrind can run, against a limit (`common/instructions.rs`).

use sha2::{Digest, Sha256, block_api::compress256};
use sluice::work::hash::{self, Kernel, Plan};
use sluice::work::seen::Seen;
use sluice::work::share::{self, Share};
use sluice::work::{Difficulty, Lane, Parts, Proof, Target, Work};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;
use stratum_core::channels_sv2::client::extended::ExtendedChannel;
use stratum_core::mining_sv2::SubmitSharesExtendedOwned;

/// 5 for a 300-byte coinbase after one block of midstate, 36 for 12 branches, 3 for the header.
const COMPRESSIONS: usize = 44;
const LANE: Lane = Lane(0x0102_0304);
/// Batch sizes measured.
const SIZES: [usize; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];
/// Multiplies in the chain that a cycle is measured by; each waits three cycles for the one before.
const CHAIN: u64 = 3_000;

#[path = "../tests/oracle_sv2/channel.rs"]
mod channel;
#[path = "common/instructions.rs"]
mod instructions;
use instructions::Way;

/// What callgrind counts, each kernel in batches of its width. SHA-NI is asked for although valgrind 3.19 hides it from
/// CPUID and cannot decode it: a later one may.
const WAYS: [Way; 3] = [
    counted("verdict, portable", "portable"),
    counted("verdict, SHA-NI", "sha-ni"),
    counted("verdict, AVX2 x8", "avx2-x8"),
];

const fn counted(name: &'static str, kernel: &'static str) -> Way {
    Way {
        name,
        argument: kernel,
        times: 200,
        each: 1,
    }
}

fn main() -> ExitCode {
    let work = work();
    assert_correct(&work);
    let counted = instructions::asked(&WAYS, |kernel, shares| {
        let kernel = hash::kernels().find(|known| known.name() == kernel);
        if let Some(kernel) = kernel {
            prove_many(&work, Plan::only(kernel), kernel.width(), shares);
        }
        kernel.is_some()
    });
    if let Some(code) = counted {
        return code;
    }
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let smoke = has("--smoke") || std::env::var_os("SLUICE_BENCH_SMOKE").is_some();
    let full = has("--bench") && !smoke;
    report(&work, if full { 400 } else { 2 });
    ExitCode::SUCCESS
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
    let (mut rival, mut refusing) = (Rival::new(work, [0xff; 32]), Rival::new(work, [0; 32]));
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
        Row::new("channels_sv2, accepted", 16, move || rival.judge(16)),
        Row::new("channels_sv2, refused", 16, move || refusing.judge(16)),
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
        let (mut seen, mut nonce) = (Seen::default(), 0);
        rows.push(Row::new("with target and duplicates", 16, move || {
            judge(work, &mut seen, &mut nonce, n);
        }));
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
    let [cycle, bulk, naive, rival, refusing] = [0, 1, 2, 3, 4].map(|i| rows[i].each());
    println!("one cycle: {cycle:.3} ns");
    println!(
        "bound, {COMPRESSIONS} bulk compressions: {bulk:.0} ns, {:.0} cycles",
        bulk / cycle
    );
    println!("naive sha2: {naive:.0} ns, {:.0} cycles", naive / cycle);
    println!("cycles per share (hash efficiency) by shares together:");
    print!("{:<13}", "");
    SIZES.iter().for_each(|n| print!("{n:>14}"));
    let (table, parts) = rows[5..].split_at(plans().len() * SIZES.len());
    for row in table.chunks(SIZES.len()) {
        print!("\n{:<13}", row[0].name);
        for cell in row {
            let cycles = format!("{:.0} ({:.3})", cell.each() / cycle, bulk / cell.each());
            print!("{cycles:>14}");
        }
    }
    println!();
    for (n, rows) in [1, 16].iter().zip(parts.chunks(3)) {
        for row in rows {
            let cycles = row.each() / cycle;
            println!(
                "{}, {n} together: {cycles:.0} cycles, {:.0} ns",
                row.name,
                row.each()
            );
        }
    }
    println!("channels_sv2 validate_share, and how many times as long it takes as ours:");
    let auto = &table[table.len() - SIZES.len()..];
    for (what, theirs, ours) in [
        (
            "accepted, to the hash alone",
            rival,
            [&auto[0], &auto[SIZES.len() - 1]],
        ),
        (
            "accepted, to target and duplicates",
            rival,
            [&parts[0], &parts[3]],
        ),
        (
            "refused, to the hash alone",
            refusing,
            [&auto[0], &auto[SIZES.len() - 1]],
        ),
    ] {
        let [alone, together] = ours.map(|row| theirs / row.each());
        let cycles = theirs / cycle;
        println!(
            "{what}: {theirs:.0} ns, {cycles:.0} cycles, {alone:.2} alone, {together:.2} at 16"
        );
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

/// `channels_sv2` on the same work. Where its target refuses them, neither its duplicate set nor its accounting is timed.
struct Rival {
    channel: ExtendedChannel,
    share: SubmitSharesExtendedOwned,
}

impl Rival {
    fn new(work: &Work, target: [u8; 32]) -> Self {
        let mut channel = channel::of(work, LANE, &target);
        let share = channel::submit(work, &share_of(0));
        let judged = channel.validate_share(share.clone());
        assert_eq!(judged.is_ok(), target == [0xff; 32], "{judged:?}");
        Self { channel, share }
    }

    fn judge(&mut self, shares: u32) {
        for _ in 0..shares {
            // A copy, as a parsed message would be: no part of the verdict, and a small one of the time.
            self.share.nonce += 1;
            let _ = black_box(self.channel.validate_share(black_box(self.share.clone())));
        }
    }
}

/// A verdict with all that is asked once the hash is known, sixteen times.
fn judge(work: &Work, seen: &mut Seen, nonce: &mut u32, together: usize) {
    let mut claims = [(LANE, share_of(0)); 16];
    let mut proofs = [Proof::NONE; 16];
    for claim in &mut claims {
        *nonce += 1;
        claim.1 = share_of(*nonce);
    }
    let easy = black_box(Target::from_le_bytes(&[0xff; 32]));
    for (claims, proofs) in claims.chunks(together).zip(proofs.chunks_mut(together)) {
        share::prove_all(work, black_box(claims), proofs);
        for proof in proofs {
            let block = work.network_target.is_met_by(&proof.hash);
            let met = easy.is_met_by(&proof.hash);
            black_box((block, met, seen.insert(&work.prev_hash, &proof.hash)));
        }
    }
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

/// A 300-byte coinbase with the lane in its second block, 12 branches. `channels_sv2` parses it: it must be a transaction.
///
/// | version, inputs | null outpoint | script: length, height, **extranonce**, end | sequence, outputs | two outputs | lock time |
/// |---|---|---|---|---|---|
/// | 5 bytes | 36 | 1 + 68 + **8** + 15 | 5 | 158 | 4 |
fn work() -> Work {
    let outpoint = [&[0; 32][..], &[0xff; 4]].concat();
    let prefix = [&[2, 0, 0, 0, 1][..], &outpoint, &[91], &[0x51; 68]].concat();
    let output = [&[7; 8][..], &[70], &[0x6a; 70]].concat();
    let end = [&[0x51; 15][..], &[0xff; 4], &[2]].concat();
    let suffix = [&end[..], &output, &output, &[0; 4]].concat();
    assert_eq!(prefix.len() + 8 + suffix.len(), 300);
    Work::new(Parts {
        prev_hash: [7; 32],
        version_mask: 0x1fff_e000,
        coinbase_prefix: prefix.into(),
        coinbase_suffix: suffix.into(),
        branch: (0..12).map(|i| [i; 32]).collect(),
        pool_target: Target::from_difficulty(Difficulty::ONE),
        pool_difficulty: Difficulty::ONE,
        ..Parts::default()
    })
    .expect("this work is within limits")
}
