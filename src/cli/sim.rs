//! `sluice sim pool | fleet`.
use std::process::ExitCode;
/// Verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// A simulated pool
    Pool,
    /// A simulated fleet
    Fleet,
}
/// Runs it.
pub fn main(_verb: Verb) -> ExitCode {
    todo!()
}
