//! `channels_sv2`, the Stratum V2 reference implementation, as an oracle: the same verdict on the same random shares.
//!
//! Not a peer on a wire, and not ranges, which a session checks. The invariant: every kernel of this machine is asked, at
//! targets around the very hash, where verdicts differ. At the hash itself they must: [`agrees`] says why.

use proptest::prelude::*;
use sluice::work::hash::{Plan, kernels};
use sluice::work::share::{self, prove_all_by};
use sluice::work::{Difficulty, Lane, Layout, Parts, Proof, Share, Target, Work};
use stratum_core::channels_sv2::client::share_accounting::{
    ShareValidationError, ShareValidationResult,
};

#[path = "oracle_sv2/channel.rs"]
mod channel;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_reference_implementation_finds_the_same_hash_and_agrees_around_it(
        script in prop::collection::vec(any::<u8>(), 0..=80),
        output in prop::collection::vec(any::<u8>(), 0..=250),
        branch in prop::collection::vec(any::<[u8; 32]>(), 0..=14),
        prev_hash: [u8; 32],
        lane: u32,
        shares in prop::collection::vec(any::<([u8; 8], u32, u16)>(), 1..=17),
    ) {
        let shape = Shape { prev_hash, ..Shape::default() };
        let work = work(&script, &[output], branch, &shape);
        let claims: Vec<_> = shares.iter().map(|share| (Lane(lane), claimed(&work, *share))).collect();
        let mut reference = Vec::new();
        for kernel in kernels() {
            let mut proofs = vec![Proof::NONE; claims.len()];
            prove_all_by(Plan::only(kernel), &work, &claims, &mut proofs);
            if reference.is_empty() {
                for ((lane, share), proof) in claims.iter().zip(&proofs) {
                    agrees(&work, *lane, share, proof);
                }
                reference = proofs;
            } else {
                prop_assert_eq!(&proofs, &reference, "{}", kernel);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_500))]

    #[test]
    fn a_share_is_valid_too_low_or_a_block_as_the_reference_implementation_says(
        script in prop::collection::vec(any::<u8>(), 0..=88),
        outputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=250), 1..=5),
        branch in prop::collection::vec(any::<[u8; 32]>(), 0..=16),
        shape in shape(),
        lane: u32,
        share: ([u8; 8], u32, u16),
        bound in bound(),
    ) {
        let work = work(&script, &outputs, branch, &shape);
        let (lane, share) = (Lane(lane), claimed(&work, share));
        let hash = share::prove(&work, lane, &share).hash;
        let target = match bound {
            Bound::Any(target) => target,
            Bound::OneAbove => one_more(hash),
            Bound::OneBelow => one_less(hash),
        };
        let verdict = if work.network_target.is_met_by(&hash) {
            Verdict::Block(hash)
        } else if Target::from_le_bytes(&target).is_met_by(&hash) {
            Verdict::Valid(hash)
        } else {
            Verdict::TooLow
        };
        prop_assert_eq!(verdict, verdict_of_reference(&work, lane, &share, &target));
    }
}

/// What becomes of a share that is in time and in range.
#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    Block([u8; 32]),
    Valid([u8; 32]),
    TooLow,
}

/// What a share must meet, little-endian.
#[derive(Clone, Debug)]
enum Bound {
    Any([u8; 32]),
    OneAbove,
    OneBelow,
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(Bound::Any),
        Just(Bound::OneAbove),
        Just(Bound::OneBelow),
    ]
}

/// What a job has besides its coinbase and its branch.
#[derive(Clone, Debug)]
struct Shape {
    layout: Layout,
    prev_hash: [u8; 32],
    version: u32,
    nbits: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            layout: Layout::WIDE,
            prev_hash: [0; 32],
            version: 0x2000_0000,
            nbits: 0x1705_1234,
        }
    }
}

