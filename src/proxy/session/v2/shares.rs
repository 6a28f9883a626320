//! Shares on channels: judged as any other, acknowledged in batches, refused one by one. What they are worth is in the
//! session's own `shares`.
//!
//! Invariant (I8): every sequence number gets one answer, a `SubmitShares.Error` or a place in a `SubmitShares.Success`.

use super::channel::{Channel, Kind, State};
use super::{Output, Session};
use crate::proxy::session::shares::{Claim, Patience, Version};
use crate::proxy::session::{self, Close, JudgeRequest};
use crate::proxy::tally::Reject;
use crate::stratum::label::worker_label;
use crate::stratum::v2::message::{
    SetTarget, SubmitSharesError, SubmitSharesExtended, SubmitSharesStandard, SubmitSharesSuccess,
    clip,
};
use crate::stratum::v2::{code, tlv};
use crate::work::{Difficulty, Lane, Proof};
use std::sync::Arc;
use std::time::Instant;

/// Shares that one read brings, mostly: room for as many is kept.
pub(super) const TURN: usize = 8;

/// A share on its way through the judge.
#[derive(Debug)]
pub(super) struct Judging {
    sequence_number: u32,
    /// `None`: the channel's own.
    worker: Option<Arc<str>>,
    difficulty: Difficulty,
}

/// Accepted and not acknowledged yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    last: u32,
    count: u32,
    sum: f64,
}

/// A share of either kind.
struct Submit {
    channel_id: u32,
    sequence_number: u32,
    job_id: u32,
    nonce: u32,
    ntime: u32,
    version: u32,
}

impl From<&SubmitSharesStandard> for Submit {
    fn from(share: &SubmitSharesStandard) -> Self {
        Self {
            channel_id: share.channel_id,
            sequence_number: share.sequence_number,
            job_id: share.job_id,
            nonce: share.nonce,
            ntime: share.ntime,
            version: share.version,
        }
    }
}

impl From<&SubmitSharesExtended<'_>> for Submit {
    fn from(share: &SubmitSharesExtended<'_>) -> Self {
        Self {
            channel_id: share.channel_id,
            sequence_number: share.sequence_number,
            job_id: share.job_id,
            nonce: share.nonce,
            ntime: share.ntime,
            version: share.version,
        }
    }
}

impl Session {
    pub(super) fn submit_standard(&mut self, now: Instant, share: &SubmitSharesStandard) {
        self.submit(now, &share.into(), None, None);
    }

    pub(super) fn submit_extended(&mut self, now: Instant, share: &SubmitSharesExtended<'_>) {
        let submit = share.into();
        let named = self.client.as_ref().is_some_and(|c| c.names_workers);
        let worker = if named {
            tlv::user_identity(share.tlv)
        } else {
            Ok(None)
        };
        let Ok(worker) = worker else {
            return self.unreadable(&submit);
        };
        let worker = worker
            .filter(|name| !name.is_empty())
            .map(|name| worker_label(name).into());
        self.submit(now, &submit, Some(share.extranonce), worker);
    }

    /// `extranonce`: what an extended channel's client rolled.
    fn submit(
        &mut self,
        now: Instant,
        submit: &Submit,
        extranonce: Option<&[u8]>,
        worker: Option<Arc<str>>,
    ) {
        let Some(at) = self.open_at(submit.channel_id) else {
            return self.astray(submit);
        };
        let channel = &mut self.channels[at];
        let checked = match claim(channel, submit, extranonce) {
            Ok(claim) => channel.mining.checked(now, &self.config, &claim),
            Err(why) => Err((why, 0)),
        };
        let (mut request, difficulty) = match checked {
            Ok(checked) => checked,
            Err((why, hashes)) => {
                let worker = worker.unwrap_or_else(|| channel.user.clone());
                return self.refuse(at, submit.sequence_number, &worker, why, hashes);
            }
        };
        request.root = channel.root(request.work.id);
        let session = channel.mining.id;
        channel.judging.push_back(Judging {
            sequence_number: submit.sequence_number,
            worker,
            difficulty,
        });
        self.waiting += 1;
        if self.outputs.capacity() == 0 {
            self.outputs.reserve(TURN);
        }
        let request = session::Output::Judge(request);
        self.outputs.push_back(Output::Of(session, request));
    }

    /// A share whose worker's name cannot be read.
    fn unreadable(&mut self, submit: &Submit) {
        let Some(at) = self.open_at(submit.channel_id) else {
            return self.astray(submit);
        };
        let user = self.channels[at].user.clone();
        self.refuse(at, submit.sequence_number, &user, Reject::InvalidParams, 0);
    }

    /// A share for a channel that is none, or over. It counts at the connection's first, as nobody's doing: no channel loses
    /// patience over it.
    fn astray(&mut self, submit: &Submit) {
        if let Some(first) = self.channels.first_mut() {
            first.mining.stray(&first.user);
        }
        let (channel_id, sequence_number) = (submit.channel_id, submit.sequence_number);
        self.error(channel_id, sequence_number, code::INVALID_CHANNEL_ID);
    }

