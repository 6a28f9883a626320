//! Channels of workers: who gets one, and that what is told to one reaches no other. How they end is in `leaving`.

use super::*;
use crate::stratum::v2::message::{
    Numbers, OpenMiningChannelError, RequestExtensionsError, SetExtranoncePrefix, SetTarget,
    SubmitSharesError, SubmitSharesExtended, SubmitSharesSuccess, UpdateChannel,
};
use crate::work::Target;
use SettleResult::Accepted;

/// Channels of workers, as the pool numbers them.
pub(super) const FIRST: u32 = 21;
pub(super) const SECOND: u32 = 22;
/// The blocks after the first.
pub(super) const NEXT: [u8; 32] = [0x78; 32];

pub(super) fn by_worker() -> Config {
    Config {
        identity: Identity::Worker,
        ..config()
    }
}

pub(super) fn job_for(
    channel_id: u32,
    job_id: u32,
    min_ntime: Option<u32>,
) -> NewExtendedMiningJob<'static> {
    NewExtendedMiningJob {
        channel_id,
        ..job(job_id, min_ntime)
    }
}

pub(super) fn block_for(channel_id: u32, job_id: u32, prev_hash: [u8; 32]) -> SetNewPrevHash {
    SetNewPrevHash {
        channel_id,
        job_id,
        prev_hash,
        min_ntime: NTIME,
        nbits: NBITS,
    }
}

impl World {
    /// Up at a pool that takes no names with shares; the first work.
    pub(super) fn nameless() -> (Self, Arc<Work>) {
        let mut world = Self::connected(by_worker());
        let work = world.comes_up();
        (world, work)
    }

    /// A connection is answered, up to the first work.
    pub(super) fn comes_up(&mut self) -> Arc<Work> {
        self.set_up(0);
        self.told(frame!(RequestExtensionsError {
            request_id: 1,
            unsupported_extensions: Numbers(&[[2, 0]]),
            required_extensions: Numbers(&[])
        }));
        self.grant(8);
        self.forget();
        self.first_job()
    }

    /// Up, with a channel for rig1 and one for rig2, all three on the first block; the work of the account.
    pub(super) fn two() -> (Self, Arc<Work>) {
        let (mut world, work) = Self::nameless();
        for (worker, channel) in [("rig1", FIRST), ("rig2", SECOND)] {
            world.mines_on(worker, &work);
            world.gives(channel, 8);
            world.begins(channel);
        }
        (world, work)
    }

    /// A share of that worker on this work; whose channels are asked for because of it.
    pub(super) fn mines_on(&mut self, worker: &str, work: &Arc<Work>) -> Vec<String> {
        self.out.clear();
        self.submit_of(work, 1, worker, false);
        let name = |open: &OpenExtendedMiningChannel<'_>| {
            String::from_utf8_lossy(open.user_identity).into_owned()
        };
        self.opens().iter().map(name).collect()
    }

    /// The newest opening is granted.
    pub(super) fn gives(&mut self, channel_id: u32, size: u16) {
        let request_id = self.asked_channel().0;
        self.told(frame!(OpenExtendedMiningChannelSuccess {
            channel_id,
            extranonce_prefix: &channel_id.to_be_bytes(),
            ..granted(request_id, size)
        }));
    }

    pub(super) fn refuses_channel(&mut self, request_id: u32) {
        self.told(frame!(OpenMiningChannelError {
            request_id,
            error_code: b"too-many-channels"
        }));
    }

    /// A channel's first job, as pools tell it.
    pub(super) fn begins(&mut self, channel: u32) {
        self.told(frame!(job_for(channel, 1, None)));
        self.told(frame!(prev_hash_for(channel)));
    }

    /// What that worker mines by the newest issue; the account's if it has nothing of its own.
    pub(super) fn work_of(&self, worker: &str) -> Arc<Work> {
        let issues = self.outputs.iter().rev();
        let mut issues = issues.filter_map(|output| match output {
            Output::Issue(issue) => Some(issue.clone()),
            _ => None,
        });
        let newest = issues.next().expect("work was issued");
        newest.of(worker, None).work.clone()
    }

    /// Channel and sequence number of each share that was sent.
    pub(super) fn sent(&self) -> Vec<(u32, u32)> {
        let share = |said: &FromMiner<'static>| match *said {
            FromMiner::SubmitSharesExtended(SubmitSharesExtended {
                channel_id,
                sequence_number,
                ..
            }) => Some((channel_id, sequence_number)),
            _ => None,
        };
        self.said().iter().filter_map(share).collect()
    }

    pub(super) fn accepts_on(&mut self, channel_id: u32, last_sequence_number: u32) {
        self.told(frame!(SubmitSharesSuccess {
            channel_id,
            last_sequence_number,
            new_submits_accepted_count: 1,
            new_shares_sum: 1
        }));
    }

    /// Every share so far is acknowledged.
    pub(super) fn acknowledges(&mut self) {
        let last = u32::try_from(self.link.ledger.last_id()).expect("few shares");
        for channel in [CHANNEL, FIRST, SECOND] {
            self.accepts_on(channel, last);
        }
    }

    pub(super) fn refused_workers(&self) -> Vec<String> {
        let refused = |event: Event| match event {
            Event::WorkerRefused { worker, .. } => Some(worker),
            _ => None,
        };
        self.events().into_iter().filter_map(refused).collect()
    }
}

