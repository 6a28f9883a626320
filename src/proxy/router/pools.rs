//! Which link a session is leased to: eligibility, tiers, trust, masks. Not weights over time (`weights`).
//!
//! Invariant: a session is leased only to a link whose pool accepts every version bit that the session may roll.

use super::{Config, Pool};
use crate::proxy::lease::ListenerId;
use crate::proxy::link::Status;
use crate::work::LinkId;
use std::time::{Duration, Instant};

/// One pool with what is known of it.
#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) pool: Pool,
    status: Option<Status>,
    /// The last mask it granted; kept while it is away, because it will grant the same again.
    mask: Option<u32>,
    up_since: Option<Instant>,
    was_down: bool,
}

impl PoolState {
    pub(super) fn is_up(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|status| status.up && !status.excluded)
    }

    pub(super) fn is_excluded(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.excluded)
    }

    fn is_suspect(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.suspect)
    }

    pub(super) fn extranonce2_size(&self) -> Option<u8> {
        self.status
            .as_ref()
            .and_then(|status| status.extranonce2_size)
    }

    /// Good enough to be preferred: healthy for a while, or never failed.
    fn is_trusted(&self, now: Instant, failback_after: Duration) -> bool {
        let healthy = !self.was_down
            || self
                .up_since
                .is_some_and(|since| now >= since + failback_after);
        self.is_up() && !self.is_suspect() && healthy
    }
}

/// What a miner can roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Capability {
    pub(super) version_mask: u32,
    pub(super) min_bits: u32,
}

/// All pools.
#[derive(Debug)]
pub(super) struct Pools {
    states: Vec<PoolState>,
    listeners: Vec<Vec<LinkId>>,
    policy_mask: u32,
    failback_after: Duration,
}

impl Pools {
    pub(super) fn new(config: &Config) -> Self {
        let states = config.pools.iter().map(|pool| PoolState {
            pool: pool.clone(),
            status: None,
            mask: None,
            up_since: None,
            was_down: false,
        });
        Self {
            states: states.collect(),
            listeners: config.listeners.clone(),
            policy_mask: config.version_mask,
            failback_after: config.failback_after,
        }
    }

    pub(super) fn all(&self) -> &[PoolState] {
        &self.states
    }

    pub(super) fn state(&self, link: LinkId) -> Option<&PoolState> {
        self.states.iter().find(|state| state.pool.id == link)
    }

    /// Takes a new status.
    pub(super) fn update(&mut self, now: Instant, link: LinkId, status: Status) {
        let Some(state) = self.states.iter_mut().find(|state| state.pool.id == link) else {
            return;
        };
        let was_up = state.is_up();
        state.mask = status.version_mask.or(state.mask);
        state.status = Some(status);
        match (was_up, state.is_up()) {
            (false, true) => state.up_since = Some(now),
            (true, false) => {
                state.up_since = None;
                state.was_down = true;
            }
            _ => {}
        }
    }

    fn listener(&self, listener: ListenerId) -> impl Iterator<Item = &PoolState> {
        let links = self
            .listeners
            .get(usize::from(listener.0))
            .map_or(&[][..], Vec::as_slice);
        links
            .iter()
            .filter_map(|link| self.state(*link))
            .filter(|state| !state.is_excluded())
    }

    /// Whether the pool leaves this miner the bits it must have.
    fn suits(&self, state: &PoolState, miner: Capability) -> bool {
        let bits = miner.version_mask & self.policy_mask & state.mask.unwrap_or(u32::MAX);
        bits.count_ones() >= miner.min_bits
    }

    /// The bits that every pool this miner may be leased to accepts.
    pub(super) fn mask(&self, listener: ListenerId, miner: Capability) -> u32 {
        let start = miner.version_mask & self.policy_mask;
        self.listener(listener)
            .filter(|state| self.suits(state, miner))
            .fold(start, |mask, state| mask & state.mask.unwrap_or(u32::MAX))
    }

    /// The bits of a miner that can roll them all.
    pub(super) fn listener_mask(&self, listener: ListenerId) -> u32 {
        self.mask(
            listener,
            Capability {
                version_mask: u32::MAX,
                min_bits: 0,
            },
        )
    }

    /// The links a session may be on now: the lowest tier with a trusted pool, else the lowest with one that is up.
    pub(super) fn candidates(
        &self,
        now: Instant,
        listener: ListenerId,
        miner: Capability,
    ) -> Vec<LinkId> {
        let usable = || {
            self.listener(listener)
                .filter(|state| state.is_up() && self.suits(state, miner))
        };
        let trusted = |state: &&PoolState| state.is_trusted(now, self.failback_after);
        let lowest = |states: &mut dyn Iterator<Item = &PoolState>| {
            states.map(|state| state.pool.tier).min()
        };
        if let Some(tier) = lowest(&mut usable().filter(trusted)) {
            return usable()
                .filter(trusted)
                .filter(|s| s.pool.tier == tier)
                .map(|s| s.pool.id)
                .collect();
        }
        let calm = usable().any(|state| !state.is_suspect());
        let last_resort = || usable().filter(|state| !calm || !state.is_suspect());
        let tier = lowest(&mut last_resort());
        last_resort()
            .filter(|s| Some(s.pool.tier) == tier)
            .map(|s| s.pool.id)
            .collect()
    }

    /// The pools that will serve this listener once everything configured works, best tier first.
    pub(super) fn share(&self, link: LinkId) -> f64 {
        self.state(link).map_or(0.0, |state| state.pool.share)
    }
}
