//! What the wires carried, read by an observer that shares no code with the proxy, and the books it keeps.
//!
//! Not the proxy's counters: those are compared with these at the end (`checks`). Invariant: the observer judges from
//! lines alone; what it must know of a work (its link, its generation) it learns when the link publishes it.

use crate::clock::Ns;
use crate::plan::ONE;
use serde_json::Value;
use sluice::proxy::lease::Issue;
use sluice::proxy::link::{SettleResult, Settlement};
use sluice::proxy::session::Close;
use sluice::proxy::tally::Judged;
use sluice::sim::wire::{self, Bound, Cutter, Job};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Jobs that a session is promised to know.
const KNOWN: usize = 16;

/// A work as the observer knows it.
#[derive(Debug)]
pub struct Known {
    pub job: Job,
    content: [u8; 32],
    pub link: usize,
    pub generation: u64,
    pool_difficulty: f64,
}

/// Ends of shares at one link, by number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    pub accepted: u64,
    pub rejected: u64,
    pub unknown: u64,
    pub dropped: u64,
}

/// What one pool was seen to do on its newest connection.
#[derive(Debug, Default)]
struct PoolView {
    conn: usize,
    cutter: Cutter,
    repeatable: Option<String>,
    submits: HashMap<u64, Ns>,
    clean_arrives: Ns,
}

/// Everything counted.
#[derive(Debug)]
pub struct Books {
    pub failures: Vec<String>,
    pub trace: bool,
    pub watched: bool,
    pub ceiling: bool,
    pub parked: u64,
    pub judged: Judged,
    pub submits_read: u64,
    pub accepted: u64,
    pub accepted_weight: u128,
    /// Credited shares and their weight, by the link of their work.
    pub by_link: Vec<(u64, u128)>,
    pub rejected: BTreeMap<i64, u64>,
    pub closes: Vec<(usize, Close)>,
    pub works: HashMap<u32, Arc<Known>>,
    lines: HashMap<Box<[u8]>, (u32, bool)>,
    /// Lane and content: each pair is given to a miner once, for ever.
    spaces: HashMap<(Vec<u8>, [u8; 32]), u32>,
    found: HashSet<[u8; 32]>,
    pub expected: Vec<HashSet<[u8; 32]>>,
    pub expected_weight: Vec<u128>,
    pub written: Vec<HashSet<[u8; 32]>>,
    pub written_count: Vec<u64>,
    pub ends: Vec<Ends>,
    pub pool_received: Vec<u64>,
    /// Requests of shares in order, by connection: as the link wrote them, as the pool read them.
    pub written_ids: HashMap<usize, Vec<u64>>,
    pub read_ids: HashMap<usize, Vec<u64>>,
    written_at: HashMap<(usize, u64), Ns>,
    pub moves: BTreeMap<&'static str, usize>,
    pools: Vec<PoolView>,
}

impl Books {
    /// Empty ones.
    pub fn new(pools: usize) -> Self {
        Self {
            failures: Vec::new(),
            trace: std::env::var_os("SLUICE_TRACE").is_some(),
            watched: true,
            ceiling: false,
            parked: 0,
            judged: Judged::default(),
            submits_read: 0,
            accepted: 0,
            accepted_weight: 0,
            by_link: vec![(0, 0); pools],
            rejected: BTreeMap::new(),
            closes: Vec::new(),
            works: HashMap::new(),
            lines: HashMap::new(),
            spaces: HashMap::new(),
            found: HashSet::new(),
            expected: vec![HashSet::new(); pools],
            expected_weight: vec![0; pools],
            written: vec![HashSet::new(); pools],
            written_count: vec![0; pools],
            ends: vec![Ends::default(); pools],
            pool_received: vec![0; pools],
            written_ids: HashMap::new(),
            read_ids: HashMap::new(),
            written_at: HashMap::new(),
            moves: BTreeMap::new(),
            pools: (0..pools).map(|_| PoolView::default()).collect(),
        }
    }

    /// A rule is broken.
    pub fn fail(&mut self, now: Ns, mut what: String) {
        if self.failures.len() < 20 {
            what.insert_str(0, &format!("{:.6} s: ", now as f64 / 1e9));
            self.failures.push(what);
        }
    }

