//! The power side, wired: the ledger, the drivers, the feeds, the reconcilers, the controller's thread.
//!
//! Invariant: when [`Built::start`] returns, what was in force before the last end is in force again; listeners open after.

use super::{BuildError, runtime, thread};
use crate::actuators::{self, Actuator};
use crate::api::control::Control;
use crate::api::{self, auth};
use crate::config::Config;
use crate::config::site::{Firmware, SiteConfig};
use crate::curtail::controller::Input;
use crate::feeds::fetch::Fetcher;
use crate::feeds::{Feed, Reading, dcgm, meter};
use crate::ledger::{Ledger, LedgerError, Recovered, Writer};
use crate::tasks::curtail::{READINGS, REPORTS};
use crate::tasks::power::Power;
use crate::tasks::reconcile::{self, Desk};
use crate::tasks::{curtail, feed};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Longest that recovery may take before the proxy refuses to start: the ledger is read in well under a second.
const RECOVERY: Duration = Duration::from_secs(30);

/// A site with its ledger open, not running yet.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) power: Arc<Power>,
    config: SiteConfig,
    ledger: Ledger,
    recovered: Recovered,
    distrust: Option<String>,
}

/// A running site.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) site: api::Site,
    pub(super) thread: JoinHandle<()>,
}

impl Built {
    /// Opens the ledger. One that cannot be read is moved aside, and mining is held at its safe watts.
    pub(super) fn new(config: &SiteConfig) -> Result<Self, BuildError> {
        let refused = |error: LedgerError| BuildError::Ledger(error.to_string());
        let (opened, distrust) = match Ledger::open(&config.ledger) {
            Err(damaged @ LedgerError::Damaged { .. }) => {
                let aside = put_aside(&config.ledger)?;
                error!(%damaged, aside = %aside, "the ledger is put aside");
                (Ledger::open(&config.ledger), Some(damaged.to_string()))
            }
            opened => (opened, None),
        };
        let (ledger, recovered) = opened.map_err(refused)?;
        Ok(Self {
            power: Arc::new(Power::new(config.bindings.clone())),
            config: config.clone(),
            ledger,
            recovered,
            distrust,
        })
    }

    /// Starts the controller's thread and waits until it has recovered.
    pub(super) fn start(
        self,
        config: &Config,
        fault: &CancellationToken,
        cancel: &CancellationToken,
    ) -> Result<Started, BuildError> {
        let Self {
            power,
            config: site,
            ledger,
            recovered,
            distrust,
        } = self;
        let (control, calls_rx, view_tx) = Control::new(&site.site.name);
        let api = api::Site::new(control, credentials(config, &site));
        let (readings_tx, readings_rx) = mpsc::channel(READINGS);
        let (reports_tx, reports_rx) = mpsc::channel(REPORTS);
        let (ready_tx, ready_rx) = oneshot::channel();
        let families = families(&site);
        let in_flight = Arc::new(Semaphore::new(site.actuators.in_flight));
        let desks: Vec<Arc<Desk>> = site.site.groups.iter().map(|_| Arc::default()).collect();
        let mut reconcilers = Vec::new();
        let hands = CancellationToken::new();
        for (desk, binding) in desks.iter().zip(&site.bindings.of_groups) {
            let mine = |driver: &&Arc<dyn Actuator>| match binding.firmware {
                Firmware::Auto => true,
                Firmware::Family(family) => driver.family() == family,
                Firmware::None => false,
            };
            reconcilers.push(reconcile::Start {
                desk: desk.clone(),
                families: families.iter().filter(mine).cloned().collect(),
                in_flight: in_flight.clone(),
                reports_tx: reports_tx.clone(),
                cancel: hands.clone(),
            });
        }
        let feeds = feeds(&site, &readings_tx);
        let start = curtail::Start {
            config_hash: hash(config),
            config: site,
            power,
            calls_rx,
            view_tx,
            readings_rx,
            reports_rx,
            desks,
            families,
            ledger: Writer::start(ledger),
            recovered,
            distrust,
            ready: ready_tx,
            cancel: cancel.clone(),
        };
        let run = move || run(start, reconcilers, feeds, &hands);
        let thread = thread("curtail", fault, run)?;
        wait(ready_rx)?;
        Ok(Started { site: api, thread })
    }
}

/// The controller to its end, then its hands: what it commands last still reaches the machines.
fn run(
    start: curtail::Start,
    reconcilers: Vec<reconcile::Start>,
    feeds: Vec<feed::Start>,
    hands: &CancellationToken,
) -> io::Result<()> {
    runtime().build()?.block_on(async move {
        let reconcilers = reconcilers.into_iter();
        let reconcilers: JoinSet<()> = reconcilers.map(reconcile::run).collect();
        for feed in feeds {
            tokio::spawn(feed::run(feed));
        }
        curtail::run(start).await;
        hands.cancel();
        reconcilers.join_all().await;
        Ok(())
    })
}

