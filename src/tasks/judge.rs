//! The judge of a shard: shares that one turn of its loop brought in are proven side by side.
//!
//! ```text
//!   session ── ask ──> ticket ──┬── FULL are waiting: at once
//!      ^                        └── the first asker has its turn again: everybody else has had one
//!      └── take <── proof <── prove, grouped by work
//! ```
//! No timer and no other thread: a share that comes alone is proven alone, by whoever brought it. Invariant: a ticket is
//! good for one proof, that of the request it was given for.

use crate::proxy::session::JudgeRequest;
use crate::work::{Lane, Proof, Share, share};
use std::sync::Arc;

/// As many as the widest kernel takes: waiting for more would only let the first ones grow cold.
const FULL: usize = 16;
/// Every so many verdicts one is timed: a histogram needs no more.
const TIMED: u64 = 16;

/// Names a request until its proof is taken.
#[derive(Debug)]
pub struct Ticket(usize);

/// A request that has its proof.
#[derive(Debug)]
pub struct Answer {
    /// What was asked.
    pub request: JudgeRequest,
    /// Its hash and header.
    pub proof: Proof,
    /// The time to this verdict is to be taken.
    pub timed: bool,
}

/// Shares of one shard on their way to their proofs. What has no requests in it is kept for its room.
#[derive(Debug, Default)]
pub struct Judge {
    /// By ticket.
    cases: Vec<Option<(JudgeRequest, Proof)>>,
    free: Vec<usize>,
    /// Tickets without a proof yet.
    waiting: Vec<usize>,
    claims: Vec<(Lane, Share)>,
    proofs: Vec<Proof>,
    verdicts: u64,
    batches: u64,
}

impl Judge {
    /// Takes a request; once there are enough, proves them all.
    pub fn ask(&mut self, request: JudgeRequest) -> Ticket {
        let case = Some((request, Proof::NONE));
        let at = match self.free.pop() {
            Some(at) => {
                self.cases[at] = case;
                at
            }
            None => {
                self.cases.push(case);
                self.cases.len() - 1
            }
        };
        self.waiting.push(at);
        if self.waiting.len() >= FULL {
            self.prove();
        }
        Ticket(at)
    }

    /// The request and its proof; proves all that wait if it has none yet.
    pub fn take(&mut self, Ticket(at): Ticket) -> Answer {
        if self.waiting.contains(&at) {
            self.prove();
        }
        self.free.push(at);
        let case = self.cases[at].take();
        let (request, proof) = case.expect("a ticket is taken once and nobody else has it");
        self.answer(request, proof)
    }

    /// Proves a share that is alone.
    pub fn prove_one(&mut self, request: JudgeRequest) -> Answer {
        self.batches += 1;
        let proof = prove(&request);
        self.answer(request, proof)
    }

    fn answer(&mut self, request: JudgeRequest, proof: Proof) -> Answer {
        self.verdicts += 1;
        Answer {
            request,
            proof,
            timed: self.verdicts.is_multiple_of(TIMED),
        }
    }

    /// Batches proven since the last call.
    pub fn batches(&mut self) -> u64 {
        std::mem::take(&mut self.batches)
    }

    /// Those whose root is known, whatever their work: their headers alone.
    fn prove_rooted(&mut self) {
        let Self {
            cases,
            waiting,
            proofs,
            batches,
            ..
        } = self;
        let case = |at: &usize| cases[*at].as_ref().map(|(request, _)| request);
        let is_rooted = |at: &usize| case(at).is_some_and(|request| request.root.is_some());
        if !waiting.iter().any(is_rooted) {
            return;
        }
        let rooted: Vec<usize> = waiting.extract_if(.., |at| is_rooted(at)).collect();
        let claims: Vec<_> = rooted
            .iter()
            .filter_map(case)
            .filter_map(|request| {
                let root = request.root.as_deref()?;
                Some((&*request.work, &request.share, root))
            })
            .collect();
        proofs.clear();
        proofs.resize(claims.len(), Proof::NONE);
        share::prove_rooted(&claims, proofs);
        *batches += 1;
        for (at, proof) in rooted.into_iter().zip(&*proofs) {
            if let Some(case) = &mut cases[at] {
                case.1 = *proof;
            }
        }
    }

