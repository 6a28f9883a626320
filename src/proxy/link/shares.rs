//! What a link does with a share: by which name it is written, or why it is dropped. The books are in `ledger`.
//!
//! Invariant (I3, I5): a share is written at most once, and never once its pool has moved past it.

use super::names;
use super::v2::ACCOUNT;
use super::{Asked, BLOCKS_KEPT, Dropped, Link, Output, Phase, Protocol, Submission};
use crate::stratum::v1::up::request;
use std::sync::Arc;
use std::time::Instant;

impl Link {
    /// A share for the pool: by name, or not at all.
    pub(super) fn submit(&mut self, now: Instant, share: Box<Submission>) {
        if !matches!(self.phase, Phase::Up(_)) {
            return self.keep_or_drop(share, Dropped::LinkLost);
        }
        if let Some(why) = self.unwanted(&share) {
            return self.drop_share(share, why);
        }
        if self.config.protocol == Protocol::V2 {
            // The channel's name stands for all on it; a worker's own goes with the share.
            self.write_share(now, &share, "");
            return self.heard_of(now, &share);
        }
        match self.names.name(now, &share.worker) {
            names::Name::Use(user) => self.write_share(now, &share, &user),
            names::Name::Ask(user) => {
                let id = self.ledger.ask(Asked::Worker(user.clone()));
                request::authorize(&mut self.out, id, &user, &self.config.password);
                self.hold(now, user, share);
            }
            names::Name::Wait(user) => self.hold(now, user, share),
        }
    }

    /// Why a share cannot be written now; a block always can while the channel is there that it was found for.
    fn unwanted(&self, share: &Submission) -> Option<Dropped> {
        let work = &share.work;
        let (valid_from, generation) = match self.channel.workers.valid(work.channel) {
            Some(own) => own,
            None if work.channel != ACCOUNT => return Some(Dropped::LinkLost),
            None => (self.valid_from, self.workshop.generation()),
        };
        if share.block {
            None
        } else if work.epoch != self.epoch {
            Some(Dropped::LinkLost)
        } else if work.id < valid_from || work.generation < generation {
            Some(Dropped::Stale)
        } else {
            (!self.ledger.has_room(self.channel.workers.room())).then_some(Dropped::LinkFull)
        }
    }

    /// A share that waited for its name: the pool may have moved on meanwhile.
    pub(super) fn write_held(&mut self, now: Instant, share: Box<Submission>, user: &str) {
        match self.unwanted(&share) {
            Some(why) => self.drop_share(share, why),
            None => self.write_share(now, &share, user),
        }
    }

    fn hold(&mut self, now: Instant, user: Arc<str>, share: Box<Submission>) {
        // A block waits for nobody, and neither does what exceeds the room to wait.
        if let Err(share) = self.names.hold(user, share) {
            let account = self.names.account();
            self.write_share(now, &share, &account);
        }
    }

    pub(super) fn write_share(&mut self, now: Instant, share: &Submission, user: &str) {
        let work = &share.work;
        let hashes = work.pool_difficulty.hashes();
        let id = self.ledger.ask(Asked::Share {
            worker: share.worker.clone(),
            hashes,
            at: now,
            block: share.block,
            channel: work.channel,
        });
        if self.config.protocol == Protocol::V2 {
            return self.write_share_v2(id, share);
        }
        let (en2, len) = work.pool_extranonce2(share.lane, &share.share);
        let rolled = (work.version_mask != 0).then_some(share.share.version & work.version_mask);
        let submit = request::Submit {
            user,
            job: &work.pool_job,
            en2: &en2[..len],
            ntime: share.share.ntime,
            nonce: share.share.nonce,
            version_bits: rolled,
        };
        request::submit(&mut self.out, id, &submit);
    }

    fn keep_or_drop(&mut self, share: Box<Submission>, why: Dropped) {
        if share.block && self.blocks.len() < BLOCKS_KEPT && self.phase != Phase::Ended {
            self.blocks.push_back(share);
        } else {
            self.drop_share(share, why);
        }
    }

    /// Blocks found while the pool was away: it may still want them, if it gave us the extranonce again that they were
    /// found under. Under another it would put together another coinbase, whose hash is no block's.
    pub(super) fn resubmit_blocks(&mut self, now: Instant) {
        let account = self.names.account();
        while let Some(share) = self.blocks.pop_front() {
            if self.gave(&share) {
                self.write_share(now, &share, &account);
            } else {
                self.drop_share(share, Dropped::LinkLost);
            }
        }
    }

    /// The extranonce in force is the one that this share was found under; never that of a channel that is gone.
    fn gave(&self, share: &Submission) -> bool {
        let work = &share.work;
        let end = work.coinbase_prefix.len() - usize::from(work.pad);
        let now = self.extranonce.as_ref().filter(|_| work.channel == ACCOUNT);
        now.is_some_and(|extranonce| work.coinbase_prefix[..end].ends_with(&extranonce.prefix))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a dropped share has no further owner"
    )]
    pub(super) fn drop_share(&mut self, share: Box<Submission>, why: Dropped) {
        let end = self.ledger.drop_share(&share, why);
        self.outputs.push_back(Output::Settle(end));
    }
}
