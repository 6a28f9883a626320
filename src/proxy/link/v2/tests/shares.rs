//! Shares as they are written, and how they end.

use super::*;
use crate::proxy::link::RefusalKind;
use crate::proxy::tally::Drop as Dropped;
use crate::stratum::v2::message::{
    CloseChannel, SubmitSharesError, SubmitSharesExtended, SubmitSharesSuccess,
};
use SettleResult::{Accepted, Rejected, Unknown};

impl World {
    fn shares(&self) -> Vec<SubmitSharesExtended<'static>> {
        let share = |said: &FromMiner<'static>| match *said {
            FromMiner::SubmitSharesExtended(share) => Some(share),
            _ => None,
        };
        self.said().iter().filter_map(share).collect()
    }

    fn accepts(&mut self, last_sequence_number: u32) {
        self.told(frame!(SubmitSharesSuccess {
            channel_id: CHANNEL,
            last_sequence_number,
            new_submits_accepted_count: 1,
            new_shares_sum: 1
        }));
    }

    fn refuses(&mut self, sequence_number: u32, error_code: &[u8]) {
        self.told(frame!(SubmitSharesError {
            channel_id: CHANNEL,
            sequence_number,
            error_code
        }));
    }

    /// Submits some, and gives their sequence numbers.
    fn submit_some(&mut self, work: &Arc<Work>, count: u32) -> Vec<u32> {
        (0..count).for_each(|nonce| self.submit(work, nonce));
        let shares = self.shares();
        shares.iter().map(|share| share.sequence_number).collect()
    }
}

