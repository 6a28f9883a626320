//! One pass: a fresh server, all miners, every figure once.
//!
//! It measures and does not judge: medians and bounds are `report`'s. Invariant: CPU is read
//! before a command is given and after its answer, so the work of every counted share is in it.

use crate::child::{self, CallCounter, Helper, Process};
use crate::usage;
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// Figures by their key in `report::ROWS`.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// Of one miner: practically every nonce is a share.
pub(crate) const MINER_DIFFICULTY: f64 = 2.328_306_436_538_696_3e-10;
/// 2^-25: one share in 128 meets the pool's target.
pub(crate) const POOL_DIFFICULTY: f64 = 2.980_232_238_769_531_2e-8;
/// Shares per second of the paced scenario, over all miners.
const PACED_RATE: f64 = 2_000.0;
/// How long a server may take to start and to have work.
const START: Duration = Duration::from_secs(20);
/// After a burst, before the next reading.
const SETTLE: Duration = Duration::from_millis(300);
const NOTIFIES: usize = 3;

/// How large a pass is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) miners: usize,
    pub(crate) seconds: f64,
}

/// A server that miners can log in to.
pub(crate) enum Server {
    Bare(Helper),
    Proxy {
        proxy: Process,
        pool: Helper,
        port: u16,
        _config: TempDir,
    },
}

impl Server {
    pub(crate) fn bare() -> Result<Self> {
        let server = Self::Bare(Helper::start(&["bare"])?);
        probe(server.port(), Instant::now() + START)?;
        Ok(server)
    }

