//! Channels: seated, told, closed. What asks for them is in `wishes`, their jobs in `jobs`, their shares in `shares`.
//!
//! Invariant: a channel id is given once in the life of a connection, and a channel that is over sends nothing more.

use super::jobs::Ahead;
use super::shares::{Batch, Judging};
use super::{GROUP, Session};
use crate::proxy::lease::{Issue, Lease, Seat, SessionId};
use crate::proxy::session::jobs::KEPT;
use crate::proxy::session::mining::Mining;
use crate::proxy::session::{self, Close, Event, NoSeat};
use crate::stratum::v2::code;
use crate::stratum::v2::message::{
    CloseChannel, OpenExtendedMiningChannelSuccess, OpenStandardMiningChannelSuccess,
    SetCustomMiningJob, SetCustomMiningJobError, SetTarget, clip,
};
use crate::work::{Difficulty, Target, WorkId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Where a channel is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The router was asked for a seat.
    Seating,
    /// Answered: it may mine.
    Open,
    /// Over, as soon as its shares have their verdicts; its client hears of it then.
    Ending(Close),
    /// The same, but its client knows: nothing is sent for it any more.
    Left(Close),
}

/// What kind of jobs it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Header only: a merkle root per job.
    Standard,
    /// It rolls so many bytes of extranonce itself.
    Extended(u8),
}

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: u32,
    pub(super) state: State,
    pub(super) kind: Kind,
    pub(super) request_id: u32,
    pub(super) user: Arc<str>,
    pub(super) mining: Mining,
    /// Shares that wait for their verdict, in the order they came.
    pub(super) judging: VecDeque<Judging>,
    pub(super) batch: Batch,
    /// The `min_ntime` of its last `SetNewPrevHash`: no job may go below.
    pub(super) tip_ntime: u32,
    /// Its target is to be told behind its first job.
    pub(super) owes_target: bool,
    /// By link, where its jobs are told later than their work says; empty for most.
    pub(super) ahead: Vec<Ahead>,
    /// A job that waits for its merkle root; whether it is clean.
    pub(super) rooting: Option<(Arc<Issue>, bool)>,
    /// The merkle roots of the jobs that a standard channel was told one by one, oldest first: its shares need no other
    /// hash than their header's.
    pub(super) roots: VecDeque<(WorkId, [u8; 32])>,
    /// The driver was told that it is over.
    pub(super) told_gone: bool,
}

impl Channel {
    /// What it was told its hashes must meet, in wire order.
    pub(super) fn target(&self) -> [u8; 32] {
        let difficulty = self.mining.advertised.unwrap_or(Difficulty::MIN);
        Target::from_difficulty(difficulty).to_le_bytes()
    }

    /// What it was told its hashes must meet has changed. SV2 5.3.15: a standard channel's first message is its first job.
    /// That is a future job, so a target which stands behind it holds for it too (5.3.21).
    pub(super) fn tell_target(&mut self, out: &mut Vec<u8>) {
        self.owes_target = self.kind == Kind::Standard && self.tip_ntime == 0;
        if !self.owes_target {
            self.write_target(out);
        }
    }

    pub(super) fn write_target(&self, out: &mut Vec<u8>) {
        SetTarget {
            channel_id: self.id,
            maximum_target: self.target(),
        }
        .write(out);
    }

    /// Remembers the root of a job, as long as the job itself is.
    pub(super) fn keep_root(&mut self, id: WorkId, root: [u8; 32]) {
        if self.roots.len() == KEPT {
            self.roots.pop_front();
        }
        self.roots.push_back((id, root));
    }

    /// The root of a job, newest first.
    pub(super) fn root(&self, id: WorkId) -> Option<[u8; 32]> {
        let mut newest = self.roots.iter().rev();
        let found = newest.find(|(known, _)| *known == id);
        found.map(|(_, root)| *root)
    }

    /// Nothing is to be mined on it any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Ending(_) | State::Left(_))
    }

    /// Why it is over.
    pub(super) fn ended(&self) -> Close {
        match self.state {
            State::Ending(why) | State::Left(why) => why,
            State::Seating | State::Open => Close::Peer,
        }
    }
}

impl Session {
    /// What concerns one channel; its place, if no other can be concerned too.
    pub(super) fn of(
        &mut self,
        now: Instant,
        session: SessionId,
        input: session::Input<'_>,
    ) -> Option<usize> {
        let Some(at) = self.place(session) else {
            // A verdict or a lease may cross its end.
            self.of_gone(now, session, &input);
            return None;
        };
        let alone = matches!(
            input,
            session::Input::Judged(..) | session::Input::Submitted(..)
        );
        match input {
            session::Input::Seated(seat, lease) => self.seated(now, at, *seat, lease),
            session::Input::NoSeat(NoSeat::Full) => {
                self.unseated(at, code::CHANNEL_CAPACITY_EXHAUSTED);
            }
            session::Input::NoSeat(NoSeat::TooWide) => {
                self.unseated(at, code::MIN_EXTRANONCE_SIZE_TOO_LARGE);
            }
            session::Input::Lease(lease) => {
                let mining = &mut self.channels[at].mining;
                mining.lease(lease);
                // A failover brings one to every channel, and its work after the last: nobody else is looked at for it.
                if mining.latest.is_none() {
                    return Some(at);
                }
                self.issue(now);
            }
            session::Input::Watched(watched) => {
                let mining = &mut self.channels[at].mining;
                mining.vardiff.watch(now, &self.config.vardiff, watched);
                mining.hurry(now, &self.config);
            }
            session::Input::Judged(request, proof) => self.judged(now, at, request, proof),
            session::Input::Submitted(worker, result, hashes) => {
                self.channels[at].mining.submitted(worker, result, hashes);
            }
            session::Input::Close(why) => self.close_by_us(at, why),
            session::Input::Line(_)
            | session::Input::Overlong
            | session::Input::Issue(_)
            | session::Input::Drain
            | session::Input::SlowReader => {}
        }
        alone.then_some(at)
    }

