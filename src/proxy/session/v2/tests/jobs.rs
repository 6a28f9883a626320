//! Which jobs a channel is told, in which order, under which target.

use super::*;
use crate::stratum::v2::message::{
    NewExtendedMiningJob, NewMiningJob, REQUIRES_STANDARD_JOBS, REQUIRES_VERSION_ROLLING,
    SetNewPrevHash, SetTarget, UpdateChannel,
};
use crate::work::Share;

/// Kinds and channels of what was said.
fn order(said: &[FromPool<'_>]) -> Vec<(&'static str, u32)> {
    let one = |said: &FromPool<'_>| match said {
        FromPool::SetTarget(said) => ("target", said.channel_id),
        FromPool::NewMiningJob(said) => ("standard", said.channel_id),
        FromPool::NewExtendedMiningJob(said) => ("extended", said.channel_id),
        FromPool::SetNewPrevHash(said) => ("block", said.channel_id),
        other => panic!("{other:?}"),
    };
    said.iter().map(one).collect()
}

// sv2: 5.3.15 the first job of a standard channel is a future NewMiningJob
// sv2: 5.3.15 merkle_root is that of the coinbase with the channel's extranonce
// sv2: 5.3.17 SetNewPrevHash activates the job that it names
#[test]
fn a_standard_channel_is_given_a_future_job_and_then_its_block() {
    let mut world = World::with(config(), 0);
    let channel_id = world.standard();
    let job_id = world.block();
    let work = world.work(Parts::default());
    let mut roots = [[0; 32]];
    share::roots(&work, &[(Lane(0x0a0b_0d00), [0; 8])], &mut roots);
    let job = NewMiningJob {
        channel_id,
        job_id,
        min_ntime: None,
        version: VERSION,
        merkle_root: roots[0],
    };
    let block = SetNewPrevHash {
        channel_id,
        job_id,
        prev_hash: [1; 32],
        min_ntime: NTIME,
        nbits: 0x1705_1234,
    };
    let expected = [FromPool::NewMiningJob(job), FromPool::SetNewPrevHash(block)];
    assert_eq!(world.said(), expected);
}

// sv2: 5.3.15 the first message of a standard channel is its first job
#[test]
fn a_target_that_changes_before_the_first_job_of_a_standard_channel_stands_behind_it() {
    let mut guessed = World::with(starting_at(1.0), 0);
    guessed.says(frame!(OpenStandardMiningChannel {
        nominal_hash_rate: 1e15,
        ..standard(1)
    }));
    let mut updated = World::with(config(), 0);
    updated.says(frame!(standard(1)));
    updated.says(frame!(UpdateChannel {
        channel_id: FIRST,
        nominal_hash_rate: 0.0,
        maximum_target: target(64.0),
    }));
    for mut world in [guessed, updated] {
        let said = world.said();
        let [FromPool::OpenStandardMiningChannelSuccess(open)] = said[..] else {
            panic!("{said:?}");
        };
        world.block();
        let said = world.said();
        let expected = [("standard", FIRST), ("target", FIRST), ("block", FIRST)];
        assert_eq!(order(&said), expected);
        let FromPool::SetTarget(told) = said[1] else {
            unreachable!("it was second");
        };
        assert_ne!(told.maximum_target, open.target);
        world.pass(GAP);
        world.block();
        assert_eq!(order(&world.said())[0], ("standard", FIRST), "once");
    }
}

// sv2: 5.1.1 NewMiningJob goes to standard channels alone
// sv2: 5.3.16 the job of an extended channel is its whole coinbase, without what BIP 141 adds
#[test]
fn an_extended_channel_is_given_what_its_merkle_root_is_made_of() {
    let mut world = World::with(config(), 0);
    let channel_id = world.extended(4);
    let job_id = world.block();
    let job = NewExtendedMiningJob {
        channel_id,
        job_id,
        min_ntime: None,
        version: VERSION,
        version_rolling_allowed: true,
        merkle_path: &[[3; 32]; 2],
        coinbase_tx_prefix: &[1; 50],
        coinbase_tx_suffix: &[2; 40],
    };
    let said = world.said();
    assert_eq!(said[0], FromPool::NewExtendedMiningJob(job));
    assert_eq!(order(&said), [("extended", FIRST), ("block", FIRST)]);
}

