//! Between us and a pool: its messages parsed, ours written.

use super::message::Malformed;
use crate::work::Difficulty;

/// Most bytes of extranonce1 that we take.
pub const MAX_EXTRANONCE1: usize = 32;

/// One line of a pool.
#[derive(Debug, PartialEq)]
pub enum Message<'a> {
    /// An answer to one of our requests.
    Response {
        /// The id, if it is one of ours (an unsigned integer).
        id: Option<u64>,
        /// What it says.
        outcome: Outcome<'a>,
    },
    /// `mining.notify`.
    Notify(Box<Notify>),
    /// A notify that breaks a limit or is malformed: ignored and counted.
    BadNotify(&'static str),
    /// `mining.set_difficulty`; `None`: not finite or out of range.
    SetDifficulty(Option<Difficulty>),
    /// `mining.set_extranonce`: extranonce1, extranonce2 size.
    SetExtranonce(Option<Extranonce>),
    /// `mining.set_version_mask`.
    SetVersionMask(Option<u32>),
    /// `client.reconnect`: host, port, wait seconds, each as far as given.
    Reconnect {
        /// Host, if given.
        host: Option<String>,
        /// Port (number or string), if given.
        port: Option<u16>,
        /// Seconds to wait.
        wait_s: u64,
    },
    /// `client.show_message`: sanitised, at most 200 printable characters.
    ShowMessage(String),
    /// `client.get_version`, with the id to answer.
    GetVersion {
        /// Echoed.
        id: super::message::Id<'a>,
    },
    /// `mining.ping` / `client.ping` from a pool, with the id to answer if there is one.
    Ping {
        /// Echoed.
        id: Option<super::message::Id<'a>>,
    },
    /// Anything else.
    Unknown,
}

/// A pool's answer, dialects flattened (missing `error`, ckpool's `reject-reason`, error as string, array or object).
#[derive(Debug, PartialEq)]
pub enum Outcome<'a> {
    /// A result that is neither false nor null; raw JSON text.
    Ok(&'a str),
    /// `false`, null with or without an error, or an error.
    Refused(Refusal),
}

/// Why a pool refused, normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Closed set.
    pub kind: RefusalKind,
    /// The pool's words, sanitised, at most 80 printable characters.
    pub text: String,
}

/// Our closed set of a pool's reasons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefusalKind {
    /// 21 and its like.
    Stale,
    /// 22.
    Duplicate,
    /// 23.
    LowDifficulty,
    /// 24.
    Unauthorized,
    /// 25.
    NotSubscribed,
    /// The rest.
    Other,
}

/// A pool's extranonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extranonce {
    /// extranonce1, at most [`MAX_EXTRANONCE1`] bytes.
    pub extranonce1: Vec<u8>,
    /// Size of extranonce2 in bytes; 1..=254.
    pub size: u8,
}

/// `mining.notify`, decoded and within limits (coinbase halves, branches, lengths).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The pool's job id, 1..=64 printable ASCII without quote and backslash.
    pub job: String,
    /// Header byte order (V1 sends eight 4-byte words, each reversed).
    pub prev_hash: [u8; 32],
    /// First half of the coinbase.
    pub coinb1: Vec<u8>,
    /// Second half.
    pub coinb2: Vec<u8>,
    /// Leaf side first.
    pub branch: Vec<[u8; 32]>,
    /// Block version.
    pub version: u32,
    /// Compact target.
    pub nbits: u32,
    /// Block time.
    pub ntime: u32,
    /// Drop earlier jobs.
    pub clean: bool,
}

/// Parses a line of a pool.
pub fn parse(_line: &[u8]) -> Result<Message<'_>, Malformed> {
    todo!()
}
/// Reads the result of `mining.subscribe` (anything whose 2nd and 3rd entries are extranonce1 and size).
pub fn subscribe_result(_raw: &str) -> Option<Extranonce> {
    todo!()
}
/// Reads the result of `mining.configure`: the version mask granted, `None` if version rolling was not.
pub fn configure_result(_raw: &str) -> Option<u32> {
    todo!()
}

/// Our requests, appended to `out`, each ends with `\n`.
pub mod request {
    use super::*;
    /// `mining.configure` asking for version rolling under `mask`.
    pub fn configure(_out: &mut Vec<u8>, _id: u64, _mask: u32) {
        todo!()
    }
    /// `mining.subscribe`.
    pub fn subscribe(_out: &mut Vec<u8>, _id: u64, _agent: &str) {
        todo!()
    }
    /// `mining.authorize`; JSON-escaped.
    pub fn authorize(_out: &mut Vec<u8>, _id: u64, _user: &str, _password: &str) {
        todo!()
    }
    /// `mining.extranonce.subscribe`.
    pub fn extranonce_subscribe(_out: &mut Vec<u8>, _id: u64) {
        todo!()
    }
    /// `mining.suggest_difficulty`.
    pub fn suggest_difficulty(_out: &mut Vec<u8>, _id: u64, _difficulty: Difficulty) {
        todo!()
    }
    /// A share: `en2` is pad + lane + the miner's bytes; bits given only if a mask was granted.
    pub struct Submit<'a> {
        /// The name the pool credits.
        pub user: &'a str,
        /// The pool's job id.
        pub job: &'a str,
        /// The pool's whole extranonce2.
        pub en2: &'a [u8],
        /// Block time.
        pub ntime: u32,
        /// Nonce.
        pub nonce: u32,
        /// `version & mask`, if rolling.
        pub version_bits: Option<u32>,
    }
    /// `mining.submit`.
    pub fn submit(_out: &mut Vec<u8>, _id: u64, _share: &Submit<'_>) {
        todo!()
    }
    /// The answer to `client.get_version`.
    pub fn version(_out: &mut Vec<u8>, _id: super::super::message::Id<'_>, _agent: &str) {
        todo!()
    }
    /// The answer to a pool's ping.
    pub fn pong(_out: &mut Vec<u8>, _id: super::super::message::Id<'_>) {
        todo!()
    }
}
