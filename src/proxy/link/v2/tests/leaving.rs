//! Channels of workers that are refused, lost or closed, and how many there may be: the worker mines on for the account's.

use super::workers::{FIRST, NEXT, SECOND, block_for, job_for};
use super::*;
use crate::proxy::link::ledger::OUTSTANDING;
use crate::proxy::link::v2::workers::channels::{CHANNELS, OPENINGS, REFUSALS};
use crate::proxy::link::v2::workers::{KNOWN, UNANSWERED};
use crate::proxy::tally::Drop as Dropped;
use crate::stratum::v2::message::CloseChannel;
use SettleResult::{Accepted, Unknown};

impl World {
    /// Ids of the channels that were closed.
    fn closes(&self) -> Vec<u32> {
        let close = |said: &FromMiner<'static>| match *said {
            FromMiner::CloseChannel(close) => Some(close.channel_id),
            _ => None,
        };
        self.said().iter().filter_map(close).collect()
    }

    fn closed(&mut self, channel_id: u32) {
        self.told(frame!(CloseChannel {
            channel_id,
            reason_code: b"bye"
        }));
    }

    /// Loses its connection and gets another; the account's work there.
    fn reconnects(&mut self) -> Arc<Work> {
        self.input(Input::Disconnected("reset"));
        self.pass(Duration::from_secs(60));
        self.forget();
        self.input(Input::Connected);
        self.comes_up()
    }
}

#[test]
fn a_worker_that_is_refused_a_channel_stays_on_the_accounts_until_the_next_connection() {
    let (mut world, account) = World::nameless();
    world.mines_on("rig1", &account);
    world.refuses_channel(world.asked_channel().0);
    assert_eq!(world.refused_workers(), ["account.rig1"]);
    assert!(world.mines_on("rig1", &account).is_empty());
    assert_eq!(world.sent()[0].0, CHANNEL);
    world.acknowledges();
    world.pass(Duration::from_secs(20));
    assert_eq!(world.refused_workers(), ["account.rig1"], "said once");
    assert_eq!(world.down(), None);

    world.reconnects();
    assert_eq!(world.opens().len(), 1, "and asked again");
}

// sv2: 5.3.9 a channel that we do not use is closed
#[test]
fn a_channel_with_too_little_extranonce_is_given_back_and_one_with_just_enough_is_used() {
    for (size, is_used) in [(7, false), (8, true), (32, true), (33, false)] {
        let (mut world, account) = World::nameless();
        world.mines_on("rig1", &account);
        assert_eq!(world.asked_channel().1, 8, "the layout is 4+4");
        world.gives(FIRST, size);
        world.begins(FIRST);
        let own = world.work_of("rig1");
        assert_eq!(own.id != account.id, is_used, "{size}");
        assert_eq!(world.closes() == [FIRST], !is_used, "{size}");
        assert_eq!(world.down(), None);
    }
}

#[test]
fn an_id_that_is_in_use_makes_no_second_channel() {
    let (mut world, account) = World::two();
    for id in [CHANNEL, FIRST] {
        world.mines_on(&format!("rig{id}"), &account);
        world.forget_outputs();
        world.gives(id, 8);
        assert_eq!(world.refused_workers().len(), 1);
        assert!(world.closes().is_empty(), "it is the channel of another");
    }
}

