//! A proxy and its pool in this process, with an honest miner in it.
//!
//! Not a model of anything: both are the real ones, on ports the system chose. Invariant: two houses share nothing, so
//! a test may count exactly.

use crate::miner::Miner;
use crate::wait::{looking, within};
use serde_json::Value;
use sluice::app::{App, Running};
use sluice::config::Config;
use sluice::sim::PoolConfig;
use sluice::sim::pool::{Pool, PoolHandle};
use std::net::SocketAddr;
use std::sync::{Mutex, Once, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// 2^-32: nearly every nonce is a share.
pub(crate) const EASY: f64 = 2.328_306_436_538_696_3e-10;
/// How long a counter may take to show what has happened.
const SOON: Duration = Duration::from_secs(20);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(10);

/// What differs between houses.
pub(crate) struct Plan {
    /// Fixed difficulty of the listener.
    pub(crate) difficulty: f64,
    /// The pool's.
    pub(crate) pool_difficulty: f64,
    /// Lines of `[limits]`.
    pub(crate) limits: &'static str,
    /// Sections beside those, such as a `[v2]` that lets V2 miners in.
    pub(crate) more: String,
    /// Tier of the pool; above 0 where `more` has one that comes first.
    pub(crate) tier: u8,
}

/// Lets V2 miners in.
pub(crate) const AUTHORITY: &str =
    "[v2]\nauthority_key = \"0101010101010101010101010101010101010101010101010101010101010101\"\n";

impl Default for Plan {
    fn default() -> Self {
        Self {
            difficulty: EASY,
            pool_difficulty: 1.0,
            limits: "",
            more: String::new(),
            tier: 0,
        }
    }
}

impl Plan {
    pub(crate) fn config(&self, pool: SocketAddr, log: &str) -> String {
        format!(
            r#"
[[listen]]
name = "main"
address = "127.0.0.1:0"
difficulty = {{ fixed = {:e} }}
[[pool]]
name = "simulated"
url = "stratum+tcp://{pool}"
user = "lab.{{worker}}"
tier = {}
[limits]
{}
[api]
listen = "127.0.0.1:0"
worker_metrics = true
[log]
filter = "{log}"
[run]
shards = 1
grace = "5s"
[lab]
allow_short_times = true
{}
"#,
            self.difficulty, self.tier, self.limits, self.more
        )
    }
}

/// The simulated pool, on a thread of its own.
pub(crate) struct Upstream {
    pub(crate) pool: PoolHandle,
    stop_tx: tokio::sync::oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Upstream {
    pub(crate) fn start(difficulty: f64) -> Self {
        let (pool_tx, pool_rx) = mpsc::channel();
        let (stop_tx, stop_rx) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let config = PoolConfig {
                    difficulty,
                    ..PoolConfig::default()
                };
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                let pool = Pool::start(any, config, None).expect("a port");
                pool_tx.send(pool.clone()).expect("it is waited for");
                let _ = stop_rx.await; // a test that fails drops the sender: that is the end too
                pool.stop().await;
            });
        });
        let pool = pool_rx.recv().expect("the pool starts");
        Self {
            pool,
            stop_tx,
            thread,
        }
    }

    pub(crate) fn stop(self) {
        drop(self.stop_tx);
        self.thread.join().expect("the pool's thread is well");
    }
}

/// Pool, proxy, honest miner.
pub(crate) struct House {
    pub(crate) upstream: Upstream,
    running: Running,
    pub(crate) address: SocketAddr,
    pub(crate) honest: Miner,
    /// Whether a share can be made without hashing.
    easy: bool,
}

impl House {
    pub(crate) fn open(plan: &Plan) -> Self {
        watch_for_panics();
        let upstream = Upstream::start(plan.pool_difficulty);
        let text = plan.config(upstream.pool.address(), "warn");
        let config = Config::from_toml("hostile.toml", &text, &|_| None);
        let config = config.expect("the configuration is good");
        let running = App::build(config)
            .and_then(App::start)
            .expect("the proxy starts");
        let address = running.listeners[0];
        let honest = Miner::login(address, "honest.one");
        Self {
            upstream,
            running,
            address,
            honest,
            easy: plan.difficulty <= EASY,
        }
    }

    pub(crate) fn miner(&self, worker: &str) -> Miner {
        Miner::login(self.address, worker)
    }

    pub(crate) fn get(&self, path: &str) -> String {
        get(self.running.api.expect("the API is on"), path)
    }

    /// The only listener, as `/api/v1/summary` shows it.
    pub(crate) fn listener(&self) -> Value {
        let summary = self.get("/api/v1/summary");
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        summary["listeners"][0].clone()
    }

    /// Connections that ended for this reason.
    pub(crate) fn closed(&self, reason: &str) -> u64 {
        self.listener()["closed"][reason].as_u64().unwrap_or(0)
    }

    /// Waits until exactly these refusals are counted, and no others.
    pub(crate) fn expect_refusals(&self, wanted: &[(&str, u64)]) {
        let wanted: serde_json::Map<String, Value> = wanted
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| ((*reason).to_owned(), Value::from(*count)))
            .collect();
        let reasons = || self.listener()["reasons"].clone();
        let wanted = Value::Object(wanted);
        let what = || format!("{wanted}, not {}", reasons());
        looking(PAUSE, SOON, what, || (reasons() == wanted).then_some(()));
    }

    pub(crate) fn expect_closed(&self, reason: &str, count: u64) {
        let what = || format!("{count} of {reason} in {}", self.listener()["closed"]);
        let well = || self.closed(reason) == count;
        looking(PAUSE, SOON, what, || well().then_some(()));
    }

    /// The honest miner mines, everything adds up, nothing panicked, and the proxy ends in order.
    pub(crate) fn close(mut self) {
        if self.easy {
            self.honest.mine();
        }
        self.honest.ask("mining.ping", &Value::Array(Vec::new()));
        let summary =
            || -> Value { serde_json::from_str(&self.get("/api/v1/summary")).expect("JSON") };
        eventually("everything adds up", || summary()["conserves"] == true);
        drop(self.honest);
        assert!(self.running.drain(), "the proxy drains");
        self.upstream.stop();
        let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(panics.is_empty(), "tasks panicked: {panics:?}");
    }
}

/// A page of the API, whole.
pub(crate) fn get(api: SocketAddr, path: &str) -> String {
    let mut answer = ureq::get(format!("http://{api}{path}"))
        .call()
        .expect("the API answers");
    answer.body_mut().read_to_string().expect("text")
}

/// Waits until it is true.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    within(SOON, what, || holds().then_some(()));
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static WATCHING: Once = Once::new();

/// A panic in a task ends the task alone: remembered here, by the product's names of threads.
fn watch_for_panics() {
    WATCHING.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if ["shard-", "control", "api"]
                .iter()
                .any(|ours| name.starts_with(ours))
            {
                let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
                panics.push(info.to_string());
            }
            usual(info);
        }));
    });
}
