//! Two bad days: ten thousand miners that come back at once, and a thousand hostile connections beside a thousand
//! honest miners.
//!
//! ```text
//! load's generator, honest, hostile  --->  sluice run, or load's bare server  --->  load's pool
//! ```
//!
//! Each is a process of its own on loopback; all share the machine's cores, so only ratios within one run mean
//! anything. The bounds are PERFORMANCE.md's and the issue's: logging in again <= 1.5x the bare server's wall time;
//! no honest disconnect, and an honest p99 at most doubled against the same with idle extras. Invariant: a pass starts
//! its own servers, and its two sides differ in one thing.
//!
//! `cargo bench --bench storm`; started without `--bench`, as `cargo test --all-targets` does, it is a smoke test that
//! fails when an honest miner is disconnected or refused.

#[path = "../load/bare.rs"]
mod bare;
#[path = "../load/canned.rs"]
mod canned;
#[path = "../load/child.rs"]
#[expect(dead_code, reason = "shared with the load bench, which uses all of it")]
mod child;
#[path = "../load/generator.rs"]
mod generator;
mod honest;
mod hostile;
#[path = "../load/miner.rs"]
mod miner;
#[path = "../load/pool.rs"]
mod pool;
mod server;
#[path = "../load/usage.rs"]
#[expect(dead_code, reason = "shared with the load bench, which uses all of it")]
mod usage;

use child::Helper;
use clap::{Parser, Subcommand};
use serde_json::Value;
use server::{Proxy, Result};
use std::time::Duration;

/// Hostile messages a second, over all connections.
const HOSTILE_RATE: f64 = 20_000.0;
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
    /// One small pass
    #[arg(long)]
    smoke: bool,
    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a child process of the benchmark is.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Bare,
    #[command(hide = true)]
    Generator,
    #[command(hide = true)]
    Honest,
    #[command(hide = true)]
    Hostile,
    #[command(hide = true)]
    Pool { difficulty: f64 },
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    match args.role {
        Some(Role::Bare) => return Ok(bare::main()?),
        Some(Role::Generator) => return Ok(generator::main()?),
        Some(Role::Honest) => return Ok(honest::main()?),
        Some(Role::Hostile) => return Ok(hostile::main()?),
        Some(Role::Pool { difficulty }) => return Ok(pool::main(difficulty)?),
        None => {}
    }
    if args.smoke || !args.bench {
        (args.miners, args.beside) = (200, 64);
        (args.passes, args.seconds) = (1, 1.0);
    }
    usage::raise_descriptor_limit()?;
    come_back(&args)?;
    beside(&args)
}

/// Wall time of logging in again, both servers in turn.
fn come_back(args: &Args) -> Result<()> {
    let (mut bare, mut proxy) = (Vec::new(), Vec::new());
    for pass in 1..=args.passes {
        let server = Helper::start(&["bare"])?;
        bare.push(login_again(server.port(), server.pid(), args.miners)?);
        drop(server);
        let server = Proxy::start()?;
        proxy.push(login_again(server.port, server.pid(), args.miners)?);
        println!(
            "pass {pass}: {} miners dropped and back: bare {:.3} s, proxy {:.3} s",
            args.miners,
            bare[bare.len() - 1],
            proxy[proxy.len() - 1]
        );
    }
    let ratios: Vec<f64> = proxy.iter().zip(&bare).map(|(p, b)| p / b).collect();
    println!(
        "dropped and back: bare {:.3} s, proxy {:.3} s, ratio {:.2} (median of {}, bound 1.5)",
        median(bare),
        median(proxy),
        median(ratios),
        args.passes
    );
    Ok(())
}

/// Seconds on the wall; the server's CPU time is printed, for whoever wants to know why.
fn login_again(port: u16, pid: u32, miners: usize) -> Result<f64> {
    let mut first = Helper::start(&["generator"])?;
    let mut second = Helper::start(&["generator"])?;
    let login = format!("login {port} {miners}");
    checked(first.ask(&login)?)?;
    // Its end resets every connection; the second comes while the server is still burying them.
    let before = usage::cpu(pid)?;
    drop(first);
    let wall = number(&checked(second.ask(&login)?)?, "wall_s")?;
    let cpu = usage::cpu(pid)? - before;
    println!(
        "  dropped and back: {wall:.3} s, {:.3} s of server CPU",
        cpu.as_secs_f64()
    );
    Ok(wall)
}

/// Latency of honest shares beside idle and beside hostile connections, in turn.
fn beside(args: &Args) -> Result<()> {
    let (mut idle, mut hostile) = (Vec::new(), Vec::new());
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
    }
    let ratios: Vec<f64> = hostile.iter().zip(&idle).map(|(h, i)| h / i).collect();
    println!(
        "honest p99: {:.3} ms beside {} idle, {:.3} ms beside as many hostile, ratio {:.2} (median of {}, bound 2)",
        median(idle),
        args.beside,
        median(hostile),
        median(ratios),
        args.passes
    );
    Ok(())
}

fn beside_idle(args: &Args) -> Result<Value> {
    let server = Proxy::start()?;
    let mut extras = Helper::start(&["generator"])?;
    checked(extras.ask(&format!("login {} {}", server.port, args.beside))?)?;
    measure(&server, args)
}

fn beside_hostile(args: &Args) -> Result<(Value, Value)> {
    let server = Proxy::start()?;
    let mut extras = Helper::start(&["hostile"])?;
    let command = format!("start {} {} {HOSTILE_RATE}", server.port, args.beside);
    checked(extras.ask(&command)?)?;
    std::thread::sleep(HEAD_START);
    let honest = measure(&server, args)?;
    Ok((honest, checked(extras.ask("stop")?)?))
}

fn measure(server: &Proxy, args: &Args) -> Result<Value> {
    let mut honest = Helper::start(&["honest"])?;
    let command = format!(
        "measure {} {} {HONEST_RATE} {}",
        server.port, args.beside, args.seconds
    );
    checked(honest.ask(&command)?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
