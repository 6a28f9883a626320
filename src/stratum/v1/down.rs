//! Between a miner and us: its requests parsed, our answers and notifications written.
//!
//! Decides nothing: whether a share is good, a name may mine or a mask is granted is for the session to say.
//! Invariant: a line gives exactly one [`Message`] or one [`Malformed`], and an ordinary submit costs no allocation.

pub mod fast;
mod hints;
pub mod notification;
pub mod reply;

use super::hex;
use super::json::{self, Envelope, Params};
use super::message::{Id, Malformed};
use crate::work::{Difficulty, Target};
use std::borrow::Cow;

pub use hints::{Hints, agent_minimum, password_hints};

/// One line of a miner.
#[derive(Debug, PartialEq)]
pub struct Message<'a> {
    /// `None`: no id member, so no answer.
    pub id: Option<Id<'a>>,
    /// What it asks; `Err`: the method is known but its parameters are not right (answered with 20).
    pub request: Result<Request<'a>, InvalidParams>,
    /// It is a share, readable or not: the two are counted and limited as such.
    pub is_submit: bool,
}

/// The parameters do not fit the method.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidParams(pub &'static str);

/// A miner's request.
#[derive(Debug, PartialEq)]
pub enum Request<'a> {
    /// `mining.configure` (BIP 310).
    Configure(Configure),
    /// `mining.subscribe`: user agent, session id to resume. Both optional, anything else ignored.
    Subscribe {
        /// User agent.
        agent: Option<Cow<'a, str>>,
        /// Session to resume.
        session: Option<Cow<'a, str>>,
    },
    /// `mining.authorize`.
    Authorize {
        /// As sent (unescaped), may be empty.
        user: Cow<'a, str>,
        /// May hold hints on difficulty ([`password_hints`]).
        password: Option<Cow<'a, str>>,
    },
    /// `mining.extranonce.subscribe`.
    ExtranonceSubscribe,
    /// `mining.suggest_difficulty`.
    SuggestDifficulty(Difficulty),
    /// `mining.suggest_target`.
    SuggestTarget(Target),
    /// `mining.submit`, five or six parameters.
    Submit(Submit<'a>),
    /// `mining.ping` (or `ping`).
    Ping,
    /// `pong`, `mining.pong`, or a bare result (an answer to something we sent): swallowed.
    Pong,
    /// Anything else.
    Unknown,
}

/// `mining.configure`: the extensions asked for. A key that was not asked for is not answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configure {
    /// `version-rolling`: asked, with its mask (missing: all bits) and min-bit-count (missing: 0).
    pub version_rolling: Option<VersionRolling>,
    /// `minimum-difficulty`: the value, or `None` inside if it was not usable.
    pub minimum_difficulty: Option<Option<Difficulty>>,
    /// `subscribe-extranonce`.
    pub subscribe_extranonce: bool,
    /// `info`.
    pub info: bool,
    /// Names of unknown extensions (at most 8, each of the charset [A-Za-z0-9._-]{1,32}), answered false.
    pub unknown: Vec<String>,
}

/// Parameters of `version-rolling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRolling {
    /// Mask asked for.
    pub mask: u32,
    /// Least bits wanted.
    pub min_bits: u32,
}

/// `mining.submit`.
#[derive(Debug, PartialEq)]
pub struct Submit<'a> {
    /// Worker name as sent (unescaped).
    pub worker: Cow<'a, str>,
    /// Our job id; `None`: not 1..=8 hex digits, so surely unknown.
    pub job: Option<u32>,
    /// Extranonce2, zeros behind `en2_len`; all zero if more than 8 bytes were sent, which no layout takes.
    pub en2: [u8; 8],
    /// Length in bytes of what was sent (255 for more), so that a wrong one can be refused as such.
    pub en2_len: u8,
    /// ntime.
    pub ntime: u32,
    /// nonce.
    pub nonce: u32,
    /// Version bits, sixth parameter; `None`: not given.
    pub version_bits: Option<u32>,
}

/// Unknown extensions that are answered; more are left out of the answer.
const MAX_UNKNOWN_EXTENSIONS: usize = 8;
/// Longest name of an unknown extension that is answered.
const MAX_EXTENSION_NAME: usize = 32;

