//! Between a miner and us: its requests parsed, our answers and notifications written.

use super::message::{Id, Malformed};
use crate::work::{Difficulty, Lane, Layout, Target, Work};
use std::borrow::Cow;

/// One line of a miner.
#[derive(Debug)]
pub struct Message<'a> {
    /// `None`: no id member, so no answer.
    pub id: Option<Id<'a>>,
    /// What it asks; `Err`: the method is known but its parameters are not right (answered with 20).
    pub request: Result<Request<'a>, InvalidParams>,
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
        agent: Option<Cow<'a, str>>,
        session: Option<Cow<'a, str>>,
    },
    /// `mining.authorize`.
    Authorize {
        user: Cow<'a, str>,
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
    /// Extranonce2: bytes and how many; `len` is what was sent (up to 255), so that a wrong length can be refused as such.
    pub en2: [u8; 8],
    /// Length in bytes of what was sent.
    pub en2_len: u8,
    /// ntime.
    pub ntime: u32,
    /// nonce.
    pub nonce: u32,
    /// Version bits, sixth parameter; `None`: not given.
    pub version_bits: Option<u32>,
}

/// Parses a line.
pub fn parse(_line: &[u8]) -> Result<Message<'_>, Malformed> {
    todo!()
}

/// Our answers, appended to `out`, each ends with `\n`. No formatting machinery on the path of a share.
pub mod reply {
    use super::*;
    /// `{"id":ID,"result":true,"error":null}`
    pub fn accepted(_out: &mut Vec<u8>, _id: Id<'_>) {
        todo!()
    }
    /// `result` false, no error (extranonce.subscribe refused, unknown things that want a boolean).
    pub fn denied(_out: &mut Vec<u8>, _id: Id<'_>) {
        todo!()
    }
    /// `result` null, `error` `[code, text, null]`.
    pub fn error(_out: &mut Vec<u8>, _id: Id<'_>, _code: i32, _text: &str) {
        todo!()
    }
    /// `result` "pong".
    pub fn pong(_out: &mut Vec<u8>, _id: Id<'_>) {
        todo!()
    }
    /// Subscribe: `[[["mining.set_difficulty",S],["mining.notify",S]], extranonce1, size]` with the session id S.
    pub fn subscribed(
        _out: &mut Vec<u8>,
        _id: Id<'_>,
        _session: &str,
        _lane: Lane,
        _layout: Layout,
    ) {
        todo!()
    }
    /// Configure: only the keys asked for. `granted_mask` None: version-rolling refused.
    pub fn configured(
        _out: &mut Vec<u8>,
        _id: Id<'_>,
        _asked: &Configure,
        _granted_mask: Option<u32>,
    ) {
        todo!()
    }
}

/// Our notifications.
pub mod notification {
    use super::*;
    /// `mining.set_difficulty`; shortest decimal that reads back equal.
    pub fn set_difficulty(_out: &mut Vec<u8>, _difficulty: Difficulty) {
        todo!()
    }
    /// `mining.set_version_mask`.
    pub fn set_version_mask(_out: &mut Vec<u8>, _mask: u32) {
        todo!()
    }
    /// `mining.notify`: the same bytes for every miner of a link, rendered twice per work.
    pub fn notify(_work: &Work, _clean: bool) -> Box<[u8]> {
        todo!()
    }
}
