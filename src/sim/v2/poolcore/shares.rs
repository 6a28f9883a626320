//! How the pool receives, counts, acknowledges and refuses shares.
//!
//! Invariant: a share moves `received` and one of `accepted` and `rejected`, and is in one batch or one refusal.

use super::{ConnectionId, Instant, Lie, Message, SimPoolV2};
use crate::sim::{
    judge::{Good, Reason},
    poolconfig::UserStats,
    v2::{
        judge::{Ranges, code, judge},
        message::Submit,
    },
};
use std::collections::{BTreeMap, VecDeque};

/// Names counted one by one.
const USERS: usize = 10_000;
/// Shares and block hashes kept.
const RING: usize = 64;

impl SimPoolV2 {
    pub(super) fn submit(
        &mut self,
        now: Instant,
        from: ConnectionId,
        submit: &Submit,
        standard: bool,
    ) {
        self.stats.pool.received += 1;
        keep(&mut self.stats.pool.last_submits, format!("{submit:?}"));
        let verdict = self.verdict(now, from, submit, standard);
        self.count(from, submit, &verdict);
        let channel = submit.channel;
        match verdict {
            Ok(good) => self.add_to_batch(now, from, submit, &good),
            Err(reason) => {
                let (sequence, code) = (submit.sequence, code(reason).to_owned());
                let message = Message::SubmitError {
                    channel,
                    sequence,
                    code,
                };
                self.send(now, from, &message);
            }
        }
    }

    fn verdict(
        &mut self,
        now: Instant,
        from: ConnectionId,
        submit: &Submit,
        standard: bool,
    ) -> Result<Good, Reason> {
        let connection = self.connections.get(&from);
        let open = connection.and_then(|c| c.channels.get(&submit.channel));
        let open = open.ok_or(Reason::Unauthorized)?;
        if open.standard != standard {
            return Err(Reason::Malformed);
        }
        let mut newest_first = self.jobs.iter().rev();
        let job = newest_first.find(|job| job.id == submit.job);
        let terms = open.terms.get(&submit.job);
        let (job, terms) = job.zip(terms).ok_or(Reason::Stale)?;
        // Ranges are those of the block in force: of a share of an older one they say nothing.
        let judged = judge(&job.job, terms, self.ranges(now), submit);
        let good = judged.map_err(|why| match job.block == self.block {
            true => why,
            false => Reason::Stale,
        })?;
        // Counted even when stale: a block candidate must have reached the pool whatever else it is.
        if good.block && !self.stats.pool.block_hashes.contains(&good.hash) {
            self.stats.pool.blocks += 1;
            keep(&mut self.stats.pool.block_hashes, good.hash);
        }
        if job.block != self.block {
            return Err(Reason::Stale);
        }
        if !self.seen.insert(good.hash) {
            return Err(Reason::Duplicate);
        }
        if self.rng.chance(self.config.reject_ratio) {
            self.stats.pool.refused_hashes += good.weight;
            return Err(Reason::OnPurpose);
        }
        Ok(good)
    }

    /// 5.3.11: from the prev-hash's ntime on, as far as seconds have passed since.
    fn ranges(&self, now: Instant) -> Ranges {
        let elapsed = now.duration_since(self.prev_at).as_secs() as u32;
        let latest = self.min_ntime.saturating_add(elapsed);
        Ranges {
            mask: self.config.version_mask,
            ntime: (
                self.min_ntime,
                latest.saturating_add(self.config.ntime_ahead_s),
            ),
        }
    }

    fn count(&mut self, from: ConnectionId, submit: &Submit, verdict: &Result<Good, Reason>) {
        let connection = self.connections.get(&from);
        let open = connection.and_then(|c| c.channels.get(&submit.channel));
        let user = open.map_or(String::new(), |open| open.user.clone());
        let tracked = connection.is_some_and(|c| c.worker_tracking);
        add(&mut self.stats.pool.users, &user, verdict);
        if let Some(worker) = submit.worker.as_ref().filter(|_| tracked) {
            add(&mut self.stats.workers, worker, verdict);
        }
        match verdict {
            Ok(good) => {
                self.stats.pool.accepted += 1;
                self.stats.pool.accepted_hashes += good.weight;
            }
            Err(reason) => *self.stats.pool.rejected.entry(*reason).or_default() += 1,
        }
    }

    fn add_to_batch(&mut self, now: Instant, from: ConnectionId, submit: &Submit, good: &Good) {
        let acks = self.config.acks;
        let Some(open) = self.channel(from, submit.channel) else {
            return;
        };
        open.shares += 1;
        let batch = &mut open.batch;
        batch.count += 1;
        batch.difficulty += good.weight as f64 / 4_294_967_296.0;
        batch.last = submit.sequence;
        batch.due = batch.due.or(acks.within.map(|within| now + within));
        if batch.count >= acks.every {
            self.flush(now, from, submit.channel);
        }
    }

    /// Acknowledges what waits.
    pub(super) fn flush(&mut self, now: Instant, id: ConnectionId, channel: u32) {
        let Some(open) = self
            .channel(id, channel)
            .filter(|open| open.batch.count > 0)
        else {
            return;
        };
        let batch = std::mem::take(&mut open.batch);
        let message = Message::SubmitSuccess {
            channel,
            last: batch.last,
            count: batch.count - u32::from(self.lies(Lie::AckShort)),
            sum: batch.difficulty as u64,
        };
        self.stats.acks += 1;
        self.send(now, id, &message);
        if self.lies(Lie::AckTwice) {
            self.send(now, id, &message);
        }
    }

    pub(super) fn acknowledge_due(&mut self, now: Instant) {
        if self.config.acks.within.is_none() {
            return;
        }
        for (id, channel) in self.channel_ids() {
            let due = self.channel(id, channel).and_then(|open| open.batch.due);
            if due.is_some_and(|due| now >= due) {
                self.flush(now, id, channel);
            }
        }
    }
}

fn add(users: &mut BTreeMap<String, UserStats>, name: &str, verdict: &Result<Good, Reason>) {
    let known = users.contains_key(name) || users.len() < USERS;
    let name = if known { name } else { "(others)" };
    let user = users.entry(name.to_owned()).or_default();
    match verdict {
        Ok(good) => {
            user.accepted += 1;
            user.hashes += good.weight;
        }
        Err(_) => user.rejected += 1,
    }
}

fn keep<T>(ring: &mut VecDeque<T>, item: T) {
    if ring.len() >= RING {
        ring.pop_front();
    }
    ring.push_back(item);
}
