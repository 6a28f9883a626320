//! Channels opened, refused, updated and closed.

use super::*;
use crate::proxy::session::NoSeat;
use crate::stratum::v2::code;
use crate::stratum::v2::message::{
    CloseChannel, OpenExtendedMiningChannelSuccess, OpenMiningChannelError,
    OpenStandardMiningChannelSuccess, REQUIRES_STANDARD_JOBS, REQUIRES_VERSION_ROLLING, SetTarget,
    UpdateChannel, UpdateChannelError,
};

fn refused(world: &mut World, request_id: u32, why: &'static str) {
    let error = OpenMiningChannelError {
        request_id,
        error_code: why.as_bytes(),
    };
    assert_eq!(world.said(), [FromPool::OpenMiningChannelError(error)]);
    assert_eq!(world.end, None, "only the channel is refused");
}

fn close(channel_id: u32) -> CloseChannel<'static> {
    CloseChannel {
        channel_id,
        reason_code: b"bye",
    }
}

fn update(channel_id: u32, difficulty: f64) -> UpdateChannel {
    UpdateChannel {
        channel_id,
        nominal_hash_rate: 0.0,
        maximum_target: target(difficulty),
    }
}

// sv2: 5.3.2 request_id is given back and not interpreted
// sv2: 5.2.2 servers offer standard and extended channels
// sv2: 5.2.3 all channels of a group have a full extranonce of one length
// sv2: 5.1.2 the coinbase of a group's job has one script length
#[test]
fn a_standard_channel_is_given_its_whole_extranonce_and_an_extended_one_the_head_of_it() {
    let mut world = World::with(config(), 0);
    world.says(frame!(standard(41)));
    world.says(frame!(extended(42, 3)));
    let standard = OpenStandardMiningChannelSuccess {
        request_id: 41,
        channel_id: FIRST,
        target: target(Difficulty::MIN.value()),
        extranonce_prefix: &[0x0a, 0x0b, 0x0d, 0, 0, 0, 0, 0],
        group_channel_id: GROUP,
    };
    let extended = OpenExtendedMiningChannelSuccess {
        request_id: 42,
        channel_id: FIRST + 1,
        target: target(Difficulty::MIN.value()),
        extranonce_size: 4,
        extranonce_prefix: &[0x0a, 0x0b, 0x0e, 0],
        group_channel_id: GROUP,
    };
    assert_eq!(
        world.said(),
        [
            FromPool::OpenStandardMiningChannelSuccess(standard),
            FromPool::OpenExtendedMiningChannelSuccess(extended),
        ]
    );
}

// sv2: 5.1 every mining device has a part of the search space of its own
#[test]
fn every_channel_asks_the_router_for_a_seat_of_its_own() {
    let mut world = World::with(config(), REQUIRES_VERSION_ROLLING);
    world.seats = false;
    world.says(frame!(standard(1)));
    world.says(frame!(extended(2, 6)));
    let wishes: Vec<_> = world.attaching.drain(..).collect();
    let ids: Vec<u64> = wishes.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [OWN.0, 200], "the first is the connection's own");
    let wish = |at: usize| {
        let Attach {
            version_mask,
            min_bits,
            extranonce,
            ..
        } = wishes[at].1;
        (version_mask, min_bits, extranonce)
    };
    assert_eq!(wish(0), (ROLLED, 16, 0));
    assert_eq!(wish(1), (ROLLED, 16, 6));
    assert_eq!(world.said(), []);
}

// sv2: 5.2 a channel id is given once in the life of a connection
// sv2: 5.3.2 request_id is given back and not interpreted
// sv2: 5.2.3 no channel has the id of its group
#[test]
fn ids_are_never_used_again() {
    let mut world = World::with(config(), 0);
    let mut ids = vec![GROUP];
    for _ in 0..5 {
        let id = world.standard();
        assert!(!ids.contains(&id), "{id} again");
        ids.push(id);
        world.says(frame!(close(id)));
    }
}

