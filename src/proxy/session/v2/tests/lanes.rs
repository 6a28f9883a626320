//! Extended channels that roll more bytes than the layout gives: each holds a block of lanes.

use super::*;
use crate::proxy::session::NoSeat;
use crate::stratum::v2::code;
use crate::stratum::v2::message::{
    NewExtendedMiningJob, OpenExtendedMiningChannelSuccess, OpenMiningChannelError, SetNewPrevHash,
    SubmitSharesError, SubmitSharesSuccess,
};
use sha2::{Digest, Sha256};

/// What the channel rolls: two bytes of its lane and all of the layout's own.
const ROLLS: [u8; 6] = [0xc1, 0xc2, 1, 2, 3, 4];

// sv2: 5.3.16 full coinbase is prefix, extranonce_prefix, extranonce, suffix
#[test]
fn a_share_of_six_rolled_bytes_is_judged_as_its_miner_hashes_it() {
    let (mut world, told) = mining(6);
    assert_eq!((told.size, told.prefix), (6, &[0x0a, 0x0b][..]));

    let share = rolled(1, told.job.job_id, &ROLLS);
    world.says(frame!(share));

    assert_eq!(world.said(), [accepted(1)]);
    let header = told.header(&share);
    let submission = &world.submitted[0];
    assert_eq!(submission.proof.header, header);
    assert_eq!(submission.proof.hash, sha256d(&header));
    assert_eq!(submission.lane, Lane(0x0a0b_c1c2));
    let (bytes, length) = submission
        .work
        .pool_extranonce2(submission.lane, &submission.share);
    assert_eq!(
        bytes[..length],
        [told.prefix, &ROLLS].concat(),
        "what the pool hashes is what the miner did (I2)"
    );
}

#[test]
fn shares_that_differ_in_the_rolled_bytes_of_the_lane_alone_are_two_and_each_counts_once() {
    let (mut world, told) = mining(6);
    let other = [0xc1, 0xff, 1, 2, 3, 4];
    for (sequence_number, extranonce) in [(1, &ROLLS), (2, &other)] {
        let share = rolled(sequence_number, told.job.job_id, extranonce);
        world.says(frame!(share));
        assert_eq!(world.said(), [accepted(sequence_number)]);
    }
    for (sequence_number, extranonce) in [(3, &ROLLS), (4, &other)] {
        let share = rolled(sequence_number, told.job.job_id, extranonce);
        world.says(frame!(share));
        assert_eq!(
            world.said(),
            [refused(sequence_number, code::DUPLICATE_SHARE)]
        );
    }
}

// sv2: 5.3.12 the extranonce is exactly as long as was negotiated
#[test]
fn a_share_of_the_layouts_length_is_too_short_for_a_channel_that_rolls_more() {
    let (mut world, told) = mining(6);
    for (sequence_number, extranonce) in [(1, &ROLLS[..4]), (2, &ROLLS[..5]), (3, &[0; 7])] {
        let share = rolled(sequence_number, told.job.job_id, extranonce);
        world.says(frame!(share));
        assert_eq!(
            world.said(),
            [refused(sequence_number, code::BAD_EXTRANONCE_SIZE)]
        );
    }
}

#[test]
fn a_channel_whose_wish_is_too_wide_is_told_so_and_one_without_a_place_that_there_is_none() {
    for (why, told) in [
        (NoSeat::TooWide, code::MIN_EXTRANONCE_SIZE_TOO_LARGE),
        (NoSeat::Full, code::CHANNEL_CAPACITY_EXHAUSTED),
    ] {
        let mut world = World::with(config(), 0);
        world.seats = false;
        world.says(frame!(extended(9, 8)));
        world.of(OWN, session::Input::NoSeat(why));
        let error = OpenMiningChannelError {
            request_id: 9,
            error_code: told.as_bytes(),
        };
        assert_eq!(world.said(), [FromPool::OpenMiningChannelError(error)]);
    }
}

/// All that a miner knows of its channel and job.
struct Told {
    size: u16,
    prefix: &'static [u8],
    job: NewExtendedMiningJob<'static>,
    tip: SetNewPrevHash,
}

impl Told {
    /// The header of a share, by what was told over the wire and nothing else.
    fn header(&self, share: &SubmitSharesExtended<'_>) -> [u8; 80] {
        let coinbase = [
            self.job.coinbase_tx_prefix,
            self.prefix,
            share.extranonce,
            self.job.coinbase_tx_suffix,
        ]
        .concat();
        let fold = |root: [u8; 32], hash: &[u8; 32]| sha256d(&[root, *hash].concat());
        let root = self.job.merkle_path.iter().fold(sha256d(&coinbase), fold);
        let header = [
            &share.version.to_le_bytes()[..],
            &self.tip.prev_hash,
            &root,
            &share.ntime.to_le_bytes(),
            &self.tip.nbits.to_le_bytes(),
            &share.nonce.to_le_bytes(),
        ]
        .concat();
        header.try_into().expect("80 bytes")
    }
}

/// An extended channel that asked for so many bytes, with one job.
fn mining(min_extranonce_size: u16) -> (World, Told) {
    let mut world = World::with(config(), 0);
    world.says(frame!(extended(7, min_extranonce_size)));
    let open = world.said();
    let [FromPool::OpenExtendedMiningChannelSuccess(open)] = open[..] else {
        panic!("no channel: {open:?}");
    };
    let OpenExtendedMiningChannelSuccess {
        extranonce_size: size,
        extranonce_prefix: prefix,
        ..
    } = open;
    world.block();
    let said = world.said();
    let [
        FromPool::NewExtendedMiningJob(job),
        FromPool::SetNewPrevHash(tip),
    ] = said[..]
    else {
        panic!("no job: {said:?}");
    };
    let told = Told {
        size,
        prefix,
        job,
        tip,
    };
    (world, told)
}

fn rolled(sequence_number: u32, job_id: u32, extranonce: &[u8]) -> SubmitSharesExtended<'_> {
    SubmitSharesExtended {
        extranonce,
        nonce: 5,
        ..found_extended(FIRST, sequence_number, job_id)
    }
}

fn accepted(sequence_number: u32) -> FromPool<'static> {
    FromPool::SubmitSharesSuccess(SubmitSharesSuccess {
        channel_id: FIRST,
        last_sequence_number: sequence_number,
        new_submits_accepted_count: 1,
        new_shares_sum: 0,
    })
}

fn refused(sequence_number: u32, why: &'static str) -> FromPool<'static> {
    FromPool::SubmitSharesError(SubmitSharesError {
        channel_id: FIRST,
        sequence_number,
        error_code: why.as_bytes(),
    })
}

fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}
