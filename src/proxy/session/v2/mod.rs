//! A miner connection that speaks Stratum V2, as a pure machine: frames in, frames and wishes out. Not a task and not a
//! cipher: frames are plaintext on both sides of it.
//!
//! ```text
//!   Frame ──> setup ──> channel ──> Attach ──> (router) ──> Seated, Lease ─┐
//!                          │ └─────> Judge  ──> (driver) ──> Judged ──> Submit, SubmitShares.*
//!   Issue ─────────────────┴──> SetTarget? + job + SetNewPrevHash? <───────┘
//! ```
//! Every channel is a session of its own for the router, the board and power control: own id, own lane, own lease, own
//! difficulty. All of a connection are one group ([`GROUP`]); a job that all of them are due goes to the group once.
//! Invariant: what one channel does, or what is done to it, no other channel of the connection can tell.

mod channel;
mod io;
mod jobs;
mod setup;
mod shares;
#[cfg(test)]
mod tests;
mod wishes;

pub use io::{Input, Output};

use super::limits::Tokens;
use super::{Bucket, Close, Config, Observation};
use crate::machine::Machine;
use crate::proxy::lease::{LaneMemory, SessionId};
use crate::stratum::v2::frame::{self, Frame};
use crate::stratum::v2::message::{FromMiner, Malformed};
use crate::work::Lane;
use channel::{Channel, State};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The one group channel of every connection; channel ids count from the next on and are never used again.
pub const GROUP: u32 = 1;
/// `SetupConnection` must have come by then, counted from the end of the Noise handshake (as V1's subscribe).
const SETUP: Duration = Duration::from_secs(15);
/// A connection without a channel is closed after this long (SV2 5.3.2: "a reasonable period"). A proxy whose miners are
/// all off keeps its connection for a shift's pause; SRI's translator ends its process when it loses it.
const NO_CHANNEL: Duration = Duration::from_secs(3600);
/// Something is sent to every miner at least this often; a client that hears nothing for longer thinks us dead.
const SILENCE: Duration = Duration::from_secs(30);
/// Shares that may wait for their verdict at once: one turn's worth of frames. At the limit the connection is not read.
const RING: usize = 32;
/// How long reading waits where something else must come first.
const PAUSE: Duration = Duration::from_secs(1);

/// The machine.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    born: Instant,
    /// The connection's own id, which its first channel takes.
    own: Option<SessionId>,
    /// Source of the others.
    ids: Arc<AtomicU64>,
    /// What the listener's pools let a miner roll, as far as was known when it connected.
    version_mask: u32,
    client: Option<setup::Client>,
    /// In the order of their ids, which is that of their sessions too.
    channels: SmallVec<[Box<Channel>; 1]>,
    /// Places in `channels` beyond which none has anything to say.
    stirred: Range<usize>,
    /// Shares of all channels that wait for their verdict.
    waiting: usize,
    /// The next thing a channel is due: held work or an observation. Perhaps too early, never too late.
    due: Option<(Instant, &'static str)>,
    /// Closed channels whose seats the driver has not taken yet.
    gone: VecDeque<Box<Channel>>,
    next_channel: u32,
    channelless_since: Instant,
    /// When work was last renewed because the client changed its wishes.
    renewed: Option<Instant>,
    out: Vec<u8>,
    outputs: VecDeque<Output>,
    submits: Tokens,
    others: Tokens,
    last_sent: Instant,
    closing: Option<Close>,
    closed: bool,
}

impl Session {
    /// A fresh connection, after its Noise handshake. `own`: its id; `ids`: the process-global source of more, each above the
    /// one before.
    pub fn new(
        now: Instant,
        own: SessionId,
        ids: Arc<AtomicU64>,
        config: Arc<Config>,
        version_mask: u32,
    ) -> Self {
        Self {
            born: now,
            own: Some(own),
            ids,
            version_mask,
            client: None,
            channels: SmallVec::new(),
            stirred: 0..0,
            waiting: 0,
            due: None,
            gone: VecDeque::new(),
            next_channel: GROUP + 1,
            channelless_since: now,
            renewed: None,
            out: Vec::new(),
            outputs: VecDeque::new(),
            submits: Tokens::full(now, config.submits),
            others: Tokens::full(now, config.others),
            last_sent: now,
            closing: None,
            closed: false,
            config,
        }
    }

    /// Most bytes of payload that a frame of this client may have now (STRATUM.md section 3).
    pub fn max_payload(&self) -> usize {
        match self.client {
            None => frame::MAX_BEFORE_SETUP,
            Some(_) => frame::MAX_DOWN,
        }
    }

