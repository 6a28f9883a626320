//! What a miner must see of a session: a reference of the replies, pushes and verdicts, told in the plainest words.
//!
//! Not the session: it reads only bytes that were sent, and the works that exist. Each check panics.

use serde_json::value::RawValue;
use sluice::proxy::lease::Issue;
use sluice::proxy::tally::Reject;
use sluice::stratum::label::worker_label;
use sluice::stratum::v1::down::{Message, Request, Submit};
use sluice::work::{Difficulty, Layout, LinkId, Proof, Target};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Jobs a session keeps, and the gap between notifies.
const KEPT: usize = 16;
const GAP: Duration = Duration::from_millis(250);
/// Messages before authorize.
const EARLY: u32 = 8;

/// A reply that is owed.
#[derive(Debug)]
struct Owed {
    number: u64,
    id: String,
    is_subscribe: bool,
}

/// A job as the miner was told it.
#[derive(Debug)]
struct Told {
    issue: Arc<Issue>,
    difficulty: Difficulty,
    mask: u32,
    stale: bool,
}

/// A share on its way through the judge.
#[derive(Debug)]
pub(crate) struct Awaited {
    number: u64,
    job: Option<(u32, Difficulty)>,
}

/// The miner's view.
#[derive(Debug, Default)]
pub(crate) struct Miner {
    /// No share ever waits, so that bytes are read when they are decided and every verdict is known.
    prompt: bool,
    owed: VecDeque<Owed>,
    /// Codes that replies must carry, where the reference knows; 0 is yes.
    codes: HashMap<u64, i32>,
    requests: u64,
    pub(crate) subscribed: bool,
    pub(crate) layout: Option<Layout>,
    pub(crate) leased: Option<LinkId>,
    pub(crate) workers: Vec<Arc<str>>,
    early: u32,
    told: VecDeque<Told>,
    difficulty: Option<Difficulty>,
    before: Option<Difficulty>,
    changed: bool,
    mask: u32,
    notified: Option<Instant>,
    seen: HashMap<[u8; 32], HashSet<u64>>,
    pub(crate) submits: u64,
    /// What it said must end the connection.
    pub(crate) closes: bool,
}

impl Miner {
    pub(crate) fn new(prompt: bool) -> Self {
        Self {
            prompt,
            ..Self::default()
        }
    }

    /// A line that the session will read; says what it owes for it.
    pub(crate) fn says(&mut self, message: &Message<'_>, unix_s: u64) -> Option<Awaited> {
        self.requests += 1;
        let number = self.requests;
        let is_pong = matches!(message.request, Ok(Request::Pong));
        if self.workers.is_empty() && !is_pong {
            self.early += 1;
            if self.early > EARLY {
                self.closes = true;
                return None;
            }
        }
        let is_subscribe = matches!(message.request, Ok(Request::Subscribe { .. }));
        if let (Some(id), false) = (message.id, is_pong) {
            self.owed.push_back(Owed {
                number,
                id: id.0.to_owned(),
                is_subscribe,
            });
        }
        if is_subscribe && message.id.is_none() {
            // Nothing will answer it, so nothing can come before the answer.
            self.subscribed = true;
        }
        if !message.is_submit {
            return None;
        }
        self.submits += 1;
        let expected = match &message.request {
            Ok(Request::Submit(submit)) => self.verdict(submit, unix_s),
            _ => Err(self.state().unwrap_or(Reject::InvalidParams)),
        };
        match expected {
            Err(why) if self.prompt => {
                self.codes.insert(number, why.code());
                None
            }
            job => Some(Awaited {
                number,
                job: job.ok().filter(|_| self.prompt),
            }),
        }
    }

    fn state(&self) -> Option<Reject> {
        match (self.layout, self.workers.is_empty()) {
            (None, _) => Some(Reject::NotSubscribed),
            (_, true) => Some(Reject::UnauthorizedWorker),
            _ => None,
        }
    }

