//! One pool connection as a pure machine; it outlives the sockets it is given. Not a router: it does not know who
//! mines for it.
//!
//! ```text
//!   Connect ─> configure, subscribe ─> authorize ─> Notify ─> Issue ...      up (V1: `v1`)
//!   Connect ─> SetupConnection ─> an extended channel ─> jobs ─> Issue ...   up (V2: `v2`)
//!      ^                                                        │
//!      └──────────── back-off <── dead (RST, silence, refusal) ─┘            down
//! ```
//! Invariant (I3, I4): a share given to a link is written at most once, and always settled.

mod backoff;
mod health;
mod io;
mod job;
mod ledger;
mod names;
mod redirect;
mod shares;
#[cfg(test)]
mod tests;
mod v1;
mod v2;
mod workshop;

pub use io::*;

use super::lease::Submission;
use super::tally::{Drop as Dropped, Settled};
use crate::machine::Machine;
use crate::work::{Difficulty, Layout, WorkId};
use backoff::Backoff;
use job::{Bound, Extranonce, Job};
use ledger::{Asked, Ledger};
use names::Names;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};
use workshop::{Blocks, Terms, Workshop};

/// A pool is dead without a job this long after the connection or the login (STRATUM.md section 2) ...
const FIRST_JOB: Duration = Duration::from_secs(15);
/// ... when the oldest share is unanswered this long and no byte has come since ...
const UNANSWERED: Duration = Duration::from_secs(10);
/// ... and after this long without a byte.
const SILENCE: Duration = Duration::from_secs(150);
/// Work is renewed on demand at most this often: each renewal is a notify to every miner of the link.
const REFRESH_GAP: Duration = Duration::from_secs(2);
/// After `set_extranonce` a pool sends a job at once; if not, the old job is issued again under the new extranonce.
const EXTRANONCE_GRACE: Duration = Duration::from_secs(1);
/// Up this long, the back-off starts over.
const PROVEN: Duration = Duration::from_secs(60);
/// Bad notifies within [`BAD_WINDOW`] that fail a pool over.
const BAD_NOTIFIES: usize = 3;
const BAD_WINDOW: Duration = Duration::from_secs(60);
/// Block candidates kept for a pool that is down.
const BLOCKS_KEPT: usize = 16;
/// `mining.suggest_difficulty` is sent again when the fleet has changed by this factor.
const SUGGEST_AGAIN: f64 = 2.0;
/// How we name ourselves to pools.
const AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// Where a link is in the life of one socket.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No socket; the next attempt is at this instant.
    Waiting(Instant),
    /// A socket is being opened.
    Connecting,
    /// Connected, subscribe not answered yet.
    Subscribing(Instant),
    /// Subscribed, the login not answered yet.
    LoggingIn(Instant),
    /// Logged in, no job yet.
    Jobless(Instant),
    /// Logged in, with work.
    Up(Instant),
    /// The process drains and nothing is in flight.
    Ended,
}

/// The machine.
#[derive(Debug)]
pub struct Link {
    config: Config,
    phase: Phase,
    epoch: u32,
    backoff: Backoff,
    redirect: Option<(String, u16)>,
    layout: Option<Layout>,
    extranonce: Option<Extranonce>,
    /// Shares on older work belong to an extranonce or a connection that is gone.
    valid_from: WorkId,
    extranonce_due: Option<Instant>,
    version_mask: Option<u32>,
    bound: Option<Bound>,
    job: Option<Job>,
    /// The bound that `job` is credited by: a later one is for later jobs.
    job_bound: Option<Bound>,
    workshop: Workshop,
    blocks_seen: Blocks,
    issued_at: Option<Instant>,
    refresh_wanted: bool,
    last_byte: Instant,
    bad_notifies: VecDeque<Instant>,
    ledger: Ledger,
    names: Names,
    blocks: VecDeque<Box<Submission>>,
    /// What V2 knows of its connection beside; idle on V1.
    channel: v2::Channel,
    fleet: f64,
    suggested_for: f64,
    draining: bool,
    status: Option<Status>,
    out: Vec<u8>,
    outputs: VecDeque<Output>,
}

