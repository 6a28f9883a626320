//! Work of a worker's own: which channel is given it, and that going over to it and back loses nothing.

use super::*;
use crate::stratum::v2::message::{NewExtendedMiningJob, OpenExtendedMiningChannel};

/// A channel for this worker.
fn open(world: &mut World, worker: &'static [u8]) -> u32 {
    world.says(frame!(OpenExtendedMiningChannel {
        user_identity: worker,
        ..extended(7, 4)
    }));
    world.opened()
}

impl World {
    /// The account's work, and of that worker its own: their ids and generations.
    fn issues(&mut self, account: (u32, u64), machine: &str, own: (u32, u64)) {
        let issue = |(id, generation): (u32, u64), own: Option<_>| {
            let parts = Parts {
                id: WorkId(id),
                channel: u32::from(own.is_none()),
                generation,
                prev_hash: [generation as u8; 32],
                ..Parts::default()
            };
            Arc::new(Issue {
                v1_clean: Box::default(),
                v1_keep: Box::default(),
                own,
                work: Arc::new(self.made(parts)),
            })
        };
        let own = [(machine.into(), issue(own, None))].into();
        let issue = issue(account, Some(Arc::new(own)));
        self.input(Input::Issue(&issue));
    }

    fn made(&self, parts: Parts) -> Work {
        let like = self.work(Parts::default());
        Work::new(Parts {
            version_mask: like.version_mask,
            layout: like.layout,
            nbits: like.nbits,
            coinbase_prefix: vec![1; 50].into(),
            coinbase_suffix: vec![2; 40].into(),
            pool_difficulty: like.pool_difficulty,
            ..parts
        })
        .expect("within limits")
    }

    /// Channel, job, and whether a new block came with it.
    fn jobs_told(&mut self) -> Vec<(u32, u32, bool)> {
        let job = |said: FromPool<'static>| match said {
            FromPool::NewExtendedMiningJob(NewExtendedMiningJob {
                channel_id,
                job_id,
                min_ntime,
                ..
            }) => Some((channel_id, job_id, min_ntime.is_none())),
            _ => None,
        };
        self.said().into_iter().filter_map(job).collect()
    }
}

#[test]
fn a_worker_with_work_of_its_own_is_given_that_and_the_others_the_accounts() {
    let mut world = World::with(config(), 0);
    let first = open(&mut world, b"farm.rig1");
    let second = open(&mut world, b"farm.rig2");
    world.issues((10, 1), "rig9", (11, 1));
    assert_eq!(world.jobs_told(), [(first, 10, true), (second, 10, true)]);

    world.pass(GAP);
    world.issues((10, 1), "rig1", (12, 1));
    assert_eq!(world.jobs_told(), [(first, 12, false)], "and no clean job");
    // Only what is new is told, whoever it is for.
    world.pass(GAP);
    world.issues((13, 1), "rig1", (12, 1));
    assert_eq!(world.jobs_told(), [(second, 13, false)]);
    world.pass(GAP);
    world.issues((14, 2), "rig1", (15, 2));
    let mut told = world.jobs_told();
    told.sort_unstable();
    assert_eq!(told, [(first, 15, true), (second, 14, true)]);
}

#[test]
fn a_worker_is_never_led_back_to_the_block_that_its_own_work_is_still_on() {
    let mut world = World::with(config(), 0);
    let channel = open(&mut world, b"rig1");
    world.issues((10, 2), "rig1", (11, 1));
    assert_eq!(
        world.jobs_told(),
        [(channel, 11, true)],
        "it knows no better"
    );
    world.pass(GAP);
    world.issues((12, 2), "rig2", (13, 1));
    assert_eq!(world.jobs_told(), [(channel, 12, true)], "its own is gone");
    world.pass(GAP);
    world.issues((14, 2), "rig1", (15, 1));
    assert_eq!(
        world.jobs_told(),
        [(channel, 14, false)],
        "its own is behind"
    );
    world.pass(GAP);
    world.issues((14, 2), "rig1", (16, 2));
    assert_eq!(
        world.jobs_told(),
        [(channel, 16, false)],
        "its own is there"
    );
}

#[test]
fn who_loses_its_own_work_has_the_accounts_renewed_if_it_is_not_new() {
    let mut world = World::with(config(), 0);
    let channel = open(&mut world, b"rig1");
    world.issues((10, 1), "rig1", (11, 1));
    world.jobs_told();
    world.pass(GAP);
    world.issues((10, 1), "rig2", (12, 1));
    assert_eq!(world.jobs_told(), []);
    let renews = |(_, output): &(SessionId, session::Output)| {
        matches!(output, session::Output::Refresh(LinkId(0)))
    };
    assert!(
        world.outputs.iter().any(renews),
        "its lane may have been on it"
    );
    world.issues((13, 1), "rig2", (12, 1));
    assert_eq!(world.jobs_told(), [(channel, 13, false)]);
}
