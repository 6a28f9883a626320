//! The V2 pool and V2 miners against each other: the cores in memory and virtual time, the drivers over loopback.

mod refusals;
mod sockets;

use super::{
    super::{
        fleet::{Fleet, FleetConfig, FleetHandle, Protocol},
        judge::Reason,
        poolconfig::PoolVardiff,
        poolcore::PoolOutput,
        watch::Violation,
    },
    Acks, Breach, Extensions, ExtranonceGrant, KindV2, Lie, MannersV2, MinerConfigV2, PoolConfigV2,
    SimMinerV2, SimPoolV2,
    message::{Message, REQUIRES_EXTENDED_CHANNELS},
    pool::{self, PoolHandleV2},
};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
/// 2^-24: 256 hashes a share.
const EASY: f64 = 1.0 / 16_777_216.0;

#[test]
fn every_kind_with_every_manner_mines_on_the_core_without_a_violation() {
    for kind in KindV2::ALL {
        for manners in MannersV2::ALL {
            for jobs_ahead in [false, true] {
                let config = PoolConfigV2 {
                    jobs_ahead,
                    ..easy()
                };
                let mut pair = Pair::new(miner(kind, manners), config);
                pair.shares(20);
                pair.pool.new_block(pair.now);
                pair.pool.set_difficulty(pair.now, 2.0 * EASY);
                pair.turn();
                pair.shares(5);
                pair.pool.new_job(pair.now);
                pair.turn();
                pair.shares(15);
                let (miner, pool) = (pair.miner.stats(), pair.pool.stats().pool);
                assert_eq!(
                    miner.violations_total(),
                    0,
                    "{kind:?} {manners:?} {miner:?}"
                );
                assert_eq!(
                    (miner.accepted, pool.accepted),
                    (40, 40),
                    "{kind:?} {pool:?}"
                );
                assert_eq!(miner.accepted_hashes, pool.accepted_hashes);
                // The new target holds from the next job on.
                assert_eq!(pool.accepted_hashes, 25 * 256 + 15 * 512);
            }
        }
    }
}

#[test]
fn a_future_job_takes_the_target_that_is_in_force_when_it_becomes_active() {
    let config = PoolConfigV2 {
        jobs_ahead: true,
        ..easy()
    };
    let mut pair = Pair::new(miner(KindV2::Extended, MannersV2::plain()), config);
    pair.pool.set_difficulty(pair.now, 4.0 * EASY);
    pair.turn();
    pair.shares(1);
    pair.pool.new_block(pair.now);
    pair.turn();
    pair.shares(1);
    assert_eq!(pair.pool.stats().pool.accepted_hashes, 256 + 4 * 256);
}

#[test]
fn acknowledgements_come_in_batches_and_what_is_left_comes_in_time() {
    let acks = Acks {
        every: 10,
        within: Some(Duration::from_secs(5)),
    };
    let config = PoolConfigV2 {
        acks,
        reject_ratio: 0.3,
        ..easy()
    };
    let mut pair = Pair::new(miner(KindV2::Standard, MannersV2::plain()), config);
    (0..57).for_each(|_| pair.find());
    pair.now += Duration::from_secs(5);
    pair.pool.handle_timeout(pair.now);
    pair.turn();
    let (miner, pool) = (pair.miner.stats(), pair.pool.stats());
    assert_eq!(miner.violations_total(), 0, "{miner:?}");
    assert_eq!(miner.accepted + miner.rejected_total(), 57);
    assert_eq!(pool.acks, pool.pool.accepted.div_ceil(10));
    assert!(pool.pool.rejected_for(Reason::OnPurpose) > 5);
    assert_eq!(pool.pool.received, 57);
    assert_eq!(miner.accepted_hashes, pool.pool.accepted_hashes);
}