/// Every layout; of the four networks one finds no block here, the others one in 2, in 8 and in 256 shares.
fn shape() -> impl Strategy<Value = Shape> {
    let nbits = prop::sample::select(&[0x1705_1234, 0x207f_ffff, 0x201f_ffff, 0x2000_ffff]);
    let parts = (2..=4u8, 2..=8u8, any::<([u8; 32], u32)>(), nbits);
    parts.prop_map(|(lane, rolled, (prev_hash, version), nbits)| Shape {
        layout: Layout { lane, rolled },
        prev_hash,
        version,
        nbits,
    })
}

fn verdict_of_reference(work: &Work, lane: Lane, share: &Share, target: &[u8; 32]) -> Verdict {
    match channel::of(work, lane, target).validate_share(channel::submit(work, share)) {
        Ok(ShareValidationResult::BlockFound(hash)) => Verdict::Block(*hash.as_ref()),
        Ok(ShareValidationResult::Valid(hash)) => Verdict::Valid(*hash.as_ref()),
        Err(ShareValidationError::DoesNotMeetTarget(_)) => Verdict::TooLow,
        Err(error) => panic!("neither valid nor too low: {error:?}"),
    }
}

/// The reference wants a hash *below* its target, we and Bitcoin's consensus one at or below: so it accepts one above the
/// hash and refuses at the hash, and that is as exactly the same hash as agreement can show.
fn agrees(work: &Work, lane: Lane, share: &Share, proof: &Proof) {
    let submit = || channel::submit(work, share);
    let above = channel::of(work, lane, &one_more(proof.hash)).validate_share(submit());
    let Ok(ShareValidationResult::Valid(hash)) = above else {
        panic!("refused one above its hash: {above:?}");
    };
    let hash: &[u8; 32] = hash.as_ref();
    assert_eq!(hash, &proof.hash);
    let refused = channel::of(work, lane, &proof.hash).validate_share(submit());
    let missed = matches!(refused, Err(ShareValidationError::DoesNotMeetTarget(_)));
    assert!(missed, "{refused:?}");
    let met = |target| Target::from_le_bytes(&target).is_met_by(&proof.hash);
    assert!(met(one_more(proof.hash)) && met(proof.hash) && !met(one_less(proof.hash)));
}

/// Little-endian.
fn one_more(number: [u8; 32]) -> [u8; 32] {
    one_less(number.map(|byte| !byte)).map(|byte| !byte)
}

/// Little-endian.
fn one_less(mut number: [u8; 32]) -> [u8; 32] {
    for byte in &mut number {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            break;
        }
    }
    number
}

fn claimed(work: &Work, (en2, nonce, bits): ([u8; 8], u32, u16)) -> Share {
    let mask = work.version_mask;
    Share {
        en2,
        ntime: work.ntime + u32::from(bits) % 7_000,
        nonce,
        version: (work.version & !mask) | (u32::from(bits) << 13 & mask),
    }
}

/// A transaction, as the reference parses it, cut at the extranonce.
fn work(script: &[u8], outputs: &[Vec<u8>], branch: Vec<[u8; 32]>, shape: &Shape) -> Work {
    let outpoint = [&[0; 32][..], &[0xff; 4]].concat();
    let length = [script.len() as u8 + shape.layout.total()];
    let prefix = [&[2, 0, 0, 0, 1][..], &outpoint, &length, script].concat();
    let output = |output: &Vec<u8>| [&[7; 8][..], &[output.len() as u8], output].concat();
    let paid: Vec<u8> = outputs.iter().flat_map(output).collect();
    let suffix = [&[0xff; 4][..], &[outputs.len() as u8], &paid, &[0; 4]].concat();
    Work::new(Parts {
        prev_hash: shape.prev_hash,
        version: shape.version,
        version_mask: 0x1fff_e000,
        nbits: shape.nbits,
        layout: shape.layout,
        coinbase_prefix: prefix.into(),
        coinbase_suffix: suffix.into(),
        branch: branch.into(),
        pool_target: Target::from_difficulty(Difficulty::ONE),
        pool_difficulty: Difficulty::ONE,
        ..Parts::default()
    })
    .expect("this work is within limits")
}
