//! What every end-to-end test stands on: the proxy in this process, waiting, the log; raw peers come
//! from `peer`.
//!
//! Holds no test and no claim about the proxy. Invariant: nothing here sleeps for a fixed time or names a port; what
//! takes time is waited for, up to a deadline (`wait`).

pub use crate::peer::*;
pub(crate) use crate::wait::within;
use serde_json::{Value, json};
use sluice::api::model::{Miners, Pools, Summary};
use sluice::app::{App, Running};
use sluice::config::Config;
use sluice::sim::pool::{Pool, PoolHandle};
use sluice::sim::poolconfig::PoolConfig;
use sluice::telemetry::view;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex, Once};
use std::time::Duration;
use tokio::runtime::Handle;

/// Long enough for a loaded machine with two cores; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// The lab's difficulty: 256 hashes a share.
pub const EASY: f64 = 1.0 / 16_777_216.0;

/// Where simulated peers live.
pub static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("the system allows it");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

/// Every log line of this process, as JSON.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Starts a simulated pool on a free port.
pub fn sim_pool(config: PoolConfig) -> PoolHandle {
    let _inside = RUNTIME.enter();
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    Pool::start(any, config, None).expect("loopback has a free port")
}

/// A simulated pool whose shares take 256 hashes.
pub fn easy_pool() -> PoolConfig {
    PoolConfig {
        difficulty: EASY,
        ..PoolConfig::default()
    }
}

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// The log lines so far in which every one of these words stands.
pub fn logged(words: &[&str]) -> Vec<Value> {
    let log = LOG.lock().expect("no test panics while it holds the log");
    let hits = log.iter().filter(|l| words.iter().all(|w| l.contains(w)));
    hits.map(|line| serde_json::from_str(line).expect("the log is JSON"))
        .collect()
}

/// Waits for such a log line.
pub fn told(words: &[&str]) -> Value {
    eventually(&format!("a log line with {words:?}"), || {
        logged(words).into_iter().next()
    })
}

fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().json().with_writer(|| LogWriter);
        subscriber.init();
    });
}

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).into_owned();
        let mut log = LOG.lock().expect("no test panics while it holds the log");
        log.push(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A lab configuration: these pools (and whatever else comes with them), every address on a free loopback port,
/// every miner at [`EASY`].
pub fn lab(rest: &str) -> String {
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ndifficulty = {{ fixed = {EASY} }}\n{rest}\n{LAB}"
    )
}

/// The same without a listener.
pub const LAB: &str = "
[failover]\nfailback_after = \"1s\"\ndwell = \"1s\"
[api]\nlisten = \"127.0.0.1:0\"
[run]\nshards = 1\ngrace = \"5s\"
[lab]\nallow_short_times = true
";

/// A `[[pool]]` section.
pub fn pool(name: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\nurl = \"stratum+tcp://{address}\"\nuser = \"acct\"\n{more}\n"
    )
}

/// The proxy, running in this process until dropped.
pub struct Proxy {
    running: Option<Running>,
    /// Where miners connect, by listener.
    pub listeners: Vec<SocketAddr>,
    /// Its API.
    pub api: SocketAddr,
}

impl Proxy {
    pub fn start(toml: &str) -> Self {
        keep_log();
        let config = Config::from_toml("e2e", toml, &|_| None);
        let config = config.unwrap_or_else(|findings| panic!("{findings}\n{toml}"));
        let built = App::build(config).and_then(App::start);
        let running = built.expect("loopback has free ports");
        Self {
            listeners: running.listeners.clone(),
            api: running.api.expect("the lab has an API"),
            running: Some(running),
        }
    }

    /// Behind one easy simulated pool.
    pub fn easy(name: &str) -> (Self, PoolHandle) {
        let sim = sim_pool(easy_pool());
        let proxy = Self::start(&lab(&pool(name, sim.address(), "")));
        (proxy, sim)
    }

    pub fn miner(&self) -> Peer<TcpStream> {
        Peer::connect(self.listeners[0])
    }

    /// A miner that is subscribed, authorized and has its first job.
    pub fn mining(&self, worker: &str) -> Mining {
        Mining::login(self.miner(), worker, &json!(["test"]))
    }

    pub fn get(&self, path: &str) -> String {
        get(self.api, path)
    }

    pub fn summary(&self) -> Summary {
        serde_json::from_str(&self.get("/api/v1/summary")).expect("a summary")
    }

    pub fn pools(&self) -> Vec<view::Pool> {
        let pools: Pools = serde_json::from_str(&self.get("/api/v1/pools")).expect("pools");
        pools.pools
    }

    pub fn pool(&self, name: &str) -> view::Pool {
        let mut pools = self.pools().into_iter();
        let pool = pools.find(|pool| pool.name == name);
        pool.expect("a configured pool")
    }

    pub fn miners(&self) -> Vec<view::Miner> {
        let miners: Miners = serde_json::from_str(&self.get("/api/v1/miners")).expect("miners");
        miners.miners
    }

    /// Ends it; whether everything ended in time.
    pub fn drain(mut self) -> bool {
        self.running.take().is_some_and(Running::drain)
    }

    pub fn wait_up(&self, name: &str) {
        eventually("the pool is up", || self.pool(name).up.then_some(()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.take().map(Running::drain);
    }
}

/// GET over the API.
pub fn get(api: SocketAddr, path: &str) -> String {
    let url = format!("http://{api}{path}");
    let answer = ureq::get(&url).call();
    let mut answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
    answer.body_mut().read_to_string().expect("text")
}
