//! Simulated miners of V1 and V2 on real sockets: one task per miner, one shared hashing budget.
//!
//! What a miner says is decided in miner.rs and v2/miner.rs. Invariant: at most one search hashes at any time, for at most
//! `cpu_share` of that time, on a thread where blocking is allowed.

use super::{
    changes::Changes,
    miner::{MinerConfig, SimMiner},
    peer::Peer,
    rng::Rng,
    search::{Found, Search},
    stats::MinerStats,
    temperament::Temperament,
    v2::{
        KindV2, MannersV2, MinerConfigV2, SimMinerV2, authority,
        noise::{Noise, NoiseError},
    },
    wire::Cutter,
};
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use super::peer::Protocol;

/// Hashes in one slice: about 10 ms, short enough that a new job is not missed.
const SLICE: u64 = 1 << 15;
/// A connect or a write that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A fleet to start.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Where every miner connects to.
    pub pool: SocketAddr,
    /// How many miners.
    pub miners: usize,
    /// Dealt out in turn; empty: cgminer for all.
    pub temperaments: Vec<Temperament>,
    /// Worker name; `{n}` becomes the miner's number, from 1.
    pub user: String,
    /// What every miner has in common: hashrate of each, password, mask, checks, resume; its seed seeds all.
    pub each: MinerConfig,
    /// Part of one core that hashing may use (0..=1).
    pub cpu_share: f64,
    /// Whether each miner comes from its own 127.0.x.y (only towards a 127.x address).
    pub spread_sources: bool,
    /// Whether a miner connects again when its connection ended.
    pub reconnects: bool,
    /// First pause before that; doubles up to 10 s, with jitter.
    pub reconnect_after: Duration,
    /// Where each miner comes from, by number; for a miner beyond the end, as `spread_sources` says.
    pub sources: Vec<Ipv4Addr>,
    /// Hashes per second of each miner, by number; for a miner beyond the end, as `each` says.
    pub hashrates: Vec<f64>,
    /// Dealt out in turn; empty: V1 for all.
    pub protocols: Vec<Protocol>,
    /// What every V2 miner has in common; name, kind, hashrate and seed are dealt out as for V1.
    pub each_v2: MinerConfigV2,
    /// Manners of V2 miners, dealt out in turn; empty: as `each_v2` says.
    pub manners: Vec<MannersV2>,
    /// The authority key that V2 miners expect (base58check, as a URL writes it); `None`: any is taken.
    pub authority: Option<String>,
}

impl FleetConfig {
    /// A fleet of `miners` cgminers towards `pool`.
    pub fn new(pool: SocketAddr, miners: usize) -> Self {
        Self {
            pool,
            miners,
            temperaments: Vec::new(),
            user: "sim.{n}".into(),
            each: MinerConfig::default(),
            cpu_share: 0.5,
            spread_sources: false,
            reconnects: true,
            reconnect_after: Duration::from_millis(500),
            sources: Vec::new(),
            hashrates: Vec::new(),
            protocols: Vec::new(),
            each_v2: MinerConfigV2::default(),
            manners: Vec::new(),
            authority: None,
        }
    }

    fn peer(&self, n: usize, rng: &mut Rng) -> Peer {
        match dealt(&self.protocols, n).unwrap_or_default() {
            Protocol::V1 => Peer::V1 {
                miner: Box::new(SimMiner::new(self.miner(n, rng))),
                cutter: Cutter::default(),
            },
            Protocol::V2(kind) => Peer::V2(Box::new(SimMinerV2::new(self.miner_v2(n, kind, rng)))),
        }
    }

    fn miner(&self, n: usize, rng: &mut Rng) -> MinerConfig {
        MinerConfig {
            user: self.user.replace("{n}", &(n + 1).to_string()),
            temperament: dealt(&self.temperaments, n).unwrap_or(self.each.temperament),
            hashrate: self.hashrate(n),
            seed: rng.next_u64(),
            ..self.each.clone()
        }
    }

    fn miner_v2(&self, n: usize, kind: KindV2, rng: &mut Rng) -> MinerConfigV2 {
        MinerConfigV2 {
            user: self.user.replace("{n}", &(n + 1).to_string()),
            kind,
            // Not in step with the kinds, or a kind would always have the same manners.
            manners: dealt(&self.manners, n / self.protocols.len().max(1))
                .unwrap_or(self.each_v2.manners),
            hashrate: self.hashrate(n),
            seed: rng.next_u64(),
            ..self.each_v2.clone()
        }
    }