impl Link {
    /// Wants to connect at once. `ids`: the process-global source of work ids.
    pub fn new(now: Instant, config: Config, ids: Arc<AtomicU32>) -> Self {
        let mut link = Self {
            phase: Phase::Connecting,
            epoch: 0,
            backoff: Backoff::new(config.seed),
            redirect: None,
            layout: None,
            extranonce: None,
            valid_from: WorkId(0),
            extranonce_due: None,
            version_mask: None,
            bound: None,
            job: None,
            job_bound: None,
            workshop: Workshop::new(config.id, ids),
            blocks_seen: Blocks::default(),
            issued_at: None,
            refresh_wanted: false,
            last_byte: now,
            bad_notifies: VecDeque::new(),
            ledger: Ledger::default(),
            names: Names::new(&config),
            blocks: VecDeque::new(),
            channel: v2::Channel::default(),
            fleet: 0.0,
            suggested_for: 0.0,
            draining: false,
            status: None,
            out: Vec::new(),
            outputs: VecDeque::new(),
            config,
        };
        link.outputs.push_back(Output::Connect(None));
        link
    }

    /// The pool's side of the counts (I6).
    pub fn settled(&self) -> &Settled {
        self.ledger.settled()
    }

    fn connected(&mut self, now: Instant) {
        self.epoch += 1;
        self.phase = Phase::Subscribing(now);
        self.last_byte = now;
        self.extranonce = None;
        self.extranonce_due = None;
        self.version_mask = None;
        self.bound = None;
        self.job = None;
        self.suggested_for = 0.0;
        self.valid_from = self.workshop.next_id();
        self.bad_notifies.clear();
        self.names.forget();
        match self.config.protocol {
            Protocol::V1 => self.open_v1(),
            Protocol::V2 => self.open_v2(),
        }
    }

    /// The socket is gone or not worth keeping.
    fn down(&mut self, now: Instant, reason: &str) {
        if matches!(self.phase, Phase::Waiting(_) | Phase::Ended) {
            return;
        }
        if matches!(self.phase, Phase::Up(since) if now >= since + PROVEN) {
            self.backoff.reset();
        }
        self.channel.end();
        self.extranonce_due = None;
        if !self.out.is_empty() {
            // What counts as written is: a block may be among it, and the pool may still hear us.
            let out = std::mem::take(&mut self.out);
            self.outputs.push_back(Output::Send(out));
        }
        self.outputs.push_back(Output::Disconnect);
        for end in self.ledger.lose_all() {
            self.outputs.push_back(Output::Settle(end));
        }
        for share in self.names.take_held() {
            self.drop_share(share, Dropped::LinkLost);
        }
        if self.draining {
            return self.finish();
        }
        let retry_in = self.backoff.next();
        self.phase = Phase::Waiting(now + retry_in);
        let reason = reason.to_owned();
        self.outputs
            .push_back(Output::Event(Event::Down { reason, retry_in }));
    }

    /// No connection will come any more: what was kept for one gets its end.
    fn finish(&mut self) {
        self.phase = Phase::Ended;
        self.channel.end();
        while let Some(share) = self.blocks.pop_front() {
            self.drop_share(share, Dropped::LinkLost);
        }
    }

