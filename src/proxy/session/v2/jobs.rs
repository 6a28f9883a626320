//! Work becomes jobs: to one channel, or to all of them at once by the group. Not the work itself.
//!
//! A clean job is always a future job and the `SetNewPrevHash` that makes it the one, as pools do; any other builds on the
//! previous hash that its channel has. Invariant: a target is told before the job it is for is mined (SV2 5.3.21), no job
//! names a time below that of its previous hash (5.3.11), and none a time that its channel was on before with the same
//! work.
//!
//! The two rules on time collide: a channel may open on renewed work, whose time runs ahead, and the pool's next job names
//! an earlier one. That is told later than it says, by as much as it takes; so are then its renewals and everything else on
//! the same block, or they would begin where the channel has been ([`Ahead`]).

use super::channel::{Channel, Kind, State};
use super::setup::ROLLED;
use super::{GROUP, Output, Session};
use crate::proxy::lease::{Issue, SessionId};
use crate::proxy::session::mining::Told;
use crate::stratum::v2::message::{NewExtendedMiningJob, NewMiningJob, SetNewPrevHash};
use crate::work::{LinkId, Work};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Instant;

/// A job that a channel is due.
struct Due {
    at: usize,
    issue: Arc<Issue>,
    told: Told,
    rolls: bool,
}

/// By how much a channel's jobs on a block are told later than the work says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    link: LinkId,
    prev_hash: [u8; 32],
    seconds: u32,
}

impl Channel {
    /// The time at which a job of this work may begin.
    fn begins(&self, work: &Work, clean: bool) -> u32 {
        let of = |ahead: &&Ahead| ahead.link == work.link && ahead.prev_hash == work.prev_hash;
        let ahead = self.ahead.iter().find(of).map_or(0, |ahead| ahead.seconds);
        let ntime = work.ntime.saturating_add(ahead);
        if clean {
            ntime
        } else {
            ntime.max(self.tip_ntime)
        }
    }

    /// A job of this work begins at that time.
    fn begun(&mut self, work: &Work, ntime: u32, clean: bool) {
        if clean {
            self.tip_ntime = ntime;
        }
        let (link, prev_hash) = (work.link, work.prev_hash);
        self.ahead
            .retain(|ahead| ahead.link != link || ahead.prev_hash == prev_hash);
        let seconds = ntime - work.ntime;
        match self.ahead.iter_mut().find(|ahead| ahead.link == link) {
            Some(ahead) => ahead.seconds = seconds,
            None if seconds > 0 => self.ahead.push(Ahead {
                link,
                prev_hash,
                seconds,
            }),
            None => {}
        }
    }
}

impl Session {
    /// New work of a link: for every channel that mines for it.
    pub(super) fn work(&mut self, now: Instant, issue: &Arc<Issue>) {
        for channel in &mut self.channels {
            if channel.mining.lease.link == Some(issue.work.link) {
                channel.mining.latest = Some(issue.clone());
            }
        }
        self.issue(now);
    }

    /// Gives every channel the newest work of its link, if it may have it now.
    pub(super) fn issue(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        let Some(client) = &self.client else { return };
        let fixed = client.fixed_version;
        let may_group = !client.standard_jobs;
        let mut due: SmallVec<[Due; 1]> = SmallVec::new();
        let mut open = 0;
        for (at, channel) in self.channels.iter_mut().enumerate() {
            if channel.state != State::Open {
                continue;
            }
            open += 1;
            let policy = self.config.version_mask & channel.mining.lease.version_mask;
            let must_roll = !fixed && (client.requires_rolling || channel.kind == Kind::Standard);
            let grantable = |work_mask: u32| grantable(policy & work_mask, fixed, must_roll);
            let Channel { mining, user, .. } = &mut **channel;
            if let Some((issue, mask)) = mining.next_work(now, user, grantable) {
                let told = channel.mining.give(now, &self.config, &issue, mask, false);
                let rolls = mask != 0;
                due.push(Due {
                    at,
                    issue,
                    told,
                    rolls,
                });
            }
        }
        for Due { at, told, .. } in &due {
            if told.changed {
                self.channels[*at].tell_target(&mut self.out);
            }
        }
        if may_group && due.len() > 1 && due.len() == open && self.all_alike(&due) {
            self.tell_group(&due);
        } else {
            for due in due {
                self.tell(due);
            }
        }
    }

