//! What the pool sends out: jobs, prev-hashes, targets.
//!
//! Invariant: a channel is judged by what it was told with the job, and told of a job before the prev-hash that names
//! it (unless the pool lies).

use super::{
    Bound, Channel, ConnectionId, Duration, Instant, JOBS_KEPT, Lie, Message, PoolJob, SimPoolV2,
    Terms, target,
};
use crate::sim::v2::message::ExtendedJob;

/// A difficulty moves by at most this much in one look.
const STEP: f64 = 4.0;

impl SimPoolV2 {
    /// The first block, and with `jobs_ahead` the job of the one after it.
    pub(super) fn begin(&mut self, now: Instant) {
        self.make_job(now, 0);
        self.make_ahead(now);
        self.stats.pool.blocks_made += 1;
    }

    /// A new block: its job as a future one (unless sent ahead), then the prev-hash that activates it.
    pub fn new_block(&mut self, now: Instant) {
        let ahead = self.ahead.take();
        let sent_ahead = ahead.is_some();
        if let Some(template) = ahead {
            self.template = template;
        } else {
            self.template.next_block();
            self.make_job(now, self.block + 1);
        }
        self.block += 1;
        self.stats.pool.blocks_made += 1;
        self.seen.clear();
        (self.min_ntime, self.prev_at) = (self.unix(now), now);
        let Some(job) = self.newest() else {
            return;
        };
        if self.lies(Lie::PrevHashFirst) {
            self.announce(now, &job);
            self.distribute(now, &job, None);
        } else {
            if !sent_ahead {
                self.distribute(now, &job, None);
            }
            self.announce(now, &job);
        }
        if self.make_ahead(now)
            && let Some(job) = self.jobs.back().cloned()
        {
            self.distribute(now, &job, None);
        }
    }

    /// A new job on the same block, active at once.
    pub fn new_job(&mut self, now: Instant) {
        let mut last = self.jobs.back().cloned();
        let ahead = last.take_if(|job| job.block > self.block);
        if ahead.is_some() {
            self.jobs.pop_back(); // keeps its place as the last
        }
        let reused = self.jobs.back().map(|job| job.id);
        self.make_job(now, self.block);
        if self.lies(Lie::JobIdReused)
            && let (Some(job), Some(id)) = (self.jobs.back_mut(), reused)
        {
            job.id = id;
        }
        let job = self.jobs.back().cloned();
        self.jobs.extend(ahead);
        if let Some(job) = job {
            let ntime = self.unix(now).max(self.min_ntime);
            self.distribute(now, &job, Some(ntime));
        }
    }

    /// The present jobs for a channel that has just been opened: a future one, its prev-hash, and what was sent ahead.
    pub(super) fn welcome(&mut self, now: Instant, id: ConnectionId, channel: u32) {
        let Some(job) = self.newest() else {
            return;
        };
        if self.lies(Lie::JobBeforePrevHash) {
            let ntime = self.unix(now);
            return self.send_job(now, id, channel, &job, Some(ntime));
        }
        self.send_job(now, id, channel, &job, None);
        self.activate(id, channel, &job);
        self.send_prev_hash(now, id, channel, &job);
        let ahead = self.jobs.iter().find(|job| job.block > self.block);
        if let Some(job) = ahead.cloned() {
            self.send_job(now, id, channel, &job, None);
        }
    }

    /// The newest job of the present block.
    fn newest(&self) -> Option<PoolJob> {
        let mut newest_first = self.jobs.iter().rev();
        newest_first.find(|job| job.block == self.block).cloned()
    }

    fn make_job(&mut self, now: Instant, block: u64) {
        self.job_ids = self.job_ids.wrapping_add(1);
        self.stats.pool.jobs_made += 1;
        let ntime = self.unix(now);
        let job = self.template.job(self.job_ids.into(), ntime, false);
        self.jobs.push_back(PoolJob {
            id: self.job_ids,
            block,
            job,
        });
        if self.jobs.len() > JOBS_KEPT
            && let Some(gone) = self.jobs.pop_front()
        {
            let channels = self
                .connections
                .values_mut()
                .flat_map(|c| c.channels.values_mut());
            channels.for_each(|channel| drop(channel.terms.remove(&gone.id)));
        }
    }

    /// With `jobs_ahead`, the job of the next block.
    fn make_ahead(&mut self, now: Instant) -> bool {
        if self.config.jobs_ahead {
            // The template of the block in force stays for new_job.
            let present = self.template.clone();
            self.template.next_block();
            self.make_job(now, self.block + 1);
            let ahead = std::mem::replace(&mut self.template, present);
            self.ahead = Some(ahead);
        }
        self.config.jobs_ahead
    }

    /// A job to everyone, once per group where that can be.
    fn distribute(&mut self, now: Instant, job: &PoolJob, min_ntime: Option<u32>) {
        for id in self.connection_ids() {
            let Some(connection) = self.connections.get(&id) else {
                continue;
            };
            let channels: Vec<u32> = connection.channels.keys().copied().collect();
            if !self.config.groups || !connection.takes_extended() {
                for channel in channels {
                    self.send_job(now, id, channel, job, min_ntime);
                }
                continue;
            }
            for group in self.groups(id) {
                let message = self.extended(job, group, min_ntime);
                self.send(now, id, &message);
            }
            for channel in channels {
                self.note_terms(id, channel, job, min_ntime);
            }
        }
    }