    fn prove(&mut self) {
        self.prove_rooted();
        let Self {
            cases,
            waiting,
            claims,
            proofs,
            ..
        } = self;
        let request = |at: usize| {
            let case = cases[at].as_ref();
            &case.expect("it waits, so it is there").0
        };
        // Mostly one work; a stable order is not needed, for each proof goes to its own ticket.
        waiting.sort_unstable_by_key(|&at| Arc::as_ptr(&request(at).work));
        let same = |&a: &usize, &b: &usize| Arc::ptr_eq(&request(a).work, &request(b).work);
        proofs.clear();
        for group in waiting.chunk_by(same) {
            claims.clear();
            claims.extend(
                group
                    .iter()
                    .map(|&at| (request(at).lane, request(at).share)),
            );
            let done = proofs.len();
            proofs.resize(done + group.len(), Proof::NONE);
            share::prove_all(&request(group[0]).work, claims, &mut proofs[done..]);
            self.batches += 1;
        }
        for (at, proof) in waiting.drain(..).zip(&*proofs) {
            if let Some(case) = &mut cases[at] {
                case.1 = *proof;
            }
        }
    }
}

/// Alone.
fn prove(request: &JudgeRequest) -> Proof {
    let JudgeRequest {
        work, lane, share, ..
    } = request;
    let Some(root) = &request.root else {
        return share::prove(work, *lane, share);
    };
    let mut proof = [Proof::NONE];
    share::prove_rooted(&[(work, share, root)], &mut proof);
    let [proof] = proof;
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Parts, Work, WorkId};

    fn work(seed: u8) -> Arc<Work> {
        let work = Work::new(Parts {
            id: WorkId(seed.into()),
            prev_hash: [seed; 32],
            coinbase_prefix: [seed; 90].into(),
            coinbase_suffix: [seed; 150].into(),
            branch: [[seed; 32]; 5].into(),
            ..Parts::default()
        });
        Arc::new(work.expect("it is within every limit"))
    }

    fn root(work: &Work, lane: Lane) -> Box<[u8; 32]> {
        let mut roots = [[0; 32]];
        share::roots(work, &[(lane, [0; 8])], &mut roots);
        Box::new(roots[0])
    }

    #[test]
    fn every_ticket_has_the_proof_of_its_own_request_whatever_came_between() {
        let works = [work(1), work(2)];
        let mut judge = Judge::default();
        for round in 0..3 {
            let asked = FULL - 5 + 7 * round;
            let requests: Vec<_> = (0..asked)
                .map(|i| JudgeRequest {
                    work: works[i % 2].clone(),
                    lane: Lane(1 + i as u32),
                    // Every third knows its root: nothing of its coinbase is rolled.
                    root: (i % 3 == 0).then(|| root(&works[i % 2], Lane(1 + i as u32))),
                    share: Share {
                        en2: [if i % 3 == 0 { 0 } else { i as u8 }; 8],
                        ntime: works[i % 2].pool_ntime,
                        nonce: i as u32,
                        version: works[i % 2].version,
                    },
                })
                .collect();
            let tickets: Vec<_> = requests.iter().map(|r| judge.ask(r.clone())).collect();
            for (ticket, request) in tickets.into_iter().zip(&requests).rev() {
                let own = judge.take(ticket);
                let claim = |of: &JudgeRequest| (of.work.id, of.lane, of.share);
                assert_eq!(claim(&own.request), claim(request));
                let alone = share::prove(&request.work, request.lane, &request.share);
                assert_eq!(own.proof, alone);
            }
            assert_eq!(judge.free.len(), judge.cases.len(), "all tickets came back");
        }
    }
}
