//! From the first byte to an open channel.

use super::workers::by_worker;
use super::*;
use crate::stratum::v2::message::{
    ChannelEndpointChanged, CloseChannel, Numbers, OpenMiningChannelError,
    REQUIRES_EXTENDED_CHANNELS, REQUIRES_FIXED_VERSION, Reconnect, RequestExtensionsError,
    RequestExtensionsSuccess, SetGroupChannel, SetupConnectionError, UpdateChannel,
    WORKER_HASHRATE,
};

// sv2: 3.6.1 SetupConnection is the first message
// sv2: 3.6.1 vendor is always set
// sv2: 3.6.1 the versions offered are 2 to 2
#[test]
fn the_first_message_sets_up_mining_at_version_2_and_nothing_follows_it_unanswered() {
    let world = World::connected(config());
    let [FromMiner::SetupConnection(setup)] = world.said()[..] else {
        panic!("{:?}", world.said());
    };
    assert_eq!((setup.protocol, setup.flags), (0, 0));
    assert_eq!((setup.min_version, setup.max_version), (2, 2));
    assert_eq!(
        (setup.endpoint_host, setup.endpoint_port),
        (&b"pool.example"[..], 3336)
    );
    assert_eq!((setup.vendor, setup.device_id), (&b"sluice"[..], &b""[..]));
}

// sv2: 3.6.2 the version that is used must be one we offered
#[test]
fn a_pool_that_wants_another_version_is_left() {
    let mut world = World::connected(config());
    world.told(frame!(SetupConnectionSuccess {
        used_version: 3,
        flags: 0
    }));
    assert!(world.down().is_some());
}

// sv2: 3.6.3 SetupConnection.Error ends the connection
// sv2: 3.5 an error code causes no action
#[test]
fn a_refused_setup_is_told_in_words_and_tried_again_later() {
    for (error_code, words) in [
        (&b"no\x07body"[..], "no%07body"),
        (b"unsupported-feature-flags", "unsupported-feature-flags"),
        (b"unsupported-protocol", "unsupported-protocol"),
        (b"protocol-version-mismatch", "protocol-version-mismatch"),
        (b"unknown-user", "unknown-user"),
        (b"", ""),
    ] {
        let mut world = World::connected(config());
        world.told(frame!(SetupConnectionError {
            flags: 0,
            error_code
        }));
        let refused = Event::LoginRefused(words.into());
        assert!(world.events().contains(&refused));
        assert!(world.down().is_some());
        world.pass(Duration::from_secs(31));
        assert!(matches!(world.outputs.last(), Some(Output::Connect(None))));
    }
}

// sv2: 3.6.2 REQUIRES_FIXED_VERSION forbids version rolling
// sv2: 3.6.2 REQUIRES_EXTENDED_CHANNELS asks for what we open anyhow
#[test]
fn a_pool_that_wants_its_version_kept_has_it_kept_whatever_its_jobs_say() {
    for (flags, mask) in [
        (0, 0x1fff_e000),
        (REQUIRES_FIXED_VERSION, 0),
        (REQUIRES_EXTENDED_CHANNELS, 0x1fff_e000),
        (REQUIRES_EXTENDED_CHANNELS | REQUIRES_FIXED_VERSION, 0),
    ] {
        let mut world = World::connected(config());
        world.set_up(flags);
        assert_eq!(world.status().version_mask, Some(mask));
        world.grant(8);
        assert_eq!(world.first_job().version_mask, mask);
    }
}

// sv2: 5.3.2 a proxy with nothing below sends 0.0
#[test]
fn a_channel_is_opened_in_the_name_of_the_account_with_no_hashrate_while_nothing_is_below() {
    let mut world = World::connected(config());
    world.set_up(0);
    let [open] = world.opens()[..] else { panic!() };
    assert_eq!(open.user_identity, b"account.sluice");
    assert_eq!(open.nominal_hash_rate, 0.0);
    let easiest = crate::work::Target::from_difficulty(config().easiest);
    assert_eq!(open.max_target, easiest.to_le_bytes());
    assert_eq!(open.min_extranonce_size, 8);
}

