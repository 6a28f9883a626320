//! The demo's site: pools, machines with firmware, GPU hall, meter, the proxy on the embedded configuration; and one look
//! at all of it.
//!
//! Invariant: everything listens on ports that were free, machines and their firmware on 127.x alone; nothing is left on
//! the disk.

use super::{
    Args, FAULT,
    layout::{Layout, Places},
    pool::{DemoPool, Speech, Speeches},
};
use crate::{
    api::model::Summary,
    app::{App, Running},
    cli::exit,
    config::Config,
    curtail::view::View,
    sim::{
        PoolStats,
        site::{
            Site as Machines, SiteHandle,
            breaker::Trip,
            job::JobRecord,
            plant::{Mining, Plant, Power},
            scheduler::{Scheduler, SchedulerConfig},
        },
        stats::MinerStats,
    },
    stratum::v2::noise::Authority,
    telemetry::{Board, log, view},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// What the proxy runs on.
const CONFIG: &str = include_str!("../../../config/demo.toml");
/// The operator's token in it.
pub(super) const OPERATOR: &str = "demo-operator-token";
/// The scheduler's.
const SLURM: &str = "demo-slurm-token";
/// How long replies under way are waited for at the end.
const GRACE: Duration = Duration::from_secs(3);

/// A running site.
pub(super) struct Site {
    /// What it was built from.
    pub(super) layout: Layout,
    /// A (preferred) and B (the failover).
    pub(super) pools: [DemoPool; 2],
    /// What the machines speak.
    pub(super) speeches: Speeches,
    /// Where miners connect.
    pub(super) listener: SocketAddr,
    /// The same for V2 miners: with the public key made for this run.
    pub(super) url_v2: String,
    /// Where the API answers.
    pub(super) api: SocketAddr,
    world: World,
    scheduler: Arc<Scheduler>,
    proxy: Running,
    /// Removed with the site.
    _folder: Folder,
}

/// What can be looked at, the proxy running or not.
struct World {
    pools: [DemoPool; 2],
    machines: SiteHandle,
    plant: Plant,
    job: Arc<Mutex<Option<JobRecord>>>,
    board: Arc<Board>,
    view: watch::Receiver<Arc<View>>,
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
    /// What the proxy says of the power.
    pub(super) view: Arc<View>,
    /// What the power is in truth.
    pub(super) truth: Power,
    /// Machines that hash.
    pub(super) hashing: usize,
    /// Times a machine was put off, each of which ends its connection.
    pub(super) stops: u64,
    /// Breakers that tripped.
    pub(super) trips: Vec<Trip>,
    /// What running jobs draw above idling, in watts.
    pub(super) job_watts: f64,
    /// Nodes with a job.
    pub(super) busy_nodes: usize,
    /// The job, once it is over.
    pub(super) job: Option<JobRecord>,
}

/// The last look, after everything has ended in order.
pub(super) struct Accounts {
    /// All counters.
    pub(super) look: Look,
    /// Whether the proxy drained within its grace.
    pub(super) drained: bool,
}

impl Site {
    /// Starts pools, hall and meter, machines, proxy.
    pub(super) async fn open(args: &Args) -> Result<Self, (u8, String)> {
        let environment = |what: &str, error: &dyn std::fmt::Display| {
            (exit::ENVIRONMENT, format!("{what}: {error}"))
        };
        let layout = Layout::of(args.miners.count);
        let folder = Folder::new()
            .map_err(|error| environment("no folder for the demo's ledger", &error))?;
        let [main, backup] = Speech::of_pools(args.pool);
        let pools = [DemoPool::start(0, main)?, DemoPool::start(1, backup)?];
        let authority = authority().map_err(|error| environment("no random numbers", &error))?;
        let rig = Arc::new(Rig::default());
        let plant = Plant::start(layout.plant.clone(), rig.clone()).await;
        let plant = plant.map_err(|error| {
            environment("the simulated meter cannot listen on 127.0.0.1", &error)
        })?;
        let listen = free_address().map_err(|error| environment("no free port", &error))?;
        let machines = Machines::start(&crate::sim::site::SiteConfig {
            pool: Some(listen),
            protocols: args.miners.speeches.dealt(),
            authority: Some(authority.public().to_string()),
            ..layout.machines.clone()
        });
        let machines = machines.map_err(|error| environment("simulated machines", &error))?;
        // Set once, here.
        let _ = rig.0.set(machines.clone());
        let places = Places {
            listen,
            pools: [pools[0].url(), pools[1].url()],
            authority_key: authority.secret_text(),
            ports: machines.ports(),
            meter: plant.meter_url(),
            gpus: plant.exporter_url(),
            folder: &folder.0,
        };
        // On a thread of its own: it waits for the first readings of hall and meter, which answer on this one.
        let (vars, filter) = (layout.vars(&places), args.log.clone());
        let started = tokio::task::spawn_blocking(move || proxy(&vars, filter.as_deref())).await;
        let proxy =
            started.map_err(|_| (FAULT, "the proxy panicked at its start".to_owned()))??;
        let (Some(api), Some(view)) = (proxy.api, proxy.power.clone()) else {
            let why =
                "the demo's configuration has no API or no site; this is a bug, please report it";
            return Err((FAULT, why.to_owned()));
        };
        let scheduler = SchedulerConfig {
            api,
            token: SLURM.to_owned(),
            source: "slurm".to_owned(),
            audience: "demo".to_owned(),
            epoch: None,
            class: 1,
            scope: "site".to_owned(),
            site_limit_watts: layout.limit_watts,
        };
        Ok(Self {
            layout,
            speeches: args.miners.speeches,
            listener: listen,
            url_v2: format!("stratum2+tcp://{listen}/{}", authority.public()),
            api,
            scheduler: Arc::new(Scheduler::new(scheduler, plant.hall(), plant.base_watts())),
            world: World {
                pools: pools.clone(),
                machines,
                plant,
                job: Arc::default(),
                board: proxy.board.clone(),
                view,
                begun: Instant::now(),
            },
            pools,
            proxy,
            _folder: folder,
        })
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.world.begun.elapsed()
    }

    /// Resolves when a part of the proxy has failed.
    pub(super) async fn failed(&self) {
        self.proxy.failed().await;
    }

    /// The job asks for its power, and runs when it has it.
    pub(super) fn start_job(&self) {
        let Some(plan) = self.layout.job.clone() else {
            return;
        };
        let (scheduler, record) = (self.scheduler.clone(), self.world.job.clone());
        tokio::spawn(async move {
            let ended = scheduler.run(plan).await;
            *locked(&record) = Some(ended);
        });
    }

    /// Everything that is counted, now.
    pub(super) fn look(&self) -> Look {
        self.world.look()
    }

    /// Ends in the order in which nothing is lost: miners, proxy, machines, pools.
    pub(super) async fn close(self) -> Accounts {
        let Self { world, proxy, .. } = self;
        if let Some(fleet) = world.machines.fleet() {
            fleet.finish(GRACE).await;
        }
        // The pools answer on this thread meanwhile.
        let drained = tokio::task::spawn_blocking(move || proxy.drain()).await;
        let look = world.look();
        world.machines.stop().await;
        world.plant.stop().await;
        for pool in &world.pools {
            pool.stop().await;
        }
        Accounts {
            look,
            drained: drained.unwrap_or(false),
        }
    }
}

impl World {
    fn look(&self) -> Look {
        let now = Instant::now();
        let machines = self.machines.machines();
        let hall = self.plant.hall();
        let (job_watts, busy_nodes) = {
            let hall = locked(&hall);
            (hall.job_watts(now), hall.busy_nodes())
        };
        Look {
            elapsed: now - self.begun,
            fleet: self.machines.miners().unwrap_or_default(),
            counted: [self.pools[0].stats(), self.pools[1].stats()],
            pools: self.board.pools(now),
            proxy: Summary::of(&self.board, now),
            view: self.view.borrow().clone(),
            truth: self.plant.power(),
            hashing: machines.iter().filter(|m| m.hashing > 0.0).count(),
            stops: machines
                .iter()
                .map(|m| u64::from(m.wear.power_cycles))
                .sum(),
            trips: self.plant.trips(),
            job_watts,
            busy_nodes,
            job: locked(&self.job).clone(),
        }
    }
}

/// The machines, for a plant that must be there before them.
#[derive(Default)]
struct Rig(OnceLock<SiteHandle>);

impl Mining for Rig {
    fn feeder_watts(&self, feeder: &str) -> f64 {
        self.0.get().map_or(0.0, |site| site.feeder_watts(feeder))
    }

    fn cut(&self, feeder: &str) {
        if let Some(site) = self.0.get() {
            site.set_feeder(feeder, false);
        }
    }
}

/// A folder of its own under the system's for such things, readable by us alone, gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        let name = format!("sluice-demo-{}-{nanos}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is a few hundred kilobytes among temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn proxy(vars: &[(String, String)], filter: Option<&str>) -> Result<Running, (u8, String)> {
    let (config, findings) = Config::from_vars("demo.toml", CONFIG, vars);
    let config = config.ok_or_else(|| (exit::CONFIG, findings.to_string()))?;
    log::init(filter.unwrap_or(&config.log.filter), config.log.json)
        .map_err(|error| (exit::CONFIG, error.to_string()))?;
    App::build(config)
        .and_then(App::start)
        .map_err(|error| (exit::ENVIRONMENT, error.to_string()))
}

/// Who the proxy is to V2 machines, in this run.
fn authority() -> Result<Authority, getrandom::Error> {
    let mut chance = [0; 32];
    getrandom::fill(&mut chance)?;
    Ok(Authority::new(chance))
}

/// A port that is free now. Machines must know it before the proxy, which must know theirs, can take it.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing under these locks panics half-way")
}