    /// Makes work of the pool's job in force, if everything it takes is known.
    fn issue(&mut self, now: Instant, clean: bool) {
        let logged_in = matches!(self.phase, Phase::Jobless(_) | Phase::Up(_));
        let (Some(job), Some(layout), Some(extranonce), true) =
            (&self.job, self.layout, &self.extranonce, logged_in)
        else {
            return;
        };
        if extranonce.size < layout.total() {
            return;
        }
        let new_extranonce = self.extranonce_due.take().is_some();
        let clean = clean || new_extranonce || matches!(self.phase, Phase::Jobless(_));
        let terms = Terms {
            epoch: self.epoch,
            layout,
            extranonce,
            // A pool that announces none means 1 (the protocol's default).
            bound: self
                .job_bound
                .unwrap_or_else(|| Bound::of_difficulty(Difficulty::ONE)),
            version_mask: self.version_mask.unwrap_or(0),
        };
        let generation = self.workshop.generation();
        let blocks = &mut self.blocks_seen;
        match self.workshop.make(now, job, &terms, clean, blocks) {
            Ok(issue) => {
                self.channel.idle_since = None;
                if self.workshop.generation() != generation {
                    let prev_hash = &issue.work.prev_hash;
                    self.channel.workers.overtaken(now, prev_hash);
                    self.outputs.push_back(Output::Event(Event::NewBlock));
                }
                self.publish(now, issue);
            }
            Err(why) => self.bad_notify(now, why),
        }
    }

    fn publish(&mut self, now: Instant, issue: Arc<super::lease::Issue>) {
        self.issued_at = Some(now);
        if self.channel.workers.are_none() {
            self.refresh_wanted = false;
            self.outputs.push_back(Output::Issue(issue));
        } else {
            // Together with theirs, which what was wanted may have been.
            self.channel.workers.changed = true;
        }
        if matches!(self.phase, Phase::Jobless(_)) {
            self.phase = Phase::Up(now);
            self.outputs.push_back(Output::Event(Event::Up));
            self.resubmit_blocks(now);
            self.open_wanted(now);
        }
    }

    fn refresh_due(&self) -> Option<(Instant, &'static str)> {
        let (Phase::Up(_), Some(at)) = (self.phase, self.issued_at) else {
            return None;
        };
        // Under an extranonce that is gone or leaves too little, or another layout, there is nothing worth renewing.
        let current = self.workshop.current()?;
        let same_layout = Some(current.layout) == self.layout;
        if current.id < self.valid_from || !same_layout || self.excluded() {
            return None;
        }
        if self.refresh_wanted {
            Some((at + REFRESH_GAP, "refresh wanted"))
        } else {
            Some((at + self.config.refresh, "refresh"))
        }
    }

    fn bad_notify(&mut self, now: Instant, why: &'static str) {
        self.outputs.push_back(Output::Event(Event::BadNotify(why)));
        self.bad_notifies.retain(|at| *at + BAD_WINDOW > now);
        self.bad_notifies.push_back(now);
        if self.bad_notifies.len() >= BAD_NOTIFIES {
            self.down(now, "three bad jobs within a minute");
        }
    }

