//! One pool connection as a pure machine; it outlives the sockets it is given. Not a router: it does not know who
//! mines for it.
//!
//! ```text
//!   Connect ─> configure, subscribe ─> authorize ─> Notify ─> Issue ...      up
//!      ^                                                        │
//!      └──────────── back-off <── dead (RST, silence, refusal) ─┘            down
//! ```
//! Invariant (I3, I4): a share given to a link is written at most once, and always settled.

mod backoff;
mod io;
mod ledger;
mod names;
mod shares;
#[cfg(test)]
mod tests;
mod v1;
mod workshop;

pub use io::*;

use super::lease::Submission;
use super::tally::{Drop as Dropped, Settled};
use crate::machine::Machine;
use crate::stratum::v1::up::{Extranonce, Notify, request};
use crate::work::{Difficulty, Layout, WorkId};
use backoff::Backoff;
use ledger::{Asked, Ledger};
use names::Names;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};
use workshop::{Terms, Workshop};

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
    difficulty: Option<Difficulty>,
    job: Option<Notify>,
    /// The difficulty that was announced before `job` came: a later one is for later jobs.
    job_difficulty: Option<Difficulty>,
    workshop: Workshop,
    issued_at: Option<Instant>,
    refresh_wanted: bool,
    last_byte: Instant,
    bad_notifies: VecDeque<Instant>,
    ledger: Ledger,
    names: Names,
    blocks: VecDeque<Box<Submission>>,
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
            difficulty: None,
            job: None,
            job_difficulty: None,
            workshop: Workshop::new(config.id, ids),
            issued_at: None,
            refresh_wanted: false,
            last_byte: now,
            bad_notifies: VecDeque::new(),
            ledger: Ledger::default(),
            names: Names::new(&config),
            blocks: VecDeque::new(),
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
        self.difficulty = None;
        self.job = None;
        self.suggested_for = 0.0;
        self.valid_from = self.workshop.next_id();
        self.bad_notifies.clear();
        self.names.forget();
        if self.config.version_mask != 0 {
            let id = self.ledger.ask(Asked::Configure);
            request::configure(&mut self.out, id, self.config.version_mask);
        }
        let id = self.ledger.ask(Asked::Subscribe);
        request::subscribe(&mut self.out, id, AGENT);
    }

    /// The socket is gone or not worth keeping.
    fn down(&mut self, now: Instant, reason: &str) {
        if matches!(self.phase, Phase::Waiting(_) | Phase::Ended) {
            return;
        }
        if matches!(self.phase, Phase::Up(since) if now >= since + PROVEN) {
            self.backoff.reset();
        }
        self.out.clear();
        self.extranonce_due = None;
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
            difficulty: self.job_difficulty.unwrap_or(Difficulty::ONE),
            version_mask: self.version_mask.unwrap_or(0),
        };
        let generation = self.workshop.generation();
        match self.workshop.make(now, job, &terms, clean) {
            Ok(issue) => {
                if self.workshop.generation() != generation {
                    self.outputs.push_back(Output::Event(Event::NewBlock));
                }
                self.publish(now, issue);
            }
            Err(why) => self.bad_notify(now, why),
        }
    }

    fn publish(&mut self, now: Instant, issue: Arc<super::lease::Issue>) {
        self.issued_at = Some(now);
        self.refresh_wanted = false;
        self.outputs.push_back(Output::Issue(issue));
        if matches!(self.phase, Phase::Jobless(_)) {
            self.phase = Phase::Up(now);
            self.outputs.push_back(Output::Event(Event::Up));
            self.resubmit_blocks(now);
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

    /// Sizes the pool's difficulty to the fleet, so that a failover is no share storm.
    fn suggest(&mut self) {
        let ready = matches!(
            self.phase,
            Phase::LoggingIn(_) | Phase::Jobless(_) | Phase::Up(_)
        );
        let (now, told) = (self.fleet, self.suggested_for);
        if !ready
            || now <= 0.0
            || (told > 0.0 && now < told * SUGGEST_AGAIN && now > told / SUGGEST_AGAIN)
        {
            return;
        }
        let wanted = now / (self.config.shares_per_second.max(1e-6) * 4_294_967_296.0);
        if let Some(difficulty) =
            Difficulty::new(wanted.clamp(Difficulty::MIN.value(), Difficulty::MAX.value()))
        {
            self.suggested_for = now;
            let id = self.ledger.ask(Asked::Other);
            request::suggest_difficulty(&mut self.out, id, difficulty.floor_to_power_of_two());
        }
    }

    fn watch_health(&mut self, now: Instant) {
        let dead = match self.phase {
            Phase::Subscribing(at) if now >= at + FIRST_JOB => {
                Some("no answer to mining.subscribe for 15 s")
            }
            Phase::LoggingIn(at) if now >= at + FIRST_JOB => {
                Some("no answer to mining.authorize for 15 s")
            }
            Phase::Jobless(at)
                if now >= at + FIRST_JOB && self.layout.is_some() && !self.excluded() =>
            {
                Some("no job for 15 s after the login")
            }
            Phase::Up(_) if self.unanswered_at().is_some_and(|at| now >= at) => {
                Some("shares unanswered for 10 s and not a byte since")
            }
            _ if now >= self.last_byte + SILENCE && self.is_open() => Some("silent for 150 s"),
            _ => None,
        };
        if let Some(reason) = dead {
            self.down(now, reason);
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

    /// When the oldest share makes the pool dead, unless a byte came after it was written.
    fn unanswered_at(&self) -> Option<Instant> {
        let oldest = self.ledger.oldest_share()?;
        Some(oldest.max(self.last_byte) + UNANSWERED)
    }

    fn turn_over(&mut self, now: Instant) {
        if self.draining && self.ledger.in_flight() == 0 && self.names.held() == 0 && self.is_open()
        {
            self.finish();
            self.outputs.push_back(Output::Disconnect);
        }
        let status = Status {
            up: matches!(self.phase, Phase::Up(_)) && !self.excluded(),
            extranonce2_size: self.extranonce.as_ref().map(|e| e.size),
            version_mask: self.is_open().then_some(self.version_mask).flatten(),
            difficulty: self.difficulty,
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
            Input::Overlong => self.down(now, "a line of more than 128 KiB"),
            Input::Layout(layout) => {
                // Told again with every change of the fleet: the same word must not cost every miner a clean job.
                if self.layout.replace(layout) != Some(layout) {
                    self.issue(now, true);
                }
            }
            Input::Submit(share) => self.submit(now, share),
            Input::Refresh => self.refresh_wanted = true,
            Input::Fleet(hashrate) => {
                self.fleet = hashrate;
                self.suggest();
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
        if matches!(self.phase, Phase::Waiting(at) if now >= at) {
            self.phase = Phase::Connecting;
            self.outputs
                .push_back(Output::Connect(self.redirect.take()));
        }
        if self.extranonce_due.take_if(|due| now >= *due).is_some() {
            self.issue(now, true);
        }
        if self.refresh_due().is_some_and(|(due, _)| now >= due) {
            self.refresh_wanted = false;
            self.issued_at = Some(now);
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
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let phase = match self.phase {
            Phase::Waiting(at) => Some((at, "reconnect")),
            Phase::Subscribing(at) | Phase::LoggingIn(at) => Some((at + FIRST_JOB, "login")),
            Phase::Jobless(at) if self.layout.is_some() && !self.excluded() => {
                Some((at + FIRST_JOB, "first job"))
            }
            Phase::Up(_) => self.unanswered_at().map(|at| (at, "unanswered share")),
            _ => None,
        };
        [
            phase,
            self.is_open()
                .then_some((self.last_byte + SILENCE, "silence")),
            self.extranonce_due.map(|at| (at, "extranonce")),
            self.refresh_due(),
            self.names.next_due().map(|at| (at, "worker authorize")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}

/// The host part of a `client.reconnect` is allowed: our own, or on the list (`*.suffix` or exact); over plaintext only our own.
fn reconnect_allowed(config: &Config, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    if host == config.host.to_ascii_lowercase() {
        return true;
    }
    config.tls
        && config
            .reconnect_hosts
            .iter()
            .map(|allowed| allowed.to_ascii_lowercase())
            .any(|allowed| match allowed.strip_prefix("*.") {
                Some(suffix) => host
                    .strip_suffix(suffix)
                    .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
                None => allowed == host,
            })
}
