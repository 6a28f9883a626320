//! What runs over a chain of programs have in common: the fleet at its near end, the counts at its far end.
//!
//! Knows no protocol. Invariant: a chain is settled only when every program has counted what the one before it sent.

use crate::lab::*;
use crate::peers::{Count, Pool, Translator};
use crate::provider::Provider;
use crate::wait::looking;
use crate::wire::AUTHORITY;
use sluice::sim::MinerConfig;
use sluice::sim::fleet::{Fleet, FleetConfig, FleetHandle, Protocol};
use sluice::sim::v2::{KindV2, MinerConfigV2};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Between two looks into a log, which is read whole.
const PAUSE: Duration = Duration::from_millis(100);

/// In a fleet.
pub const MINERS: u64 = 8;

/// Miners of some eight lab shares a second each: 300 in five seconds.
pub fn fleet(to: SocketAddr) -> FleetHandle {
    let _inside = RUNTIME.enter();
    Fleet::start(FleetConfig {
        each: MinerConfig {
            hashrate: 2048.0,
            ..MinerConfig::default()
        },
        ..FleetConfig::new(to, MINERS as usize)
    })
}

/// As many miners of Stratum V2, of these kinds in turn.
pub fn v2_fleet(to: SocketAddr, kinds: &[KindV2]) -> FleetHandle {
    let _inside = RUNTIME.enter();
    let config = FleetConfig::new(to, MINERS as usize);
    Fleet::start(FleetConfig {
        each: MinerConfig {
            hashrate: 2048.0,
            ..MinerConfig::default()
        },
        each_v2: MinerConfigV2 {
            min_difficulty: EASY,
            tracks_workers: true,
            ..MinerConfigV2::default()
        },
        protocols: kinds.iter().copied().map(Protocol::V2).collect(),
        authority: Some(AUTHORITY.to_owned()),
        ..config
    })
}

/// A pool at the far end, and what feeds it.
pub struct Far<'a> {
    pool: &'a Pool,
    translator: Option<&'a Translator>,
}

impl<'a> Far<'a> {
    pub fn of(pool: &'a Pool, translator: &'a Translator) -> Self {
        let translator = Some(translator);
        Self { pool, translator }
    }

    /// Fed by us.
    pub fn behind(pool: &'a Pool) -> Self {
        let translator = None;
        Self { pool, translator }
    }

    /// The translator's log is read.
    fn translator(&self) -> &Translator {
        self.translator.expect("this chain has one")
    }

    /// Waits until the pool has accepted so many more.
    pub fn accepts(&self, more: u64) {
        let before = self.pool.count().accepted;
        let left = || format!("{more} shares accepted, of {:?}", self.pool.count());
        looking(PAUSE, PATIENCE, left, || {
            self.translator.inspect(|t| t.program.alive());
            (self.pool.count().accepted >= before + more).then_some(())
        });
    }

    /// Mines long enough before, between and after a new template and a new block.
    pub fn mined_over_news(&self, provider: &Provider) {
        self.accepts(100);
        provider.new_template();
        self.accepts(100);
        provider.new_block();
        self.accepts(100);
    }

    /// Waits until everything that the near end counts as taken is at the pool, or was overtaken on the way; both counts
    /// as they then are.
    pub fn settled<T>(&self, near: impl Fn() -> (T, u64)) -> (T, Count) {
        let state = || (near().1, self.overtaken(), self.pool.count());
        let open = || format!("(taken, overtaken, at the pool) agree: {:?}", state());
        looking(PAUSE, PATIENCE, open, || {
            // Nearest first: a share on its way is missing further on, so that counts that agree are complete.
            let (seen, taken) = near();
            let sent = self.translator().forwarded();
            let count = self.pool.count();
            let arrived = sent == count.received() && taken == sent + self.overtaken();
            arrived.then_some((seen, count))
        })
    }

    /// Shares that the translator took from its miner and found stale itself.
    fn overtaken(&self) -> u64 {
        let dropped = self
            .translator()
            .program
            .said(&["rejected by upstream channel validation"]);
        for line in &dropped {
            assert!(line.contains("Stale"), "{line}");
        }
        dropped.len() as u64
    }
}

/// The only refusals there may be, at a new block or a new template: what was on its way came too late.
pub fn named_at_a_block(reasons: &BTreeMap<String, u64>) {
    for (reason, count) in reasons {
        assert!(
            ["stale", "stale-share"].contains(&reason.as_str()),
            "{count} shares refused for {reason}: {reasons:?}"
        );
    }
}
