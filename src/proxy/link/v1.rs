//! A link that speaks Stratum V1: what each line of a pool does.

use super::job::{Bound, Extranonce, Job};
use super::{AGENT, Asked, Event, Link, Output, Phase, SUGGEST_AGAIN};
use crate::stratum::v1::up::{self, Message, Notify, Outcome, request};
use crate::work::Difficulty;
use std::time::Instant;

impl From<Notify> for Job {
    fn from(notify: Notify) -> Self {
        Self {
            id: notify.job.into(),
            prev_hash: notify.prev_hash,
            coinbase_prefix: notify.coinb1,
            coinbase_suffix: notify.coinb2,
            branch: notify.branch,
            version: notify.version,
            nbits: notify.nbits,
            ntime: notify.ntime,
        }
    }
}

impl From<up::Extranonce> for Extranonce {
    fn from(extranonce: up::Extranonce) -> Self {
        Self {
            prefix: extranonce.extranonce1,
            size: extranonce.size,
        }
    }
}

impl Link {
    /// The first words on a new connection.
    pub(super) fn open_v1(&mut self) {
        if self.config.version_mask != 0 {
            let id = self.ledger.ask(Asked::Configure);
            request::configure(&mut self.out, id, self.config.version_mask);
        }
        let id = self.ledger.ask(Asked::Subscribe);
        request::subscribe(&mut self.out, id, AGENT);
    }

    pub(super) fn line(&mut self, now: Instant, line: &[u8]) {
        if !self.is_open() {
            return;
        }
        let Ok(message) = up::parse(line) else {
            return self.bad_notify(now, "a line that is not a Stratum message");
        };
        match message {
            Message::Response {
                id: Some(id),
                outcome,
            } => self.response(now, id, outcome),
            Message::Response { id: None, .. } | Message::Unknown => {}
            Message::Notify(job) => self.notify(now, *job),
            Message::BadNotify(why) => self.bad_notify(now, why),
            Message::SetDifficulty(Some(difficulty)) => self.set_difficulty(difficulty),
            Message::SetDifficulty(None) => self.bad_notify(now, "a difficulty out of range"),
            Message::SetExtranonce(Some(extranonce)) => self.set_extranonce(now, extranonce.into()),
            Message::SetExtranonce(None) => {
                self.bad_notify(now, "an unusable mining.set_extranonce");
            }
            Message::SetVersionMask(Some(mask)) => {
                self.version_mask = Some(mask & self.config.version_mask);
                // Work in force carries the mask it was made under; new shares must not be lost to a narrower one.
                self.issue(now, false);
            }
            Message::SetVersionMask(None) => {}
            Message::Reconnect { host, port, wait_s } => self.reconnect(now, host, port, wait_s),
            Message::ShowMessage(text) => {
                self.outputs.push_back(Output::Event(Event::Message(text)));
            }
            Message::GetVersion { id } => request::version(&mut self.out, id, AGENT),
            Message::Ping { id: Some(id) } => request::pong(&mut self.out, id),
            Message::Ping { id: None } => {}
        }
    }

    fn response(&mut self, now: Instant, id: u64, outcome: Outcome<'_>) {
        // An answer to nothing we asked, or a second answer, changes nothing.
        let Some(asked) = self.ledger.answered(id) else {
            return;
        };
        match (asked, outcome) {
            (Asked::Configure, Outcome::Ok(raw)) => {
                let granted = up::configure_result(raw).unwrap_or(0);
                self.version_mask = Some(granted & self.config.version_mask);
            }
            (Asked::Configure, Outcome::Refused(_)) => self.version_mask = Some(0),
            (Asked::Subscribe, Outcome::Ok(raw)) => match up::subscribe_result(raw) {
                Some(extranonce) => self.subscribed(now, extranonce.into()),
                None => self.down(
                    now,
                    "its answer to mining.subscribe has no usable extranonce",
                ),
            },
            (Asked::Subscribe, Outcome::Refused(_)) => {
                self.down(now, "it refused mining.subscribe");
            }
            (Asked::Login, Outcome::Ok(_)) => self.logged_in(now),
            (Asked::Login, Outcome::Refused(refusal)) => {
                self.outputs
                    .push_back(Output::Event(Event::LoginRefused(refusal.text)));
                self.down(now, "it refused our login");
            }
            (Asked::Worker(user), outcome) => {
                let (name, shares) = self
                    .names
                    .answered(&user, matches!(outcome, Outcome::Ok(_)));
                if let Outcome::Refused(refusal) = outcome {
                    let event = Event::WorkerRefused {
                        worker: user.to_string(),
                        text: refusal.text,
                    };
                    self.outputs.push_back(Output::Event(event));
                }
                for share in shares {
                    self.write_held(now, share, &name);
                }
            }
            (
                Asked::Share {
                    worker,
                    hashes,
                    at,
                    block,
                    channel: _,
                },
                outcome,
            ) => {
                let verdict = match outcome {
                    Outcome::Ok(_) => Ok(()),
                    Outcome::Refused(refusal) => Err(refusal.kind),
                };
                let end = self.ledger.settle(now, worker, hashes, at, block, verdict);
                self.outputs.push_back(Output::Settle(end));
            }
            (Asked::Other, _) => {}
        }
    }

    fn subscribed(&mut self, now: Instant, extranonce: Extranonce) {
        if !matches!(self.phase, Phase::Subscribing(_)) {
            return;
        }
        self.extranonce = Some(extranonce);
        self.phase = Phase::LoggingIn(now);
        let id = self.ledger.ask(Asked::Login);
        let account = self.names.account();
        request::authorize(&mut self.out, id, &account, &self.config.password);
        let id = self.ledger.ask(Asked::Other);
        request::extranonce_subscribe(&mut self.out, id);
        self.suggest();
    }

    fn logged_in(&mut self, now: Instant) {
        if matches!(self.phase, Phase::LoggingIn(_)) {
            self.phase = Phase::Jobless(now);
            // A job may have come before or with the answer.
            self.issue(now, true);
        }
    }

    fn notify(&mut self, now: Instant, job: Notify) {
        let clean = job.clean;
        self.job = Some(job.into());
        self.job_bound = self.bound;
        self.issue(now, clean);
    }

    fn set_difficulty(&mut self, difficulty: Difficulty) {
        self.set_bound(Bound::of_difficulty(difficulty));
    }

    /// Sizes the pool's difficulty to the fleet, so that a failover is no share storm.
    pub(super) fn suggest(&mut self) {
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
        self.suggested_for = now;
        let id = self.ledger.ask(Asked::Other);
        let wanted = self.wanted_difficulty(self.fleet);
        request::suggest_difficulty(&mut self.out, id, wanted);
    }

    fn set_extranonce(&mut self, now: Instant, extranonce: Extranonce) {
        if self.extranonce.as_ref() == Some(&extranonce) {
            return;
        }
        self.extranonce = Some(extranonce);
        self.valid_from = self.workshop.next_id();
        self.extranonce_due = Some(now + super::EXTRANONCE_GRACE);
        self.outputs.push_back(Output::Event(Event::Extranonce));
    }
}