#[test]
fn an_unanswered_share_is_told_at_its_time_and_not_before() {
    let acks = Acks {
        every: 10,
        within: None,
    };
    let mut pair = Pair::new(
        miner(KindV2::Standard, MannersV2::plain()),
        PoolConfigV2 { acks, ..easy() },
    );
    pair.find();
    pair.now += Duration::from_secs(29);
    pair.miner.handle_timeout(pair.now);
    assert_eq!(pair.miner.stats().violations_total(), 0);
    pair.now += Duration::from_secs(1);
    assert!(pair.miner.poll_timeout().unwrap() <= pair.now);
    pair.miner.handle_timeout(pair.now);
    pair.miner.handle_timeout(pair.now);
    assert_eq!(pair.noticed(), [Violation::ReplyMissing]);
}

#[test]
fn every_lie_is_noticed_for_what_it_is() {
    for lie in Lie::ALL {
        let expected = match lie {
            Lie::JobBeforePrevHash | Lie::PrevHashFirst => Violation::V2(Breach::UnknownPrevHash),
            Lie::JobIdReused => Violation::JobIdReused,
            Lie::TargetAboveMax => Violation::V2(Breach::TargetAboveMax),
            Lie::AckTwice => Violation::ReplyUnasked,
            Lie::AckShort => Violation::V2(Breach::AckMiscounted),
            Lie::ForeignChannel => Violation::V2(Breach::WrongChannel),
            Lie::WrongKindOfJob => Violation::V2(Breach::WrongKindOfJob),
            Lie::ChannelIdReused => Violation::V2(Breach::ChannelIdReused),
        };
        for kind in KindV2::ALL {
            if lie == Lie::ChannelIdReused && kind.plan().len() < 2 {
                continue;
            }
            let config = MinerConfigV2 {
                min_difficulty: EASY,
                ..miner(kind, MannersV2::plain())
            };
            let lies = vec![lie];
            let mut pair = Pair::new(config, PoolConfigV2 { lies, ..easy() });
            (0..3).for_each(|_| pair.find());
            pair.pool.set_difficulty(pair.now, 2.0 * EASY);
            pair.pool.new_job(pair.now);
            pair.pool.new_block(pair.now);
            pair.turn();
            let noticed = pair.noticed();
            assert!(noticed.contains(&expected), "{lie:?} {kind:?} {noticed:?}");
        }
    }
}

#[test]
fn what_the_pool_does_beside_the_rules_is_noticed_and_survived() {
    type Deed = fn(&mut SimPoolV2, Instant);
    let deeds: [(Deed, Violation); 5] = [
        (
            SimPoolV2::push_unknown,
            Violation::V2(Breach::UnknownMessage),
        ),
        (SimPoolV2::push_garbage, Violation::Malformed),
        (SimPoolV2::push_endless, Violation::V2(Breach::FrameTooLong)),
        (SimPoolV2::set_prefixes, Violation::SetExtranonce),
        (
            |pool, now| pool.close_channels(now, "lease withdrawn"),
            Violation::V2(Breach::ChannelClosed),
        ),
    ];
    for (deed, expected) in deeds {
        for kind in KindV2::ALL {
            let mut pair = Pair::new(miner(kind, MannersV2::plain()), easy());
            pair.shares(2);
            deed(&mut pair.pool, pair.now);
            pair.turn();
            assert_eq!(pair.noticed(), [expected], "{kind:?}");
            if expected == Violation::SetExtranonce {
                pair.shares(4);
                assert_eq!(pair.pool.stats().pool.accepted, 6);
            }
            let closed = expected == Violation::V2(Breach::ChannelClosed);
            assert_eq!(pair.miner.poll_hang_up().is_some(), closed);
        }
    }
}

