//! The simulated V2 pool, free of sockets, clocks and Noise: plaintext bytes in, frames out, and when it wants to be
//! called. What it answers is in poolcore/{requests,opens,shares}.rs, what it sends out in poolcore/jobs.rs.
//!
//! It judges every share itself (judge.rs) and remembers hashes per block over the whole pool. Invariant: every share
//! received while not frozen moves exactly one counter, and is acknowledged or refused exactly once.

mod jobs;
mod opens;
mod requests;
mod shares;

use super::{
    super::{
        poolcore::{ConnectionId, PoolOutput},
        rng::Rng,
        template::Template,
        wire::{Bound, Job},
    },
    frame::{Cutter, header},
    judge::Terms,
    message::Message,
    poolconfig::{Lie, PoolConfigV2, PoolStatsV2},
    target,
};
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Jobs remembered: at one a second, more than any share stays on its way.
const JOBS_KEPT: usize = 64;
/// Connections beyond this are closed at once.
const CONNECTIONS: usize = 20_000;

/// A simulated V2 pool.
#[derive(Debug)]
pub struct SimPoolV2 {
    config: PoolConfigV2,
    rng: Rng,
    started: Instant,
    template: Template,
    /// The template of the next block, when its job was sent ahead.
    ahead: Option<Template>,
    jobs: VecDeque<PoolJob>,
    /// Counts prev-hashes; a job is of one.
    block: u64,
    /// The active prev-hash: its smallest ntime, and when it came.
    min_ntime: u32,
    prev_at: Instant,
    job_ids: u32,
    seen: HashSet<[u8; 32]>,
    connections: BTreeMap<ConnectionId, Connection>,
    outputs: VecDeque<PoolOutput>,
    delayed: VecDeque<(Instant, ConnectionId, Vec<u8>)>,
    next_block: Option<Instant>,
    next_job: Option<Instant>,
    next_vardiff: Option<Instant>,
    prefixes: u64,
    frozen: bool,
    stats: PoolStatsV2,
}

/// A job on this or the next block.
#[derive(Clone, Debug)]
struct PoolJob {
    id: u32,
    block: u64,
    job: Job,
}

/// One miner, or one proxy.
#[derive(Debug, Default)]
struct Connection {
    cutter: Cutter,
    /// Flags of `SetupConnection`, once it came.
    setup: Option<u32>,
    worker_tracking: bool,
    next_id: u32,
    group: u32,
    channels: BTreeMap<u32, Channel>,
}

#[derive(Debug)]
struct Channel {
    standard: bool,
    user: String,
    hashrate: f64,
    group: u32,
    prefix: Vec<u8>,
    extranonce_size: usize,
    max_target: Bound,
    target: Bound,
    terms: BTreeMap<u32, Terms>,
    shares: u64,
    batch: Batch,
}

/// Good shares not yet acknowledged.
#[derive(Debug, Default)]
struct Batch {
    count: u32,
    difficulty: f64,
    last: u32,
    due: Option<Instant>,
}

impl SimPoolV2 {
    /// A pool with its first job made.
    pub fn new(mut config: PoolConfigV2, now: Instant) -> Self {
        config.prefix_size = config.prefix_size.clamp(2, 8);
        config.extranonce_size = config.extranonce_size.min(16);
        let extranonce_len = config.prefix_size + config.extranonce_size;
        let mut rng = Rng::new(config.seed);
        let mut pool = Self {
            started: now,
            template: Template::new(config.seed, config.nbits, extranonce_len as u8),
            ahead: None,
            jobs: VecDeque::new(),
            block: 0,
            min_ntime: config.unix_time,
            prev_at: now,
            job_ids: rng.next_u64() as u32 >> 8,
            seen: HashSet::new(),
            connections: BTreeMap::new(),
            outputs: VecDeque::new(),
            delayed: VecDeque::new(),
            next_block: config.block_every.map(|every| now + every),
            next_job: config.job_every.map(|every| now + every),
            next_vardiff: config.vardiff.map(|v| now + v.every),
            prefixes: config.seed,
            frozen: false,
            stats: PoolStatsV2::default(),
            rng,
            config,
        };
        pool.begin(now);
        pool
    }

    /// A connection was accepted.
    pub fn connected(&mut self, id: ConnectionId) {
        if self.connections.len() >= CONNECTIONS {
            return self.outputs.push_back(PoolOutput::Close(id));
        }
        self.stats.pool.connections_total += 1;
        // Numbers of different connections shall not look alike.
        let next_id = (self.rng.next_u64() as u32) >> 4;
        let connection = Connection {
            next_id: next_id + 1,
            group: next_id,
            ..Connection::default()
        };
        self.connections.insert(id, connection);
    }

