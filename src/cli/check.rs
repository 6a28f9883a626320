//! `sluice check`.
use std::process::ExitCode;
/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {}
/// Runs it.
pub fn main(_args: &Args) -> ExitCode {
    todo!()
}
