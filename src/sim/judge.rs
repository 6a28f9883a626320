//! The simulated pool's verdict on a share, from the raw bytes and nothing else.
//!
//! Invariant: `judge` depends on the job and on the terms told to this connection with it, never on what the
//! submitter says about the share. Duplicates and staleness are the pool's memory (poolcore.rs).

use super::wire::{self, Bound, Job, hex_u32, unhex};
use serde_json::Value;

/// What a connection was told when the job was sent to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Terms {
    /// Extranonce1 in force.
    pub en1: Vec<u8>,
    /// Extranonce2 length, bytes.
    pub en2_size: usize,
    /// Difficulty of its shares.
    pub difficulty: f64,
    /// Version bits it may roll.
    pub mask: u32,
}

/// Why a share was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// Job unknown or of an older block.
    Stale,
    /// Same hash on the same block before, from whomever.
    Duplicate,
    /// Above the bound.
    LowDifficulty,
    /// Version bits outside the mask.
    VersionBits,
    /// Extranonce2 of the wrong length.
    Extranonce2,
    /// Block time out of range.
    Ntime,
    /// Parameters that make no sense.
    Malformed,
    /// Worker not authorized on this connection.
    Unauthorized,
    /// Not subscribed.
    Unsubscribed,
    /// Good, and refused because the pool was told to refuse some.
    OnPurpose,
}

/// A share as submitted, parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submit<'a> {
    /// Worker name.
    pub user: &'a str,
    /// Job id.
    pub job_id: &'a str,
    /// Extranonce2 bytes.
    pub en2: Vec<u8>,
    /// Block time.
    pub ntime: u32,
    /// Nonce.
    pub nonce: u32,
    /// Sixth parameter; 0 when missing.
    pub version_bits: u32,
}

impl<'a> Submit<'a> {
    /// Parses the parameters of `mining.submit`.
    pub fn from_params(params: &'a Value) -> Option<Self> {
        let text = |i: usize| params.get(i).and_then(Value::as_str);
        Some(Self {
            user: text(0)?,
            job_id: text(1)?,
            en2: unhex(text(2)?)?,
            ntime: hex_u32(text(3)?)?,
            nonce: hex_u32(text(4)?)?,
            version_bits: match params.get(5) {
                Some(bits) => hex_u32(bits.as_str()?)?,
                None => 0,
            },
        })
    }
}

/// A share that is good in itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Good {
    /// Its hash.
    pub hash: [u8; 32],
    /// Difficulty-weighted hashes it is worth.
    pub weight: u128,
    /// Whether it meets the network's bound.
    pub block: bool,
}

/// ntime may run ahead of the job's by this much (STRATUM.md 1).
const NTIME_AHEAD_S: u32 = 7000;

/// Judges a share. `mask_now`: the connection's mask at this moment, which counts at once; the mask at the time of the
/// job is accepted too, for shares that were on their way.
pub fn judge(job: &Job, terms: &Terms, mask_now: u32, submit: &Submit<'_>) -> Result<Good, Reason> {
    if submit.en2.len() != terms.en2_size {
        return Err(Reason::Extranonce2);
    }
    let masks = [mask_now, terms.mask];
    let fits = |mask: &&u32| submit.version_bits & !**mask == 0;
    let mask = *masks.iter().find(fits).ok_or(Reason::VersionBits)?;
    if !(job.ntime..=job.ntime.saturating_add(NTIME_AHEAD_S)).contains(&submit.ntime) {
        return Err(Reason::Ntime);
    }
    let version = (job.version & !mask) | submit.version_bits;
    let root = job.merkle_root(&terms.en1, &submit.en2);
    let hash = wire::sha256d(&job.header(root, version, submit.ntime, submit.nonce));
    let block = Bound::of_nbits(job.nbits).is_some_and(|bound| bound.holds(&hash));
    let bound = Bound::of_difficulty(terms.difficulty).ok_or(Reason::LowDifficulty)?;
    if !bound.holds(&hash) && !block {
        return Err(Reason::LowDifficulty);
    }
    let weight = wire::hashes(terms.difficulty);
    Ok(Good {
        hash,
        weight,
        block,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{
        search::{Found, Search},
        template::Template,
    };

    const MASK: u32 = 0x1fff_e000;

    fn mined() -> (Job, Terms, Submit<'static>) {
        let job = Template::new(3, 0x1703_4219, 12).job(1, 1_700_000_000, true);
        let terms = Terms {
            en1: vec![1, 2, 3, 4],
            en2_size: 8,
            difficulty: 2f64.powi(-24),
            mask: MASK,
        };
        let start = Found {
            job_seq: 1,
            en2: vec![0; 8],
            ntime: job.ntime,
            nonce: 0,
            version_bits: 0x2000,
        };
        let bound = Bound::of_difficulty(terms.difficulty).unwrap();
        let found = Search::new(&job, &terms.en1, bound, MASK, start)
            .run(1 << 20)
            .unwrap();
        let submit = Submit {
            user: "u",
            job_id: "1",
            en2: found.en2,
            ntime: found.ntime,
            nonce: found.nonce,
            version_bits: found.version_bits,
        };
        (job, terms, submit)
    }

    #[test]
    fn a_mined_share_is_good_and_worth_its_difficulty() {
        let (job, terms, submit) = mined();
        let good = judge(&job, &terms, MASK, &submit).unwrap();
        assert_eq!((good.weight, good.block), (256, false));
    }

    #[test]
    fn a_share_is_low_at_a_higher_difficulty_and_without_its_version_bits() {
        let (job, terms, submit) = mined();
        let hard = Terms {
            difficulty: 1.0,
            ..terms.clone()
        };
        assert_eq!(
            judge(&job, &hard, MASK, &submit),
            Err(Reason::LowDifficulty)
        );
        let stripped = Submit {
            version_bits: 0,
            ..submit
        };
        assert_eq!(
            judge(&job, &terms, MASK, &stripped),
            Err(Reason::LowDifficulty)
        );
    }

    #[test]
    fn ranges_are_checked_on_both_sides() {
        let (job, terms, submit) = mined();
        for (ntime, refused) in [(job.ntime - 1, true), (job.ntime + 7001, true)] {
            let at = Submit {
                ntime,
                ..submit.clone()
            };
            assert_eq!(
                judge(&job, &terms, MASK, &at) == Err(Reason::Ntime),
                refused
            );
        }
        let last = Submit {
            ntime: job.ntime + 7000,
            ..submit.clone()
        };
        assert_ne!(judge(&job, &terms, MASK, &last), Err(Reason::Ntime));
        let short = Submit {
            en2: vec![0; 7],
            ..submit.clone()
        };
        assert_eq!(judge(&job, &terms, MASK, &short), Err(Reason::Extranonce2));
        let narrow = Terms {
            mask: 0x4000,
            ..terms
        };
        assert_eq!(judge(&job, &narrow, 0, &submit), Err(Reason::VersionBits));
    }
}
