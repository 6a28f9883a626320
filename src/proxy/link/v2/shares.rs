//! Shares to a V2 pool, and its answers: one refusal each, acceptances in batches.
//!
//! Not the books (`ledger`). Invariant (I3, I4): an answer ends each share that is named by it and still open, once; what a
//! pool says of counts, sums and other numbers than ours changes nothing.

use super::super::ledger::Asked;
use super::super::{Identity, Link, Output, RefusalKind, Submission};
use crate::stratum::v2::message::{
    self, SubmitSharesError, SubmitSharesExtended, SubmitSharesSuccess,
};
use crate::stratum::v2::{code, tlv};
use std::time::Instant;

impl Link {
    /// `id`: the ledger's; its low 32 bits are the sequence number.
    pub(in super::super) fn write_share_v2(&mut self, id: u64, share: &Submission) {
        let work = &share.work;
        let own = self.channel.workers.find(work.channel).map(|own| own.id);
        let (account, _) = self
            .channel
            .ids()
            .expect("a link is up only with a channel, and writes shares only when up");
        let channel_id = own.unwrap_or(account);
        let (extranonce, len) = work.pool_extranonce2(share.lane, &share.share);
        let mut tail = Vec::new();
        if self.channel.identities && self.config.identity == Identity::Worker {
            let name = self.names.short(&share.worker, tlv::MAX_USER_IDENTITY);
            tlv::write_user_identity(&mut tail, name.as_bytes());
        }
        let submit = SubmitSharesExtended {
            channel_id,
            sequence_number: sequence(id),
            job_id: work
                .pool_job
                .parse()
                .expect("the id of a V2 job is the number we wrote"),
            nonce: share.share.nonce,
            ntime: share.share.ntime,
            version: share.share.version,
            extranonce: &extranonce[..len],
            tlv: &tail,
        };
        submit.write(&mut self.out);
    }

    /// Every share up to that number which was not refused (spec 5.3.13). Only the one that is named has just been judged, so
    /// only it tells how long the pool takes.
    pub(super) fn shares_accepted(&mut self, now: Instant, told: &SubmitSharesSuccess) {
        let Some(channel) = self.channel.number(told.channel_id) else {
            return;
        };
        let ended = self
            .ledger
            .answered_through(channel, told.last_sequence_number);
        for (id, asked) in ended {
            self.end(
                now,
                asked,
                Ok(()),
                sequence(id) == told.last_sequence_number,
            );
        }
    }

    pub(super) fn share_refused(&mut self, now: Instant, told: &SubmitSharesError<'_>) {
        let Some(channel) = self.channel.number(told.channel_id) else {
            return;
        };
        if let Some(asked) = self.ledger.share_answered(channel, told.sequence_number) {
            self.end(now, asked, Err(kind(told.error_code)), true);
        }
    }

    fn end(&mut self, now: Instant, asked: Asked, verdict: Result<(), RefusalKind>, timed: bool) {
        if let Asked::Share {
            worker,
            hashes,
            at,
            block,
            channel: _,
        } = asked
        {
            let mut end = self.ledger.settle(now, worker, hashes, at, block, verdict);
            end.latency = end.latency.filter(|_| timed);
            self.outputs.push_back(Output::Settle(end));
        }
    }
}

fn sequence(id: u64) -> u32 {
    let [a, b, c, d, ..] = id.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// For counting alone: nothing is done because of a code (spec 3.5).
fn kind(error_code: &[u8]) -> RefusalKind {
    match &*message::text(error_code) {
        code::STALE_SHARE | code::INVALID_JOB_ID => RefusalKind::Stale,
        code::DUPLICATE_SHARE => RefusalKind::Duplicate,
        code::DIFFICULTY_TOO_LOW | "too-low-difficulty" => RefusalKind::LowDifficulty,
        code::UNKNOWN_USER | code::INVALID_USER_IDENTITY => RefusalKind::Unauthorized,
        code::INVALID_CHANNEL_ID => RefusalKind::NotSubscribed,
        _ => RefusalKind::Other,
    }
}
