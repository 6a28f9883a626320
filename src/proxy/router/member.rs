//! A seated session as the router knows it: its lease and how much it hashes. Not its connection.
//!
//! Invariant: a rate is made of proven work only; who has shown none counts as [`UNKNOWN_RATE`] where miners are dealt.

use super::BALANCE;
use super::pools::Capability;
use crate::proxy::lease::{Lease, ListenerId};
use std::time::{Duration, Instant};

/// What a miner counts for that has not shown a share yet, in hashes per second: enough to be dealt round.
pub(super) const UNKNOWN_RATE: f64 = 1e9;

/// A session that has a seat.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) listener: ListenerId,
    pub(super) miner: Capability,
    pub(super) lease: Lease,
    pub(super) since: Instant,
    /// Hashes proven since the last balance.
    pub(super) fresh: f64,
    pub(super) rate: Rate,
}

impl Member {
    pub(super) fn rate(&self) -> f64 {
        self.rate.known().unwrap_or(UNKNOWN_RATE)
    }
}

/// A session's hashrate as the weights need it: exponentially weighted over some five minutes, folded at each balance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    proven: f64,
    seconds: f64,
}

impl Rate {
    /// Part of the past that a balance keeps: `exp(-10 s / 300 s)`.
    const KEEP: f64 = 0.967;

    /// Adds the hashes of one balance; the first one began with the lease.
    pub(super) fn fold(&mut self, proven: f64, leased_for: Duration) {
        let beat = BALANCE.as_secs_f64();
        let beat = if self.seconds == 0.0 {
            beat.min(leased_for.as_secs_f64().max(0.1))
        } else {
            beat
        };
        self.proven = self.proven * Self::KEEP + proven;
        self.seconds = self.seconds * Self::KEEP + beat;
    }

    /// Hashes per second; `None` before the first share.
    pub(super) fn known(self) -> Option<f64> {
        (self.proven > 0.0).then(|| self.proven / self.seconds)
    }
}
