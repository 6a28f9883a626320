//! Shares and what becomes of them: who is answered what, and for how many at once.

use super::*;
use crate::proxy::tally::Reject;
use crate::stratum::v2::message::{
    Numbers, RequestExtensions, SetCustomMiningJob, SetCustomMiningJobError, SubmitSharesError,
    SubmitSharesSuccess, UpdateChannel,
};
use crate::stratum::v2::{code, tlv};

pub(super) fn success(
    channel_id: u32,
    last_sequence_number: u32,
    count: u32,
    sum: u64,
) -> FromPool<'static> {
    FromPool::SubmitSharesSuccess(SubmitSharesSuccess {
        channel_id,
        last_sequence_number,
        new_submits_accepted_count: count,
        new_shares_sum: sum,
    })
}

pub(super) fn error(channel_id: u32, sequence_number: u32, why: &'static str) -> FromPool<'static> {
    FromPool::SubmitSharesError(SubmitSharesError {
        channel_id,
        sequence_number,
        error_code: why.as_bytes(),
    })
}

// sv2: 5.3.13 shares are acknowledged together, with the newest number
// sv2: 5.3.13 counts begin anew with every batch
#[test]
fn what_is_judged_together_is_acknowledged_together() {
    let mut world = World::mining(config());
    let job = world.works;
    world.judges = false;
    for sequence in [5, 9, 7] {
        world.says(frame!(found_extended(FIRST, sequence, job)));
    }
    world.judges = true;
    world.drain();
    assert_eq!(world.said(), [success(FIRST, 7, 3, 0)]);
    world.says(frame!(found_extended(FIRST, 11, job)));
    assert_eq!(world.said(), [success(FIRST, 11, 1, 0)]);
}

#[test]
fn the_sum_is_of_the_difficulties_that_the_jobs_were_told_under() {
    let mut config = config();
    config.vardiff.fixed = Some(Difficulty::new(2.0 / 65_536.0).expect("within range"));
    let mut world = World::mining(config);
    let job = world.works;
    world.judges = false;
    for sequence in 1..=32 {
        world.says(frame!(found_extended(FIRST, sequence, job)));
    }
    // Judged by a proof that meets anything.
    while let Some((id, request)) = world.judging.pop_front() {
        let mut proof = share::prove(&request.work, request.lane, &request.share);
        proof.hash[8..].fill(0);
        world.of(id, session::Input::Judged(&request, &proof));
    }
    // Each is a block.
    let said = world.said();
    assert_eq!(said, [success(FIRST, 32, 32, 0)], "less than one in all");
    assert_eq!(world.counts.accepted.shares, 0, "not observed yet");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.counts.accepted.hashes, 32 * 131_072);
}

// sv2: 5.3.13 counts begin anew with every batch
#[test]
fn the_sum_of_a_batch_is_of_its_own_shares() {
    let mut config = config();
    config.vardiff.fixed = Some(Difficulty::new(1024.0).expect("within range"));
    let mut world = World::mining(config);
    let job = world.works;
    world.judges = false;
    for (shares, sum) in [(1..3, 2048), (3..4, 1024)] {
        let (last, count) = (shares.end - 1, shares.end - shares.start);
        for sequence in shares {
            world.says(frame!(found_extended(FIRST, sequence, job)));
        }
        while let Some((id, request)) = world.judging.pop_front() {
            let mut proof = share::prove(&request.work, request.lane, &request.share);
            proof.hash[8..].fill(0);
            world.of(id, session::Input::Judged(&request, &proof));
        }
        assert_eq!(world.said(), [success(FIRST, last, count, sum)]);
    }
}

// sv2: 3.5 our error codes have no control characters
#[test]
fn every_refusal_and_every_end_has_a_word_that_can_be_printed() {
    let refusals = Reject::ALL.map(super::super::shares::error_code);
    let ends = Close::ALL.map(Close::label);
    for code in refusals.iter().chain(&ends) {
        let printable = code.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(printable && !code.is_empty(), "{code:?}");
    }
}