// sv2: 5.3.9 CloseChannel ends the channel, or all of a group
#[test]
fn a_channel_that_the_pool_closes_takes_its_worker_back_to_the_accounts_and_nobody_else() {
    let (mut world, account) = World::two();
    let (first, second) = (world.work_of("rig1"), world.work_of("rig2"));
    world.acknowledges();
    world.forget();
    world.submit_of(&first, 1, "rig1", false);
    world.submit_of(&second, 1, "rig2", false);
    let sent = world.sent();
    world.closed(FIRST);
    assert_eq!(world.results(), [Unknown], "its share, and no other");
    assert_eq!(world.down(), None);
    assert_eq!(world.refused_workers(), ["account.rig1"]);
    assert_eq!(world.work_of("rig1").id, account.id);
    assert_eq!(world.work_of("rig2").id, second.id);

    world.submit_of(&first, 2, "rig1", false);
    world.submit_of(&first, 3, "rig1", true);
    let lost = SettleResult::Dropped(Dropped::LinkLost);
    let ends = [Unknown, lost, lost];
    assert_eq!(world.results(), ends, "on no other channel, not a block");
    world.accepts_on(SECOND, sent[1].1);
    assert_eq!(world.results().last(), Some(&Accepted));
    assert!(
        world.mines_on("rig1", &account).is_empty(),
        "not asked again"
    );
}

#[test]
fn the_end_of_the_accounts_channel_or_of_the_group_is_the_end_of_the_connection() {
    for id in [CHANNEL, GROUP] {
        let (mut world, _) = World::two();
        world.closed(id);
        assert!(world.down().is_some());
    }
}

#[test]
fn workers_are_back_on_channels_of_their_own_after_a_reconnect() {
    let (mut world, _) = World::two();
    let old = world.work_of("rig1");
    let account = world.reconnects();
    let mut asked: Vec<_> = world
        .opens()
        .iter()
        .map(|open| open.user_identity)
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, [b"account.rig1", b"account.rig2"]);
    assert_eq!(world.work_of("rig1").id, account.id, "until they are open");

    world.forget_outputs();
    world.submit_of(&old, 1, "rig1", false);
    world.submit_of(&old, 2, "rig1", true);
    assert_eq!(
        world.results(),
        [SettleResult::Dropped(Dropped::LinkLost); 2],
        "its channel is gone"
    );
    // rig2's was asked for last.
    world.gives(SECOND, 8);
    world.begins(SECOND);
    let own = world.work_of("rig2");
    assert!(own.coinbase_prefix.ends_with(&SECOND.to_be_bytes()));
    assert_eq!(own.generation, account.generation);
    assert!(own.generation > old.generation);
}

#[test]
fn a_channel_without_a_share_for_an_hour_is_closed_and_its_worker_forgotten() {
    let (mut world, _) = World::two();
    let begun = world.now;
    while world.now < begun + Duration::from_secs(3600 - 10) {
        world.pass(Duration::from_secs(10));
        // Jobs keep the connection alive, and rig2 mines.
        world.told(frame!(job_for(GROUP, 2, Some(NTIME))));
        let own = world.work_of("rig2");
        world.submit_of(&own, 1, "rig2", false);
        world.acknowledges();
        assert!(world.closes().is_empty());
        world.forget_all_but_the_last_issue();
    }
    world.pass(Duration::from_secs(15));
    assert_eq!(world.closes(), [FIRST]);
    let account = world.work_of("rig0");
    assert_eq!(world.work_of("rig1").id, account.id);
    assert_ne!(world.work_of("rig2").id, account.id);
    assert_eq!(
        world.mines_on("rig1", &account),
        ["account.rig1"],
        "a new one"
    );
}

