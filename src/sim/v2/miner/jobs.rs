//! How a simulated V2 miner takes jobs and prev-hashes (SV2 spec 5.3.15 to 5.3.17).
//!
//! Invariant: a channel mines at most one job, and after a prev-hash only the one it names.

use super::{Breach, Instant, KindV2, Message, SimMinerV2};
use crate::sim::v2::{
    channel::{Body, JobV2, Prev},
    message::ExtendedJob,
};

impl SimMinerV2 {
    pub(super) fn take_work(&mut self, now: Instant, message: Message) {
        match message {
            Message::NewJob {
                channel,
                job,
                min_ntime,
                version,
                root,
            } => {
                let body = Body::Root(root);
                self.take_standard(now, channel, job, version, body, min_ntime);
            }
            Message::NewExtendedJob(job) => self.take_extended(now, &job),
            Message::SetPrevHash {
                channel,
                job,
                prev_hash,
                min_ntime,
                nbits,
            } => {
                let hash = prev_hash;
                self.take_prev_hash(now, channel, job, Prev { hash, nbits }, min_ntime);
            }
            _ => {
                if let Some(connection) = &mut self.connection {
                    connection.watch.breach(Breach::UnknownMessage);
                }
            }
        }
    }

    fn take_standard(
        &mut self,
        now: Instant,
        id: u32,
        job: u32,
        version: u32,
        body: Body,
        min_ntime: Option<u32>,
    ) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mask = self.config.version_mask;
        let mask = if connection.fixed_version { 0 } else { mask };
        match connection.channels.get(&id).map(|c| c.standard) {
            Some(true) => {}
            Some(false) => return connection.watch.breach(Breach::WrongKindOfJob),
            None => return connection.wrong_channel(id),
        }
        let id_of_job = job;
        let job = JobV2 {
            id: id_of_job,
            version,
            mask,
            body,
        };
        self.take_job(now, id, job, min_ntime);
    }

    fn take_extended(&mut self, now: Instant, sent: &ExtendedJob) {
        let standard_only = self.config.kind == KindV2::Standard;
        let Some(connection) = &mut self.connection else {
            return;
        };
        let rolls = sent.rolling && !connection.fixed_version;
        let mask = if rolls { self.config.version_mask } else { 0 };
        let to_one = connection.channels.get(&sent.channel).map(|c| c.standard);
        if to_one == Some(true) || (standard_only && !connection.channels.is_empty()) {
            return connection.watch.breach(Breach::WrongKindOfJob);
        }
        let addressed = connection.addressed(sent.channel);
        if addressed.is_empty() {
            return connection.wrong_channel(sent.channel);
        }
        for id in addressed {
            let channels = self.connection.as_ref().map(|c| &c.channels);
            let Some(channel) = channels.and_then(|channels| channels.get(&id)) else {
                continue;
            };
            let body = Body::Coinbase {
                head: [&sent.coinbase_prefix[..], &channel.prefix].concat(),
                tail: sent.coinbase_suffix.clone(),
                path: sent.path.clone(),
            };
            let job = JobV2 {
                id: sent.job,
                version: sent.version,
                mask,
                body,
            };
            self.take_job(now, id, job, sent.min_ntime);
        }
    }

    fn take_job(&mut self, now: Instant, id: u32, job: JobV2, min_ntime: Option<u32>) {
        self.job_seq += 1;
        self.stats.jobs += 1;
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(channel) = connection.channels.get_mut(&id) else {
            return;
        };
        let before = channel.current.as_ref().map(|current| current.bound);
        if let Err(violation) = channel.take_job(now, self.job_seq, job, min_ntime) {
            connection.watch.report(violation);
        }
        let bound = channel.current.as_ref().map(|current| current.bound);
        if bound != before || channel.due.is_none() {
            self.schedule(now, id);
        }
    }

    fn take_prev_hash(&mut self, now: Instant, named: u32, job: u32, prev: Prev, min_ntime: u32) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let addressed = connection.addressed(named);
        if addressed.is_empty() {
            return connection.wrong_channel(named);
        }
        for id in addressed {
            self.job_seq += 1;
            let Some(connection) = &mut self.connection else {
                return;
            };
            let Some(channel) = connection.channels.get_mut(&id) else {
                continue;
            };
            if self.config.manners.late
                && self.config.hashrate > 0.0
                && let Some(old) = channel.current.clone()
            {
                channel.late = Some((now, old));
            }
            let taken = channel.take_prev_hash(now, self.job_seq, job, prev, min_ntime);
            if let Err(violation) = taken {
                connection.watch.report(violation);
            }
            self.schedule(now, id);
        }
    }
}