fn prev_hash_for(channel: u32) -> SetNewPrevHash {
    block_for(channel, 1, [0x77; 32])
}

#[test]
fn a_worker_gets_a_channel_in_its_name_at_its_first_share_and_mines_on_it_from_its_first_job_on() {
    let (mut world, account) = World::nameless();
    assert_eq!(world.mines_on("farm.rig1", &account), ["account.rig1"]);
    assert_eq!(world.sent()[0].0, CHANNEL);
    let again = world.mines_on("farm.rig1", &account);
    assert!(again.is_empty(), "it is asked for once");

    world.submit_of(&account, 1, "farm.rig2", false);
    world.gives(SECOND, 8);
    world.begins(SECOND);
    let own = world.work_of("elsewhere.rig2");
    assert!(own.coinbase_prefix.ends_with(&SECOND.to_be_bytes()));
    assert_eq!(own.generation, account.generation, "no clean job");
    assert_eq!(world.work_of("rig1").id, account.id, "its own is not open");

    world.forget();
    world.submit_of(&own, 1, "farm.rig2", false);
    world.submit_of(&account, 1, "farm.rig2", false);
    let channels: Vec<u32> = world.sent().iter().map(|sent| sent.0).collect();
    assert_eq!(channels, [SECOND, CHANNEL], "each where its work came from");
}

#[test]
fn no_channel_is_asked_for_where_all_come_under_one_name() {
    let (mut world, work) = World::up();
    assert!(world.mines_on("rig1", &work).is_empty());
}

// sv2: 5.2.3 what is sent to a group reaches its channels
#[test]
fn jobs_and_blocks_of_a_channel_reach_it_alone_and_those_of_the_group_every_one() {
    let (mut world, _) = World::two();
    let jobs = |world: &World| {
        ["rig0", "rig1", "rig2"].map(|worker| world.work_of(worker).pool_job.to_string())
    };
    assert_eq!(jobs(&world), ["1", "1", "1"]);
    world.told(frame!(job_for(FIRST, 2, Some(NTIME))));
    assert_eq!(jobs(&world), ["1", "2", "1"]);
    world.told(frame!(job_for(CHANNEL, 3, Some(NTIME))));
    assert_eq!(jobs(&world), ["3", "2", "1"]);
    world.told(frame!(job_for(GROUP, 4, Some(NTIME))));
    assert_eq!(jobs(&world), ["4", "4", "4"]);
    world.told(frame!(job_for(FOREIGN, 5, Some(NTIME))));
    assert_eq!(jobs(&world), ["4", "4", "4"]);

    world.told(frame!(job_for(GROUP, 6, None)));
    world.told(frame!(block_for(SECOND, 6, NEXT)));
    assert_eq!(jobs(&world), ["4", "4", "6"]);
    world.told(frame!(block_for(CHANNEL, 6, NEXT)));
    world.told(frame!(block_for(FIRST, 6, NEXT)));
    assert_eq!(jobs(&world), ["6", "6", "6"]);
    let generation = |worker: &str| world.work_of(worker).generation;
    assert_eq!(generation("rig1"), generation("rig0"));
    assert_eq!(generation("rig2"), generation("rig0"));
}

#[test]
fn a_new_block_of_one_channel_makes_shares_of_no_other_stale() {
    let (mut world, account) = World::two();
    let (first, second) = (world.work_of("rig1"), world.work_of("rig2"));
    world.told(frame!(job_for(GROUP, 2, None)));
    world.told(frame!(block_for(FIRST, 2, NEXT)));
    world.forget();
    for (worker, work) in [("rig1", &first), ("rig2", &second), ("rig0", &account)] {
        world.submit_of(work, 1, worker, false);
    }
    let channels: Vec<u32> = world.sent().iter().map(|sent| sent.0).collect();
    assert_eq!(channels, [SECOND, CHANNEL]);
}

