//! What a world is made of and what happens to it: drawn from a seed, or written by hand. Decides nothing at run time.
//!
//! Invariant: the plan is a function of the seed.

use crate::clock::{MS, Ns, S};
use sluice::sim::poolconfig::{Configure, PoolVardiff, Segments};
use sluice::sim::rng::Rng;
use sluice::sim::v2::{
    Acks, Extensions, ExtranonceGrant, KindV2, MannersV2, MinerConfigV2, PoolConfigV2,
};
use sluice::sim::{MinerConfig, PoolConfig, Temperament};
use sluice::work::vardiff;
use sluice::work::{Difficulty, Layout};
use std::time::Duration;

/// Hashes behind a difficulty of one.
pub const ONE: f64 = 4_294_967_296.0;
/// Where the pools' and the proxy's wall clocks begin.
pub const UNIX: u32 = 1_700_000_000;
/// BIP 320, the policy.
pub const POLICY: u32 = 0x1fff_e000;

/// How a miner's connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// FIN.
    Goodbye,
    /// RST.
    Reset,
    /// Nothing is ever heard again.
    Silent,
}

/// What goes wrong, or just happens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// The pool's process dies; it is back after this.
    PoolDies(usize, Ns),
    /// The pool stops (SIGSTOP); it goes on after this.
    PoolFreezes(usize, Ns),
    /// `mining.set_extranonce`.
    Extranonce(usize),
    /// `mining.set_version_mask`.
    Mask(usize, u32),
    /// The pool's last notify once more, the same bytes.
    Repeat(usize),
    /// So many jobs, this far apart, clean or not.
    Flood(usize, u32, Ns, bool),
    /// A new block.
    Block(usize),
    /// Another difficulty.
    Difficulty(usize, f64),
    /// The pool does not read for this long.
    PoolStalls(usize, Ns),
    /// A miner's connection ends; it comes back after this, or never.
    Cut(usize, Cut, Option<Ns>),
    /// A miner does not read for this long.
    MinerStalls(usize, Ns),
    /// A miner with several channels closes one of them (V2).
    ChannelEnds(usize),
    /// `Reconnect` to where it is (V2).
    Reconnect(usize),
    /// The pool closes every channel; connections stay (V2).
    CloseChannels(usize),
    /// `SetGroupChannel`, and frames of extensions that nobody knows (V2).
    Regroup(usize),
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// The simulated pool.
    pub config: PoolConfig,
    /// It speaks V2 and is this instead.
    pub v2: Option<PoolConfigV2>,
    /// Every frame in two segments (V2; of V1 the pool's config says it).
    pub torn: bool,
    /// Lower mines first.
    pub tier: u8,
    /// Weight within the tier.
    pub share: f64,
    /// One way, and its jitter.
    pub latency: (Ns, Ns),
    /// When it can be reached first.
    pub opens: Ns,
    /// Worker names go up one by one.
    pub by_worker: bool,
}

/// One miner.
#[derive(Clone, Debug)]
pub struct MinerPlan {
    /// The simulated miner.
    pub config: MinerConfig,
    /// It speaks V2 and is this instead.
    pub v2: Option<MinerConfigV2>,
    /// When it connects first.
    pub joins: Ns,
    /// One way, and its jitter.
    pub latency: (Ns, Ns),
}

/// The whole.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What chance depends on.
    pub seed: u64,
    /// Pools; the index is the link's id.
    pub pools: Vec<PoolPlan>,
    /// Miners.
    pub miners: Vec<MinerPlan>,
    /// What happens when.
    pub faults: Vec<(Ns, Fault)>,
    /// Miners hash until then.
    pub length: Ns,
    /// Of the listener.
    pub vardiff: vardiff::Config,
    /// Links renew work after this.
    pub refresh: Duration,
    /// Before a lease moves for weights.
    pub dwell: Duration,
    /// Before a pool that was down is preferred again.
    pub failback: Duration,
    /// Shares that may wait for a link.
    pub link_queue: usize,
    /// Bytes that may wait for a pool.
    pub unwritten: usize,
    /// Wanted shares per second of a link.
    pub shares_per_second: f64,
    /// A pinned layout.
    pub layout: Option<Layout>,
    /// Where lanes start.
    pub first_lane: u32,
    /// Every share is hashed again by the wire's observer; off where there are millions.
    pub watched: bool,
}

