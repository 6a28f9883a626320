//! What the simulated pool refuses, each with its word.

use super::*;

#[test]
fn opens_are_refused_for_each_reason_and_the_rest_of_the_connection_lives() {
    let barred = PoolConfigV2 {
        refuses_users: Some("sim".into()),
        ..easy()
    };
    let greedy = PoolConfigV2 {
        extranonce_size: 3,
        ..easy()
    };
    let no_setup = PoolConfigV2 {
        refuses_setup: true,
        ..easy()
    };
    let flags = PoolConfigV2 {
        unsupported_flags: 4,
        ..easy()
    };
    for config in [barred, greedy, no_setup, flags] {
        let mut pair = Pair::new(miner(KindV2::Extended, MannersV2::plain()), config);
        assert_eq!(pair.noticed(), [Violation::LoginRefused]);
        assert!(pair.miner.poll_hang_up().is_some());
    }
    let extended_only = PoolConfigV2 {
        success_flags: REQUIRES_EXTENDED_CHANNELS,
        ..easy()
    };
    let few = PoolConfigV2 {
        channels: 2,
        ..easy()
    };
    for config in [extended_only, few] {
        let mut pair = Pair::new(miner(KindV2::ALL[2], MannersV2::plain()), config);
        assert!(pair.miner.poll_hang_up().is_none());
        pair.shares(4);
        let stats = pair.pool.stats();
        assert_eq!((stats.channels, stats.opens_refused), (2, 2));
        assert_eq!(stats.pool.accepted, 4);
    }
}

#[test]
fn the_extranonce_is_granted_as_configured_and_too_little_is_noticed() {
    for (grant, noticed) in [
        (ExtranonceGrant::All, vec![]),
        (ExtranonceGrant::Asked, vec![]),
        (
            ExtranonceGrant::Fixed(2),
            vec![Violation::V2(Breach::ExtranonceTooSmall)],
        ),
    ] {
        let config = PoolConfigV2 { grant, ..easy() };
        let mut pair = Pair::new(miner(KindV2::Extended, MannersV2::plain()), config);
        pair.shares(3);
        assert_eq!(pair.noticed(), noticed, "{grant:?}");
        assert_eq!(pair.pool.stats().pool.accepted, 3);
    }
}

#[test]
fn workers_are_named_where_the_extension_is_granted_and_silence_is_waited_out() {
    for (extensions, names) in [
        (Extensions::Granted, 3),
        (Extensions::Refused, 0),
        (Extensions::Silent, 0),
    ] {
        let config = MinerConfigV2 {
            tracks_workers: true,
            ..miner(KindV2::Extended, MannersV2::plain())
        };
        let mut pair = Pair::new(
            config,
            PoolConfigV2 {
                extensions,
                ..easy()
            },
        );
        pair.now += Duration::from_secs(2);
        pair.miner.handle_timeout(pair.now);
        pair.turn();
        pair.shares(6);
        let stats = pair.pool.stats();
        assert_eq!(stats.workers.len(), names, "{extensions:?}");
        let by_worker: u64 = stats.workers.values().map(|w| w.accepted).sum();
        assert_eq!(by_worker, if names > 0 { 6 } else { 0 });
        assert_eq!(pair.miner.stats().violations_total(), 0);
    }
}

#[test]
fn the_pool_refuses_what_a_proxy_could_get_wrong() {
    let mut pair = Pair::new(miner(KindV2::Extended, MannersV2::plain()), easy());
    pair.find();
    let good = pair.last_submit.clone().unwrap();
    let mut bad = vec![good.clone()];
    let mut add = |change: fn(&mut super::super::message::Submit)| {
        let mut submit = good.clone();
        change(&mut submit);
        bad.push(submit);
    };
    add(|s| s.channel ^= 1 << 30);
    add(|s| s.extranonce.push(0));
    add(|s| s.version ^= 1);
    add(|s| s.ntime -= 1);
    add(|s| s.ntime += 7_001);
    add(|s| s.nonce ^= 0x5555);
    add(|s| s.job ^= 1 << 30);
    for submit in bad {
        let bytes = Message::SubmitExtended(submit).bytes();
        pair.pool.handle_bytes(pair.now, 1, &bytes);
    }
    pair.pool.new_block(pair.now);
    let late = Message::SubmitExtended(good.clone()).bytes();
    pair.pool.handle_bytes(pair.now, 1, &late);
    let standard = Message::SubmitStandard(good).bytes();
    pair.pool.handle_bytes(pair.now, 1, &standard);
    let stats = pair.pool.stats().pool;
    for (reason, times) in [
        (Reason::Duplicate, 1),
        (Reason::Unauthorized, 1),
        (Reason::Extranonce2, 1),
        (Reason::VersionBits, 1),
        (Reason::Ntime, 2),
        (Reason::LowDifficulty, 1),
        (Reason::Stale, 2),
        (Reason::Malformed, 1),
    ] {
        assert_eq!(stats.rejected_for(reason), times, "{reason:?} {stats:?}");
    }
    assert_eq!(stats.received, stats.accepted + stats.rejected_total());
}

#[test]
fn garbage_or_a_wrong_order_ends_one_connection_and_unknown_frames_none() {
    let mut pair = Pair::new(miner(KindV2::Standard, MannersV2::plain()), easy());
    let open = Message::CloseChannel {
        channel: 1,
        reason: String::new(),
    };
    for (id, bytes) in [
        (2, open.bytes()),
        (3, vec![0, 0, 0, 0xff, 0xff, 0xff]),
        (4, vec![0, 0, 0, 1, 0, 0, 9]),
    ] {
        pair.pool.connected(id);
        pair.pool.handle_bytes(pair.now, id, &bytes);
        let outputs = std::iter::from_fn(|| pair.pool.poll_output());
        assert!(outputs.into_iter().any(|o| o == PoolOutput::Close(id)));
    }
    pair.pool
        .handle_bytes(pair.now, 1, &[1, 0x40, 3, 1, 0, 0, 9]);
    let stats = pair.pool.stats();
    assert_eq!((stats.malformed, stats.unknown), (3, 1));
    pair.shares(3);
    assert_eq!(pair.pool.stats().pool.accepted, 3);
}

#[test]
fn a_late_share_is_stale_and_nothing_else() {
    let manners = MannersV2 {
        late: true,
        ..MannersV2::plain()
    };
    let mut pair = Pair::new(miner(KindV2::Standard, manners), easy());
    pair.shares(2);
    pair.pool.new_block(pair.now);
    pair.turn();
    pair.find();
    pair.find();
    let stats = pair.pool.stats().pool;
    assert_eq!((stats.accepted, stats.rejected_for(Reason::Stale)), (3, 1));
    assert_eq!(pair.miner.stats().stale(), 1);
    assert_eq!(pair.miner.stats().violations_total(), 0);
}
