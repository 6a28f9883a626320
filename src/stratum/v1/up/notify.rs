//! Reads `mining.notify`. Not whether the work makes sense, only whether it is within limits.
//!
//! Invariant: a [`Notify`] holds at most [`MAX_COINBASE`] bytes of coinbase and [`MAX_BRANCHES`] branches.

use super::super::json::Params;
use super::{Notify, hex, json};
use crate::work::{MAX_BRANCHES, MAX_COINBASE};

/// Longest job id that is taken; the longest seen has 16 characters.
const MAX_JOB: usize = 64;

/// The nine parameters decoded, or what is wrong with them.
pub(super) fn read(params: &Params<'_>) -> Result<Notify, &'static str> {
    let [
        job,
        prev_hash,
        coinb1,
        coinb2,
        branch,
        version,
        nbits,
        ntime,
        clean,
    ] = params.as_slice()
    else {
        return Err("not nine parameters");
    };
    let coinb1 = coinbase(coinb1, 0)?;
    let coinb2 = coinbase(coinb2, coinb1.len())?;
    Ok(Notify {
        job: job_id(job).ok_or("job id")?,
        prev_hash: read_prev_hash(prev_hash).ok_or("previous hash")?,
        coinb1,
        coinb2,
        branch: read_branch(branch)?,
        version: word(version).ok_or("version")?,
        nbits: word(nbits).ok_or("nbits")?,
        ntime: word(ntime).ok_or("ntime")?,
        clean: flag(clean).ok_or("clean flag")?,
    })
}

/// Hex of 16 digits (ckpool, DATUM), decimals (btcpool, also as bare numbers), anything short that needs no escape.
fn job_id(raw: &str) -> Option<String> {
    let job = match raw.as_bytes().first()? {
        b'"' => json::string(raw)?,
        b'0'..=b'9' => raw.into(),
        _ => return None,
    };
    let plain = job
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    (plain && (1..=MAX_JOB).contains(&job.len())).then(|| job.into_owned())
}

/// V1 sends eight 4-byte words, each reversed against the header.
fn read_prev_hash(raw: &str) -> Option<[u8; 32]> {
    let mut hash = digest(raw)?;
    let (words, _) = hash.as_chunks_mut::<4>();
    for word in words {
        word.reverse();
    }
    Some(hash)
}

fn coinbase(raw: &str, already: usize) -> Result<Vec<u8>, &'static str> {
    let digits = json::string(raw).ok_or("coinbase is not a string")?;
    if already + digits.len() / 2 > MAX_COINBASE {
        return Err("coinbase above 32 KiB");
    }
    hex::decode(digits.as_bytes(), MAX_COINBASE).ok_or("coinbase is not hex")
}

fn read_branch(raw: &str) -> Result<Vec<[u8; 32]>, &'static str> {
    let mut branch = Vec::new();
    let mut wrong = None;
    let is_array = json::each_element(raw, |node| match digest(node) {
        _ if branch.len() == MAX_BRANCHES => wrong = Some("more than 32 branches"),
        Some(node) => branch.push(node),
        None => wrong = Some("a branch is not 64 hex digits"),
    });
    match wrong {
        Some(wrong) => Err(wrong),
        None if !is_array => Err("branches are not an array"),
        None => Ok(branch),
    }
}

fn digest(raw: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_into(json::string(raw)?.as_bytes(), &mut bytes).then_some(bytes)
}

fn word(raw: &str) -> Option<u32> {
    hex::u32_exact(json::string(raw)?.as_bytes())
}

/// A boolean, or the 0 and 1 of pools written in C.
fn flag(raw: &str) -> Option<bool> {
    match raw {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