// sv2: 5.3.16 a rolled bit may be set or cleared, whatever it is in the job
#[test]
fn a_version_that_lacks_bits_which_the_job_has_is_as_good_as_one_with_more() {
    let mut world = World::mining(config());
    world.pass(GAP);
    world.works += 1;
    let job = world.job_of(Parts {
        version: VERSION | 0x1555_4000,
        ..Parts::default()
    });
    world.out.clear();
    for (sequence, version) in [(1, VERSION), (2, VERSION | ROLLED)] {
        let share = SubmitSharesExtended {
            version,
            ..found_extended(FIRST, sequence, job)
        };
        assert_eq!(answer(&mut world, share), success(FIRST, sequence, 1, 0));
    }
}

// sv2: 5.3.14 every bad share is answered at once with its own number
#[test]
fn each_bad_share_has_its_answer_and_the_good_ones_around_it_theirs() {
    let mut world = World::mining(config());
    let job = world.works;
    let mut bytes = Vec::new();
    found_extended(FIRST, 1, job).write(&mut bytes);
    found_extended(FIRST, 2, 99).write(&mut bytes);
    SubmitSharesExtended {
        nonce: 1,
        ..found_extended(FIRST, 3, job)
    }
    .write(&mut bytes);
    found_extended(FIRST, 4, job).write(&mut bytes);
    world.sends(&bytes);
    let expected = [
        error(FIRST, 2, code::INVALID_JOB_ID),
        error(FIRST, 3, code::DUPLICATE_SHARE),
        success(FIRST, 4, 2, 0),
    ];
    assert_eq!(world.said(), expected);
}