    /// Everything before hashing (STRATUM.md sections 1 and 4).
    fn verdict(&self, submit: &Submit<'_>, unix_s: u64) -> Result<(u32, Difficulty), Reject> {
        if let Some(why) = self.state() {
            return Err(why);
        }
        let label = worker_label(submit.worker.as_bytes());
        if !self
            .workers
            .iter()
            .any(|known| **known == *submit.worker || **known == *label)
        {
            return Err(Reject::UnauthorizedWorker);
        }
        let job = self
            .told
            .iter()
            .find(|told| Some(told.issue.work.id.0) == submit.job)
            .ok_or(Reject::JobNotFound)?;
        let work = &job.issue.work;
        if Some(submit.en2_len) != self.layout.map(|layout| layout.rolled) {
            return Err(Reject::Extranonce2Length);
        }
        let ntime = u64::from(submit.ntime);
        let first = u64::from(work.pool_ntime);
        if !(first..=first + 7000).contains(&ntime) || ntime > unix_s + 7200 {
            return Err(Reject::Ntime);
        }
        let bits = submit.version_bits.unwrap_or(0);
        let fits = |mask: u32| bits & !(mask & work.version_mask) == 0;
        if !fits(job.mask) && !fits(self.mask) {
            return Err(Reject::VersionBits);
        }
        Ok((work.id.0, job.difficulty))
    }

    /// The verdict that a proof must get.
    pub(crate) fn judged(&mut self, awaited: &Awaited, proof: &Proof) {
        let Some((id, difficulty)) = awaited.job else {
            return;
        };
        let told = self.told.iter().find(|told| told.issue.work.id.0 == id);
        let told = told.expect("nothing was told since it was asked");
        let work = &told.issue.work;
        let block = work.network_target.is_met_by(&proof.hash);
        let good = Target::from_difficulty(difficulty).is_met_by(&proof.hash);
        let key = u64::from_le_bytes(proof.hash[..8].try_into().expect("eight bytes"));
        let code = if told.stale && !block {
            Reject::Stale.code()
        } else if !good && !block {
            Reject::LowDifficulty.code()
        } else if !self.seen.entry(work.prev_hash).or_default().insert(key) {
            Reject::Duplicate.code()
        } else {
            0
        };
        self.codes.insert(awaited.number, code);
    }

    /// Bytes for the miner. `works`: all that exist.
    pub(crate) fn reads(&mut self, now: Instant, bytes: &[u8], works: &[Arc<Issue>]) {
        assert_eq!(bytes.last(), Some(&b'\n'), "a line without its end");
        for line in bytes[..bytes.len() - 1].split(|byte| *byte == b'\n') {
            assert!(line.len() < 128 * 1024);
            let text = std::str::from_utf8(line).expect("we write UTF-8");
            let line: BTreeMap<&str, &RawValue> =
                serde_json::from_str(text).expect("we write JSON objects");
            match line.get("method") {
                Some(method) => {
                    assert!(
                        self.subscribed,
                        "pushed before the subscribe result: {text}"
                    );
                    self.pushed(now, method.get(), line["params"].get(), works);
                }
                None => self.answered(&line),
            }
        }
        assert!(!self.changed, "a difficulty without its notify");
    }

    fn answered(&mut self, line: &BTreeMap<&str, &RawValue>) {
        assert!(!self.changed, "a reply between a difficulty and its notify");
        let owed = self
            .owed
            .pop_front()
            .expect("a reply that nobody asked for");
        assert_eq!(line["id"].get(), owed.id, "the replies are out of order");
        let refused = line.get("error").is_some_and(|error| error.get() != "null");
        if owed.is_subscribe && !refused {
            self.subscribed = true;
        }
        let code = line.get("error").map_or("null", |error| error.get());
        let code = code.trim_start_matches('[').split(',').next();
        let code = code.and_then(|code| code.parse().ok()).unwrap_or(0);
        if let Some(expected) = self.codes.remove(&owed.number) {
            assert_eq!(code, expected, "another verdict than the reference's");
        }
        if let Some(result) = line.get("result").map(|result| result.get()) {
            self.configured(result);
        }
    }

    /// Whether a result grants or refuses version rolling.
    fn configured(&mut self, result: &str) {
        let Ok(result) = serde_json::from_str::<serde_json::Value>(result) else {
            return;
        };
        if result.get("version-rolling") == Some(&false.into()) {
            self.mask = 0;
        }
        if let Some(mask) = result
            .get("version-rolling.mask")
            .and_then(|mask| mask.as_str())
        {
            self.mask = u32::from_str_radix(mask, 16).expect("hex");
        }
    }