    /// A connection ended.
    pub fn disconnected(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// Plaintext bytes of a connection, cut anywhere.
    pub fn handle_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cutter.push(bytes);
        }
        while let Some(connection) = self.connections.get_mut(&id) {
            let Ok(frame) = connection.cutter.next_frame() else {
                return self.give_up(id);
            };
            let Some(frame) = frame else {
                return;
            };
            self.stats.pool.lines_in += 1;
            self.stats.pool.bytes_in += frame.payload.len() as u64 + 6;
            if self.frozen {
                self.stats.pool.ignored += 1;
            } else {
                self.take_frame(now, id, &frame);
            }
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
            self.adapt_targets(now);
        }
        self.acknowledge_due(now);
        while self.delayed.front().is_some_and(|(at, ..)| *at <= now) {
            if let Some((_, id, bytes)) = self.delayed.pop_front() {
                self.write(id, bytes);
            }
        }
    }

    /// When to call [`SimPoolV2::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let delayed = self.delayed.front().map(|(at, ..)| *at);
        let channels = self.connections.values().flat_map(|c| c.channels.values());
        let acks = channels.filter_map(|channel| channel.batch.due).min();
        let times = [
            delayed,
            acks,
            self.next_block,
            self.next_job,
            self.next_vardiff,
        ];
        times.into_iter().flatten().min()
    }

    /// What the driver shall do next; each write is one frame.
    pub fn poll_output(&mut self) -> Option<PoolOutput> {
        self.outputs.pop_front()
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> PoolStatsV2 {
        let mut stats = self.stats.clone();
        let open = |c: &&Connection| !c.channels.is_empty();
        let channels = self.connections.values().flat_map(|c| c.channels.values());
        stats.pool.connections = self.connections.len() as u64;
        stats.pool.authorized = self.connections.values().filter(open).count() as u64;
        stats.channels = channels.clone().count() as u64;
        stats.nominal_hashrate = channels.fold(0.0, |sum, channel| sum + channel.hashrate);
        stats
    }

    /// What it is.
    pub fn config(&self) -> &PoolConfigV2 {
        &self.config
    }

    /// Another floor of difficulty, now for every channel and for those to come (`SetTarget`, in force with the next job).
    pub fn set_difficulty(&mut self, now: Instant, difficulty: f64) {
        self.config.difficulty = difficulty;
        self.retarget_all(now);
    }

    /// Another prefix for every channel (`SetExtranoncePrefix`), and a new job under it.
    pub fn set_prefixes(&mut self, now: Instant) {
        for (id, channel) in self.channel_ids() {
            let prefix = self.new_prefix();
            let Some(open) = self.channel(id, channel) else {
                continue;
            };
            let len = open.prefix.len();
            open.prefix = padded(&prefix, len);
            let prefix = open.prefix.clone();
            self.send(now, id, &Message::SetPrefix { channel, prefix });
        }
        self.new_job(now);
    }

    /// Moves every channel of a connection that takes extended jobs into a new group (`SetGroupChannel`).
    pub fn regroup(&mut self, now: Instant) {
        for id in self.connection_ids() {
            let Some(connection) = self.connections.get_mut(&id).filter(|c| c.takes_extended())
            else {
                continue;
            };
            let group = connection.take_id();
            connection.group = group;
            let open = connection.channels.values_mut();
            open.for_each(|channel| channel.group = group);
            let channels = connection.channels.keys().copied().collect();
            self.send(now, id, &Message::SetGroup { group, channels });
        }
    }

    /// Closes every channel (`CloseChannel`); connections stay.
    pub fn close_channels(&mut self, now: Instant, reason: &str) {
        for (id, channel) in self.channel_ids() {
            self.flush(now, id, channel);
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.channels.remove(&channel);
            }
            let reason = reason.to_owned();
            self.send(now, id, &Message::CloseChannel { channel, reason });
        }
    }

    /// Asks everyone to connect elsewhere; empty and 0: here.
    pub fn reconnect(&mut self, now: Instant, host: &str, port: u16) {
        let host = host.to_owned();
        self.send_all(now, &Message::Reconnect { host, port }.bytes());
    }

    /// Frames that nobody has to know: of an unnegotiated extension, of a channel's extension, of a custom job.
    pub fn push_unknown(&mut self, now: Instant) {
        for (extension, kind) in [(0x4001, 1), (0xc001, 2), (0, 0x23)] {
            let frame = [&header(extension, kind, 4)[..], &[1, 0, 0, 0]].concat();
            self.send_all(now, &frame);
        }
    }

    /// A `SetTarget` of one byte.
    pub fn push_garbage(&mut self, now: Instant) {
        let frame = [&header(0x8000, 0x21, 1)[..], &[7]].concat();
        self.send_all(now, &frame);
    }

    /// Announces a frame of 16 MiB and sends one byte of it.
    pub fn push_endless(&mut self, now: Instant) {
        let frame = [&header(0x8000, 0x1f, 0x00ff_ffff)[..], &[7]].concat();
        self.send_all(now, &frame);
    }

    /// A frame of the caller's making for every channel that is open.
    pub fn push_each(&mut self, now: Instant, frame: impl Fn(u32) -> Vec<u8>) {
        for (id, channel) in self.channel_ids() {
            self.send_bytes(now, id, frame(channel));
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

    /// Everything it sends from now on is late by this.
    pub fn set_delay(&mut self, delay: Duration) {
        self.config.delay = delay;
    }

    /// Closes every connection.
    pub fn close_all(&mut self) {
        for id in std::mem::take(&mut self.connections).into_keys() {
            self.outputs.push_back(PoolOutput::Close(id));
        }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.config.lies.contains(&lie)
    }

    fn connection_ids(&self) -> Vec<ConnectionId> {
        self.connections.keys().copied().collect()
    }

    fn channel_ids(&self) -> Vec<(ConnectionId, u32)> {
        let all = self.connections.iter();
        all.flat_map(|(id, c)| c.channels.keys().map(|channel| (*id, *channel)))
            .collect()
    }

    fn channel(&mut self, id: ConnectionId, channel: u32) -> Option<&mut Channel> {
        self.connections.get_mut(&id)?.channels.get_mut(&channel)
    }

    /// Bytes that no other channel of this pool has.
    fn new_prefix(&mut self) -> Vec<u8> {
        self.prefixes = self.prefixes.wrapping_add(1);
        self.prefixes.to_be_bytes()[8 - self.config.prefix_size..].to_vec()
    }

    /// Unix seconds now.
    fn unix(&self, now: Instant) -> u32 {
        let elapsed = now.duration_since(self.started).as_secs() as u32;
        self.config.unix_time.wrapping_add(elapsed)
    }

    /// The peer broke the rules.
    fn give_up(&mut self, id: ConnectionId) {
        self.stats.malformed += 1;
        self.connections.remove(&id);
        self.outputs.push_back(PoolOutput::Close(id));
    }

    fn send(&mut self, now: Instant, id: ConnectionId, message: &Message) {
        self.send_bytes(now, id, message.bytes());
    }

    fn send_all(&mut self, now: Instant, frame: &[u8]) {
        for id in self.connection_ids() {
            self.send_bytes(now, id, frame.to_vec());
        }
    }

    fn send_bytes(&mut self, now: Instant, id: ConnectionId, frame: Vec<u8>) {
        if self.frozen {
            return;
        }
        // What is late stays in order, also when the delay has just become shorter.
        if self.config.delay == Duration::ZERO && self.delayed.is_empty() {
            return self.write(id, frame);
        }
        let at = now + self.config.delay;
        let last = self.delayed.back().map_or(at, |(last, ..)| at.max(*last));
        self.delayed.push_back((last, id, frame));
    }

    fn write(&mut self, id: ConnectionId, frame: Vec<u8>) {
        self.stats.pool.lines_out += 1;
        self.stats.pool.bytes_out += frame.len() as u64;
        self.outputs.push_back(PoolOutput::Write(id, frame));
    }
}

impl Connection {
    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    fn takes_extended(&self) -> bool {
        let required = super::message::REQUIRES_STANDARD_JOBS;
        self.setup.is_some_and(|flags| flags & required == 0)
    }
}

/// The prefix with zeros behind it, up to `len`.
fn padded(prefix: &[u8], len: usize) -> Vec<u8> {
    let mut padded = prefix.to_vec();
    padded.resize(len.max(prefix.len()), 0);
    padded
}

/// Whether a periodic time has come; sets the next one without piling up what was missed.
fn due(at: &mut Option<Instant>, now: Instant, every: Option<Duration>) -> bool {
    let come = at.is_some_and(|at| now >= at);
    if come {
        *at = every.map(|every| now + every);
    }
    come
}
