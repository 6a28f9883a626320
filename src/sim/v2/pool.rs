//! The simulated V2 pool on real sockets: the driver of sim/pool.rs around [`SimPoolV2`], inside Noise.
//!
//! Decides nothing. Invariant: its authority key is that of its seed, so a restarted pool keeps its URL.

use super::{
    super::{
        pool::{Pool, PoolCore, PoolHandle, Secrecy},
        poolcore::{ConnectionId, PoolOutput},
    },
    Authority, PoolConfigV2, PoolStatsV2, SimPoolV2,
};
use std::{io, net::SocketAddr, time::Instant};

/// A running V2 pool; clones are the same pool.
pub type PoolHandleV2 = PoolHandle<SimPoolV2>;

/// Binds `listen` (port 0: any) and serves it on the present tokio runtime.
///
/// # Errors
/// When the address cannot be bound.
pub fn start(listen: SocketAddr, config: PoolConfigV2) -> io::Result<PoolHandleV2> {
    let authority = Authority::from_seed(config.seed);
    let core = SimPoolV2::new(config, Instant::now());
    Pool::serve(listen, core, Secrecy::Noise(authority))
}

impl PoolHandleV2 {
    /// The authority's public key, as a URL writes it.
    pub fn authority(&self) -> String {
        let seed = self.with(|core, _| core.config().seed);
        Authority::from_seed(seed).public()
    }

    /// What to paste into a miner: `stratum2+tcp://ADDRESS:PORT/KEY`.
    pub fn url(&self) -> String {
        format!("stratum2+tcp://{}/{}", self.address(), self.authority())
    }
}

impl PoolCore for SimPoolV2 {
    type Stats = PoolStatsV2;
    /// The core keeps torn frames itself.
    type Cutter = ();

    fn connected(&mut self, id: ConnectionId) {
        self.connected(id);
    }

    fn disconnected(&mut self, id: ConnectionId) {
        self.disconnected(id);
    }

    fn handle_bytes(&mut self, now: Instant, id: ConnectionId, _: &mut (), bytes: &[u8]) -> bool {
        self.handle_bytes(now, id, bytes);
        true
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn poll_output(&mut self) -> Option<PoolOutput> {
        self.poll_output()
    }

    fn new_block(&mut self, now: Instant) {
        self.new_block(now);
    }

    fn new_job(&mut self, now: Instant) {
        self.new_job(now);
    }

    fn set_frozen(&mut self, frozen: bool) {
        self.set_frozen(frozen);
    }

    fn stats(&self) -> PoolStatsV2 {
        self.stats()
    }
}
