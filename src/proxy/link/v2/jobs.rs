//! Jobs of a V2 pool: what is to be mined now, what is kept for the next block, and under which terms.
//!
//! Not work: that is made by `workshop`. Invariant: a job keeps the extranonce prefix it came under; its target is the one in
//! force when it becomes active (spec 5.3.10, 5.3.21).
//!
//! | a job with | is | previous block, nbits | begins at |
//! |---|---|---|---|
//! | min_ntime | to be mined now | of the last SetNewPrevHash | the later of the two min_ntime |
//! | none | kept until a SetNewPrevHash names it | of that | its min_ntime |

use super::super::job::{Bound, Extranonce, Job};
use super::super::{Event, Link, Output};
use super::open::Stage;
use crate::stratum::v2::message::{
    NewExtendedMiningJob, SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash, SetTarget,
};
use crate::work::{MAX_BRANCHES, MAX_COINBASE};
use std::time::Instant;

/// Future jobs kept, newest first to stay: SRI's pool has one or two ahead. With [`MAX_COINBASE`] that is 0.5 MiB at most.
const FUTURES: usize = 16;

/// The block that is built upon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tip {
    prev_hash: [u8; 32],
    nbits: u32,
    min_ntime: u32,
}

/// A job that waits for its SetNewPrevHash; what it lacks of [`Job`] comes with that.
#[derive(Debug)]
pub(super) struct Future {
    id: u32,
    job: Job,
    extranonce: Extranonce,
    rolling: bool,
}

impl Link {
    pub(super) fn new_job(&mut self, now: Instant, told: &NewExtendedMiningJob<'_>) {
        if !self.channel.reaches_us(told.channel_id) {
            return;
        }
        let Some(extranonce) = self.channel.extranonce.clone() else {
            return;
        };
        let future = match decode(told) {
            Ok(job) => Future {
                id: told.job_id,
                job,
                extranonce,
                rolling: told.version_rolling_allowed,
            },
            Err(why) => return self.bad_notify(now, why),
        };
        match (told.min_ntime, self.channel.tip) {
            (None, _) => self.keep(future),
            (Some(_), None) => self.bad_notify(now, "a job to be mined before any previous block"),
            (Some(ntime), Some(tip)) => {
                let ntime = ntime.max(tip.min_ntime);
                let tip = Tip {
                    min_ntime: ntime,
                    ..tip
                };
                self.activate(now, future, tip);
            }
        }
    }

    fn keep(&mut self, future: Future) {
        let futures = &mut self.channel.futures;
        futures.retain(|kept| kept.id != future.id);
        if futures.len() == FUTURES {
            futures.pop_front();
        }
        futures.push_back(future);
    }

    pub(super) fn new_prev_hash(&mut self, now: Instant, told: &SetNewPrevHash) {
        if !self.channel.reaches_us(told.channel_id) {
            return;
        }
        let tip = Tip {
            prev_hash: told.prev_hash,
            nbits: told.nbits,
            min_ntime: told.min_ntime,
        };
        self.channel.tip = Some(tip);
        // Only the job it names is valid now: neither those that wait nor what is found on older work (spec 5.3.17).
        self.valid_from = self.workshop.next_id();
        self.channel.idle_since = Some(now);
        let futures = std::mem::take(&mut self.channel.futures);
        match futures.into_iter().find(|kept| kept.id == told.job_id) {
            Some(future) => self.activate(now, future, tip),
            None => {
                // Miners are kept on the old work for want of better; the next job ends that, or `FIRST_JOB` does.
                self.job = None;
                self.bad_notify(now, "a previous block for a job that we do not have");
            }
        }
    }

    /// Clean if nothing older may be mined on, so also at the first job after a previous block that came without one.
    fn activate(&mut self, now: Instant, future: Future, tip: Tip) {
        let current = self.workshop.current();
        let clean = current.is_none_or(|current| current.id < self.valid_from);
        self.version_mask = Some(self.mask(future.rolling));
        self.extranonce = Some(future.extranonce);
        self.job_bound = self.bound;
        self.job = Some(Job {
            prev_hash: tip.prev_hash,
            nbits: tip.nbits,
            ntime: tip.min_ntime,
            ..future.job
        });
        self.issue(now, clean);
        let current = self.workshop.current();
        if current.is_some_and(|current| current.id >= self.valid_from) {
            self.channel.idle_since = None;
        }
    }

    /// For jobs to come and those kept, not for the one that is mined.
    pub(super) fn set_target(&mut self, now: Instant, told: &SetTarget) {
        if !self.channel.reaches_us(told.channel_id) {
            return;
        }
        match Bound::of_target(&told.maximum_target) {
            Some(bound) => self.set_bound(bound),
            None => self.bad_notify(now, "a target of zero"),
        }
    }

    /// For jobs to come; those that are here keep theirs. Never for a group.
    pub(super) fn set_extranonce_prefix(&mut self, told: &SetExtranoncePrefix<'_>) {
        if !self.channel.is_ours(told.channel_id) {
            return;
        }
        let Some(extranonce) = &mut self.channel.extranonce else {
            return;
        };
        if extranonce.prefix != told.extranonce_prefix {
            extranonce.prefix = told.extranonce_prefix.to_vec();
            self.outputs.push_back(Output::Event(Event::Extranonce));
        }
    }

    /// A group cannot be the channel itself (spec 5.3.22).
    pub(super) fn set_group(&mut self, told: &SetGroupChannel<'_>) {
        if let Stage::Open { channel, group } = &mut self.channel.stage
            && told.group_channel_id != *channel
            && told.channel_ids.iter().any(|id| id == *channel)
        {
            *group = told.group_channel_id;
        }
    }
}

/// Within the limits of work, so that what is kept is bounded; the previous block is not known yet.
fn decode(told: &NewExtendedMiningJob<'_>) -> Result<Job, &'static str> {
    let (prefix, suffix) = (told.coinbase_tx_prefix, told.coinbase_tx_suffix);
    if prefix.len() + suffix.len() > MAX_COINBASE {
        return Err("coinbase above 32 KiB");
    }
    if told.merkle_path.len() > MAX_BRANCHES {
        return Err("more than 32 branches");
    }
    if has_witness(prefix) {
        return Err("a coinbase with its witness, which must be stripped");
    }
    Ok(Job {
        id: told.job_id.to_string().into(),
        prev_hash: [0; 32],
        coinbase_prefix: prefix.to_vec(),
        coinbase_suffix: suffix.to_vec(),
        branch: told.merkle_path.to_vec(),
        version: told.version,
        nbits: 0,
        ntime: 0,
    })
}

/// Marker and flag of BIP 141 after the version: hashed so, every share would be refused.
fn has_witness(coinbase_prefix: &[u8]) -> bool {
    matches!(coinbase_prefix, [_, _, _, _, 0, flag, ..] if *flag != 0)
}
