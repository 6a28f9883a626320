//! A site on loopback: a simulated pool, machines and meter in this process, the proxy in another.
//!
//! Holds no claim. Invariant: ports are free ones below those that the system hands out, chosen before anything starts,
//! so that the proxy comes back to the same place after it was killed.

use super::desk::Desk;
use super::eyes::Eyes;
use crate::lab::{RUNTIME, easy_pool, eventually, sim_pool};
use crate::process::Process;
use crate::wait::looking;
use sluice::sim::pool::PoolHandle;
use sluice::sim::site::address::address;
use sluice::sim::site::faults::Faults;
use sluice::sim::site::hall::HallConfig;
use sluice::sim::site::model::Family;
use sluice::sim::site::plant::{Plant as Wiring, PlantConfig};
use sluice::sim::site::{Feeder, Ports, Site, SiteConfig, SiteHandle};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Watts at the meter per watt at a machine, a thousandth.
const COOLING_PERMILLE: u32 = 1050;
/// Largest that a breaker need be: it is not what these tests are about.
const ENOUGH_WATTS: u64 = 100_000_000;

/// Between two looks at the whole site.
const PAUSE: Duration = Duration::from_millis(20);

/// What to build.
#[derive(Clone)]
pub struct Plan {
    /// Machines on each feeder.
    pub feeders: Vec<usize>,
    /// Most starts in a second on each of them.
    pub starts_per_s: u32,
    /// Hashes a second of all machines.
    pub hashrate: f64,
    /// What is wrong with how many.
    pub faults: Faults,
    /// What machines draw over their nameplate, and how far they differ.
    pub watts: (f64, f64),
    /// Whether the proxy reads the meter.
    pub metered: bool,
    /// A machine that was put off stays off so long.
    pub minimum_off: Duration,
    /// Headroom lasts so long before anything is raised.
    pub restore_after: Duration,
    /// Where mining goes when a source is lost.
    pub safe_watts: u64,
    /// Whether mining goes there, too, when the proxy ends.
    pub on_exit: &'static str,
    /// Heartbeat and `dead_after` of the source `ems`; without it, it lives by its orders.
    pub heartbeat: Option<(&'static str, &'static str)>,
    /// All chance.
    pub seed: u64,
}

impl Plan {
    /// Healthy machines, as their nameplates say, on feeders of so many.
    pub fn of(feeders: &[usize]) -> Self {
        Self {
            feeders: feeders.to_vec(),
            starts_per_s: 10,
            hashrate: 60_000.0,
            faults: Faults::default(),
            watts: (0.0, 0.0),
            metered: false,
            minimum_off: Duration::from_secs(8),
            restore_after: Duration::from_secs(2),
            safe_watts: 0,
            on_exit: "leave",
            heartbeat: None,
            seed: 1,
        }
    }

    fn machines(&self) -> usize {
        self.feeders.iter().sum()
    }

    fn site(&self, ports: Ports, pool: SocketAddr) -> SiteConfig {
        let feeder = |(at, machines): (usize, &usize)| Feeder {
            name: format!("F{at}"),
            machines: *machines,
        };
        SiteConfig {
            pool: Some(pool),
            hashrate: self.hashrate,
            feeders: self.feeders.iter().enumerate().map(feeder).collect(),
            faults: self.faults.clone(),
            ports,
            watts_bias: self.watts.0,
            watts_spread: self.watts.1,
            seed: self.seed,
            ..SiteConfig::new(self.machines())
        }
    }
}

/// Where everything listens.
struct Places {
    miners: SocketAddr,
    api: SocketAddr,
    meter: SocketAddr,
    firmware: Ports,
}

/// A running site.
pub struct Plant {
    pub plan: Plan,
    pub site: SiteHandle,
    pub wiring: Wiring,
    pub eyes: Eyes,
    pub desk: Desk,
    pub proxy: Process,
    config: PathBuf,
    _pool: PoolHandle,
    _folder: TempDir,
}