    /// `None`: its socket may be read. `Some(t)`: not before `t`, because a token bucket is empty or too many verdicts are due.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        if self.closing.is_some() || self.waiting >= RING {
            return Some(now + PAUSE);
        }
        let submits = self.submits.empty_until(self.submit_rate());
        let others = self.others.empty_until(self.config.others);
        submits.max(others).filter(|until| *until > now)
    }

    /// Each channel may send as much as a miner with a connection of its own.
    fn submit_rate(&self) -> Bucket {
        let Bucket { per_second, burst } = self.config.submits;
        let channels = self.channels.len().max(1) as f64;
        Bucket {
            per_second: per_second * channels,
            burst: burst * channels,
        }
    }

    /// The seat of a channel that has been closed: its lane, what that must remember, and whether it ever got work; `None` if
    /// it was never seated. The channel is forgotten.
    pub fn take_memory(&mut self, id: SessionId) -> Option<(Lane, LaneMemory, bool)> {
        let gone = self.gone.iter().position(|c| c.mining.id == id);
        let mut channel = match (gone, self.place(id)) {
            (Some(at), _) => self.gone.remove(at)?,
            (None, Some(at)) => {
                let channel = self.channels.remove(at);
                self.waiting -= channel.judging.len();
                self.stirred = 0..self.channels.len();
                channel
            }
            (None, None) => return None,
        };
        channel.mining.take_memory()
    }

    /// Counts since the last observation, of channels that a driver must end without another turn.
    pub fn last_observations(&mut self) -> impl Iterator<Item = Box<Observation>> {
        self.channels
            .iter_mut()
            .chain(&mut self.gone)
            .filter_map(|channel| channel.mining.last_observation())
    }

    /// Channels that hold or want a seat.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.channels.iter().map(|channel| channel.mining.id)
    }

    fn next_session(&mut self) -> SessionId {
        self.own
            .take()
            .unwrap_or_else(|| SessionId(self.ids.fetch_add(1, Ordering::Relaxed)))
    }

    /// The place of an open channel.
    fn open_at(&self, id: u32) -> Option<usize> {
        let at = self.channels.binary_search_by_key(&id, |c| c.id).ok()?;
        (self.channels[at].state == State::Open).then_some(at)
    }

    fn place(&self, session: SessionId) -> Option<usize> {
        self.channels
            .binary_search_by_key(&session, |channel| channel.mining.id)
            .ok()
    }

    /// The place of the only channel that it concerned, if it was a share.
    fn frame(&mut self, now: Instant, frame: &Frame<'_>) -> Option<usize> {
        if self.closing.is_some() {
            return None;
        }
        let message = match FromMiner::parse(frame) {
            Ok(message) => message,
            // The message is whole, a number in it is none: its channel's affair alone.
            Err(Malformed::Value) if self.client.is_some() => {
                self.others.take(now, self.config.others);
                self.refuse_hash_rate(frame);
                return None;
            }
            Err(_) => {
                self.close(Close::Malformed);
                return None;
            }
        };
        let sharer = match &message {
            Some(FromMiner::SubmitSharesStandard(share)) => Some(share.channel_id),
            Some(FromMiner::SubmitSharesExtended(share)) => Some(share.channel_id),
            _ => None,
        };
        if sharer.is_some() {
            let rate = self.submit_rate();
            self.submits.take(now, rate);
        } else {
            self.others.take(now, self.config.others);
        }
        // SV2 3.4: an extension or message that is not known is ignored.
        let message = message?;
        match (message, self.client.is_some()) {
            (FromMiner::SetupConnection(setup), false) => self.set_up(now, &setup),
            // SV2 3.2: it is the first message, and there is one.
            (FromMiner::SetupConnection(_), true) | (_, false) => self.close(Close::Misbehaved),
            (message, true) => self.message(now, message),
        }
        sharer.and_then(|id| self.open_at(id))
    }

    fn message(&mut self, now: Instant, message: FromMiner<'_>) {
        match message {
            FromMiner::SetupConnection(_) => unreachable!("it was told apart by the caller"),
            FromMiner::RequestExtensions(request) => self.negotiate(&request),
            FromMiner::OpenStandardMiningChannel(open) => self.open(now, open.into()),
            FromMiner::OpenExtendedMiningChannel(open) => self.open(now, open.into()),
            FromMiner::UpdateChannel(update) => self.update(now, &update),
            FromMiner::CloseChannel(close) => self.close_by_client(close.channel_id),
            FromMiner::SubmitSharesStandard(share) => self.submit_standard(now, &share),
            FromMiner::SubmitSharesExtended(share) => self.submit_extended(now, &share),
            FromMiner::SetCustomMiningJob(job) => self.refuse_custom_job(&job),
        }
    }

    fn close(&mut self, why: Close) {
        self.closing.get_or_insert(why);
    }

    /// The connection's end concerns all of its channels.
    fn end(&mut self, why: Close) -> Option<usize> {
        self.close(why);
        None
    }

    /// What an input leaves to be done, for the only channel it concerned or, mostly, for all: a proxy below may have
    /// thousands, and each of its shares is one input.
    fn turn_over(&mut self, now: Instant, one: Option<usize>) {
        match one.filter(|_| self.closing.is_none()) {
            Some(at) => {
                let channel = &mut self.channels[at];
                channel.mining.observe(now, false);
                let is_over = channel.is_over();
                let observation = channel.mining.observe_at().map(|at| (at, "observation"));
                self.due = earlier(self.due, observation);
                let (start, end) = (self.stirred.start, self.stirred.end);
                self.stirred = if start == end {
                    at..at + 1
                } else {
                    start.min(at)..end.max(at + 1)
                };
                if is_over {
                    self.sweep(now);
                }
            }
            None => {
                let closing = self.closing.is_some();
                for channel in &mut self.channels {
                    channel.mining.observe(now, closing);
                }
                self.stirred = 0..self.channels.len();
                self.sweep(now);
                self.due = self.next_due();
            }
        }
        if self.closed {
            // What comes late has nobody to tell it to.
            self.out.clear();
        }
        if !self.out.is_empty() {
            self.last_sent = now;
        }
    }

    fn next_due(&self) -> Option<(Instant, &'static str)> {
        let of = |channel: &Channel| {
            let held = channel
                .mining
                .held_until()
                .filter(|_| channel.state == State::Open);
            let observation = channel.mining.observe_at();
            earlier(
                held.map(|at| (at, "held job")),
                observation.map(|at| (at, "observation")),
            )
        };
        let all = self.channels.iter().map(|channel| of(channel));
        all.reduce(earlier).flatten()
    }

    fn deadline(&self) -> Option<(Instant, &'static str, Close)> {
        if self.client.is_none() {
            Some((self.born + SETUP, "setup", Close::SubscribeDeadline))
        } else if self.channels.is_empty() {
            let at = self.channelless_since + NO_CHANNEL;
            Some((at, "no channel", Close::AuthorizeDeadline))
        } else {
            None
        }
    }

    /// A word to a client that has not heard one for long: its target once more.
    fn keep_alive(&mut self, now: Instant) {
        let open = self.channels.iter().find(|c| c.state == State::Open);
        if let Some(channel) = open.filter(|_| now >= self.last_sent + SILENCE) {
            channel.write_target(&mut self.out);
        }
    }
}