// sv2: 5.3.6 a refusal is met by asking for less
// sv2: 3.5 an error code causes no action
#[test]
fn a_pool_that_refuses_is_asked_for_less_down_to_4_on_the_same_connection() {
    let mut world = World::connected(config());
    world.set_up(0);
    for (size, error_code) in [
        (8, &b"unknown-user"[..]),
        (7, b"max-target-out-of-range"),
        (6, b"min-extranonce-size-too-large"),
        (5, b""),
        (4, b"who knows"),
    ] {
        assert_eq!(world.asked_channel().1, size);
        assert_eq!(world.down(), None);
        let request_id = world.asked_channel().0;
        world.told(frame!(OpenMiningChannelError {
            request_id,
            error_code
        }));
    }
    assert!(world.down().is_some());
    let refused = Event::LoginRefused("who knows".into());
    assert!(world.events().contains(&refused));
}

// sv2: 5.3.2 request_id is unique in the connection
#[test]
fn no_request_on_a_connection_has_the_number_of_another() {
    let mut world = World::connected(by_worker());
    world.set_up(0);
    world.told(frame!(RequestExtensionsError {
        request_id: 1,
        unsupported_extensions: Numbers(&[[2, 0]]),
        required_extensions: Numbers(&[])
    }));
    let request_id = world.asked_channel().0;
    world.told(frame!(OpenMiningChannelError {
        request_id,
        error_code: b""
    }));
    world.grant(8);
    world.told(frame!(job(1, None)));
    world.told(frame!(prev_hash(1)));
    for _ in 0..2 {
        // A question whether the pool is there, each.
        world.pass(Duration::from_secs(75));
        let request_id = world.asked_channel().0;
        world.told(frame!(OpenMiningChannelError {
            request_id,
            error_code: b""
        }));
    }
    let id = |said: FromMiner<'_>| match said {
        FromMiner::RequestExtensions(asked) => Some(u32::from(asked.request_id)),
        FromMiner::OpenExtendedMiningChannel(open) => Some(open.request_id),
        _ => None,
    };
    let mut ids: Vec<u32> = world.said().into_iter().filter_map(id).collect();
    assert_eq!(ids.len(), 5);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "{ids:?}");
}

#[test]
fn a_refusal_of_something_else_changes_nothing() {
    let mut world = World::connected(config());
    world.set_up(0);
    let request_id = world.asked_channel().0 + 1;
    world.told(frame!(OpenMiningChannelError {
        request_id,
        error_code: b""
    }));
    assert_eq!(world.opens().len(), 1);
}

// sv2: 5.3.5 extranonce_size is the room we have
#[test]
fn what_the_pool_gives_is_what_is_told_also_when_it_is_less_than_asked() {
    for (given, size, excluded) in [(16, 16, false), (8, 8, false), (4, 4, true)] {
        let mut world = World::connected(config());
        world.set_up(0);
        world.grant(given);
        let status = world.status();
        assert_eq!(status.extranonce2_size, Some(size));
        assert_eq!(status.excluded, excluded, "the layout is 4+4");
    }
}

// sv2: 5.3.12 the extranonce of a share is at most 32 bytes
#[test]
fn a_channel_whose_extranonce_no_share_can_carry_is_refused() {
    for (given, usable) in [(0, false), (1, true), (32, true), (33, false), (300, false)] {
        let mut world = World::connected(config());
        world.set_up(0);
        world.grant(given);
        assert_eq!(world.down().is_none(), usable, "{given}");
    }
}

// sv2: 0x0001 1.1 RequestExtensions comes right after the setup, and its answer before all else
// sv2: 0x0002 1.3 a name goes with shares only if that was agreed
#[test]
fn worker_names_are_negotiated_before_the_channel_is_opened() {
    let mut world = World::connected(by_worker());
    world.set_up(0);
    let [_, FromMiner::RequestExtensions(asked)] = world.said()[..] else {
        panic!("{:?}", world.said());
    };
    assert!(asked.requested_extensions.iter().eq([WORKER_HASHRATE]));
    world.told(frame!(RequestExtensionsSuccess {
        request_id: asked.request_id,
        supported_extensions: Numbers(&[WORKER_HASHRATE.to_le_bytes()])
    }));
    world.grant(8);
    let work = world.first_job();
    world.forget();
    world.submit(&work, 1);
    let [FromMiner::SubmitSharesExtended(share)] = world.said()[..] else {
        panic!();
    };
    let name = crate::stratum::v2::tlv::user_identity(share.tlv);
    assert_eq!(name, Ok(Some(&b"account.rig1"[..])));
}

