//! Time, rates, sizes and the end of a connection.

use super::*;
use crate::stratum::v2::frame::{MAX_BEFORE_SETUP, MAX_DOWN};
use crate::stratum::v2::message::CloseChannel;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_setup_has_fifteen_seconds() {
    let mut late = World::connected(config(), ROLLED);
    late.pass(15 * SECOND - Duration::from_millis(1));
    assert_eq!(late.end, None);
    late.says(frame!(setup(0)));
    late.pass(60 * SECOND);
    assert_eq!(late.end, None);
    let mut never = World::connected(config(), ROLLED);
    never.pass(15 * SECOND);
    assert_eq!(never.end, Some(Close::SubscribeDeadline));
    assert_eq!(never.session.poll_timeout(), None);
}

// sv2: 5.3.2 a connection without channels is closed after a reasonable time
#[test]
fn a_connection_without_a_channel_for_an_hour_is_closed() {
    let hour = 3600 * SECOND;
    let mut world = World::with(config(), 0);
    world.pass(hour - SECOND);
    assert_eq!(world.end, None);
    let id = world.standard();
    world.pass(hour);
    world.says(frame!(CloseChannel {
        channel_id: id,
        reason_code: b"",
    }));
    world.pass(hour - SECOND);
    assert_eq!(world.end, None, "it counts from the last channel's end");
    world.pass(SECOND);
    assert_eq!(world.end, Some(Close::AuthorizeDeadline));
}

#[test]
fn a_client_hears_something_every_thirty_seconds() {
    let mut world = World::mining(config());
    world.pass(29 * SECOND);
    assert_eq!(world.said(), []);
    world.pass(SECOND);
    assert!(matches!(world.said()[..], [FromPool::SetTarget(_)]));
    world.pass(30 * SECOND);
    assert!(matches!(world.said()[..], [FromPool::SetTarget(_)]));
}

#[test]
fn frames_are_small_before_the_setup_and_larger_after_it_and_longer_ones_end_it() {
    let mut world = World::connected(config(), ROLLED);
    assert_eq!(world.session.max_payload(), MAX_BEFORE_SETUP);
    world.says(frame!(setup(0)));
    assert_eq!(world.session.max_payload(), MAX_DOWN);
    let frame = |length: usize| {
        let [a, b, ..] = length.to_le_bytes();
        [&[0, 0x40, 0, a, b, 0][..], &vec![0; length]].concat()
    };
    world.sends(&frame(MAX_DOWN));
    assert_eq!(world.end, None);
    world.sends(&frame(MAX_DOWN + 1));
    assert_eq!(world.end, Some(Close::Overlong));
}

fn slow() -> Config {
    let bucket = Bucket {
        per_second: 1.0,
        burst: 3.0,
    };
    Config {
        submits: bucket,
        others: bucket,
        ..config()
    }
}

#[test]
fn an_empty_bucket_stops_reading_until_there_is_a_token_again() {
    let mut world = World::connected(slow(), ROLLED);
    world.says(frame!(setup(0)));
    world.standard();
    assert_eq!(world.session.paused_until(world.now), None);
    world.standard();
    let until = world.session.paused_until(world.now);
    assert_eq!(until, Some(world.now + SECOND));
    world.pass(SECOND);
    assert_eq!(world.session.paused_until(world.now), None);
}

#[test]
fn each_channel_may_send_as_many_shares_as_a_connection_of_its_own() {
    for channels in [1, 2] {
        let mut world = World::connected(slow(), ROLLED);
        world.says(frame!(setup(0)));
        for _ in 0..channels {
            world.extended(4);
            world.pass(5 * SECOND);
        }
        let job = world.block();
        let mut sent = 0;
        while world.session.paused_until(world.now).is_none() {
            sent += 1;
            world.says(frame!(found_extended(FIRST, sent, job)));
        }
        assert_eq!(sent, 3 * channels);
    }
}

#[test]
fn thirty_two_shares_may_wait_for_their_verdicts() {
    let mut world = World::mining(config());
    let job = world.works;
    world.judges = false;
    for sequence in 0..31 {
        world.says(frame!(found_extended(FIRST, sequence, job)));
    }
    assert_eq!(world.session.paused_until(world.now), None);
    world.says(frame!(found_extended(FIRST, 31, job)));
    assert!(world.session.paused_until(world.now).is_some());
    world.judge();
    assert_eq!(world.session.paused_until(world.now), None);
}

#[test]
fn the_drain_answers_what_was_read_and_nothing_after_it() {
    let mut world = World::mining(config());
    let job = world.works;
    world.judges = false;
    world.says(frame!(found_extended(FIRST, 1, job)));
    world.input(Input::Drain);
    world.says(frame!(found_extended(FIRST, 2, job)));
    assert_eq!(world.end, None, "a verdict is due");
    world.judges = true;
    world.drain();
    assert!(matches!(
        world.said()[..],
        [FromPool::SubmitSharesSuccess(success)] if success.new_submits_accepted_count == 1
    ));
    assert_eq!(world.end, Some(Close::Draining));
    assert_eq!(world.session.poll_timeout(), None);
}

#[test]
fn every_end_is_told_once() {
    let ends: [(Input<'_>, Close); 4] = [
        (Input::TooLong, Close::Overlong),
        (Input::Drain, Close::Draining),
        (Input::Close(Close::LayoutChanged), Close::LayoutChanged),
        (Input::SlowReader, Close::SlowReader),
    ];
    for (input, why) in ends {
        let mut world = World::mining(config());
        world.input(input);
        assert_eq!(world.end.take(), Some(why));
        world.input(Input::Drain);
        world.pass(3600 * SECOND);
        assert_eq!((world.end, world.said()), (None, vec![]));
        let seats: Vec<SessionId> = world.session.sessions().collect();
        assert_eq!(seats, [OWN]);
        assert!(world.session.take_memory(OWN).is_some());
    }
}

/// Issue 5: at most 2 KiB for each channel more. Its jobs are shared or small, so its own size is most of it.
#[test]
fn a_channel_is_small() {
    let (connection, channel) = (size_of::<Session>(), size_of::<super::super::Channel>());
    assert!(connection <= 1024, "{connection}");
    assert!(channel <= 1024, "{channel}");
}
