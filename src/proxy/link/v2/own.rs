//! A channel of a worker's own on a V2 link: what its pool's messages make of its work.
//!
//! Not the account's channel (`jobs`, and the link itself), and not who gets one (`workers`). Invariant: what happens to it
//! changes no other channel.

use super::super::job::{Bound, Extranonce, Job};
use super::super::workshop::{Blocks, Terms, Workshop};
use super::super::{FIRST_JOB, Link};
use super::jobs::{Active, Jobs};
use crate::proxy::lease::Issue;
use crate::stratum::v2::message::{
    NewExtendedMiningJob, OpenExtendedMiningChannelSuccess, SetNewPrevHash,
};
use crate::work::{Layout, WorkId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Future jobs kept: SRI's pool has one or two ahead. A thousand channels keep 64 MiB of them at the worst.
const FUTURES: usize = 2;
/// How long a worker is kept on a block that the account's channel has left: its own news may be a moment behind.
pub(super) const LAG: Duration = Duration::from_secs(1);

/// One of them.
#[derive(Debug)]
pub(super) struct Own {
    /// Our count, as its works bear it.
    pub(super) number: u32,
    /// The pool's id of it, and of its group.
    pub(super) id: u32,
    pub(super) group: u32,
    /// Whose it is.
    pub(super) machine: Arc<str>,
    pub(super) jobs: Jobs,
    pub(super) bound: Bound,
    /// Hashes per second as the pool was told last.
    pub(super) told: f64,
    /// A share has come up on it.
    pub(super) mined: bool,
    /// Shares on older work belong to a block that is gone.
    pub(super) valid_from: WorkId,
    pub(super) workshop: Workshop,
    /// Since when it has no work on the newest block that is known.
    behind: Option<Instant>,
    /// For too long: what it has is not mined any more.
    late: bool,
}

/// What works of every channel are made under.
struct Ground {
    epoch: u32,
    layout: Layout,
    /// Where rolling is forbidden, and where it is not.
    masks: [u32; 2],
}

impl Own {
    /// Just opened.
    pub(super) fn new(
        now: Instant,
        machine: Arc<str>,
        told: &OpenExtendedMiningChannelSuccess<'_>,
        (extranonce, bound): (Extranonce, Bound),
        workshop: Workshop,
    ) -> Self {
        Self {
            number: workshop.channel(),
            id: told.channel_id,
            group: told.group_channel_id,
            machine,
            jobs: Jobs::under(extranonce),
            bound,
            told: 0.0,
            mined: false,
            valid_from: WorkId(0),
            workshop,
            behind: Some(now),
            late: false,
        }
    }

    /// Whether a message for channel `id` is for this one, alone or with its group.
    pub(super) fn is_reached(&self, id: u32) -> bool {
        self.id == id || self.group == id
    }

    /// Its work, if it is to be mined.
    pub(super) fn shown(&self) -> Option<&Arc<Issue>> {
        let issued = self.workshop.issued();
        issued.filter(|issue| issue.work.id >= self.valid_from && !self.late)
    }

    /// The account's channel has come to this block.
    pub(super) fn overtaken(&mut self, now: Instant, prev_hash: &[u8; 32]) -> bool {
        let work = self.workshop.current();
        let is_behind = work.is_none_or(|work| work.prev_hash != *prev_hash);
        if is_behind {
            self.behind.get_or_insert(now);
        }
        is_behind
    }

    /// Whether it has just become late.
    pub(super) fn is_late(&mut self, now: Instant) -> bool {
        let late = self.behind.is_some_and(|since| now >= since + LAG);
        !std::mem::replace(&mut self.late, late) && late
    }

    /// Whether the pool has forgotten it.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.behind.is_some_and(|since| now >= since + FIRST_JOB)
    }

    fn activate(
        &mut self,
        now: Instant,
        active: &Active,
        ground: &Ground,
        blocks: &mut Blocks,
    ) -> Result<(), &'static str> {
        let terms = Terms {
            epoch: ground.epoch,
            layout: ground.layout,
            extranonce: &active.extranonce,
            bound: self.bound,
            version_mask: ground.masks[usize::from(active.rolling)],
        };
        let current = self.workshop.current();
        let clean = current.is_none_or(|current| current.id < self.valid_from);
        self.workshop
            .make(now, &active.job, &terms, clean, blocks)?;
        if self.workshop.generation() == blocks.newest() {
            self.behind = None;
            self.late = false;
        }
        Ok(())
    }
}

impl Link {
    fn ground(&self) -> Option<Ground> {
        Some(Ground {
            epoch: self.epoch,
            layout: self.layout?,
            masks: [self.mask(false), self.mask(true)],
        })
    }

    /// A job for workers' channels. One that cannot be work leaves them what they have.
    pub(super) fn own_job(&mut self, now: Instant, told: &NewExtendedMiningJob<'_>, job: &Job) {
        let Some(ground) = self.ground() else { return };
        let mut changed = false;
        for own in self.channel.workers.reached(told.channel_id) {
            if let Ok(Some(active)) = own.jobs.new_job(told, job.clone(), FUTURES) {
                let made = own.activate(now, &active, &ground, &mut self.blocks_seen);
                changed |= made.is_ok();
            }
        }
        self.channel.workers.changed |= changed;
    }

    /// The next block of workers' channels. One for which no job was kept is mined no more.
    pub(super) fn own_prev_hash(&mut self, now: Instant, told: &SetNewPrevHash) {
        let Some(ground) = self.ground() else { return };
        let valid_from = self.workshop.next_id();
        let mut changed = false;
        for own in self.channel.workers.reached(told.channel_id) {
            own.valid_from = valid_from;
            own.behind.get_or_insert(now);
            if let Some(active) = own.jobs.new_prev_hash(told) {
                // Without work it is behind, and closed if it stays so.
                let _ = own.activate(now, &active, &ground, &mut self.blocks_seen);
            }
            changed = true;
        }
        self.channel.workers.changed |= changed;
    }
}
