//! The messages of a mining connection as values (SV2 spec 3.6, 5.3; extensions 0x0001, 0x0002). Not their bytes
//! (encode.rs, decode.rs) and not the proxy's codec.
//!
//! Invariant: every message here survives encode and decode unchanged.

/// `SetupConnection.flags`: only standard jobs (5.3.1).
pub const REQUIRES_STANDARD_JOBS: u32 = 1;
/// `SetupConnection.flags`: will send custom jobs.
pub const REQUIRES_WORK_SELECTION: u32 = 2;
/// `SetupConnection.flags`: wants to roll the version.
pub const REQUIRES_VERSION_ROLLING: u32 = 4;
/// `SetupConnection.Success.flags`: the version may not be changed.
pub const REQUIRES_FIXED_VERSION: u32 = 1;
/// `SetupConnection.Success.flags`: no standard channels here.
pub const REQUIRES_EXTENDED_CHANNELS: u32 = 2;
/// Extension: worker-specific hashrate tracking.
pub const WORKER_TRACKING: u16 = 2;

/// A 256-bit number or hash, little-endian.
pub type U256 = [u8; 32];

/// 3.6.1.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Setup {
    /// 0: mining.
    pub protocol: u8,
    /// Oldest version spoken.
    pub min_version: u16,
    /// Newest version spoken.
    pub max_version: u16,
    /// Features wanted.
    pub flags: u32,
    /// Where the client thinks it connects to.
    pub host: String,
    /// Port of the same.
    pub port: u16,
    /// Manufacturer.
    pub vendor: String,
    /// Hardware.
    pub hardware: String,
    /// Firmware.
    pub firmware: String,
    /// Device.
    pub device: String,
}

/// 5.3.2 and 5.3.4.
#[derive(Clone, PartialEq, Debug)]
pub struct Open {
    /// Pairs the answer.
    pub request: u32,
    /// Who mines.
    pub user: String,
    /// Hashes per second.
    pub hashrate: f32,
    /// Easiest target the device can take.
    pub max_target: U256,
    /// Bytes of extranonce wanted; extended channels only.
    pub min_extranonce: u16,
}

/// 5.3.3 and 5.3.5.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// From the request.
    pub request: u32,
    /// The channel's number.
    pub channel: u32,
    /// First target.
    pub target: U256,
    /// Bytes of extranonce the client fills; extended channels only.
    pub extranonce_size: u16,
    /// Fixed part of the extranonce.
    pub prefix: Vec<u8>,
    /// The group it belongs to.
    pub group: u32,
}

/// 5.3.16.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtendedJob {
    /// Channel or group.
    pub channel: u32,
    /// Job.
    pub job: u32,
    /// `None`: future.
    pub min_ntime: Option<u32>,
    /// Block version.
    pub version: u32,
    /// Whether the general purpose bits may be rolled.
    pub rolling: bool,
    /// Merkle path, deepest first.
    pub path: Vec<U256>,
    /// Coinbase before the extranonce.
    pub coinbase_prefix: Vec<u8>,
    /// Coinbase after it.
    pub coinbase_suffix: Vec<u8>,
}

/// 5.3.11 and 5.3.12.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submit {
    /// Channel.
    pub channel: u32,
    /// The client's count.
    pub sequence: u32,
    /// Job.
    pub job: u32,
    /// Nonce.
    pub nonce: u32,
    /// Block time.
    pub ntime: u32,
    /// Full version.
    pub version: u32,
    /// Extended channels only.
    pub extranonce: Vec<u8>,
    /// Extension 0x0002, extended channels only.
    pub worker: Option<String>,
}

/// Any message.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "the spec's names, sections above each")]
pub enum Message {
    SetupConnection(Setup),
    /// 3.6.2.
    SetupSuccess {
        version: u16,
        flags: u32,
    },
    /// 3.6.3.
    SetupError {
        flags: u32,
        code: String,
    },
    /// 3.6.4.
    EndpointChanged {
        channel: u32,
    },
    /// 3.6.5.
    Reconnect {
        host: String,
        port: u16,
    },
    OpenStandard(Open),
    OpenExtended(Open),
    OpenedStandard(Opened),
    OpenedExtended(Opened),
    /// 5.3.6.
    OpenError {
        request: u32,
        code: String,
    },
    /// 5.3.7.
    UpdateChannel {
        channel: u32,
        hashrate: f32,
        max_target: U256,
    },
    /// 5.3.8.
    UpdateError {
        channel: u32,
        code: String,
    },
    /// 5.3.9.
    CloseChannel {
        channel: u32,
        reason: String,
    },
    /// 5.3.10.
    SetPrefix {
        channel: u32,
        prefix: Vec<u8>,
    },
    SubmitStandard(Submit),
    SubmitExtended(Submit),
    /// 5.3.13.
    SubmitSuccess {
        channel: u32,
        last: u32,
        count: u32,
        sum: u64,
    },
    /// 5.3.14.
    SubmitError {
        channel: u32,
        sequence: u32,
        code: String,
    },
    /// 5.3.15.
    NewJob {
        channel: u32,
        job: u32,
        min_ntime: Option<u32>,
        version: u32,
        root: U256,
    },
    NewExtendedJob(ExtendedJob),
    /// 5.3.17.
    SetPrevHash {
        channel: u32,
        job: u32,
        prev_hash: U256,
        min_ntime: u32,
        nbits: u32,
    },
    /// 5.3.21.
    SetTarget {
        channel: u32,
        target: U256,
    },
    /// 5.3.22.
    SetGroup {
        group: u32,
        channels: Vec<u32>,
    },
    /// Extension 0x0001.
    RequestExtensions {
        request: u16,
        wanted: Vec<u16>,
    },
    /// Extension 0x0001.
    ExtensionsGranted {
        request: u16,
        granted: Vec<u16>,
    },
    /// Extension 0x0001.
    ExtensionsRefused {
        request: u16,
        unsupported: Vec<u16>,
        required: Vec<u16>,
    },
}
