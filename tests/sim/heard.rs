//! What one miner or one channel was told to mine, and what it was credited: the same for V1 and V2.
//!
//! Not a wire: lines and frames are read by `lines` and `channels`. Invariant: a job is told once, and what is credited
//! was told.

use crate::clock::Ns;
use crate::tap::{Books, Known};
use sluice::proxy::lease::SessionId;
use sluice::sim::wire::Bound;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Jobs that a session is promised to know.
const KNOWN: usize = 16;

/// What a share of a job must meet.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub bound: Bound,
    /// Expected hashes.
    pub weight: u128,
}

/// A job as it was told.
#[derive(Debug)]
pub struct Told {
    pub session: SessionId,
    pub work: u32,
    pub clean: bool,
    /// The fixed part of its extranonce, and what a header is made of besides.
    pub space: (Vec<u8>, [u8; 32]),
    /// What was said with it, and whether it may be above the link's.
    pub difficulty: f64,
    pub may_exceed: bool,
    pub terms: Terms,
}

/// One of them.
#[derive(Debug, Default)]
pub struct Heard {
    /// Since when it may mine.
    pub since: Option<Ns>,
    /// When, what, whose.
    pub last_job: Option<(Ns, u32, usize)>,
    /// Issued jobs, newest last.
    jobs: VecDeque<(u32, Terms)>,
    generations: HashMap<usize, u64>,
}

impl Heard {
    /// May mine from now on.
    pub fn from(now: Ns) -> Self {
        Self {
            since: Some(now),
            ..Self::default()
        }
    }

    /// The newest job.
    pub fn newest(&self) -> Option<u32> {
        self.jobs.back().map(|(work, _)| *work)
    }

    pub fn told(&mut self, books: &mut Books, now: Ns, miner: usize, told: Told) {
        let Told { work, clean, .. } = told;
        *books.cleans.entry(told.session).or_default() += u64::from(clean);
        let known = books.works[&work].clone();
        if let Some(before) = books.spaces.insert(told.space, work) {
            books.fail(
                now,
                format!("miner {miner}: work {work:x} is the search space of {before:x} again"),
            );
        }
        let same_link = self.last_job.is_some_and(|(_, _, link)| link == known.link);
        if let Some((_, _, from)) = self.last_job.filter(|_| !same_link) {
            *books.switches.entry((from, known.link)).or_default() += 1;
        }
        let newest = self.generations.insert(known.link, known.generation);
        let needed = !same_link || newest.is_none_or(|newest| newest < known.generation);
        if clean != needed {
            books.fail(
                now,
                format!("miner {miner}: work {work:x} clean {clean}, should be {needed}"),
            );
        }
        let above = told.difficulty > known.pool_difficulty;
        if above && !books.ceiling && !told.may_exceed {
            let both = (told.difficulty, known.pool_difficulty);
            books.fail(
                now,
                format!("miner {miner}: difficulty above the link's {both:?}"),
            );
        }
        self.jobs.push_back((work, told.terms));
        self.last_job = Some((now, work, known.link));
    }

    /// An honest share may only be too late.
    pub fn is_late(&self, books: &Books, work: u32) -> bool {
        let Some(at) = self.jobs.iter().rposition(|(id, _)| *id == work) else {
            return true;
        };
        let known = &books.works[&work];
        let newest = self.generations.get(&known.link);
        self.jobs.len() - at > KNOWN || newest.is_some_and(|newest| *newest > known.generation)
    }

    /// A share of this work was credited; `hash`: what its header hashes to.
    pub fn accepted(
        &self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        work: u32,
        hash: impl FnOnce(&Known) -> [u8; 32],
    ) {
        books.accepted += 1;
        let issued = self.jobs.iter().rev().find(|(id, _)| *id == work);
        let Some((_, terms)) = issued else {
            return books.fail(
                now,
                format!("miner {miner}: accepted job {work:x}, which it was never given"),
            );
        };
        books.accepted_weight += terms.weight;
        let known: Arc<Known> = books.works[&work].clone();
        *books.credits.entry((miner, known.link)).or_default() += 1;
        books.by_link[known.link].0 += 1;
        books.by_link[known.link].1 += terms.weight;
        if books.watched {
            let hash = hash(&known);
            if !terms.bound.holds(&hash) {
                books.fail(
                    now,
                    format!("miner {miner}: accepted a share of {work:x} above its bound"),
                );
            }
            books.credited(now, miner, &known, hash);
        }
    }
}