    /// What became of the last shares of a channel that is over counts like any other.
    fn of_gone(&mut self, now: Instant, session: SessionId, input: &session::Input<'_>) {
        let gone = self.gone.iter_mut().find(|c| c.mining.id == session);
        if let (Some(channel), session::Input::Submitted(worker, result, hashes)) = (gone, input) {
            channel.mining.submitted(worker, *result, *hashes);
            channel.mining.observe(now, true);
        }
    }

    fn seated(&mut self, now: Instant, at: usize, seat: Seat, lease: Lease) {
        let channel = &mut self.channels[at];
        if channel.state != State::Seating {
            return;
        }
        let agent = self.client.as_ref().map_or("".into(), |c| c.agent.clone());
        let layout = seat.layout;
        let (own, rolled) = (layout.lane - seat.width, layout.rolled + seat.width);
        let lane = seat.lane.bytes(layout);
        channel.mining.sit(seat, agent);
        if self.closing.is_some() {
            // Its lane goes back with the connection.
            return;
        }
        if let Kind::Extended(wanted) = &mut channel.kind {
            if *wanted > rolled {
                return self.unseated(at, code::MIN_EXTRANONCE_SIZE_TOO_LARGE);
            }
            *wanted = rolled;
        }
        channel.state = State::Open;
        channel.mining.lease(lease);
        let start = channel.mining.vardiff.current().max(channel.mining.floor);
        channel.mining.advertised = Some(start);
        let target = channel.target();
        let (request_id, channel_id, kind) = (channel.request_id, channel.id, channel.kind);
        let user = Event::Authorized(channel.user.clone());
        channel
            .mining
            .outputs
            .push_back(session::Output::Event(user));
        match kind {
            Kind::Standard => {
                // All of its extranonce: the lane, and zeros where an extended channel's client would roll.
                let mut prefix = [0; 16];
                prefix[..lane.len()].copy_from_slice(&lane);
                prefix[usize::from(own)..].fill(0);
                OpenStandardMiningChannelSuccess {
                    request_id,
                    channel_id,
                    target,
                    extranonce_prefix: &prefix[..usize::from(layout.total())],
                    group_channel_id: GROUP,
                }
                .write(&mut self.out);
            }
            Kind::Extended(size) => OpenExtendedMiningChannelSuccess {
                request_id,
                channel_id,
                target,
                extranonce_size: u16::from(size),
                extranonce_prefix: &lane[..usize::from(own)],
                group_channel_id: GROUP,
            }
            .write(&mut self.out),
        }
        self.issue(now);
    }

    /// There is no place for it, or none that fits.
    fn unseated(&mut self, at: usize, why: &str) {
        let channel = &mut self.channels[at];
        if channel.state != State::Seating {
            return;
        }
        channel.state = State::Left(Close::NoSeat);
        let request_id = channel.request_id;
        self.refuse_open(request_id, why);
    }

    /// SV2 5.3.9: by the id of the group all of its channels are meant. One that was not told yet has no id.
    pub(super) fn close_by_client(&mut self, id: u32) {
        for channel in &mut self.channels {
            if (id == GROUP || channel.id == id) && channel.state != State::Seating {
                channel.state = State::Left(channel.ended());
            }
        }
    }

    pub(super) fn close_by_us(&mut self, at: usize, why: Close) {
        let channel = &mut self.channels[at];
        match channel.state {
            State::Seating => self.unseated(at, code::CHANNEL_CAPACITY_EXHAUSTED),
            State::Open => channel.state = State::Ending(why),
            State::Ending(_) | State::Left(_) => {}
        }
    }

    /// Channels that are over and owe nothing any more leave.
    pub(super) fn sweep(&mut self, now: Instant) {
        let over = |c: &Channel| c.is_over() && c.judging.is_empty();
        if !self.channels.iter().any(|c| over(c)) {
            return;
        }
        // One pass: a group of thousands may close at once.
        for mut channel in std::mem::take(&mut self.channels) {
            if !over(&channel) {
                self.channels.push(channel);
                continue;
            }
            if let State::Ending(why) = channel.state {
                CloseChannel {
                    channel_id: channel.id,
                    reason_code: clip(why.label()),
                }
                .write(&mut self.out);
            }
            channel.mining.observe(now, true);
            self.gone.push_back(channel);
        }
        self.stirred = 0..self.channels.len();
        self.channelless_since = now;
    }

    pub(super) fn refuse_custom_job(&mut self, job: &SetCustomMiningJob<'_>) {
        SetCustomMiningJobError {
            channel_id: job.channel_id,
            request_id: job.request_id,
            error_code: clip(code::JD_NOT_SUPPORTED),
        }
        .write(&mut self.out);
    }
}
