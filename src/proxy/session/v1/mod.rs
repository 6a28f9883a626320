//! A miner connection that speaks Stratum V1, as a pure machine: lines in, bytes and wishes out. Not a task and not a router: it asks for a
//! seat, a verdict, a refresh, and takes what it is given.
//!
//! ```text
//!   Line ──> requests ──> Attach ───────> (router) ──> Seated, Lease ──┐
//!                    ├──> Judge  ───────> (driver) ──> Judged ──> Submit, Send
//!   Issue ───────────┴──> set_difficulty? + notify ──> Send <──────────┘
//! ```
//! Invariant: nothing is pushed before the subscribe result, and the lane never changes once it was told.

mod replies;
mod requests;
mod shares;

use super::limits::Tokens;
use super::mining::{Mining, OBSERVE};
use super::{Close, Config, Event, Input, JudgeRequest, Observation, Output};
use crate::machine::Machine;
use crate::proxy::lease::{Issue, LaneMemory, Lease, Seat, SessionId};
use crate::proxy::tally::Reject;
use crate::stratum::v1::down::{Configure, notification, reply};
use crate::work::Lane;
use replies::Replies;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First byte, subscribe, authorize: absolute, from the accept (STRATUM.md section 4).
const FIRST_BYTE: Duration = Duration::from_secs(10);
const SUBSCRIBE: Duration = Duration::from_secs(15);
const AUTHORIZE: Duration = Duration::from_secs(30);
/// cgminer drops a pool after 90 s of silence; something is sent to every miner at least this often.
const SILENCE: Duration = Duration::from_secs(30);

/// Version rolling as negotiated: what the miner can, what it may at this moment.
#[derive(Clone, Copy, Debug, Default)]
struct Rolling {
    asked: u32,
    min_bits: u32,
    granted: u32,
}

impl Rolling {
    /// The bits this miner may roll of those allowed; `None`: fewer than it must have.
    fn on(&self, allowed: u32) -> Option<u32> {
        let granted = self.asked & allowed;
        (granted.count_ones() >= self.min_bits).then_some(granted)
    }
}

/// The machine.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    born: Instant,
    replies: Replies,
    mining: Mining,
    submits: Tokens,
    others: Tokens,
    heard: bool,
    early_messages: u8,
    agent: Option<Arc<str>>,
    attaching: bool,
    // In place, as is all that every share touches.
    workers: SmallVec<[Arc<str>; 1]>,
    rolling: Option<Rolling>,
    last_sent: Instant,
    closing: Option<Close>,
    closed: bool,
}

impl Session {
    /// A fresh connection. `version_mask`: what the listener's pools accept as far as is known now (policy included);
    /// the lease brings the final word.
    pub fn new(now: Instant, id: SessionId, config: Arc<Config>, version_mask: u32) -> Self {
        Self {
            born: now,
            replies: Replies::default(),
            mining: Mining::new(now, id, &config, version_mask),
            submits: Tokens::full(now, config.submits),
            others: Tokens::full(now, config.others),
            heard: false,
            early_messages: 0,
            agent: None,
            attaching: false,
            workers: SmallVec::new(),
            rolling: None,
            last_sent: now,
            closing: None,
            closed: false,
            config,
        }
    }

