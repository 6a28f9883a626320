//! The composition root: makes every queue, starts every task, owns the order of shutdown. Decides nothing else.
//!
//! Build binds everything and spawns nothing; start spawns; drain ends in order: listeners, sessions, links, router, API.
//! Invariant: when `build` has succeeded, no port, file or certificate can fail any more.

mod site;

use crate::config::{Config, Pool};
use crate::curtail::view::View;
use crate::proxy::lease::ListenerId;
use crate::proxy::link::Link;
use crate::proxy::router::Router;
use crate::stratum::v2::noise::AuthorityPublic;
use crate::tasks::listen::{self, Admission, Listen};
use crate::tasks::noise::Issuer;
use crate::tasks::shard::{self, Shard};
use crate::tasks::{self, BLOCK_QUEUE, Hub, LinkOrders, LinkPort, ROUTER_QUEUE, admin, net};
use crate::telemetry::{Board, PoolCard};
use crate::work::{LinkId, hash};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Why a proxy cannot be built: the environment's fault, in words for a person.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An address cannot be listened on.
    #[error("{0}")]
    Listen(String),
    /// A certificate, key or CA file.
    #[error("{0}")]
    Tls(String),
    /// The API.
    #[error("{0}")]
    Api(io::Error),
    /// The ledger.
    #[error("{0}")]
    Ledger(String),
    /// Threads, runtimes, entropy.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// A proxy with every resource it needs, not running yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    listeners: Vec<Bound>,
    connectors: Vec<Option<Connector>>,
    site: Option<site::Built>,
}

/// One listener, bound once per shard.
#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
    tls: Option<Acceptor>,
}

/// Named so that they can be printed without what they hold.
struct Acceptor(TlsAcceptor);
struct Connector(TlsConnector);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// A running proxy. Dropping it does not stop it: call [`Running::drain`].
#[derive(Debug)]
pub struct Running {
    /// Where miners can connect, by listener.
    pub listeners: Vec<SocketAddr>,
    /// The authority that Stratum V2 miners are to be told of, if there is one.
    pub authority: Option<AuthorityPublic>,
    /// Where the API answers.
    pub api: Option<SocketAddr>,
    /// The read model.
    pub board: Arc<Board>,
    /// The power side's, where a site is configured.
    pub power: Option<watch::Receiver<Arc<View>>>,
    grace: Duration,
    shards: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    admin: Option<JoinHandle<()>>,
    curtail: Option<JoinHandle<()>>,
    stop_site: CancellationToken,
    stop_sessions: CancellationToken,
    stop_links: CancellationToken,
    stop_admin: CancellationToken,
    fault: CancellationToken,
}

