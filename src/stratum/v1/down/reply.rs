//! Our answers to a miner, appended to `out`, each ends with `\n`. No formatting machinery on the path of a share.
//!
//! Invariant: one call appends exactly one line, whose `id` is the request's.

use super::super::{hex, message};
use super::{Configure, Id};
use crate::work::{Lane, Layout};

/// `{"id":ID,"result":true,"error":null}`
pub fn accepted(out: &mut Vec<u8>, id: Id<'_>) {
    result(out, id, b"true");
}

/// `result` false, no error (extranonce.subscribe refused, unknown things that want a boolean).
pub fn denied(out: &mut Vec<u8>, id: Id<'_>) {
    result(out, id, b"false");
}

/// `result` null, `error` `[code, text, null]`.
pub fn error(out: &mut Vec<u8>, id: Id<'_>, code: i32, text: &str) {
    begin(out, id);
    out.extend_from_slice(b"null,\"error\":[");
    message::push_i32(out, code);
    out.push(b',');
    message::push_string(out, text);
    out.extend_from_slice(b",null]}\n");
}

/// `result` "pong".
pub fn pong(out: &mut Vec<u8>, id: Id<'_>) {
    result(out, id, b"\"pong\"");
}

/// Subscribe: `[[["mining.set_difficulty",S],["mining.notify",S]], extranonce1, size]` with the session id S.
pub fn subscribed(out: &mut Vec<u8>, id: Id<'_>, session: &str, lane: Lane, layout: Layout) {
    begin(out, id);
    out.extend_from_slice(b"[[[\"mining.set_difficulty\",");
    message::push_string(out, session);
    out.extend_from_slice(b"],[\"mining.notify\",");
    message::push_string(out, session);
    out.extend_from_slice(b"]],\"");
    hex::push(out, &lane.bytes(layout)[..usize::from(layout.lane)]);
    out.extend_from_slice(b"\",");
    message::push_u64(out, u64::from(layout.rolled));
    out.push(b']');
    end(out);
}

/// Configure: only the keys asked for (WhatsMiner asks again for ever otherwise). `granted_mask` None: version-rolling refused.
pub fn configured(out: &mut Vec<u8>, id: Id<'_>, asked: &Configure, granted_mask: Option<u32>) {
    begin(out, id);
    out.push(b'{');
    let first = out.len();
    if asked.version_rolling.is_some() {
        flag(out, first, "version-rolling", granted_mask.is_some());
        if let Some(mask) = granted_mask {
            out.extend_from_slice(b",\"version-rolling.mask\":\"");
            hex::push_u32(out, mask);
            out.push(b'"');
        }
    }
    if let Some(minimum) = asked.minimum_difficulty {
        flag(out, first, "minimum-difficulty", minimum.is_some());
    }
    if asked.subscribe_extranonce {
        flag(out, first, "subscribe-extranonce", true);
    }
    if asked.info {
        flag(out, first, "info", true);
    }
    for name in &asked.unknown {
        flag(out, first, name, false);
    }
    out.push(b'}');
    end(out);
}

/// One member of the configure result, with a comma unless it is the first.
fn flag(out: &mut Vec<u8>, first: usize, name: &str, granted: bool) {
    if out.len() > first {
        out.push(b',');
    }
    message::push_string(out, name);
    out.extend_from_slice(if granted { b":true" } else { b":false" });
}

fn result(out: &mut Vec<u8>, id: Id<'_>, raw: &[u8]) {
    begin(out, id);
    out.extend_from_slice(raw);
    end(out);
}

fn begin(out: &mut Vec<u8>, id: Id<'_>) {
    // A verdict whole: growing three times costs more than writing it.
    out.reserve(64);
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.0.as_bytes());
    out.extend_from_slice(b",\"result\":");
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"error\":null}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stratum::v1::down::VersionRolling;
    use crate::work::Difficulty;

    #[test]
    fn a_verdict_is_one_line_with_the_miners_id() {
        assert_eq!(
            written(|out| accepted(out, Id("7"))),
            "{\"id\":7,\"result\":true,\"error\":null}\n"
        );
        assert_eq!(
            written(|out| denied(out, Id("\"x\""))),
            "{\"id\":\"x\",\"result\":false,\"error\":null}\n"
        );
        assert_eq!(
            written(|out| pong(out, Id("null"))),
            "{\"id\":null,\"result\":\"pong\",\"error\":null}\n"
        );
        assert_eq!(
            written(|out| error(out, Id("7"), 23, "low \"difficulty\"")),
            "{\"id\":7,\"result\":null,\"error\":[23,\"low \\\"difficulty\\\"\",null]}\n"
        );
        assert_eq!(
            written(|out| error(out, Id("7"), -3, "method not found")),
            "{\"id\":7,\"result\":null,\"error\":[-3,\"method not found\",null]}\n"
        );
    }

    #[test]
    fn only_what_was_asked_for_is_answered() {
        assert_eq!(
            written(|out| configured(out, Id("1"), &Configure::default(), Some(0x1fff_e000))),
            "{\"id\":1,\"result\":{},\"error\":null}\n"
        );
        let rolling = Configure {
            version_rolling: Some(VersionRolling {
                mask: u32::MAX,
                min_bits: 2,
            }),
            ..Configure::default()
        };
        assert_eq!(
            written(|out| configured(out, Id("1"), &rolling, Some(0x1fff_e000))),
            "{\"id\":1,\"result\":{\"version-rolling\":true,\"version-rolling.mask\":\"1fffe000\"},\"error\":null}\n"
        );
        assert_eq!(
            written(|out| configured(out, Id("1"), &rolling, None)),
            "{\"id\":1,\"result\":{\"version-rolling\":false},\"error\":null}\n"
        );
    }

    #[test]
    fn every_extension_asked_for_is_answered() {
        let all = Configure {
            version_rolling: None,
            minimum_difficulty: Some(Some(Difficulty::ONE)),
            subscribe_extranonce: true,
            info: true,
            unknown: vec!["x-y".to_owned()],
        };
        assert_eq!(
            written(|out| configured(out, Id("1"), &all, None)),
            "{\"id\":1,\"result\":{\"minimum-difficulty\":true,\"subscribe-extranonce\":true,\"info\":true,\"x-y\":false},\"error\":null}\n"
        );
        let unusable = Configure {
            minimum_difficulty: Some(None),
            ..Configure::default()
        };
        assert_eq!(
            written(|out| configured(out, Id("1"), &unusable, None)),
            "{\"id\":1,\"result\":{\"minimum-difficulty\":false},\"error\":null}\n"
        );
    }

    #[test]
    fn a_subscribe_tells_the_lane_and_what_is_left_to_roll() {
        let layout = Layout { lane: 3, rolled: 4 };
        let line = written(|out| subscribed(out, Id("1"), "5e55", Lane(0x0a_0b0c), layout));
        assert_eq!(
            line,
            "{\"id\":1,\"result\":[[[\"mining.set_difficulty\",\"5e55\"],[\"mining.notify\",\"5e55\"]],\"0a0b0c\",4],\"error\":null}\n"
        );
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }
}