impl Machine for Session {
    type Input<'a> = Input<'a>;
    type Output = Output;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        let one = match input {
            Input::Frame(frame) => self.frame(now, &frame),
            Input::Of(session, input) => self.of(now, session, input),
            Input::Root(session, work, root) => self.rooted(session, work, &root),
            Input::Issue(issue) => {
                self.work(now, issue);
                None
            }
            Input::TooLong => self.end(Close::Overlong),
            Input::Drain => self.end(Close::Draining),
            Input::Close(why) => self.end(why),
            Input::SlowReader => self.end(Close::SlowReader),
        };
        self.turn_over(now, one);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some((at, _, why)) = self.deadline()
            && now >= at
        {
            self.close(why);
        }
        self.issue(now);
        self.keep_alive(now);
        self.turn_over(now, None);
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        // One after the other to its end: who is told of one takes it away, so the next is always in front.
        for channel in &mut self.gone {
            if let Some(output) = channel.mining.poll_output() {
                return Some(Output::Of(channel.mining.id, output));
            }
            if !std::mem::replace(&mut channel.told_gone, true) {
                return Some(Output::Closed(channel.mining.id, channel.ended()));
            }
        }
        while !self.stirred.is_empty() {
            let mining = &mut self.channels[self.stirred.start].mining;
            if let Some(output) = mining.poll_output() {
                return Some(Output::Of(mining.id, output));
            }
            self.stirred.start += 1;
        }
        if !self.out.is_empty() {
            return Some(Output::Send(std::mem::take(&mut self.out)));
        }
        match self.closing {
            // Every channel's shares get their verdicts first.
            Some(why) if !self.closed && self.waiting == 0 => {
                self.closed = true;
                Some(Output::Close(why))
            }
            _ => {
                if self.outputs.capacity() > shares::TURN {
                    self.outputs = VecDeque::new();
                }
                None
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.closing.is_some() {
            return None;
        }
        let open = self.channels.iter().find(|c| c.state == State::Open);
        [
            self.deadline().map(|(at, why, _)| (at, why)),
            self.due,
            open.map(|_| (self.last_sent + SILENCE, "silence")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}

fn earlier<T>(a: Option<(Instant, T)>, b: Option<(Instant, T)>) -> Option<(Instant, T)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}