#[test]
fn channels_of_a_new_group_get_their_jobs_by_it() {
    let kind = KindV2::Proxy {
        extended: 1,
        standard: 2,
    };
    let mut pair = Pair::new(miner(kind, MannersV2::plain()), easy());
    let before = pair.pool.stats().pool.lines_out;
    pair.pool.new_job(pair.now);
    assert_eq!(pair.pool.stats().pool.lines_out, before + 1);
    pair.pool.regroup(pair.now);
    pair.pool.new_job(pair.now);
    pair.pool.new_block(pair.now);
    pair.turn();
    pair.shares(9);
    assert_eq!(pair.miner.stats().violations_total(), 0);
    assert_eq!(pair.pool.stats().pool.accepted, 9);
}

#[test]
fn a_frozen_pool_is_silent_for_a_miner_that_gives_up_and_one_that_does_not() {
    for gives_up_after in [Some(Duration::from_secs(120)), None] {
        let config = MinerConfigV2 {
            gives_up_after,
            ..miner(KindV2::Standard, MannersV2::plain())
        };
        let mut pair = Pair::new(config, easy());
        pair.pool.set_frozen(true);
        pair.find();
        pair.now += Duration::from_secs(120);
        pair.miner.handle_timeout(pair.now);
        assert_eq!(
            pair.noticed(),
            [Violation::ReplyMissing, Violation::Silence]
        );
        assert_eq!(
            pair.miner.poll_hang_up().is_some(),
            gives_up_after.is_some()
        );
        assert_eq!(pair.pool.stats().pool.ignored, 1);
    }
}

#[test]
fn the_target_follows_the_hashrate_announced_and_the_shares_that_come() {
    let announced = PoolConfigV2 {
        shares_per_s: Some(1.0),
        difficulty: EASY / 1024.0,
        ..easy()
    };
    let mut pair = Pair::new(miner(KindV2::Standard, MannersV2::plain()), announced);
    let weight = |pair: &Pair| pair.pool.stats().pool.accepted_hashes;
    pair.shares(1);
    assert_eq!(weight(&pair), 1000);
    pair.miner.set_hashrate(pair.now, 4000.0);
    pair.turn();
    pair.pool.new_job(pair.now);
    pair.turn();
    pair.shares(1);
    assert_eq!(weight(&pair), 5000);
    let stats = pair.pool.stats();
    assert_eq!((stats.updates, stats.nominal_hashrate), (1, 4000.0));

    let vardiff = PoolVardiff {
        shares_per_s: 1.0,
        every: Duration::from_secs(10),
    };
    let measured = PoolConfigV2 {
        vardiff: Some(vardiff),
        ..easy()
    };
    let mut pair = Pair::new(miner(KindV2::Standard, MannersV2::plain()), measured);
    pair.shares(30);
    pair.now += Duration::from_secs(10);
    pair.pool.handle_timeout(pair.now);
    pair.pool.new_job(pair.now);
    pair.turn();
    pair.shares(1);
    assert_eq!(weight(&pair), 30 * 256 + 3 * 256);
}

#[test]
fn a_channel_that_its_miner_closes_is_gone_at_the_pool_and_the_others_mine_on() {
    let mut pair = Pair::new(miner(KindV2::ALL[2], MannersV2::plain()), easy());
    assert!(pair.miner.close_channel("curtailed"));
    pair.turn();
    pair.pool.new_block(pair.now);
    pair.turn();
    pair.shares(3);
    let stats = pair.pool.stats();
    assert_eq!((stats.channels, stats.closed_by_client), (3, 1));
    assert_eq!(stats.pool.accepted, 3);
    assert_eq!(pair.miner.stats().violations_total(), 0);
}

#[test]
fn no_two_channels_of_a_pool_have_the_same_prefix() {
    let mut pool = SimPoolV2::new(easy(), Instant::now());
    let mut seen = std::collections::BTreeSet::new();
    for id in 1..=5 {
        pool.connected(id);
        let mut one = SimMinerV2::new(miner(KindV2::ALL[2], MannersV2::plain()));
        one.connected(Instant::now());
        exchange(Instant::now(), id, &mut one, &mut pool);
        seen.extend(one.prefixes().into_values().map(|p| p[..4].to_vec()));
    }
    assert_eq!(seen.len(), 20);
}

