//! What one channel does, or what is done to it, no other channel of its connection can tell.

use super::*;
use crate::proxy::session::NoSeat;
use crate::stratum::v2::message::{CloseChannel, SetCustomMiningJob, UpdateChannel};

const CHANNELS: u32 = 64;
const BAD: u32 = FIRST + 17;
const BAD_SESSION: SessionId = SessionId(200 + 16);

/// What may go wrong with a channel.
type Wrong = (&'static str, fn(&mut World));

fn share(world: &mut World, change: impl FnOnce(&mut SubmitSharesExtended<'_>)) {
    let mut share = found_extended(BAD, 1, world.works);
    change(&mut share);
    world.says(frame!(share));
}

const WRONGS: [Wrong; 17] = [
    ("unknown job", |w| share(w, |s| s.job_id = 99)),
    ("extranonce", |w| share(w, |s| s.extranonce = &[0; 9])),
    ("time", |w| share(w, |s| s.ntime = 0)),
    ("version", |w| share(w, |s| s.version = 0)),
    ("a share twice", |w| {
        share(w, |_| {});
        share(w, |_| {});
    }),
    ("stale", |w| share(w, |s| s.job_id = 1)),
    ("kind", |w| {
        let job = w.works;
        w.says(frame!(found(BAD, 1, job)));
    }),
    ("three hundred bad shares", |w| {
        for _ in 0..300 {
            share(w, |s| s.version = 0);
        }
    }),
    ("no such channel", |w| share(w, |s| s.channel_id = 9999)),
    ("closed by its client", |w| close(w)),
    ("a share after its end", |w| {
        close(w);
        share(w, |_| {});
    }),
    ("withdrawn", |w| {
        w.of(BAD_SESSION, session::Input::Close(Close::Withdrawn));
    }),
    ("no pool", |w| {
        let lease = Lease {
            link: None,
            ..w.lease
        };
        w.of(BAD_SESSION, session::Input::Lease(lease));
    }),
    ("watched", |w| {
        w.of(BAD_SESSION, session::Input::Watched(true));
    }),
    ("a target that we do not give", |w| update(w, [0; 32])),
    ("a smaller target", |w| {
        let mut target = [0xff; 32];
        target[28..].fill(0);
        update(w, target);
    }),
    ("a job of its own", |w| {
        let told = w.out.len();
        w.says(frame!(SetCustomMiningJob {
            channel_id: BAD,
            request_id: 1,
            job: b"",
        }));
        // Its refusal is none of the messages that a proxy reads.
        w.out.truncate(told);
    }),
];

fn close(world: &mut World) {
    world.says(frame!(CloseChannel {
        channel_id: BAD,
        reason_code: b"",
    }));
}

fn update(world: &mut World, maximum_target: [u8; 32]) {
    world.says(frame!(UpdateChannel {
        channel_id: BAD,
        nominal_hash_rate: 0.0,
        maximum_target,
    }));
}

/// Whom a message is for; a request id is nobody of ours.
fn channel(said: &FromPool<'_>) -> u32 {
    match said {
        FromPool::SubmitSharesSuccess(said) => said.channel_id,
        FromPool::SubmitSharesError(said) => said.channel_id,
        FromPool::NewExtendedMiningJob(said) => said.channel_id,
        FromPool::SetNewPrevHash(said) => said.channel_id,
        FromPool::SetTarget(said) => said.channel_id,
        FromPool::CloseChannel(said) => said.channel_id,
        FromPool::UpdateChannelError(said) => said.channel_id,
        FromPool::OpenMiningChannelError(_) => BAD,
        other => panic!("{other:?}"),
    }
}

/// One after the other: what each channel but the bad one was told; a job of the group is each one's.
fn told(world: &mut World, said: &mut [Vec<String>]) {
    for message in world.said() {
        let id = channel(&message);
        for (at, told) in said.iter_mut().enumerate() {
            let own = FIRST + at as u32;
            if own != BAD && (id == own || id == GROUP) {
                told.push(format!("{message:?}").replacen(&format!("channel_id: {id}"), "", 1));
            }
        }
    }
}

/// A morning of 64 channels, in which something may go wrong with one of them.
fn morning(wrong: fn(&mut World)) -> Vec<Vec<String>> {
    let mut world = World::with(config(), 0);
    for id in FIRST..FIRST + CHANNELS {
        assert_eq!(world.extended(4), id);
    }
    let mut said = vec![Vec::new(); CHANNELS as usize];
    for block in 1..=4 {
        world.block();
        if block == 3 {
            world.judges = false;
        }
        for id in (FIRST..FIRST + CHANNELS).filter(|id| *id != BAD) {
            if world.judging.len() > 16 {
                world.judge();
            }
            let job = world.works;
            world.says(frame!(found_extended(id, block, job)));
        }
        if block == 2 {
            wrong(&mut world);
        }
        if block == 3 {
            world.judges = true;
            world.drain();
        }
        told(&mut world, &mut said);
        world.pass(Duration::from_secs(20));
        told(&mut world, &mut said);
    }
    assert_eq!(world.end, None);
    said
}

// sv2: 5.2 channels are independent of each other
#[test]
fn whatever_happens_to_one_of_sixty_four_channels_the_others_are_told_the_same() {
    let fair = morning(|_| {});
    assert!(fair.iter().enumerate().all(|(at, told)| {
        let jobs = if at as u32 + FIRST == BAD { 0 } else { 12 };
        told.len() == jobs
    }));
    for (name, wrong) in WRONGS {
        assert!(morning(wrong) == fair, "{name}: the others can tell");
    }
}

#[test]
fn a_channel_that_finds_no_seat_is_no_other_ones_concern() {
    let mut world = World::mining(config());
    world.seats = false;
    world.says(frame!(standard(9)));
    world.of(SessionId(200), session::Input::NoSeat(NoSeat::Full));
    assert_eq!(channel(&world.said()[0]), BAD);
    let job = world.works;
    world.says(frame!(found_extended(FIRST, 1, job)));
    assert!(matches!(
        world.said()[..],
        [FromPool::SubmitSharesSuccess(_)]
    ));
}