// sv2: 5.3.13 one SubmitShares.Success acknowledges every share up to its number
// sv2: 5.3.14 SubmitShares.Error refuses one share
#[test]
fn an_answer_on_one_channel_ends_shares_of_no_other() {
    let (mut world, account) = World::two();
    let (first, second) = (world.work_of("rig1"), world.work_of("rig2"));
    let last = world.link.settled().in_flight.shares;
    world.forget();
    for (worker, work) in [
        ("rig1", &first),
        ("rig2", &second),
        ("rig1", &account),
        ("rig1", &first),
        ("rig2", &second),
    ] {
        world.submit_of(work, 1, worker, false);
    }
    let sent = world.sent();
    assert!(sent.windows(2).all(|pair| pair[0].1 < pair[1].1), "rising");
    world.accepts_on(FIRST, sent[4].1);
    assert_eq!(
        world.results(),
        [Accepted; 2],
        "both of the first, no other"
    );
    world.told(frame!(SubmitSharesError {
        channel_id: FIRST,
        sequence_number: sent[1].1,
        error_code: b"stale-share"
    }));
    assert_eq!(world.results().len(), 2, "that one is of the second");
    world.accepts_on(SECOND, sent[1].1);
    assert_eq!(world.results().len(), 3);
    world.accepts_on(CHANNEL, sent[4].1);
    world.accepts_on(SECOND, sent[4].1);
    let ended = 5 + last;
    assert_eq!(world.link.settled().accepted.shares, ended);
    assert_eq!(world.link.settled().in_flight.shares, 0);
}

// sv2: 5.3.21 a target counts for later jobs and for future jobs that are here, not for the active one
#[test]
fn a_target_and_a_prefix_of_one_channel_are_for_its_next_job_alone() {
    let (mut world, account) = World::two();
    let before = world.work_of("rig1");
    world.told(frame!(SetTarget {
        channel_id: FIRST,
        maximum_target: target(3)
    }));
    world.told(frame!(SetExtranoncePrefix {
        channel_id: FIRST,
        extranonce_prefix: &[9, 9, 9, 9]
    }));
    assert_eq!(world.work_of("rig1").id, before.id);
    world.told(frame!(job_for(GROUP, 2, Some(NTIME))));
    let own = world.work_of("rig1");
    assert_eq!(own.pool_target, Target::from_le_bytes(&target(3)));
    assert!(own.coinbase_prefix.ends_with(&[9, 9, 9, 9]));
    let other = world.work_of("rig2");
    assert_eq!(other.pool_target, account.pool_target);
    assert!(other.coinbase_prefix.ends_with(&SECOND.to_be_bytes()));
    assert!(world.work().coinbase_prefix.ends_with(&PREFIX));
}

#[test]
fn what_is_renewed_is_renewed_on_every_channel() {
    let (mut world, _) = World::two();
    let before = ["rig0", "rig1", "rig2"].map(|worker| world.work_of(worker));
    world.input(Input::Refresh);
    world.pass(Duration::from_secs(2));
    for (before, worker) in before.iter().zip(["rig0", "rig1", "rig2"]) {
        let renewed = world.work_of(worker);
        assert!(renewed.id > before.id && renewed.ntime > before.ntime);
        assert_eq!(renewed.coinbase_prefix, before.coinbase_prefix);
    }
}

#[test]
fn a_renewal_that_a_worker_waits_for_is_not_lost_in_a_job_of_the_account_alone() {
    let (mut world, _) = World::two();
    let before = world.work_of("rig1");
    world.input(Input::Refresh);
    world.told(frame!(job_for(CHANNEL, 2, Some(NTIME))));
    world.pass(Duration::from_secs(2));
    assert!(world.work_of("rig1").id > before.id);
}

// sv2: 5.3.7 a proxy tells of changes below by UpdateChannel
#[test]
fn the_pool_is_told_what_each_channel_is_for_and_the_account_has_the_rest() {
    let mut world = World::connected(by_worker());
    world.input(Input::Fleet(4e12));
    let account = world.comes_up();
    // Counted as one minute's work: of this pool's difficulty a share is 1.1e12 hashes.
    world.mines_on("rig1", &account);
    let share = account.pool_difficulty.value() * 4_294_967_296.0;
    let rate = world.opens()[0].nominal_hash_rate;
    let expected = (share / 60.0) as f32;
    assert!((rate / expected - 1.0).abs() < 0.1, "{rate} {expected}");
    world.gives(FIRST, 8);
    world.begins(FIRST);
    let own = world.work_of("rig1");
    world.forget();
    // One a second, for a minute and a half.
    for _ in 0..90 {
        world.pass(Duration::from_secs(1));
        world.submit_of(&own, 1, "rig1", false);
        world.acknowledges();
    }
    world.pass(Duration::from_secs(5));
    let told = |channel: u32| {
        let said = world.said();
        let mut updates = said.iter().rev().filter_map(|said| match *said {
            FromMiner::UpdateChannel(UpdateChannel {
                channel_id,
                nominal_hash_rate,
                ..
            }) if channel_id == channel => Some(f64::from(nominal_hash_rate)),
            _ => None,
        });
        updates.next()
    };
    let worker = told(FIRST).expect("it has grown");
    assert!(worker > 0.25 * share && worker < share, "{worker} {share}");
    let rest = told(CHANNEL).unwrap_or(4e12);
    assert!((1e12..=4e12).contains(&rest), "{rest}");
}
