//! The simulated pool, free of sockets and clocks: lines in, writes out, and when it wants to be called.
//!
//! It judges every share itself (judge.rs) and remembers hashes per block over the whole pool. Invariant: every submit
//! received while not frozen moves exactly one counter, and gets exactly one reply.

mod requests;

pub use super::poolconfig::{PoolConfig, PoolStats};
use super::{
    judge::Terms,
    poolconfig::{Configure, Segments},
    rng::Rng,
    template::Template,
    wire::{self, Job, hex},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Jobs remembered: at one a second, more than any share stays on its way.
const JOBS_KEPT: usize = 64;
/// Connections beyond this are closed at once.
const CONNECTIONS: usize = 20_000;

/// A connection, by the driver's own number.
pub type ConnectionId = u64;

/// What the driver shall do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PoolOutput {
    /// Write these bytes, as one segment.
    Write(ConnectionId, Vec<u8>),
    /// Close the connection.
    Close(ConnectionId),
}

/// A simulated pool.
#[derive(Debug)]
pub struct SimPool {
    config: PoolConfig,
    rng: Rng,
    started: Instant,
    template: Template,
    jobs: VecDeque<(Job, u64)>,
    block: u64,
    seen: HashSet<[u8; 32]>,
    connections: BTreeMap<ConnectionId, Connection>,
    outputs: VecDeque<PoolOutput>,
    delayed: VecDeque<(Instant, ConnectionId, String)>,
    next_block: Option<Instant>,
    next_job: Option<Instant>,
    next_vardiff: Option<Instant>,
    extranonces: u64,
    job_ids: u64,
    frozen: bool,
    stats: PoolStats,
}

/// One miner, or one proxy.
#[derive(Debug)]
struct Connection {
    en1: Vec<u8>,
    en2_size: usize,
    difficulty: f64,
    told_difficulty: Option<f64>,
    mask: u32,
    subscribed: bool,
    workers: BTreeSet<String>,
    terms: BTreeMap<String, Terms>,
    shares: u64,
}

impl SimPool {
    /// A pool with its first job made.
    pub fn new(config: PoolConfig, now: Instant) -> Self {
        let extranonce_len = match &config.script {
            Some(script) => script.extranonce1.len() + script.extranonce2_size,
            None => config.extranonce1_size + config.extranonce2_size,
        };
        let own_jobs = config.script.is_none();
        let mut pool = Self {
            rng: Rng::new(config.seed),
            started: now,
            template: Template::new(config.seed, config.nbits, extranonce_len as u8),
            jobs: VecDeque::new(),
            block: 0,
            seen: HashSet::new(),
            connections: BTreeMap::new(),
            outputs: VecDeque::new(),
            delayed: VecDeque::new(),
            next_block: config.block_every.filter(|_| own_jobs).map(|d| now + d),
            next_job: config.job_every.filter(|_| own_jobs).map(|d| now + d),
            next_vardiff: config.vardiff.map(|v| now + v.every),
            extranonces: config.seed,
            job_ids: 0x5100,
            frozen: false,
            stats: PoolStats::default(),
            config,
        };
        pool.make_job(now, true);
        pool
    }

    /// A connection was accepted.
    pub fn connected(&mut self, id: ConnectionId) {
        if self.connections.len() >= CONNECTIONS {
            return self.outputs.push_back(PoolOutput::Close(id));
        }
        let (en1, en2_size, difficulty) = match &self.config.script {
            Some(script) => (
                script.extranonce1.clone(),
                script.extranonce2_size,
                script.difficulty,
            ),
            None => (
                self.new_extranonce1(),
                self.config.extranonce2_size,
                self.config.difficulty,
            ),
        };
        self.stats.connections_total += 1;
        let connection = Connection {
            en1,
            en2_size,
            difficulty,
            told_difficulty: None,
            mask: 0,
            subscribed: false,
            workers: BTreeSet::new(),
            terms: BTreeMap::new(),
            shares: 0,
        };
        self.connections.insert(id, connection);
    }