    fn hashrate(&self, n: usize) -> f64 {
        self.hashrates.get(n).copied().unwrap_or(self.each.hashrate)
    }
}

/// What the `n`th gets when these are dealt out in turn.
fn dealt<T: Copy>(from: &[T], n: usize) -> Option<T> {
    from.get(n % from.len().max(1)).copied()
}

/// Starts simulated fleets.
#[derive(Debug)]
pub struct Fleet;

/// A running fleet; clones are the same fleet.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: FleetConfig,
    miners: Vec<Mutex<Peer>>,
    authority: Option<[u8; 32]>,
    changed: Changes,
    control: watch::Sender<Control>,
    switches: Vec<watch::Sender<Switch>>,
    hashing: tokio::sync::Mutex<()>,
    end: CancellationToken,
    tasks: TaskTracker,
}

/// What all miners look at; a count that moved is an order.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    drops: u64,
}

/// What one miner looks at: whether it may be connected. Any change makes it look at its hashrate again.
#[derive(Clone, Copy, Debug)]
struct Switch {
    on: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    ByPeer,
    ByUs,
    Over,
}

/// A connection: V2 inside Noise, V1 plain.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    noise: Option<Noise>,
}

impl Wire {
    /// Plaintext of what was read.
    fn open(&mut self, bytes: &[u8]) -> Result<Vec<u8>, NoiseError> {
        match &mut self.noise {
            Some(noise) => noise.open(bytes),
            None => Ok(bytes.to_vec()),
        }
    }

    /// What to write for these lines or frames.
    fn seal(&mut self, messages: Vec<Vec<u8>>) -> Vec<u8> {
        let noise = &mut self.noise;
        let seal = |message: Vec<u8>| match noise {
            Some(noise) => noise.seal(&message),
            None => message,
        };
        messages.into_iter().flat_map(seal).collect()
    }
}

type Slice = Pin<Box<dyn Future<Output = (Search, Option<Found>)> + Send>>;

impl Fleet {
    /// Starts every miner on the present tokio runtime. An authority key that is none is met by no pool.
    pub fn start(config: FleetConfig) -> FleetHandle {
        let mut rng = Rng::new(config.each.seed);
        let miners = (0..config.miners).map(|n| config.peer(n, &mut rng));
        let key = config.authority.as_ref();
        let shared = Arc::new(Shared {
            miners: miners.map(Mutex::new).collect(),
            authority: key.map(|text| authority::decode(text).unwrap_or_default()),
            changed: Changes::default(),
            control: watch::channel(Control::default()).0,
            switches: (0..config.miners)
                .map(|_| watch::channel(Switch { on: true }).0)
                .collect(),
            hashing: tokio::sync::Mutex::new(()),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        for n in 0..shared.miners.len() {
            let seed = rng.next_u64();
            shared.tasks.spawn(live(shared.clone(), n, Rng::new(seed)));
        }
        shared.tasks.close();
        FleetHandle { shared }
    }
}

impl FleetHandle {
    /// The counters of all miners together.
    pub fn stats(&self) -> MinerStats {
        let mut sum = MinerStats::default();
        for n in 0..self.shared.miners.len() {
            sum.add(self.shared.miner(n).stats());
        }
        sum
    }

    /// The counters of each: name, firmware family or kind of V2 miner, counters.
    pub fn per_miner(&self) -> Vec<(String, &'static str, MinerStats)> {
        let one = |n| {
            let miner = self.shared.miner(n);
            (
                miner.user().to_owned(),
                miner.family(),
                miner.stats().clone(),
            )
        };
        (0..self.shared.miners.len()).map(one).collect()
    }

    /// Waits until the counters satisfy `wanted`.
    ///
    /// # Errors
    /// With the counters as they are when the time is over.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&MinerStats) -> bool,
    ) -> Result<MinerStats, Box<MinerStats>> {
        let changed = &self.shared.changed;
        changed.wait_for(within, || self.stats(), wanted).await
    }

    /// Drops every connection from our side; miners reconnect as configured.
    pub fn drop_all(&self) {
        self.shared.control.send_modify(|c| c.drops += 1);
    }

    /// Changes the hashrate of every miner; 0 pauses hashing, connected.
    pub fn set_hashrate(&self, each: f64) {
        for n in 0..self.shared.miners.len() {
            self.shared.miner(n).set_hashrate(Instant::now(), each);
        }
        self.shared.control.send_modify(|_| ());
    }

    /// Changes one miner: `None` hangs up and stays away until there is a hashrate again.
    pub fn set_miner(&self, n: usize, hashrate: Option<f64>) {
        if let Some(hashrate) = hashrate {
            self.shared.miner(n).set_hashrate(Instant::now(), hashrate);
        }
        let on = hashrate.is_some();
        self.shared.switches[n].send_modify(|switch| switch.on = on);
    }

    /// Stops hashing, waits up to `grace` for the replies under way, hangs up and returns the counters.
    pub async fn finish(&self, grace: Duration) -> MinerStats {
        self.set_hashrate(0.0);
        let settled =
            |s: &MinerStats| s.submitted == s.accepted + s.rejected_total() + s.unanswered;
        let _ = self.wait_for(grace, settled).await; // unsettled ones are counted as unanswered
        self.shared.end.cancel();
        self.shared.tasks.wait().await;
        self.stats()
    }
}

impl Shared {
    fn miner(&self, n: usize) -> MutexGuard<'_, Peer> {
        self.miners[n]
            .lock()
            .expect("nothing under this lock panics half-way")
    }