/// Parses a line, the short way if it is an ordinary share.
///
/// # Errors
/// [`Malformed`] if it is no message at all. A message whose parameters are wrong is `Ok`, with the error inside.
pub fn parse(line: &[u8]) -> Result<Message<'_>, Malformed> {
    match fast::submit(line) {
        Some(message) => Ok(message),
        None => parse_slow(line),
    }
}

/// [`parse`] without the short way: the same for every line. For whoever wants to know what the short way saves.
///
/// # Errors
/// As [`parse`].
pub fn parse_slow(line: &[u8]) -> Result<Message<'_>, Malformed> {
    let envelope = Envelope::read(line)?;
    let id = envelope.id();
    let params = &envelope.params;
    let Some(method) = envelope.method() else {
        // Bitaxe and others answer what we never asked, some with `"method":null`.
        if envelope.result.is_none() && envelope.error.is_none() {
            return Err(Malformed::NoMethod);
        }
        let request = Ok(Request::Pong);
        return Ok(Message {
            id,
            request,
            is_submit: false,
        });
    };
    let request = match &*method {
        "mining.submit" => submit(params).map(Request::Submit),
        "mining.subscribe" => Ok(subscribe(params)),
        "mining.authorize" => authorize(params),
        "mining.configure" => configure(params).map(Request::Configure),
        "mining.extranonce.subscribe" => Ok(Request::ExtranonceSubscribe),
        "mining.suggest_difficulty" => suggest_difficulty(params),
        "mining.suggest_target" => suggest_target(params),
        "mining.ping" | "ping" => Ok(Request::Ping),
        "mining.pong" | "pong" => Ok(Request::Pong),
        _ => Ok(Request::Unknown),
    };
    let is_submit = method == "mining.submit";
    Ok(Message {
        id,
        request,
        is_submit,
    })
}

fn submit<'a>(params: &Params<'a>) -> Result<Submit<'a>, InvalidParams> {
    let [worker, job, en2, ntime, nonce, more @ ..] = params.as_slice() else {
        return Err(InvalidParams("submit takes five or six parameters"));
    };
    let worker = json::scalar(worker).ok_or(InvalidParams("worker name"))?;
    let job = json::string(job).and_then(|job| hex::u32_short(job.as_bytes()));
    let (en2, en2_len) = extranonce2(en2).ok_or(InvalidParams("extranonce2"))?;
    Ok(Submit {
        worker,
        job,
        en2,
        en2_len,
        ntime: word(ntime).ok_or(InvalidParams("ntime"))?,
        nonce: word(nonce).ok_or(InvalidParams("nonce"))?,
        version_bits: version_bits(more.first().copied())?,
    })
}

/// Bytes and their number; even-length hex of any length.
fn extranonce2(raw: &str) -> Option<([u8; 8], u8)> {
    let digits = json::string(raw)?;
    let digits = digits.as_bytes();
    let length = digits.len() / 2;
    let mut bytes = [0; 8];
    let good = match bytes.get_mut(..length) {
        Some(bytes) => hex::decode_into(digits, bytes),
        None => digits.len().is_multiple_of(2) && hex::is_hex(digits),
    };
    good.then(|| (bytes, u8::try_from(length).unwrap_or(u8::MAX)))
}

/// Exactly eight hex digits.
fn word(raw: &str) -> Option<u32> {
    hex::u32_exact(json::string(raw)?.as_bytes())
}

/// The sixth parameter of BIP 310; null and the empty string count as not given, leading zeros may be missing.
fn version_bits(raw: Option<&str>) -> Result<Option<u32>, InvalidParams> {
    match raw {
        None | Some("null" | "\"\"") => Ok(None),
        Some(raw) => json::string(raw)
            .and_then(|bits| hex::u32_short(bits.as_bytes()))
            .map(Some)
            .ok_or(InvalidParams("version bits")),
    }
}

fn subscribe<'a>(params: &Params<'a>) -> Request<'a> {
    Request::Subscribe {
        agent: params.at(0).and_then(json::string),
        session: params.at(1).and_then(json::string),
    }
}

