//! `sluice status | miners | pools`.
use std::process::ExitCode;
/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}
/// Summary.
pub fn summary(_args: &Args) -> ExitCode {
    todo!()
}
/// Miners.
pub fn miners(_args: &Args) -> ExitCode {
    todo!()
}
/// Pools.
pub fn pools(_args: &Args) -> ExitCode {
    todo!()
}
