//! What a simulated pool is, and what it counted.
//!
//! Not its behaviour (poolcore.rs). Invariant of the counters: `received = accepted + sum(rejected)`.

use super::{dialect::Dialect, judge::Reason};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How the pool answers `mining.configure`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Configure {
    /// Version rolling within this mask.
    Grant(u32),
    /// `"version-rolling": false`.
    Refuse,
    /// No answer at all.
    Silent,
    /// Error -3, as pools that do not know the method.
    Unknown,
}

/// How the pool answers `mining.subscribe`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Subscribe {
    /// A list of two subscriptions.
    #[default]
    Usual,
    /// One pair instead of a list of pairs.
    OnePair,
    /// An empty list.
    Empty,
    /// An object, which is not what anyone expects.
    NotAnArray,
    /// No answer at all.
    Silent,
}

/// How lines are put into segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Segments {
    /// A write per line.
    #[default]
    PerLine,
    /// All lines of one turn in one write: the notify comes in the segment of the authorize reply.
    Together,
    /// Every line in two writes.
    Torn,
}

/// The pool's own vardiff, per connection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PoolVardiff {
    /// Wanted shares per second and connection.
    pub shares_per_s: f64,
    /// How often it looks.
    pub every: Duration,
}

/// A job given from outside (a real block), instead of generated ones.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    /// Parameters of the notify.
    pub notify: Value,
    /// Extranonce1 of every connection.
    pub extranonce1: Vec<u8>,
    /// Extranonce2 length, bytes.
    pub extranonce2_size: usize,
    /// Difficulty.
    pub difficulty: f64,
}

/// A simulated pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// All chance comes from here.
    pub seed: u64,
    /// Length of generated extranonce1, bytes (1..=8).
    pub extranonce1_size: usize,
    /// The same extranonce1 for every connection, instead of generated ones.
    pub extranonce1: Option<Vec<u8>>,
    /// Extranonce2 length, bytes.
    pub extranonce2_size: usize,
    /// Difficulty of a new connection.
    pub difficulty: f64,
    /// Whether a suggested difficulty is taken (never below [`PoolConfig::difficulty`]).
    pub honours_suggestions: bool,
    /// The pool's own vardiff.
    pub vardiff: Option<PoolVardiff>,
    /// Answer to configure.
    pub configure: Configure,
    /// Answer to subscribe.
    pub subscribe: Subscribe,
    /// Whether `mining.extranonce.subscribe` is answered at all.
    pub answers_extranonce_subscribe: bool,
    /// A new block, clean, this often.
    pub block_every: Option<Duration>,
    /// A new job on the same block, not clean, this often.
    pub job_every: Option<Duration>,
    /// Compact network target; the default is mainnet's order of magnitude, which a lab never meets.
    pub nbits: u32,
    /// Unix time at the start, seconds.
    pub unix_time: u32,
    /// Refuses every authorize.
    pub refuses_login: bool,
    /// Refuses workers whose name contains this.
    pub refuses_workers: Option<String>,
    /// Refuses this part (0..=1) of good shares.
    pub reject_ratio: f64,
    /// Everything it sends is late by this.
    pub delay: Duration,
    /// Segmentation.
    pub segments: Segments,
    /// Wording of refusals.
    pub dialect: Dialect,
    /// Notifications carry `"jsonrpc": "2.0"` and no id.
    pub jsonrpc2: bool,
    /// A given job.
    pub script: Option<Script>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            extranonce1_size: 4,
            extranonce1: None,
            extranonce2_size: 8,
            difficulty: 1.0 / 65_536.0,
            honours_suggestions: false,
            vardiff: None,
            configure: Configure::Grant(0x1fff_e000),
            subscribe: Subscribe::Usual,
            answers_extranonce_subscribe: true,
            block_every: None,
            job_every: None,
            nbits: 0x1703_4219,
            unix_time: 1_700_000_000,
            refuses_login: false,
            refuses_workers: None,
            reject_ratio: 0.0,
            delay: Duration::ZERO,
            segments: Segments::PerLine,
            dialect: Dialect::Standard,
            jsonrpc2: false,
            script: None,
        }
    }
}

/// Counters of one worker name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserStats {
    /// Shares accepted.
    pub accepted: u64,
    /// Shares refused.
    pub rejected: u64,
    /// Difficulty-weighted hashes accepted.
    pub hashes: u128,
}

/// What the pool saw.
#[derive(Clone, Debug, Default)]
pub struct PoolStats {
    /// Connections open now.
    pub connections: u64,
    /// Connections ever.
    pub connections_total: u64,
    /// Connections with an authorized worker now.
    pub authorized: u64,
    /// Shares received.
    pub received: u64,
    /// Shares accepted.
    pub accepted: u64,
    /// Shares refused, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// Difficulty-weighted hashes accepted.
    pub accepted_hashes: u128,
    /// Difficulty-weighted hashes of good shares refused on purpose.
    pub refused_hashes: u128,
    /// Shares that meet the network's target.
    pub blocks: u64,
    /// Headers' hashes of those, digest order; the last 64.
    pub block_hashes: VecDeque<[u8; 32]>,
    /// By worker name; past 10,000 names the rest is under "(others)".
    pub users: BTreeMap<String, UserStats>,
    /// The last 64 submit lines, as they came.
    pub last_submits: VecDeque<String>,
    /// Clean notifies made.
    pub blocks_made: u64,
    /// Jobs made, clean or not.
    pub jobs_made: u64,
    /// Lines received.
    pub lines_in: u64,
    /// Lines sent.
    pub lines_out: u64,
    /// Bytes received in lines, newlines included.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Lines that came while frozen, and were not looked at.
    pub ignored: u64,
}

impl PoolStats {
    /// Refused for this reason.
    pub fn rejected_for(&self, reason: Reason) -> u64 {
        self.rejected.get(&reason).copied().unwrap_or(0)
    }

    /// Refused for any reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
}
