//! Shares on a V1 connection: which worker, in which order they are answered. What they are worth is in `shares`.
//!
//! Invariant (I8): a submit with an id gets one answer, in its place.

use super::Session;
use super::replies::{Judging, KeptId};
use crate::proxy::session::shares::{Claim, Patience, Version};
use crate::proxy::session::{Close, JudgeRequest};
use crate::proxy::tally::Reject;
use crate::stratum::v1::down::{Submit, reply};
use crate::stratum::v1::message::Id;
use crate::work::Proof;
use std::sync::Arc;
use std::time::Instant;

impl Session {
    pub(super) fn submit(&mut self, now: Instant, id: Option<Id<'_>>, submit: &Submit<'_>) {
        let Some(seat) = &self.mining.seat else {
            return self.reject_early(now, id, Reject::NotSubscribed);
        };
        let Some(worker) = self.worker(&submit.worker) else {
            return self.reject_early(now, id, Reject::UnauthorizedWorker);
        };
        // A missing sixth parameter counts as zero bits (BIP 310).
        let bits = submit.version_bits.unwrap_or(0);
        let claim = Claim {
            job: submit.job,
            lane: seat.lane,
            en2: submit.en2,
            en2_len: submit.en2_len,
            ntime: submit.ntime,
            nonce: submit.nonce,
            version: Version::Bits(bits, self.rolling.map_or(0, |rolling| rolling.granted)),
        };
        let (request, difficulty) = match self.mining.checked(now, &self.config, &claim) {
            Ok(checked) => checked,
            Err((why, hashes)) => {
                let worker = self.workers[usize::from(worker.0)].clone();
                self.rejected(now, &worker, why, hashes);
                return self.refuse(id, why);
            }
        };
        self.replies.judge(Judging {
            request: Some(request),
            id: id.map(KeptId::new),
            worker,
            difficulty,
        });
    }

    /// A submit whose parameters cannot be read.
    pub(super) fn unreadable_share(&mut self, now: Instant, id: Option<Id<'_>>) {
        let why = match (&self.mining.seat, self.workers.is_empty()) {
            (None, _) => Reject::NotSubscribed,
            (_, true) => Reject::UnauthorizedWorker,
            _ => Reject::InvalidParams,
        };
        self.reject_early(now, id, why);
    }

    /// The verdict on the oldest share that waits for one; `request` is what was asked for it.
    pub(super) fn judged(&mut self, now: Instant, request: &JudgeRequest, proof: &Proof) {
        let Some((place, judging)) = self.replies.judging() else {
            return;
        };
        let worker = self.workers[usize::from(judging.worker.0)].clone();
        let difficulty = judging.difficulty;
        let verdict = self.mining.judged(now, &worker, difficulty, request, proof);
        self.replies
            .fill(place, |out| match (&judging.id, verdict) {
                (Some(id), Ok(())) => reply::accepted(out, id.as_id()),
                (Some(id), Err(why)) => reply::error(out, id.as_id(), why.code(), why.text()),
                (None, _) => {}
            });
        match verdict {
            Ok(()) => self.mining.hurry(now, &self.config),
            Err(why) => self.rejected(now, &worker, why, difficulty.hashes()),
        }
    }

    fn reject_early(&mut self, now: Instant, id: Option<Id<'_>>, why: Reject) {
        let nobody = self.workers.first().cloned().unwrap_or_else(|| "-".into());
        self.rejected(now, &nobody, why, 0);
        self.refuse(id, why);
    }

    fn rejected(&mut self, now: Instant, worker: &Arc<str>, why: Reject, hashes: u128) {
        match self.mining.rejected(worker, why, hashes) {
            Patience::Left => {}
            Patience::Resend => {
                self.resend();
                self.mining.last_notify = Some(now);
            }
            Patience::Over => self.close(Close::Misbehaved),
        }
    }
}
