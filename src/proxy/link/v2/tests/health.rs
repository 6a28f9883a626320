//! A frozen pool against one that acknowledges in batches.

use super::*;
use crate::stratum::v2::message::{CloseChannel, OpenMiningChannelError, SubmitSharesSuccess};

impl World {
    /// The request id of a question that waits, if one was sent since the last [`World::forget`].
    fn probe(&self) -> Option<u32> {
        let probe = self.opens().pop()?;
        assert_eq!(probe.min_extranonce_size, u16::MAX);
        Some(probe.request_id)
    }

    fn answer_probe(&mut self) {
        let request_id = self.probe().expect("a question");
        self.forget();
        self.told(frame!(OpenMiningChannelError {
            request_id,
            error_code: b"min-extranonce-size-too-large"
        }));
    }

    /// Reconnects and is up again.
    fn back(&mut self) -> Arc<Work> {
        self.pass(Duration::from_secs(31));
        self.input(Input::Connected);
        self.set_up(0);
        self.grant(8);
        let work = self.first_job();
        self.outputs.clear();
        work
    }
}

#[test]
fn a_frozen_pool_is_left_18_s_after_the_first_share_it_does_not_answer() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    world.pass(Duration::from_millis(17_999));
    assert_eq!(world.down(), None);
    assert!(world.probe().is_some());
    world.pass(Duration::from_millis(1));
    assert!(world.down().is_some());
}

// sv2: 5.3.13 acknowledgements come in batches, however late
// sv2: 5.3.6 a channel that cannot be given is refused
#[test]
fn a_pool_that_answers_questions_may_take_an_hour_for_a_batch() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    let mut questions = 0;
    for _ in 0..450 {
        world.pass(Duration::from_secs(8));
        if world.probe().is_some() {
            world.answer_probe();
            questions += 1;
        }
        assert_eq!(world.down(), None);
    }
    assert!(questions > 400);
    world.forget();
    world.pass(Duration::from_secs(18));
    assert!(
        world.down().is_some(),
        "and is missed as soon as it does not"
    );
}

#[test]
fn a_pool_that_talks_is_not_asked() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    for id in 2..20 {
        world.pass(Duration::from_millis(7_999));
        world.told(frame!(job(id, Some(NTIME))));
    }
    assert_eq!((world.probe(), world.down()), (None, None));
}

#[test]
fn a_pool_without_shares_to_answer_is_asked_before_its_silence_ends_it() {
    let (mut world, _) = World::up();
    world.pass(Duration::from_millis(74_999));
    assert_eq!(world.probe(), None);
    world.pass(Duration::from_millis(1));
    world.answer_probe();
    world.pass(Duration::from_secs(149));
    assert_eq!(world.down(), None);
    world.pass(Duration::from_secs(1));
    assert!(world.down().is_some());
}

#[test]
fn a_pool_that_ignores_questions_is_left_for_it_once_and_has_a_minute_then() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    world.pass(Duration::from_secs(18));
    assert!(world.down().is_some());
    let work = world.back();
    world.submit(&work, 2);
    world.pass(Duration::from_millis(59_999));
    assert_eq!(world.down(), None);
    world.pass(Duration::from_millis(1));
    assert!(world.down().is_some());
    world.forget();
    let work = world.back();
    world.submit(&work, 3);
    world.pass(Duration::from_secs(30));
    let sizes = world.opens();
    let mut sizes = sizes.iter().map(|open| open.min_extranonce_size);
    assert!(sizes.all(|size| size == 8), "never again");
}

#[test]
fn a_pool_that_was_frozen_and_answers_again_is_not_doubted_for_ever() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    world.pass(Duration::from_secs(18));
    let work = world.back();
    world.pass(Duration::ZERO);
    world.answer_probe();
    world.submit(&work, 2);
    world.pass(Duration::from_secs(18));
    assert!(world.down().is_some());
}

// sv2: 5.3.9 a channel that we do not use is closed
#[test]
fn a_pool_that_gives_the_impossible_gets_it_back() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    world.pass(Duration::from_secs(8));
    let request_id = world.probe().expect("a question");
    world.forget();
    let gift = OpenExtendedMiningChannelSuccess {
        channel_id: 1234,
        ..granted(request_id, 32)
    };
    world.told(frame!(gift));
    assert!(matches!(
        world.said()[..],
        [FromMiner::CloseChannel(CloseChannel {
            channel_id: 1234,
            ..
        })]
    ));
    // Ours is as it was.
    world.told(frame!(job(2, Some(NTIME))));
    assert_eq!(world.works().len(), 1);
    assert_eq!(world.work().pad, 0);
}

#[test]
fn a_drain_waits_for_refusals_but_not_for_a_batch_that_will_not_fill() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    world.submit(&work, 2);
    let FromMiner::SubmitSharesExtended(share) = world.said()[0] else {
        panic!();
    };
    let sequence = share.sequence_number;
    world.input(Input::Drain);
    assert_eq!(world.results(), []);
    world.answer_probe();
    // What pools fill by a clock may come yet ...
    world.pass(Duration::from_millis(999));
    assert_eq!(world.results(), []);
    world.told(frame!(SubmitSharesSuccess {
        channel_id: CHANNEL,
        last_sequence_number: sequence,
        new_submits_accepted_count: 1,
        new_shares_sum: 1,
    }));
    assert_eq!(world.results(), [SettleResult::Accepted]);
    assert!(world.said().is_empty(), "the other is waited for");
    // ... and by a count never.
    world.pass(Duration::from_millis(1));
    let ends = [SettleResult::Accepted, SettleResult::Unknown];
    assert_eq!(world.results(), ends);
    assert!(matches!(world.said()[..], [FromMiner::CloseChannel(_)]));
    let closes = |output: &Output| matches!(output, Output::Disconnect);
    assert!(world.outputs.iter().any(closes));
    assert_eq!(world.link.poll_timeout(), None);
}

#[test]
fn a_drain_ends_at_once_when_the_last_share_is_acknowledged() {
    let (mut world, work) = World::up();
    world.submit(&work, 1);
    let FromMiner::SubmitSharesExtended(share) = world.said()[0] else {
        panic!();
    };
    world.input(Input::Drain);
    world.told(frame!(SubmitSharesSuccess {
        channel_id: CHANNEL,
        last_sequence_number: share.sequence_number,
        new_submits_accepted_count: 1,
        new_shares_sum: 1
    }));
    assert_eq!(world.results(), [SettleResult::Accepted]);
    assert_eq!(world.link.poll_timeout(), None);
}

#[test]
fn a_job_that_waited_for_the_layout_is_the_job_of_its_block() {
    let now = Instant::now();
    let mut world = World {
        now,
        link: Link::new(now, config(), Arc::new(AtomicU32::new(1))),
        out: Vec::new(),
        outputs: Vec::new(),
    };
    world.input(Input::Connected);
    world.set_up(0);
    world.grant(8);
    world.told(frame!(job(1, None)));
    world.told(frame!(prev_hash(1)));
    assert!(world.works().is_empty(), "no layout is known");
    world.input(Input::Layout(Layout::WIDE));
    assert_eq!(world.works().len(), 1);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.down(), None);
}