    pub fn note(&self, now: Ns, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.6} {}", now as f64 / 1e9, what());
        }
    }

    pub fn observed(&mut self, judged: &Judged) {
        self.judged.merge(judged);
    }

    pub fn settled(&mut self, link: usize, end: &Settlement) {
        let ends = &mut self.ends[link];
        match end.result {
            SettleResult::Accepted => ends.accepted += 1,
            SettleResult::Rejected(_) => ends.rejected += 1,
            SettleResult::Unknown => ends.unknown += 1,
            SettleResult::Dropped(_) => ends.dropped += 1,
        }
    }

    /// A link has written a submit.
    pub fn written(&mut self, now: Ns, link: usize, conn: usize, id: u64) {
        self.written_at.insert((link, id), now);
        self.written_ids.entry(conn).or_default().push(id);
    }

    pub fn router_event(&mut self, event: &sluice::proxy::router::Event) {
        if let sluice::proxy::router::Event::Moved { why, miners, .. } = event {
            *self.moves.entry(why).or_default() += miners;
        }
    }

    /// A link has new work.
    pub fn published(&mut self, link: usize, issue: &Issue) {
        let (line, id) = (&issue.v1_clean, issue.work.id.0);
        let message: Value = serde_json::from_slice(line).unwrap_or_default();
        let Some(job) = Job::from_params(&message["params"]) else {
            return self.fail(0, format!("a notify that nobody can read: {message}"));
        };
        let bare = Job {
            id: String::new(),
            clean: false,
            ..job.clone()
        };
        let content = wire::sha256d(bare.to_params().to_string().as_bytes());
        for (line, clean) in [(&issue.v1_clean, true), (&issue.v1_keep, false)] {
            self.lines.insert(line.trim_ascii_end().into(), (id, clean));
        }
        let known = Known {
            job,
            content,
            link,
            generation: issue.work.generation,
            pool_difficulty: issue.work.pool_difficulty.value(),
        };
        self.works.insert(id, Arc::new(known));
    }

    pub fn pool_reads(&mut self, link: usize, conn: usize, line: &[u8]) {
        let message: Value = serde_json::from_slice(line).unwrap_or_default();
        if message["method"] == "mining.submit" {
            self.pool_received[link] += 1;
            if let Some(id) = message["id"].as_u64() {
                let sent = self.written_at.get(&(link, id)).copied().unwrap_or(0);
                self.read_ids.entry(conn).or_default().push(id);
                self.view(link, conn).submits.insert(id, sent);
            }
        }
    }

    fn view(&mut self, link: usize, conn: usize) -> &mut PoolView {
        let view = &mut self.pools[link];
        if view.conn != conn {
            *view = PoolView {
                conn,
                ..PoolView::default()
            };
        }
        view
    }

    /// What a pool says; a refusal must be explained by a block on its way.
    pub fn pool_writes(&mut self, link: usize, conn: usize, now: Ns, arrives: Ns, bytes: &[u8]) {
        if conn < self.pools[link].conn {
            return;
        }
        let view = self.view(link, conn);
        let mut lines = Vec::new();
        view.cutter.push(bytes, |line| lines.push(line.to_vec()));
        for line in lines {
            let message: Value = serde_json::from_slice(&line).unwrap_or_default();
            let view = self.view(link, conn);
            match message["method"].as_str() {
                Some("mining.notify") => {
                    if message["params"][8] == true {
                        view.clean_arrives = arrives;
                    }
                    view.repeatable = Some(String::from_utf8_lossy(&line).into_owned());
                }
                Some(_) => view.repeatable = None,
                None => {
                    let sent = message["id"]
                        .as_u64()
                        .and_then(|id| view.submits.remove(&id));
                    let clean = view.clean_arrives;
                    let good = message["result"] == true;
                    if let Some(sent) = sent.filter(|_| !good)
                        && (message["error"][0] != 21 || sent > clean + crate::world::TURN)
                    {
                        self.fail(now, format!("pool {link} refused: {message} (sent {sent}, clean work arrived {clean})"));
                    }
                }
            }
        }
    }

    /// The newest notify of a pool, if nothing that it depends on has changed since.
    pub fn repeatable(&self, link: usize) -> Option<String> {
        self.pools[link].repeatable.clone()
    }

    pub fn closed(&mut self, now: Ns, miner: usize, why: Close, left: bool, tainted: bool) {
        self.note(now, || format!("miner {miner} closed {why:?} left {left}"));
        let fair = left || (tainted && why != Close::Peer);
        if !fair {
            self.fail(now, format!("miner {miner} was closed: {why:?}"));
        }
        self.closes.push((miner, why));
    }
}

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
    /// When the first worker was authorized.
    pub authorized: Option<Ns>,
    /// A watch on time must forgive.
    pub tainted: bool,
    difficulty: f64,
    difficulty_before: Option<f64>,
    /// Issued jobs and what they are judged at, newest last.
    jobs: VecDeque<(u32, f64)>,
    generations: HashMap<usize, u64>,
    /// When, what, whose.
    pub last_notify: Option<(Ns, u32, usize)>,
    /// Since when for whom.
    pub lease: Option<(Ns, usize)>,
}

