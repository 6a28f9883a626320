//! What clients wish for: a channel of either kind, and later another difficulty for it. Not the channel's life (`channel`).
//!
//! Invariant: each wish is either met or refused by the number that it came with.

use super::channel::{Channel, Kind, State};
use super::setup::ROLLED;
use super::shares::Batch;
use super::{Output, Session};
use crate::proxy::session::mining::Mining;
use crate::proxy::session::{self, Attach, Close, Config};
use crate::stratum::label::worker_label;
use crate::stratum::v2::code;
use crate::stratum::v2::frame::Frame;
use crate::stratum::v2::message::{
    OpenExtendedMiningChannel, OpenMiningChannelError, OpenStandardMiningChannel, UpdateChannel,
    UpdateChannelError, clip,
};
use crate::work::{Difficulty, Target};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longest extranonce that a client may ask to roll itself: the field's own limit (B0_32).
const MAX_EXTRANONCE: u16 = 32;
/// Between two renewals of work that a client's `UpdateChannel` asks for: each is a job to every miner of its link, and
/// within so long a job comes anyhow.
const RENEWAL: Duration = Duration::from_secs(20);

/// A wish for a channel of either kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open<'a> {
    request_id: u32,
    user: &'a [u8],
    hash_rate: f32,
    max_target: [u8; 32],
    /// `None`: a standard channel.
    extranonce: Option<u16>,
}

impl<'a> From<OpenStandardMiningChannel<'a>> for Open<'a> {
    fn from(open: OpenStandardMiningChannel<'a>) -> Self {
        Self {
            request_id: open.request_id,
            user: open.user_identity,
            hash_rate: open.nominal_hash_rate,
            max_target: open.max_target,
            extranonce: None,
        }
    }
}

impl<'a> From<OpenExtendedMiningChannel<'a>> for Open<'a> {
    fn from(open: OpenExtendedMiningChannel<'a>) -> Self {
        Self {
            request_id: open.request_id,
            user: open.user_identity,
            hash_rate: open.nominal_hash_rate,
            max_target: open.max_target,
            extranonce: Some(open.min_extranonce_size),
        }
    }
}

impl Session {
    pub(super) fn open(&mut self, now: Instant, open: Open<'_>) {
        let (floor, standard) = match self.openable(&open) {
            Ok(floor) => (floor, open.extranonce.is_none()),
            Err(why) => return self.refuse_open(open.request_id, why),
        };
        let Some(client) = &self.client else { return };
        // A standard job has no word for "do not roll": its client was told for the whole connection, or it may.
        let must_roll = client.requires_rolling || standard;
        let attach = Attach {
            resume: None,
            version_mask: if client.fixed_version { 0 } else { ROLLED },
            min_bits: if must_roll && !client.fixed_version {
                ROLLED.count_ones()
            } else {
                0
            },
            extranonce: open.extranonce.map_or(0, |size| size as u8),
        };
        let session = self.next_session();
        let mut mining = Mining::new(now, session, &self.config, self.version_mask);
        mining.floor = floor;
        expect_rate(&self.config, &mut mining, open.hash_rate);
        let channel = Channel {
            id: self.next_channel,
            state: State::Seating,
            kind: match open.extranonce {
                None => Kind::Standard,
                Some(size) => Kind::Extended(size as u8),
            },
            request_id: open.request_id,
            user: worker_label(open.user).into(),
            mining,
            judging: VecDeque::new(),
            batch: Batch::default(),
            tip_ntime: 0,
            owes_target: false,
            ahead: Vec::new(),
            rooting: None,
            roots: VecDeque::new(),
            told_gone: false,
        };
        self.next_channel += 1;
        self.channels.push(Box::new(channel));
        let attach = session::Output::Attach(attach);
        self.outputs.push_back(Output::Of(session, attach));
    }

