//! Which work comes of a pool's jobs.

use super::*;
use crate::stratum::v2::message::{Numbers, SetExtranoncePrefix, SetGroupChannel, SetTarget};
use crate::work::Target;

/// A job and its previous block for a channel or group.
fn at(channel_id: u32, job_id: u32, min_ntime: Option<u32>) -> NewExtendedMiningJob<'static> {
    NewExtendedMiningJob {
        channel_id,
        ..job(job_id, min_ntime)
    }
}

// sv2: 5.3.17 SetNewPrevHash names a future job
// sv2: 5.3.16 the coinbase is prefix, extranonce_prefix, extranonce, suffix
// sv2: 5.1.3 a future job waits for its previous block
// sv2: 5.3.17 what a SetNewPrevHash brings is mined at once
#[test]
fn a_future_job_becomes_clean_work_when_its_previous_block_comes() {
    let mut world = World::open();
    world.told(frame!(job(1, None)));
    assert_eq!(world.works().len(), 0);
    world.told(frame!(prev_hash(1)));
    let work = world.work();
    assert_eq!(
        *work.coinbase_prefix,
        *b"\x01\0\0\0\x01\x09\xaa\xbb\xcc\xdd"
    );
    assert_eq!(*work.coinbase_suffix, [0xff, 0]);
    assert_eq!(*work.branch, [[0x11; 32], [0x22; 32]]);
    assert_eq!(work.prev_hash, [0x77; 32]);
    assert_eq!((work.version, work.nbits), (VERSION, NBITS));
    assert_eq!((work.ntime, work.pool_ntime), (NTIME, NTIME));
    assert_eq!(&*work.pool_job, "1");
    assert!(world.status().up);
    assert!(world.events().contains(&Event::NewBlock));
}

// sv2: 5.3.5 extranonce_size above what is needed stays zero
#[test]
fn what_the_pool_gives_beyond_the_layout_is_pad() {
    let mut world = World::connected(config());
    world.set_up(0);
    world.grant(16);
    let work = world.first_job();
    assert_eq!(work.pad, 8);
    assert_eq!(work.coinbase_prefix.len(), 6 + 4 + 8);
}

// sv2: 5.3.16 a job with min_ntime is mined at once, on the last previous block
#[test]
fn a_job_with_min_ntime_is_work_at_once_and_not_clean() {
    let (mut world, first) = World::up();
    world.told(frame!(job(2, Some(NTIME + 9))));
    let work = world.work();
    assert_eq!(&*work.pool_job, "2");
    assert_eq!(work.prev_hash, first.prev_hash);
    assert_eq!(work.pool_ntime, NTIME + 9);
    assert_eq!(work.generation, first.generation);
}

// sv2: 5.3.17 min_ntime is the smallest nTime on that block
// sv2: 5.3.11 ntime is at least the header_timestamp
#[test]
fn no_work_begins_before_its_block_allows() {
    let (mut world, _) = World::up();
    world.told(frame!(job(2, Some(NTIME - 9))));
    assert_eq!(world.work().pool_ntime, NTIME);
}

#[test]
fn a_job_to_be_mined_before_any_previous_block_is_bad() {
    let mut world = World::open();
    world.told(frame!(job(1, Some(NTIME))));
    assert_eq!((world.bad_jobs(), world.works().len()), (1, 0));
}

// sv2: 5.3.17 only the named job is valid, the others are dropped
#[test]
fn a_previous_block_drops_every_job_that_it_does_not_name() {
    let (mut world, first) = World::up();
    world.told(frame!(job(2, None)));
    world.told(frame!(job(3, None)));
    world.told(frame!(prev_hash(3)));
    let work = world.work();
    assert_eq!(&*work.pool_job, "3");
    assert!(work.generation > first.generation);
    world.told(frame!(prev_hash(2)));
    assert_eq!((world.bad_jobs(), world.works().len()), (1, 1));
}

// sv2: 5.3.17 after a SetNewPrevHash older work is invalid
#[test]
fn a_previous_block_for_an_unknown_job_ends_older_work_and_counts_for_the_next() {
    let (mut world, first) = World::up();
    let block = SetNewPrevHash {
        prev_hash: [0x78; 32],
        ..prev_hash(55)
    };
    world.told(frame!(block));
    assert_eq!(world.bad_jobs(), 1);
    world.submit(&first, 1);
    let stale = SettleResult::Dropped(crate::proxy::tally::Drop::Stale);
    assert_eq!(world.results(), [stale]);
    world.pass(Duration::from_secs(14));
    world.input(Input::Refresh);
    world.input(Input::Layout(Layout { lane: 2, rolled: 4 }));
    world.input(Input::Layout(Layout::WIDE));
    assert_eq!(world.works().len(), 0, "nothing worth renewing");
    world.told(frame!(job(2, Some(NTIME))));
    assert_eq!(world.work().prev_hash, [0x78; 32]);
}

