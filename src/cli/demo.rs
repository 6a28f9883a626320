//! `sluice demo`.
use std::process::ExitCode;
/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {}
/// Runs it.
pub fn main(_args: &Args) -> ExitCode {
    todo!()
}
