//! What a simulated V2 miner is, as data.
//!
//! Invariant: every difference between miners is a field here; the miner's logic never asks for a kind by name where
//! a field can say it.

use std::time::Duration;

/// What connects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum KindV2 {
    /// One standard channel, header-only, `REQUIRES_STANDARD_JOBS`: as Bitaxe's V2 firmware.
    #[default]
    Standard,
    /// One extended channel that rolls its extranonce.
    Extended,
    /// An aggregating proxy: several channels on one connection, jobs by group.
    Proxy {
        /// Extended channels.
        extended: u8,
        /// Standard channels, fed by group jobs.
        standard: u8,
    },
}

impl KindV2 {
    /// One of each, in the order in which a mixed fleet deals them out.
    pub const ALL: [Self; 3] = [
        Self::Standard,
        Self::Extended,
        Self::Proxy {
            extended: 2,
            standard: 2,
        },
    ];

    /// As the command line writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Extended => "extended",
            Self::Proxy { .. } => "proxy",
        }
    }

    /// By [`KindV2::name`].
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its channels: extended ones first; whether each is a standard one.
    pub(super) fn plan(self) -> Vec<bool> {
        match self {
            Self::Standard => vec![true],
            Self::Extended => vec![false],
            Self::Proxy { extended, standard } => {
                let extended = std::iter::repeat_n(false, extended.into());
                extended
                    .chain(std::iter::repeat_n(true, standard.into()))
                    .collect()
            }
        }
    }
}

/// What some do and others do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MannersV2 {
    /// Sends setup and opens in one breath.
    pub pipelined: bool,
    /// Sends frames of an extension nobody agreed on.
    pub strange: bool,
    /// Sends one more share of the old job after a new block.
    pub late: bool,
    /// Waits this long before each step of its login.
    pub slow: Option<Duration>,
    /// Rolls ntime with the seconds.
    pub rolls_ntime: bool,
    /// Does not insist on rolling the version.
    pub fixed_version: bool,
}

impl MannersV2 {
    /// What a mixed fleet deals out.
    pub const ALL: [Self; 4] = [
        Self::plain(),
        Self {
            pipelined: true,
            ..Self::plain()
        },
        Self {
            strange: true,
            rolls_ntime: true,
            ..Self::plain()
        },
        Self {
            slow: Some(Duration::from_millis(500)),
            ..Self::plain()
        },
    ];

    /// By the name on the command line; `late` is not dealt out by itself, because its shares are refused.
    pub fn by_name(name: &str) -> Option<Self> {
        let [plain, pipelined, strange, slow] = Self::ALL;
        let late = Self {
            late: true,
            ..plain
        };
        match name {
            "plain" => Some(plain),
            "pipelined" => Some(pipelined),
            "strange" => Some(strange),
            "slow" => Some(slow),
            "late" => Some(late),
            _ => None,
        }
    }

    /// By the book.
    pub const fn plain() -> Self {
        Self {
            pipelined: false,
            strange: false,
            late: false,
            slow: None,
            rolls_ntime: false,
            fixed_version: false,
        }
    }
}

/// What a simulated V2 miner is.
#[derive(Clone, Debug)]
pub struct MinerConfigV2 {
    /// `user_identity`; channels past the first get a number behind it.
    pub user: String,
    /// Its channels.
    pub kind: KindV2,
    /// Its habits.
    pub manners: MannersV2,
    /// Hashes per second over all channels; 0: connected and idle.
    pub hashrate: f64,
    /// All chance comes from here.
    pub seed: u64,
    /// Version bits it rolls where that is allowed.
    pub version_mask: u32,
    /// Extranonce it asks for on extended channels, bytes.
    pub min_extranonce: u16,
    /// Easiest difficulty it can take; 0: any (a maximum target of all ones).
    pub min_difficulty: f64,
    /// Asks for extension 0x0002, and names a worker with every share of an extended channel where it is granted.
    pub tracks_workers: bool,
    /// A share not answered so long is missing its answer. More than the peer's longest batch.
    pub acks_within: Duration,
    /// Hangs up after so long without a frame; `None`: never notices.
    pub gives_up_after: Option<Duration>,
}

impl Default for MinerConfigV2 {
    fn default() -> Self {
        Self {
            user: "sim.1".into(),
            kind: KindV2::Standard,
            manners: MannersV2::plain(),
            hashrate: 20_000.0,
            seed: 1,
            version_mask: 0x1fff_e000,
            min_extranonce: 4,
            min_difficulty: 0.0,
            tracks_workers: false,
            acks_within: Duration::from_secs(30),
            gives_up_after: Some(Duration::from_secs(120)),
        }
    }
}