    /// A connection ended.
    pub fn disconnected(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// One line of a connection, without its newline.
    pub fn handle_line(&mut self, now: Instant, id: ConnectionId, line: &[u8]) {
        self.stats.lines_in += 1;
        self.stats.bytes_in += line.len() as u64 + 1;
        if self.frozen {
            self.stats.ignored += 1;
        } else if self.connections.contains_key(&id) {
            self.take_request(now, id, line);
        }
    }

    /// Time passed; harmless when early.
    pub fn handle_timeout(&mut self, now: Instant) {
        if due(&mut self.next_block, now, self.config.block_every) {
            self.new_block(now);
        }
        if due(&mut self.next_job, now, self.config.job_every) {
            self.new_job(now);
        }
        let every = self.config.vardiff.map(|v| v.every);
        if due(&mut self.next_vardiff, now, every) {
            self.adapt_difficulties(now);
        }
        while self.delayed.front().is_some_and(|(at, ..)| *at <= now) {
            if let Some((_, id, line)) = self.delayed.pop_front() {
                self.write(id, line);
            }
        }
    }

    /// When to call [`SimPool::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let delayed = self.delayed.front().map(|(at, ..)| *at);
        let times = [self.next_block, self.next_job, self.next_vardiff, delayed];
        times.into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<PoolOutput> {
        self.outputs.pop_front()
    }

    /// What it saw.
    pub fn stats(&self) -> PoolStats {
        let authorized = self.connections.values().filter(|c| !c.workers.is_empty());
        PoolStats {
            connections: self.connections.len() as u64,
            authorized: authorized.count() as u64,
            ..self.stats.clone()
        }
    }

    /// A new block, clean, to everyone.
    pub fn new_block(&mut self, now: Instant) {
        self.template.next_block();
        self.make_job(now, true);
        self.notify_all(now);
    }

    /// A new job on the same block, to everyone.
    pub fn new_job(&mut self, now: Instant) {
        self.make_job(now, false);
        self.notify_all(now);
    }

    /// Another difficulty for everyone, and those to come, from the next job on (one follows at once).
    pub fn set_difficulty(&mut self, now: Instant, difficulty: f64) {
        self.config.difficulty = difficulty;
        for connection in self.connections.values_mut() {
            connection.difficulty = difficulty;
        }
        self.new_job(now);
    }

    /// Another extranonce1 for everyone, and this extranonce2 size, with a clean job.
    pub fn set_extranonce(&mut self, now: Instant, en2_size: usize) {
        self.config.extranonce2_size = en2_size;
        for id in self.subscribed_ids() {
            let en1 = self.new_extranonce1();
            let params = json!([hex(&en1), en2_size]);
            if let Some(connection) = self.connections.get_mut(&id) {
                (connection.en1, connection.en2_size) = (en1, en2_size);
            }
            self.push(now, id, "mining.set_extranonce", &params);
        }
        self.make_job(now, true);
        self.notify_all(now);
    }

    /// Another version mask for everyone that was granted one, and those to come.
    pub fn set_version_mask(&mut self, now: Instant, mask: u32) {
        self.config.configure = Configure::Grant(mask);
        let params = json!([format!("{mask:08x}")]);
        for id in self.subscribed_ids() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.mask = mask;
            }
            self.push(now, id, "mining.set_version_mask", &params);
        }
    }

    /// Sends a line of any content to everyone: for what the field does and this pool does not know.
    pub fn push_line(&mut self, now: Instant, line: &str) {
        for id in self.subscribed_ids() {
            self.send(now, id, line.to_owned());
        }
    }

    /// Reads and sends nothing while frozen; connections stay open.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Refuses this part of good shares from now on.
    pub fn set_reject_ratio(&mut self, ratio: f64) {
        self.config.reject_ratio = ratio;
    }

    /// Closes every connection.
    pub fn close_all(&mut self) {
        for id in std::mem::take(&mut self.connections).into_keys() {
            self.outputs.push_back(PoolOutput::Close(id));
        }
    }

    fn subscribed_ids(&self) -> Vec<ConnectionId> {
        let open = self.connections.iter().filter(|(_, c)| c.subscribed);
        open.map(|(id, _)| *id).collect()
    }

    fn new_extranonce1(&mut self) -> Vec<u8> {
        if let Some(fixed) = &self.config.extranonce1 {
            return fixed.clone();
        }
        self.extranonces = self.extranonces.wrapping_add(1);
        let size = self.config.extranonce1_size.clamp(1, 8);
        self.extranonces.to_be_bytes()[8 - size..].to_vec()
    }

    fn make_job(&mut self, now: Instant, clean: bool) {
        self.job_ids += 1;
        self.stats.jobs_made += 1;
        let given = self.config.script.as_ref();
        let given = given.and_then(|script| Job::from_params(&script.notify));
        let elapsed = now.duration_since(self.started).as_secs() as u32;
        let ntime = self.config.unix_time.wrapping_add(elapsed);
        let job = given.unwrap_or_else(|| self.template.job(self.job_ids, ntime, clean));
        if clean {
            self.block += 1;
            self.stats.blocks_made += 1;
            self.seen.clear();
        }
        self.jobs.push_back((job, self.block));
        if self.jobs.len() > JOBS_KEPT {
            self.jobs.pop_front();
        }
    }

    fn notify_all(&mut self, now: Instant) {
        for id in self.subscribed_ids() {
            if self
                .connections
                .get(&id)
                .is_some_and(|c| !c.workers.is_empty())
            {
                self.notify(now, id, None);
            }
        }
    }

    /// Sends the difficulty if it changed, then the present job. What was told is what will be judged by.
    fn notify(&mut self, now: Instant, id: ConnectionId, clean: Option<bool>) {
        let (Some((job, _)), Some(connection)) = (self.jobs.back(), self.connections.get_mut(&id))
        else {
            return;
        };
        if self.frozen {
            return;
        }
        let difficulty = connection.difficulty;
        let changed = connection.told_difficulty.replace(difficulty) != Some(difficulty);
        let terms = Terms {
            en1: connection.en1.clone(),
            en2_size: connection.en2_size,
            difficulty,
            mask: connection.mask,
        };
        connection.terms.insert(job.id.clone(), terms);
        if connection.terms.len() > 2 * JOBS_KEPT {
            let alive: HashSet<_> = self.jobs.iter().map(|(job, _)| &job.id).collect();
            connection.terms.retain(|id, _| alive.contains(id));
        }
        let mut params = job.to_params();
        if let Some(clean) = clean {
            params[8] = Value::Bool(clean);
        }
        if changed {
            self.push(now, id, "mining.set_difficulty", &json!([difficulty]));
        }
        self.push(now, id, "mining.notify", &params);
    }

    fn adapt_difficulties(&mut self, now: Instant) {
        let Some(vardiff) = self.config.vardiff else {
            return;
        };
        let wanted = vardiff.shares_per_s * vardiff.every.as_secs_f64();
        let mut changed = Vec::new();
        for (id, connection) in &mut self.connections {
            let seen = std::mem::take(&mut connection.shares) as f64;
            let factor = match seen {
                s if s > 4.0 * wanted => 4.0,
                s if s > 2.0 * wanted => 2.0,
                s if s < wanted / 2.0 && connection.difficulty > self.config.difficulty => 0.5,
                _ => continue,
            };
            connection.difficulty *= factor;
            changed.push(*id);
        }
        // As most pools do: told now, in force with the next job.
        for id in changed {
            if let Some(connection) = self.connections.get_mut(&id) {
                let difficulty = connection.difficulty;
                connection.told_difficulty = Some(difficulty);
                self.push(now, id, "mining.set_difficulty", &json!([difficulty]));
            }
        }
    }

    fn push(&mut self, now: Instant, id: ConnectionId, method: &str, params: &Value) {
        let line = if self.config.jsonrpc2 {
            json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
        } else {
            wire::notification(method, params)
        };
        self.send(now, id, line);
    }

    fn send(&mut self, now: Instant, id: ConnectionId, line: String) {
        if self.frozen {
            return;
        }
        if self.config.delay == Duration::ZERO {
            return self.write(id, line);
        }
        self.delayed.push_back((now + self.config.delay, id, line));
    }

    fn write(&mut self, id: ConnectionId, line: String) {
        let mut bytes = line.into_bytes();
        bytes.push(b'\n');
        self.stats.lines_out += 1;
        self.stats.bytes_out += bytes.len() as u64;
        match (self.config.segments, self.outputs.back_mut()) {
            (Segments::Together, Some(PoolOutput::Write(last, segment))) if *last == id => {
                segment.extend(bytes);
            }
            (Segments::Torn, _) => {
                let rest = bytes.split_off(bytes.len() / 2);
                self.outputs.push_back(PoolOutput::Write(id, bytes));
                self.outputs.push_back(PoolOutput::Write(id, rest));
            }
            _ => self.outputs.push_back(PoolOutput::Write(id, bytes)),
        }
    }
}

/// Whether a periodic time has come; sets the next one without piling up what was missed.
fn due(at: &mut Option<Instant>, now: Instant, every: Option<Duration>) -> bool {
    let come = at.is_some_and(|at| now >= at);
    if come {
        *at = every.map(|every| now + every);
    }
    come
}
