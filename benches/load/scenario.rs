//! One pass: a fresh server, all miners, every figure that is wanted once.
//!
//! It measures and does not judge: medians of passes and bounds are `report`'s. Invariant: CPU is read before a command
//! is given and after its answer, so the work of every counted share is in it, and no share of the warm-up is.

use crate::common::child::{CallCounter, Helper, number};
use crate::common::server::{self, MINER_DIFFICULTY, POOL_DIFFICULTY, Plan, Proxy};
use crate::common::{Result, median, usage};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::time::Duration;

/// Figures by their key in `report::ROWS`.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// Shares per second of the paced scenario, over all miners.
const PACED_RATE: f64 = 2_000.0;
/// The paced figure is the median of so many windows, each half as long as another scenario.
const PACED_WINDOWS: usize = 5;
/// The first share of every miner, which no figure is about.
const WARM_UP_RATE: f64 = 5_000.0;
/// A window in which this part of the miners got a notify holds a fan-out (Sluice's refresh after 30 s of silence); the
/// other server had none in its own, so the two cannot be compared. A probe or a late login stays far below.
const FAN_OUT: f64 = 0.01;
/// A fan-out falls in one window of several: who has one in so many in a row always has.
const MOST_DISCARDED: usize = 8;
/// After a burst, before the next reading.
const SETTLE: Duration = Duration::from_millis(300);
const NOTIFIES: usize = 3;

/// How large a pass is, and what of it is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) miners: u32,
    pub(crate) seconds: f64,
    /// Nothing: everything.
    pub(crate) only: Vec<Scenario>,
}

/// What can be measured alone; the login always is.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Scenario {
    /// Memory, CPU and wall time of the login
    Login,
    /// CPU per share at 2,000 shares a second
    Paced,
    /// CPU per share with one share of each miner always outstanding
    Closed,
    /// The same with a pool that wants every share
    Forwarded,
    /// A clean notify to all
    Notify,
    /// System calls per share, where perf may
    Calls,
}

impl Scale {
    pub(crate) fn wants(&self, scenario: Scenario) -> bool {
        self.only.is_empty() || self.only.contains(&scenario)
    }
}

/// A server that miners can log in to.
pub(crate) enum Server {
    Bare(Helper),
    Proxy(Proxy),
}

impl Server {
    pub(crate) fn bare() -> Result<Self> {
        let helper = Helper::start(&["bare"])?;
        server::probe(helper.port())?;
        Ok(Self::Bare(helper))
    }

    /// With a pool that wants one share in 128, or every one.
    pub(crate) fn proxy(all_forwarded: bool, environment: &[(String, String)]) -> Result<Self> {
        let pool_difficulty = if all_forwarded {
            MINER_DIFFICULTY
        } else {
            POOL_DIFFICULTY
        };
        Ok(Self::Proxy(Proxy::start(&Plan {
            pool_difficulty,
            limits: "submits_per_second = 1000\nsubmit_burst = 10000",
            environment: environment.to_vec(),
        })?))
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Bare(bare) => bare.pid(),
            Self::Proxy(proxy) => proxy.pid(),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Bare(bare) => bare.port(),
            Self::Proxy(proxy) => proxy.port,
        }
    }

    /// Whoever makes new blocks.
    fn source(&mut self) -> &mut Helper {
        match self {
            Self::Bare(bare) => bare,
            Self::Proxy(proxy) => &mut proxy.pool,
        }
    }

    /// Shares that the pool has got; `None` where there is no pool.
    fn forwarded(&mut self) -> Result<Option<f64>> {
        match self {
            Self::Bare(_) => Ok(None),
            Self::Proxy(proxy) => Ok(Some(number(&proxy.pool.ask("counts")?, "submits")?)),
        }
    }
}

/// A server with all its miners, and what has been measured on it.
struct Pass {
    server: Server,
    generator: Helper,
    scale: Scale,
    figures: Figures,
}

/// Every figure that is wanted of one server.
pub(crate) fn full(server: Server, scale: &Scale) -> Result<Figures> {
    let mut pass = Pass::start(server, scale)?;
    if scale.wants(Scenario::Paced) {
        pass.paced()?;
    }
    // What is forwarded is compared with the bare server's closed loop.
    if scale.wants(Scenario::Closed) || scale.wants(Scenario::Forwarded) {
        let load = pass.closed(scale.seconds)?;
        pass.figures.insert("closed_cpu_s", load.cpu_s_per_100k);
        pass.figures.insert("closed_per_s", load.per_s);
        if let Some(percent) = load.forwarded_percent {
            pass.figures.insert("forwarded_percent", percent);
        }
    }
    if scale.wants(Scenario::Notify) {
        pass.notify()?;
    }
    if scale.wants(Scenario::Calls) {
        pass.calls()?;
    }
    Ok(pass.figures)
}

/// The saturated figures of a proxy whose pool wants every share.
pub(crate) fn all_forwarded(server: Server, scale: &Scale) -> Result<Figures> {
    let mut pass = Pass::start(server, scale)?;
    let load = pass.closed(scale.seconds)?;
    let mut figures = Figures::from([
        ("all_forwarded_cpu_s", load.cpu_s_per_100k),
        ("all_forwarded_per_s", load.per_s),
    ]);
    if let Some(percent) = load.forwarded_percent {
        figures.insert("all_forwarded_percent", percent);
    }
    for key in ["discarded", "low", "errors"] {
        figures.insert(key, pass.figures[key]);
    }
    Ok(figures)
}

