//! A V2 client of `v2_session` as its reference: what it may be told, given what it said.
//!
//! Not a miner: it hashes nothing. Invariant: it knows only what went over the wire.

use sluice::proxy::session::v2::GROUP;
use sluice::stratum::v2::code;
use sluice::stratum::v2::frame::{Frame, HEADER, Header};
use sluice::stratum::v2::message::{FromMiner, FromPool, Malformed, SubmitSharesError};
use sluice::work::Target;
use std::collections::{BTreeMap, HashMap, HashSet};

/// `SetCustomMiningJob.Error`, which a proxy writes and never reads.
const CUSTOM_JOB_ERROR: u8 = 0x24;

/// A channel as its client knows it.
#[derive(Debug)]
struct Channel {
    closed: bool,
    standard: bool,
    max_target: [u8; 32],
    target: [u8; 32],
    /// Shares sent, and those of them that were answered.
    sent: u64,
    answered: u64,
    /// Time of the block that it mines on.
    tip: Option<u32>,
    /// Of the newest future job.
    future: Option<u32>,
    newest_job: Option<u32>,
}

/// What a request for a channel said.
#[derive(Clone, Copy, Debug)]
struct Wish {
    standard: bool,
    max_target: [u8; 32],
}

/// The reference.
#[derive(Debug, Default)]
pub(crate) struct Miner {
    pub(crate) set_up: bool,
    standard_jobs: bool,
    wishes: HashMap<u32, Vec<Wish>>,
    /// Numbers that were used twice: of such requests nobody can tell which was answered.
    twice: HashSet<u32>,
    asked: HashSet<u32>,
    channels: BTreeMap<u32, Channel>,
    updating: Option<(u32, [u8; 32])>,
    /// The request or channel of a message in which a number was none.
    odd: Option<u32>,
    /// Shares on channels that were open, which must be counted.
    pub(crate) submits: u64,
    /// All shares, those for nobody too.
    pub(crate) shares: u64,
    /// Shares for nobody, not answered yet.
    foreign: u64,
    custom_jobs: u64,
    /// What was said ends the connection.
    pub(crate) closes: bool,
}

impl Miner {
    /// The channel and newest job of it to send a share for.
    pub(crate) fn channel(&self, index: u8) -> Option<(u32, u32)> {
        let count = self.channels.len().max(1);
        let channel = self.channels.iter().nth(usize::from(index) % count);
        channel.map(|(id, channel)| (*id, channel.newest_job.unwrap_or_default()))
    }

    /// Something is said to the session; `Err`: nobody could read it.
    pub(crate) fn says(&mut self, frame: &Frame<'_>) {
        match FromMiner::parse(frame) {
            // Refused by what it begins with, or torn besides.
            Err(Malformed::Value) if self.set_up => {
                let first = frame.payload.first_chunk();
                self.odd = first.map(|id| u32::from_le_bytes(*id));
            }
            Err(_) => self.closes = true,
            Ok(None) => {}
            Ok(Some(message)) => self.message(message),
        }
    }

    fn message(&mut self, message: FromMiner<'_>) {
        self.closes |= matches!(message, FromMiner::SetupConnection(_)) == self.set_up;
        if self.closes {
            return;
        }
        match message {
            FromMiner::SetupConnection(setup) => self.standard_jobs = setup.flags & 1 == 1,
            FromMiner::OpenStandardMiningChannel(open) => {
                self.wish(open.request_id, true, open.max_target);
            }
            FromMiner::OpenExtendedMiningChannel(open) => {
                self.wish(open.request_id, false, open.max_target);
            }
            FromMiner::UpdateChannel(update) => {
                self.updating = Some((update.channel_id, update.maximum_target));
            }
            FromMiner::CloseChannel(close) => {
                for (id, channel) in &mut self.channels {
                    channel.closed |= close.channel_id == *id || close.channel_id == GROUP;
                }
            }
            FromMiner::SubmitSharesStandard(share) => self.share(share.channel_id),
            FromMiner::SubmitSharesExtended(share) => self.share(share.channel_id),
            FromMiner::SetCustomMiningJob(_) => self.custom_jobs += 1,
            FromMiner::RequestExtensions(_) => {}
        }
    }

