//! The judge of a shard: shares that one turn of its loop brought in are proven side by side.
//!
//! ```text
//!   session ── ask ──> asked ──┬── FULL are there: at once
//!      ^                       └── the first asker has its turn again: everybody else has had one
//!      └────── its mailbox <── prove, grouped by work
//! ```
//! No timer and no other thread: a share that comes alone is proven alone, by whoever brought it. Invariant: every
//! request is answered once, in the order in which its session asked.

use super::mail::Mailbox;
use crate::proxy::session::JudgeRequest;
use crate::work::{Lane, Proof, Share, share};
use std::sync::Arc;

/// As many as the widest kernel takes: waiting for more would only let the first ones grow cold.
const FULL: usize = 16;
/// Every so many verdicts one is timed: a histogram needs no more.
const TIMED: u32 = 16;

/// Shares of one shard that wait for their proof. What has no requests in it is kept for its room.
#[derive(Debug, Default)]
pub struct Judge {
    asked: Vec<(JudgeRequest, Arc<Mailbox>)>,
    proofs: Vec<Proof>,
    /// Places in `asked`, those of one work side by side.
    places: Vec<usize>,
    claims: Vec<(Lane, Share)>,
    answers: Vec<Proof>,
    proven: u32,
}

impl Judge {
    /// Takes a request; once there are enough, answers all.
    pub fn ask(&mut self, request: JudgeRequest, mailbox: &Arc<Mailbox>) {
        self.asked.push((request, mailbox.clone()));
        if self.asked.len() >= FULL {
            self.answer();
        }
    }

    /// Proves what has been asked for so far.
    pub fn answer(&mut self) {
        self.prove();
        for ((request, mailbox), proof) in self.asked.drain(..).zip(self.proofs.drain(..)) {
            mailbox.proven(request, proof);
        }
    }

    /// Counts verdicts; whether their time is to be taken.
    pub fn times(&mut self, verdicts: usize) -> bool {
        let before = self.proven / TIMED;
        self.proven = self.proven.wrapping_add(verdicts as u32);
        self.proven / TIMED != before
    }

    fn prove(&mut self) {
        let Self {
            asked,
            proofs,
            places,
            claims,
            answers,
            ..
        } = self;
        let work = |place: usize| &asked[place].0.work;
        proofs.resize(asked.len(), Proof::NONE);
        places.clear();
        places.extend(0..asked.len());
        places.sort_by_key(|&place| Arc::as_ptr(work(place)));
        for group in places.chunk_by(|&a, &b| Arc::ptr_eq(work(a), work(b))) {
            claims.clear();
            claims.extend(group.iter().map(|&place| {
                let request = &asked[place].0;
                (request.lane, request.share)
            }));
            answers.clear();
            answers.resize(group.len(), Proof::NONE);
            share::prove_all(work(group[0]), claims, answers);
            for (&place, answer) in group.iter().zip(answers.iter()) {
                proofs[place] = *answer;
            }
        }
    }
}
