//! A session that speaks Stratum V1: what each request does. Shares are in `shares`.
//!
//! Invariant (I8): exactly one answer per request with an id, in order; none without.

use super::Session;
use super::replies::{KeptId, WorkerAt};
use crate::proxy::lease::ResumeToken;
use crate::proxy::session::{Attach, Close, Event, Output};
use crate::proxy::tally::Reject;
use crate::stratum::v1::down::{
    self, Configure, Message, Request, agent_minimum, password_hints, reply,
};

use crate::stratum::label::worker_label;
use crate::stratum::v1::message::Id;
use crate::work::Difficulty;
use std::sync::Arc;
use std::time::Instant;

/// Messages before authorize: configure, subscribe, extranonce.subscribe, suggest, authorize and three to spare.
const EARLY: u8 = 8;
/// Workers on one connection: an aggregating proxy below us; a machine has one.
const WORKERS: usize = 256;
/// JSON-RPC "method not found" as Stratum uses it.
const METHOD_NOT_FOUND: i32 = -3;

impl Session {
    pub(super) fn line(&mut self, now: Instant, line: &[u8]) {
        if self.closing.is_some() {
            return;
        }
        self.heard = true;
        let parse = if self.config.fast_lines {
            down::parse
        } else {
            down::parse_slow
        };
        let Ok(message) = parse(line) else {
            return self.close(Close::Malformed);
        };
        if self.workers.is_empty() && !matches!(message.request, Ok(Request::Pong)) {
            self.early_messages += 1;
            if self.early_messages > EARLY {
                return self.close(Close::Misbehaved);
            }
        }
        if message.is_submit {
            self.submits.take(now, self.config.submits);
        } else {
            self.others.take(now, self.config.others);
        }
        self.request(now, message);
    }

    fn request(&mut self, now: Instant, message: Message<'_>) {
        let id = message.id;
        match message.request {
            Ok(Request::Submit(submit)) => self.submit(now, id, &submit),
            Ok(Request::Configure(asked)) => self.configure(id, &asked),
            Ok(Request::Subscribe { agent, session }) => {
                self.subscribe(id, agent.as_deref(), session.as_deref());
            }
            Ok(Request::Authorize { user, password }) => {
                self.authorize(now, id, &user, password.as_deref());
            }
            Ok(Request::ExtranonceSubscribe) => self.answer(id, reply::accepted),
            Ok(Request::SuggestDifficulty(difficulty)) => self.suggest(id, difficulty),
            Ok(Request::SuggestTarget(target)) => match Difficulty::new(target.difficulty()) {
                Some(difficulty) => self.suggest(id, difficulty),
                None => self.refuse(id, Reject::InvalidParams),
            },
            Ok(Request::Ping) => self.answer(id, reply::pong),
            Ok(Request::Pong) => {}
            Ok(Request::Unknown) => self.answer(id, |out, id| {
                reply::error(out, id, METHOD_NOT_FOUND, "Method not found");
            }),
            Err(_) if message.is_submit => self.unreadable_share(now, id),
            Err(_) => self.refuse(id, Reject::InvalidParams),
        }
    }

    pub(super) fn answer(&mut self, id: Option<Id<'_>>, write: impl FnOnce(&mut Vec<u8>, Id<'_>)) {
        if let Some(id) = id {
            write(self.replies.tail(), id);
        }
    }

    pub(super) fn refuse(&mut self, id: Option<Id<'_>>, why: Reject) {
        self.answer(id, |out, id| reply::error(out, id, why.code(), why.text()));
    }

    fn configure(&mut self, id: Option<Id<'_>>, asked: &Configure) {
        let granted = self.negotiate(asked);
        if let Some(Some(difficulty)) = asked.minimum_difficulty {
            self.mining.vardiff.suggest_min(difficulty);
        }
        self.answer(id, |out, id| reply::configured(out, id, asked, granted));
        if self.mining.seat.is_some() || self.attaching {
            let (version_mask, min_bits) = self.rolling.map_or((0, 0), |r| (r.asked, r.min_bits));
            self.mining
                .outputs
                .push_back(Output::Event(Event::Capability {
                    version_mask,
                    min_bits,
                }));
        }
    }

    fn subscribe(&mut self, id: Option<Id<'_>>, agent: Option<&str>, session: Option<&str>) {
        if let Some(seat) = &self.mining.seat {
            let (token, lane, layout) = (seat.token.to_hex(), seat.lane, seat.layout);
            return self.answer(id, |out, id| {
                reply::subscribed(out, id, &token, lane, layout);
            });
        }
        if self.attaching {
            return self.refuse(id, Reject::InvalidParams);
        }
        let agent = agent.unwrap_or_default();
        if let Some(minimum) = agent_minimum(agent) {
            self.mining.vardiff.suggest_min(minimum);
        }
        self.agent = Some(worker_label(agent).into());
        self.attaching = true;
        self.replies.seat(id.map(KeptId::new));
        let rolling = self.rolling.unwrap_or_default();
        self.mining.outputs.push_back(Output::Attach(Attach {
            resume: session.and_then(ResumeToken::from_hex),
            version_mask: rolling.asked,
            min_bits: rolling.min_bits,
            extranonce: 0,
        }));
    }

    fn authorize(&mut self, now: Instant, id: Option<Id<'_>>, user: &str, password: Option<&str>) {
        let label = worker_label(user);
        let known = self.workers.iter().any(|worker| **worker == *label);
        let wrong = self
            .config
            .password
            .as_deref()
            .is_some_and(|want| password != Some(want));
        if wrong || (!known && self.workers.len() >= WORKERS) {
            self.mining
                .outputs
                .push_back(Output::Event(Event::Refused(label.into())));
            return self.refuse(id, Reject::UnauthorizedWorker);
        }
        if !known {
            let label: Arc<str> = label.into();
            self.workers.push(label.clone());
            self.mining
                .outputs
                .push_back(Output::Event(Event::Authorized(label)));
        }
        let hints = password_hints(password.unwrap_or_default());
        if let Some(minimum) = hints.fixed_min {
            self.mining.vardiff.suggest_min(minimum);
        }
        if let Some(start) = hints.start {
            self.mining.vardiff.suggest(start);
        }
        self.answer(id, reply::accepted);
        self.issue(now);
    }

    /// `mining.suggest_difficulty`: where the miner wants to be, and no less than it wants.
    fn suggest(&mut self, id: Option<Id<'_>>, difficulty: Difficulty) {
        self.mining.vardiff.suggest(difficulty);
        self.answer(id, reply::accepted);
    }

    /// The authorized worker that a submit names.
    pub(super) fn worker(&self, raw: &str) -> Option<WorkerAt> {
        let place = |name: &str| self.workers.iter().position(|worker| **worker == *name);
        let at = place(raw).or_else(|| place(&worker_label(raw)))?;
        Some(WorkerAt(
            u16::try_from(at).expect("fewer than WORKERS are kept"),
        ))
    }
}
