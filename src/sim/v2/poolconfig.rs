//! What a simulated V2 pool is, what it may lie about, and what it counted.
//!
//! Not its behaviour (poolcore.rs). Invariant of the counters: `received = accepted + sum(rejected)`.

use super::super::poolconfig::{PoolStats, PoolVardiff, UserStats};
use std::{collections::BTreeMap, time::Duration};

/// How `RequestExtensions` is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extensions {
    /// 0x0002 is granted, others are not.
    #[default]
    Granted,
    /// Nothing is.
    Refused,
    /// No answer at all, as from a peer that never heard of 0x0001.
    Silent,
}

/// How many bytes of extranonce an extended channel gets to fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExtranonceGrant {
    /// All there are ([`PoolConfigV2::extranonce_size`]), if that suffices.
    #[default]
    All,
    /// What was asked for, if that suffices.
    Asked,
    /// So many, whatever was asked for.
    Fixed(usize),
}

/// When good shares are acknowledged; a bad one is refused at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acks {
    /// After so many (1: each).
    pub every: u32,
    /// And at the latest so long after the first of a batch; `None`: when the batch is full and not before, as SRI's pool.
    pub within: Option<Duration>,
}

/// What a pool must not do, and this one does when told to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lie {
    /// An active job before any prev-hash.
    JobBeforePrevHash,
    /// At a new block the prev-hash goes before the job it names.
    PrevHashFirst,
    /// A job id used twice on one block.
    JobIdReused,
    /// A target easier than the channel's maximum.
    TargetAboveMax,
    /// Every acknowledgement twice.
    AckTwice,
    /// Acknowledgements that count one too few.
    AckShort,
    /// Jobs for a channel that was never opened.
    ForeignChannel,
    /// An extended job where only standard ones may be sent, or the other way round.
    WrongKindOfJob,
    /// The second channel gets the number of the first.
    ChannelIdReused,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::JobBeforePrevHash,
        Self::PrevHashFirst,
        Self::JobIdReused,
        Self::TargetAboveMax,
        Self::AckTwice,
        Self::AckShort,
        Self::ForeignChannel,
        Self::WrongKindOfJob,
        Self::ChannelIdReused,
    ];
}

/// A simulated V2 pool.
#[derive(Clone, Debug)]
pub struct PoolConfigV2 {
    /// All chance comes from here, the authority key too.
    pub seed: u64,
    /// Bytes of extranonce that tell channels apart (2..=8).
    pub prefix_size: usize,
    /// Bytes of extranonce behind them (0..=16).
    pub extranonce_size: usize,
    /// How much of that an extended channel gets.
    pub grant: ExtranonceGrant,
    /// Difficulty of a new channel; none gets an easier one, unless the channel's own maximum is harder.
    pub difficulty: f64,
    /// Shares per second that a channel's announced hashrate shall make; `None`: [`PoolConfigV2::difficulty`] for all.
    pub shares_per_s: Option<f64>,
    /// Adapts to the shares that come, too.
    pub vardiff: Option<PoolVardiff>,
    /// Acknowledgements.
    pub acks: Acks,
    /// Version bits that may be rolled; 0: jobs forbid rolling.
    pub version_mask: u32,
    /// Flags of `SetupConnection.Success`.
    pub success_flags: u32,
    /// Flags that are refused.
    pub unsupported_flags: u32,
    /// Answer to 0x0001.
    pub extensions: Extensions,
    /// Jobs go to the group where the client can take them.
    pub groups: bool,
    /// The job of the next block is sent ahead, so that a new block is one `SetNewPrevHash`.
    pub jobs_ahead: bool,
    /// Channels of one connection; more are refused.
    pub channels: usize,
    /// Refuses users whose name contains this.
    pub refuses_users: Option<String>,
    /// Refuses every `SetupConnection`.
    pub refuses_setup: bool,
    /// A new block this often.
    pub block_every: Option<Duration>,
    /// A new job on the same block this often.
    pub job_every: Option<Duration>,
    /// Compact network target.
    pub nbits: u32,
    /// Unix time at the start, seconds.
    pub unix_time: u32,
    /// ntime may run ahead of the seconds elapsed by so many; 0 is the letter of 5.3.11.
    pub ntime_ahead_s: u32,
    /// Refuses this part (0..=1) of good shares.
    pub reject_ratio: f64,
    /// Everything it sends is late by this.
    pub delay: Duration,
    /// What it does wrong.
    pub lies: Vec<Lie>,
}

impl Default for PoolConfigV2 {
    fn default() -> Self {
        Self {
            seed: 1,
            prefix_size: 4,
            extranonce_size: 8,
            grant: ExtranonceGrant::All,
            difficulty: 1.0 / 65_536.0,
            shares_per_s: None,
            vardiff: None,
            acks: Acks {
                every: 1,
                within: None,
            },
            version_mask: 0x1fff_e000,
            success_flags: 0,
            unsupported_flags: 0,
            extensions: Extensions::Granted,
            groups: true,
            jobs_ahead: false,
            channels: 1_000,
            refuses_users: None,
            refuses_setup: false,
            block_every: None,
            job_every: None,
            nbits: 0x1703_4219,
            unix_time: 1_700_000_000,
            ntime_ahead_s: 7000,
            reject_ratio: 0.0,
            delay: Duration::ZERO,
            lies: Vec::new(),
        }
    }
}

/// What the pool saw. Lines are frames here.
#[derive(Clone, Debug, Default)]
pub struct PoolStatsV2 {
    /// What both kinds of pool count; users by `user_identity`, authorized: connections with a channel.
    pub pool: PoolStats,
    /// Channels open now.
    pub channels: u64,
    /// Channels ever.
    pub channels_total: u64,
    /// Extended ones among those.
    pub extended_total: u64,
    /// Opens refused.
    pub opens_refused: u64,
    /// Channels that the client closed.
    pub closed_by_client: u64,
    /// `UpdateChannel` received.
    pub updates: u64,
    /// Hashes per second last announced by the channels open now, together.
    pub nominal_hashrate: f64,
    /// Connections that were granted 0x0002.
    pub worker_tracking: u64,
    /// By the worker of extension 0x0002; past 10,000 names the rest is under "(others)".
    pub workers: BTreeMap<String, UserStats>,
    /// Acknowledgements sent.
    pub acks: u64,
    /// Frames of unknown extensions or messages, ignored.
    pub unknown: u64,
    /// Frames that made no sense; each ended its connection.
    pub malformed: u64,
}