struct Load {
    accepted: f64,
    notifies: f64,
    per_s: f64,
    cpu_s_per_100k: f64,
    forwarded_percent: Option<f64>,
}

impl Pass {
    /// Logs all miners in, and has each send the first share of its life.
    fn start(server: Server, scale: &Scale) -> Result<Self> {
        let mut pass = Self {
            server,
            generator: Helper::start(&["generator"])?,
            scale: scale.clone(),
            figures: Figures::from([("discarded", 0.0), ("low", 0.0), ("errors", 0.0)]),
        };
        pass.login()?;
        pass.shares(&format!("paced {WARM_UP_RATE} {}", scale.miners))?;
        Ok(pass)
    }

    fn login(&mut self) -> Result<()> {
        let (pid, miners) = (self.server.pid(), self.scale.miners);
        let (cpu, resident) = (usage::cpu(pid)?, usage::resident_kib(pid)?);
        let command = format!("login {} {miners}", self.server.port());
        let answer = self.generator.ask(&command)?;
        std::thread::sleep(SETTLE);
        let grown = usage::resident_kib(pid)?.saturating_sub(resident);
        let cpu = (usage::cpu(pid)? - cpu).as_secs_f64();
        self.figures.extend([
            ("idle_kib", grown as f64 / f64::from(miners)),
            ("login_cpu_s", cpu),
            ("login_wall_s", number(&answer, "wall_s")?),
        ]);
        Ok(())
    }

    fn paced(&mut self) -> Result<()> {
        let command = paced(self.scale.seconds / 2.0);
        let windows: Vec<f64> = (0..PACED_WINDOWS)
            .map(|_| Ok(self.calm(&command)?.cpu_s_per_100k))
            .collect::<Result<_>>()?;
        let cpu = median(windows).expect("there is more than one window");
        self.figures.insert("paced_cpu_s", cpu);
        Ok(())
    }

    fn closed(&mut self, seconds: f64) -> Result<Load> {
        self.calm(&format!("closed {seconds}"))
    }

    /// A command that sends shares, again until no fan-out falls in it.
    fn calm(&mut self, command: &str) -> Result<Load> {
        for _ in 0..MOST_DISCARDED {
            let load = self.shares(command)?;
            if load.notifies <= FAN_OUT * f64::from(self.scale.miners) {
                return Ok(load);
            }
            *self.figures.entry("discarded").or_default() += 1.0;
        }
        Err(format!("{MOST_DISCARDED} windows in a row had a fan-out in them").into())
    }

    /// Runs one command that sends shares; keeps what was refused so far.
    fn shares(&mut self, command: &str) -> Result<Load> {
        let forwarded = self.server.forwarded()?;
        let before = usage::cpu(self.server.pid())?;
        let tally = self.generator.ask(command)?;
        let cpu = usage::cpu(self.server.pid())? - before;
        for key in ["low", "errors"] {
            self.figures.insert(key, number(&tally, key)?);
        }
        if number(&tally, "lost")? > 0.0 {
            return Err(format!("the server closed connections: {tally}").into());
        }
        if let Some(error) = tally["first_error"].as_str() {
            eprintln!("first error answer: {error}");
        }
        let accepted = number(&tally, "accepted")?;
        // A share is answered before it reaches the pool: the last few are on their way yet.
        let forwarded = self.server.forwarded()?.zip(forwarded);
        Ok(Load {
            accepted,
            notifies: number(&tally, "notifies")?,
            per_s: accepted / number(&tally, "wall_s")?,
            cpu_s_per_100k: cpu.as_secs_f64() / accepted * 1e5,
            forwarded_percent: forwarded.map(|(now, then)| 100.0 * (now - then) / accepted),
        })
    }

    /// The calmest of a few new blocks.
    fn notify(&mut self) -> Result<()> {
        for _ in 0..NOTIFIES {
            std::thread::sleep(SETTLE);
            self.generator.ask("arm")?;
            let before = usage::cpu(self.server.pid())?;
            let sent_ns = number(&self.server.source().ask("notify")?, "sent_ns")?;
            let answer = self.generator.ask("collect")?;
            std::thread::sleep(SETTLE / 5);
            let cpu = usage::cpu(self.server.pid())? - before;
            let after = |key| Ok::<_, std::io::Error>((number(&answer, key)? - sent_ns) / 1e6);
            for (key, millis) in [
                ("notify_cpu_ms", cpu.as_secs_f64() * 1e3),
                ("notify_first_ms", after("first_ns")?),
                ("notify_last_ms", after("last_ns")?),
            ] {
                let best = self.figures.entry(key).or_insert(f64::INFINITY);
                *best = best.min(millis);
            }
        }
        Ok(())
    }

    fn calls(&mut self) -> Result<()> {
        let briefly = self.scale.seconds.min(1.0);
        for (key, command) in [
            ("paced_calls", paced(briefly)),
            ("closed_calls", format!("closed {briefly}")),
        ] {
            let Some(counter) = CallCounter::attach(self.server.pid()) else {
                continue;
            };
            let load = self.shares(&command)?;
            if let Some(calls) = counter.stop() {
                self.figures.insert(key, calls as f64 / load.accepted);
            }
        }
        Ok(())
    }
}

/// The command for so long at the paced rate.
fn paced(seconds: f64) -> String {
    format!("paced {PACED_RATE} {}", (PACED_RATE * seconds) as u32)
}
