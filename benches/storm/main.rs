//! Two bad days: ten thousand miners that come back at once, and a thousand hostile connections beside a thousand
//! honest miners.
//!
//! ```text
//! generator, honest, hostile  --->  sluice run, or the bare server  --->  pool
//! ```
//!
//! Each is a process of its own on loopback; all share the machine's cores, so only ratios within one run mean
//! anything, and the extras beside honest miners, idle or hostile, get only the CPU time that the others leave. The
//! bounds are PERFORMANCE.md's and the issue's: logging in again <= 1.5x the bare server's wall time; no honest
//! disconnect, and an honest p99 at most doubled against the same with idle extras. Invariant: a pass starts its own
//! servers, and its two sides differ in one thing.
//!
//! `cargo bench --bench storm`; started without `--bench`, as `cargo test --all-targets` does, it is a smoke test that
//! fails when an honest miner is disconnected or refused.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "shared with the load bench, which uses all of it")]
mod common;
mod honest;
mod hostile;

use clap::{Parser, Subcommand, ValueEnum};
use common::child::{Helper, number};
use common::server::{POOL_DIFFICULTY, Plan, Proxy};
use common::{Result, median, usage};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Hostile turns a second, over all connections: a message each at most (who idles or finds its connection closed has
/// none to send).
const HOSTILE_RATE: f64 = 20_000.0;
/// Messages a second below which the storm was none, for want of CPU time.
const STORM_AT_LEAST: f64 = 15_000.0;
/// Shares a second of each honest miner.
const HONEST_RATE: f64 = 2.0;
/// From the first hostile message to the first honest login.
const HEAD_START: Duration = Duration::from_millis(500);

/// Storm benchmark: logging in again, and mining beside hostile peers.
#[derive(Debug, Parser)]
struct Args {
    /// Miners that come back at once
    #[arg(long, default_value_t = 10_000)]
    miners: usize,
    /// Honest miners, and as many hostile connections
    #[arg(long, default_value_t = 1_000)]
    beside: usize,
    /// Passes; medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    passes: u16,
    /// Length of each measurement of honest miners
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// One small pass
    #[arg(long)]
    smoke: bool,
    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Part {
    /// All are dropped at once and log in again
    Back,
    /// Honest miners beside hostile connections
    Beside,
}

/// What a child process of the benchmark is.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(flatten)]
    Common(common::Role),
    #[command(hide = true)]
    Honest,
    #[command(hide = true)]
    Hostile,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    match &args.role {
        Some(Role::Common(role)) => return Ok(role.play()?),
        Some(Role::Honest) => return Ok(honest::main()?),
        Some(Role::Hostile) => return Ok(hostile::main()?),
        None => {}
    }
    if args.smoke || !args.bench {
        (args.miners, args.beside) = (200, 64);
        (args.passes, args.seconds) = (1, 1.0);
    }
    usage::raise_descriptor_limit()?;
    if args.only != Some(Part::Beside) {
        come_back(&args)?;
    }
    if args.only != Some(Part::Back) {
        beside(&args)?;
    }
    Ok(())
}

/// Wall time of logging in again, both servers in turn.
fn come_back(args: &Args) -> Result<()> {
    let (mut bares, mut proxies) = (Vec::new(), Vec::new());
    for pass in 1..=args.passes {
        let server = Helper::start(&["bare"])?;
        let bare = login_again(server.port(), server.pid(), args.miners)?;
        drop(server);
        let server = proxy()?;
        let proxy = login_again(server.port, server.pid(), args.miners)?;
        println!(
            "pass {pass}: {} miners dropped and back: bare {bare:.3} s, proxy {proxy:.3} s",
            args.miners
        );
        bares.push(bare);
        proxies.push(proxy);
    }
    println!(
        "dropped and back: {} (median of {}, bound 1.5)",
        compared("bare", bares, "proxy", proxies, "s"),
        args.passes
    );
    Ok(())
}

/// Seconds on the wall; the server's CPU time is printed, for whoever wants to know why.
fn login_again(port: u16, pid: u32, miners: usize) -> Result<f64> {
    let mut first = Helper::start(&["generator"])?;
    let mut second = Helper::start(&["generator"])?;
    let login = format!("login {port} {miners}");
    first.ask(&login)?;
    // Its end resets every connection; the second comes while the server is still burying them.
    let before = usage::cpu(pid)?;
    drop(first);
    let wall = number(&second.ask(&login)?, "wall_s")?;
    let cpu = usage::cpu(pid)? - before;
    println!(
        "  dropped and back: {wall:.3} s, {:.3} s of server CPU",
        cpu.as_secs_f64()
    );
    Ok(wall)
}

/// Latency of honest shares beside idle and beside hostile connections, in turn.
fn beside(args: &Args) -> Result<()> {
    let (mut idle, mut hostile, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for pass in 1..=args.passes {
        let calm = beside_idle(args)?;
        let (storm, attack) = beside_hostile(args)?;
        println!("pass {pass}: beside idle {calm}");
        println!("pass {pass}: beside hostile {storm}");
        println!("pass {pass}: hostile side {attack}");
        for honest in [&calm, &storm] {
            if number(honest, "lost")? > 0.0 || number(honest, "refused")? > 0.0 {
                return Err(format!("an honest miner suffered: {honest}").into());
            }
        }
        idle.push(number(&calm, "p99_ms")?);
        hostile.push(number(&storm, "p99_ms")?);
        rates.push(number(&attack, "per_s")?);
    }
    println!(
        "honest p99 beside {} extras: {} (median of {}, bound 2)",
        args.beside,
        compared("idle", idle, "hostile", hostile, "ms"),
        args.passes
    );
    let least = rates.into_iter().fold(f64::INFINITY, f64::min);
    let enough = if least < STORM_AT_LEAST {
        "TOO FEW for the ratio to mean anything"
    } else {
        "enough"
    };
    println!(
        "hostile messages: {least:.0}/s in the laziest pass, {enough} (at least {STORM_AT_LEAST:.0})"
    );
    Ok(())
}

fn beside_idle(args: &Args) -> Result<Value> {
    let server = proxy()?;
    let mut extras = in_the_background("generator")?;
    extras.ask(&format!("login {} {}", server.port, args.beside))?;
    measure(&server, args)
}

fn beside_hostile(args: &Args) -> Result<(Value, Value)> {
    let server = proxy()?;
    let mut extras = in_the_background("hostile")?;
    let command = format!("start {} {} {HOSTILE_RATE}", server.port, args.beside);
    extras.ask(&command)?;
    std::thread::sleep(HEAD_START);
    let honest = measure(&server, args)?;
    Ok((honest, extras.ask("stop")?))
}

/// The proxy as a farm would run it: default limits.
fn proxy() -> Result<Proxy> {
    Proxy::start(&Plan {
        pool_difficulty: POOL_DIFFICULTY,
        limits: "",
        environment: Vec::new(),
    })
}

/// A helper that takes what CPU time the others leave: an attacker brings machines of their own, and what theirs
/// compute must not be what slows the proxy here. What it sends is counted, so it shows if too little is left.
fn in_the_background(role: &str) -> Result<Helper> {
    let idle: &[&str] = &["chrt", "--idle", "0"];
    let tried = Command::new(idle[0]).args(&idle[1..]).arg("true").output();
    let before = if tried.is_ok_and(|tried| tried.status.success()) {
        idle
    } else {
        &["nice", "-n", "19"]
    };
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).arg(std::env::current_exe()?);
    Ok(Helper::spawn(command.arg(role))?)
}

fn measure(server: &Proxy, args: &Args) -> Result<Value> {
    let mut honest = Helper::start(&["honest"])?;
    let before = usage::cpu(server.pid())?;
    let command = format!(
        "measure {} {} {HONEST_RATE} {}",
        server.port, args.beside, args.seconds
    );
    let mut answer = honest.ask(&command)?;
    answer["proxy_cpu_s"] = (usage::cpu(server.pid())? - before).as_secs_f64().into();
    Ok(answer)
}

/// Both medians, and the median of the passes' own ratios.
fn compared(one: &str, ones: Vec<f64>, other: &str, others: Vec<f64>, unit: &str) -> String {
    let ratios = others.iter().zip(&ones).map(|(other, one)| other / one);
    let ratio = median(ratios.collect()).unwrap_or_default();
    let [ones, others] = [ones, others].map(|values| median(values).unwrap_or_default());
    format!("{one} {ones:.3} {unit}, {other} {others:.3} {unit}, ratio {ratio:.2}")
}
