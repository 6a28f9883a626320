//! A link that speaks Stratum V1: what each line of a pool does.

use super::{AGENT, Asked, Event, Link, Output, Phase, reconnect_allowed};
use crate::stratum::v1::up::{self, Extranonce, Message, Notify, Outcome, request};
use crate::work::Difficulty;
use std::time::{Duration, Instant};

/// The waits of `client.reconnect` that are honoured: no pool makes us hammer it, and the backup mines meanwhile.
const RECONNECT_WAIT_S: (u64, u64) = (1, 60);

impl Link {
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
            Message::SetExtranonce(Some(extranonce)) => self.set_extranonce(now, extranonce),
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
                Some(extranonce) => self.subscribed(now, extranonce),
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
        self.job = Some(job);
        self.job_difficulty = self.difficulty;
        self.issue(now, clean);
    }

    fn set_difficulty(&mut self, difficulty: Difficulty) {
        if self.difficulty != Some(difficulty) {
            self.difficulty = Some(difficulty);
            self.outputs
                .push_back(Output::Event(Event::Difficulty(difficulty)));
        }
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

    fn reconnect(&mut self, now: Instant, host: Option<String>, port: Option<u16>, wait_s: u64) {
        let host = host.filter(|host| !host.is_empty());
        if let Some(host) = host
            .as_deref()
            .filter(|host| !reconnect_allowed(&self.config, host))
        {
            return self
                .outputs
                .push_back(Output::Event(Event::ReconnectRefused(host.to_owned())));
        }
        let redirect = match (host, port) {
            (None, None) => None,
            (host, port) => Some((
                host.unwrap_or_else(|| self.config.host.clone()),
                port.unwrap_or(0),
            )),
        };
        self.down(now, "it asked us to reconnect");
        self.redirect = redirect;
        if let Phase::Waiting(at) = &mut self.phase {
            let (least, most) = RECONNECT_WAIT_S;
            *at = now + Duration::from_secs(wait_s.clamp(least, most));
        }
    }
}
