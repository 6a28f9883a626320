//! The simulated V2 pool's verdict on a share, from the raw bytes and nothing else.
//!
//! Invariant: it depends on the job and on the terms told to this channel with it, never on what the submitter says
//! about the share. Duplicates and staleness are the pool's memory (poolcore.rs).

use super::{
    super::{
        judge::{Good, Reason},
        wire::{Bound, Job, sha256d},
    },
    message::Submit,
    target,
};

/// What a channel was told when the job was sent to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Fixed part of its extranonce.
    pub prefix: Vec<u8>,
    /// Bytes it fills; 0 on a standard channel.
    pub extranonce_size: usize,
    /// Its target; `None` while the job is a future one, which takes the target in force when it becomes active (5.3.21).
    pub target: Option<Bound>,
}

/// Ranges that hold for every channel.
#[derive(Clone, Copy, Debug)]
pub struct Ranges {
    /// Version bits that may differ from the job's.
    pub mask: u32,
    /// Smallest and largest block time.
    pub ntime: (u32, u32),
}

/// Judges a share of an active job.
///
/// # Errors
/// With the reason to refuse it.
pub fn judge(job: &Job, terms: &Terms, ranges: Ranges, submit: &Submit) -> Result<Good, Reason> {
    let bound = terms.target.ok_or(Reason::Stale)?;
    if submit.extranonce.len() != terms.extranonce_size {
        return Err(Reason::Extranonce2);
    }
    if (submit.version ^ job.version) & !ranges.mask != 0 {
        return Err(Reason::VersionBits);
    }
    if !(ranges.ntime.0..=ranges.ntime.1).contains(&submit.ntime) {
        return Err(Reason::Ntime);
    }
    let root = job.merkle_root(&terms.prefix, &submit.extranonce);
    let hash = sha256d(&job.header(root, submit.version, submit.ntime, submit.nonce));
    let block = Bound::of_nbits(job.nbits).is_some_and(|bound| bound.holds(&hash));
    if !bound.holds(&hash) && !block {
        return Err(Reason::LowDifficulty);
    }
    Ok(Good {
        hash,
        weight: target::weight(&bound),
        block,
    })
}

/// The code that says so, as SRI words it.
pub fn code(reason: Reason) -> &'static str {
    match reason {
        Reason::Stale => "stale-share",
        Reason::Duplicate => "duplicate-share",
        Reason::LowDifficulty => "difficulty-too-low",
        Reason::VersionBits => "version-rolling-not-allowed",
        Reason::Extranonce2 => "bad-extranonce-size",
        Reason::Ntime => "invalid-timestamp",
        Reason::Malformed => "invalid-job-id",
        Reason::Unauthorized | Reason::Unsubscribed => "invalid-channel-id",
        Reason::OnPurpose => "invalid-share",
    }
}
