//! Our requests to a pool and our answers to its questions, appended to `out`, each ends with `\n`.
//!
//! Invariant: one call appends exactly one line of valid JSON, whatever the texts given are.

use super::super::message::{Id, push_f64, push_string, push_u64};
use super::hex;
use crate::work::Difficulty;

/// `mining.configure` asking for version rolling under `mask`.
pub fn configure(out: &mut Vec<u8>, id: u64, mask: u32) {
    begin(out, id, "mining.configure");
    out.extend_from_slice(b"[\"version-rolling\"],{\"version-rolling.mask\":\"");
    hex::push_u32(out, mask);
    // What cgminer asks for, lest a pool looks at it; we use whatever is granted.
    out.extend_from_slice(b"\",\"version-rolling.min-bit-count\":");
    push_u64(out, u64::from(mask.count_ones().min(2)));
    out.push(b'}');
    end(out);
}

/// `mining.subscribe`.
pub fn subscribe(out: &mut Vec<u8>, id: u64, agent: &str) {
    begin(out, id, "mining.subscribe");
    push_string(out, agent);
    end(out);
}

/// `mining.authorize`; JSON-escaped.
pub fn authorize(out: &mut Vec<u8>, id: u64, user: &str, password: &str) {
    begin(out, id, "mining.authorize");
    push_string(out, user);
    out.push(b',');
    push_string(out, password);
    end(out);
}

/// `mining.extranonce.subscribe`.
pub fn extranonce_subscribe(out: &mut Vec<u8>, id: u64) {
    begin(out, id, "mining.extranonce.subscribe");
    end(out);
}

/// `mining.suggest_difficulty`.
pub fn suggest_difficulty(out: &mut Vec<u8>, id: u64, difficulty: Difficulty) {
    begin(out, id, "mining.suggest_difficulty");
    push_f64(out, difficulty.value());
    end(out);
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
pub fn submit(out: &mut Vec<u8>, id: u64, share: &Submit<'_>) {
    begin(out, id, "mining.submit");
    push_string(out, share.user);
    out.push(b',');
    push_string(out, share.job);
    out.extend_from_slice(b",\"");
    hex::push(out, share.en2);
    out.extend_from_slice(b"\",\"");
    hex::push_u32(out, share.ntime);
    out.extend_from_slice(b"\",\"");
    hex::push_u32(out, share.nonce);
    if let Some(bits) = share.version_bits {
        out.extend_from_slice(b"\",\"");
        hex::push_u32(out, bits);
    }
    out.push(b'"');
    end(out);
}

/// The answer to `client.get_version`.
pub fn version(out: &mut Vec<u8>, id: Id<'_>, agent: &str) {
    answer(out, id, agent);
}

/// The answer to a pool's ping.
pub fn pong(out: &mut Vec<u8>, id: Id<'_>) {
    answer(out, id, "pong");
}

fn answer(out: &mut Vec<u8>, id: Id<'_>, text: &str) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.0.as_bytes());
    out.extend_from_slice(b",\"result\":");
    push_string(out, text);
    out.extend_from_slice(b",\"error\":null}\n");
}

fn begin(out: &mut Vec<u8>, id: u64, method: &str) {
    out.extend_from_slice(b"{\"id\":");
    push_u64(out, id);
    out.extend_from_slice(b",\"method\":\"");
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b"\",\"params\":[");
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stratum::v1::down;
    use proptest::prelude::*;

    #[test]
    fn requests_are_what_miners_send() {
        let mut out = Vec::new();
        configure(&mut out, 1, 0x1fff_e000);
        subscribe(&mut out, 2, "sluice/0.1");
        authorize(&mut out, 3, "a\"b\r\n", "x");
        extranonce_subscribe(&mut out, 4);
        suggest_difficulty(&mut out, 5, Difficulty::ONE);
        version(&mut out, Id("6"), "sluice/0.1");
        pong(&mut out, Id("7"));
        let expected = r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]}
{"id":2,"method":"mining.subscribe","params":["sluice/0.1"]}
{"id":3,"method":"mining.authorize","params":["a\"b\u000d\u000a","x"]}
{"id":4,"method":"mining.extranonce.subscribe","params":[]}
{"id":5,"method":"mining.suggest_difficulty","params":[1]}
{"id":6,"result":"sluice/0.1","error":null}
{"id":7,"result":"pong","error":null}
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn a_share_we_send_is_what_our_own_parser_of_miners_reads(
            user: String, job: u32, en2 in prop::collection::vec(any::<u8>(), 0..=12),
            id: u64, ntime: u32, nonce: u32, version_bits: Option<u32>,
        ) {
            let job_text = format!("{job:x}");
            let mut out = Vec::new();
            submit(&mut out, id, &Submit { user: &user, job: &job_text, en2: &en2, ntime, nonce, version_bits });
            let message = down::parse(out.trim_ascii_end()).unwrap();
            prop_assert_eq!(message.id.unwrap().0, id.to_string());
            let mut first = [0; 8];
            if let Some(slot) = first.get_mut(..en2.len()) {
                slot.copy_from_slice(&en2);
            }
            let expected = down::Submit {
                worker: user.into(), job: Some(job), en2: first, en2_len: en2.len() as u8, ntime, nonce, version_bits,
            };
            prop_assert_eq!(message.request.unwrap(), down::Request::Submit(expected));
        }
    }
}