#[test]
fn the_first_job_after_a_previous_block_without_one_is_clean_even_on_the_same_block() {
    let (mut world, first) = World::up();
    world.told(frame!(prev_hash(55)));
    world.told(frame!(job(2, Some(NTIME))));
    assert!(world.work().generation > first.generation);
}

#[test]
fn a_block_without_a_job_for_15_s_ends_the_link_and_one_with_a_job_does_not() {
    for (with_job, ends) in [(false, true), (true, false)] {
        let (mut world, _) = World::up();
        world.told(frame!(prev_hash(55)));
        world.pass(Duration::from_millis(14_999));
        assert_eq!(world.down(), None);
        if with_job {
            world.told(frame!(job(2, Some(NTIME))));
        }
        world.pass(Duration::from_millis(1));
        assert_eq!(world.down().is_some(), ends);
    }
}

#[test]
fn sixteen_future_jobs_are_kept_and_of_seventeen_the_newest() {
    for (jobs, kept) in [(16, true), (17, false)] {
        let mut world = World::open();
        (1..=jobs).for_each(|id| world.told(frame!(job(id, None))));
        world.told(frame!(prev_hash(1)));
        assert_eq!(world.works().len() == 1, kept);
    }
}

#[test]
fn a_future_job_under_a_known_id_replaces_the_other() {
    let mut world = World::open();
    world.told(frame!(job(1, None)));
    let other = NewExtendedMiningJob {
        version: 0x2000_0004,
        ..job(1, None)
    };
    world.told(frame!(other));
    world.told(frame!(prev_hash(1)));
    assert_eq!(world.work().version, 0x2000_0004);
}

// sv2: 5.2.3 what is sent to a group reaches its channels
// sv2: 5.2 a channel of another is not ours
#[test]
fn jobs_for_our_group_are_ours_and_those_for_another_channel_are_not() {
    for (id, ours) in [(CHANNEL, true), (GROUP, true), (FOREIGN, false)] {
        let mut world = World::open();
        world.told(frame!(at(id, 1, None)));
        world.told(frame!(SetNewPrevHash {
            channel_id: id,
            ..prev_hash(1)
        }));
        world.told(frame!(at(id, 2, Some(NTIME))));
        assert_eq!(world.works().len(), if ours { 2 } else { 0 });
        assert_eq!(world.bad_jobs(), 0);
    }
}

// sv2: 5.3.22 SetGroupChannel moves us to another group
// sv2: 5.3.22 a channel is never its own group
#[test]
fn a_new_group_takes_the_place_of_the_old_if_it_names_us() {
    let members: [&[[u8; 4]]; 2] = [
        &[FOREIGN.to_le_bytes(), CHANNEL.to_le_bytes()],
        &[FOREIGN.to_le_bytes()],
    ];
    for (members, moved) in [(members[0], true), (members[1], false)] {
        let (mut world, _) = World::up();
        world.told(frame!(SetGroupChannel {
            group_channel_id: 44,
            channel_ids: Numbers(members)
        }));
        world.told(frame!(at(44, 2, Some(NTIME))));
        assert_eq!(world.works().len() == 1, moved);
        world.told(frame!(at(GROUP, 3, Some(NTIME))));
        assert_eq!(world.works().len(), 1);
    }
}

// sv2: 5.3.16 version_rolling_allowed
#[test]
fn version_bits_may_be_rolled_only_in_jobs_that_allow_it() {
    let (mut world, first) = World::up();
    assert_eq!(first.version_mask, 0x1fff_e000);
    let fixed = NewExtendedMiningJob {
        version_rolling_allowed: false,
        ..job(2, Some(NTIME))
    };
    world.told(frame!(fixed));
    assert_eq!(world.work().version_mask, 0);
    assert_eq!(world.status().version_mask, Some(0));
    world.told(frame!(job(3, Some(NTIME))));
    assert_eq!(world.work().version_mask, 0x1fff_e000);
}

// sv2: 5.3.16 the bits that may be rolled may come as anything
#[test]
fn a_pool_may_set_the_bits_that_we_roll_as_it_likes() {
    let (mut world, _) = World::up();
    for (id, bits) in [(2, 0x1fff_e000), (3, 0x1555_4000), (4, 0x2000)] {
        let version = VERSION | bits;
        world.told(frame!(NewExtendedMiningJob {
            version,
            ..job(id, Some(NTIME))
        }));
        let work = world.work();
        assert_eq!((work.version, work.version_mask), (version, 0x1fff_e000));
    }
}