    /// The least difficulty that the client's own limit asks for, or why it gets no channel.
    fn openable(&self, open: &Open<'_>) -> Result<Difficulty, &'static str> {
        let standard_jobs = self.client.as_ref().is_some_and(|c| c.standard_jobs);
        if self.config.password.is_some() {
            // A listener with a password is for those who can give one: V2 has no word for it.
            return Err(code::UNKNOWN_USER);
        }
        if standard_jobs && open.extranonce.is_some() {
            return Err(code::NO_EXTENDED_CHANNELS);
        }
        if open.extranonce.is_some_and(|size| size > MAX_EXTRANONCE) {
            return Err(code::MIN_EXTRANONCE_SIZE_TOO_LARGE);
        }
        if self.channels.len() >= self.config.channels || self.next_channel == u32::MAX {
            return Err(code::CHANNEL_CAPACITY_EXHAUSTED);
        }
        self.floor(&open.max_target)
            .ok_or(code::MAX_TARGET_OUT_OF_RANGE)
    }

    /// The power of two whose target is the first at or below this one; `None`: harder than any that we give.
    fn floor(&self, max_target: &[u8; 32]) -> Option<Difficulty> {
        let limit = Target::from_le_bytes(max_target);
        let floor = Difficulty::new(limit.difficulty().max(Difficulty::MIN.value()))?;
        let mut floor = floor.ceil_to_power_of_two();
        // A limit a little below a target of ours rounds to the same difficulty.
        if !limit.is_met_by(&Target::from_difficulty(floor).to_le_bytes()) {
            floor = floor.scaled(2.0);
        }
        (floor.value() <= self.config.vardiff.max.value()).then_some(floor)
    }

    pub(super) fn refuse_open(&mut self, request_id: u32, why: &str) {
        OpenMiningChannelError {
            request_id,
            error_code: clip(why),
        }
        .write(&mut self.out);
    }

    /// Negative, endless or no number: the only field that can be whole and mean nothing. It stands in messages that begin
    /// with what they are to be answered by.
    pub(super) fn refuse_hash_rate(&mut self, frame: &Frame<'_>) {
        let Some((first, _)) = frame.payload.split_first_chunk() else {
            return self.close(Close::Malformed);
        };
        // What stands behind an id, and behind the name that an opening has besides: the rate and the target.
        let (rate, target) = (4, 32);
        let name = |payload: &[u8]| 1 + payload.get(4).map_or(0, |len| usize::from(*len));
        let least = match frame.header.kind {
            UpdateChannel::KIND => 4 + rate + target,
            OpenExtendedMiningChannel::KIND => 4 + name(frame.payload) + rate + target + 2,
            _ => 4 + name(frame.payload) + rate + target,
        };
        if frame.payload.len() < least {
            // Torn besides.
            return self.close(Close::Malformed);
        }
        let asked_by = u32::from_le_bytes(*first);
        if frame.header.kind == UpdateChannel::KIND {
            self.refuse_update(asked_by, code::INVALID_NOMINAL_HASHRATE);
        } else {
            self.refuse_open(asked_by, code::INVALID_NOMINAL_HASHRATE);
        }
    }
    /// SV2 5.3.7.
    pub(super) fn update(&mut self, now: Instant, update: &UpdateChannel) {
        let (floor, at) = match (
            self.floor(&update.maximum_target),
            self.open_at(update.channel_id),
        ) {
            (Some(floor), Some(at)) => (floor, at),
            (_, None) => return self.refuse_update(update.channel_id, code::INVALID_CHANNEL_ID),
            (None, _) => {
                return self.refuse_update(update.channel_id, code::MAX_TARGET_OUT_OF_RANGE);
            }
        };
        let channel = &mut self.channels[at];
        expect_rate(&self.config, &mut channel.mining, update.nominal_hash_rate);
        channel.mining.floor = floor;
        let is_harder = channel.mining.advertised.is_some_and(|told| told < floor);
        if is_harder {
            // "MUST reflect the client's request": at once, for the jobs that come; and soon there is one.
            channel.mining.advertised = Some(floor);
            channel.tell_target(&mut self.out);
        }
        if self.renewed.is_none_or(|at| now >= at + RENEWAL) {
            let before = channel.mining.refresh_asked;
            if is_harder {
                channel.mining.renew();
            }
            channel.mining.hurry(now, &self.config);
            if channel.mining.refresh_asked != before {
                self.renewed = Some(now);
            }
        }
    }

    fn refuse_update(&mut self, channel_id: u32, why: &str) {
        UpdateChannelError {
            channel_id,
            error_code: clip(why),
        }
        .write(&mut self.out);
    }
}

/// Begins where a miner of that hash rate sends the wanted number of shares; 0: it does not say.
fn expect_rate(config: &Config, mining: &mut Mining, hash_rate: f32) {
    let wanted = f64::from(hash_rate) * 60.0 / (config.vardiff.shares_per_minute * 4_294_967_296.0);
    let bounded = wanted.clamp(Difficulty::MIN.value(), Difficulty::MAX.value());
    if hash_rate > 0.0
        && let Some(difficulty) = Difficulty::new(bounded)
    {
        mining.vardiff.suggest(difficulty);
    }
}