// sv2: 5.3.16 a job with min_ntime is on the last block
#[test]
fn more_work_on_the_same_block_needs_no_new_one() {
    let mut world = World::mining(config());
    world.pass(GAP);
    world.job();
    let said = world.said();
    let [FromPool::NewExtendedMiningJob(job)] = said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(job.min_ntime, Some(NTIME));
}

// sv2: 5.3.17 no job is below the min_ntime of its block
#[test]
fn a_job_never_goes_back_behind_the_time_of_its_block() {
    let mut world = World::with(config(), 0);
    world.extended(4);
    world.generation = 1;
    for (ntime, told) in [
        (NTIME + 9, None),
        (NTIME, Some(NTIME + 9)),
        // As late as the one before: what follows on a block must not begin where the channel has been.
        (NTIME + 10, Some(NTIME + 19)),
    ] {
        world.pass(GAP);
        world.works += 1;
        world.job_of(Parts {
            ntime,
            ..Parts::default()
        });
        let said = world.said();
        let FromPool::NewExtendedMiningJob(job) = said[0] else {
            panic!("{said:?}");
        };
        assert_eq!(job.min_ntime, told);
    }
}

// sv2: 5.3.16 one job for the group instead of one for each channel
// sv2: 5.3.17 one SetNewPrevHash for the group
#[test]
fn what_all_channels_are_due_is_said_once_after_each_had_its_first_job() {
    let mut world = World::with(config(), 0);
    let (one, two) = (world.standard(), world.extended(4));
    world.block();
    assert_eq!(order(&world.said()).len(), 4, "the first is each one's own");
    world.pass(GAP);
    world.block();
    assert_eq!(
        order(&world.said()),
        [("extended", GROUP), ("block", GROUP)]
    );
    world.pass(GAP);
    let job = world.job();
    assert_eq!(order(&world.said()), [("extended", GROUP)]);
    world.says(frame!(found(one, 1, job)));
    world.says(frame!(found_extended(two, 1, job)));
    let accepted = |said: &FromPool<'_>| matches!(said, FromPool::SubmitSharesSuccess(_));
    let said = world.said();
    assert!(said.len() == 2 && said.iter().all(accepted), "{said:?}");
}

// sv2: 5.3.16 a client that requires standard jobs is given NewMiningJob
// sv2: 5.3.22 no group for a client that requires standard jobs
#[test]
fn a_client_without_extended_jobs_never_sees_one() {
    let mut world = World::with(config(), REQUIRES_STANDARD_JOBS);
    let (one, two) = (world.standard(), world.standard());
    for _ in 0..2 {
        world.block();
        let said = order(&world.said());
        let expected = [
            ("standard", one),
            ("block", one),
            ("standard", two),
            ("block", two),
        ];
        assert_eq!(said, expected);
        world.pass(GAP);
    }
    world.job();
    assert_eq!(order(&world.said()), [("standard", one), ("standard", two)]);
}

// sv2: 5.3.21 a target is told before the job that it is for
#[test]
fn a_new_target_comes_before_its_job_and_counts_for_no_earlier_one() {
    let mut world = World::with(starting_at(Difficulty::MIN.value()), 0);
    world.extended(4);
    let old = world.block();
    for sequence in 0..40 {
        world.says(frame!(found_extended(FIRST, sequence, old)));
        world.pass(Duration::from_millis(100));
    }
    world.out.clear();
    let new = world.job();
    let said = world.said();
    assert_eq!(order(&said), [("target", FIRST), ("extended", FIRST)]);
    let FromPool::SetTarget(told) = said[0] else {
        unreachable!("it was first");
    };
    let target = Target::from_le_bytes(&told.maximum_target);
    assert!(target.difficulty() > Difficulty::MIN.value());
    // A share that meets the old target and not the new one.
    let hash = |job, nonce| {
        let work = world.work(Parts {
            id: WorkId(job),
            ..Parts::default()
        });
        let share = Share {
            en2: [0; 8],
            ntime: NTIME,
            nonce,
            version: VERSION,
        };
        share::prove(&work, Lane(0x0a0b_0d00), &share).hash
    };
    let weak = (1000..).find(|nonce| !target.is_met_by(&hash(old, *nonce)));
    let weak = weak.expect("most of them");
    world.says(frame!(found_extended(FIRST, weak, old)));
    world.says(frame!(found_extended(FIRST, weak, new)));
    let said = world.said();
    assert!(
        matches!(
            said[..],
            [
                FromPool::SubmitSharesSuccess(_),
                FromPool::SubmitSharesError(_)
            ]
        ),
        "{said:?}"
    );
}