#[test]
fn a_worker_who_is_left_behind_at_a_new_block_waits_a_second_for_it_and_fifteen_for_its_channel() {
    let (mut world, _) = World::two();
    world.acknowledges();
    let (first, second) = (world.work_of("rig1"), world.work_of("rig2"));
    world.told(frame!(job_for(GROUP, 2, None)));
    world.told(frame!(block_for(CHANNEL, 2, NEXT)));
    let account = world.work_of("rig0");
    assert_eq!(account.prev_hash, NEXT);
    assert_eq!(world.work_of("rig1").id, first.id);
    assert_eq!(world.work_of("rig2").id, second.id);
    world.pass(Duration::from_millis(999));
    world.told(frame!(block_for(SECOND, 2, NEXT)));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.work_of("rig1").id, account.id, "it is too old now");
    let followed = world.work_of("rig2");
    assert_eq!((followed.prev_hash, &*followed.pool_job), (NEXT, "2"));

    world.pass(Duration::from_secs(9));
    world.told(frame!(block_for(FIRST, 2, NEXT)));
    assert_ne!(world.work_of("rig1").id, account.id, "late, and welcome");
    world.told(frame!(job_for(CHANNEL, 3, None)));
    world.told(frame!(job_for(SECOND, 3, None)));
    world.told(frame!(block_for(CHANNEL, 3, [0x79; 32])));
    world.told(frame!(block_for(SECOND, 3, [0x79; 32])));
    world.forget_all_but_the_last_issue();
    world.pass(Duration::from_secs(14));
    assert!(world.closes().is_empty());
    world.pass(Duration::from_secs(6));
    assert_eq!(world.closes(), [FIRST]);
    assert_eq!(world.refused_workers(), ["account.rig1"]);
}

#[test]
fn a_worker_whose_block_comes_without_its_job_mines_for_the_account_until_it_has_one() {
    let (mut world, account) = World::two();
    world.told(frame!(block_for(FIRST, 9, NEXT)));
    assert_eq!(world.work_of("rig1").id, account.id);
    assert_eq!(world.bad_jobs(), 0);
    world.told(frame!(job_for(FIRST, 10, Some(NTIME))));
    let own = world.work_of("rig1");
    assert_eq!((own.prev_hash, &*own.pool_job), (NEXT, "10"));
    assert!(own.generation > account.generation);
}

#[test]
fn a_worker_that_mines_another_ones_work_keeps_no_channel_and_is_asked_none_again() {
    let (mut world, _) = World::two();
    // A proxy below names rig1 with shares on the account's work, which is newer than what rig1 has itself.
    world.told(frame!(job_for(CHANNEL, 2, Some(NTIME))));
    let account = world.work_of("rig0");
    world.out.clear();
    world.submit_of(&account, 1, "rig1", false);
    assert_eq!(world.closes(), [FIRST]);
    assert_eq!(world.sent()[0].0, CHANNEL, "it counts all the same");
    assert!(world.mines_on("rig1", &account).is_empty());
    world.reconnects();
    assert_eq!(world.opens().len(), 1, "rig2 alone");

    // Whoever has mined on its channel before, and does again, keeps it.
    let (mut world, _) = World::two();
    let own = world.work_of("rig1");
    world.submit_of(&own, 1, "rig1", false);
    world.told(frame!(job_for(CHANNEL, 2, Some(NTIME))));
    let account = world.work_of("rig0");
    world.submit_of(&account, 1, "rig1", false);
    assert!(world.closes().is_empty());
}

#[test]
fn openings_wait_for_one_another_beyond_a_few_and_not_for_one_that_is_never_answered() {
    let (mut world, account) = World::nameless();
    for rig in 0..OPENINGS {
        assert_eq!(world.mines_on(&format!("rig{rig}"), &account).len(), 1);
    }
    assert!(world.mines_on("last", &account).is_empty());
    world.acknowledges();
    world.pass(Duration::from_secs(16));
    assert_eq!(world.opens().len(), 1, "the others are overdue");
    // What was given up is taken all the same when it comes.
    let request_id = world.asked_channel().0 - 1;
    world.told(frame!(OpenExtendedMiningChannelSuccess {
        channel_id: FIRST,
        ..granted(request_id, 8)
    }));
    world.begins(FIRST);
    let own = world.work_of(&format!("rig{}", OPENINGS - 1));
    assert_ne!(own.id, account.id);
}

#[test]
fn a_pool_that_refuses_one_channel_after_the_other_is_asked_no_more() {
    let (mut world, account) = World::nameless();
    for rig in 0..REFUSALS {
        assert_eq!(world.mines_on(&format!("rig{rig}"), &account).len(), 1);
        world.refuses_channel(world.asked_channel().0);
    }
    assert!(world.mines_on("last", &account).is_empty());
    assert_eq!(world.refused_workers().len(), REFUSALS as usize);
}