fn wait(mut ready: oneshot::Receiver<()>) -> Result<(), BuildError> {
    let deadline = std::time::Instant::now() + RECOVERY;
    while std::time::Instant::now() < deadline {
        match ready.try_recv() {
            Ok(()) => return Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => break,
            Err(oneshot::error::TryRecvError::Empty) => {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Err(BuildError::Ledger(
        "the controller did not take up what was in force before; nothing was started".into(),
    ))
}

fn put_aside(path: &Path) -> Result<String, BuildError> {
    let stamp = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let aside = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{stamp}"));
        std::path::PathBuf::from(name)
    };
    std::fs::rename(path, aside(path))?;
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // They need not be there.
        let _ = std::fs::rename(&name, aside(Path::new(&name)));
    }
    Ok(aside(path).display().to_string())
}

fn families(site: &SiteConfig) -> Vec<Arc<dyn Actuator>> {
    let ranges = site
        .bindings
        .of_groups
        .iter()
        .flat_map(|binding| &binding.machines);
    let account = |account: &crate::config::site::Account| actuators::Account {
        name: account.name.clone(),
        password: actuators::Secret(account.password.expose().to_owned()),
    };
    let accounts = site.actuators.accounts.iter();
    let config = actuators::Config {
        ports: site.actuators.ports.clone(),
        accounts: accounts
            .map(|(family, of)| (family.clone(), account(of)))
            .collect(),
        profiles: site.actuators.profiles,
        simulation: site.actuators.simulation,
        allowed: ranges.map(|range| (range.first, range.prefix)).collect(),
    };
    let families = actuators::FAMILIES.iter();
    families
        .filter_map(|name| actuators::family(name, &config))
        .collect()
}

fn credentials(config: &Config, site: &SiteConfig) -> auth::Config {
    let token = |token: &crate::config::site::Token| auth::Token {
        name: token.name.clone(),
        secret: auth::Secret::new(token.secret.expose()),
        scopes: auth::Scopes {
            read: token.read,
            curtail: token.curtail,
            admin: token.admin,
        },
        source: token.source.clone(),
    };
    let sources = site.site.sources.iter().zip(&site.source_keys);
    let source = |(source, key): (
        &crate::curtail::site::Source,
        &Option<crate::config::site::Secret>,
    )| auth::Source {
        name: source.name.clone(),
        key: key.as_ref().map(|key| auth::Secret::new(key.expose())),
    };
    auth::Config {
        tokens: config.tokens.iter().map(token).collect(),
        sources: sources.map(source).collect(),
    }
}

fn feeds(site: &SiteConfig, readings_tx: &mpsc::Sender<Input>) -> Vec<feed::Start> {
    let mut feeds = Vec::new();
    if let Some(of) = &site.meter {
        // A site without a limit of its own still has no meter that shows terawatts.
        let most = site.site.limit.0.min(100_000_000_000) as f64 * 2.0;
        let config = meter::Config {
            labels: of.labels.clone(),
            max_age: of.max_age,
            ..meter::Config::new(&of.metric, most)
        };
        let feed: Box<dyn Feed> = Box::new(meter::Meter::new(config));
        feeds.push(feed::Start {
            feeds: vec![(of.url.clone(), feed)],
            every: of.every,
            input: |reading: &Reading| Input::Meter(reading.measured()),
            readings_tx: readings_tx.clone(),
            fetcher: Fetcher::default(),
        });
    }
    if let Some(of) = &site.gpu {
        let config = dcgm::Config {
            metric: of.metric.clone(),
            nodes: of.nodes,
            gpus_per_node: of.gpus_per_node,
            gpu_nameplate_watts: of.gpu_nameplate_watts,
            node_factor: of.node_factor,
            node_watts: of.node_watts,
            max_age: of.max_age,
            hold: of.hold,
            ..dcgm::Config::default()
        };
        let feed = |url: &url::Url| {
            let feed: Box<dyn Feed> = Box::new(dcgm::Dcgm::new(config.clone()));
            (url.clone(), feed)
        };
        feeds.push(feed::Start {
            feeds: of.urls.iter().map(feed).collect(),
            every: of.every,
            input: |reading: &Reading| Input::Gpu(reading.watts),
            readings_tx: readings_tx.clone(),
            fetcher: Fetcher::default(),
        });
    }
    feeds
}

/// What the audit names a configuration by. Secrets print masked, so they are not in it.
fn hash(config: &Config) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{config:?}").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
