//! Simulated miners and pools of either protocol behind one face each: bytes in, bytes out, and when to call them.
//!
//! Decides nothing. Invariant: what a peer does is its core's alone.

use crate::plan::{MinerPlan, POLICY, PoolPlan};
use crate::tap::Books;
use sluice::sim::poolcore::PoolOutput;
use sluice::sim::stats::MinerStats;
use sluice::sim::temperament::Step;
use sluice::sim::v2::{KindV2, SimMinerV2, SimPoolV2, frame};
use sluice::sim::wire::Cutter;
use sluice::sim::{PoolStats, SimMiner, SimPool};
use std::time::Instant;

/// A miner.
#[derive(Debug)]
pub enum MinerCore {
    V1(Box<SimMiner>, Cutter),
    V2(Box<SimMinerV2>),
}

impl MinerCore {
    pub fn new(plan: &MinerPlan) -> Self {
        match &plan.v2 {
            Some(config) => Self::V2(Box::new(SimMinerV2::new(config.clone()))),
            None => Self::V1(
                Box::new(SimMiner::new(plan.config.clone())),
                Cutter::default(),
            ),
        }
    }

    pub fn connected(&mut self, now: Instant) {
        match self {
            Self::V1(core, cutter) => {
                *cutter = Cutter::default();
                core.connected(now);
            }
            Self::V2(core) => core.connected(now),
        }
    }

    pub fn disconnected(&mut self, by_peer: bool) {
        match self {
            Self::V1(core, _) => core.disconnected(by_peer),
            Self::V2(core) => core.disconnected(by_peer),
        }
    }

    /// `false`: more than it takes at once.
    pub fn read(&mut self, now: Instant, bytes: &[u8]) -> bool {
        match self {
            Self::V1(core, cutter) => cutter.push(bytes, |line| core.handle_line(now, line)),
            Self::V2(core) => core.handle_bytes(now, bytes),
        }
    }

    /// Time has passed: timers, and the shares that are due.
    pub fn run(&mut self, now: Instant) {
        match self {
            Self::V1(core, _) => {
                if core.poll_timeout().is_some_and(|due| due <= now) {
                    core.handle_timeout(now);
                }
                while core.next_share_at().is_some_and(|due| due <= now) {
                    core.find_share(now);
                }
            }
            Self::V2(core) => {
                if core.poll_timeout().is_some_and(|due| due <= now) {
                    core.handle_timeout(now);
                }
                while core.next_share_at().is_some_and(|due| due <= now) {
                    core.find_share(now);
                }
            }
        }
    }

    /// A line with its end, or a frame.
    pub fn poll_bytes(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::V1(core, _) => core.poll_line().map(|line| {
                let mut bytes = line.into_bytes();
                bytes.push(b'\n');
                bytes
            }),
            Self::V2(core) => core.poll_frame(),
        }
    }

    pub fn hangs_up(&mut self) -> bool {
        match self {
            Self::V1(core, _) => core.poll_hang_up().is_some(),
            Self::V2(core) => core.poll_hang_up().is_some(),
        }
    }

    pub fn due(&self) -> Option<Instant> {
        let times = match self {
            Self::V1(core, _) => [core.poll_timeout(), core.next_share_at()],
            Self::V2(core) => [core.poll_timeout(), core.next_share_at()],
        };
        times.into_iter().flatten().min()
    }

    pub fn set_hashrate(&mut self, now: Instant, hashrate: f64) {
        match self {
            Self::V1(core, _) => core.set_hashrate(now, hashrate),
            Self::V2(core) => core.set_hashrate(now, hashrate),
        }
    }

    /// One of several channels; a miner with one keeps it.
    pub fn close_channel(&mut self) {
        if let Self::V2(core) = self
            && core.prefixes().len() > 1
        {
            core.close_channel("a machine was switched off");
        }
    }

    pub fn stats(&self) -> &MinerStats {
        match self {
            Self::V1(core, _) => core.stats(),
            Self::V2(core) => core.stats(),
        }
    }

    /// Whether a pool with these version bits leaves it what it needs.
    pub fn can_mine_with(&self, mask: u32) -> bool {
        match self {
            Self::V1(core, _) => {
                let config = core.config();
                let steps = config.temperament.quirks().handshake;
                let rolls = steps.iter().any(|step| matches!(step, Step::Configure));
                !rolls || (config.version_mask & POLICY & mask).count_ones() >= 2
            }
            // One that does without was told for its whole connection, or it may.
            Self::V2(core) => {
                let config = core.config();
                let easy = config.manners.fixed_version && config.kind == KindV2::Extended;
                easy || mask & POLICY == POLICY
            }
        }
    }
}