impl App {
    /// Binds every address and reads every file.
    ///
    /// # Errors
    /// The first thing that the environment does not allow, and what to do about it.
    pub fn build(config: Config) -> Result<Self, BuildError> {
        raise_descriptor_limit(config.limits.connections);
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let sockets = net::bind(listener.address, config.shards).map_err(|error| {
                BuildError::Listen(explain(&listener.name, listener.address, &error))
            })?;
            let tls = match &listener.tls {
                Some((certificate, key)) => Some(Acceptor(
                    net::acceptor(certificate, key).map_err(BuildError::Tls)?,
                )),
                None => None,
            };
            let address = sockets
                .first()
                .map_or(Ok(listener.address), TcpListener::local_addr)?;
            listeners.push(Bound {
                address,
                sockets,
                tls,
            });
        }
        let mut connectors = Vec::new();
        for pool in &config.pools {
            connectors.push(match &pool.tls {
                Some(ca) => Some(Connector(
                    net::connector(ca.as_deref()).map_err(BuildError::Tls)?,
                )),
                None => None,
            });
        }
        let site = config.site.as_ref().map(site::Built::new).transpose()?;
        Ok(Self {
            config,
            listeners,
            connectors,
            site,
        })
    }

    /// Starts every thread and task.
    ///
    /// # Errors
    /// The API's port is taken, or the system gives no thread.
    pub fn start(self) -> Result<Running, BuildError> {
        let Self {
            config,
            listeners,
            connectors,
            site,
        } = self;
        let forced = config.kernel.map(hash::Kernel::name);
        match hash::select(forced, Instant::now) {
            Ok(selected) => info!(kernels = %selected.plan, "shares are hashed by"),
            // The configuration names kernels of this machine only.
            Err(error) => warn!(%error, "no hash kernel was chosen"),
        }
        let now = Instant::now();
        let board = Arc::new(board(&config, now));
        let stop_sessions = CancellationToken::new();
        let stop_links = CancellationToken::new();
        let stop_admin = CancellationToken::new();
        let stop_site = CancellationToken::new();
        let fault = CancellationToken::new();

        // Before anything listens: what was in force is in force again.
        let power = site.as_ref().map(|site| site.power.clone());
        let site = site
            .map(|site| site.start(&config, &fault, &stop_site))
            .transpose()?;
        let (site, curtail) = site.map(|site| (site.site, site.thread)).unzip();
        let view = site.as_ref().map(|site| site.control.view.clone());
        // The only thing here that the environment can still refuse.
        let (api, admin) = match &config.api {
            Some(api) => {
                let spawned = admin::spawn(api, board.clone(), site, stop_admin.clone());
                let (address, thread) = spawned.map_err(BuildError::Api)?;
                (Some(address), Some(thread))
            }
            None => (None, None),
        };

        let (router_tx, router_rx) = mpsc::channel(ROUTER_QUEUE);
        let mut ports = Vec::new();
        let mut queues = Vec::new();
        let mut link_orders = Vec::new();
        for _ in &config.pools {
            let (shares_tx, shares_rx) = mpsc::channel(config.limits.link_queue);
            let (blocks_tx, blocks_rx) = mpsc::channel(BLOCK_QUEUE);
            let (work_tx, work) = watch::channel(None);
            let (orders_tx, orders_rx) = watch::channel(LinkOrders::default());
            ports.push(LinkPort {
                shares_tx,
                blocks_tx,
                refresh: Notify::new(),
                work,
            });
            queues.push((shares_rx, blocks_rx, orders_rx, work_tx));
            link_orders.push(orders_tx);
        }
        let policy = config.router.version_mask;
        let hub = Arc::new(Hub {
            router_tx,
            links: ports,
            masks: config
                .listeners
                .iter()
                .map(|_| AtomicU32::new(policy))
                .collect(),
            board: board.clone(),
            power,
            next_session: Arc::new(AtomicU64::new(1)),
        });

        // Job ids start somewhere else after a restart: some firmware ignores an id it has seen lately.
        let mut seed = [0; 4];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let ids = Arc::new(AtomicU32::new(u32::from_le_bytes(seed) & 0x0fff_ffff));
        let links: Vec<_> = config
            .pools
            .iter()
            .zip(queues)
            .zip(connectors)
            .map(
                |((pool, (shares_rx, blocks_rx, orders_rx, work_tx)), tls)| {
                    let start = tasks::link::Start {
                        pool: pool.clone(),
                        link: Link::new(now, pool.link.clone(), ids.clone()),
                        shares_rx,
                        blocks_rx,
                        orders_rx,
                        work_tx,
                        hub: hub.clone(),
                        cancel: stop_links.clone(),
                    };
                    (start, tls.map(|connector| connector.0))
                },
            )
            .collect();
        let router = tasks::router::Start {
            router: Router::new(now, config.router.clone()),
            inputs_rx: router_rx,
            links: link_orders,
            hub: hub.clone(),
            pool_names: config
                .pools
                .iter()
                .map(|pool| pool.link.name.clone())
                .collect(),
        };
        let heartbeat = config.api.is_none().then(|| board.clone());
        let control = thread("control", &fault, move || control(links, router, heartbeat))?;

        let addresses = listeners.iter().map(|bound| bound.address).collect();
        let admission = Arc::new(Admission::new(config.limits.clone(), now));
        let validity = config.v2.certificate_validity;
        let authority = config.v2.authority.clone();
        let issuer = authority.map(|authority| Arc::new(Issuer::new(authority, validity)));
        let public = issuer.as_ref().map(|issuer| issuer.public());
        let sessions: Vec<_> = config
            .listeners
            .iter()
            .map(|l| Arc::new(l.session.clone()))
            .collect();
        let mut shards = Vec::new();
        let mut per_shard: Vec<Vec<(ListenerId, TcpListener, Option<TlsAcceptor>)>> = Vec::new();
        per_shard.resize_with(config.shards.max(1), Vec::new);
        for (at, bound) in listeners.into_iter().enumerate() {
            let id = ListenerId(u16::try_from(at).expect("the configuration caps listeners"));
            for (shard, socket) in per_shard.iter_mut().zip(bound.sockets) {
                shard.push((id, socket, bound.tls.as_ref().map(|tls| tls.0.clone())));
            }
        }
        for (at, sockets) in per_shard.into_iter().enumerate() {
            let shard = Arc::new(Shard::new(hub.clone(), config.batches));
            let listens: Vec<_> = sockets
                .into_iter()
                .map(|(id, socket, tls)| {
                    let listen = Listen {
                        id,
                        config: sessions[usize::from(id.0)].clone(),
                        tls,
                        noise: issuer.clone(),
                        shard: shard.clone(),
                        admission: admission.clone(),
                        sessions: TaskTracker::new(),
                        cancel: stop_sessions.clone(),
                    };
                    (Arc::new(listen), socket)
                })
                .collect();
            let run = move || serve_shard(listens, shard);
            shards.push(thread(&format!("shard-{at}"), &fault, run)?);
        }
        Ok(Running {
            listeners: addresses,
            authority: public,
            api,
            board,
            power: view,
            grace: config.grace,
            shards,
            control,
            admin,
            curtail,
            stop_site,
            stop_sessions,
            stop_links,
            stop_admin,
            fault,
        })
    }
}

