//! What a connection agrees on before there is a channel.

use super::*;
use crate::stratum::v2::code;
use crate::stratum::v2::message::{
    FromPool, Numbers, REQUIRES_FIXED_VERSION, REQUIRES_STANDARD_JOBS, REQUIRES_VERSION_ROLLING,
    REQUIRES_WORK_SELECTION, RequestExtensions, RequestExtensionsError, RequestExtensionsSuccess,
    SetupConnectionError, SetupConnectionSuccess,
};

fn answer(setup: SetupConnection<'_>, version_mask: u32) -> World {
    let mut world = World::connected(config(), version_mask);
    world.says(frame!(setup));
    world
}

fn refused(world: &mut World, flags: u32, why: &'static str) {
    let error = SetupConnectionError {
        flags,
        error_code: why.as_bytes(),
    };
    assert_eq!(world.said(), [FromPool::SetupConnectionError(error)]);
    assert_eq!(world.end, Some(Close::Misbehaved));
}

fn accepted(world: &mut World, flags: u32) {
    let success = SetupConnectionSuccess {
        used_version: 2,
        flags,
    };
    assert_eq!(world.said(), [FromPool::SetupConnectionSuccess(success)]);
    assert_eq!(world.end, None);
}

// sv2: 3.6.1 the server answers SetupConnection with Success or Error
// sv2: 3.6.2 the version that is used is one the client offered
#[test]
fn the_second_version_is_spoken_wherever_it_is_among_those_offered() {
    for (min_version, max_version) in [(2, 2), (0, 2), (2, 9)] {
        let offer = SetupConnection {
            min_version,
            max_version,
            ..setup(0)
        };
        accepted(&mut answer(offer, ROLLED), 0);
    }
}

// sv2: 3.6.3 the flags of an error are 0 where they are not the reason
// sv2: 3.6.3 SetupConnection.Error comes before the connection is closed
#[test]
fn a_client_without_the_second_version_or_the_mining_protocol_is_told_so_and_leaves() {
    for (min_version, max_version) in [(1, 1), (3, 9), (2, 1)] {
        let offer = SetupConnection {
            min_version,
            max_version,
            ..setup(0)
        };
        refused(
            &mut answer(offer, ROLLED),
            0,
            code::PROTOCOL_VERSION_MISMATCH,
        );
    }
    for protocol in [1, 2, 3, 255] {
        let offer = SetupConnection {
            protocol,
            ..setup(0)
        };
        refused(&mut answer(offer, ROLLED), 0, code::UNSUPPORTED_PROTOCOL);
    }
}

// sv2: 3.6.3 the error names every flag that is not supported
#[test]
fn whoever_sets_all_flags_learns_all_that_cannot_be_served() {
    let known = REQUIRES_STANDARD_JOBS | REQUIRES_VERSION_ROLLING;
    refused(
        &mut answer(setup(u32::MAX), ROLLED),
        !known,
        code::UNSUPPORTED_FEATURE_FLAGS,
    );
    let custom = answer(setup(REQUIRES_WORK_SELECTION), ROLLED);
    refused(
        &mut { custom },
        REQUIRES_WORK_SELECTION,
        code::UNSUPPORTED_FEATURE_FLAGS,
    );
    accepted(&mut answer(setup(known), ROLLED), 0);
}

// sv2: 5.3.1 REQUIRES_FIXED_VERSION is never the answer to REQUIRES_VERSION_ROLLING
#[test]
fn where_no_version_may_be_rolled_whoever_must_is_refused_and_the_others_are_told() {
    for mask in [0, ROLLED & !0x2000] {
        accepted(&mut answer(setup(0), mask), REQUIRES_FIXED_VERSION);
        refused(
            &mut answer(setup(REQUIRES_VERSION_ROLLING), mask),
            REQUIRES_VERSION_ROLLING,
            code::UNSUPPORTED_FEATURE_FLAGS,
        );
    }
}

