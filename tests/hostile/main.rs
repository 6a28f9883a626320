//! Everything STRATUM.md section 4 lists "from a miner" and of V2 peers, against a whole proxy over real sockets.
//!
//! Not a load test and not a fuzzer: each row says what must happen, and that a miner next to it does not notice. What
//! needs minutes of real time is driven in virtual time (`deadlines`). Invariant: every house is closed by
//! [`house::House::close`], which asserts that the honest miner still mines, the sums conserve, no task panicked and
//! the proxy drains.

mod child;
mod deadlines;
mod floods;
mod house;
mod lines;
mod login;
mod miner;
mod names;
mod readers;
mod shares;
mod v2;
#[path = "../common/wait.rs"]
mod wait;