    fn pushed(&mut self, now: Instant, method: &str, params: &str, works: &[Arc<Issue>]) {
        let raw: Vec<&RawValue> = serde_json::from_str(params).expect("an array");
        let params: Vec<serde_json::Value> = serde_json::from_str(params).expect("an array");
        assert!(!self.changed || method == "\"mining.notify\"");
        match method {
            "\"mining.set_difficulty\"" => {
                // serde_json's own reading of a float may be off by the last bit.
                let value = raw[0].get().parse().expect("a number");
                let difficulty = Difficulty::new(value).expect("within range");
                assert_eq!(difficulty, difficulty.floor_to_power_of_two());
                if self.difficulty != Some(difficulty) {
                    // Before the first job there is nothing that it could miscount.
                    self.changed = self.difficulty.is_some() || self.notified.is_some();
                    (self.before, self.difficulty) = (self.difficulty, Some(difficulty));
                }
            }
            "\"mining.set_version_mask\"" => {
                let mask = params[0].as_str().expect("a string");
                self.mask = u32::from_str_radix(mask, 16).expect("hex");
            }
            "\"mining.notify\"" => self.notified(now, &params, works),
            other => panic!("{other} is pushed to a miner"),
        }
    }

    fn notified(&mut self, now: Instant, params: &[serde_json::Value], works: &[Arc<Issue>]) {
        let id = u32::from_str_radix(params[0].as_str().expect("text"), 16).expect("hex");
        let issue = works.iter().rev().find(|issue| issue.work.id.0 == id);
        let issue = issue.expect("a work that exists").clone();
        let work = issue.work.clone();
        let clean = params[8].as_bool().expect("a flag");
        let difficulty = self
            .difficulty
            .expect("a difficulty comes before the first job");
        assert!(!self.workers.is_empty(), "work before authorize");
        if self
            .told
            .back()
            .is_some_and(|last| last.issue.work.id.0 == id)
        {
            assert!(clean && !self.changed, "a job again, and changed");
            return;
        }
        let told = |told: &Told| told.issue.work.id == work.id;
        assert!(!self.told.iter().any(told), "an older job again");
        assert_eq!(Some(work.layout), self.layout);
        assert!(
            difficulty.value() <= work.pool_difficulty.value(),
            "unpaid work"
        );
        if self.prompt {
            assert_eq!(Some(work.link), self.leased, "work of another link");
            assert!(
                self.notified.is_none_or(|last| now >= last + GAP),
                "a flood"
            );
        }
        let same = |told: &&Told| told.issue.work.link == work.link;
        let newest = self
            .told
            .iter()
            .filter(same)
            .map(|told| told.issue.work.generation)
            .max();
        let moved = self
            .told
            .back()
            .is_none_or(|last| last.issue.work.link != work.link);
        assert_eq!(
            clean,
            moved || newest.is_none_or(|newest| newest < work.generation)
        );
        self.notified = Some(now);
        for told in &mut self.told {
            let older = told.issue.work.generation < work.generation;
            told.stale |= told.issue.work.link == work.link && older;
        }
        if self.told.len() == KEPT {
            self.told.pop_front();
        }
        // Until the second notify after a change the lower of old and new counts.
        let lower = self
            .before
            .take()
            .map_or(difficulty, |before| before.min(difficulty));
        self.changed = false;
        self.told.push_back(Told {
            issue,
            difficulty: lower,
            mask: self.mask,
            stale: false,
        });
    }

    /// The id, pool ntime and mask of a job that was told.
    pub(crate) fn job(&self, index: u8) -> Option<(u32, u32)> {
        let count = self.told.len().max(1);
        let told = self.told.get(usize::from(index) % count)?;
        Some((told.issue.work.id.0, told.issue.work.pool_ntime))
    }

    /// The connection ends: what was read was answered.
    pub(crate) fn closed(&self) {
        assert!(
            self.owed.is_empty(),
            "closed with replies owed: {:?}",
            self.owed
        );
    }
}