    /// `None`: its socket may be read. `Some(t)`: not before `t`, because a token bucket is empty or too many answers wait.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        if self.closing.is_some() || self.replies.full() {
            return Some(now + OBSERVE);
        }
        let submits = self.submits.empty_until(self.config.submits);
        let others = self.others.empty_until(self.config.others);
        submits.max(others).filter(|until| *until > now)
    }

    /// At the end: the lane, what it must remember, and whether it ever got work; `None` if it was never seated.
    pub fn take_memory(&mut self) -> Option<(Lane, LaneMemory, bool)> {
        self.mining.take_memory()
    }

    /// The counts since the last observation, for a driver that must end the session without another turn.
    pub fn last_observation(&mut self) -> Option<Box<Observation>> {
        self.mining.last_observation()
    }

    fn ready(&self) -> bool {
        self.mining.seat.is_some() && !self.workers.is_empty() && self.closing.is_none()
    }

    fn close(&mut self, why: Close) {
        self.closing.get_or_insert(why);
        // A subscribe that still waits is answered, or the connection would wait with it.
        if let Some((place, id)) = self.replies.seating() {
            let full = Reject::Overloaded;
            self.replies.fill(place, |out| {
                if let Some(id) = id {
                    reply::error(out, id.as_id(), full.code(), full.text());
                }
            });
        }
    }

    fn seated(&mut self, now: Instant, seat: Seat, lease: Lease) {
        self.attaching = false;
        let (session, layout, lane) = (seat.token.to_hex(), seat.layout, seat.lane);
        if let Some((place, id)) = self.replies.seating() {
            self.replies.fill(place, |out| {
                if let Some(id) = id {
                    reply::subscribed(out, id.as_id(), &session, lane, layout);
                }
            });
        }
        let agent = self.agent.clone().unwrap_or_else(|| "".into());
        self.mining.sit(seat, agent);
        self.leased(now, lease);
    }

    fn leased(&mut self, now: Instant, lease: Lease) {
        self.mining.lease(lease);
        self.apply_mask();
        self.issue(now);
    }

    /// Sends `set_version_mask` where the lease allows other bits than the miner was told; before any notify.
    fn apply_mask(&mut self) {
        // The work in force counts too: its link may tell of a narrower mask before the router does.
        let in_force = self.mining.jobs.latest().map(|job| job.work.version_mask);
        let policy = self.config.version_mask & self.mining.lease.version_mask;
        let rolling = self.rolling.unwrap_or_default();
        if let Some(granted) = rolling.on(policy & in_force.unwrap_or(u32::MAX)) {
            self.grant(granted);
        }
    }

    fn grant(&mut self, granted: u32) {
        let may_push = self.mining.seat.is_some() && self.closing.is_none();
        let (Some(rolling), true) = (&mut self.rolling, may_push) else {
            return;
        };
        if granted != rolling.granted {
            rolling.granted = granted;
            notification::set_version_mask(self.replies.tail(), granted);
            let event = Event::VersionMask(granted);
            self.mining.outputs.push_back(Output::Event(event));
        }
    }

    /// What `mining.configure` grants right away; `None`: refused.
    fn negotiate(&mut self, asked: &Configure) -> Option<u32> {
        let wish = asked.version_rolling?;
        let policy = wish.mask & self.config.version_mask;
        let mut granted = policy & self.mining.lease.version_mask;
        if granted.count_ones() < wish.min_bits {
            // The pools that are too narrow for it will not be given to this miner.
            granted = policy;
        }
        if granted == 0 || granted.count_ones() < wish.min_bits {
            self.rolling = None;
            return None;
        }
        self.rolling = Some(Rolling {
            asked: wish.mask,
            min_bits: wish.min_bits,
            granted,
        });
        Some(granted)
    }

    /// Gives the miner the newest work of its link, if it may have it now. Of several workers on one connection the first stands
    /// for all: their shares go up where its work came from.
    fn issue(&mut self, now: Instant) {
        if !self.ready() {
            return;
        }
        let policy = self.config.version_mask & self.mining.lease.version_mask;
        let rolling = self.rolling.unwrap_or_default();
        let grantable = |work_mask: u32| rolling.on(policy & work_mask);
        let worker = self.workers.first().map_or("", |worker| worker);
        if let Some((issue, granted)) = self.mining.next_work(now, worker, grantable) {
            self.grant(granted);
            self.notify(now, &issue);
        }
    }

    fn notify(&mut self, now: Instant, issue: &Issue) {
        let mask = self.rolling.map_or(0, |rolling| rolling.granted);
        let told = self.mining.give(now, &self.config, issue, mask, true);
        let out = self.replies.tail();
        if told.changed {
            notification::set_difficulty(out, told.difficulty);
        }
        out.extend_from_slice(if told.clean {
            &issue.v1_clean
        } else {
            &issue.v1_keep
        });
    }

    /// The last job again, same id: what a confused miner needs, and harmless to any other.
    fn resend(&mut self) {
        if let Some(difficulty) = self.mining.advertised {
            notification::set_difficulty(self.replies.tail(), difficulty);
        }
        if let Some(job) = self.mining.jobs.latest() {
            let line = notification::notify(&job.work, true);
            self.replies.tail().extend_from_slice(&line);
        }
    }

    fn turn_over(&mut self, now: Instant) {
        if self.replies.has_output() {
            self.last_sent = now;
        }
        self.mining.observe(now, self.closing.is_some());
    }

    fn deadline(&self) -> Option<(Instant, &'static str, Close)> {
        if !self.heard {
            Some((self.born + FIRST_BYTE, "first byte", Close::FirstByte))
        } else if self.mining.seat.is_none() && !self.attaching {
            Some((self.born + SUBSCRIBE, "subscribe", Close::SubscribeDeadline))
        } else if self.workers.is_empty() {
            Some((self.born + AUTHORIZE, "authorize", Close::AuthorizeDeadline))
        } else {
            None
        }
    }
}