pub(super) fn answer(world: &mut World, share: SubmitSharesExtended<'_>) -> FromPool<'static> {
    world.says(frame!(share));
    let said = world.said();
    assert_eq!(said.len(), 1, "{said:?}");
    said[0]
}

// sv2: 5.3.11 ntime is not below that of the job
// sv2: 10.2 nTime may be rolled, once per second and more
// sv2: 5.3.11 version is the full nVersion
// sv2: 5.3.12 the extranonce is exactly as long as was negotiated
#[test]
fn what_is_wrong_with_a_share_is_said_by_its_code() {
    let mut world = World::mining(config());
    let job = world.works;
    let good = found_extended(FIRST, 1, job);
    let cases: [(SubmitSharesExtended<'_>, &'static str); 8] = [
        (
            SubmitSharesExtended {
                extranonce: &[0; 3],
                ..good
            },
            code::BAD_EXTRANONCE_SIZE,
        ),
        (
            SubmitSharesExtended {
                extranonce: &[0; 5],
                ..good
            },
            code::BAD_EXTRANONCE_SIZE,
        ),
        (
            SubmitSharesExtended {
                extranonce: &[],
                ..good
            },
            code::BAD_EXTRANONCE_SIZE,
        ),
        (
            SubmitSharesExtended {
                ntime: NTIME - 1,
                ..good
            },
            code::INVALID_SHARE,
        ),
        (
            SubmitSharesExtended {
                ntime: NTIME + 7001,
                ..good
            },
            code::INVALID_SHARE,
        ),
        (
            SubmitSharesExtended {
                version: VERSION ^ 1,
                ..good
            },
            code::INVALID_VERSION_BIT,
        ),
        (
            SubmitSharesExtended { version: 0, ..good },
            code::INVALID_VERSION_BIT,
        ),
        (
            SubmitSharesExtended {
                job_id: job + 1,
                ..good
            },
            code::INVALID_JOB_ID,
        ),
    ];
    for (share, why) in cases {
        assert_eq!(answer(&mut world, share), error(FIRST, 1, why));
    }
    for (sequence, share) in [
        (
            1,
            SubmitSharesExtended {
                ntime: NTIME + 7000,
                ..good
            },
        ),
        (
            2,
            SubmitSharesExtended {
                version: VERSION ^ 0x2000,
                ..good
            },
        ),
        (
            3,
            SubmitSharesExtended {
                version: VERSION | ROLLED,
                ..good
            },
        ),
    ] {
        let share = SubmitSharesExtended {
            sequence_number: sequence,
            ..share
        };
        assert_eq!(answer(&mut world, share), success(FIRST, sequence, 1, 0));
    }
}

// sv2: 5.3.17 after a SetNewPrevHash older jobs are not valid
#[test]
fn a_share_on_the_last_block_is_stale_and_one_on_a_forgotten_job_unknown() {
    let mut world = World::mining(config());
    let first = world.works;
    world.pass(GAP);
    let second = world.block();
    world.out.clear();
    let stale = error(FIRST, 1, code::STALE_SHARE);
    assert_eq!(answer(&mut world, found_extended(FIRST, 1, first)), stale);
    let good = success(FIRST, 2, 1, 0);
    assert_eq!(answer(&mut world, found_extended(FIRST, 2, second)), good);
    for _ in 0..16 {
        world.pass(GAP);
        world.job();
    }
    world.out.clear();
    let unknown = error(FIRST, 3, code::INVALID_JOB_ID);
    assert_eq!(
        answer(&mut world, found_extended(FIRST, 3, second)),
        unknown
    );
}

// sv2: 5.3.21 a hash above the target is refused
#[test]
fn a_share_above_the_target_is_too_low() {
    let mut config = config();
    config.vardiff.fixed = Some(Difficulty::new(1e9).expect("within range"));
    let mut world = World::mining(config);
    let low = error(FIRST, 1, code::DIFFICULTY_TOO_LOW);
    let job = world.works;
    assert_eq!(answer(&mut world, found_extended(FIRST, 1, job)), low);
}

// sv2: 5.2 a channel of another is not ours
#[test]
fn a_share_for_no_open_channel_of_this_connection_is_refused_by_its_number() {
    let mut world = World::mining(config());
    let job = world.works;
    for id in [0, GROUP, FIRST + 1, u32::MAX] {
        let foreign = error(id, 4, code::INVALID_CHANNEL_ID);
        assert_eq!(answer(&mut world, found_extended(id, 4, job)), foreign);
        world.says(frame!(found(id, 4, job)));
        assert_eq!(world.said(), [foreign]);
    }
    assert_eq!(world.end, None);
}

// sv2: 5.3.12 SubmitSharesExtended is for extended channels
#[test]
fn a_share_of_the_other_kind_of_channel_is_refused() {
    let mut world = World::mining(config());
    let standard = world.standard();
    world.pass(GAP);
    let job = world.job();
    world.out.clear();
    world.says(frame!(found(FIRST, 1, job)));
    assert_eq!(world.said(), [error(FIRST, 1, code::INVALID_SHARE)]);
    let wrong = error(standard, 1, code::INVALID_SHARE);
    assert_eq!(answer(&mut world, found_extended(standard, 1, job)), wrong);
    world.says(frame!(found(standard, 2, job)));
    assert_eq!(world.said(), [success(standard, 2, 1, 0)]);
}

// sv2: 5.3.16 full coinbase is prefix, extranonce_prefix, extranonce, suffix
#[test]
fn what_is_judged_is_what_the_client_hashed() {
    let mut world = World::mining(config());
    world.judges = false;
    let share = SubmitSharesExtended {
        extranonce: &[9, 8, 7, 6],
        version: VERSION ^ 0x2000,
        ntime: NTIME + 5,
        ..found_extended(FIRST, 77, world.works)
    };
    world.says(frame!(share));
    let (
        _,
        JudgeRequest {
            work, lane, share, ..
        },
    ) = &world.judging[0];
    let coinbase = share::coinbase(work, *lane, share);
    let expected = [&[1; 50][..], &[0x0a, 0x0b, 0x0d, 0, 9, 8, 7, 6], &[2; 40]].concat();
    assert_eq!(coinbase, expected);
    assert_eq!(
        (share.nonce, share.ntime, share.version),
        (77, NTIME + 5, VERSION ^ 0x2000)
    );
}

// sv2: 0x0002 1.3 names in shares count only if that was agreed
// sv2: 0x0002 1.1 a user_identity longer than 32 bytes is refused
#[test]
fn the_name_that_a_share_carries_is_counted_if_names_were_agreed_on() {
    for agreed in [false, true] {
        let mut world = World::mining(config());
        let job = world.works;
        if agreed {
            world.says(frame!(RequestExtensions {
                request_id: 1,
                requested_extensions: Numbers(&[[2, 0]]),
            }));
        }
        let mut name = Vec::new();
        tlv::write_user_identity(&mut name, b"rig 7");
        let mut long = name.clone();
        long[3] = 33;
        long.resize(5 + 33, b'x');
        world.out.clear();
        let named = SubmitSharesExtended {
            tlv: &name,
            ..found_extended(FIRST, 1, job)
        };
        assert_eq!(answer(&mut world, named), success(FIRST, 1, 1, 0));
        assert_eq!(
            &*world.submitted[0].worker,
            if agreed { "rig%207" } else { "farm.rig" }
        );
        let long = SubmitSharesExtended {
            tlv: &long,
            ..found_extended(FIRST, 2, job)
        };
        let expected = if agreed {
            error(FIRST, 2, code::INVALID_SHARE)
        } else {
            success(FIRST, 2, 1, 0)
        };
        assert_eq!(answer(&mut world, long), expected);
        let nobody = SubmitSharesExtended {
            tlv: &name[..5],
            ..found_extended(FIRST, 3, job)
        };
        assert_eq!(answer(&mut world, nobody), success(FIRST, 3, 1, 0));
    }
}

// sv2: 5.3.20 a custom job is answered by its request id
#[test]
fn jobs_of_the_clients_own_are_refused() {
    let mut world = World::mining(config());
    world.says(frame!(SetCustomMiningJob {
        channel_id: FIRST,
        request_id: 31,
        job: &[7; 99],
    }));
    let refused = SetCustomMiningJobError {
        channel_id: FIRST,
        request_id: 31,
        error_code: code::JD_NOT_SUPPORTED.as_bytes(),
    };
    let mut expected = Vec::new();
    refused.write(&mut expected);
    assert_eq!(
        (std::mem::take(&mut world.out), world.end),
        (expected, None)
    );
}

#[test]
fn a_block_goes_up_even_where_its_job_is_stale() {
    let mut world = World::with(config(), 0);
    world.network = 0x207f_ffff;
    world.extended(4);
    let first = world.block();
    world.pass(GAP);
    world.block();
    world.out.clear();
    for nonce in 0..32 {
        let share = SubmitSharesExtended {
            nonce,
            ..found_extended(FIRST, nonce, first)
        };
        world.says(frame!(share));
    }
    assert!(world.submitted.iter().any(|share| share.block));
    assert!(world.submitted.iter().all(|share| share.block));
}

#[test]
fn a_miner_of_nothing_but_bad_shares_hears_its_target_again_and_loses_its_channel_at_last() {
    let mut world = World::mining(config());
    let other = world.extended(4);
    let job = world.works;
    let bad = SubmitSharesExtended {
        version: 0,
        ..found_extended(FIRST, 1, job)
    };
    let mut said = Vec::new();
    for _ in 0..31 {
        world.says(frame!(bad));
        said.extend(world.said());
    }
    assert!(
        said.iter()
            .all(|said| matches!(said, FromPool::SubmitSharesError(_)))
    );
    world.says(frame!(bad));
    assert!(
        matches!(world.said()[..], [_, FromPool::SetTarget(target)] if target.channel_id == FIRST)
    );
    for _ in 32..255 {
        world.says(frame!(bad));
    }
    assert_eq!(world.closed, []);
    world.out.clear();
    world.says(frame!(bad));
    assert!(
        matches!(world.said()[..], [_, FromPool::CloseChannel(close)] if close.channel_id == FIRST)
    );
    assert_eq!(
        (world.closes(OWN), world.end),
        (Some(Close::Misbehaved), None)
    );
    world.says(frame!(UpdateChannel {
        channel_id: other,
        nominal_hash_rate: 1.0,
        maximum_target: Target::MAX.to_le_bytes(),
    }));
    assert_eq!(world.said(), []);
}

#[test]
fn counts_are_whole_and_nothing_is_left_behind() {
    let mut world = World::mining(config());
    let job = world.works;
    for sequence in 0..10 {
        world.says(frame!(found_extended(FIRST, sequence / 2, job)));
    }
    world.says(frame!(SubmitSharesExtended {
        version: 0,
        ..found_extended(FIRST, 1, job)
    }));
    world.input(Input::Drain);
    assert_eq!(world.end, Some(Close::Draining));
    assert_eq!(world.session.last_observations().count(), 0);
    let counts = world.counts;
    assert_eq!((counts.received.shares, counts.accepted.shares), (11, 5));
    assert_eq!(counts.forwarded.shares, 5);
}
