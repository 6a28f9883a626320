//! Jobs of a V2 pool: what is to be mined now, what is kept for the next block, and under which terms; on each channel.
//!
//! Not work: that is made by `workshop`; nor what workers' own channels make of their jobs (`own`). Invariant: a job keeps the
//! extranonce prefix it came under; its target is the one in force when it becomes active (spec 5.3.10, 5.3.21).
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
use std::collections::VecDeque;
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
struct Future {
    id: u32,
    job: Job,
    extranonce: Extranonce,
    rolling: bool,
}

/// A job that is to be mined now.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) job: Job,
    pub(super) extranonce: Extranonce,
    /// Its version may be rolled.
    pub(super) rolling: bool,
}

/// What one channel was told of jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// As the pool has last said it: for jobs that come from now on.
    pub(super) extranonce: Option<Extranonce>,
    pub(super) tip: Option<Tip>,
    futures: VecDeque<Future>,
}

impl Jobs {
    /// Of a channel that was just given this extranonce.
    pub(super) fn under(extranonce: Extranonce) -> Self {
        Self {
            extranonce: Some(extranonce),
            ..Self::default()
        }
    }

    /// `None`: it is kept for its SetNewPrevHash, at most so many at once. `Err`: what is wrong with it.
    pub(super) fn new_job(
        &mut self,
        told: &NewExtendedMiningJob<'_>,
        job: Job,
        most: usize,
    ) -> Result<Option<Active>, &'static str> {
        let Some(extranonce) = self.extranonce.clone() else {
            return Ok(None);
        };
        let future = Future {
            id: told.job_id,
            job,
            extranonce,
            rolling: told.version_rolling_allowed,
        };
        match (told.min_ntime, self.tip) {
            (None, _) => {
                self.keep(future, most);
                Ok(None)
            }
            (Some(_), None) => Err("a job to be mined before any previous block"),
            (Some(ntime), Some(tip)) => {
                let min_ntime = ntime.max(tip.min_ntime);
                Ok(Some(future.on(Tip { min_ntime, ..tip })))
            }
        }
    }

    fn keep(&mut self, future: Future, most: usize) {
        let futures = &mut self.futures;
        futures.retain(|kept| kept.id != future.id);
        if futures.len() == most {
            futures.pop_front();
        }
        futures.push_back(future);
    }

    /// Only the job it names is valid then, not those that wait (spec 5.3.17). `None`: we do not have it.
    pub(super) fn new_prev_hash(&mut self, told: &SetNewPrevHash) -> Option<Active> {
        let tip = Tip {
            prev_hash: told.prev_hash,
            nbits: told.nbits,
            min_ntime: told.min_ntime,
        };
        self.tip = Some(tip);
        let mut futures = std::mem::take(&mut self.futures).into_iter();
        let named = futures.find(|kept| kept.id == told.job_id)?;
        Some(named.on(tip))
    }

    /// Whether that is news.
    pub(super) fn set_prefix(&mut self, prefix: &[u8]) -> bool {
        match &mut self.extranonce {
            Some(extranonce) if extranonce.prefix != prefix => {
                extranonce.prefix = prefix.to_vec();
                true
            }
            _ => false,
        }
    }
}

impl Future {
    fn on(self, tip: Tip) -> Active {
        Active {
            job: Job {
                prev_hash: tip.prev_hash,
                nbits: tip.nbits,
                ntime: tip.min_ntime,
                ..self.job
            },
            extranonce: self.extranonce,
            rolling: self.rolling,
        }
    }
}

impl Link {
    pub(super) fn new_job(&mut self, now: Instant, told: &NewExtendedMiningJob<'_>) {
        let (ours, workers) = (
            self.channel.reaches_us(told.channel_id),
            self.channel.workers.is_reached(told.channel_id),
        );
        if !ours && !workers {
            return;
        }
        match decode(told) {
            Ok(job) => {
                if workers {
                    self.own_job(now, told, &job);
                }
                if ours {
                    self.account_job(now, told, job);
                }
            }
            Err(why) if ours => self.bad_notify(now, why),
            // A worker's channel alone: it has what it had.
            Err(why) => self.outputs.push_back(Output::Event(Event::BadNotify(why))),
        }
    }

    fn account_job(&mut self, now: Instant, told: &NewExtendedMiningJob<'_>, job: Job) {
        match self.channel.jobs.new_job(told, job, FUTURES) {
            Ok(Some(active)) => self.activate(now, active),
            Ok(None) => {}
            Err(why) => self.bad_notify(now, why),
        }
    }

    pub(super) fn new_prev_hash(&mut self, now: Instant, told: &SetNewPrevHash) {
        self.own_prev_hash(now, told);
        if !self.channel.reaches_us(told.channel_id) {
            return;
        }
        // What is found on older work is not valid any more either.
        self.valid_from = self.workshop.next_id();
        self.channel.idle_since = Some(now);
        match self.channel.jobs.new_prev_hash(told) {
            Some(active) => self.activate(now, active),
            None => {
                // Miners are kept on the old work for want of better; the next job ends that, or `FIRST_JOB` does.
                self.job = None;
                self.bad_notify(now, "a previous block for a job that we do not have");
            }
        }
    }

    /// Clean if nothing older may be mined on, so also at the first job after a previous block that came without one.
    fn activate(&mut self, now: Instant, active: Active) {
        let current = self.workshop.current();
        let clean = current.is_none_or(|current| current.id < self.valid_from);
        self.version_mask = Some(self.mask(active.rolling));
        self.extranonce = Some(active.extranonce);
        self.job_bound = self.bound;
        self.job = Some(active.job);
        self.issue(now, clean);
    }

    /// For jobs to come and those kept, not for the one that is mined.
    pub(super) fn set_target(&mut self, now: Instant, told: &SetTarget) {
        let (ours, workers) = (
            self.channel.reaches_us(told.channel_id),
            self.channel.workers.is_reached(told.channel_id),
        );
        if !ours && !workers {
            return;
        }
        match Bound::of_target(&told.maximum_target) {
            Some(bound) => {
                self.channel.workers.set_bound(told.channel_id, bound);
                if ours {
                    self.set_bound(bound);
                }
            }
            None => self.bad_notify(now, "a target of zero"),
        }
    }

    /// For jobs to come; those that are here keep theirs. Never for a group.
    pub(super) fn set_extranonce_prefix(&mut self, told: &SetExtranoncePrefix<'_>) {
        let (id, prefix) = (told.channel_id, told.extranonce_prefix);
        if !self.channel.is_ours(id) {
            self.channel.workers.set_prefix(id, prefix);
        } else if self.channel.jobs.set_prefix(prefix) {
            self.outputs.push_back(Output::Event(Event::Extranonce));
        }
    }

    /// A group cannot be the channel itself (spec 5.3.22).
    pub(super) fn set_group(&mut self, told: &SetGroupChannel<'_>) {
        let names = |channel: u32| {
            told.group_channel_id != channel && told.channel_ids.iter().any(|id| id == channel)
        };
        if let Stage::Open { channel, group } = &mut self.channel.stage
            && names(*channel)
        {
            *group = told.group_channel_id;
        }
        self.channel.workers.set_group(told.group_channel_id, names);
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
