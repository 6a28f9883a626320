//! `sluice run`.
use std::process::ExitCode;
/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {}
/// Runs it.
pub fn main(_args: Args) -> ExitCode {
    todo!()
}