impl Plan {
    /// A quiet site with nothing in it.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            pools: Vec::new(),
            miners: Vec::new(),
            faults: Vec::new(),
            length: 180 * S,
            vardiff: vardiff::Config {
                start: difficulty(64.0),
                min: Difficulty::MIN,
                max: Difficulty::MAX,
                fixed: None,
                shares_per_minute: 12.0,
                ceiling_per_minute: 1e9,
            },
            refresh: Duration::from_secs(30),
            dwell: Duration::from_secs(60),
            failback: Duration::from_secs(30),
            link_queue: 1024,
            unwritten: 64 * 1024,
            shares_per_second: 1.0,
            layout: None,
            first_lane: 0,
            watched: true,
        }
    }

    /// A pool of a tier, `hashes` a share.
    pub fn pool(&mut self, tier: u8, share: f64, hashes: f64) -> &mut PoolPlan {
        let at = self.pools.len() as u64;
        self.pools.push(PoolPlan {
            config: PoolConfig {
                seed: self.seed.wrapping_mul(31).wrapping_add(at * 1_000_003 + 7),
                difficulty: hashes / ONE,
                unix_time: UNIX,
                block_every: Some(Duration::from_secs(97 + 13 * at)),
                job_every: Some(Duration::from_secs(11 + at)),
                ..PoolConfig::default()
            },
            v2: None,
            torn: false,
            tier,
            share,
            latency: (15 * MS, 5 * MS),
            opens: 0,
            by_worker: false,
        });
        self.pools.last_mut().expect("just pushed")
    }

    /// A miner of so many hashes a second.
    pub fn miner(&mut self, temperament: Temperament, hashrate: f64) -> &mut MinerPlan {
        let at = self.miners.len() as u64;
        self.miners.push(MinerPlan {
            config: MinerConfig {
                user: format!("site.{at}"),
                temperament,
                hashrate,
                seed: self.seed ^ (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                powers_of_two: true,
                suggest_difficulty: 32.0 / ONE,
                ..MinerConfig::default()
            },
            v2: None,
            joins: at * 20 * MS,
            latency: (2 * MS, 3 * MS),
        });
        self.miners.last_mut().expect("just pushed")
    }

    /// As [`Plan::pool`], speaking V2.
    pub fn pool_v2(&mut self, tier: u8, share: f64, hashes: f64) -> &mut PoolPlan {
        let pool = self.pool(tier, share, hashes);
        pool.v2 = Some(v2_pool(&pool.config));
        pool
    }

    /// As [`Plan::miner`], speaking V2.
    pub fn miner_v2(&mut self, kind: KindV2, hashrate: f64) -> &mut MinerPlan {
        let miner = self.miner(Temperament::Bitaxe, hashrate);
        let config = &miner.config;
        miner.v2 = Some(MinerConfigV2 {
            user: config.user.clone(),
            kind,
            hashrate,
            seed: config.seed,
            min_extranonce: 2,
            ..MinerConfigV2::default()
        });
        miner
    }

    /// A random site with a random fate.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut plan = Self::quiet(seed);
        plan.length = (100 + below(&mut rng, 120)) * S;
        plan.refresh = Duration::from_secs(pick(&mut rng, &[5, 10, 30]));
        plan.dwell = Duration::from_secs(pick(&mut rng, &[5, 15, 60]));
        plan.failback = Duration::from_secs(pick(&mut rng, &[5, 20]));
        plan.vardiff.shares_per_minute = pick(&mut rng, &[8.0, 12.0, 20.0]);
        plan.vardiff.start = difficulty(pick(&mut rng, &[8.0, 48.0, 300.0]));
        if rng.chance(0.2) {
            plan.vardiff.ceiling_per_minute = 60.0;
        }
        plan.first_lane = rng.next_u64() as u32;
        if rng.chance(0.2) {
            plan.link_queue = 1 + below(&mut rng, 4) as usize;
            plan.unwritten = 300;
        }
        // A listener lets V2 miners roll only if all of its pools let them roll everything.
        let wide = rng.chance(0.7);
        plan.random_pools(&mut rng, wide);
        plan.random_miners(&mut rng, wide);
        // A smaller pool that comes after the layout is fixed would cost everyone one reconnect, as documented.
        let smallest = plan
            .pools
            .iter()
            .map(|pool| pool.config.extranonce2_size)
            .min();
        if rng.chance(0.5) || plan.pools.iter().any(|pool| pool.opens > 2 * S) {
            plan.layout = Layout::for_pool(smallest.unwrap_or(8) as u8);
        }
        plan.random_blocks(&mut rng, smallest.unwrap_or(8));
        let faults = 2 + below(&mut rng, 9);
        for _ in 0..faults {
            let at = (20 + below(&mut rng, plan.length / S - 25)) * S + below(&mut rng, S);
            let fault = plan.random_fault(&mut rng, wide);
            plan.faults.push((at, fault));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn random_pools(&mut self, rng: &mut Rng, wide: bool) {
        let pools = 2 + below(rng, 3);
        let two_tiers = rng.chance(0.7);
        let size = 4 + below(rng, 6) as usize;
        for at in 0..pools {
            let tier = if two_tiers {
                u8::from(at >= pools / 2)
            } else {
                0
            };
            let share = pick(rng, &[1.0, 2.0, 3.0]);
            let hashes = pick(rng, &[64.0, 100.0, 256.0, 777.0]);
            let pool = self.pool(tier, share, hashes);
            let config = &mut pool.config;
            config.extranonce2_size = size + below(rng, 4) as usize;
            config.extranonce1_size = 1 + below(rng, 8) as usize;
            config.honours_suggestions = rng.chance(0.3);
            config.jsonrpc2 = rng.chance(0.2);
            config.segments = pick(
                rng,
                &[Segments::PerLine, Segments::Together, Segments::Torn],
            );
            config.answers_extranonce_subscribe = rng.chance(0.8);
            config.block_every = Some(Duration::from_secs(20 + below(rng, 100)));
            config.job_every = Some(Duration::from_millis(3000 + below(rng, 27_000)));
            let masks = [POLICY, POLICY, 0x1fff_ffff, 0x00ff_e000, 0x0000_e000];
            let masks = if wide { &masks[..3] } else { &masks[..] };
            config.configure = Configure::Grant(pick(rng, masks));
            if rng.chance(0.3) {
                config.vardiff = Some(PoolVardiff {
                    shares_per_s: 0.5,
                    every: Duration::from_secs(10),
                });
            }
            pool.latency = (below(rng, 120) * MS, 1 + below(rng, 30 * MS));
            pool.opens = if rng.chance(0.3) {
                below(rng, 15) * S
            } else {
                0
            };
            pool.by_worker = rng.chance(0.3);
            pool.torn = rng.chance(0.3);
            if rng.chance(0.5) {
                pool.v2 = Some(random_v2_pool(rng, wide, &mut pool.config));
            }
        }
    }

    fn random_miners(&mut self, rng: &mut Rng, wide: bool) {
        let miners = 3 + below(rng, 3) * below(rng, 19);
        for _ in 0..miners {
            let temperament = pick(rng, &Temperament::ALL);
            let hashrate = 2.0 * 60f64.powf(rng.unit());
            let length = self.length;
            let miner = self.miner(temperament, hashrate);
            miner.config.version_mask = pick(rng, &[POLICY, POLICY, 0x0000_6000, 0x1ff0_0000]);
            miner.config.resume = rng.chance(0.7);
            if rng.chance(0.5) {
                miner.v2 = Some(random_v2_miner(rng, wide, &miner.config));
            }
            miner.joins = if rng.chance(0.8) {
                below(rng, 10 * S)
            } else {
                below(rng, length / 2)
            };
            miner.latency = (below(rng, 80) * MS, 1 + below(rng, 40 * MS));
        }
    }

    /// Some want to roll more than the layout leaves them: a block of lanes.
    fn random_blocks(&mut self, rng: &mut Rng, smallest: usize) {
        let layout = Layout::for_pool(smallest as u8).unwrap_or(Layout::WIDE);
        for miner in &mut self.miners {
            if let Some(config) = &mut miner.v2
                && rng.chance(0.15)
            {
                config.min_extranonce = u16::from(layout.rolled) + 1;
            }
        }
    }

    fn random_fault(&self, rng: &mut Rng, wide: bool) -> Fault {
        let pool = below(rng, self.pools.len() as u64) as usize;
        let miner = below(rng, self.miners.len() as u64) as usize;
        let long = (2 + below(rng, 50)) * S;
        match below(rng, 20) {
            0..=2 => Fault::PoolDies(pool, long),
            3..=4 => Fault::PoolFreezes(pool, long),
            5 => Fault::Extranonce(pool),
            6 if !wide => Fault::Mask(pool, pick(rng, &[POLICY, 0x00ff_e000, 0x0001_e000])),
            7..=8 => Fault::Repeat(pool),
            9 => Fault::Flood(
                pool,
                2 + below(rng, 25) as u32,
                1 + below(rng, 300 * MS),
                rng.chance(0.5),
            ),
            10 => Fault::Block(pool),
            11 => Fault::Difficulty(pool, pick(rng, &[50.0, 128.0, 400.0]) / ONE),
            12 => Fault::PoolStalls(pool, (1 + below(rng, 8)) * S),
            13 => Fault::MinerStalls(miner, long),
            6 | 14 => Fault::ChannelEnds(miner),
            15 => Fault::Reconnect(pool),
            16 => Fault::CloseChannels(pool),
            17 => Fault::Regroup(pool),
            _ => Fault::Cut(
                miner,
                pick(rng, &[Cut::Goodbye, Cut::Reset, Cut::Silent]),
                rng.chance(0.8).then(|| below(rng, 8 * S)),
            ),
        }
    }
}

/// From hashes a share.
pub fn difficulty(hashes: f64) -> Difficulty {
    Difficulty::new(hashes / ONE).expect("a plan names difficulties that exist")
}

/// Uniform below.
pub fn below(rng: &mut Rng, end: u64) -> u64 {
    rng.next_u64() % end.max(1)
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[below(rng, of.len() as u64) as usize]
}

/// The V2 pool that is most like this one.
fn v2_pool(like: &PoolConfig) -> PoolConfigV2 {
    PoolConfigV2 {
        seed: like.seed,
        extranonce_size: like.extranonce2_size,
        difficulty: like.difficulty,
        vardiff: like.vardiff,
        block_every: like.block_every,
        job_every: like.job_every,
        unix_time: like.unix_time,
        ..PoolConfigV2::default()
    }
}

/// `like` is told how much extranonce a link will see.
fn random_v2_pool(rng: &mut Rng, wide: bool, like: &mut PoolConfig) -> PoolConfigV2 {
    let mut config = v2_pool(like);
    config.prefix_size = 2 + below(rng, 7) as usize;
    config.grant = pick(rng, &[ExtranonceGrant::All, ExtranonceGrant::Asked]);
    if config.grant == ExtranonceGrant::Asked {
        // A link asks for eight bytes first.
        like.extranonce2_size = like.extranonce2_size.min(8);
    }
    config.shares_per_s = rng.chance(0.3).then_some(0.5);
    let within = Some(Duration::from_secs(pick(rng, &[1, 5, 20])));
    let every = pick(rng, &[1, 1, 3, 10]);
    config.acks = Acks { every, within };
    if !wide && rng.chance(0.3) {
        config.version_mask = 0;
    }
    config.extensions = pick(
        rng,
        &[Extensions::Granted, Extensions::Refused, Extensions::Silent],
    );
    config.groups = rng.chance(0.5);
    config.jobs_ahead = rng.chance(0.3);
    config
}

fn random_v2_miner(rng: &mut Rng, wide: bool, like: &MinerConfig) -> MinerConfigV2 {
    let several = KindV2::Proxy {
        extended: 1 + below(rng, 3) as u8,
        standard: below(rng, 4) as u8,
    };
    let kind = pick(rng, &[KindV2::Standard, KindV2::Extended, several]);
    let mut manners = pick(rng, &MannersV2::ALL);
    manners.late = rng.chance(0.2);
    manners.fixed_version = !wide;
    MinerConfigV2 {
        user: like.user.clone(),
        kind,
        manners,
        hashrate: like.hashrate,
        seed: like.seed,
        min_extranonce: below(rng, 3) as u16,
        min_difficulty: pick(rng, &[0.0, 0.0, 16.0 / ONE, 512.0 / ONE]),
        tracks_workers: rng.chance(0.3),
        ..MinerConfigV2::default()
    }
}