// sv2: 0x0001 4 the client goes on without extensions that are refused or not answered
#[test]
fn a_pool_without_extensions_is_worked_for_in_the_name_of_the_account() {
    let refused = |world: &mut World| {
        world.told(frame!(RequestExtensionsError {
            request_id: 1,
            unsupported_extensions: Numbers(&[[2, 0]]),
            required_extensions: Numbers(&[])
        }));
    };
    let silent = |world: &mut World| {
        world.pass(Duration::from_millis(1999));
        assert_eq!(world.opens().len(), 0);
        world.pass(Duration::from_millis(1));
    };
    let other = |world: &mut World| {
        world.told(frame!(SetGroupChannel {
            group_channel_id: 1,
            channel_ids: Numbers(&[])
        }));
    };
    for answer in [refused as fn(&mut World), silent, other] {
        let mut world = World::connected(by_worker());
        world.set_up(0);
        answer(&mut world);
        assert_eq!(world.opens().len(), 1);
        world.grant(8);
        let work = world.first_job();
        world.forget();
        world.submit(&work, 1);
        // And then a channel is asked for that bears the worker's name.
        let [
            FromMiner::SubmitSharesExtended(share),
            FromMiner::OpenExtendedMiningChannel(open),
        ] = world.said()[..]
        else {
            panic!("{:?}", world.said());
        };
        assert_eq!((share.channel_id, share.tlv), (CHANNEL, &b""[..]));
        assert_eq!(open.user_identity, b"account.rig1");
    }
}

// sv2: 3.6.4 ChannelEndpointChanged resets what extensions were agreed
#[test]
fn a_changed_endpoint_has_agreed_to_nothing_until_it_is_asked_again() {
    let mut world = World::connected(by_worker());
    world.set_up(0);
    let granted = RequestExtensionsSuccess {
        request_id: 1,
        supported_extensions: Numbers(&[[2, 0]]),
    };
    world.told(frame!(granted));
    world.grant(8);
    let work = world.first_job();
    world.forget();
    world.told(frame!(ChannelEndpointChanged {
        channel_id: CHANNEL
    }));
    world.submit(&work, 1);
    world.told(frame!(granted));
    world.submit(&work, 2);
    let [
        FromMiner::RequestExtensions(_),
        FromMiner::SubmitSharesExtended(without),
        FromMiner::SubmitSharesExtended(with),
    ] = world.said()[..]
    else {
        panic!("{:?}", world.said());
    };
    assert!(without.tlv.is_empty() && !with.tlv.is_empty());
}

// sv2: 5.3.7 a proxy tells of changes below by UpdateChannel
#[test]
fn the_pool_is_told_when_the_fleet_has_doubled_halved_appeared_or_gone() {
    let mut world = World::open();
    let mut told = |fleet: f64| {
        world.forget();
        world.input(Input::Fleet(fleet));
        match world.said()[..] {
            [] => None,
            [
                FromMiner::UpdateChannel(UpdateChannel {
                    channel_id: CHANNEL,
                    nominal_hash_rate,
                    maximum_target: _,
                }),
            ] => Some(nominal_hash_rate),
            _ => panic!(),
        }
    };
    assert_eq!(told(0.0), None);
    assert_eq!(told(1e15), Some(1e15));
    assert_eq!(told(1.9e15), None);
    assert_eq!(told(0.6e15), None);
    assert_eq!(told(2e15), Some(2e15));
    assert_eq!(told(1e15), Some(1e15));
    assert_eq!(told(0.0), Some(0.0));
    assert_eq!(told(f64::NAN), None);
    assert_eq!(told(f64::INFINITY), Some(f32::MAX));
}

#[test]
fn nothing_is_said_without_a_connection() {
    let (mut world, _) = World::up();
    world.input(Input::Disconnected("reset"));
    world.forget();
    world.input(Input::Fleet(1e15));
    world.input(Input::Drain);
    assert_eq!(world.said(), []);
}

