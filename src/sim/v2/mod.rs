//! Simulated Stratum V2: a pool and miners, on their own small wire code and on Noise from the crate `noise_sv2`.
//!
//! Uses nothing of `stratum::v2`, so that it can contradict the proxy. Invariant: what a peer decides is decided in a
//! pure core ([`SimPoolV2`], [`SimMinerV2`]: plaintext bytes in, frames out; time and seed come in as arguments); Noise and
//! sockets are the drivers' (sim/pool.rs, sim/fleet.rs).
//!
//! ```text
//!   fleet (sockets) -> noise -> SimMinerV2 (miner.rs) -> Channel (channel.rs) -> Search    \  message.rs
//!                                WatchV2 (watch.rs)                                          encode.rs, decode.rs
//!   pool  (sockets) -> noise -> SimPoolV2 (poolcore.rs) -> judge (judge.rs)                /  frame.rs
//! ```

pub mod authority;
mod channel;
pub mod decode;
mod encode;
pub mod frame;
pub mod judge;
pub mod message;
pub mod miner;
mod minerconfig;
pub mod noise;
pub mod pool;
pub mod poolconfig;
pub mod poolcore;
pub mod target;
pub mod watch;

#[cfg(test)]
mod tests;

pub use authority::Authority;
pub use miner::{KindV2, MannersV2, MinerConfigV2, SimMinerV2};
pub use poolconfig::{Acks, Extensions, ExtranonceGrant, Lie, PoolConfigV2, PoolStatsV2};
pub use poolcore::SimPoolV2;
pub use watch::Breach;