impl Running {
    /// Resolves when a thread that must not end has ended: the process is to end with an error.
    pub async fn failed(&self) {
        self.fault.cancelled().await;
    }

    /// Ends in order: power first, then, each step within what is left of the grace period, sessions answer what was
    /// read, links settle what is in flight, the API goes last. `false`: not everything ended in time.
    pub fn drain(self) -> bool {
        // With `on_exit = "safe"` the watts come down while miners still have work.
        self.stop_site.cancel();
        let curtail = self
            .curtail
            .is_none_or(|curtail| join(curtail, Instant::now() + POWER));
        let deadline = Instant::now() + self.grace.max(Duration::from_millis(100));
        self.stop_sessions.cancel();
        let sessions = self
            .shards
            .into_iter()
            .map(|shard| join(shard, deadline))
            .fold(true, |all, one| all & one);
        self.stop_links.cancel();
        let links = join(self.control, deadline);
        self.stop_admin.cancel();
        let admin = self
            .admin
            .is_none_or(|admin| join(admin, deadline + Duration::from_secs(2)));
        if !(sessions && links && admin && curtail) {
            warn!(
                sessions,
                links, admin, curtail, "not everything ended within the grace period"
            );
        }
        sessions && links && admin && curtail
    }
}

/// Longest that power takes to end: 20 s with `on_exit = "safe"`, the calls under way, and the ledger.
const POWER: Duration = Duration::from_secs(30);

fn join(thread: JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    thread.join().is_ok()
}

/// Starts a thread whose panic is a fault of the process, not of a connection.
fn thread(
    name: &str,
    fault: &CancellationToken,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let fault = fault.clone();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let guard = fault.drop_guard();
            if run().is_ok() {
                // An orderly end is no fault.
                guard.disarm();
            }
        })
}

/// Sockets that one look at the system brings at most: a turn's shares are answered before the first has grown cold.
const EVENTS: usize = 64;
/// Polls between two looks while anything is ready. A share takes up to two polls, so a turn's are all answered before
/// the next look adds to the queue: at tokio's 61, a queue once long stayed long, and its shares grew cold in it.
const POLLS: u32 = 256;

fn runtime() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all();
    builder
}

