//! Makes work of a pool's jobs, and new work of old (refresh). Not a protocol: it sees decoded jobs only.
//!
//! Invariant: no two works of a link span the same search space. A job repeated by the pool and a refresh both get a
//! later ntime than any work with the same content had, because miners start extranonce2 over at every notify.

use crate::proxy::lease::Issue;
use crate::stratum::v1::down::notification;
use crate::stratum::v1::up::{Extranonce, Notify};
use crate::work::{Difficulty, Layout, LinkId, Parts, Target, Work, WorkId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// What a job is made under.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) epoch: u32,
    pub(super) layout: Layout,
    pub(super) extranonce: &'a Extranonce,
    pub(super) difficulty: Difficulty,
    pub(super) version_mask: u32,
}

/// The work in force and how old it is.
#[derive(Debug)]
pub(super) struct Workshop {
    link: LinkId,
    ids: Arc<AtomicU32>,
    generation: u64,
    current: Option<Arc<Work>>,
    /// When the pool's ntime was right.
    received: Option<Instant>,
}

impl Workshop {
    pub(super) fn new(link: LinkId, ids: Arc<AtomicU32>) -> Self {
        Self {
            link,
            ids,
            generation: 0,
            current: None,
            received: None,
        }
    }

    /// The newest work.
    pub(super) fn current(&self) -> Option<&Arc<Work>> {
        self.current.as_ref()
    }

    /// The generation of the newest work; older ones are stale.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The next id that will be given out is at least this.
    pub(super) fn next_id(&self) -> WorkId {
        WorkId(self.ids.load(Ordering::Relaxed))
    }

    /// Work from a pool's job. `Err`: what is wrong with it.
    pub(super) fn make(
        &mut self,
        now: Instant,
        job: &Notify,
        terms: &Terms<'_>,
        clean: bool,
    ) -> Result<Arc<Issue>, &'static str> {
        let pad = terms
            .extranonce
            .size
            .checked_sub(terms.layout.total())
            .ok_or("extranonce2 is too small for the layout")?;
        let extranonce1 = &terms.extranonce.extranonce1;
        let mut prefix =
            Vec::with_capacity(job.coinb1.len() + extranonce1.len() + usize::from(pad));
        prefix.extend_from_slice(&job.coinb1);
        prefix.extend_from_slice(extranonce1);
        prefix.resize(prefix.len() + usize::from(pad), 0);
        let ntime = self.fresh_ntime(job, &prefix)?;
        let new_block = self
            .current
            .as_ref()
            .is_none_or(|old| old.prev_hash != job.prev_hash);
        if clean || new_block {
            self.generation += 1;
        }
        let work = Work::new(Parts {
            id: self.take_id(),
            link: self.link,
            epoch: terms.epoch,
            pool_job: job.job.as_str().into(),
            generation: self.generation,
            prev_hash: job.prev_hash,
            version: job.version,
            version_mask: terms.version_mask,
            nbits: job.nbits,
            ntime,
            pool_ntime: job.ntime,
            layout: terms.layout,
            pad,
            coinbase_prefix: prefix.into(),
            coinbase_suffix: job.coinb2.as_slice().into(),
            branch: job.branch.as_slice().into(),
            pool_target: Target::from_difficulty(terms.difficulty),
            pool_difficulty: terms.difficulty,
        })
        .map_err(|_| "the job is out of limits")?;
        self.received = Some(now);
        Ok(self.publish(work))
    }

    /// The same work under a new id, its ntime advanced by the seconds since it came; `None`: there is none, or no
    /// second has passed.
    pub(super) fn refresh(&mut self, now: Instant) -> Option<Arc<Issue>> {
        let current = self.current.clone()?;
        let age = now.saturating_duration_since(self.received?).as_secs();
        let ntime = current.pool_ntime.saturating_add(u32::try_from(age).ok()?);
        if ntime <= current.ntime {
            return None;
        }
        let work = current.refreshed(self.take_id(), ntime);
        Some(self.publish(work))
    }

    /// A repeated job must not be searched twice: one second on from the last.
    fn fresh_ntime(&self, job: &Notify, prefix: &[u8]) -> Result<u32, &'static str> {
        match &self.current {
            Some(old)
                if old.ntime >= job.ntime
                    && old.prev_hash == job.prev_hash
                    && *old.coinbase_prefix == *prefix
                    && *old.coinbase_suffix == *job.coinb2
                    && *old.branch == *job.branch
                    && old.version == job.version =>
            {
                old.ntime.checked_add(1).ok_or("its ntime cannot grow")
            }
            _ => Ok(job.ntime),
        }
    }

    fn take_id(&self) -> WorkId {
        WorkId(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn publish(&mut self, work: Work) -> Arc<Issue> {
        let work = Arc::new(work);
        self.current = Some(work.clone());
        Arc::new(Issue {
            v1_clean: notification::notify(&work, true),
            v1_keep: notification::notify(&work, false),
            work,
        })
    }
}