/// A pool.
#[derive(Debug)]
pub enum PoolCore {
    V1(Box<SimPool>),
    V2(Box<SimPoolV2>),
}

/// What is left of a read of a connection.
#[derive(Debug, Default)]
pub struct Cutters {
    lines: Cutter,
    frames: frame::Cutter,
}

impl PoolCore {
    pub fn new(now: Instant, plan: &PoolPlan) -> Self {
        match &plan.v2 {
            Some(config) => Self::V2(Box::new(SimPoolV2::new(config.clone(), now))),
            None => Self::V1(Box::new(SimPool::new(plan.config.clone(), now))),
        }
    }

    pub fn connected(&mut self, id: u64) {
        match self {
            Self::V1(core) => core.connected(id),
            Self::V2(core) => core.connected(id),
        }
    }

    pub fn disconnected(&mut self, id: u64) {
        match self {
            Self::V1(core) => core.disconnected(id),
            Self::V2(core) => core.disconnected(id),
        }
    }

    pub fn read(
        &mut self,
        now: Instant,
        (link, id): (usize, usize),
        cutters: &mut Cutters,
        books: &mut Books,
        bytes: &[u8],
    ) {
        match self {
            Self::V1(core) => {
                cutters.lines.push(bytes, |line| {
                    books.pool_reads(link, id, line);
                    core.handle_line(now, id as u64, line);
                });
            }
            Self::V2(core) => {
                cutters.frames.push(bytes);
                while let Ok(Some(frame)) = cutters.frames.next_frame() {
                    books.pool_reads_frame(link, id, &frame);
                }
                core.handle_bytes(now, id as u64, bytes);
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::V1(core) => core.handle_timeout(now),
            Self::V2(core) => core.handle_timeout(now),
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::V1(core) => core.poll_timeout(),
            Self::V2(core) => core.poll_timeout(),
        }
    }

    pub fn poll_output(&mut self) -> Option<PoolOutput> {
        match self {
            Self::V1(core) => core.poll_output(),
            Self::V2(core) => core.poll_output(),
        }
    }

    pub fn new_block(&mut self, now: Instant) {
        match self {
            Self::V1(core) => core.new_block(now),
            Self::V2(core) => core.new_block(now),
        }
    }

    pub fn new_job(&mut self, now: Instant) {
        match self {
            Self::V1(core) => core.new_job(now),
            Self::V2(core) => core.new_job(now),
        }
    }

    pub fn set_difficulty(&mut self, now: Instant, difficulty: f64) {
        match self {
            Self::V1(core) => core.set_difficulty(now, difficulty),
            Self::V2(core) => core.set_difficulty(now, difficulty),
        }
    }

    /// `mining.set_extranonce`, or `SetExtranoncePrefix`.
    pub fn set_extranonce(&mut self, now: Instant, size: usize) {
        match self {
            Self::V1(core) => core.set_extranonce(now, size),
            Self::V2(core) => core.set_prefixes(now),
        }
    }

    /// V1 alone.
    pub fn set_version_mask(&mut self, now: Instant, mask: u32) {
        if let Self::V1(core) = self {
            core.set_version_mask(now, mask);
        }
    }

    /// V1 alone.
    pub fn push_line(&mut self, now: Instant, line: &str) {
        if let Self::V1(core) = self {
            core.push_line(now, line);
        }
    }

    /// What V2 alone has, this or that of it.
    pub fn v2(&mut self, what: impl FnOnce(&mut SimPoolV2)) {
        if let Self::V2(core) = self {
            what(core);
        }
    }

    pub fn close_all(&mut self) {
        match self {
            Self::V1(core) => core.close_all(),
            Self::V2(core) => core.close_all(),
        }
    }

    pub fn stats(&self) -> PoolStats {
        match self {
            Self::V1(core) => core.stats(),
            Self::V2(core) => core.stats().pool,
        }
    }
}
