//! What the benchmarks over sockets share: the processes of a run, how they are led, and how their cost is read.
//!
//! | module | is |
//! |---|---|
//! | `bare` | the yardstick: a server that does the least |
//! | `server` | the proxy under test and its pool, set up |
//! | `pool`, `generator`, `miner`, `canned` | what stands around the server, from a template |
//! | `child`, `usage` | how the processes talk, and what they cost |
//!
//! Not a benchmark: nothing here knows what is measured. Invariant: every box of a run is a process of its own, one
//! executable started with a hidden sub-command ([`Role`]).

pub(crate) mod bare;
pub(crate) mod canned;
pub(crate) mod child;
pub(crate) mod generator;
pub(crate) mod miner;
pub(crate) mod pool;
pub(crate) mod server;
pub(crate) mod usage;

use clap::Subcommand;
use std::error::Error;
use std::io;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a child process of any benchmark is.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    #[command(hide = true)]
    Bare,
    #[command(hide = true)]
    Generator,
    #[command(hide = true)]
    Pool { difficulty: f64 },
}

impl Role {
    /// Until standard input ends.
    pub(crate) fn play(&self) -> io::Result<()> {
        match self {
            Self::Bare => bare::main(),
            Self::Generator => generator::main(),
            Self::Pool { difficulty } => pool::main(*difficulty),
        }
    }
}

/// The middle one, or the mean of the middle two; `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        Some(upper)
    } else {
        Some(f64::midpoint(values[middle - 1], upper))
    }
}