    fn tell(&self) {
        self.changed.tell();
    }

    async fn connect(&self, n: usize, pool: SocketAddr) -> Result<Wire, NoiseError> {
        let mut stream = self.dial(n, pool).await.map_err(|_| NoiseError::Io)?;
        let noise = if self.miner(n).is_v2() {
            Some(Noise::initiate(&mut stream, self.authority).await?)
        } else {
            None
        };
        Ok(Wire { stream, noise })
    }

    async fn dial(&self, n: usize, pool: SocketAddr) -> io::Result<TcpStream> {
        let socket = match pool {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.config.sources.get(n) {
            socket.bind((*source, 0).into())?;
        } else if self.config.spread_sources
            && matches!(pool.ip(), IpAddr::V4(ip) if ip.is_loopback())
        {
            let [high, low] = [(n / 250 % 250 + 1) as u8, (n % 250 + 1) as u8];
            socket.bind((Ipv4Addr::new(127, 0, high, low), 0).into())?;
        }
        let stream = tokio::time::timeout(PATIENCE, socket.connect(pool)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// One slice of hashing, within the fleet's share of a core.
    async fn hash(self: Arc<Self>, mut search: Search) -> (Search, Option<Found>) {
        let _turn = self.hashing.lock().await;
        let begun = Instant::now();
        let sliced = tokio::task::spawn_blocking(move || {
            let found = search.run(SLICE);
            (search, found)
        });
        let sliced = sliced.await.expect("a search does not panic");
        let share = self.config.cpu_share.clamp(0.01, 1.0);
        if share < 1.0 {
            tokio::time::sleep(begun.elapsed().mul_f64(1.0 / share - 1.0)).await;
        }
        sliced
    }
}

/// A miner from power-on to power-off.
async fn live(shared: Arc<Shared>, n: usize, mut rng: Rng) {
    let mut pause = shared.config.reconnect_after;
    let mut switch = shared.switches[n].subscribe();
    let mut pool = shared.config.pool;
    while !shared.end.is_cancelled() {
        tokio::select! {
            waited = switched_on(&mut switch, shared.config.reconnect_after.mul_f64(rng.unit())) => if waited {
                pause = shared.config.reconnect_after;
            },
            () = shared.end.cancelled() => return,
        }
        let connected = tokio::select! {
            connected = shared.connect(n, pool) => connected,
            () = shared.end.cancelled() => return,
        };
        match connected {
            Ok(wire) => {
                pause = shared.config.reconnect_after;
                shared.miner(n).connected(Instant::now());
                let end = Box::pin(mine(&shared, n, wire)).await;
                let mut miner = shared.miner(n);
                miner.disconnected(end == End::ByPeer);
                if let Some((host, port)) = miner.poll_redirect() {
                    pool = redirected(shared.config.pool, &host, port);
                }
            }
            Err(error) => {
                pool = shared.config.pool;
                match error {
                    NoiseError::Io => shared.miner(n).connect_failed(),
                    _ => shared.miner(n).handshake_failed(),
                }
            }
        }
        shared.tell();
        if !shared.config.reconnects {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.5 + rng.unit() / 2.0)) => {}
            () = shared.end.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Where `Reconnect` sends a miner: never to another machine, unless that is loopback.
fn redirected(pool: SocketAddr, host: &str, port: u16) -> SocketAddr {
    let ip = host.parse().ok();
    let near = ip.filter(|ip: &IpAddr| *ip == pool.ip() || ip.is_loopback());
    let port = if port == 0 { pool.port() } else { port };
    SocketAddr::new(near.unwrap_or(pool.ip()), port)
}

/// Waits while the miner is switched off, and then for `jitter`, so that a woken fleet does not come as one; whether it had
/// to.
async fn switched_on(switch: &mut watch::Receiver<Switch>, jitter: Duration) -> bool {
    if switch.borrow_and_update().on {
        return false;
    }
    if switch.wait_for(|switch| switch.on).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(jitter).await;
    true
}

/// One connection, from the first line to its end.
async fn mine(shared: &Arc<Shared>, n: usize, mut wire: Wire) -> End {
    let mut control = shared.control.subscribe();
    let drops = control.borrow_and_update().drops;
    let mut switch = shared.switches[n].subscribe();
    if !switch.borrow_and_update().on {
        return End::ByUs;
    }
    let mut buffer = vec![0; 8 * 1024];
    let mut slice: Option<Slice> = None;
    loop {
        let (messages, wake, hang_up) = drain(shared, n, &mut slice);
        if !messages.is_empty() {
            let bytes = wire.seal(messages);
            let written = tokio::time::timeout(PATIENCE, wire.stream.write_all(&bytes)).await;
            if !matches!(written, Ok(Ok(()))) {
                return End::ByPeer;
            }
        }
        shared.tell();
        if hang_up {
            return End::ByUs;
        }
        tokio::select! {
            read = wire.stream.read(&mut buffer) => match read {
                Ok(size @ 1..) => {
                    let opened = wire.open(&buffer[..size]);
                    let take = |bytes: Vec<u8>| shared.miner(n).handle_bytes(Instant::now(), &bytes);
                    if !opened.is_ok_and(take) {
                        return End::ByUs;
                    }
                }
                _ => return End::ByPeer,
            },
            (search, found) = sliced(&mut slice) => match found {
                Some(found) => {
                    slice = None;
                    shared.miner(n).finish_search(Instant::now(), &found);
                }
                None => slice = Some(Box::pin(shared.clone().hash(search))),
            },
            () = sleep_until(wake) => shared.miner(n).handle_timeout(Instant::now()),
            _ = control.changed() => if control.borrow_and_update().drops != drops {
                return End::ByUs;
            },
            _ = switch.changed() => if !switch.borrow_and_update().on {
                return End::ByUs;
            },
            () = shared.end.cancelled() => return End::Over,
        }
    }
}

/// What the miner wants now: lines or frames to write, when to wake it, whether to hang up; starts and ends its search.
fn drain(
    shared: &Arc<Shared>,
    n: usize,
    slice: &mut Option<Slice>,
) -> (Vec<Vec<u8>>, Option<Instant>, bool) {
    let now = Instant::now();
    let mut miner = shared.miner(n);
    if slice.is_some() && !miner.search_is_current() {
        *slice = None;
        miner.abandon_search();
    }
    if miner.next_share_at().is_some_and(|at| at <= now)
        && let Some(search) = miner.start_search(now)
    {
        *slice = Some(Box::pin(shared.clone().hash(search)));
    }
    let messages = std::iter::from_fn(|| miner.poll_message()).collect();
    let times = [miner.poll_timeout(), miner.next_share_at()];
    let wake = times.into_iter().flatten().min();
    (messages, wake, miner.poll_hang_up().is_some())
}

async fn sliced(slice: &mut Option<Slice>) -> (Search, Option<Found>) {
    match slice {
        Some(slice) => slice.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
