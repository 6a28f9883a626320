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
use smallvec::SmallVec;
use std::ptr;
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
    requests: Vec<Option<JudgeRequest>>,
    /// By ticket, as long; of what is not proven yet, anything.
    proven: Vec<Proof>,
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
        let request = Some(request);
        let at = match self.free.pop() {
            Some(at) => {
                self.requests[at] = request;
                at
            }
            None => {
                self.requests.push(request);
                self.proven.push(Proof::NONE);
                self.requests.len() - 1
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
        let request = self.requests[at].take();
        let request = request.expect("a ticket is taken once and nobody else has it");
        self.answer(request, self.proven[at])
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

    fn prove(&mut self) {
        let Self {
            requests,
            proven,
            waiting,
            claims,
            proofs,
            ..
        } = self;
        let request = |at: usize| {
            let request = requests[at].as_ref();
            request.expect("it waits, so it is there")
        };
        // Mostly one work; a stable order is not needed, for each proof goes to its own ticket. Those whose root is known
        // are hashed together whatever their work.
        let work = |at: usize| match request(at) {
            JudgeRequest { root: Some(_), .. } => ptr::null(),
            JudgeRequest { work, .. } => Arc::as_ptr(work),
        };
        waiting.sort_unstable_by_key(|&at| work(at));
        for group in waiting.chunk_by(|&a, &b| ptr::eq(work(a), work(b))) {
            let group_of = group.iter().map(|&at| request(at));
            proofs.clear();
            proofs.resize(group.len(), Proof::NONE);
            let first = request(group[0]);
            if first.root.is_some() {
                prove_rooted(group_of, proofs);
            } else {
                claims.clear();
                claims.extend(group_of.map(|request| (request.lane, request.share)));
                share::prove_all(&first.work, claims, proofs);
            }
            for (at, proof) in group.iter().zip(&*proofs) {
                proven[*at] = *proof;
            }
            self.batches += 1;
        }
        waiting.clear();
    }
}

/// Those whose root is known: their headers alone.
fn prove_rooted<'a>(requests: impl Iterator<Item = &'a JudgeRequest>, proofs: &mut [Proof]) {
    let claim = |request: &'a JudgeRequest| {
        let root = request.root.as_ref()?;
        Some((&*request.work, &request.share, root))
    };
    let claims: SmallVec<[_; FULL]> = requests.filter_map(claim).collect();
    share::prove_rooted(&claims, proofs);
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

    fn root(work: &Work, lane: Lane) -> [u8; 32] {
        let mut roots = [[0; 32]];
        share::roots(work, &[(lane, [0; 8])], &mut roots);
        roots[0]
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
            assert_eq!(
                judge.free.len(),
                judge.requests.len(),
                "all tickets came back"
            );
        }
    }
}
