//! Ten thousand miners on a proxy, beside the least that any server could do for them.
//!
//! ```text
//!                 +-----------+      +------------------------+      +------+
//! this process -> | generator | ---> | bare, or sluice run    | ---> | pool |
//!                 +-----------+      +------------------------+      +------+
//! ```
//!
//! Each box is a process of its own on loopback (`common`); only the middle one is measured, by its CPU time, since all
//! share the machine's cores. Passes alternate between the two servers. Figures are ratios to the bare server of the
//! same run; an absolute one tells about the machine. The question and the bounds: PERFORMANCE.md, section 3.
//!
//! `cargo bench --bench load -- --miners 10000`; one scenario alone with `--only paced`; started without `--bench`, as
//! `cargo test --all-targets` does, it is a smoke test.

#[path = "../common/mod.rs"]
mod common;
mod report;
mod scenario;

use clap::{Parser, ValueEnum};
use common::{Result, Role, usage};
use report::Pass;
use scenario::{Figures, Scale, Scenario, Server};
use std::path::PathBuf;

/// A smoke run: enough miners to use every path, few enough for a loaded machine.
const SMOKE: (u32, f64) = (200, 0.6);

/// Load benchmark: a proxy beside a bare server.
#[derive(Debug, Parser)]
struct Args {
    /// Miners that log in
    #[arg(long, default_value_t = 10_000)]
    miners: u32,
    /// Passes; medians and the best are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    passes: u16,
    /// Length of each scenario that sends shares, in seconds; of the paced one, of two of its five windows
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// One short pass of 200 miners that fails on any error answer
    #[arg(long)]
    smoke: bool,
    /// Also write the figures, pass by pass, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What is compared with the bare server
    #[arg(long, value_enum, default_value_t = Against::Proxy)]
    against: Against,
    /// Measure these alone (may be given several times, or with commas)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// A variable in the proxy's environment (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Against {
    /// `sluice run`
    Proxy,
    /// A second bare server: what the noise alone makes of the ratios
    Bare,
}

fn variable(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not of the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.role {
        Some(role) => Ok(role.play()?),
        None => compare(&args),
    }
}

fn compare(args: &Args) -> Result<()> {
    let smoke = args.smoke || !args.bench;
    let (miners, seconds) = if smoke {
        SMOKE
    } else {
        (args.miners, args.seconds)
    };
    let scale = Scale {
        miners,
        seconds,
        only: args.only.clone(),
    };
    let descriptors = usage::raise_descriptor_limit()?;
    println!("{miners} miners, {seconds} s a scenario, {descriptors} descriptors a process");
    let mut passes = Vec::new();
    for number in 1..=(if smoke { 1 } else { args.passes }) {
        println!("pass {number}");
        passes.push(pass(args, &scale)?);
    }
    print!("{}", report::table(&passes));
    if let Some(path) = &args.json {
        let figures = report::json(&passes, miners, seconds);
        std::fs::write(path, format!("{figures:#}\n"))?;
    }
    if smoke {
        assert_clean(&passes)?;
    }
    Ok(())
}

fn pass(args: &Args, scale: &Scale) -> Result<Pass> {
    let bare = scenario::full(Server::bare()?, scale)?;
    let proxy = match args.against {
        Against::Bare => scenario::full(Server::bare()?, scale)?,
        Against::Proxy => {
            let mut figures = scenario::full(Server::proxy(false, &args.env)?, scale)?;
            if scale.wants(Scenario::Forwarded) {
                let wanting_all = Server::proxy(true, &args.env)?;
                add(&mut figures, scenario::all_forwarded(wanting_all, scale)?);
            }
            figures
        }
    };
    Ok(Pass { bare, proxy })
}

/// Joins two servers' figures; what was refused and what was discarded adds up.
fn add(figures: &mut Figures, more: Figures) {
    for (key, value) in more {
        *figures.entry(key).or_default() += value;
    }
}

/// What a smoke run must show: shares flow, nothing is refused but by chance.
fn assert_clean(passes: &[Pass]) -> Result<()> {
    for figures in passes.iter().flat_map(|pass| [&pass.bare, &pass.proxy]) {
        // One share in 65,536 misses the miner's own target; a smoke run sends fewer than that
        // many times ten.
        if figures["errors"] > 0.0 || figures["low"] > 20.0 {
            return Err(format!("the smoke run was not clean: {figures:?}").into());
        }
        let none = |key| figures.get(key) == Some(&0.0);
        if none("closed_per_s") || none("forwarded_percent") {
            return Err(format!("no shares got through: {figures:?}").into());
        }
    }
    Ok(())
}
