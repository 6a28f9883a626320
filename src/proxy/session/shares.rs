//! Shares of a seat: the checks in their order (STRATUM.md section 4), the verdict, the counts (I4, I6). The same for
//! every protocol.
//!
//! Session state, shape, job, ranges, hash, target, duplicate. Invariant: every share read moves `received` and exactly
//! one of `accepted` and the reasons, with the same weight.

use super::mining::Mining;
use super::{BlockCandidate, Config, Event, JudgeRequest, Output};
use crate::proxy::lease::Submission;
use crate::proxy::tally::{Drop as Dropped, Reject};
use crate::work::seen::Insert;
use crate::work::{Difficulty, Lane, Proof, Share, Work, WorkId, share};
use std::sync::Arc;
use std::time::Instant;

/// How far a miner may roll ntime, from the pool's own, and how far into the future of the wall clock (Bitcoin Core's limit).
const NTIME_ROLL_S: u32 = 7000;
const NTIME_FUTURE_S: u64 = 7200;
/// Bad shares in a row after which the work is sent again, and after which the connection is closed. A miner that lost
/// a difficulty or a job recovers at the first; nothing honest reaches the second.
const BAD_RESEND: u16 = 32;
const BAD_CLOSE: u16 = 256;

/// A share as its protocol brought it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// `None`: no name of ours, so surely unknown.
    pub(super) job: Option<u32>,
    pub(super) lane: Lane,
    /// Zeros behind `en2_len`.
    pub(super) en2: [u8; 8],
    pub(super) en2_len: u8,
    pub(super) ntime: u32,
    pub(super) nonce: u32,
    pub(super) version: Version,
}

/// How a protocol says which version was mined.
#[derive(Clone, Copy, Debug)]
pub(super) enum Version {
    /// The rolled bits (BIP 310), and the mask in force now.
    Bits(u32, u32),
    /// All of it (Stratum V2).
    Whole(u32),
}

/// What a bad share calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// Nothing.
    Left,
    /// The miner may have lost its work: once more.
    Resend,
    /// It is no miner.
    Over,
}

impl Mining {
    /// Everything that can be said before hashing; with the weight of a refusal.
    pub(super) fn checked(
        &self,
        now: Instant,
        config: &Config,
        claim: &Claim,
    ) -> Result<(JudgeRequest, Difficulty), (Reject, u128)> {
        let found = claim.job.and_then(|id| self.jobs.find(WorkId(id)));
        let Some(job) = found else {
            return Err((Reject::JobNotFound, 0));
        };
        let work = &job.work;
        let refuse = |why| Err((why, job.difficulty.hashes()));
        if claim.en2_len != work.layout.rolled {
            return refuse(Reject::Extranonce2Length);
        }
        let now_unix = config.wall.unix_at(now);
        let newest = u64::from(work.pool_ntime) + u64::from(NTIME_ROLL_S);
        if claim.ntime < work.pool_ntime
            || u64::from(claim.ntime) > newest
            || u64::from(claim.ntime) > now_unix + NTIME_FUTURE_S
        {
            return refuse(Reject::Ntime);
        }
        let Some(version) = claim.version.on(work, job.mask) else {
            return refuse(Reject::VersionBits);
        };
        let share = Share {
            en2: claim.en2,
            ntime: claim.ntime,
            nonce: claim.nonce,
            version,
        };
        let request = JudgeRequest {
            work: work.clone(),
            lane: claim.lane,
            share,
            root: None,
        };
        Ok((request, job.difficulty))
    }

    /// The verdict on a share, booked: what its proof says, given the difficulty its job was told under.
    pub(super) fn judged(
        &mut self,
        now: Instant,
        worker: &Arc<str>,
        difficulty: Difficulty,
        request: &JudgeRequest,
        proof: &Proof,
    ) -> Result<(), Reject> {
        let block = request.work.network_target.is_met_by(&proof.hash);
        self.weigh(&request.work, difficulty, proof, block)?;
        self.accepted(now, worker, difficulty, request, proof, block);
        Ok(())
    }

    fn weigh(
        &mut self,
        work: &Work,
        difficulty: Difficulty,
        proof: &Proof,
        block: bool,
    ) -> Result<(), Reject> {
        // The table may have moved on since the share was asked for: the current word counts.
        let stale = self.jobs.find(work.id).is_none_or(|job| job.stale);
        if stale && !block {
            return Err(Reject::Stale);
        }
        if !difficulty.is_met_by(&proof.hash) && !block {
            return Err(Reject::LowDifficulty);
        }
        let seat = self
            .seat
            .as_mut()
            .expect("a share is judged only for a seated miner");
        match seat.memory.seen.insert(&work.prev_hash, &proof.hash) {
            Insert::New => Ok(()),
            Insert::Duplicate => Err(Reject::Duplicate),
            Insert::Full if block => Ok(()),
            Insert::Full => Err(Reject::Overloaded),
        }
    }