    fn all_alike(&self, due: &[Due]) -> bool {
        let alike = |a: &Due, b: &Due| {
            a.issue.work.id == b.issue.work.id && a.told.clean == b.told.clean && a.rolls == b.rolls
        };
        due.windows(2).all(|pair| alike(&pair[0], &pair[1]))
            && due.iter().all(|due| {
                let channel = &self.channels[due.at];
                // SV2 5.3.15: the first job of a standard channel is a NewMiningJob of its own. And one that waits for its
                // root may be the one that brings its channel the block that this one builds on.
                channel.tip_ntime != 0 && channel.rooting.is_none()
            })
    }

    fn tell_group(&mut self, due: &[Due]) {
        let Due {
            issue, told, rolls, ..
        } = &due[0];
        let begins = |due: &Due| self.channels[due.at].begins(&issue.work, told.clean);
        let ntime = due.iter().map(begins).max().unwrap_or(issue.work.ntime);
        extended_job(&mut self.out, GROUP, &issue.work, ntime, told.clean, *rolls);
        for Due { at, .. } in due {
            let channel = &mut self.channels[*at];
            channel.rooting = None;
            channel.begun(&issue.work, ntime, told.clean);
        }
    }

    fn tell(&mut self, due: Due) {
        let channel = &mut self.channels[due.at];
        let Due {
            issue, told, rolls, ..
        } = due;
        match channel.kind {
            Kind::Extended(_) => {
                let ntime = channel.begins(&issue.work, told.clean);
                channel.begun(&issue.work, ntime, told.clean);
                let id = channel.id;
                extended_job(&mut self.out, id, &issue.work, ntime, told.clean, rolls);
            }
            Kind::Standard => {
                let Some(seat) = &channel.mining.seat else {
                    return;
                };
                // One that was not told yet is replaced; if it was clean, its successor is.
                let unclean = channel.rooting.take();
                let clean = told.clean || unclean.is_some_and(|(_, clean)| clean);
                let (session, work) = (channel.mining.id, issue.work.clone());
                let root = Output::Root(session, work, seat.lane);
                channel.rooting = Some((issue, clean));
                self.outputs.push_back(root);
            }
        }
    }

    /// The merkle root of a standard channel's job; the channel's place.
    pub(super) fn rooted(
        &mut self,
        session: SessionId,
        work: &Arc<Work>,
        root: &[u8; 32],
    ) -> Option<usize> {
        let at = self.place(session)?;
        let channel = &mut self.channels[at];
        let wanted = |(issue, _): &mut (Arc<Issue>, bool)| issue.work.id == work.id;
        if let Some((_, clean)) = channel.rooting.take_if(wanted)
            && channel.state == State::Open
        {
            channel.keep_root(work.id, *root);
            standard_job(&mut self.out, channel, work, clean, root);
        }
        Some(at)
    }
}

/// The bits that may be rolled of those allowed: all that a client may assume, or none; `None`: it must have them.
fn grantable(allowed: u32, fixed: bool, must_roll: bool) -> Option<u32> {
    if !fixed && allowed & ROLLED == ROLLED {
        Some(allowed)
    } else {
        (!must_roll).then_some(0)
    }
}

fn extended_job(
    out: &mut Vec<u8>,
    channel_id: u32,
    work: &Work,
    ntime: u32,
    clean: bool,
    rolls: bool,
) {
    NewExtendedMiningJob {
        channel_id,
        job_id: work.id.0,
        min_ntime: (!clean).then_some(ntime),
        version: work.version,
        version_rolling_allowed: rolls,
        merkle_path: &work.branch,
        coinbase_tx_prefix: &work.coinbase_prefix,
        coinbase_tx_suffix: &work.coinbase_suffix,
    }
    .write(out);
    if clean {
        previous_hash(out, channel_id, work, ntime);
    }
}

fn standard_job(
    out: &mut Vec<u8>,
    channel: &mut Channel,
    work: &Work,
    clean: bool,
    root: &[u8; 32],
) {
    let ntime = channel.begins(work, clean);
    channel.begun(work, ntime, clean);
    NewMiningJob {
        channel_id: channel.id,
        job_id: work.id.0,
        min_ntime: (!clean).then_some(ntime),
        version: work.version,
        merkle_root: *root,
    }
    .write(out);
    if std::mem::take(&mut channel.owes_target) {
        channel.write_target(out);
    }
    if clean {
        previous_hash(out, channel.id, work, ntime);
    }
}

fn previous_hash(out: &mut Vec<u8>, channel_id: u32, work: &Work, min_ntime: u32) {
    SetNewPrevHash {
        channel_id,
        job_id: work.id.0,
        prev_hash: work.prev_hash,
        min_ntime,
        nbits: work.nbits,
    }
    .write(out);
}
