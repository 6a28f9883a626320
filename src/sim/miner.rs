//! The miner's protocol logic, free of sockets and clocks: lines in, lines out, and when the next share is due.
//!
//! Hashing is real: a share that is due (exponential arrival at the miner's hashrate) is then searched for until
//! found, at once by [`SimMiner::find_share`] or in slices by a driver. Invariant: nothing is sent that was not hashed,
//! and nothing is searched for before the login is complete.

mod inbound;

use super::{
    rng::Rng,
    search::{Found, Search},
    stats::MinerStats,
    temperament::{Quirks, Step, Temperament},
    watch::{Violation, Watch},
    wire::{self, Bound, Job, hex},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// What a simulated miner is.
#[derive(Clone, Debug)]
pub struct MinerConfig {
    /// Worker name sent in authorize.
    pub user: String,
    /// Password sent in authorize.
    pub password: String,
    /// Firmware family.
    pub temperament: Temperament,
    /// Hashes per second; 0: connected and idle.
    pub hashrate: f64,
    /// All chance comes from here.
    pub seed: u64,
    /// Version bits it asks to roll.
    pub version_mask: u32,
    /// Whether a difficulty that is not a power of two is a violation.
    pub powers_of_two: bool,
    /// Sent by families that suggest a difficulty.
    pub suggest_difficulty: f64,
    /// Whether it asks for its old session after a reconnect.
    pub resume: bool,
}

impl Default for MinerConfig {
    fn default() -> Self {
        Self {
            user: "sim.1".into(),
            password: "x".into(),
            temperament: Temperament::Cgminer,
            hashrate: 20_000.0,
            seed: 1,
            version_mask: 0x1fff_e000,
            powers_of_two: false,
            suggest_difficulty: 1.0 / 65_536.0,
            resume: true,
        }
    }
}

/// A simulated miner. Drive it: [`SimMiner::connected`], [`SimMiner::handle_line`], [`SimMiner::handle_timeout`], and
/// after each drain [`SimMiner::poll_line`] and ask [`SimMiner::poll_hang_up`].
#[derive(Debug)]
pub struct SimMiner {
    config: MinerConfig,
    quirks: Quirks,
    rng: Rng,
    stats: MinerStats,
    connection: Option<Connection>,
    session: Option<(String, Vec<u8>)>,
    outbox: VecDeque<String>,
    hang_up: Option<&'static str>,
    due: Option<Instant>,
    searching: Option<u64>,
    job_seq: u64,
}

/// What ends with the connection.
#[derive(Debug)]
struct Connection {
    watch: Watch,
    opened: Instant,
    step: usize,
    next_id: u64,
    pending: BTreeMap<u64, Pending>,
    en1: Vec<u8>,
    en2_size: usize,
    subscribed: bool,
    authorized: bool,
    mask: u32,
    difficulty: f64,
    job: Option<Current>,
    recent_ids: VecDeque<String>,
    configures: u32,
    next_keepalive: Option<Instant>,
}

/// The job being mined.
#[derive(Debug)]
struct Current {
    job: Job,
    seq: u64,
    difficulty: f64,
    bound: Bound,
    taken: Instant,
    found: u64,
}

#[derive(Debug)]
enum Pending {
    Configure,
    Subscribe,
    Authorize { last: bool },
    Optional,
    EarlySubmit,
    Submit { at: Instant, weight: u128 },
}

impl SimMiner {
    /// A miner that is not connected.
    pub fn new(config: MinerConfig) -> Self {
        Self {
            quirks: config.temperament.quirks(),
            rng: Rng::new(config.seed),
            config,
            stats: MinerStats::default(),
            connection: None,
            session: None,
            outbox: VecDeque::new(),
            hang_up: None,
            due: None,
            searching: None,
            job_seq: 0,
        }
    }

    /// The transport is up: starts the handshake.
    pub fn connected(&mut self, now: Instant) {
        self.outbox.clear();
        self.hang_up = None;
        self.stats.connects += 1;
        self.connection = Some(Connection {
            watch: Watch::new(now, self.config.powers_of_two),
            opened: now,
            step: 0,
            next_id: 1,
            pending: BTreeMap::new(),
            en1: Vec::new(),
            en2_size: 0,
            subscribed: false,
            authorized: false,
            mask: 0,
            difficulty: 1.0,
            job: None,
            recent_ids: VecDeque::new(),
            configures: 0,
            next_keepalive: self
                .quirks
                .keepalive_s
                .map(|s| now + Duration::from_secs(s)),
        });
        self.advance_handshake(now);
    }

    /// The transport could not be had.
    pub fn connect_failed(&mut self) {
        self.stats.connect_failures += 1;
    }

    /// The transport is down. `by_peer`: nobody on this side wanted it.
    pub fn disconnected(&mut self, by_peer: bool) {
        if by_peer && let Some(connection) = &mut self.connection {
            connection.watch.report(Violation::HungUp);
        }
        self.collect_violations();
        if let Some(connection) = self.connection.take() {
            let open = connection.pending.values();
            let shares = open.filter(|p| matches!(p, Pending::Submit { .. }));
            self.stats.unanswered += shares.count() as u64;
            self.stats.disconnects += 1;
        }
        self.stats.mining = 0;
        self.due = None;
        self.searching = None;
        self.outbox.clear();
    }

    /// One line from the peer, without its newline.
    pub fn handle_line(&mut self, now: Instant, line: &[u8]) {
        if self.connection.is_some() {
            self.stats.lines_in += 1;
            self.stats.bytes_in += line.len() as u64 + 1;
            self.take_line(now, line);
            self.collect_violations();
        }
    }

    /// Time passed; harmless when early. Shares are not its business, see [`SimMiner::next_share_at`].
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.watch.timeout(now);
        if connection.next_keepalive.is_some_and(|at| now >= at) {
            let every = self.quirks.keepalive_s.map(Duration::from_secs);
            connection.next_keepalive = every.map(|every| now + every);
            let line = json!({"method": "mining.keepalive", "params": []}).to_string();
            self.send(line);
        }
        if self.gives_up_at().is_some_and(|at| now >= at) {
            self.hang_up = Some("silence");
        }
        self.collect_violations();
    }

    /// When to call [`SimMiner::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let times = [
            connection.watch.next_timeout(),
            connection.next_keepalive,
            self.gives_up_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// The next line to send, without its newline.
    pub fn poll_line(&mut self) -> Option<String> {
        self.outbox.pop_front()
    }

    /// Why the miner wants to end the connection (the driver then closes and calls [`SimMiner::disconnected`]).
    pub fn poll_hang_up(&mut self) -> Option<&'static str> {
        self.hang_up.take()
    }

    /// When the next share is due; `None` while not mining or while one is being searched for.
    pub fn next_share_at(&self) -> Option<Instant> {
        self.due.filter(|_| self.searching.is_none())
    }

    /// Finds the share that is due and puts its submit into the outbox. All at once: for small difficulties.
    pub fn find_share(&mut self, now: Instant) {
        if let Some(mut search) = self.start_search(now) {
            let found = std::iter::repeat_with(|| search.run(1 << 16))
                .flatten()
                .next();
            self.finish_search(now, &found.expect("an endless search ends by finding"));
        }
    }

    /// Hands out the search for the share that is due, to be run in slices elsewhere.
    pub fn start_search(&mut self, now: Instant) -> Option<Search> {
        let connection = self.connection.as_ref()?;
        let current = connection.job.as_ref()?;
        let rolled = self.quirks.rolls_version && connection.mask != 0;
        let mask = if rolled { connection.mask } else { 0 };
        let elapsed = now.duration_since(current.taken).as_secs().min(60) as u32;
        let roll = if self.quirks.rolls_ntime { elapsed } else { 0 };
        let en2 = current.found.to_be_bytes();
        let mut bytes = vec![0; connection.en2_size.saturating_sub(8)];
        bytes.extend(&en2[8usize.saturating_sub(connection.en2_size)..]);
        let start = Found {
            job_seq: current.seq,
            en2: bytes,
            ntime: current.job.ntime.wrapping_add(roll),
            nonce: 0,
            version_bits: spread(current.found, mask),
        };
        self.searching = Some(current.seq);
        Some(Search::new(
            &current.job,
            &connection.en1,
            current.bound,
            mask,
            start,
        ))
    }

    /// Whether a search is under way and its job is the one being mined.
    pub fn search_is_current(&self) -> bool {
        let job = self.connection.as_ref().and_then(|c| c.job.as_ref());
        let seq = job.map(|current| current.seq);
        self.searching.is_some() && self.searching == seq && self.due.is_some()
    }

    /// Gives a search up; its share stays due, on whatever job there is now.
    pub fn abandon_search(&mut self) {
        self.searching = None;
    }

    /// A search ended: submits, unless a newer job has come in between.
    pub fn finish_search(&mut self, now: Instant, found: &Found) {
        if !self.search_is_current() || self.searching != Some(found.job_seq) {
            self.stats.overtaken += 1;
            return self.abandon_search();
        }
        self.searching = None;
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(current) = &mut connection.job else {
            return;
        };
        current.found += 1;
        if found.version_bits & !connection.mask != 0 {
            self.stats.overtaken += 1;
            return self.schedule(now);
        }
        let worker = (self.stats.submitted as usize) % self.quirks.workers;
        let mut params = vec![
            Value::from(worker_name(&self.config.user, worker)),
            Value::from(current.job.id.as_str()),
            Value::from(hex(&found.en2)),
            Value::from(format!("{:08x}", found.ntime)),
            Value::from(format!("{:08x}", found.nonce)),
        ];
        if self.quirks.rolls_version && connection.mask != 0 {
            params.push(Value::from(format!("{:08x}", found.version_bits)));
        }
        let weight = wire::hashes(current.difficulty);
        self.stats.submitted += 1;
        self.stats.submitted_hashes += weight;
        self.ask(
            now,
            "mining.submit",
            &Value::from(params),
            Pending::Submit { at: now, weight },
        );
        self.schedule(now);
    }

    /// Changes the hashrate, as a curtailed machine does; 0 stops it while it stays connected.
    pub fn set_hashrate(&mut self, now: Instant, hashrate: f64) {
        self.config.hashrate = hashrate;
        self.schedule(now);
    }

    /// What it counted.
    pub fn stats(&self) -> &MinerStats {
        &self.stats
    }

    /// What it is.
    pub fn config(&self) -> &MinerConfig {
        &self.config
    }

    fn gives_up_at(&self) -> Option<Instant> {
        let after = Duration::from_secs(self.quirks.gives_up_after_s?);
        let connection = self.connection.as_ref()?;
        Some(connection.opened.max(connection.watch.last_line()) + after)
    }

    /// Memoryless, so it may be drawn again whenever rate or difficulty change.
    fn schedule(&mut self, now: Instant) {
        let job = self.connection.as_ref().filter(|c| c.authorized);
        let job = job.and_then(|c| c.job.as_ref());
        let rate = self.config.hashrate;
        self.due = job.filter(|_| rate > 0.0).map(|current| {
            let mean_s = current.difficulty * 4_294_967_296.0 / rate;
            let wait_s = self.rng.exponential(mean_s).min(1e8);
            now + Duration::from_secs_f64(wait_s)
        });
    }

    /// Sends the next step of the handshake, or all that are left.
    fn advance_handshake(&mut self, now: Instant) {
        while let Some(connection) = &mut self.connection {
            let Some(step) = self.quirks.handshake.get(connection.step) else {
                return;
            };
            connection.step += 1;
            self.take_step(now, *step);
            if !self.quirks.pipelined {
                return;
            }
        }
    }

    fn take_step(&mut self, now: Instant, step: Step) {
        match step {
            Step::Configure => self.configure(now),
            Step::Subscribe => {
                let mut params = vec![Value::from(self.quirks.user_agent)];
                if let Some((id, _)) = self.session.as_ref().filter(|_| self.config.resume) {
                    params.push(Value::from(id.as_str()));
                }
                self.ask(now, "mining.subscribe", &params.into(), Pending::Subscribe);
            }
            Step::Authorize => {
                for worker in 0..self.quirks.workers {
                    let name = worker_name(&self.config.user, worker);
                    let params = json!([name, self.config.password]);
                    let last = worker + 1 == self.quirks.workers;
                    self.ask(
                        now,
                        "mining.authorize",
                        &params,
                        Pending::Authorize { last },
                    );
                }
            }
            Step::ExtranonceSubscribe => {
                let method = "mining.extranonce.subscribe";
                self.ask(now, method, &json!([]), Pending::Optional);
            }
            Step::SuggestDifficulty => {
                let params = json!([self.config.suggest_difficulty]);
                let method = "mining.suggest_difficulty";
                self.ask(now, method, &params, Pending::Optional);
            }
            Step::EarlySubmit => {
                let params = json!([self.config.user, "0", "00000000", "00000000", "00000000"]);
                self.ask(now, "mining.submit", &params, Pending::EarlySubmit);
            }
        }
    }

    fn configure(&mut self, now: Instant) {
        let mask = format!("{:08x}", self.config.version_mask);
        let params = json!([
            ["version-rolling"],
            {"version-rolling.mask": mask, "version-rolling.min-bit-count": 2}
        ]);
        self.ask(now, "mining.configure", &params, Pending::Configure);
    }

    fn ask(&mut self, now: Instant, method: &str, params: &Value, pending: Pending) {
        if let Some(connection) = &mut self.connection {
            let id = connection.next_id;
            connection.next_id += 1;
            connection.watch.asked(now, id);
            connection.pending.insert(id, pending);
            self.send(wire::request(id, method, params));
        }
    }

    fn send(&mut self, line: String) {
        self.stats.lines_out += 1;
        self.stats.bytes_out += line.len() as u64 + 1;
        self.outbox.push_back(line);
    }

    fn collect_violations(&mut self) {
        if let Some(connection) = &mut self.connection {
            for violation in connection.watch.take_broken() {
                self.stats.violated(violation);
            }
        }
    }
}

fn worker_name(user: &str, worker: usize) -> String {
    match worker {
        0 => user.to_owned(),
        _ => format!("{user}_{worker}"),
    }
}

/// The low bits of `count`, laid into the set bits of `mask`: each share its own version.
fn spread(count: u64, mask: u32) -> u32 {
    let set = (0..32).filter(|bit| mask >> bit & 1 == 1);
    set.enumerate()
        .filter(|(i, _)| count >> i & 1 == 1)
        .fold(0, |bits, (_, bit)| bits | 1 << bit)
}
