//! Between V1 miners and sessions, between links and V1 pools: every line read and judged a second time.
//!
//! Invariant: a tap only reads; what it finds goes into the books.

use crate::clock::Ns;
use crate::heard::{Heard, Terms, Told};
use crate::tap::Books;
use serde_json::Value;
use sluice::proxy::lease::SessionId;
use sluice::sim::wire::{self, Bound, Cutter, Job};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A request of a miner that waits for its answer.
#[derive(Debug)]
enum Asked {
    Subscribe,
    Authorize,
    Submit(Box<Found>),
    Other,
}

/// A share as submitted.
#[derive(Debug)]
struct Found {
    job: u32,
    en2: Vec<u8>,
    ntime: u32,
    nonce: u32,
    bits: u32,
    early: bool,
}

/// Between a miner and its session.
#[derive(Debug, Default)]
pub struct DownTap {
    open: VecDeque<(String, Asked)>,
    cutter: Cutter,
    en1: Vec<u8>,
    difficulty: f64,
    difficulty_before: Option<f64>,
    /// Since its first worker was authorized.
    pub heard: Heard,
}

impl DownTap {
    /// A line that the session reads.
    pub fn read(&mut self, books: &mut Books, now: Ns, miner: usize, line: &[u8]) {
        books.note(now, || {
            format!("miner {miner} > {}", String::from_utf8_lossy(line))
        });
        let message: Value = serde_json::from_slice(line).unwrap_or_default();
        let params = &message["params"];
        let text = |at: usize| params[at].as_str().unwrap_or_default();
        let number = |at: usize| wire::hex_u32(text(at)).unwrap_or(0);
        let asked = match message["method"].as_str() {
            Some("mining.subscribe") => Asked::Subscribe,
            Some("mining.authorize") => Asked::Authorize,
            Some("mining.submit") => {
                books.submits_read += 1;
                Asked::Submit(Box::new(Found {
                    job: number(1),
                    en2: wire::unhex(text(2)).unwrap_or_default(),
                    ntime: number(3),
                    nonce: number(4),
                    bits: number(5),
                    early: self.heard.since.is_none(),
                }))
            }
            _ => Asked::Other,
        };
        if !message["id"].is_null() {
            self.open.push_back((message["id"].to_string(), asked));
        }
    }

    /// Bytes that the session sends.
    pub fn sent(&mut self, books: &mut Books, now: Ns, miner: usize, id: SessionId, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.cutter.push(bytes, |line| lines.push(line.to_vec()));
        let told = self.difficulty;
        for line in lines {
            books.note(now, || {
                let text = String::from_utf8_lossy(&line);
                format!(
                    "miner {miner} < {}",
                    text.chars().take(90).collect::<String>()
                )
            });
            if let Some((work, clean)) = books.lines.get(&line[..]).copied() {
                self.notify(books, now, miner, id, work, clean);
                continue;
            }
            let message: Value = serde_json::from_slice(&line).unwrap_or_default();
            match message["method"].as_str() {
                Some("mining.notify") => {
                    books.fail(now, format!("a notify nobody published: {message}"));
                }
                Some("mining.set_difficulty") => {
                    // Not serde_json's number, which may be one unit in the last place off.
                    self.difficulty = wire::first_number(&line).unwrap_or(f64::NAN);
                }
                Some(_) => {}
                None => self.reply(books, now, miner, id, &message),
            }
        }
        let settled = self
            .difficulty_before
            .is_none_or(|before| before == self.difficulty);
        if told != self.difficulty && !settled {
            books.fail(
                now,
                format!("miner {miner}: a difficulty changed and no notify followed"),
            );
        }
    }

    fn notify(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        session: SessionId,
        work: u32,
        clean: bool,
    ) {
        if self.heard.newest() == Some(work) {
            return;
        }
        let judged = self
            .difficulty_before
            .map_or(self.difficulty, |d| d.min(self.difficulty));
        self.difficulty_before = Some(self.difficulty);
        let told = Told {
            session,
            work,
            clean,
            space: (self.en1.clone(), books.works[&work].content),
            difficulty: self.difficulty,
            may_exceed: false,
            terms: Terms {
                bound: Bound::of_difficulty(judged).unwrap_or(Bound([0; 4])),
                weight: wire::hashes(judged),
            },
        };
        self.heard.told(books, now, miner, told);
    }

