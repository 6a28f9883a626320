//! Every kernel of this machine against plain `sha2`, at every place where blocks, lanes and batches meet.
//!
//! Not tests of meaning (real blocks are proven in `share`). The invariant: what is expected is hashed whole by
//! `sha2::Sha256`, which knows of no midstate, schedule or batch.

use super::wide::plain::Plain;
use super::*;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// Longer than any batch of one kernel, so that batches are cut as well.
const MOST: usize = 17;
const PREV_HASH: [u8; 32] = *b"the hash of the block before it.";
const NBITS: u32 = 0x1705_1234;

#[test]
fn sha256d_pads_right_at_every_length_around_the_block_borders() {
    for length in 0..=260 {
        let data: Vec<u8> = (0..length).map(|i| i as u8 ^ 0x5a).collect();
        assert_eq!(sha256d(&data), naive(&data), "{length} bytes");
    }
}

#[test]
fn the_vectors_of_nist_hold() {
    // FIPS 180-2, B.1 and B.2, through the schedule and the compression that the wide kernels are made of.
    let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (message, expected) in [
        (
            &b"abc"[..],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            two_blocks,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ] {
        let digest = wide::plain::sha256(message);
        assert_eq!(hex(&digest), expected);
        assert_eq!(sha256d(message), wide::plain::sha256(&digest));
    }
    assert_eq!(
        hex(&sha256d(b"abc")),
        "4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358"
    );
}

#[test]
fn block_125552_has_its_hash_in_every_kernel() {
    // The header of mainnet block 125552, 2011, known from many documents.
    let header = [
        "01000000",
        "81cd02ab7e569e8bcd9317e2fe99f2de44d49ab2b8851ba4a308000000000000",
        "e320b6c2fffc8d750423db8b1eb942ae710e951ed797f7affc8892b0f1fc122b",
        "c7f5d74df2b9441a42a14695",
    ]
    .concat();
    let header: [u8; 80] = unhex(&header).try_into().unwrap();
    let expected = "1dbd981fe6985776b644b173a4d0385ddc1aa2a829688d1e0000000000000000";
    for plan in plans() {
        for n in 1..=MOST {
            let mut hashes = vec![[0; 32]; n];
            headers(plan, &vec![header; n], &mut hashes);
            assert!(hashes.iter().all(|hash| hex(hash) == expected), "{plan}");
        }
    }
}

#[test]
fn every_split_of_prefix_and_suffix_gives_the_hash_of_the_whole_in_every_kernel() {
    let data: Vec<u8> = (0..400).map(|i| (i * 7) as u8).collect();
    for prefix in 0..140 {
        for suffix in 0..140 {
            let (a, b) = (&data[..prefix], &data[200..200 + suffix]);
            let prepared = Prepared::new((a, b), Layout::WIDE, &[], (&[0; 32], 0));
            let expected = naive(&[a, b"lane", b"roll", b].concat());
            let extranonce = (Lane(u32::from_be_bytes(*b"lane")), *b"rollmore");
            for kernel in kernels() {
                let mut root = [[0; 32]];
                roots(Plan::only(kernel), &prepared, &[extranonce], &mut root);
                assert_eq!(root[0], expected, "{kernel} {prefix} {suffix}");
            }
        }
    }
}

#[test]
fn messages_of_the_lengths_at_which_padding_changes_are_right_in_every_kernel() {
    for length in [55, 56, 63, 64, 119, 120] {
        for prefix in 0..=length - 8 {
            let job = Job::patterned(prefix, length - 8 - prefix, 1, Layout::WIDE);
            job.check(2);
        }
    }
}

#[test]
fn every_layout_at_every_offset_fits_its_hole() {
    for lane in 2..=4 {
        for rolled in 2..=8 {
            for prefix in 42..=42 + 64 {
                Job::patterned(prefix, 90, 0, Layout { lane, rolled }).check(1);
            }
        }
    }
}

#[test]
fn every_batch_size_is_right_and_touches_nothing_beyond_its_end() {
    for n in 0..=MOST {
        Job::patterned(110, 182, 12, Layout::WIDE).check(n);
    }
}

#[test]
fn a_root_depends_on_no_other_in_its_batch() {
    let job = Job::patterned(100, 90, 3, Layout::WIDE);
    let prepared = job.prepared();
    for kernel in kernels() {
        let plan = Plan::only(kernel);
        let mut before = [[0; 32]; MOST];
        roots(plan, &prepared, &job.extranonces(MOST), &mut before);
        for changed in 0..MOST {
            let mut extranonces = job.extranonces(MOST);
            extranonces[changed].1[0] ^= 0x80;
            let mut after = [[0; 32]; MOST];
            roots(plan, &prepared, &extranonces, &mut after);
            let differ: Vec<_> = (0..MOST).filter(|i| before[*i] != after[*i]).collect();
            assert_eq!(differ, [changed], "{kernel}");
        }
    }
}

#[test]
fn the_wide_algorithm_is_right_without_any_special_instruction() {
    let job = Job::patterned(125, 300, 5, Layout::WIDE);
    let prepared = job.prepared();
    let extranonces = job.extranonces(3);
    let holes: Vec<_> = extranonces
        .iter()
        .map(|(lane, en2)| prepared.hole(*lane, en2))
        .collect();
    let claims = job.claims(3).into_iter();
    let claims: Vec<_> = claims.map(|(lane, s)| prepared.claim(lane, &s)).collect();
    for n in 1..=3 {
        let expected: Vec<_> = extranonces[..n].iter().map(|e| job.root(*e)).collect();
        let (mut roots, mut hashes) = (vec![[0; 32]; n], vec![[0; 32]; n]);
        wide::roots(Plain([0; 3]), &prepared, &holes[..n], &mut roots);
        assert_eq!(roots, expected);
        roots.fill([0; 32]);
        wide::prove(
            Plain([0; 3]),
            &prepared,
            &claims[..n],
            &mut roots,
            &mut hashes,
        );
        assert_eq!(roots, expected);
        let headers: Vec<_> = (0..n)
            .map(|i| prepared.header(&claims[i], &roots[i]))
            .collect();
        let expected: Vec<_> = headers.iter().map(|header| naive(header)).collect();
        assert_eq!(hashes, expected);
        hashes.fill([0; 32]);
        wide::headers(Plain([0; 3]), &headers, &mut hashes);
        assert_eq!(hashes, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_job_is_right_in_every_kernel_and_batch_size(
        prefix in prop::collection::vec(any::<u8>(), 42..=161),
        suffix in prop::collection::vec(any::<u8>(), 0..=800),
        branch in prop::collection::vec(any::<[u8; 32]>(), 0..=16),
        lane in 2u8..=4,
        rolled in 2u8..=8,
        seed: u64,
        n in 1..=MOST,
    ) {
        let layout = Layout { lane, rolled };
        Job { prefix, suffix, branch, layout, seed }.check(n);
    }

    #[test]
    fn any_headers_are_right_in_every_kernel(seed in prop::collection::vec(any::<[u8; 20]>(), 1..=MOST)) {
        let given: Vec<[u8; 80]> = seed.iter().map(|s| s.repeat(4).try_into().unwrap()).collect();
        let expected: Vec<_> = given.iter().map(|header| naive(header)).collect();
        for plan in plans() {
            let mut hashes = vec![[0; 32]; given.len()];
            headers(plan, &given, &mut hashes);
            prop_assert_eq!(&hashes, &expected, "{}", plan);
        }
    }
}

#[test]
fn a_forced_kernel_takes_what_fills_it_and_its_kin_the_rest() {
    let by_name = |name: &str| kernels().find(|kernel| kernel.name() == name);
    if let Some(kernel) = by_name("sha-ni-x3") {
        let shown = Plan::forced(kernel).to_string();
        assert_eq!(shown, "1 sha-ni, 2 sha-ni-x2, 3-16 sha-ni-x3");
    }
    if let Some(kernel) = by_name("avx512-x16") {
        let plan = Plan::forced(kernel);
        assert_eq!(plan.next(17), (kernel, 16));
        assert_eq!(plan.next(16), (kernel, 16));
        assert_eq!(plan.next(1).0.width(), 1);
    }
    let portable = by_name("portable").unwrap();
    assert_eq!(Plan::forced(portable).to_string(), "1-16 portable");
}

#[test]
fn by_expectation_the_thresholds_are_those_that_were_measured() {
    let plan = Plan::expected();
    if plan.next(16).0.name() == "avx512-x16" {
        let widths: Vec<_> = (1..=16).map(|n| plan.next(n).0.width()).collect();
        assert_eq!(widths[..3], [1, 2, 3]);
        assert!(widths[3..5].iter().all(|width| *width <= 3));
        assert!(widths[5..8].iter().all(|width| *width == 8));
        assert!(widths[9..].iter().all(|width| *width == 16));
    }
}

#[test]
fn an_unknown_kernel_is_refused_with_the_names_of_those_there_are() {
    let error = select(Some("sse9"), Instant::now).unwrap_err();
    assert_eq!(error, KernelError::Unknown("sse9".into()));
    assert!(error.to_string().contains("portable"), "{error}");
    for code in kernel::KNOWN {
        let present = kernels().any(|kernel| kernel.name() == code.name);
        match select(Some(code.name), Instant::now) {
            Ok(selected) => assert!(present && selected.measured.is_empty()),
            Err(error) => assert!(!present && error == KernelError::Missing(code.name)),
        }
    }
}

#[test]
fn a_calibration_believes_the_clock_unless_it_stands_still() {
    let start = Instant::now();
    let still = select(Some("auto"), || start).unwrap();
    assert!(still.measured.is_empty());
    assert_eq!(still.plan, Plan::expected());
    // Every run of any kernel takes a millisecond: then the widest is the best wherever it saves a run.
    let mut time = start;
    let ticking = || {
        time += Duration::from_millis(1);
        time
    };
    let selected = select(None, ticking).unwrap();
    assert!(selected.measured.len() >= kernels().filter(|k| k.worth_trying()).count());
    let widest = kernels()
        .filter(|k| k.worth_trying())
        .map(Kernel::width)
        .max();
    assert_eq!(selected.plan.next(16).0.width(), widest.unwrap());
}

/// A job and the naive way to hash it.
#[derive(Debug)]
struct Job {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    branch: Vec<[u8; 32]>,
    layout: Layout,
    seed: u64,
}

impl Job {
    fn patterned(prefix: usize, suffix: usize, branches: u8, layout: Layout) -> Self {
        Self {
            prefix: (0..prefix).map(|i| (i * 5 + 1) as u8).collect(),
            suffix: (0..suffix).map(|i| (i * 11 + 3) as u8).collect(),
            branch: (0..branches).map(|i| [i.wrapping_mul(37); 32]).collect(),
            layout,
            seed: (prefix * 1009 + suffix) as u64,
        }
    }

    fn prepared(&self) -> Prepared {
        Prepared::new(
            (&self.prefix, &self.suffix),
            self.layout,
            &self.branch,
            (&PREV_HASH, NBITS),
        )
    }

    fn extranonces(&self, n: usize) -> Vec<(Lane, [u8; 8])> {
        let each = |i: usize| {
            let mixed = (self.seed ^ i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (Lane((mixed >> 13) as u32), mixed.to_le_bytes())
        };
        (0..n).map(each).collect()
    }

    fn claims(&self, n: usize) -> Vec<(Lane, Share)> {
        let each = |(lane, en2): (Lane, [u8; 8])| {
            let nonce = u32::from_le_bytes([en2[1], en2[5], en2[2], en2[7]]);
            let (ntime, version) = (nonce.wrapping_mul(5), nonce.rotate_left(9));
            let share = Share {
                en2,
                ntime,
                nonce,
                version,
            };
            (lane, share)
        };
        self.extranonces(n).into_iter().map(each).collect()
    }

    fn header(&self, share: &Share, root: &[u8; 32]) -> Vec<u8> {
        [
            &share.version.to_le_bytes()[..],
            &PREV_HASH,
            root,
            &share.ntime.to_le_bytes(),
            &NBITS.to_le_bytes(),
            &share.nonce.to_le_bytes(),
        ]
        .concat()
    }

    fn root(&self, (lane, en2): (Lane, [u8; 8])) -> [u8; 32] {
        let coinbase = [
            &self.prefix[..],
            &lane.bytes(self.layout)[..usize::from(self.layout.lane)],
            &en2[..usize::from(self.layout.rolled)],
            &self.suffix[..],
        ]
        .concat();
        let pair = |node: [u8; 32], sibling: &[u8; 32]| naive(&[node, *sibling].concat());
        self.branch.iter().fold(naive(&coinbase), pair)
    }

    /// The first `n` extranonces, in every way this machine has, with room for one root more.
    fn check(&self, n: usize) {
        let prepared = self.prepared();
        let extranonces = self.extranonces(n);
        let mut expected: Vec<_> = extranonces.iter().map(|e| self.root(*e)).collect();
        expected.push([0xee; 32]);
        for plan in plans() {
            let mut out = vec![[0xee; 32]; n + 1];
            roots(plan, &prepared, &extranonces, &mut out);
            assert_eq!(out, expected, "{plan}, {n} together, {self:?}");
            let claims = self.claims(n);
            let mut seen = 0;
            prove(plan, &prepared, &claims, |i, root, hash| {
                assert_eq!(i, seen);
                assert_eq!(root, &expected[i], "{plan}, {i} of {n}, {self:?}");
                let header = self.header(&claims[i].1, root);
                assert_eq!(hash, &naive(&header), "{plan}, {i} of {n}, {self:?}");
                seen += 1;
            });
            assert_eq!(seen, n);
        }
    }
}

/// Every kernel alone, every kernel forced, and what is chosen.
fn plans() -> Vec<Plan> {
    kernels()
        .flat_map(|kernel| [Plan::only(kernel), Plan::forced(kernel)])
        .chain([Plan::expected()])
        .collect()
}

fn naive(data: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(data)).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