// sv2: 5.3.12 the extranonce is exactly as long as was negotiated
// sv2: 5.3.11 version is the full nVersion
#[test]
fn a_share_carries_pad_lane_and_what_the_miner_rolled() {
    for (size, extranonce) in [
        (8, &[1, 2, 3, 4, 5, 6, 7, 8][..]),
        (10, &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ] {
        let mut world = World::connected(config());
        world.set_up(0);
        world.grant(size);
        let work = world.first_job();
        world.forget();
        world.submit(&work, 0xdead_beef);
        let [share] = world.shares()[..] else {
            panic!()
        };
        assert_eq!((share.channel_id, share.job_id), (CHANNEL, 1));
        assert_eq!((share.nonce, share.ntime), (0xdead_beef, work.ntime));
        assert_eq!(share.version, VERSION | 0x2000);
        assert_eq!(share.extranonce, extranonce);
        assert!(share.tlv.is_empty());
    }
}

// sv2: 5.3.11 sequence_number is unique and rises in the channel
#[test]
fn sequence_numbers_rise_by_one() {
    let (mut world, work) = World::up();
    let numbers = world.submit_some(&work, 3);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

// sv2: 5.3.13 one SubmitShares.Success acknowledges every share up to its number
#[test]
fn one_acknowledgement_ends_the_whole_batch_once() {
    let (mut world, work) = World::up();
    let numbers = world.submit_some(&work, 4);
    world.now += Duration::from_millis(30);
    world.accepts(numbers[2]);
    assert_eq!(world.results(), [Accepted; 3]);
    let timed: Vec<bool> = world
        .ends()
        .iter()
        .map(|end| end.latency.is_some())
        .collect();
    assert_eq!(timed, [false, false, true]);
    world.accepts(numbers[2]);
    assert_eq!(world.results().len(), 3);
    world.accepts(numbers[3]);
    assert_eq!(world.results(), [Accepted; 4]);
    let books = world.link.settled();
    assert_eq!((books.accepted.shares, books.in_flight.shares), (4, 0));
}

// sv2: 5.3.14 SubmitShares.Error refuses one share
#[test]
fn a_refusal_ends_one_share_and_the_next_acknowledgement_passes_it_over() {
    let (mut world, work) = World::up();
    let numbers = world.submit_some(&work, 3);
    world.refuses(numbers[1], b"stale-share");
    assert_eq!(world.results(), [Rejected(RefusalKind::Stale)]);
    world.refuses(numbers[1], b"stale-share");
    world.accepts(numbers[2]);
    let ends = [Rejected(RefusalKind::Stale), Accepted, Accepted];
    assert_eq!(world.results(), ends);
}

// sv2: 3.5 error codes are counted, not acted on
#[test]
fn known_codes_have_their_kind_and_the_rest_is_other() {
    for (code, kind) in [
        (&b"stale-share"[..], RefusalKind::Stale),
        (b"invalid-job-id", RefusalKind::Stale),
        (b"duplicate-share", RefusalKind::Duplicate),
        (b"difficulty-too-low", RefusalKind::LowDifficulty),
        (b"too-low-difficulty", RefusalKind::LowDifficulty),
        (b"unknown-user", RefusalKind::Unauthorized),
        (b"invalid-channel-id", RefusalKind::NotSubscribed),
        (b"bad-extranonce-size", RefusalKind::Other),
        (b"\xff\0", RefusalKind::Other),
        (b"", RefusalKind::Other),
    ] {
        let (mut world, work) = World::up();
        let numbers = world.submit_some(&work, 1);
        world.refuses(numbers[0], code);
        assert_eq!(world.results(), [Rejected(kind)]);
        assert_eq!(world.down(), None);
    }
}

#[test]
fn answers_with_numbers_never_given_or_for_another_channel_end_nothing() {
    let (mut world, work) = World::up();
    let numbers = world.submit_some(&work, 2);
    for number in [numbers[1] + 1, numbers[1] + 5000, u32::MAX, 1 << 31] {
        world.accepts(number);
        world.refuses(number, b"stale-share");
    }
    world.told(frame!(SubmitSharesSuccess {
        channel_id: FOREIGN,
        last_sequence_number: numbers[1],
        new_submits_accepted_count: 2,
        new_shares_sum: 2
    }));
    world.told(frame!(SubmitSharesError {
        channel_id: GROUP,
        sequence_number: numbers[1],
        error_code: b""
    }));
    assert_eq!(world.results(), []);
    world.accepts(numbers[1]);
    assert_eq!(world.results(), [Accepted; 2]);
}

// sv2: 5.3.13 counts and sums are not ours to trust
#[test]
fn what_a_pool_counts_and_sums_changes_nothing() {
    for (count, sum) in [(0, 0), (1, u64::MAX), (u32::MAX, 0)] {
        let (mut world, work) = World::up();
        let numbers = world.submit_some(&work, 2);
        world.told(frame!(SubmitSharesSuccess {
            channel_id: CHANNEL,
            last_sequence_number: numbers[1],
            new_submits_accepted_count: count,
            new_shares_sum: sum
        }));
        assert_eq!(world.results(), [Accepted; 2]);
    }
}

#[test]
fn what_was_not_acknowledged_when_the_connection_ends_is_unknown() {
    let (mut world, work) = World::up();
    let numbers = world.submit_some(&work, 3);
    world.accepts(numbers[0]);
    world.input(Input::Disconnected("reset"));
    assert_eq!(world.results(), [Accepted, Unknown, Unknown]);
    assert!(world.link.settled().conserves());
}

#[test]
fn shares_on_work_of_an_earlier_block_or_connection_are_dropped_and_blocks_are_not() {
    let (mut world, first) = World::up();
    world.told(frame!(job(2, None)));
    world.told(frame!(prev_hash(2)));
    world.submit(&first, 1);
    world.submit_of(&first, 2, "farm.rig1", true);
    assert_eq!(world.results(), [SettleResult::Dropped(Dropped::Stale)]);
    assert_eq!(world.shares().len(), 1);
    world.input(Input::Disconnected("reset"));
    world.forget();
    world.submit(&first, 3);
    world.submit_of(&first, 4, "farm.rig1", true);
    assert_eq!(world.results(), [SettleResult::Dropped(Dropped::LinkLost)]);
    world.pass(Duration::from_secs(31));
    world.input(Input::Connected);
    world.set_up(0);
    world.grant(8);
    world.first_job();
    let [share] = world.shares()[..] else {
        panic!()
    };
    assert_eq!((share.nonce, share.job_id), (4, 1), "the block that waited");
}

#[test]
fn a_block_that_waited_leaves_even_if_the_same_read_ends_the_connection() {
    let (mut world, first) = World::up();
    world.input(Input::Disconnected("reset"));
    world.submit_of(&first, 4, "farm.rig1", true);
    world.pass(Duration::from_secs(31));
    world.input(Input::Connected);
    world.set_up(0);
    world.grant(8);
    world.forget();
    let mut read = Vec::new();
    job(1, None).write(&mut read);
    prev_hash(1).write(&mut read);
    CloseChannel {
        channel_id: CHANNEL,
        reason_code: b"moving",
    }
    .write(&mut read);
    let (mut frames, mut chunk) = (Frames::new(MAX_UP), &read[..]);
    while let Some(frame) = frames.next(&mut chunk) {
        let frame = Input::Frame(frame.expect("it is short"));
        world.link.handle_input(world.now, frame);
    }
    world.drain();
    assert_eq!(world.shares().len(), 1);
    assert_eq!(world.results(), [Unknown]);
    let counted = world.link.settled().submitted.shares;
    assert_eq!(counted, 1, "and it counts as written");
}

#[test]
fn shares_on_older_jobs_of_the_same_block_are_forwarded_under_their_own_id_and_prefix() {
    use crate::stratum::v2::message::SetExtranoncePrefix;
    let (mut world, first) = World::up();
    world.told(frame!(SetExtranoncePrefix {
        channel_id: CHANNEL,
        extranonce_prefix: &[9]
    }));
    world.told(frame!(job(2, Some(NTIME))));
    world.forget();
    world.submit(&first, 1);
    assert_eq!(world.results(), []);
    assert_eq!(world.shares()[0].job_id, 1);
}

// sv2: 0x0002 1.1 user_identity is at most 32 bytes
// sv2: 0x0002 1.2 once agreed every share carries its name
#[test]
fn a_name_of_32_bytes_goes_whole_and_a_longer_one_by_the_end_of_its_machine() {
    use crate::stratum::v2::message::{Numbers, RequestExtensionsSuccess};
    use crate::stratum::v2::tlv::user_identity;
    let mut world = World::connected(Config {
        identity: Identity::Worker,
        ..config()
    });
    world.set_up(0);
    world.told(frame!(RequestExtensionsSuccess {
        request_id: 1,
        supported_extensions: Numbers(&[[2, 0]])
    }));
    world.grant(8);
    let work = world.first_job();
    // "account." has eight bytes.
    let fits = "a".repeat(24);
    let long = format!("{}b", "a".repeat(40));
    for (machine, name) in [
        (fits.clone(), format!("account.{fits}")),
        ("a".repeat(25), "a".repeat(25)),
        (long.clone(), long[9..].to_owned()),
    ] {
        world.forget();
        world.submit_of(&work, 1, &format!("farm.{machine}"), false);
        let [share] = world.shares()[..] else {
            panic!()
        };
        assert_eq!(user_identity(share.tlv), Ok(Some(name.as_bytes())));
    }
}

#[test]
fn sequence_numbers_go_round_after_32_bits_without_losing_a_share() {
    let (mut world, work) = World::up();
    world.link.ledger.skip_to(u64::from(u32::MAX) - 1);
    let numbers = world.submit_some(&work, 3);
    assert_eq!(numbers, [u32::MAX, 0, 1]);
    world.accepts(0);
    assert_eq!(world.results(), [Accepted; 2]);
    world.refuses(1, b"");
    assert_eq!(world.results().len(), 3);
}