// sv2: 3.6.1 SetupConnection is the first message and there is one
#[test]
fn anything_before_the_setup_ends_the_connection_and_so_does_a_second_setup() {
    let mut early = World::connected(config(), ROLLED);
    early.says(frame!(standard(1)));
    assert_eq!((early.end, early.said()), (Some(Close::Misbehaved), vec![]));
    let mut twice = World::with(config(), 0);
    twice.says(frame!(setup(0)));
    assert_eq!((twice.end, twice.said()), (Some(Close::Misbehaved), vec![]));
}

// sv2: 3.4 messages of unknown extensions are ignored
#[test]
fn what_nobody_knows_is_ignored_before_and_after_the_setup() {
    let strange = |extension: u16, kind: u8| {
        let [low, high] = extension.to_le_bytes();
        [low, high, kind, 4, 0, 0, 1, 2, 3, 4]
    };
    let mut world = World::connected(config(), ROLLED);
    world.sends(&strange(0x4000, 0));
    world.says(frame!(setup(0)));
    accepted(&mut world, 0);
    for frame in [
        strange(0x7fff, 0x1a),
        strange(0xc000, 0x1a),
        strange(0x8000, 0xff),
        strange(0x0003, 0),
        // Of this extension, but the other way.
        strange(0x0001, 1),
        // A message that only servers send.
        strange(0x8000, 0x20),
    ] {
        world.sends(&frame);
    }
    assert_eq!((world.end, world.said()), (None, vec![]));
}

// sv2: 3.4 fields that extensions append are not an error
#[test]
fn bytes_behind_a_known_message_are_not_read() {
    let mut world = World::connected(config(), ROLLED);
    let mut longer = Vec::new();
    setup(0).write(&mut longer);
    longer.extend([0xee; 9]);
    longer[3] += 9;
    world.sends(&longer);
    accepted(&mut world, 0);
}

#[test]
fn a_message_cut_short_ends_the_connection() {
    let mut world = World::with(config(), 0);
    let mut short = Vec::new();
    standard(1).write(&mut short);
    short.pop();
    short[3] -= 1;
    world.sends(&short);
    assert_eq!((world.end, world.said()), (Some(Close::Malformed), vec![]));
}

fn negotiated(asked: &[u16]) -> (World, Vec<FromPool<'static>>) {
    let mut world = World::with(config(), 0);
    let asked: Vec<[u8; 2]> = asked.iter().map(|number| number.to_le_bytes()).collect();
    world.says(frame!(RequestExtensions {
        request_id: 5,
        requested_extensions: Numbers(&asked),
    }));
    let said = world.said();
    (world, said)
}

// sv2: 0x0001 1.1 the server says which of the extensions it supports
#[test]
fn of_the_extensions_asked_for_worker_names_are_granted() {
    for asked in [&[2][..], &[2, 3], &[0x4000, 2, 2]] {
        let (world, said) = negotiated(asked);
        let success = RequestExtensionsSuccess {
            request_id: 5,
            supported_extensions: Numbers(&[[2, 0]]),
        };
        assert_eq!(said, [FromPool::RequestExtensionsSuccess(success)]);
        assert_eq!(world.end, None);
    }
}

// sv2: 0x0001 4 the server answers with an error if it supports none of them
#[test]
fn whoever_asks_for_none_that_we_know_is_told_and_may_go_on() {
    for asked in [&[][..], &[3], &[0x4000, 3]] {
        let (mut world, said) = negotiated(asked);
        let asked: Vec<[u8; 2]> = asked.iter().map(|number| number.to_le_bytes()).collect();
        let error = RequestExtensionsError {
            request_id: 5,
            unsupported_extensions: Numbers(&asked),
            required_extensions: Numbers(&[]),
        };
        assert_eq!(said, [FromPool::RequestExtensionsError(error)]);
        assert_eq!(world.standard(), FIRST);
    }
}
