//! End to end: the whole proxy over real sockets on loopback, against simulated and raw peers.
//!
//! One binary, a module per subject; `lab` and `peer` hold what they share. Not the place for rules of one machine (unit tests) nor
//! for time-dependent behaviour over hours (`tests/sim`). Invariant: no fixed port, no fixed wait.
#![expect(
    unreachable_pub,
    reason = "a test binary has no public interface; `pub` marks what modules share"
)]

mod cli;
mod drain;
mod failover;
mod lab;
mod peer;
mod pools;
mod process;
mod real_blocks;
mod session;
mod site;
mod tls;
mod v2;
#[path = "../common/wait.rs"]
mod wait;
