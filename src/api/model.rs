//! The JSON of the API, written by the handlers and read back by `sluice status`. Units are in the names.
//! Invariant: fields are added, never renamed, within `/api/v1`.

use crate::telemetry::Board;
use crate::telemetry::view::{Listener, Miner, Pool, Rates, Reasons, Sum};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Most miners on one page: about 600 KB of JSON.
pub const MAX_PAGE: usize = 1_000;
/// Miners on a page when nobody says how many.
pub const PAGE: usize = 100;

/// `/api/v1/summary`: the site at one look.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Of Sluice.
    pub version: String,
    /// Since the start.
    pub uptime_seconds: f64,
    /// Connected now.
    pub miners: u64,
    /// Hashes per second, by accepted work.
    pub hashrate: Rates,
    /// Accepted by us.
    pub accepted: Sum,
    /// Refused by us.
    pub rejected: Sum,
    /// Why.
    pub reasons: Reasons,
    /// Work above the pools' difficulty, which they do not credit.
    pub under_credit_difficulty: f64,
    /// Block candidates found.
    pub blocks: u64,
    /// Pools that are up.
    pub pools_up: usize,
    /// All pools.
    pub pools: usize,
    /// Miners moved between pools so far.
    pub moved: u64,
    /// Connections turned away, and why.
    pub refused_connections: Reasons,
    /// Whether all sums add up (I6).
    pub conserves: bool,
    /// By listener.
    pub listeners: Vec<Listener>,
}

impl Summary {
    /// As of `now`.
    pub fn of(board: &Board, now: Instant) -> Self {
        let listeners = board.listeners(now);
        let (pools_up, pools) = board.pools_up();
        let refused = board.refused().filter(|(_, count)| *count > 0);
        let mut summary = Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: board.uptime_seconds(now),
            miners: board.miner_count() as u64,
            hashrate: Rates::default(),
            accepted: Sum::default(),
            rejected: Sum::default(),
            reasons: Reasons::new(),
            under_credit_difficulty: 0.0,
            blocks: 0,
            pools_up,
            pools,
            moved: board.moved(),
            refused_connections: refused.map(|(r, n)| (r.label().to_owned(), n)).collect(),
            conserves: board.conserves(),
            listeners: Vec::new(),
        };
        for listener in &listeners {
            summary.add(listener);
        }
        summary.listeners = listeners;
        summary
    }

    fn add(&mut self, listener: &Listener) {
        self.hashrate.minute += listener.hashrate.minute;
        self.hashrate.five_minutes += listener.hashrate.five_minutes;
        self.hashrate.hour += listener.hashrate.hour;
        for (to, from) in [
            (&mut self.accepted, listener.accepted),
            (&mut self.rejected, listener.rejected),
        ] {
            to.shares += from.shares;
            to.difficulty += from.difficulty;
        }
        for (reason, count) in &listener.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        self.under_credit_difficulty += listener.under_credit_difficulty;
        self.blocks += listener.blocks;
    }
}

/// The query of `/api/v1/miners`.
#[derive(Clone, Default, PartialEq, Debug, Deserialize)]
pub struct MinersQuery {
    /// Miners on the page, [`PAGE`] if not given, at most [`MAX_PAGE`].
    pub limit: Option<usize>,
    /// Miners to skip.
    #[serde(default)]
    pub offset: usize,
    /// A part of the worker name.
    #[serde(default)]
    pub worker: String,
}

/// `/api/v1/miners`: one page, oldest connection first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Miners {
    /// Miners that match, on all pages.
    pub total: usize,
    /// Skipped before this page.
    pub offset: usize,
    /// Most on this page.
    pub limit: usize,
    /// The page.
    pub miners: Vec<Miner>,
}

impl Miners {
    /// As of `now`.
    pub fn of(board: &Board, query: &MinersQuery, now: Instant) -> Self {
        let limit = query.limit.unwrap_or(PAGE).min(MAX_PAGE);
        let (miners, total) = board.miners(&query.worker, query.offset, limit, now);
        Self {
            total,
            offset: query.offset,
            limit,
            miners,
        }
    }
}

/// `/api/v1/pools`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pools {
    /// In the order of the configuration.
    pub pools: Vec<Pool>,
}

/// Why a pool is not up, in words: `first: connection refused`.
pub fn why_down(pool: &Pool) -> String {
    let why = match &pool.note {
        Some(note) => note.as_str(),
        None if pool.excluded => "it gives too little extranonce",
        None if pool.connections == 0 => "not connected yet",
        None => "no work yet",
    };
    format!("{}: {why}", pool.name)
}