impl DownTap {
    pub fn leased(&mut self, now: Ns, link: Option<usize>) {
        if self.lease.map(|(_, link)| link) != link {
            self.lease = link.map(|link| (now, link));
        }
    }

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
                    early: self.authorized.is_none(),
                }))
            }
            _ => Asked::Other,
        };
        if !message["id"].is_null() {
            self.open.push_back((message["id"].to_string(), asked));
        }
    }

    /// Bytes that the session sends.
    pub fn sent(&mut self, books: &mut Books, now: Ns, miner: usize, bytes: &[u8]) {
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
                self.notify(books, now, miner, work, clean);
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
                None => self.reply(books, now, miner, &message),
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

    fn notify(&mut self, books: &mut Books, now: Ns, miner: usize, work: u32, clean: bool) {
        let known = books.works[&work].clone();
        if self.jobs.back().is_some_and(|(last, _)| *last == work) {
            return;
        }
        let space = (self.en1.clone(), known.content);
        if let Some(before) = books.spaces.insert(space, work) {
            books.fail(
                now,
                format!("miner {miner}: work {work:x} is the search space of {before:x} again"),
            );
        }
        let same_link = self
            .last_notify
            .is_some_and(|(_, _, link)| link == known.link);
        let newest = self.generations.insert(known.link, known.generation);
        let needed = !same_link || newest.is_none_or(|newest| newest < known.generation);
        if clean != needed {
            books.fail(
                now,
                format!("miner {miner}: work {work:x} clean {clean}, should be {needed}"),
            );
        }
        if self.difficulty > known.pool_difficulty && !books.ceiling {
            let hashes = (self.difficulty * ONE, known.pool_difficulty * ONE);
            books.fail(
                now,
                format!("miner {miner}: difficulty above the link's {hashes:?}"),
            );
        }
        let judged = self
            .difficulty_before
            .map_or(self.difficulty, |d| d.min(self.difficulty));
        self.difficulty_before = Some(self.difficulty);
        self.jobs.push_back((work, judged));
        self.last_notify = Some((now, work, known.link));
    }

    fn reply(&mut self, books: &mut Books, now: Ns, miner: usize, message: &Value) {
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
            }
            Asked::Authorize if good => {
                self.authorized.get_or_insert(now);
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
        match (code, self.jobs.iter().rposition(|(id, _)| *id == found.job)) {
            (24 | 25, _) => found.early,
            (21, None) => true,
            (21, Some(at)) => {
                let work = &books.works[&found.job];
                let newest = self.generations.get(&work.link);
                self.jobs.len() - at > KNOWN
                    || newest.is_some_and(|newest| *newest > work.generation)
            }
            _ => false,
        }
    }

    fn accepted(&mut self, books: &mut Books, now: Ns, miner: usize, found: &Found) {
        books.accepted += 1;
        let issued = self.jobs.iter().rev().find(|(id, _)| *id == found.job);
        let Some((_, judged)) = issued else {
            return books.fail(
                now,
                format!("miner {miner}: accepted a job it was never given {found:x?}"),
            );
        };
        let weight = wire::hashes(*judged);
        books.accepted_weight += weight;
        let work = books.works[&found.job].clone();
        books.by_link[work.link].0 += 1;
        books.by_link[work.link].1 += weight;
        if !books.watched {
            return;
        }
        let job = &work.job;
        let hash = hash(
            job,
            &self.en1,
            &found.en2,
            found.ntime,
            found.nonce,
            found.bits,
        );
        let met = |difficulty: f64| {
            Bound::of_difficulty(difficulty).is_some_and(|bound| bound.holds(&hash))
        };
        if !met(*judged) {
            books.fail(
                now,
                format!("miner {miner}: accepted a share above its bound {found:x?}"),
            );
        }
        if !books.found.insert(hash) {
            books.fail(
                now,
                format!("miner {miner}: the same hash was accepted before {found:x?}"),
            );
        }
        if met(work.pool_difficulty) {
            books.expected[work.link].insert(hash);
            books.expected_weight[work.link] += wire::hashes(work.pool_difficulty);
        }
    }
}

/// The lab's versions have no bit that is rolled, so adding them is the whole of BIP 310.
pub fn hash(job: &Job, en1: &[u8], en2: &[u8], ntime: u32, nonce: u32, bits: u32) -> [u8; 32] {
    let root = job.merkle_root(en1, en2);
    wire::sha256d(&job.header(root, job.version | bits, ntime, nonce))
}