    /// A prev-hash to everyone, once per group where that can be.
    fn announce(&mut self, now: Instant, job: &PoolJob) {
        for (id, channel) in self.channel_ids() {
            self.activate(id, channel, job);
        }
        for id in self.connection_ids() {
            let Some(connection) = self.connections.get(&id) else {
                continue;
            };
            let grouped = self.config.groups && connection.takes_extended();
            let channels = connection.channels.keys().copied();
            let addressed: Vec<u32> = if grouped {
                self.groups(id)
            } else {
                channels.collect()
            };
            for channel in addressed {
                self.send_prev_hash(now, id, channel, job);
            }
        }
    }

    fn groups(&self, id: ConnectionId) -> Vec<u32> {
        let channels = self.connections.get(&id).map(|c| c.channels.values());
        let mut groups: Vec<u32> = channels.into_iter().flatten().map(|c| c.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// A job to one channel, in its kind.
    fn send_job(
        &mut self,
        now: Instant,
        id: ConnectionId,
        channel: u32,
        job: &PoolJob,
        min_ntime: Option<u32>,
    ) {
        self.note_terms(id, channel, job, min_ntime);
        let wrong = self.lies(Lie::WrongKindOfJob);
        let foreign = self.lies(Lie::ForeignChannel);
        let Some(open) = self.channel(id, channel) else {
            return;
        };
        let addressed = channel ^ (u32::from(foreign) << 31);
        let message = if open.standard != wrong {
            let extranonce = vec![0; open.extranonce_size];
            let root = job.job.merkle_root(&open.prefix, &extranonce);
            Message::NewJob {
                channel: addressed,
                job: job.id,
                min_ntime,
                version: job.job.version,
                root,
            }
        } else {
            self.extended(job, addressed, min_ntime)
        };
        self.send(now, id, &message);
    }

    fn send_prev_hash(&mut self, now: Instant, id: ConnectionId, channel: u32, job: &PoolJob) {
        let message = Message::SetPrevHash {
            channel,
            job: job.id,
            prev_hash: job.job.prev_hash,
            min_ntime: self.min_ntime,
            nbits: job.job.nbits,
        };
        self.send(now, id, &message);
    }

    fn extended(&self, job: &PoolJob, channel: u32, min_ntime: Option<u32>) -> Message {
        Message::NewExtendedJob(ExtendedJob {
            channel,
            job: job.id,
            min_ntime,
            version: job.job.version,
            rolling: self.config.version_mask != 0,
            path: job.job.branches.clone(),
            coinbase_prefix: job.job.coinb1.clone(),
            coinbase_suffix: job.job.coinb2.clone(),
        })
    }

    fn note_terms(
        &mut self,
        id: ConnectionId,
        channel: u32,
        job: &PoolJob,
        min_ntime: Option<u32>,
    ) {
        if let Some(open) = self.channel(id, channel) {
            let terms = Terms {
                prefix: open.prefix.clone(),
                extranonce_size: open.extranonce_size,
                target: min_ntime.map(|_| open.target),
            };
            open.terms.insert(job.id, terms);
        }
    }

    /// The future job takes the target in force.
    fn activate(&mut self, id: ConnectionId, channel: u32, job: &PoolJob) {
        if let Some(open) = self.channel(id, channel) {
            let target = open.target;
            if let Some(terms) = open.terms.get_mut(&job.id) {
                terms.target = Some(target);
            }
        }
    }

    /// What the config says a channel's target is.
    pub(super) fn policy(&self, hashrate: f64, max_target: Bound) -> Bound {
        let floor = self.config.difficulty;
        let rate = self.config.shares_per_s;
        let wanted = rate.map(|rate| target::for_hashrate(hashrate, rate, floor));
        let easiest = Bound::of_difficulty(floor).unwrap_or(Bound([u64::MAX; 4]));
        target::harder(wanted.unwrap_or(easiest), max_target)
    }

    pub(super) fn retarget_all(&mut self, now: Instant) {
        for (id, channel) in self.channel_ids() {
            self.retarget(now, id, channel);
        }
    }

    pub(super) fn retarget(&mut self, now: Instant, id: ConnectionId, channel: u32) {
        let Some(open) = self.channel(id, channel) else {
            return;
        };
        let (hashrate, max_target) = (open.hashrate, open.max_target);
        let wanted = self.policy(hashrate, max_target);
        self.set_target(now, id, channel, wanted);
    }

    /// Sends a target that is not the one told before.
    fn set_target(&mut self, now: Instant, id: ConnectionId, channel: u32, wanted: Bound) {
        let wanted = if self.lies(Lie::TargetAboveMax) {
            Bound([u64::MAX; 4])
        } else {
            wanted
        };
        let changed = |open: &&mut Channel| open.target != wanted;
        if let Some(open) = self.channel(id, channel).filter(changed) {
            open.target = wanted;
            let target = target::to_bytes(wanted);
            self.send(now, id, &Message::SetTarget { channel, target });
        }
    }

    pub(super) fn adapt_targets(&mut self, now: Instant) {
        let Some(vardiff) = self.config.vardiff else {
            return;
        };
        let every: Duration = vardiff.every;
        let wanted = vardiff.shares_per_s * every.as_secs_f64();
        for (id, channel) in self.channel_ids() {
            let Some(open) = self.channel(id, channel) else {
                continue;
            };
            let seen = std::mem::take(&mut open.shares) as f64;
            let (difficulty, max_target) = (target::difficulty(&open.target), open.max_target);
            let factor = match seen / wanted {
                part if part > 2.0 => part.min(STEP),
                part if part < 0.5 => part.max(1.0 / STEP),
                _ => continue,
            };
            let next = (difficulty * factor).clamp(self.config.difficulty, 2f64.powi(63));
            if let Some(bound) = Bound::of_difficulty(next) {
                self.set_target(now, id, channel, target::harder(bound, max_target));
            }
        }
    }
}