impl Plant {
    /// Starts all of it; every machine mines and is known when it returns.
    pub fn start(plan: Plan) -> Self {
        let places = Places::free();
        let pool = sim_pool(easy_pool());
        let site_config = plan.site(places.firmware, places.miners);
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("sluice.toml");
        let ledger = folder.path().join("ledger.db");
        let text = toml(&plan, &places, pool.address(), &models(&site_config))
            + &format!("[curtail]\n{}ledger = {ledger:?}\n", law(&plan));
        std::fs::write(&config, text).expect("a folder of ours");
        let proxy = run(&config);
        let (site, wiring) = {
            let _inside = RUNTIME.enter();
            let site = Site::start(&site_config).expect("these ports were free");
            let started = Wiring::start(
                wiring(&plan, places.meter),
                std::sync::Arc::new(site.clone()),
            );
            let wiring = RUNTIME.block_on(started).expect("this port was free");
            (site, wiring)
        };
        let plant = Self {
            eyes: Eyes::open(site.clone()),
            desk: Desk::new(places.api),
            plan,
            site,
            wiring,
            proxy,
            config,
            _pool: pool,
            _folder: folder,
        };
        plant.all_mine();
        plant
    }

    /// Waits until every machine mines and runs free, as far as the proxy knows.
    pub fn all_mine(&self) {
        let all = self.plan.machines();
        let what = || {
            let mining = self.site.miners().map_or(0, |miners| miners.mining);
            format!("every machine mines: {mining}, {:?}", self.desk.power())
        };
        looking(PAUSE, Duration::from_secs(240), what, || {
            let mining = self.site.miners().map_or(0, |miners| miners.mining);
            let known = self.desk.power().machines;
            (mining as usize == all && known.running == all).then_some(())
        });
    }

    /// Waits until an order is kept, and proven to be.
    pub fn proven(&self, order: &str) {
        eventually("the order is proven", || {
            self.desk.proven(order).then_some(())
        });
    }

    /// What mining draws in truth, at the meter.
    pub fn watts(&self) -> f64 {
        self.wiring.power().mining_watts
    }

    /// Most that mining drew in truth since a moment, at the meter.
    pub fn most_since(&self, since: Instant) -> f64 {
        let seen = self.wiring.seen_since(since);
        seen.iter()
            .map(|power| power.mining_watts)
            .fold(0.0, f64::max)
    }

    /// Starts the proxy again; it has recovered when its API answers.
    pub fn restart(&mut self) {
        self.proxy = run(&self.config);
        eventually("the API answers again", || {
            self.desk.answers().then_some(())
        });
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the proxy said:\n{}", self.proxy.said().join("\n"));
        }
    }
}

fn run(config: &std::path::Path) -> Process {
    let process = Process::start(&["run", "-c", config.to_str().expect("UTF-8")]);
    process.says("API and metrics");
    process
}

impl Places {
    fn free() -> Self {
        let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            miners: here(free_port()),
            api: here(free_port()),
            meter: here(free_port()),
            firmware: Ports {
                luxos: free_port(),
                whatsminer: free_port(),
                bitaxe: free_port(),
            },
        }
    }
}

/// A port that nobody has, and that the system gives to no outgoing connection.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let spread = std::process::id().wrapping_mul(61).wrapping_add(next) % 20_000;
        let port = 11_000 + u16::try_from(spread).expect("below 20,000");
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

fn wiring(plan: &Plan, meter: SocketAddr) -> PlantConfig {
    let names: Vec<String> = (0..plan.feeders.len()).map(|at| format!("F{at}")).collect();
    let feeders: Vec<(&str, f64)> = names
        .iter()
        .map(|name| (name.as_str(), ENOUGH_WATTS as f64))
        .collect();
    let mut config = PlantConfig::new(ENOUGH_WATTS as f64, &feeders);
    config.cooling = f64::from(COOLING_PERMILLE) / 1000.0;
    config.hall = HallConfig::new(0);
    config.meter.1 = meter;
    config
}