// sv2: 5.3.21 a target counts for later jobs and for future jobs that are here, not for the active one
#[test]
fn a_target_holds_for_later_and_waiting_jobs_and_is_kept_to_the_last_bit() {
    let (mut world, first) = World::up();
    assert_eq!(first.pool_target, Target::from_le_bytes(&target(1)));
    world.told(frame!(job(2, None)));
    for channel_id in [GROUP, FOREIGN] {
        let n = if channel_id == GROUP { 2 } else { 3 };
        world.told(frame!(SetTarget {
            channel_id,
            maximum_target: target(n)
        }));
    }
    assert_eq!(world.works().len(), 0);
    let exact = Target::from_le_bytes(&target(2));
    world.pass(Duration::from_secs(25));
    assert_eq!(world.work().pool_target, first.pool_target, "renewed");
    world.told(frame!(job(3, Some(NTIME + 60))));
    assert_eq!(world.work().pool_target, exact);
    world.told(frame!(prev_hash(2)));
    assert_eq!(world.work().pool_target, exact);
    let (told, work) = (world.status().difficulty, world.work().pool_difficulty);
    assert_eq!(told, Some(work));
}

#[test]
fn a_target_of_zero_is_bad_and_changes_nothing() {
    let (mut world, first) = World::up();
    world.told(frame!(SetTarget {
        channel_id: CHANNEL,
        maximum_target: [0; 32]
    }));
    assert_eq!(world.bad_jobs(), 1);
    world.told(frame!(job(2, Some(NTIME))));
    assert_eq!(world.work().pool_target, first.pool_target);
}

// sv2: 5.3.10 a prefix counts for jobs that come after it, and only for a channel
#[test]
fn a_new_prefix_is_in_later_jobs_and_not_in_those_that_are_here() {
    let (mut world, first) = World::up();
    world.told(frame!(job(2, None)));
    let prefix = |channel_id| SetExtranoncePrefix {
        channel_id,
        extranonce_prefix: &[9, 9],
    };
    world.told(frame!(prefix(GROUP)));
    world.told(frame!(job(3, Some(NTIME))));
    assert!(world.work().coinbase_prefix.ends_with(&PREFIX));
    world.told(frame!(prefix(CHANNEL)));
    world.told(frame!(prev_hash(2)));
    assert!(world.work().coinbase_prefix.ends_with(&PREFIX));
    world.told(frame!(job(4, Some(NTIME))));
    assert!(world.work().coinbase_prefix.ends_with(&[9, 9, 9]));
    // Work under the old prefix is still good: each job has its own.
    world.forget();
    let current = world.link.workshop.generation();
    assert!(first.generation < current);
}

// sv2: 5.3.16 coinbase halves are stripped of BIP 141 fields
#[test]
fn a_job_beyond_our_limits_or_with_its_witness_is_bad_and_one_at_the_limit_is_not() {
    let longest = vec![1; 32 * 1024 - 8 - 4];
    let longer = vec![1; 32 * 1024 + 1];
    let path = [[0; 32]; 33];
    let with = |prefix, path| NewExtendedMiningJob {
        coinbase_tx_prefix: prefix,
        coinbase_tx_suffix: &[],
        merkle_path: path,
        ..job(2, Some(NTIME))
    };
    for (job, good) in [
        (with(&longest, &path[..32]), true),
        (with(&longer, &path[..32]), false),
        (with(&longest, &path), false),
        (with(&[1, 0, 0, 0, 0, 1, 1], &[]), false),
        (with(&[1, 0, 0, 0, 0, 0, 1], &[]), true),
    ] {
        let (mut world, _) = World::up();
        world.told(|out| job.write(out));
        assert_eq!(
            (world.works().len() == 1, world.bad_jobs() == 0),
            (good, good)
        );
    }
}

#[test]
fn three_bad_jobs_within_a_minute_end_the_link() {
    let (mut world, _) = World::up();
    for _ in 0..2 {
        world.told(frame!(prev_hash(55)));
    }
    assert_eq!(world.down(), None);
    world.told(frame!(prev_hash(55)));
    assert!(world.down().is_some());
}

#[test]
fn before_its_channel_is_open_nothing_a_pool_says_makes_work() {
    let mut world = World::connected(config());
    world.told(frame!(job(1, None)));
    world.told(frame!(prev_hash(1)));
    world.set_up(0);
    world.told(frame!(job(1, None)));
    world.told(frame!(prev_hash(1)));
    assert_eq!((world.works().len(), world.bad_jobs()), (0, 0));
}

#[test]
fn after_a_reconnect_nothing_of_the_old_connection_is_left() {
    let (mut world, first) = World::up();
    world.told(frame!(job(2, None)));
    world.input(Input::Disconnected("reset"));
    world.pass(Duration::from_secs(31));
    world.input(Input::Connected);
    world.set_up(0);
    world.grant(8);
    world.told(frame!(job(3, Some(NTIME))));
    assert_eq!(world.bad_jobs(), 1, "the previous block is gone");
    world.told(frame!(prev_hash(2)));
    assert_eq!(world.bad_jobs(), 2, "the future job is gone");
    let again = world.first_job();
    assert_eq!(again.epoch, first.epoch + 1);
    // The same content as before: it begins where nobody has been.
    assert!(again.ntime > first.ntime);
}
