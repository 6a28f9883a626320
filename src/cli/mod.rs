//! The command line: one file per verb. Nothing is decided here that a verb can decide itself.

mod ask;
pub mod audit;
pub mod bench;
pub mod check;
pub mod curtail;
pub mod demo;
pub mod keys;
mod ledger;
pub mod run;
pub mod sim;
pub mod status;
pub mod units;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit codes, from sysexits.h.
pub mod exit {
    /// The configuration is not valid.
    pub const CONFIG: u8 = 78;
    /// The environment does not allow it (port taken, file missing, too few descriptors).
    pub const ENVIRONMENT: u8 = 69;
    /// Not now, perhaps later.
    pub const LATER: u8 = 75;
}

#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    about = "A Stratum mining proxy, V1 and V2, that judges every share itself",
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "New here?  sluice demo\nA pool:    sluice run --pool stratum+tcp://pool.example.com:3333 --user account.{worker}\nA file:    sluice check sluice.toml, then sluice run -c sluice.toml"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the proxy (from a config file, or by --pool and --user alone)
    Run(run::Args),
    /// Check a config file and the environment it needs; every finding at once
    Check(check::Args),
    /// See it work: 200 simulated miners and two pools round the real proxy, on this machine alone
    Demo(demo::Args),
    /// A simulated pool, fleet, or site of machines with firmware, each on its own, for your tests
    #[command(subcommand)]
    Sim(sim::Verb),
    /// Make or show the key by which Stratum V2 miners know this proxy
    Keys(keys::Args),
    /// A running proxy at one look: miners, hashrate, shares, pools
    Status(status::Args),
    /// The miners of a running proxy, one a line
    Miners(status::Args),
    /// The pools of a running proxy, one a line, and what is wrong with them
    Pools(status::Args),
    /// Power: what stands, and orders that make mining give way (caps, reservations, the emergency stop)
    #[command(subcommand)]
    Curtail(Box<curtail::Verb>),
    /// Whether what was done can be believed: the hash chain of a ledger
    #[command(subcommand)]
    Audit(audit::Verb),
    /// What this machine can do: verdicts a second by kernel, line to verdict, fan-out, connections
    Bench(bench::Args),
}

/// Runs the verb that the command line names.
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(args) => run::main(args),
        Verb::Check(args) => check::main(&args),
        Verb::Demo(args) => demo::main(&args),
        Verb::Sim(verb) => sim::main(verb),
        Verb::Keys(args) => keys::main(&args),
        Verb::Status(args) => status::summary(&args),
        Verb::Miners(args) => status::miners(&args),
        Verb::Pools(args) => status::pools(&args),
        Verb::Curtail(verb) => curtail::main(*verb),
        Verb::Audit(verb) => audit::main(&verb),
        Verb::Bench(args) => bench::main(&args),
    }
}