/// The rows of the model table that these machines need: hashrates are scaled to what a computer can hash.
fn models(site: &SiteConfig) -> String {
    let mut rows = BTreeMap::new();
    for device in site.devices(Instant::now()) {
        let model = *device.model();
        // ESP-Miner says its chip, not a model.
        let name = match model.family {
            Family::Bitaxe => "BM1370",
            Family::Luxos | Family::Whatsminer => model.name,
        };
        rows.entry(name).or_insert(model);
    }
    let mut text = String::new();
    for (name, model) in rows {
        let hashrate = model.hashrate / 1e3;
        let _ = writeln!(
            text,
            "[[model]]\nname = \"{name}\"\nhashrate = \"{hashrate:.6} kH/s\"\npower = \"{} W\"\nidle = \"{} W\"",
            model.watts, model.idle_watts
        );
    }
    text
}

fn toml(plan: &Plan, places: &Places, pool: SocketAddr, models: &str) -> String {
    let Places {
        miners,
        api,
        meter,
        firmware,
    } = places;
    let mut text = format!(
        "[[listen]]
address = \"{miners}\"
difficulty = {{ start = 0.00000095367431640625, min = 0.000000059604644775390625 }}
shares_per_minute = 12
[[pool]]
name = \"simulated\"
url = \"stratum+tcp://{pool}\"
user = \"lab.{{worker}}\"
[api]
listen = \"{api}\"
[limits]
connections = 12000
[lab]
allow_short_times = true
[run]
shards = 1
grace = \"2s\"
[site]
name = \"lab\"
limit = \"{ENOUGH_WATTS} W\"
[[source]]
name = \"people\"
heartbeat = \"none\"
most_urgent = 0
[[source]]
name = \"ems\"
{}
[[token]]
name = \"operator\"
secret = \"operator-token-0123456789\"
scopes = [\"read\", \"curtail\", \"admin\"]
[actuators]
simulation = true
[actuators.luxos]
port = {}
[actuators.whatsminer]
port = {}
password = \"super\"
[actuators.bitaxe]
port = {}
",
        heartbeat(plan),
        firmware.luxos,
        firmware.whatsminer,
        firmware.bitaxe
    );
    if plan.metered {
        let _ = writeln!(
            text,
            "[meter]\nurl = \"http://{meter}/metrics\"\nmetric = \"site_power_watts\"\nlabels = {{ meter = \"main\" }}\nevery = \"1s\"\nmax_age = \"5s\""
        );
    }
    let mut first = 0;
    for (at, machines) in plan.feeders.iter().enumerate() {
        let rating = ENOUGH_WATTS;
        let starts = plan.starts_per_s;
        let cooling = f64::from(COOLING_PERMILLE) / 1000.0;
        let ranges = ranges(first, *machines);
        let _ = writeln!(
            text,
            "[[feeder]]\nname = \"F{at}\"\nrating = \"{rating} W\"\nstarts_per_s = {starts}\n[[group]]\nname = \"G{at}\"\nfeeder = \"F{at}\"\ncooling = {cooling}\nfirmware = \"auto\"\nmost_starting = 10000\nmachines = [{ranges}]"
        );
        first += machines;
    }
    text + models
}

fn heartbeat(plan: &Plan) -> String {
    match plan.heartbeat {
        None => "heartbeat = \"none\"".into(),
        Some((every, dead)) => format!("heartbeat = \"{every}\"\ndead_after = \"{dead}\""),
    }
}

fn law(plan: &Plan) -> String {
    format!(
        "lab = true\nminimum_off = \"{}s\"\nminimum_on = \"5s\"\nrestore_after = \"{}s\"\nmost_cycles_a_day = 1000\nsafe = \"{} W\"\non_exit = \"{}\"\n",
        plan.minimum_off.as_secs(),
        plan.restore_after.as_secs(),
        plan.safe_watts,
        plan.on_exit
    )
}

/// The addresses of machines `first..first + machines`: whole rows of 250 as one range each, if it is rows.
fn ranges(first: usize, machines: usize) -> String {
    const ROW: usize = 250;
    let range = |n: usize| {
        let [a, b, c, _] = address(n).octets();
        format!("\"{a}.{b}.{c}.0/24\"")
    };
    let rows = first.is_multiple_of(ROW) && machines.is_multiple_of(ROW);
    let of: Vec<String> = match rows {
        true => (first..first + machines).step_by(ROW).map(range).collect(),
        false => (first..first + machines)
            .map(|n| format!("\"{}\"", address(n)))
            .collect(),
    };
    of.join(", ")
}
