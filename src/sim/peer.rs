//! One miner of a fleet, whichever protocol it speaks: what the socket driver asks of both.
//!
//! Decides nothing. Invariant: every verb goes to the same verb of the core.

use super::{
    miner::SimMiner,
    search::{Found, Search},
    stats::MinerStats,
    v2::{KindV2, SimMinerV2},
    wire::Cutter,
};
use std::time::Instant;

/// What a miner of a fleet speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// Stratum V1.
    #[default]
    V1,
    /// Stratum V2, inside Noise.
    V2(KindV2),
}

/// A miner.
#[derive(Debug)]
pub(super) enum Peer {
    V1 {
        miner: Box<SimMiner>,
        cutter: Cutter,
    },
    V2(Box<SimMinerV2>),
}

impl Peer {
    pub(super) fn user(&self) -> &str {
        match self {
            Self::V1 { miner, .. } => &miner.config().user,
            Self::V2(miner) => &miner.config().user,
        }
    }

    /// Firmware family, or the kind of a V2 miner.
    pub(super) fn family(&self) -> &'static str {
        match self {
            Self::V1 { miner, .. } => miner.config().temperament.name(),
            Self::V2(miner) => miner.config().kind.name(),
        }
    }

    pub(super) fn is_v2(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    pub(super) fn stats(&self) -> &MinerStats {
        match self {
            Self::V1 { miner, .. } => miner.stats(),
            Self::V2(miner) => miner.stats(),
        }
    }

    pub(super) fn connected(&mut self, now: Instant) {
        match self {
            Self::V1 { miner, cutter } => {
                *cutter = Cutter::default();
                miner.connected(now);
            }
            Self::V2(miner) => miner.connected(now),
        }
    }

    pub(super) fn connect_failed(&mut self) {
        match self {
            Self::V1 { miner, .. } => miner.connect_failed(),
            Self::V2(miner) => miner.connect_failed(),
        }
    }

    /// The Noise handshake did not hold.
    pub(super) fn handshake_failed(&mut self) {
        match self {
            Self::V1 { miner, .. } => miner.connect_failed(),
            Self::V2(miner) => miner.handshake_failed(),
        }
    }

    pub(super) fn disconnected(&mut self, by_peer: bool) {
        match self {
            Self::V1 { miner, .. } => miner.disconnected(by_peer),
            Self::V2(miner) => miner.disconnected(by_peer),
        }
    }

    /// Plaintext; `false`: nothing more can be made of this connection.
    pub(super) fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> bool {
        match self {
            Self::V1 { miner, cutter } => cutter.push(bytes, |line| miner.handle_line(now, line)),
            Self::V2(miner) => miner.handle_bytes(now, bytes),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::V1 { miner, .. } => miner.handle_timeout(now),
            Self::V2(miner) => miner.handle_timeout(now),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::V1 { miner, .. } => miner.poll_timeout(),
            Self::V2(miner) => miner.poll_timeout(),
        }
    }

    /// One line with its newline, or one frame.
    pub(super) fn poll_message(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::V1 { miner, .. } => miner.poll_line().map(|line| (line + "\n").into_bytes()),
            Self::V2(miner) => miner.poll_frame(),
        }
    }

    pub(super) fn poll_hang_up(&mut self) -> Option<&'static str> {
        match self {
            Self::V1 { miner, .. } => miner.poll_hang_up(),
            Self::V2(miner) => miner.poll_hang_up(),
        }
    }

    /// Where the peer said to go: host (empty: the same) and port (0: the same).
    pub(super) fn poll_redirect(&mut self) -> Option<(String, u16)> {
        match self {
            Self::V1 { .. } => None,
            Self::V2(miner) => miner.poll_redirect(),
        }
    }

    pub(super) fn next_share_at(&self) -> Option<Instant> {
        match self {
            Self::V1 { miner, .. } => miner.next_share_at(),
            Self::V2(miner) => miner.next_share_at(),
        }
    }

    pub(super) fn start_search(&mut self, now: Instant) -> Option<Search> {
        match self {
            Self::V1 { miner, .. } => miner.start_search(now),
            Self::V2(miner) => miner.start_search(now),
        }
    }

    pub(super) fn search_is_current(&self) -> bool {
        match self {
            Self::V1 { miner, .. } => miner.search_is_current(),
            Self::V2(miner) => miner.search_is_current(),
        }
    }

    pub(super) fn abandon_search(&mut self) {
        match self {
            Self::V1 { miner, .. } => miner.abandon_search(),
            Self::V2(miner) => miner.abandon_search(),
        }
    }

    pub(super) fn finish_search(&mut self, now: Instant, found: &Found) {
        match self {
            Self::V1 { miner, .. } => miner.finish_search(now, found),
            Self::V2(miner) => miner.finish_search(now, found),
        }
    }

    pub(super) fn set_hashrate(&mut self, now: Instant, hashrate: f64) {
        match self {
            Self::V1 { miner, .. } => miner.set_hashrate(now, hashrate),
            Self::V2(miner) => miner.set_hashrate(now, hashrate),
        }
    }
}