// sv2: 5.3.6 what cannot be opened is refused by its request id
#[test]
fn what_cannot_be_given_is_refused_and_why() {
    let mut world = World::with(config(), 0);
    world.says(frame!(extended(9, 33)));
    refused(&mut world, 9, code::MIN_EXTRANONCE_SIZE_TOO_LARGE);
    world.seats = false;
    world.says(frame!(standard(10)));
    let (session, _) = world.attaching.pop_front().expect("it wants a seat");
    world.of(session, session::Input::NoSeat(NoSeat::Full));
    refused(&mut world, 10, code::CHANNEL_CAPACITY_EXHAUSTED);
    assert_eq!(world.closes(session), Some(Close::NoSeat));
    world.seats = true;

    let mut standard_only = World::with(config(), REQUIRES_STANDARD_JOBS);
    standard_only.says(frame!(extended(11, 4)));
    refused(&mut standard_only, 11, code::NO_EXTENDED_CHANNELS);
    assert_eq!(standard_only.standard(), FIRST);

    let locked = Config {
        password: Some("x".into()),
        ..config()
    };
    let mut locked = World::with(locked, 0);
    locked.says(frame!(standard(12)));
    refused(&mut locked, 12, code::UNKNOWN_USER);
}

#[test]
fn a_seat_with_less_extranonce_than_was_asked_for_is_refused() {
    let mut world = World::with(config(), 0);
    world.seats = false;
    world.says(frame!(extended(9, 5)));
    let (id, attach) = world.attaching.pop_front().expect("it wants a seat");
    assert_eq!(attach.extranonce, 5);
    world.attaching.push_back((
        id,
        Attach {
            extranonce: 4,
            ..attach
        },
    ));
    world.seat();
    refused(&mut world, 9, code::MIN_EXTRANONCE_SIZE_TOO_LARGE);
    assert_eq!(world.closes(id), Some(Close::NoSeat));
}

#[test]
fn as_many_channels_as_the_listener_allows_and_not_one_more() {
    let two = Config {
        channels: 2,
        ..config()
    };
    let mut world = World::with(two, 0);
    let first = world.standard();
    world.extended(4);
    world.says(frame!(standard(3)));
    refused(&mut world, 3, code::CHANNEL_CAPACITY_EXHAUSTED);
    world.says(frame!(close(first)));
    world.standard();
}

/// The first target, for a client whose limit is this one.
fn opened_under(max_target: [u8; 32]) -> Option<[u8; 32]> {
    let mut config = config();
    config.vardiff.max = Difficulty::new(1024.0).expect("within range");
    let mut world = World::with(config, 0);
    world.says(frame!(OpenStandardMiningChannel {
        max_target,
        ..standard(1)
    }));
    match world.said()[..] {
        [FromPool::OpenStandardMiningChannelSuccess(open)] => Some(open.target),
        [FromPool::OpenMiningChannelError(error)] => {
            assert_eq!(error.error_code, code::MAX_TARGET_OUT_OF_RANGE.as_bytes());
            None
        }
        ref said => panic!("{said:?}"),
    }
}

// sv2: 5.3.2 the server accepts max_target or answers with an error
#[test]
fn the_first_target_is_never_above_what_the_client_accepts() {
    assert_eq!(opened_under(target(64.0)), Some(target(64.0)));
    assert_eq!(opened_under(target(65.0)), Some(target(128.0)));
    assert_eq!(opened_under(target(1024.0)), Some(target(1024.0)));
    assert_eq!(opened_under(target(1025.0)), None);
    assert_eq!(opened_under([0; 32]), None);
}

#[test]
fn a_limit_one_below_a_target_of_ours_gets_the_next_target() {
    // Little-endian, and its lowest bytes are zero.
    let mut below = target(64.0);
    let lowest = below.iter().position(|byte| *byte > 0);
    let lowest = lowest.expect("not nothing");
    below[..lowest].fill(0xff);
    below[lowest] -= 1;
    assert_eq!(opened_under(below), Some(target(128.0)));
}

#[test]
fn a_hash_rate_that_is_no_number_is_refused_to_its_channel_alone() {
    let mut world = World::mining(config());
    for rate in [f32::NAN, f32::INFINITY, -1.0] {
        // As written, then the rate put into its place: behind the id of the channel, or behind a name of 5 bytes.
        let mut frame = Vec::new();
        update(FIRST, 1e9).write(&mut frame);
        frame[10..14].copy_from_slice(&rate.to_le_bytes());
        world.sends(&frame);
        let said = world.said();
        let [FromPool::UpdateChannelError(error)] = said[..] else {
            panic!("{said:?}");
        };
        assert_eq!(error.channel_id, FIRST);
        assert_eq!(error.error_code, b"invalid-nominal-hashrate");
        let mut frame = Vec::new();
        let open = standard(77);
        let at = 6 + 4 + 1 + open.user_identity.len();
        open.write(&mut frame);
        frame[at..at + 4].copy_from_slice(&rate.to_le_bytes());
        world.sends(&frame);
        let said = world.said();
        let [FromPool::OpenMiningChannelError(error)] = said[..] else {
            panic!("{said:?}");
        };
        assert_eq!(error.request_id, 77);
        assert_eq!(error.error_code, b"invalid-nominal-hashrate");
    }
    assert_eq!(world.closes(OWN), None);
}

