//! What the wires carried, read by an observer that shares no code with the proxy, and the books it keeps.
//!
//! Not the proxy's counters: those are compared with these at the end (`checks`). Invariant: the observer judges from
//! lines alone; what it must know of a work (its link, its generation) it learns when the link publishes it.

use crate::clock::Ns;
use serde_json::Value;
use sluice::proxy::lease::{Issue, SessionId};
use sluice::proxy::link::{SettleResult, Settlement};
use sluice::proxy::session::Close;
use sluice::proxy::tally::Judged;
use sluice::sim::v2::frame;
use sluice::sim::v2::message::Message;
use sluice::sim::wire::{self, Bound, Cutter, Job};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A work as the observer knows it.
#[derive(Debug)]
pub struct Known {
    pub job: Job,
    pub content: [u8; 32],
    pub link: usize,
    /// 0: the account's; the others are workers' own.
    pub channel: u32,
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
    frames: frame::Cutter,
    /// When the news arrives that it has closed our channel.
    closed_arrives: Option<Ns>,
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
    /// Extranonces that live channels may use, first to last, as they are on the wire.
    ranges: BTreeMap<Vec<u8>, (Vec<u8>, SessionId)>,
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
    /// Shares for channels that are over, read and answered.
    pub homeless: u64,
    pub homeless_answered: u64,
    /// Credited shares by miner and link, and jobs that took a seat from one link to another.
    pub credits: BTreeMap<(usize, usize), u64>,
    pub switches: BTreeMap<(usize, usize), u64>,
    /// Clean jobs of each seat.
    pub cleans: BTreeMap<SessionId, u64>,
    /// A channel was closed by the proxy, as it had to be.
    pub channels_closed: bool,
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
            ranges: BTreeMap::new(),
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
            homeless: 0,
            homeless_answered: 0,
            credits: BTreeMap::new(),
            switches: BTreeMap::new(),
            cleans: BTreeMap::new(),
            channels_closed: false,
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
        for own in issue.own.iter().flat_map(|own| own.values()) {
            self.published(link, own);
        }
        if self.works.contains_key(&issue.work.id.0) {
            return;
        }
        let (line, id) = (&issue.v1_clean, issue.work.id.0);
        let message: Value = serde_json::from_slice(line).unwrap_or_default();
        let Some(job) = Job::from_params(&message["params"]) else {
            return self.fail(0, format!("a notify that nobody can read: {message}"));
        };
        let content = content(&job, job.ntime);
        for (line, clean) in [(&issue.v1_clean, true), (&issue.v1_keep, false)] {
            self.lines.insert(line.trim_ascii_end().into(), (id, clean));
        }
        let known = Known {
            job,
            content,
            link,
            channel: issue.work.channel,
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
                self.pool_reads_share(link, conn, id);
            }
        }
    }

    /// I1, as miners see it: nobody else may use any of these extranonces.
    pub fn holds(&mut self, now: Ns, session: SessionId, prefix: &[u8], rolled: usize) {
        if !self.watched {
            return;
        }
        let filled = |byte: u8| [prefix, &vec![byte; rolled]].concat();
        let (first, last) = (filled(0), filled(0xff));
        self.gone(session);
        let below = self.ranges.range(..=last.clone()).next_back();
        if let Some((other, (end, holder))) = below.filter(|(_, (end, _))| *end >= first) {
            let words =
                format!("{session:?} may use {first:x?}, {holder:?} has {other:x?} to {end:x?}");
            self.fail(now, words);
        }
        self.ranges.insert(first, (last, session));
    }

    /// Its extranonces are free, as far as a wire tells.
    pub fn gone(&mut self, session: SessionId) {
        if !self.watched {
            return;
        }
        self.ranges.retain(|_, (_, holder)| *holder != session);
    }

    /// A hash that a miner was credited for: it must be the first time, and its pool may want it.
    pub fn credited(&mut self, now: Ns, miner: usize, known: &Known, hash: [u8; 32]) {
        if !self.found.insert(hash) {
            self.fail(
                now,
                format!("miner {miner}: the same hash was accepted before"),
            );
        }
        let wanted = Bound::of_difficulty(known.pool_difficulty);
        if wanted.is_some_and(|bound| bound.holds(&hash)) {
            self.expected[known.link].insert(hash);
            self.expected_weight[known.link] += wire::hashes(known.pool_difficulty);
        }
    }

    /// A V2 pool reads a frame.
    pub fn pool_reads_frame(&mut self, link: usize, conn: usize, frame: &frame::Frame) {
        if let Ok(Message::SubmitExtended(submit)) = Message::parse(frame) {
            self.pool_received[link] += 1;
            self.pool_reads_share(link, conn, submit.sequence.into());
        }
    }

    fn pool_reads_share(&mut self, link: usize, conn: usize, id: u64) {
        let sent = self.written_at.get(&(link, id)).copied().unwrap_or(0);
        self.read_ids.entry(conn).or_default().push(id);
        // What it still reads of a connection that the link has left is of no interest.
        if conn >= self.pools[link].conn {
            self.view(link, conn).submits.insert(id, sent);
        }
    }

    /// What a V2 pool says; a refusal must be explained by a block, or the end of the channel, on its way.
    pub fn pool_writes_frames(
        &mut self,
        link: usize,
        conn: usize,
        now: Ns,
        arrives: Ns,
        bytes: &[u8],
    ) {
        if conn < self.pools[link].conn {
            return;
        }
        self.view(link, conn).frames.push(bytes);
        while let Ok(Some(frame)) = self.view(link, conn).frames.next_frame() {
            let view = self.view(link, conn);
            match Message::parse(&frame) {
                Ok(Message::SetPrevHash { .. }) => view.clean_arrives = arrives,
                Ok(Message::CloseChannel { .. }) => {
                    view.closed_arrives.get_or_insert(arrives);
                }
                Ok(Message::SubmitError { sequence, code, .. }) => {
                    let sent = view.submits.remove(&u64::from(sequence)).unwrap_or(0);
                    let (clean, closed) = (view.clean_arrives, view.closed_arrives);
                    let late = |news: Ns| sent <= news + crate::world::TURN;
                    let fair = match code.as_str() {
                        "stale-share" => late(clean),
                        "invalid-channel-id" => closed.is_some_and(late),
                        _ => false,
                    };
                    if !fair {
                        self.fail(now, format!("pool {link} refused {sequence}: {code} (sent {sent}, clean work arrived {clean})"));
                    }
                }
                _ => {}
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

/// What a header is made of, but for the miner's part.
pub fn content(job: &Job, ntime: u32) -> [u8; 32] {
    let bare = Job {
        id: String::new(),
        clean: false,
        ntime,
        ..job.clone()
    };
    wire::sha256d(bare.to_params().to_string().as_bytes())
}
