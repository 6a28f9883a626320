//! What a share costs over sockets: the real proxy in this process, beside a server with canned answers.
//!
//! ```text
//!   miners (this thread) ──> proxy: shard-0, control ──> simulated pool (this thread)
//!          └───────────────> bare
//! ```
//! Loopback only. Invariant: CPU time is that of the server's own threads, and the two servers take turns.

use super::bare::{self, Bare};
use super::miner::{self, Counts};
use super::{Extent, cpu};
use crate::app::{App, Running};
use crate::config::Config;
use crate::sim::PoolConfig;
use crate::sim::pool::{Pool, PoolHandle};
use serde::Serialize;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long logging in may take.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Answers that are under way when the miners are stopped come within this.
const SETTLE: Duration = Duration::from_millis(20);

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) connections: usize,
    /// The bound.
    pub(super) bare: Figure,
    pub(super) proxy: Figure,
    /// Of the CPU times.
    pub(super) ratio: f64,
}

/// One server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) cpu_us_per_share: f64,
    pub(super) shares_per_s: f64,
}

/// Measures in turns; the least CPU time and the most shares count.
///
/// # Errors
/// When the environment allows no sockets or keeps no accounts of threads, or a server loses its miners.
pub(super) fn measure(extent: Extent, kernel: &str) -> io::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(at_site(extent, kernel)))
}

async fn at_site(extent: Extent, kernel: &str) -> io::Result<Figures> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = PoolConfig {
        difficulty: 1.0,
        ..PoolConfig::default()
    };
    let pool = Pool::start(any_port, config, None)?;
    let proxy = start(&pool, kernel)?;
    let measured = Box::pin(take_turns(extent, proxy.listeners[0])).await;
    // The pool answers on this thread meanwhile.
    let drained = tokio::task::spawn_blocking(move || proxy.drain()).await;
    pool.stop().await;
    match drained {
        Ok(true) => measured,
        _ => Err(io::Error::other("the proxy did not drain")),
    }
}

/// The proxy on one shard, forwarding nothing. It chooses its kernels anew when it starts.
fn start(pool: &PoolHandle, kernel: &str) -> io::Result<Running> {
    let text = format!(
        r#"
        [[listen]]
        address = "127.0.0.1:0"
        difficulty = {{ fixed = 2.3283064365386963e-10 }}
        [[pool]]
        url = "stratum+tcp://{}"
        user = "bench"
        [limits]
        connections = 1000
        submits_per_second = 1000
        submit_burst = 10000
        [api]
        enabled = false
        [run]
        shards = 1
        kernel = "{kernel}"
        "#,
        pool.address()
    );
    let config = Config::from_toml("bench.toml", &text, &|_| None);
    let config = config.map_err(|findings| io::Error::other(findings.to_string()))?;
    App::build(config)
        .and_then(App::start)
        .map_err(io::Error::other)
}

async fn take_turns(extent: Extent, proxy: SocketAddr) -> io::Result<Figures> {
    let bare = Bare::start()?;
    let connections = extent.connections;
    let of_bare = |name: &str| name == bare::THREAD;
    let of_proxy = |name: &str| name.starts_with("shard-") || name == "control";
    let by_bare = Side::open(bare.address, connections, of_bare).await?;
    let by_proxy = Side::open(proxy, connections, of_proxy).await?;
    let mut best = [Figure::NONE; 2];
    for _ in 0..extent.turns {
        best[0] = best[0].better(by_bare.turn(extent.connected).await?);
        best[1] = best[1].better(by_proxy.turn(extent.connected).await?);
    }
    Ok(Figures {
        connections,
        bare: best[0],
        proxy: best[1],
        ratio: best[1].cpu_us_per_share / best[0].cpu_us_per_share,
    })
}

impl Figure {
    /// Worse than any.
    const NONE: Self = Self {
        cpu_us_per_share: f64::MAX,
        shares_per_s: 0.0,
    };

    fn better(self, other: Self) -> Self {
        Self {
            cpu_us_per_share: self.cpu_us_per_share.min(other.cpu_us_per_share),
            shares_per_s: self.shares_per_s.max(other.shares_per_s),
        }
    }
}

/// A server's miners, logged in, and which threads the server is.
struct Side {
    go: watch::Sender<bool>,
    counts: Arc<Counts>,
    /// Ended when dropped.
    _miners: JoinSet<()>,
    threads: fn(&str) -> bool,
}

impl Side {
    async fn open(
        server: SocketAddr,
        connections: usize,
        threads: fn(&str) -> bool,
    ) -> io::Result<Self> {
        let (go, may_go) = watch::channel(false);
        let counts = Arc::<Counts>::default();
        let mut miners = JoinSet::new();
        for _ in 0..connections {
            miners.spawn(miner::run(server, may_go.clone(), counts.clone()));
        }
        let deadline = Instant::now() + PATIENCE;
        while counts.ready.load(Relaxed) < connections as u64 {
            if counts.lost.load(Relaxed) > 0 || Instant::now() > deadline {
                return Err(io::Error::other("not all miners could log in"));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(Self {
            go,
            counts,
            _miners: miners,
            threads,
        })
    }

    /// A closed loop: every miner has one share under way.
    async fn turn(&self, span: Duration) -> io::Result<Figure> {
        self.go.send_replace(true);
        sleep(span / 5).await; // the first shares find everything cold
        let (cpu, shares, begun) = (self.cpu()?, self.accepted(), Instant::now());
        sleep(span).await;
        let (cpu, shares) = (self.cpu()? - cpu, self.accepted() - shares);
        let elapsed = begun.elapsed();
        self.go.send_replace(false);
        sleep(SETTLE).await;
        let refused = self.counts.refused.load(Relaxed);
        if self.counts.lost.load(Relaxed) > 0 || shares == 0 || refused > shares / 100 {
            let why = format!("the miners are not served: {shares} accepted, {refused} refused");
            return Err(io::Error::other(why));
        }
        Ok(Figure {
            cpu_us_per_share: cpu.as_secs_f64() * 1e6 / shares as f64,
            shares_per_s: shares as f64 / elapsed.as_secs_f64(),
        })
    }

    fn cpu(&self) -> io::Result<Duration> {
        cpu::of_threads(self.threads)
    }

    fn accepted(&self) -> u64 {
        self.counts.accepted.load(Relaxed)
    }
}