    /// The verdict on the oldest share of a channel that waits for one; `request` is what was asked for it.
    pub(super) fn judged(
        &mut self,
        now: Instant,
        at: usize,
        request: &JudgeRequest,
        proof: &Proof,
    ) {
        let channel = &mut self.channels[at];
        let Some(judging) = channel.judging.pop_front() else {
            return;
        };
        self.waiting -= 1;
        let difficulty = judging.difficulty;
        let worker = judging.worker.as_ref().unwrap_or(&channel.user);
        let verdict = channel
            .mining
            .judged(now, worker, difficulty, request, proof);
        match verdict {
            Ok(()) => {
                channel.batch.last = judging.sequence_number;
                channel.batch.count += 1;
                channel.batch.sum += difficulty.value();
                channel.mining.hurry(now, &self.config);
            }
            Err(why) => {
                let (worker, hashes) = (worker.clone(), difficulty.hashes());
                self.refuse(at, judging.sequence_number, &worker, why, hashes);
            }
        }
        self.acknowledge(at);
    }

    /// What was accepted is acknowledged together, as soon as no share of the channel waits for its verdict.
    fn acknowledge(&mut self, at: usize) {
        let channel = &mut self.channels[at];
        if !channel.judging.is_empty() || channel.batch.count == 0 {
            return;
        }
        let Batch { last, count, sum } = std::mem::take(&mut channel.batch);
        if matches!(channel.state, State::Left(_)) {
            return;
        }
        SubmitSharesSuccess {
            channel_id: channel.id,
            last_sequence_number: last,
            new_submits_accepted_count: count,
            // Below one, as in a lab, it is nothing: the field has whole difficulties.
            new_shares_sum: sum as u64,
        }
        .write(&mut self.out);
    }

    fn refuse(
        &mut self,
        at: usize,
        sequence_number: u32,
        worker: &Arc<str>,
        why: Reject,
        hashes: u128,
    ) {
        let channel = &mut self.channels[at];
        let patience = channel.mining.rejected(worker, why, hashes);
        if matches!(channel.state, State::Left(_)) {
            return;
        }
        let id = channel.id;
        let target = channel.target();
        self.error(id, sequence_number, error_code(why));
        match patience {
            Patience::Left => {}
            // Its target once more: what a confused client may have missed. Its job came over the same connection.
            Patience::Resend => SetTarget {
                channel_id: id,
                maximum_target: target,
            }
            .write(&mut self.out),
            Patience::Over => self.close_by_us(at, Close::Misbehaved),
        }
    }

    fn error(&mut self, channel_id: u32, sequence_number: u32, why: &str) {
        SubmitSharesError {
            channel_id,
            sequence_number,
            error_code: clip(why),
        }
        .write(&mut self.out);
    }
}

/// In the terms of our own jobs. What a client rolls beyond the layout's bytes is part of its lane.
fn claim(channel: &Channel, submit: &Submit, extranonce: Option<&[u8]>) -> Result<Claim, Reject> {
    let seat = channel.mining.seat.as_ref().ok_or(Reject::NotSubscribed)?;
    let rolled = usize::from(seat.layout.rolled);
    let (mut lane, mut en2) = (seat.lane, [0; 8]);
    match (channel.kind, extranonce) {
        (Kind::Standard, None) => {}
        (Kind::Extended(size), Some(bytes)) if bytes.len() == usize::from(size) => {
            let (high, low) = bytes.split_at(bytes.len() - rolled);
            en2[..rolled].copy_from_slice(low);
            let high = high.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            lane = Lane(lane.0 | high);
        }
        (Kind::Extended(_), Some(_)) => return Err(Reject::Extranonce2Length),
        // A share of the other kind of channel.
        (Kind::Standard, Some(_)) | (Kind::Extended(_), None) => return Err(Reject::InvalidParams),
    }
    Ok(Claim {
        job: Some(submit.job_id),
        lane,
        en2,
        en2_len: seat.layout.rolled,
        ntime: submit.ntime,
        nonce: submit.nonce,
        version: Version::Whole(submit.version),
    })
}

/// SRI's word for a refusal.
pub(super) const fn error_code(why: Reject) -> &'static str {
    match why {
        Reject::Extranonce2Length => code::BAD_EXTRANONCE_SIZE,
        Reject::VersionBits => code::INVALID_VERSION_BIT,
        Reject::JobNotFound => code::INVALID_JOB_ID,
        Reject::Stale => code::STALE_SHARE,
        Reject::Duplicate => code::DUPLICATE_SHARE,
        Reject::LowDifficulty => code::DIFFICULTY_TOO_LOW,
        Reject::UnauthorizedWorker => code::UNKNOWN_USER,
        Reject::NotSubscribed => code::INVALID_CHANNEL_ID,
        Reject::InvalidParams | Reject::Ntime | Reject::Overloaded => code::INVALID_SHARE,
    }
}
