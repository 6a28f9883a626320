//! What was asked of a pool and not answered yet, and the counts that must conserve (I3, I6).
//!
//! Invariant: a share enters at most once, leaves exactly once, and `submitted` is the sum of where they are.

use super::{RefusalKind, SettleResult, Settlement};
use crate::proxy::lease::Submission;
use crate::proxy::tally::{Drop as Dropped, Settled};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shares without an answer at once (STRATUM.md section 2): at 1 share/s more than an hour, so a pool that reaches it is dead.
pub(super) const OUTSTANDING: usize = 4096;
/// The share quality looked at for `suspect`, and how long the suspicion lasts without news.
const SUSPECT_OF: u32 = 20;
const SUSPECT_FOR: Duration = Duration::from_secs(600);

/// One request that waits for its answer.
#[derive(Debug)]
pub(super) enum Asked {
    Configure,
    Subscribe,
    Login,
    /// `mining.authorize` of one worker, by its rendered name.
    Worker(Arc<str>),
    /// Whose answer does not matter.
    Other,
    Share {
        worker: Arc<str>,
        hashes: u128,
        at: Instant,
        block: bool,
        /// Which of our channels it went up on.
        channel: u32,
    },
}

impl Asked {
    fn is_on(&self, number: u32) -> bool {
        matches!(self, Self::Share { channel, .. } if *channel == number)
    }
}

/// The ledger of one link; ids and counts outlive its connections.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    next_id: u64,
    /// Shares apart from the rest: the oldest of them is asked for at every turn.
    shares: BTreeMap<u64, Asked>,
    asked: BTreeMap<u64, Asked>,
    settled: Settled,
    recent: (u32, u32),
    suspect_until: Option<Instant>,
}

impl Ledger {
    /// Notes a request and gives its id.
    pub(super) fn ask(&mut self, asked: Asked) -> u64 {
        self.next_id += 1;
        if let Asked::Share { hashes, .. } = &asked {
            self.settled.submitted.add(*hashes);
            self.settled.in_flight.add(*hashes);
            self.shares.insert(self.next_id, asked);
        } else {
            self.asked.insert(self.next_id, asked);
        }
        self.next_id
    }

    /// Whether one more share may be written, where so many more than usual may wait.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.shares.len() < OUTSTANDING + more
    }

    /// The request that an answer belongs to, once.
    pub(super) fn answered(&mut self, id: u64) -> Option<Asked> {
        self.shares.remove(&id).or_else(|| self.asked.remove(&id))
    }

    /// The id that was given out last.
    pub(super) fn last_id(&self) -> u64 {
        self.next_id
    }

    /// As if so many ids had been given out.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, id: u64) {
        self.next_id = id;
    }

    /// The open share of that channel whose id ends in these 32 bits, once.
    pub(super) fn share_answered(&mut self, channel: u32, sequence: u32) -> Option<Asked> {
        let id = self.id_of(sequence)?;
        let asked = self.shares.get(&id)?;
        if !asked.is_on(channel) {
            return None;
        }
        self.shares.remove(&id)
    }

    /// The open shares of that channel up to that one, once. A number that was never given out ends none.
    pub(super) fn answered_through(&mut self, channel: u32, sequence: u32) -> Vec<(u64, Asked)> {
        let Some(last) = self.id_of(sequence) else {
            return Vec::new();
        };
        let ended = |_: &u64, asked: &mut Asked| asked.is_on(channel);
        self.shares.extract_if(..=last, ended).collect()
    }

    /// The newest id that ends in these 32 bits: far fewer are open, so that is the one meant, however often
    /// 32 bits have gone round.
    fn id_of(&self, sequence: u32) -> Option<u64> {
        let low = (self.next_id & u64::from(u32::MAX)) as u32;
        self.next_id
            .checked_sub(u64::from(low.wrapping_sub(sequence)))
    }

    /// When the oldest unanswered share was written.
    pub(super) fn oldest_share(&self) -> Option<Instant> {
        match self.shares.first_key_value() {
            Some((_, Asked::Share { at, .. })) => Some(*at),
            _ => None,
        }
    }

    /// Shares without an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.shares.len()
    }

    /// Ends one share that was written.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        worker: Arc<str>,
        hashes: u128,
        at: Instant,
        block: bool,
        verdict: Result<(), RefusalKind>,
    ) -> Settlement {
        self.leave_flight(hashes);
        let result = match verdict {
            Ok(()) => {
                self.settled.accepted.add(hashes);
                SettleResult::Accepted
            }
            Err(kind) => {
                self.settled.rejected[kind as usize].add(hashes);
                SettleResult::Rejected(kind)
            }
        };
        self.judge_quality(now, verdict.is_ok());
        let latency = Some(now.saturating_duration_since(at));
        Settlement {
            worker,
            hashes,
            result,
            latency,
            block,
        }
    }

    /// Notes a share that is never written.
    pub(super) fn drop_share(&mut self, share: &Submission, why: Dropped) -> Settlement {
        let hashes = share.work.pool_difficulty.hashes();
        self.settled.dropped[why as usize].add(hashes);
        Settlement {
            worker: share.worker.clone(),
            hashes,
            result: SettleResult::Dropped(why),
            latency: None,
            block: share.block,
        }
    }

    /// The connection is gone: what was in flight will never be answered.
    pub(super) fn lose_all(&mut self) -> Vec<Settlement> {
        self.asked.clear();
        let lost = std::mem::take(&mut self.shares);
        self.lost(lost.into_values())
    }

    /// The same of one channel.
    pub(super) fn lose(&mut self, channel: u32) -> Vec<Settlement> {
        let on_it = |_: &u64, asked: &mut Asked| asked.is_on(channel);
        let lost: Vec<_> = self.shares.extract_if(.., on_it).collect();
        self.lost(lost.into_iter().map(|(_, asked)| asked))
    }

    fn lost(&mut self, lost: impl Iterator<Item = Asked>) -> Vec<Settlement> {
        let mut ends = Vec::new();
        for asked in lost {
            if let Asked::Share {
                worker,
                hashes,
                block,
                ..
            } = asked
            {
                self.leave_flight(hashes);
                self.settled.unknown.add(hashes);
                ends.push(Settlement {
                    worker,
                    hashes,
                    result: SettleResult::Unknown,
                    latency: None,
                    block,
                });
            }
        }
        ends
    }

    fn leave_flight(&mut self, hashes: u128) {
        self.settled.in_flight.shares -= 1;
        self.settled.in_flight.hashes -= hashes;
    }

    fn judge_quality(&mut self, now: Instant, good: bool) {
        let (seen, bad) = &mut self.recent;
        *seen += 1;
        *bad += u32::from(!good);
        if *seen >= SUSPECT_OF {
            self.suspect_until = (*bad * 2 > *seen).then_some(now + SUSPECT_FOR);
            self.recent = (0, 0);
        }
    }

    /// More than half of the last [`SUSPECT_OF`] shares were refused; forgotten after a while.
    pub(super) fn suspect(&self, now: Instant) -> bool {
        self.suspect_until.is_some_and(|until| now < until)
    }

    /// The counts.
    pub(super) fn settled(&self) -> &Settled {
        &self.settled
    }
}