#[test]
fn there_are_so_many_channels_for_workers_and_not_one_more() {
    let (mut world, account) = World::nameless();
    for rig in 0..CHANNELS as u32 {
        assert_eq!(world.mines_on(&format!("rig{rig}"), &account).len(), 1);
        world.gives(1000 + rig, 8);
        world.forget_outputs();
    }
    assert!(world.mines_on("last", &account).is_empty());
    assert_eq!(world.sent()[0].0, CHANNEL, "it mines for the account");
    world.closed(1000);
    let asked = world.mines_on("last", &account);
    assert_eq!(asked, ["account.last"], "there is room again");
}

#[test]
fn work_of_another_layout_is_not_told_again_for_a_workers_sake() {
    let (mut world, _) = World::two();
    // The account's channel has no job now that could be made work of the new layout.
    world.told(frame!(block_for(CHANNEL, 9, NEXT)));
    world.input(Input::Layout(Layout { lane: 2, rolled: 4 }));
    world.forget_outputs();
    world.gives(SECOND + 1, 8);
    world.begins(SECOND + 1);
    assert!(world.works().is_empty());
    world.told(frame!(job_for(CHANNEL, 10, Some(NTIME))));
    let works = ["rig0", "rig2"].map(|worker| world.work_of(worker));
    assert!(works.iter().all(|work| work.layout.lane == 2));
    assert_ne!(works[0].id, works[1].id);
}

#[test]
fn so_many_workers_are_remembered_and_not_one_more() {
    let (mut world, account) = World::nameless();
    for rig in 0..KNOWN {
        assert_eq!(world.link.channel.workers.known(), rig);
        world.mines_on(&format!("rig{rig}"), &account);
    }
    world.mines_on("last", &account);
    assert_eq!(world.link.channel.workers.known(), KNOWN);
}

#[test]
fn a_channel_keeps_two_future_jobs_and_of_three_the_newest() {
    for (jobs, is_there) in [(2, true), (3, false)] {
        let (mut world, account) = World::two();
        (2..2 + jobs).for_each(|id| world.told(frame!(job_for(FIRST, id, None))));
        world.told(frame!(block_for(FIRST, 2, NEXT)));
        assert_eq!(world.work_of("rig1").id != account.id, is_there);
    }
}

#[test]
fn each_channel_may_have_a_batch_of_shares_unanswered_more() {
    let (mut world, account) = World::two();
    world.acknowledges();
    let most = OUTSTANDING + 2 * UNANSWERED;
    (0..most as u32).for_each(|nonce| world.submit_of(&account, nonce, "rig0", false));
    world.forget_outputs();
    assert_eq!(world.link.settled().in_flight.shares, most as u64);
    world.submit_of(&account, 0, "rig0", false);
    let full = SettleResult::Dropped(Dropped::LinkFull);
    assert_eq!(world.results(), [full]);
}

#[test]
fn a_drain_closes_every_channel() {
    let (mut world, account) = World::nameless();
    world.mines_on("rig1", &account);
    world.gives(FIRST, 8);
    world.accepts_on(CHANNEL, world.sent()[0].1);
    world.forget();
    world.input(Input::Drain);
    assert_eq!(world.closes(), [FIRST, CHANNEL]);
}

#[test]
fn another_layout_ends_channels_and_asks_for_new_ones() {
    let (mut world, _) = World::two();
    world.forget();
    world.input(Input::Layout(Layout { lane: 2, rolled: 4 }));
    let mut closes = world.closes();
    closes.sort_unstable();
    assert_eq!(closes, [FIRST, SECOND]);
    let sizes: Vec<u16> = world
        .opens()
        .iter()
        .map(|o| o.min_extranonce_size)
        .collect();
    assert_eq!(sizes, [6, 6]);
    let account = world.work_of("rig0");
    assert_eq!(world.work_of("rig1").id, account.id);
}
