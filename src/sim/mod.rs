//! The simulated world: pools and fleets of V1 and V2 and a site of machines with firmware, usable alone against anything, in demos
//! and in tests.
//!
//! Uses nothing else of this crate: it speaks the wire from its own small code, so that it can contradict the
//! proxy. Invariant: what a simulated peer decides is decided in a pure core ([`SimMiner`], [`SimPool`]; time and
//! seed come in as arguments); sockets live in [`fleet`], [`pool`] and [`site`] alone.
//!
//! ```text
//!   fleet (sockets) -> SimMiner (miner.rs) -> Search (search.rs)   \
//!                        Watch (watch.rs)                            wire.rs, rng.rs
//!   pool  (sockets) -> SimPool (poolcore.rs) -> judge (judge.rs)   /
//!   either, with Noise -> SimPoolV2, SimMinerV2 (v2/)
//!   site  (sockets) -> firmware -> Device; each machine mines as one of a fleet
//! ```

mod changes;
pub mod dialect;
pub mod fleet;
pub mod judge;
pub mod miner;
mod peer;
pub mod pool;
pub mod poolconfig;
pub mod poolcore;
pub mod rng;
pub mod search;
pub mod site;
pub mod stats;
pub mod temperament;
pub mod template;
pub mod v2;
pub mod watch;
pub mod wire;

#[cfg(test)]
mod tests;

pub use miner::{MinerConfig, SimMiner};
pub use poolconfig::{PoolConfig, PoolStats};
pub use poolcore::SimPool;
pub use temperament::Temperament;