    fn reply(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        session: SessionId,
        message: &Value,
    ) {
        let Some((id, asked)) = self.open.pop_front() else {
            return books.fail(
                now,
                format!("miner {miner}: an answer to nothing {message}"),
            );
        };
        let answered = message["id"].to_string();
        if answered != id {
            return books.fail(
                now,
                format!("miner {miner}: {message} does not answer {id}"),
            );
        }
        let good = message["result"] == true;
        match asked {
            Asked::Subscribe => {
                let en1 = message["result"][1].as_str().and_then(wire::unhex);
                self.en1 = en1.unwrap_or_default();
                let rolled = message["result"][2].as_u64().unwrap_or(0) as usize;
                books.holds(now, session, &self.en1, rolled);
            }
            Asked::Authorize if good => {
                self.heard.since.get_or_insert(now);
            }
            Asked::Submit(found) if good => self.accepted(books, now, miner, &found),
            Asked::Submit(found) => {
                let code = message["error"][0].as_i64().unwrap_or(0);
                *books.rejected.entry(code).or_default() += 1;
                if !self.refusal_is_fair(books, code, &found) {
                    books.fail(
                        now,
                        format!("miner {miner}: refused {message} for {found:x?}"),
                    );
                }
            }
            _ => {}
        }
    }

    /// An honest share may only be too late, or too early in the login.
    fn refusal_is_fair(&self, books: &Books, code: i64, found: &Found) -> bool {
        match code {
            24 | 25 => found.early,
            21 => self.heard.is_late(books, found.job),
            _ => false,
        }
    }

    fn accepted(&mut self, books: &mut Books, now: Ns, miner: usize, found: &Found) {
        let (en1, Found { en2, bits, .. }) = (&self.en1, found);
        self.heard.accepted(books, now, miner, found.job, |known| {
            hash(&known.job, en1, en2, found.ntime, found.nonce, *bits)
        });
    }
}

/// Between a link and its pool: which hashes are submitted.
#[derive(Debug, Default)]
pub struct UpTap {
    down: Cutter,
    up: Cutter,
    en1: Vec<u8>,
    jobs: HashMap<String, (Job, Vec<u8>)>,
    conn: usize,
    /// Shares on this connection without an answer, and when they left.
    pub unanswered: BTreeMap<u64, Ns>,
}

impl UpTap {
    pub fn connected(&mut self, conn: usize) {
        *self = Self {
            conn,
            ..Self::default()
        };
    }

    /// Bytes that the link is given.
    pub fn received(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.down.push(bytes, |line| lines.push(line.to_vec()));
        for line in lines {
            books.note(now, || {
                let text = String::from_utf8_lossy(&line);
                format!(
                    "pool {link} > {}",
                    text.chars().take(110).collect::<String>()
                )
            });
            let message: Value = serde_json::from_slice(&line).unwrap_or_default();
            match message["method"].as_str() {
                Some("mining.notify") => {
                    if let Some(job) = Job::from_params(&message["params"]) {
                        self.jobs.insert(job.id.clone(), (job, self.en1.clone()));
                    }
                }
                Some("mining.set_extranonce") => {
                    self.en1 = message["params"][0]
                        .as_str()
                        .and_then(wire::unhex)
                        .unwrap_or_default();
                }
                Some(_) => {}
                None => {
                    if let Some(en1) = message["result"][1].as_str().and_then(wire::unhex) {
                        self.en1 = en1;
                    }
                    if let Some(id) = message["id"].as_u64() {
                        self.unanswered.remove(&id);
                    }
                }
            }
        }
    }

    /// Bytes that the link sends.
    pub fn sent(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.up.push(bytes, |line| lines.push(line.to_vec()));
        for line in lines {
            books.note(now, || {
                format!("pool {link} < {}", String::from_utf8_lossy(&line))
            });
            let message: Value = serde_json::from_slice(&line).unwrap_or_default();
            if message["method"] != "mining.submit" {
                continue;
            }
            books.written_count[link] += 1;
            if let Some(id) = message["id"].as_u64() {
                self.unanswered.insert(id, now);
                books.written_at.insert((link, id), now);
                books.written_ids.entry(self.conn).or_default().push(id);
            }
            if books.watched {
                self.submit(books, now, link, &message);
            }
        }
    }

    fn submit(&self, books: &mut Books, now: Ns, link: usize, message: &Value) {
        let text = |at: usize| message["params"][at].as_str().unwrap_or_default();
        let number = |at: usize| wire::hex_u32(text(at)).unwrap_or(0);
        let Some((job, en1)) = self.jobs.get(text(1)) else {
            return books.fail(
                now,
                format!("pool {link} is given a job it never made: {message}"),
            );
        };
        let en2 = wire::unhex(text(2)).unwrap_or_default();
        let hash = hash(job, en1, &en2, number(3), number(4), number(5));
        if !books.written[link].insert(hash) {
            books.fail(
                now,
                format!("pool {link} is given a share twice: {message}"),
            );
        }
    }
}

/// The lab's versions have no bit that is rolled, so adding them is the whole of BIP 310.
fn hash(job: &Job, en1: &[u8], en2: &[u8], ntime: u32, nonce: u32, bits: u32) -> [u8; 32] {
    let root = job.merkle_root(en1, en2);
    wire::sha256d(&job.header(root, job.version | bits, ntime, nonce))
}