    fn is_open(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Waiting(_) | Phase::Connecting | Phase::Ended
        )
    }

    fn excluded(&self) -> bool {
        matches!((&self.extranonce, self.layout), (Some(e), Some(l)) if e.size < l.total())
    }

    /// At which so many hashes per second make the wanted number of shares; the least there is while they are none.
    fn wanted_difficulty(&self, hashrate: f64) -> Difficulty {
        let wanted = hashrate / (self.config.shares_per_second.max(1e-6) * 4_294_967_296.0);
        let bounded = wanted.clamp(Difficulty::MIN.value(), Difficulty::MAX.value());
        Difficulty::new(bounded).map_or(Difficulty::MIN, Difficulty::floor_to_power_of_two)
    }

    /// What is credited from now on; whether it holds for the job in force is its protocol's rule.
    fn set_bound(&mut self, bound: Bound) {
        let old = self.bound.replace(bound);
        if old.map(|old| old.difficulty) != Some(bound.difficulty) {
            let event = Event::Difficulty(bound.difficulty);
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// Whether no answer is to be expected any more.
    fn all_answered(&mut self, now: Instant) -> bool {
        match self.config.protocol {
            Protocol::V1 => self.ledger.in_flight() == 0,
            Protocol::V2 => self.v2_all_answered(now),
        }
    }

    fn turn_over(&mut self, now: Instant) {
        if self.draining && self.is_open() && self.names.held() == 0 && self.all_answered(now) {
            self.finish();
            self.outputs.push_back(Output::Disconnect);
        }
        let status = Status {
            up: matches!(self.phase, Phase::Up(_)) && !self.excluded(),
            extranonce2_size: self.extranonce.as_ref().map(|e| e.size),
            version_mask: self.is_open().then_some(self.version_mask).flatten(),
            difficulty: self.bound.map(|bound| bound.difficulty),
            suspect: self.ledger.suspect(now),
            excluded: self.excluded(),
            epoch: self.epoch,
        };
        if self.status.as_ref() != Some(&status) {
            self.status = Some(status.clone());
            self.outputs.push_back(Output::Status(status));
        }
    }
}

impl Machine for Link {
    type Input<'a> = Input<'a>;
    type Output = Output;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected if self.phase == Phase::Connecting => self.connected(now),
            Input::Connected => {}
            Input::ConnectFailed(why) | Input::Disconnected(why) => self.down(now, why),
            Input::Line(line) => {
                self.last_byte = now;
                self.line(now, line);
            }
            Input::Frame(frame) => {
                self.last_byte = now;
                self.frame(now, &frame);
            }
            Input::Overlong => self.down(
                now,
                match self.config.protocol {
                    Protocol::V1 => "a line of more than 128 KiB",
                    Protocol::V2 => "a frame of more than 192 KiB",
                },
            ),
            Input::Layout(layout) => {
                // Told again with every change of the fleet: the same word must not cost every miner a clean job.
                if self.layout.replace(layout) != Some(layout) {
                    self.close_owns();
                    self.issue(now, true);
                    self.open_wanted(now);
                }
            }
            Input::Submit(share) => self.submit(now, share),
            Input::Refresh => self.refresh_wanted = true,
            Input::Fleet(hashrate) => {
                self.fleet = hashrate;
                match self.config.protocol {
                    Protocol::V1 => self.suggest(),
                    Protocol::V2 => self.update_channel(),
                }
            }
            Input::Drain => {
                self.draining = true;
                if !self.is_open() {
                    self.finish();
                }
            }
        }
        self.handle_timeout(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.watch_health(now);
        self.v2_timeout(now);
        self.workers_timeout(now);
        if matches!(self.phase, Phase::Waiting(at) if now >= at) {
            self.phase = Phase::Connecting;
            let redirect = self.redirect.take();
            self.channel.endpoint.clone_from(&redirect);
            self.outputs.push_back(Output::Connect(redirect));
        }
        if self.extranonce_due.take_if(|due| now >= *due).is_some() {
            self.issue(now, true);
        }
        if self.refresh_due().is_some_and(|(due, _)| now >= due) {
            self.refresh_wanted = false;
            self.issued_at = Some(now);
            self.channel.workers.refresh(now);
            if let Some(issue) = self.workshop.refresh(now) {
                self.publish(now, issue);
            }
        }
        for share in self.names.overdue(now) {
            let account = self.names.account();
            self.write_held(now, share, &account);
        }
        self.turn_over(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        // Bytes first: a Disconnect that is queued must not overtake them; `down` clears what is pointless.
        if !self.out.is_empty() {
            return Some(Output::Send(std::mem::take(&mut self.out)));
        }
        let next = self.outputs.pop_front();
        next.or_else(|| self.changed_issue().map(Output::Issue))
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let reconnect = match self.phase {
            Phase::Waiting(at) => Some((at, "reconnect")),
            _ => None,
        };
        [
            reconnect,
            self.health_timer(),
            self.v2_timer(),
            self.last_batch_due(),
            self.workers_due(),
            self.extranonce_due.map(|at| (at, "extranonce")),
            self.refresh_due(),
            self.names.next_due().map(|at| (at, "worker authorize")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}
