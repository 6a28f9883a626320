//! What the wires carried, read by an observer that shares no code with the proxy, and the books it keeps.
//!
//! Not the proxy's counters: those are compared with these at the end (`checks`). Invariant: the observer judges from
//! lines alone; what it must know of a work (its link, its generation) it learns when the link publishes it.

use crate::clock::Ns;
use serde_json::Value;
use sluice::proxy::lease::Issue;
use sluice::proxy::link::{SettleResult, Settlement};
use sluice::proxy::session::Close;
use sluice::proxy::tally::Judged;
use sluice::sim::wire::{self, Cutter, Job};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A work as the observer knows it.
#[derive(Debug)]
pub struct Known {
    pub job: Job,
    pub content: [u8; 32],
    pub link: usize,
    pub generation: u64,
    pub pool_difficulty: f64,
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
    pub lines: HashMap<Box<[u8]>, (u32, bool)>,
    /// Lane and content: each pair is given to a miner once, for ever.
    pub spaces: HashMap<(Vec<u8>, [u8; 32]), u32>,
    pub found: HashSet<[u8; 32]>,
    pub expected: Vec<HashSet<[u8; 32]>>,
    pub expected_weight: Vec<u128>,
    pub written: Vec<HashSet<[u8; 32]>>,
    pub written_count: Vec<u64>,
    pub ends: Vec<Ends>,
    pub pool_received: Vec<u64>,
    /// Requests of shares in order, by connection: as the link wrote them, as the pool read them.
    pub written_ids: BTreeMap<usize, Vec<u64>>,
    pub read_ids: BTreeMap<usize, Vec<u64>>,
    pub written_at: HashMap<(usize, u64), Ns>,
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
            written_ids: BTreeMap::new(),
            read_ids: BTreeMap::new(),
            written_at: HashMap::new(),
            moves: BTreeMap::new(),
            pools: (0..pools).map(|_| PoolView::default()).collect(),
        }
    }

    /// A rule is broken.
    pub fn fail(&mut self, now: Ns, what: impl Into<String>) {
        let what = what.into();
        if self.failures.len() < 20 {
            self.failures
                .push(format!("{:.6} s: {what}", now as f64 / 1e9));
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
