//! How pools word their answers.
//!
//! Invariant: every dialect says yes as `result: true`; they differ in how they say no.

use super::judge::Reason;
use serde_json::{Value, json};

/// A pool's way of refusing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// `[code, "text", null]` with a null result.
    #[default]
    Standard,
    /// `result: false`, no error, a `reject-reason` beside it.
    Ckpool,
    /// Codes 26-38.
    Btcpool,
    /// Its own words under code 20.
    Datum,
    /// No error member at all.
    Mute,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Standard,
        Self::Ckpool,
        Self::Btcpool,
        Self::Datum,
        Self::Mute,
    ];

    /// As the command line writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Ckpool => "ckpool",
            Self::Btcpool => "btcpool",
            Self::Datum => "datum",
            Self::Mute => "mute",
        }
    }

    /// The reply that refuses.
    pub fn refusal(self, id: &Value, reason: Reason) -> Value {
        let (code, text) = reason.standard();
        match self {
            Self::Standard => json!({"id": id, "result": null, "error": [code, text, null]}),
            Self::Ckpool => {
                let words = reason.ckpool();
                json!({"id": id, "result": false, "error": null, "reject-reason": words})
            }
            Self::Btcpool => {
                json!({"id": id, "result": null, "error": [reason.btcpool(), text, null]})
            }
            Self::Datum => {
                json!({"id": id, "result": false, "error": [20, reason.ckpool().to_lowercase(), null]})
            }
            Self::Mute => json!({"id": id, "result": false}),
        }
    }
}

impl Reason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 10] = [
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::VersionBits,
        Self::Extranonce2,
        Self::Ntime,
        Self::Malformed,
        Self::Unauthorized,
        Self::Unsubscribed,
        Self::OnPurpose,
    ];

    /// Code and text of the common dialect.
    pub fn standard(self) -> (i64, &'static str) {
        match self {
            Self::Stale => (21, "Job not found"),
            Self::Duplicate => (22, "Duplicate share"),
            Self::LowDifficulty => (23, "Low difficulty share"),
            Self::VersionBits => (20, "Illegal version mask"),
            Self::Extranonce2 => (20, "Invalid extranonce2 size"),
            Self::Ntime => (20, "Ntime out of range"),
            Self::Malformed => (20, "Invalid parameters"),
            Self::Unauthorized => (24, "Unauthorized worker"),
            Self::Unsubscribed => (25, "Not subscribed"),
            Self::OnPurpose => (20, "Other/Unknown"),
        }
    }

    /// As counters and JSON name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::VersionBits => "version_bits",
            Self::Extranonce2 => "extranonce2",
            Self::Ntime => "ntime",
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::Unsubscribed => "unsubscribed",
            Self::OnPurpose => "on_purpose",
        }
    }

    fn ckpool(self) -> &'static str {
        match self {
            Self::Stale => "Stale",
            Self::Duplicate => "Duplicate",
            Self::LowDifficulty => "Above target",
            Self::VersionBits => "Invalid version mask",
            Self::Extranonce2 => "Invalid nonce2 length",
            Self::Ntime => "Ntime out of range",
            Self::Malformed => "Invalid array size",
            Self::Unauthorized | Self::Unsubscribed => "Worker mismatch",
            Self::OnPurpose => "Unknown",
        }
    }

    fn btcpool(self) -> i64 {
        match self {
            Self::VersionBits => 33,
            Self::Extranonce2 | Self::Malformed => 27,
            Self::Ntime => 31,
            Self::OnPurpose => 30,
            other => other.standard().0,
        }
    }
}
