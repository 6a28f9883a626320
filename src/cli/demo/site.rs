//! The demo's site: two simulated pools, the proxy on the embedded configuration, a fleet; and one look at all of it.
//!
//! Invariant: everything listens on loopback, on ports that were free.

use crate::{
    api::model::Summary,
    app::{App, Running},
    cli::exit,
    config::Config,
    sim::{
        MinerConfig, PoolConfig, PoolStats, Temperament,
        fleet::{Fleet, FleetConfig, FleetHandle},
        pool::{Pool, PoolHandle},
        stats::MinerStats,
    },
    telemetry::{Board, log, view},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What the proxy runs on.
const CONFIG: &str = include_str!("../../../config/demo.toml");
/// All miners together, hashes per second: about a tenth of a core with SHA instructions.
const FLEET_HASHRATE: f64 = 300_000.0;
/// One miner at most, hashes per second.
const MINER_HASHRATE: f64 = 3_000.0;
/// Part of a core that hashing may take, so that a slow machine stays usable.
const CPU_SHARE: f64 = 0.5;
/// 2^22 hashes find a block: one in a quarter of a minute.
const NBITS: u32 = 0x1e04_0000;
/// Difficulties of pools A and B: 65,536 and 32,768 hashes a share.
const DIFFICULTIES: [f64; 2] = [1.0 / 65_536.0, 1.0 / 131_072.0];
/// What a miner that suggests a difficulty suggests: 8,192 hashes a share.
const SUGGESTION: f64 = 1.0 / 524_288.0;
/// How long replies under way are waited for at the end.
const GRACE: Duration = Duration::from_secs(3);

/// A running site.
pub(super) struct Site {
    /// A (preferred) and B (the failover).
    pub(super) pools: [PoolHandle; 2],
    fleet: FleetHandle,
    proxy: Running,
    begun: Instant,
}

/// The site at one moment.
pub(super) struct Look {
    /// Since the start.
    pub(super) elapsed: Duration,
    /// What the miners counted.
    pub(super) fleet: MinerStats,
    /// What the pools counted.
    pub(super) counted: [PoolStats; 2],
    /// What the proxy says of the pools.
    pub(super) pools: Vec<view::Pool>,
    /// What the proxy says of itself.
    pub(super) proxy: Summary,
}

/// The last look, after everything has ended in order.
pub(super) struct Accounts {
    /// All counters.
    pub(super) look: Look,
    /// Whether the proxy drained within its grace.
    pub(super) drained: bool,
}

impl Site {
    /// Starts pools, proxy and miners, in that order.
    pub(super) fn open(miners: u16, filter: Option<&str>) -> Result<Self, (u8, String)> {
        let pools = [pool(0)?, pool(1)?];
        let vars: Vec<_> = ["A", "B"]
            .iter()
            .zip(&pools)
            .map(|(name, pool)| {
                let url = format!("stratum+tcp://{}", pool.address());
                (format!("SLUICE__POOL__{name}__URL"), url)
            })
            .collect();
        let (config, findings) = Config::from_vars("demo.toml", CONFIG, &vars);
        let config = config.ok_or_else(|| (exit::CONFIG, findings.to_string()))?;
        log::init(filter.unwrap_or(&config.log.filter), config.log.json)
            .map_err(|error| (exit::CONFIG, error.to_string()))?;
        let proxy = App::build(config)
            .and_then(App::start)
            .map_err(|error| (exit::ENVIRONMENT, error.to_string()))?;
        let fleet = Fleet::start(fleet(proxy.listeners[0], miners));
        Ok(Self {
            pools,
            fleet,
            proxy,
            begun: Instant::now(),
        })
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Where miners connect.
    pub(super) fn listener(&self) -> SocketAddr {
        self.proxy.listeners[0]
    }

    /// Where the API answers.
    pub(super) fn api(&self) -> Option<SocketAddr> {
        self.proxy.api
    }

    /// Resolves when a part of the proxy has failed.
    pub(super) async fn failed(&self) {
        self.proxy.failed().await;
    }

    /// Everything that is counted, now.
    pub(super) fn look(&self) -> Look {
        look(&self.proxy.board, &self.fleet, &self.pools, self.begun)
    }

    /// Ends in the order in which nothing is lost: miners, proxy, pools.
    pub(super) async fn close(self) -> Accounts {
        self.fleet.finish(GRACE).await;
        let board = self.proxy.board.clone();
        let proxy = self.proxy;
        // The pools answer on this thread meanwhile.
        let drained = tokio::task::spawn_blocking(move || proxy.drain()).await;
        let look = look(&board, &self.fleet, &self.pools, self.begun);
        for pool in &self.pools {
            pool.stop().await;
        }
        Accounts {
            look,
            drained: drained.unwrap_or(false),
        }
    }
}

fn look(board: &Arc<Board>, fleet: &FleetHandle, pools: &[PoolHandle; 2], begun: Instant) -> Look {
    let now = Instant::now();
    Look {
        elapsed: now - begun,
        fleet: fleet.stats(),
        counted: [pools[0].stats(), pools[1].stats()],
        pools: board.pools(now),
        proxy: Summary::of(board, now),
    }
}

fn pool(at: usize) -> Result<PoolHandle, (u8, String)> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    let config = PoolConfig {
        seed: 1 + at as u64,
        difficulty: DIFFICULTIES[at],
        block_every: Some(Duration::from_secs(20)),
        job_every: Some(Duration::from_secs(5)),
        nbits: NBITS,
        unix_time: unix.map_or(0, |d| d.as_secs() as u32),
        ..PoolConfig::default()
    };
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Pool::start(any_port, config, None).map_err(|error| {
        let why = format!("a simulated pool cannot listen on 127.0.0.1: {error}");
        (exit::ENVIRONMENT, why)
    })
}

fn fleet(proxy: SocketAddr, miners: u16) -> FleetConfig {
    FleetConfig {
        temperaments: Temperament::ALL.to_vec(),
        user: "asic{n}".to_owned(),
        each: MinerConfig {
            hashrate: (FLEET_HASHRATE / f64::from(miners)).min(MINER_HASHRATE),
            powers_of_two: true,
            suggest_difficulty: SUGGESTION,
            ..MinerConfig::default()
        },
        cpu_share: CPU_SHARE,
        ..FleetConfig::new(proxy, miners.into())
    }
}