impl Machine for Session {
    type Input<'a> = Input<'a>;
    type Output = Output;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Line(line) => self.line(now, line),
            Input::Overlong => self.close(Close::Overlong),
            Input::Seated(seat, lease) => self.seated(now, *seat, lease),
            Input::NoSeat(_) => self.close(Close::NoSeat),
            Input::Lease(lease) => self.leased(now, lease),
            Input::Watched(watched) => {
                let vardiff = &mut self.mining.vardiff;
                vardiff.watch(now, &self.config.vardiff, watched);
                self.mining.hurry(now, &self.config);
            }
            Input::Issue(issue) => {
                self.mining.latest = Some(issue.clone());
                self.issue(now);
            }
            Input::Judged(request, proof) => self.judged(now, request, proof),
            Input::Submitted(worker, result, hashes) => {
                self.mining.submitted(worker, result, hashes);
            }
            Input::Drain => self.close(Close::Draining),
            Input::Close(why) => self.close(why),
            Input::SlowReader => self.close(Close::SlowReader),
        }
        self.turn_over(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some((at, _, why)) = self.deadline()
            && now >= at
        {
            self.close(why);
        }
        self.issue(now);
        if self.ready() && now >= self.last_sent + SILENCE {
            // Without work yet there is no job that this could miscount.
            let difficulty = self.mining.vardiff.current();
            let difficulty = *self.mining.advertised.get_or_insert(difficulty);
            notification::set_difficulty(self.replies.tail(), difficulty);
            // Also when an answer that waits holds it back: or this timer would never go away.
            self.last_sent = now;
        }
        self.turn_over(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.mining.outputs.pop_front() {
            return Some(output);
        }
        if let Some(request) = self.replies.request() {
            return Some(Output::Judge(request));
        }
        if let Some(observation) = self.mining.due_observation() {
            return Some(Output::Observe(observation));
        }
        if let Some(bytes) = self.replies.take() {
            return Some(Output::Send(bytes));
        }
        match self.closing {
            Some(why) if !self.closed && self.replies.is_settled() => {
                self.closed = true;
                Some(Output::Close(why))
            }
            _ => {
                self.mining.rest();
                None
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.closing.is_some() {
            return None;
        }
        let held = self.mining.held_until().filter(|_| self.ready());
        [
            self.deadline().map(|(at, why, _)| (at, why)),
            held.map(|at| (at, "held notify")),
            self.mining.observe_at().map(|at| (at, "observation")),
            self.ready()
                .then_some((self.last_sent + SILENCE, "silence")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}