// sv2: 5.3.2 the nominal hash rate sets the target of the first job
#[test]
fn a_client_that_tells_its_hash_rate_begins_where_it_is_wanted() {
    let mut world = World::with(starting_at(1.0), 0);
    // 12 shares a minute of 2^32 hashes each, 1000 times over.
    let rate = 12.0 / 60.0 * 4_294_967_296.0 * 1000.0;
    world.says(frame!(OpenStandardMiningChannel {
        nominal_hash_rate: rate,
        ..standard(1)
    }));
    world.opened();
    world.block();
    let said = world.said();
    let [_, FromPool::SetTarget(told), FromPool::SetNewPrevHash(_)] = said[..] else {
        panic!("before the first job is mined: {said:?}");
    };
    assert_eq!(told.maximum_target, target(512.0));
}

// sv2: 5.3.7 a maximum_target below the present one is reflected by SetTarget
// sv2: 5.3.21 shares on a job that is active keep the target it had
#[test]
fn an_update_to_a_smaller_target_is_told_at_once_and_holds_for_the_jobs_that_come() {
    let mut world = World::mining(config());
    let job = world.works;
    world.says(frame!(update(FIRST, 1e9)));
    let expected = SetTarget {
        channel_id: FIRST,
        maximum_target: target(f64::from(1 << 30)),
    };
    assert_eq!(world.said(), [FromPool::SetTarget(expected)]);
    let refresh = |(_, output): &(SessionId, session::Output)| {
        matches!(output, session::Output::Refresh(LinkId(0)))
    };
    assert!(world.outputs.iter().any(refresh), "a job for it is wanted");
    world.says(frame!(found_extended(FIRST, 1, job)));
    let said = world.said();
    assert!(
        matches!(said[..], [FromPool::SubmitSharesSuccess(_)]),
        "{said:?}"
    );
    world.pass(GAP);
    let job = world.job();
    world.says(frame!(found_extended(FIRST, 2, job)));
    let said = world.said();
    let [
        FromPool::NewExtendedMiningJob(_),
        FromPool::SubmitSharesError(error),
    ] = said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!(error.error_code, code::DIFFICULTY_TOO_LOW.as_bytes());
}

/// A renewal is a job to every miner of the link: no client sets the pace for all.
#[test]
fn updates_renew_the_work_once_in_20_s() {
    let mut world = World::mining(config());
    let harder = |world: &mut World, difficulty: f64| {
        world.outputs.clear();
        world.says(frame!(update(FIRST, difficulty)));
        let refresh = |(_, output): &(SessionId, session::Output)| {
            matches!(output, session::Output::Refresh(LinkId(0)))
        };
        world.outputs.iter().any(refresh)
    };
    assert!(harder(&mut world, 1e3));
    world.pass(Duration::from_millis(19_999));
    world.job();
    assert!(!harder(&mut world, 1e6));
    world.pass(Duration::from_millis(1));
    assert!(harder(&mut world, 1e9));
}

// sv2: 5.3.8 there is no answer to an update that is accepted
#[test]
fn an_update_to_a_larger_target_is_not_answered() {
    let mut world = World::mining(config());
    world.says(frame!(update(FIRST, Difficulty::MIN.value())));
    assert_eq!(world.said(), []);
}

// sv2: 5.3.8 an update that is not valid is answered with an error
#[test]
fn an_update_of_no_channel_or_to_no_target_of_ours_is_refused() {
    let mut config = config();
    config.vardiff.max = Difficulty::new(1024.0).expect("within range");
    let mut world = World::mining(config);
    let error = |channel_id, why: &'static str| {
        FromPool::UpdateChannelError(UpdateChannelError {
            channel_id,
            error_code: why.as_bytes(),
        })
    };
    for id in [0, GROUP, FIRST + 1, u32::MAX] {
        world.says(frame!(update(id, 1.0)));
        assert_eq!(world.said(), [error(id, code::INVALID_CHANNEL_ID)]);
    }
    world.says(frame!(update(FIRST, 1025.0)));
    assert_eq!(world.said(), [error(FIRST, code::MAX_TARGET_OUT_OF_RANGE)]);
    assert_eq!(world.end, None);
}