    fn wish(&mut self, request_id: u32, standard: bool, max_target: [u8; 32]) {
        if !self.asked.insert(request_id) {
            self.twice.insert(request_id);
        }
        let wishes = self.wishes.entry(request_id).or_default();
        wishes.push(Wish {
            standard,
            max_target,
        });
    }

    fn share(&mut self, id: u32) {
        self.shares += 1;
        match self.channels.get_mut(&id).filter(|channel| !channel.closed) {
            Some(channel) => {
                channel.sent += 1;
                self.submits += 1;
            }
            None => self.foreign += 1,
        }
    }

    /// All that was sent in one go: whole frames, each due.
    pub(crate) fn reads(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (header, rest) = bytes.split_first_chunk::<HEADER>().expect("half a header");
            let header = Header::parse(header);
            let length = header.length as usize;
            assert!(length <= rest.len(), "half a frame");
            let (payload, rest) = rest.split_at(length);
            if header.kind == CUSTOM_JOB_ERROR {
                self.custom_jobs = self.custom_jobs.checked_sub(1).expect("nobody asked");
            } else {
                let message = FromPool::parse(&Frame { header, payload }).expect("malformed");
                self.told(message.expect("nothing that a client knows"));
            }
            bytes = rest;
        }
        if let Some((id, target)) = self.updating.take()
            && let Some(channel) = self.channels.get_mut(&id)
        {
            channel.max_target = target;
        }
    }

    /// After each frame and what it caused: an update that nobody refused holds.
    pub(crate) fn settled(&mut self) {
        self.reads(&[]);
        assert_eq!(
            (self.foreign, self.custom_jobs),
            (0, 0),
            "without an answer"
        );
    }

    fn told(&mut self, message: FromPool<'_>) {
        match message {
            FromPool::SetupConnectionSuccess(_) => self.set_up = true,
            FromPool::SetupConnectionError(_) => self.closes = true,
            FromPool::RequestExtensionsSuccess(_) | FromPool::RequestExtensionsError(_) => {}
            FromPool::OpenStandardMiningChannelSuccess(open) => {
                assert_eq!(open.group_channel_id, GROUP);
                self.opened(open.request_id, open.channel_id, true, open.target);
            }
            FromPool::OpenExtendedMiningChannelSuccess(open) => {
                assert_eq!(open.group_channel_id, GROUP);
                assert!(!self.standard_jobs, "an extended channel");
                self.opened(open.request_id, open.channel_id, false, open.target);
            }
            FromPool::OpenMiningChannelError(error) => {
                if self.odd.take_if(|odd| *odd == error.request_id).is_none() {
                    let wishes = self.wishes.get_mut(&error.request_id);
                    wishes.and_then(Vec::pop).expect("nobody asked");
                }
            }
            FromPool::UpdateChannelError(error) => {
                if self.odd.take_if(|odd| *odd == error.channel_id).is_none() {
                    let (id, _) = self.updating.take().expect("nobody asked");
                    assert_eq!(id, error.channel_id);
                }
            }
            FromPool::CloseChannel(close) => self.open(close.channel_id).closed = true,
            FromPool::SubmitSharesSuccess(success) => {
                let channel = self.open(success.channel_id);
                channel.answered += u64::from(success.new_submits_accepted_count);
                assert!(success.new_submits_accepted_count > 0);
                assert!(channel.answered <= channel.sent, "more answers than shares");
            }
            FromPool::SubmitSharesError(error) => self.refused(error),
            FromPool::NewMiningJob(job) => {
                assert!(self.open(job.channel_id).standard);
                self.job(job.channel_id, job.job_id, job.min_ntime);
            }
            FromPool::NewExtendedMiningJob(job) => {
                assert!(!self.standard_jobs, "an extended job");
                let own = job.channel_id != GROUP;
                assert!(!own || !self.open(job.channel_id).standard);
                self.job(job.channel_id, job.job_id, job.min_ntime);
            }
            FromPool::SetNewPrevHash(block) => {
                self.each(block.channel_id, |channel| {
                    assert_eq!(
                        channel.future.take(),
                        Some(block.job_id),
                        "no such future job"
                    );
                    channel.is_within_limit();
                    channel.tip = Some(block.min_ntime);
                });
            }
            FromPool::SetTarget(told) => self.open(told.channel_id).target = told.maximum_target,
            other => panic!("never said: {other:?}"),
        }
    }

    fn opened(&mut self, request_id: u32, id: u32, standard: bool, target: [u8; 32]) {
        assert!(id != GROUP, "the group's id");
        let wishes = self.wishes.entry(request_id).or_default();
        let several = self.twice.contains(&request_id);
        let at = wishes.iter().position(|wish| wish.standard == standard);
        assert!(!wishes.is_empty(), "nobody asked");
        let wish = wishes.swap_remove(at.unwrap_or_default());
        let channel = Channel {
            closed: false,
            standard,
            max_target: if several { [0xff; 32] } else { wish.max_target },
            target,
            sent: 0,
            answered: 0,
            tip: None,
            future: None,
            newest_job: None,
        };
        channel.is_within_limit();
        assert!(self.channels.insert(id, channel).is_none(), "an id again");
    }

    fn refused(&mut self, error: SubmitSharesError<'_>) {
        let foreign = error.error_code == code::INVALID_CHANNEL_ID.as_bytes();
        let channel = self.channels.get_mut(&error.channel_id);
        match channel.filter(|channel| !channel.closed) {
            // It is about to be closed.
            Some(channel) if foreign => {
                channel.sent -= 1;
                self.submits -= 1;
                assert!(channel.answered <= channel.sent);
            }
            Some(channel) => {
                channel.answered += 1;
                assert!(channel.answered <= channel.sent, "more answers than shares");
            }
            None => {
                assert!(foreign, "for a channel that is closed");
                self.foreign = self.foreign.checked_sub(1).expect("no such share");
            }
        }
    }

    fn job(&mut self, id: u32, job: u32, min_ntime: Option<u32>) {
        self.each(id, |channel| {
            // A job that waits takes the target of when it is mined (5.3.21).
            if min_ntime.is_some() {
                channel.is_within_limit();
            }
            channel.newest_job = Some(job);
            match (min_ntime, channel.tip) {
                (None, _) => channel.future = Some(job),
                (Some(ntime), Some(tip)) => assert!(ntime >= tip, "a time below its block's"),
                (Some(_), None) => panic!("a job without a block"),
            }
            assert!(
                min_ntime.is_none() || channel.future.is_none(),
                "a block is still to come"
            );
        });
    }

    fn open(&mut self, id: u32) -> &mut Channel {
        let channel = self.channels.get_mut(&id).expect("no such channel");
        assert!(!channel.closed, "for a channel that is closed");
        channel
    }

    fn each(&mut self, id: u32, mut act: impl FnMut(&mut Channel)) {
        if id == GROUP {
            let open = self.channels.values_mut().filter(|channel| !channel.closed);
            open.for_each(act);
        } else {
            act(self.open(id));
        }
    }

    /// When nothing is due any more: every share had its answer, every request too.
    pub(crate) fn is_answered(&self) {
        for (id, channel) in self.channels.iter().filter(|(_, channel)| !channel.closed) {
            assert_eq!(
                channel.answered, channel.sent,
                "shares of {id} without answer"
            );
        }
        assert!(
            self.wishes.values().all(Vec::is_empty),
            "a request without answer"
        );
    }
}

impl Channel {
    fn is_within_limit(&self) {
        let limit = Target::from_le_bytes(&self.max_target);
        assert!(limit.is_met_by(&self.target), "above the client's limit");
    }
}