/// One shard: its listeners until cancelled, then its sessions until the last is gone.
fn serve_shard(listens: Vec<(Arc<Listen>, TcpListener)>, shard: Arc<Shard>) -> io::Result<()> {
    let mut runtime = runtime();
    let resting = shard.clone();
    runtime.on_thread_park(move || resting.rests());
    runtime.max_io_events_per_tick(EVENTS);
    runtime.event_interval(POLLS);
    runtime.build()?.block_on(async move {
        let beat = tokio::spawn(shard::beat(shard.clone()));
        let mut ears = Vec::new();
        for (at, _) in shard.hub.links.iter().enumerate() {
            let link = LinkId(u16::try_from(at).expect("the configuration caps pools"));
            ears.push(tokio::spawn(shard::herald(shard.clone(), link)));
        }
        if let Some((listen, _)) = listens.first() {
            ears.push(tokio::spawn(shard::drain(
                shard.clone(),
                listen.cancel.clone(),
            )));
        }
        let mut accepting = Vec::new();
        let mut sessions = Vec::new();
        for (listen, socket) in listens {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            sessions.push(listen.sessions.clone());
            accepting.push(tokio::spawn(listen::run(listen, socket)));
        }
        for task in accepting {
            task.await.map_err(io::Error::other)?;
        }
        for sessions in sessions {
            sessions.close();
            sessions.wait().await;
        }
        beat.abort();
        ears.into_iter().for_each(|ear| ear.abort());
        let works = shard.beat(Instant::now());
        let _ = shard
            .hub
            .router_tx
            .send(tasks::ToRouter::Works(works))
            .await;
        Ok(())
    })
}

/// The control thread: links and router, until the links have drained.
fn control(
    links: Vec<(tasks::link::Start, Option<TlsConnector>)>,
    router: tasks::router::Start,
    heartbeat: Option<Arc<Board>>,
) -> io::Result<()> {
    runtime().build()?.block_on(async move {
        let router = tokio::spawn(tasks::router::run(router));
        if let Some(board) = heartbeat {
            tokio::spawn(admin::heartbeat(board));
        }
        let links: Vec<_> = links
            .into_iter()
            .map(|(start, tls)| tokio::spawn(tasks::link::run(start, tls)))
            .collect();
        for link in links {
            link.await.map_err(io::Error::other)?;
        }
        router.abort();
        match router.await {
            Err(error) if error.is_panic() => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    })
}

fn board(config: &Config, now: Instant) -> Board {
    let listeners = config
        .listeners
        .iter()
        .map(|listener| listener.name.clone())
        .collect();
    let tier = |pool: &Pool| config.router.pools.iter().find(|p| p.id == pool.link.id);
    let card = |pool: &Pool| PoolCard {
        name: pool.link.name.clone(),
        url: format!(
            "{}://{}:{}",
            match (&pool.authority, &pool.tls) {
                (Some(_), _) => "stratum2+tcp",
                (None, Some(_)) => "stratum+ssl",
                (None, None) => "stratum+tcp",
            },
            pool.host,
            pool.port
        ),
        user: pool.link.user.clone(),
        tier: tier(pool).map_or(0, |p| p.tier),
        share: tier(pool).map_or(1.0, |p| p.share),
        plaintext: pool.tls.is_none() && pool.authority.is_none(),
    };
    Board::new(now, listeners, config.pools.iter().map(card).collect())
}

/// As many descriptors as the hard limit gives; says so if that is too few for the configured connections.
fn raise_descriptor_limit(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    info!(descriptors = have, "file descriptors");
    if have < connections as u64 + 64 {
        warn!(
            have,
            connections, "too few file descriptors for limits.connections; raise `ulimit -n`"
        );
    }
}

fn explain(name: &str, address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "listener `{name}`: {address} is taken by another program (or another Sluice); stop it or choose another address"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "listener `{name}`: this user may not listen on {address}; choose a port above 1023"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "listener `{name}`: {address} is not an address of this machine; 0.0.0.0 listens on all"
            )
        }
        _ => format!("listener `{name}`: cannot listen on {address}: {error}"),
    }
}