/// An empty or numeric user is taken as it is: firmware with an empty form field still wants to mine.
fn authorize<'a>(params: &Params<'a>) -> Result<Request<'a>, InvalidParams> {
    let user = params.as_slice().first().ok_or(InvalidParams("no user"))?;
    Ok(Request::Authorize {
        user: json::scalar(user).ok_or(InvalidParams("user"))?,
        password: params.at(1).and_then(json::scalar),
    })
}

fn suggest_difficulty<'a>(params: &Params<'_>) -> Result<Request<'a>, InvalidParams> {
    params
        .at(0)
        .and_then(difficulty)
        .map(Request::SuggestDifficulty)
        .ok_or(InvalidParams("difficulty"))
}

fn suggest_target<'a>(params: &Params<'_>) -> Result<Request<'a>, InvalidParams> {
    params
        .at(0)
        .and_then(json::string)
        .filter(|digits| digits.len() == 64 && hex::is_hex(digits.as_bytes()))
        .and_then(|digits| Target::from_hex(digits.as_bytes()))
        .map(Request::SuggestTarget)
        .ok_or(InvalidParams("target"))
}

/// A number or a numeric string.
fn difficulty(raw: &str) -> Option<Difficulty> {
    json::number(raw).and_then(Difficulty::new)
}

/// BIP 310: `[[names], {"name.option": value}]`. The options may be missing.
fn configure(params: &Params<'_>) -> Result<Configure, InvalidParams> {
    let mut asked = Configure::default();
    let names = params.at(0).ok_or(InvalidParams("no extensions"))?;
    let is_array = json::each_element(names, |name| {
        if let Some(name) = json::string(name) {
            asked.ask(&name);
        }
    });
    if !is_array {
        return Err(InvalidParams("extensions"));
    }
    if let Some(options) = params.at(1) {
        json::each_member(options, |name, value| asked.option(name, value));
    }
    Ok(asked)
}

impl Configure {
    fn ask(&mut self, name: &str) {
        match name {
            "version-rolling" => {
                self.version_rolling = Some(VersionRolling {
                    mask: u32::MAX,
                    min_bits: 0,
                });
            }
            "minimum-difficulty" => self.minimum_difficulty = Some(None),
            "subscribe-extranonce" => self.subscribe_extranonce = true,
            "info" => self.info = true,
            _ => self.ask_unknown(name),
        }
    }

    fn ask_unknown(&mut self, name: &str) {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.unknown.len() < MAX_UNKNOWN_EXTENSIONS
            && (1..=MAX_EXTENSION_NAME).contains(&name.len())
            && name.bytes().all(good)
            // It would be the same key twice, or one of ours answered twice.
            && !self.unknown.iter().any(|known| known == name)
            && name != "version-rolling.mask"
        {
            self.unknown.push(name.to_owned());
        }
    }

    /// Options of what was not asked for are ignored.
    fn option(&mut self, name: &str, value: &str) {
        match name {
            "version-rolling.mask" => {
                if let Some(rolling) = &mut self.version_rolling {
                    // Unreadable: no bit is safe to grant.
                    rolling.mask = mask(value).unwrap_or(0);
                }
            }
            "version-rolling.min-bit-count" => {
                if let Some(rolling) = &mut self.version_rolling {
                    rolling.min_bits = bit_count(value);
                }
            }
            "minimum-difficulty.value" => {
                if let Some(minimum) = &mut self.minimum_difficulty {
                    *minimum = difficulty(value);
                }
            }
            _ => {}
        }
    }
}

/// A number, also as text; SRI writes eight hex digits. Unreadable: 0, for it is only a wish.
fn bit_count(raw: &str) -> u32 {
    match json::string(raw) {
        Some(digits) if digits.len() == 8 => hex::u32_exact(digits.as_bytes()).unwrap_or(0),
        _ => u32::try_from(json::unsigned(raw).unwrap_or(0)).unwrap_or(u32::MAX),
    }
}

/// A mask as hex digits (firmware also sends a `0x`), or as a number.
fn mask(raw: &str) -> Option<u32> {
    match json::string(raw) {
        Some(digits) => hex::u32_short(digits.strip_prefix("0x").unwrap_or(&digits).as_bytes()),
        None => raw.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
