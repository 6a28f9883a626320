//! The jobs one connection was given, each with the difficulty it was advertised under. Not the work itself, which
//! is shared by all miners of a link.
//!
//! Invariant: job ids are unique here, because a session is given every work at most once.

use crate::work::{Difficulty, LinkId, Work, WorkId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Jobs kept. ESP-Miner keeps 16 and no firmware more; older ones are answered 21.
pub(super) const KEPT: usize = 16;

/// One job as this miner was given it.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) work: Arc<Work>,
    /// What its shares are judged at.
    pub(super) difficulty: Difficulty,
    /// Version bits the miner might have rolled when it got it.
    pub(super) mask: u32,
    /// A clean job of the same link has replaced it.
    pub(super) stale: bool,
}

/// The newest jobs, oldest first.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    issued: VecDeque<Issued>,
}

impl Jobs {
    /// Adds a job; a newer generation makes the older jobs of its link stale.
    pub(super) fn push(&mut self, job: Issued) {
        for old in &mut self.issued {
            if old.work.link == job.work.link && old.work.generation < job.work.generation {
                old.stale = true;
            }
        }
        if self.issued.len() == KEPT {
            self.issued.pop_front();
        }
        self.issued.push_back(job);
    }

    /// By the id the miner was told. Newest first: that is where shares come from.
    pub(super) fn find(&self, id: WorkId) -> Option<&Issued> {
        self.issued.iter().rev().find(|job| job.work.id == id)
    }

    /// What the miner should be working on.
    pub(super) fn latest(&self) -> Option<&Issued> {
        self.issued.back()
    }

    /// The newest generation of a link that this miner was given.
    pub(super) fn generation(&self, link: LinkId) -> Option<u64> {
        self.issued
            .iter()
            .filter(|job| job.work.link == link)
            .map(|job| job.work.generation)
            .max()
    }
}
