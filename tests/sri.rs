//! `channels_sv2`, the Stratum V2 reference implementation, as an oracle: the same verdict on the same random shares.
//!
//! Not a peer on a wire. The invariant: every kernel of this machine is asked, at targets around the very hash, where
//! verdicts differ.

use channels_sv2::client::share_accounting::{ShareValidationError, ShareValidationResult};
use proptest::prelude::*;
use sluice::work::hash::{Plan, kernels};
use sluice::work::share::prove_all_by;
use sluice::work::{Difficulty, Lane, Layout, LinkId, Parts, Proof, Share, Target, Work, WorkId};

#[path = "sri/channel.rs"]
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
        let work = work(&script, &output, branch, prev_hash);
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
    Share {
        en2,
        ntime: work.ntime + u32::from(bits) % 7_000,
        nonce,
        version: work.version | u32::from(bits) << 13,
    }
}

/// A transaction, as the reference parses it, cut at the extranonce.
fn work(script: &[u8], output: &[u8], branch: Vec<[u8; 32]>, prev_hash: [u8; 32]) -> Work {
    let outpoint = [&[0; 32][..], &[0xff; 4]].concat();
    let length = [script.len() as u8 + 8];
    let prefix = [&[2, 0, 0, 0, 1][..], &outpoint, &length, script].concat();
    let size = [output.len() as u8];
    let suffix = [&[0xff; 4][..], &[1], &[7; 8], &size, output, &[0; 4]].concat();
    Work::new(Parts {
        id: WorkId(1),
        link: LinkId(0),
        epoch: 0,
        pool_job: "1".into(),
        generation: 0,
        prev_hash,
        version: 0x2000_0000,
        version_mask: 0x1fff_e000,
        nbits: 0x1705_1234,
        ntime: 1_700_000_000,
        pool_ntime: 1_700_000_000,
        layout: Layout::WIDE,
        pad: 0,
        coinbase_prefix: prefix.into(),
        coinbase_suffix: suffix.into(),
        branch: branch.into(),
        pool_target: Target::from_difficulty(Difficulty::ONE),
        pool_difficulty: Difficulty::ONE,
    })
    .expect("this work is within limits")
}