#[test]
fn a_fleet_that_came_while_the_channel_was_opened_is_told_once_it_is_open() {
    let mut world = World::connected(config());
    world.set_up(0);
    world.input(Input::Fleet(1e15));
    world.grant(8);
    assert!(matches!(
        world.said().last(),
        Some(FromMiner::UpdateChannel(_))
    ));
}

// sv2: 5.3.9 CloseChannel ends the channel, or all of a group
#[test]
fn a_closed_channel_or_group_ends_the_link_and_a_foreign_one_does_not() {
    for (channel_id, ends) in [(CHANNEL, true), (GROUP, true), (FOREIGN, false)] {
        let (mut world, _) = World::up();
        world.told(frame!(CloseChannel {
            channel_id,
            reason_code: b"bye"
        }));
        assert_eq!(world.down().is_some(), ends);
    }
}

// sv2: 5.3.9 CloseChannel is sent when we end
#[test]
fn a_drain_closes_the_channel_before_the_socket() {
    let (mut world, _) = World::up();
    world.input(Input::Drain);
    assert!(matches!(
        world.said()[..],
        [FromMiner::CloseChannel(CloseChannel {
            channel_id: CHANNEL,
            ..
        })]
    ));
    assert!(matches!(world.outputs[0], Output::Disconnect));
}

// sv2: 3.6.5 Reconnect with an empty host or port 0 means the present one
#[test]
fn a_reconnect_leads_only_to_the_own_host_or_one_on_the_list() {
    for (host, port, leads) in [
        (&b""[..], 0, Some(None)),
        (b"", 3400, Some(Some(("pool.example".to_owned(), 3400)))),
        (
            b"POOL.example",
            0,
            Some(Some(("POOL.example".to_owned(), 0))),
        ),
        (
            b"eu.example.org",
            1,
            Some(Some(("eu.example.org".to_owned(), 1))),
        ),
        (b"evil.example", 1, None),
    ] {
        let (mut world, _) = World::up();
        world.told(frame!(Reconnect {
            new_host: host,
            new_port: port
        }));
        assert_eq!(world.down().is_some(), leads.is_some());
        world.pass(Duration::from_secs(1));
        let led = world.outputs.iter().find_map(|output| match output {
            Output::Connect(to) => Some(to.clone()),
            _ => None,
        });
        assert_eq!(led, leads);
    }
}

// sv2: 3.6.1 endpoint_host and endpoint_port are where we connect
#[test]
fn after_a_reconnect_the_setup_names_the_new_place() {
    let (mut world, _) = World::up();
    world.told(frame!(Reconnect {
        new_host: b"eu.example.org",
        new_port: 0
    }));
    world.pass(Duration::from_secs(1));
    world.forget();
    world.input(Input::Connected);
    let [FromMiner::SetupConnection(setup)] = world.said()[..] else {
        panic!();
    };
    let place = (setup.endpoint_host, setup.endpoint_port);
    assert_eq!(place, (&b"eu.example.org"[..], 3336));
}

// sv2: 3.4 messages of unknown extensions are ignored
#[test]
fn what_we_do_not_know_is_ignored_and_what_is_malformed_is_counted() {
    let (mut world, _) = World::up();
    // Extension 0x4001, then message 0x7f of the protocol itself; then a SetTarget cut short.
    world.told(|out| out.extend([0x01, 0x40, 0x00, 1, 0, 0, 0xee]));
    world.told(|out| out.extend([0x00, 0x80, 0x7f, 1, 0, 0, 0xee]));
    assert_eq!((world.bad_jobs(), world.down()), (0, None));
    for bad in 1..=3 {
        world.told(|out| out.extend([0x00, 0x80, 0x21, 1, 0, 0, 0xee]));
        assert_eq!(world.bad_jobs(), bad);
    }
    assert!(world.down().is_some());
}

#[test]
fn a_pool_that_does_not_answer_within_15_s_is_left() {
    let mut world = World::connected(config());
    world.pass(Duration::from_millis(14_999));
    assert_eq!(world.down(), None);
    world.pass(Duration::from_millis(1));
    assert!(world.down().is_some());
}