    pub(crate) fn proxy(pool_difficulty: f64) -> Result<Self> {
        let pool = Helper::start(&["pool", &pool_difficulty.to_string()])?;
        let (port, api_port) = (free_port()?, free_port()?);
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("load.toml");
        std::fs::write(&path, config(port, pool.port(), api_port))?;
        let mut proxy = child::start_proxy(&path)?;
        let deadline = Instant::now() + START;
        while let Err(error) = probe(port, Instant::now() + Duration::from_secs(2)) {
            proxy.check()?;
            if Instant::now() > deadline {
                return Err(format!("the proxy hands out no work: {error}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self::Proxy {
            proxy,
            pool,
            port,
            _config: directory,
        })
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Bare(bare) => bare.pid(),
            Self::Proxy { proxy, .. } => proxy.pid(),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Bare(bare) => bare.port(),
            Self::Proxy { port, .. } => *port,
        }
    }

    /// Whoever makes new blocks.
    fn source(&mut self) -> &mut Helper {
        match self {
            Self::Bare(bare) => bare,
            Self::Proxy { pool, .. } => pool,
        }
    }

    /// Shares that the pool has got; `None` where there is no pool.
    fn forwarded(&mut self) -> Result<Option<f64>> {
        match self {
            Self::Bare(_) => Ok(None),
            Self::Proxy { pool, .. } => Ok(pool.ask("counts")?["submits"].as_f64()),
        }
    }
}

/// Every figure of one server.
pub(crate) fn full(mut server: Server, scale: Scale) -> Result<Figures> {
    let mut figures = Figures::new();
    let mut generator = Helper::start(&["generator"])?;
    login(&server, &mut generator, scale, &mut figures)?;
    let paced = format!("paced {PACED_RATE} {}", scale.seconds);
    let closed = format!("closed {}", scale.seconds);
    let cpu = shares(&server, &mut generator, &paced, &mut figures)?.cpu_s_per_100k;
    figures.insert("paced_cpu_s", cpu);
    let before = server.forwarded()?;
    let load = shares(&server, &mut generator, &closed, &mut figures)?;
    figures.insert("closed_cpu_s", load.cpu_s_per_100k);
    figures.insert("closed_per_s", load.per_s);
    if let (Some(before), Some(after)) = (before, server.forwarded()?) {
        figures.insert(
            "forwarded_percent",
            100.0 * (after - before) / load.accepted,
        );
    }
    notify(&mut server, &mut generator, &mut figures)?;
    let briefly = scale.seconds.min(1.0);
    for (key, command) in [
        ("paced_calls", format!("paced {PACED_RATE} {briefly}")),
        ("closed_calls", format!("closed {briefly}")),
    ] {
        if let Some(counter) = CallCounter::attach(server.pid()) {
            let accepted = shares(&server, &mut generator, &command, &mut figures)?.accepted;
            if let Some(calls) = counter.stop() {
                figures.insert(key, calls as f64 / accepted);
            }
        }
    }
    Ok(figures)
}

/// The saturated figures of a proxy whose pool wants every share.
pub(crate) fn all_forwarded(mut server: Server, scale: Scale) -> Result<Figures> {
    let mut figures = Figures::new();
    let mut generator = Helper::start(&["generator"])?;
    checked(generator.ask(&format!("login {} {}", server.port(), scale.miners))?)?;
    let closed = format!("closed {}", scale.seconds);
    let load = shares(&server, &mut generator, &closed, &mut figures)?;
    figures.insert("all_forwarded_cpu_s", load.cpu_s_per_100k);
    figures.insert("all_forwarded_per_s", load.per_s);
    std::thread::sleep(SETTLE);
    let forwarded = server.forwarded()?.unwrap_or_default();
    figures.insert("all_forwarded_percent", 100.0 * forwarded / load.accepted);
    Ok(figures)
}

fn login(
    server: &Server,
    generator: &mut Helper,
    scale: Scale,
    figures: &mut Figures,
) -> Result<()> {
    let (pid, miners) = (server.pid(), scale.miners);
    let (cpu, resident) = (usage::cpu(pid)?, usage::resident_kib(pid)?);
    let answer = checked(generator.ask(&format!("login {} {miners}", server.port()))?)?;
    std::thread::sleep(SETTLE);
    let grown = usage::resident_kib(pid)?.saturating_sub(resident);
    figures.insert("idle_kib", grown as f64 / miners as f64);
    figures.insert("login_cpu_s", (usage::cpu(pid)? - cpu).as_secs_f64());
    figures.insert("login_wall_s", number(&answer, "wall_s")?);
    Ok(())
}

struct Load {
    accepted: f64,
    per_s: f64,
    cpu_s_per_100k: f64,
}

/// Runs one command that sends shares; adds what was refused to `figures`.
fn shares(
    server: &Server,
    generator: &mut Helper,
    command: &str,
    figures: &mut Figures,
) -> Result<Load> {
    let before = usage::cpu(server.pid())?;
    let tally = checked(generator.ask(command)?)?;
    let cpu = usage::cpu(server.pid())? - before;
    for key in ["low", "errors"] {
        figures.insert(key, number(&tally, key)?);
    }
    if number(&tally, "lost")? > 0.0 {
        return Err(format!("the server closed connections: {tally}").into());
    }
    if let Some(error) = tally["first_error"].as_str() {
        eprintln!("first error answer: {error}");
    }
    let accepted = number(&tally, "accepted")?;
    Ok(Load {
        accepted,
        per_s: accepted / number(&tally, "wall_s")?,
        cpu_s_per_100k: cpu.as_secs_f64() / accepted * 1e5,
    })
}

/// The calmest of a few new blocks.
fn notify(server: &mut Server, generator: &mut Helper, figures: &mut Figures) -> Result<()> {
    for _ in 0..NOTIFIES {
        std::thread::sleep(SETTLE);
        checked(generator.ask("arm")?)?;
        let before = usage::cpu(server.pid())?;
        let sent_ns = number(&server.source().ask("notify")?, "sent_ns")?;
        let answer = checked(generator.ask("collect")?)?;
        std::thread::sleep(SETTLE / 5);
        let cpu = usage::cpu(server.pid())? - before;
        for (key, millis) in [
            ("notify_cpu_ms", cpu.as_secs_f64() * 1e3),
            (
                "notify_first_ms",
                (number(&answer, "first_ns")? - sent_ns) / 1e6,
            ),
            (
                "notify_last_ms",
                (number(&answer, "last_ns")? - sent_ns) / 1e6,
            ),
        ] {
            let best = figures.entry(key).or_insert(f64::INFINITY);
            *best = best.min(millis);
        }
    }
    Ok(())
}

/// Logs one miner in and waits for its first job.
fn probe(port: u16, deadline: Instant) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(
        concat!(
            r#"{"id":2,"method":"mining.subscribe","params":["bench/1"]}"#,
            "\n",
            r#"{"id":3,"method":"mining.authorize","params":["bench.probe","x"]}"#,
            "\n"
        )
        .as_bytes(),
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while Instant::now() < deadline {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.contains(r#""method":"mining.notify""#) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn config(port: u16, pool_port: u16, api_port: u16) -> String {
    format!(
        r#"
[[listen]]
address = "127.0.0.1:{port}"
difficulty = {{ fixed = {MINER_DIFFICULTY:e} }}
[[pool]]
url = "stratum+tcp://127.0.0.1:{pool_port}"
user = "bench"
[limits]
connections = 19000
submits_per_second = 1000
submit_burst = 10000
[lab]
allow_short_times = true
[log]
filter = "warn"
[api]
listen = "127.0.0.1:{api_port}"
"#
    )
}

/// A helper's answer, unless it is an error.
fn checked(answer: Value) -> Result<Value> {
    match answer["error"].as_str() {
        Some(error) => Err(error.into()),
        None => Ok(answer),
    }
}

fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key]
        .as_f64()
        .ok_or_else(|| format!("no {key} in {answer}").into())
}
