//! Between us and a pool: its messages parsed, ours written.
//!
//! Flattens the dialects of pools; decides nothing. Invariant: what comes out is decoded, within limits and owned by no
//! pool's spelling any more (STRATUM.md section 2: nothing a pool sends reaches a miner or a log verbatim).

mod notify;
mod refusal;
pub mod request;
mod results;

use super::hex;
use super::json::{self, Envelope};
use super::message::Malformed;
use crate::stratum::label::printable;
use crate::work::Difficulty;

pub use results::{configure_result, subscribe_result};

/// Longest message to show, in characters.
const MAX_SHOWN: usize = 200;
/// Longest host that `client.reconnect` may name (RFC 1035).
const MAX_HOST: usize = 253;
/// Longest wait before a reconnect that we take from a pool; a longer one is an outage, not a reconnect.
const MAX_WAIT_S: u64 = 3600;

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
///
/// # Errors
/// [`Malformed`] if it is no message at all. Known messages with bad parameters say so in their own variant.
pub fn parse(line: &[u8]) -> Result<Message<'_>, Malformed> {
    let envelope = Envelope::read(line)?;
    let answers =
        envelope.result.is_some() || envelope.error.is_some() || envelope.reject_reason.is_some();
    let message = match envelope.method() {
        Some(method) => told(&method, &envelope),
        None if answers => Message::Unknown,
        None => return Err(Malformed::NoMethod),
    };
    // A response may repeat the method it answers.
    if message == Message::Unknown && answers {
        return Ok(Message::Response {
            id: envelope.id.and_then(json::unsigned),
            outcome: outcome(&envelope),
        });
    }
    Ok(message)
}

/// What a pool says or asks unasked.
fn told<'a>(method: &str, envelope: &Envelope<'a>) -> Message<'a> {
    let params = &envelope.params;
    match method {
        "mining.notify" => match notify::read(params) {
            Ok(notify) => Message::Notify(Box::new(notify)),
            Err(why) => Message::BadNotify(why),
        },
        "mining.set_difficulty" => {
            let value = params.at(0).and_then(json::number);
            Message::SetDifficulty(value.and_then(Difficulty::new))
        }
        "mining.set_extranonce" => Message::SetExtranonce(
            params
                .at(0)
                .zip(params.at(1))
                .and_then(|(extranonce1, size)| results::extranonce(extranonce1, size)),
        ),
        "mining.set_version_mask" => Message::SetVersionMask(params.at(0).and_then(results::mask)),
        "client.reconnect" | "mining.reconnect" => Message::Reconnect {
            host: params
                .at(0)
                .and_then(json::string)
                .and_then(|host| (!host.is_empty()).then(|| printable(&host, MAX_HOST))),
            port: params
                .at(1)
                .and_then(json::unsigned)
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0),
            wait_s: params
                .at(2)
                .and_then(json::unsigned)
                .unwrap_or(0)
                .min(MAX_WAIT_S),
        },
        "client.show_message" | "mining.show_message" => {
            let text = params.at(0).and_then(json::scalar).unwrap_or_default();
            Message::ShowMessage(printable(&text, MAX_SHOWN))
        }
        "client.get_version" | "mining.get_version" => match envelope.id() {
            Some(id) => Message::GetVersion { id },
            None => Message::Unknown,
        },
        "mining.ping" | "client.ping" | "ping" => Message::Ping { id: envelope.id() },
        _ => Message::Unknown,
    }
}

fn outcome<'a>(envelope: &Envelope<'a>) -> Outcome<'a> {
    if let Some(error) = envelope.error.filter(|error| !refusal::says_nothing(error)) {
        return Outcome::Refused(refusal::of_error(error));
    }
    match envelope.result {
        Some(result) if !matches!(result, "null" | "false") => Outcome::Ok(result),
        _ => {
            let reason = envelope.reject_reason.and_then(json::string);
            Outcome::Refused(refusal::of_words(&reason.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests;