    fn accepted(
        &mut self,
        now: Instant,
        worker: &Arc<str>,
        difficulty: Difficulty,
        request: &JudgeRequest,
        proof: &Proof,
        block: bool,
    ) {
        let JudgeRequest {
            work, lane, share, ..
        } = request;
        self.bad_streak = 0;
        let hashes = difficulty.hashes();
        let pool_hashes = work.pool_difficulty.hashes();
        let judged = &mut self.counts(worker, Some(work.link)).judged;
        judged.received.add(hashes);
        judged.accepted.add(hashes);
        judged.under_credit_hashes += hashes.saturating_sub(pool_hashes);
        judged.blocks += u64::from(block);
        if block {
            let candidate = block_candidate(worker, work, *lane, share, proof);
            self.outputs
                .push_back(Output::Event(Event::Block(Box::new(candidate))));
        }
        if block || work.pool_target.is_met_by(&proof.hash) {
            let submission = Submission {
                session: self.id,
                worker: worker.clone(),
                work: work.clone(),
                lane: *lane,
                share: *share,
                proof: *proof,
                block,
            };
            self.outputs.push_back(Output::Submit(Box::new(submission)));
        }
        self.vardiff.accepted(now, difficulty);
    }

    /// Asks for refreshed work when the difficulty is far off: it may change only with a new job.
    pub(super) fn hurry(&mut self, now: Instant, config: &Config) {
        let (Some(link), Some(job)) = (self.lease.link, self.jobs.latest()) else {
            return;
        };
        let (id, link_difficulty) = (job.work.id, job.work.pool_difficulty);
        if self.refresh_asked != Some(id)
            && self
                .vardiff
                .wants_change(now, &config.vardiff, link_difficulty)
        {
            self.refresh_asked = Some(id);
            self.outputs.push_back(Output::Refresh(link));
        }
    }

    /// What became of a share that was handed to a link.
    pub(super) fn submitted(
        &mut self,
        worker: &Arc<str>,
        result: Result<(), Dropped>,
        hashes: u128,
    ) {
        let judged = &mut self.counts(worker, None).judged;
        match result {
            Ok(()) => judged.forwarded.add(hashes),
            Err(why) => judged.dropped[why as usize].add(hashes),
        }
    }

    /// Books a share that came for no seat of its connection's.
    pub(super) fn stray(&mut self, worker: &Arc<str>) {
        let judged = &mut self.counts(worker, None).judged;
        judged.received.add(0);
        judged.rejected[Reject::NotSubscribed as usize].add(0);
    }

    /// Books a refusal of this weight.
    pub(super) fn rejected(&mut self, worker: &Arc<str>, why: Reject, hashes: u128) -> Patience {
        let judged = &mut self.counts(worker, None).judged;
        judged.received.add(hashes);
        judged.rejected[why as usize].add(hashes);
        if matches!(why, Reject::Stale | Reject::JobNotFound) {
            return Patience::Left;
        }
        self.bad_streak += 1;
        match self.bad_streak {
            BAD_RESEND => Patience::Resend,
            BAD_CLOSE.. => Patience::Over,
            _ => Patience::Left,
        }
    }
}

impl Version {
    /// The version of the header, if the job allows it. BIP 310: `set_version_mask` holds at once, but a share on an
    /// earlier job was most likely rolled under the mask of its time.
    fn on(self, work: &Work, job_mask: u32) -> Option<u32> {
        match self {
            Self::Bits(bits, current) => {
                let mask = if bits & !job_mask == 0 {
                    job_mask
                } else {
                    current
                };
                let allowed = bits & !(mask & work.version_mask) == 0;
                allowed.then_some((work.version & !mask) | bits)
            }
            Self::Whole(version) => {
                let mask = job_mask & work.version_mask;
                ((version ^ work.version) & !mask == 0).then_some(version)
            }
        }
    }
}

fn block_candidate(
    worker: &Arc<str>,
    work: &Work,
    lane: Lane,
    share: &Share,
    proof: &Proof,
) -> BlockCandidate {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut hash = proof.hash;
    hash.reverse();
    BlockCandidate {
        link: work.link,
        pool_job: work.pool_job.clone(),
        worker: worker.clone(),
        hash: hex(&hash),
        header: hex(&proof.header),
        coinbase: hex(&share::coinbase(work, lane, share)),
        branch: work.branch.iter().map(|node| hex(node)).collect(),
    }
}