// sv2: 5.3.9 the server stops sending messages for a channel that is closed
#[test]
fn nothing_is_sent_for_a_channel_that_its_client_closed_not_even_verdicts() {
    let mut world = World::mining(config());
    let job = world.works;
    world.judges = false;
    world.says(frame!(found_extended(FIRST, 1, job)));
    world.says(frame!(found_extended(FIRST, 1, job)));
    world.says(frame!(close(FIRST)));
    assert_eq!(
        world.closes(OWN),
        None,
        "its shares wait for their verdicts"
    );
    world.judges = true;
    world.drain();
    world.pass(GAP);
    world.job();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.said(), []);
    assert_eq!(world.closes(OWN), Some(Close::Peer));
    let counts = world.counts;
    assert_eq!((counts.received.shares, counts.accepted.shares), (2, 1));
    assert_eq!(counts.forwarded.shares, 1, "what it sent before counts");
}

// sv2: 5.3.9 CloseChannel of the group closes all channels of it
#[test]
fn closing_the_group_closes_every_channel_and_a_foreign_id_none() {
    let mut world = World::with(config(), 0);
    world.standard();
    world.extended(4);
    for id in [0, FIRST + 2, u32::MAX] {
        world.says(frame!(close(id)));
        assert_eq!((world.closed.len(), world.said()), (0, vec![]));
    }
    world.says(frame!(close(GROUP)));
    assert_eq!(world.closed.len(), 2);
    assert_eq!((world.end, world.said()), (None, vec![]));
    assert_eq!(world.standard(), FIRST + 2);
}

#[test]
fn a_request_without_an_answer_yet_survives_the_end_of_its_group() {
    let mut world = World::with(config(), 0);
    world.seats = false;
    world.says(frame!(standard(1)));
    world.says(frame!(close(GROUP)));
    // A guess at its id closes nothing either: it was not told.
    world.says(frame!(close(FIRST)));
    world.seats = true;
    world.drain();
    assert_eq!(world.opened(), FIRST);
}

// sv2: 5.3.9 the server may close a channel
#[test]
fn a_withdrawn_lease_closes_the_channel_once_its_shares_are_answered() {
    let mut world = World::mining(config());
    let job = world.works;
    world.judges = false;
    world.says(frame!(found_extended(FIRST, 1, job)));
    world.of(OWN, session::Input::Close(Close::Withdrawn));
    world.judges = true;
    world.drain();
    world.pass(GAP);
    world.job();
    let said = world.said();
    let [
        FromPool::SubmitSharesSuccess(_),
        FromPool::CloseChannel(close),
    ] = said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!(
        (close.channel_id, close.reason_code),
        (FIRST, &b"withdrawn"[..])
    );
    assert_eq!(world.closes(OWN), Some(Close::Withdrawn));
    assert_eq!(world.end, None, "the connection stays");
}

#[test]
fn a_channel_withdrawn_before_it_is_seated_is_refused() {
    let mut world = World::with(config(), 0);
    world.seats = false;
    world.says(frame!(standard(8)));
    world.of(OWN, session::Input::Close(Close::Withdrawn));
    refused(&mut world, 8, code::CHANNEL_CAPACITY_EXHAUSTED);
    world.seats = true;
    world.drain();
    assert_eq!(world.said(), [], "its seat came too late");
}

#[test]
fn nothing_is_sent_after_the_end_whatever_comes_late() {
    let mut world = World::with(config(), 0);
    world.standard();
    world.roots = false;
    world.block();
    world.seats = false;
    world.says(frame!(standard(8)));
    world.input(Input::Close(Close::Draining));
    assert_eq!(world.end, Some(Close::Draining));
    world.root();
    let no_seat = session::Input::NoSeat(NoSeat::Full);
    world.of(SessionId(200), no_seat);
    world.of(OWN, session::Input::Close(Close::Withdrawn));
    assert_eq!(world.said(), []);
}

#[test]
fn a_seat_that_comes_after_the_end_of_its_connection_goes_back_unseen() {
    let mut world = World::with(config(), 0);
    world.seats = false;
    world.says(frame!(standard(8)));
    world.input(Input::Close(Close::Draining));
    assert_eq!(world.end, Some(Close::Draining));
    world.seat();
    assert_eq!(world.said(), []);
    assert!(
        world.session.take_memory(OWN).is_some(),
        "the lane comes back"
    );
}