fn start(config: PoolConfigV2) -> PoolHandleV2 {
    pool::start("127.0.0.1:0".parse().unwrap(), config).unwrap()
}

fn config(pool: &PoolHandleV2, miners: usize) -> FleetConfig {
    FleetConfig {
        protocols: KindV2::ALL.map(Protocol::V2).to_vec(),
        manners: MannersV2::ALL.to_vec(),
        authority: Some(pool.authority()),
        reconnect_after: Duration::from_millis(20),
        each: super::super::MinerConfig {
            hashrate: 5_000.0,
            ..super::super::MinerConfig::default()
        },
        ..FleetConfig::new(pool.address(), miners)
    }
}

fn fleet(pool: &PoolHandleV2, miners: usize) -> FleetHandle {
    Fleet::start(config(pool, miners))
}

fn easy() -> PoolConfigV2 {
    PoolConfigV2 {
        difficulty: EASY,
        ..PoolConfigV2::default()
    }
}

fn miner(kind: KindV2, manners: MannersV2) -> MinerConfigV2 {
    MinerConfigV2 {
        kind,
        manners,
        hashrate: 1000.0,
        ..MinerConfigV2::default()
    }
}

/// A miner and a pool in memory.
struct Pair {
    now: Instant,
    miner: SimMinerV2,
    pool: SimPoolV2,
    last_submit: Option<super::message::Submit>,
}

impl Pair {
    fn new(miner: MinerConfigV2, pool: PoolConfigV2) -> Self {
        let now = Instant::now();
        let mut pair = Self {
            now,
            miner: SimMinerV2::new(miner),
            pool: SimPoolV2::new(pool, now),
            last_submit: None,
        };
        pair.pool.connected(1);
        pair.miner.connected(now);
        pair.turn();
        // A slow one takes two pauses to log in.
        for _ in 0..2 {
            if pair.miner.config().manners.slow.is_some() {
                pair.now += Duration::from_millis(500);
                pair.miner.handle_timeout(pair.now);
                pair.turn();
            }
        }
        pair
    }

    fn turn(&mut self) {
        let sent = exchange(self.now, 1, &mut self.miner, &mut self.pool);
        self.last_submit = sent.or(self.last_submit.take());
    }

    fn find(&mut self) {
        self.miner.find_share(self.now);
        self.turn();
    }

    fn shares(&mut self, n: usize) {
        let before = self.miner.stats().accepted;
        (0..n).for_each(|_| self.find());
        let accepted = self.miner.stats().accepted - before;
        assert_eq!(accepted, n as u64, "{:?}", self.pool.stats().pool.rejected);
    }

    fn noticed(&self) -> Vec<Violation> {
        self.miner.stats().violations.keys().copied().collect()
    }
}

/// Lets both speak until neither has anything to say; the last extended share that went up.
fn exchange(
    now: Instant,
    id: u64,
    miner: &mut SimMinerV2,
    pool: &mut SimPoolV2,
) -> Option<super::message::Submit> {
    let mut last = None;
    loop {
        let mut quiet = true;
        while let Some(frame) = miner.poll_frame() {
            quiet = false;
            let mut cutter = super::frame::Cutter::default();
            cutter.push(&frame);
            let frame_in = cutter.next_frame().unwrap().unwrap();
            if let Ok(Message::SubmitExtended(submit)) = Message::parse(&frame_in) {
                last = Some(submit);
            }
            // Torn, as a network may.
            for part in frame.chunks(50) {
                pool.handle_bytes(now, id, part);
            }
        }
        while let Some(output) = pool.poll_output() {
            quiet = false;
            if let PoolOutput::Write(to, frame) = output
                && to == id
            {
                miner.handle_bytes(now, &frame);
            }
        }
        if quiet {
            return last;
        }
    }
}
