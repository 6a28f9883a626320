//! What shares count where several channels are at it, where there is none, and where a window is full.

use super::shares::{answer, error, success};
use super::*;
use crate::proxy::tally::Reject;
use crate::stratum::v2::code;
use crate::work::seen::Seen;

#[test]
fn what_several_channels_want_at_once_is_all_carried_out() {
    let mut world = World::with(config(), 0);
    world.pool_difficulty = Difficulty::MIN;
    let channels = [(); 5].map(|()| world.extended(4));
    let job = world.block();
    world.out.clear();
    world.judges = false;
    for channel in [channels[3], channels[1], channels[4]] {
        world.says(frame!(found_extended(channel, 1, job)));
    }
    // Their verdicts come before anybody asks what they lead to.
    for (id, request) in std::mem::take(&mut world.judging) {
        let proof = share::prove(&request.work, request.lane, &request.share);
        let judged = session::Input::Judged(&request, &proof);
        world.session.handle_input(world.now, Input::Of(id, judged));
    }
    world.drain();
    assert_eq!(world.submitted.len(), 3);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.counts.accepted.shares, 3);
}

#[test]
fn shares_for_no_channel_are_counted_and_cost_none_its_patience() {
    let mut world = World::mining(config());
    let job = world.works;
    for sequence in 0..300 {
        world.says(frame!(found_extended(FIRST + 1, sequence, job)));
    }
    world.out.clear();
    let good = success(FIRST, 1, 1, 0);
    assert_eq!(answer(&mut world, found_extended(FIRST, 1, job)), good);
    world.pass(Duration::from_secs(2));
    let astray = world.counts.rejected[Reject::NotSubscribed as usize].shares;
    assert_eq!((world.counts.received.shares, astray), (301, 300));
}

/// STRATUM.md section 4: new shares are refused, none is forgotten.
#[test]
fn a_full_duplicate_window_refuses_what_is_new_on_its_channel_alone() {
    let mut world = World::with(config(), 0);
    world.memory.seen = Seen::with_limit(2);
    let (full, other) = (world.extended(4), world.extended(4));
    let job = world.block();
    world.out.clear();
    for (sequence, expected) in [
        (1, success(full, 1, 1, 0)),
        (2, success(full, 2, 1, 0)),
        (3, error(full, 3, code::INVALID_SHARE)),
        (1, error(full, 1, code::DUPLICATE_SHARE)),
    ] {
        let share = found_extended(full, sequence, job);
        assert_eq!(answer(&mut world, share), expected);
    }
    for sequence in 1..=3 {
        let expected = success(other, sequence, 1, 0);
        let share = found_extended(other, sequence, job);
        assert_eq!(answer(&mut world, share), expected);
    }
    world.pass(Duration::from_secs(2));
    assert_eq!(world.counts.rejected[Reject::Overloaded as usize].shares, 1);
}