#[test]
fn a_watched_channel_is_told_an_easier_target_with_its_next_job() {
    let mut world = World::mining(starting_at(1024.0));
    world.of(OWN, session::Input::Watched(true));
    assert_eq!(world.said(), []);
    world.pass(GAP);
    world.job();
    let said = world.said();
    let [
        FromPool::SetTarget(SetTarget { maximum_target, .. }),
        FromPool::NewExtendedMiningJob(_),
    ] = said[..]
    else {
        panic!("{said:?}");
    };
    let told = Target::from_le_bytes(&maximum_target).difficulty();
    assert!(told < 1024.0, "{told}");
}

// sv2: 5.3.1 a client that requires version rolling is never sent a job without it
// sv2: 5.3.15 the version of a standard job may be rolled
#[test]
fn work_that_may_not_be_rolled_goes_to_no_client_that_must_and_to_no_standard_channel() {
    let fixed = || Parts::default();
    let unrolled = |world: &mut World| {
        world.generation += 1;
        world.works += 1;
        let issue = Arc::new(Issue {
            v1_clean: Box::default(),
            v1_keep: Box::default(),
            own: None,
            work: Arc::new(
                Work::new(Parts {
                    id: WorkId(world.works),
                    version_mask: 0,
                    ..fixed()
                })
                .expect("within limits"),
            ),
        });
        world.input(Input::Issue(&issue));
        world.said()
    };
    let mut must = World::with(config(), REQUIRES_VERSION_ROLLING);
    must.extended(4);
    assert_eq!(unrolled(&mut must), []);
    let mut standard = World::with(config(), 0);
    standard.standard();
    assert_eq!(unrolled(&mut standard), []);
    let mut may = World::with(config(), 0);
    may.extended(4);
    let said = unrolled(&mut may);
    let FromPool::NewExtendedMiningJob(job) = said[0] else {
        panic!("{said:?}");
    };
    assert!(!job.version_rolling_allowed);
}

// sv2: 5.3.1 under REQUIRES_FIXED_VERSION no job allows version rolling
#[test]
fn a_client_told_that_versions_are_fixed_is_given_fixed_ones() {
    let mut world = World::connected(config(), 0);
    world.says(frame!(setup(0)));
    world.out.clear();
    world.extended(4);
    world.block();
    let said = world.said();
    let FromPool::NewExtendedMiningJob(job) = said[0] else {
        panic!("{said:?}");
    };
    assert!(!job.version_rolling_allowed);
    let mut rolled = found_extended(FIRST, 1, world.works);
    rolled.version |= 0x2000;
    world.says(frame!(rolled));
    let said = world.said();
    assert!(
        matches!(said[..], [FromPool::SubmitSharesError(_)]),
        "{said:?}"
    );
}

#[test]
fn newer_work_replaces_older_while_a_channel_may_not_have_it_yet() {
    let mut world = World::mining(config());
    world.job();
    world.job();
    assert_eq!(world.said(), [], "the last was just now");
    world.pass(GAP);
    let said = world.said();
    let [FromPool::NewExtendedMiningJob(job)] = said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(job.job_id, 3);
}

#[test]
fn a_block_whose_root_comes_late_is_not_lost_to_a_job_of_the_group() {
    let mut world = World::with(config(), 0);
    let one = world.standard();
    world.block();
    world.pass(Duration::from_millis(100));
    let two = world.standard();
    world.job();
    // The second has had its last job for longer than the first.
    world.pass(Duration::from_millis(260));
    world.out.clear();
    world.roots = false;
    world.block();
    world.pass(2 * GAP);
    let job = world.job();
    world.roots = true;
    world.drain();
    let said = world.said();
    for id in [one, two] {
        let blocks = |said: &&FromPool<'_>| match said {
            FromPool::SetNewPrevHash(block) => {
                [id, GROUP].contains(&block.channel_id) && block.prev_hash == [2; 32]
            }
            _ => false,
        };
        assert!(
            said.iter().any(|said| blocks(&said)),
            "{id} never heard of the block: {said:?}"
        );
        world.says(frame!(found(id, 1, job)));
    }
}
