//! The V2 miner's protocol logic, free of sockets, clocks and Noise: plaintext bytes in, frames out, and when the next
//! share is due. What it makes of frames is in miner/{inbound,jobs}.rs, one channel in channel.rs.
//!
//! Hashing is real, as the V1 miner's. Invariant: nothing is sent that was not hashed, and every share sent is counted
//! as submitted and then once as accepted, rejected or unanswered.

mod inbound;
mod jobs;

pub use super::minerconfig::{KindV2, MannersV2, MinerConfigV2};
use super::{
    super::{
        rng::Rng,
        search::{Found, Search},
        stats::MinerStats,
        watch::Violation,
        wire::Bound,
    },
    channel::{Channel, Outstanding},
    frame::{Cutter, Frame},
    message::{
        Message, Open, REQUIRES_STANDARD_JOBS, REQUIRES_VERSION_ROLLING, Setup, Submit,
        WORKER_TRACKING,
    },
    target,
    watch::{Breach, WatchV2},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// An open unanswered so long is missing its answer.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Peers that do not know extension 0x0001 stay silent: go on after this.
const NEGOTIATE_WITHIN: Duration = Duration::from_secs(2);
/// Workers named in turn on an extended channel.
const WORKERS: u32 = 3;
/// Longest worker name of extension 0x0002, bytes.
const WORKER_NAME: usize = 32;

/// A simulated V2 miner. Drive it as [`SimMiner`](crate::sim::SimMiner), with bytes for lines.
#[derive(Debug)]
pub struct SimMinerV2 {
    config: MinerConfigV2,
    rng: Rng,
    stats: MinerStats,
    connection: Option<Connection>,
    outbox: VecDeque<Vec<u8>>,
    hang_up: Option<&'static str>,
    redirect: Option<(String, u16)>,
    searching: Option<u64>,
    job_seq: u64,
}

/// What ends with the connection.
#[derive(Debug)]
struct Connection {
    cutter: Cutter,
    watch: WatchV2,
    step: Step,
    /// When the next step is taken without an answer: a slow miner's pause, or the end of a negotiation.
    step_at: Option<Instant>,
    fixed_version: bool,
    worker_tracking: bool,
    /// Opens unanswered: the channel to be, when it was asked for, whether its lateness was told.
    opening: BTreeMap<u32, (Channel, Instant, bool)>,
    channels: BTreeMap<u32, Channel>,
    /// Numbers of channels that ended here, and of all there ever were.
    closed: BTreeSet<u32>,
    numbers: BTreeSet<u32>,
}

/// How far the login is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nothing said yet (a slow miner).
    Silent,
    /// `SetupConnection` sent.
    Setup,
    /// Set up; a slow miner waits before it goes on.
    Ready,
    /// `RequestExtensions` sent.
    Negotiating,
    /// Channels asked for.
    Opening,
}

impl SimMinerV2 {
    /// A miner that is not connected.
    pub fn new(config: MinerConfigV2) -> Self {
        Self {
            rng: Rng::new(config.seed),
            config,
            stats: MinerStats::default(),
            connection: None,
            outbox: VecDeque::new(),
            hang_up: None,
            redirect: None,
            searching: None,
            job_seq: 0,
        }
    }

    /// The transport is up, its handshake done: begins.
    pub fn connected(&mut self, now: Instant) {
        self.outbox.clear();
        self.hang_up = None;
        self.redirect = None;
        self.stats.connects += 1;
        self.connection = Some(Connection {
            cutter: Cutter::default(),
            watch: WatchV2::new(now),
            step: Step::Silent,
            step_at: self.config.manners.slow.map(|pause| now + pause),
            fixed_version: false,
            worker_tracking: false,
            opening: BTreeMap::new(),
            channels: BTreeMap::new(),
            closed: BTreeSet::new(),
            numbers: BTreeSet::new(),
        });
        if self.config.manners.slow.is_none() {
            self.take_step(now);
        }
    }

    /// The transport could not be had.
    pub fn connect_failed(&mut self) {
        self.stats.connect_failures += 1;
    }

    /// The peer's handshake did not hold, or was signed by a stranger.
    pub fn handshake_failed(&mut self) {
        self.stats.connect_failures += 1;
        self.stats.violated(Violation::V2(Breach::Handshake));
    }

    /// The transport is down. `by_peer`: nobody on this side wanted it.
    pub fn disconnected(&mut self, by_peer: bool) {
        if by_peer && let Some(connection) = &mut self.connection {
            connection.watch.report(Violation::HungUp);
        }
        self.collect_violations();
        if let Some(connection) = self.connection.take() {
            let open = connection.channels.values().map(|c| c.outstanding.len());
            self.stats.unanswered += open.sum::<usize>() as u64;
            self.stats.disconnects += 1;
        }
        self.stats.mining = 0;
        self.searching = None;
        self.outbox.clear();
    }

    /// Plaintext bytes from the peer, cut anywhere. `false`: a frame without end was announced.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> bool {
        if let Some(connection) = &mut self.connection {
            connection.cutter.push(bytes);
        }
        while let Some(connection) = &mut self.connection {
            let Ok(frame) = connection.cutter.next_frame() else {
                connection.watch.breach(Breach::FrameTooLong);
                self.collect_violations();
                return false;
            };
            let Some(frame) = frame else {
                break;
            };
            self.stats.lines_in += 1;
            self.stats.bytes_in += frame.payload.len() as u64 + 6;
            self.take_frame(now, &frame);
            self.collect_violations();
        }
        true
    }

    /// Time passed; harmless when early. Shares are not its business, see [`SimMinerV2::next_share_at`].
    pub fn handle_timeout(&mut self, now: Instant) {
        let acks_within = self.config.acks_within;
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.watch.timeout(now);
        connection.tell_missing(now, acks_within);
        let step_due = connection.step_at.is_some_and(|at| now >= at);
        if step_due {
            connection.step_at = None;
            self.take_step(now);
        }
        if self.gives_up_at().is_some_and(|at| now >= at) {
            self.hang_up = Some("silence");
        }
        self.collect_violations();
    }

    /// When to call [`SimMinerV2::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let times = [
            connection.watch.next_timeout(),
            connection.step_at,
            connection.next_missing(self.config.acks_within),
            self.gives_up_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// The next frame to send.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    /// Why the miner wants to end the connection (the driver then closes and calls [`SimMinerV2::disconnected`]).
    pub fn poll_hang_up(&mut self) -> Option<&'static str> {
        self.hang_up.take()
    }

    /// Where `Reconnect` said to go: host (empty: the same) and port (0: the same).
    pub fn poll_redirect(&mut self) -> Option<(String, u16)> {
        self.redirect.take()
    }

    /// When the next share is due; `None` while not mining or while one is being searched for.
    pub fn next_share_at(&self) -> Option<Instant> {
        let channels = self.connection.as_ref()?.channels.values();
        let times = channels.filter_map(Channel::next_share_at);
        times.min().filter(|_| self.searching.is_none())
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

    /// Hands out the search for the share that is due first, to be run in slices elsewhere.
    pub fn start_search(&mut self, now: Instant) -> Option<Search> {
        let rolls = self.config.manners.rolls_ntime;
        let channels = self.connection.as_ref()?.channels.values();
        let due = channels.filter(|channel| channel.next_share_at().is_some());
        let first = due.min_by_key(|channel| channel.next_share_at())?;
        let search = first.search(now, rolls)?;
        self.searching = Some(search.job_seq());
        Some(search)
    }

    /// Whether a search is under way and some channel still wants its share.
    pub fn search_is_current(&self) -> bool {
        let channels = self.connection.iter().flat_map(|c| c.channels.values());
        let seq = self.searching;
        seq.is_some_and(|seq| channels.into_iter().any(|channel| channel.wants(seq)))
    }

    /// Gives a search up; its share stays due, on whatever job there is now.
    pub fn abandon_search(&mut self) {
        self.searching = None;
    }

    /// A search ended: submits, unless a new block has come in between.
    pub fn finish_search(&mut self, now: Instant, found: &Found) {
        if !self.search_is_current() || self.searching != Some(found.job_seq) {
            self.stats.overtaken += 1;
            return self.abandon_search();
        }
        self.searching = None;
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mut channels = connection.channels.iter_mut();
        let wants = |(_, channel): &(&u32, &mut Channel)| channel.wants(found.job_seq);
        let Some((id, channel)) = channels.find(wants) else {
            return;
        };
        let (id, Some(share)) = (*id, channel.found(found)) else {
            return;
        };
        let sequence = channel.sequence;
        channel.sequence = sequence.wrapping_add(1);
        let outstanding = Outstanding {
            at: now,
            weight: share.weight,
            told: false,
        };
        channel.outstanding.insert(sequence, outstanding);
        let tracked = connection.worker_tracking && !channel.standard;
        let submit = Submit {
            channel: id,
            sequence,
            job: share.job,
            nonce: found.nonce,
            ntime: found.ntime,
            version: share.version,
            extranonce: found.en2.clone(),
            worker: tracked.then(|| worker(&channel.user, sequence)),
        };
        self.stats.submitted += 1;
        self.stats.submitted_hashes += share.weight;
        let message = if channel.standard {
            Message::SubmitStandard(submit)
        } else {
            Message::SubmitExtended(submit)
        };
        self.send(&message);
        self.schedule(now, id);
    }

    /// Changes the hashrate, as a curtailed machine does, and says so (`UpdateChannel`); 0 stops it while it stays
    /// connected.
    pub fn set_hashrate(&mut self, now: Instant, hashrate: f64) {
        self.config.hashrate = hashrate;
        let each = self.hashrate_of_one();
        let channels = self.connection.iter().flat_map(|c| c.channels.iter());
        let updates: Vec<(u32, Bound)> = channels.map(|(id, c)| (*id, c.max_target)).collect();
        for (channel, max_target) in updates {
            self.send(&Message::UpdateChannel {
                channel,
                hashrate: each as f32,
                max_target: target::to_bytes(max_target),
            });
            self.schedule(now, channel);
        }
    }

    /// Closes its oldest channel (`CloseChannel`); whether it had one.
    pub fn close_channel(&mut self, reason: &str) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let Some((channel, gone)) = connection.channels.pop_first() else {
            return false;
        };
        connection.closed.insert(channel);
        self.stats.unanswered += gone.outstanding.len() as u64;
        let reason = reason.to_owned();
        self.send(&Message::CloseChannel { channel, reason });
        true
    }

    /// What it counted. Lines are frames here.
    pub fn stats(&self) -> &MinerStats {
        &self.stats
    }

    /// What it is.
    pub fn config(&self) -> &MinerConfigV2 {
        &self.config
    }

    /// The fixed parts of the extranonces of its channels, by channel number.
    pub fn prefixes(&self) -> BTreeMap<u32, Vec<u8>> {
        let channels = self.connection.iter().flat_map(|c| c.channels.iter());
        channels.map(|(id, c)| (*id, c.prefix.clone())).collect()
    }

    fn gives_up_at(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        Some(connection.watch.last_frame() + self.config.gives_up_after?)
    }

    fn hashrate_of_one(&self) -> f64 {
        self.config.hashrate / self.config.kind.plan().len().max(1) as f64
    }

    /// Memoryless, so it may be drawn again whenever rate or target change.
    fn schedule(&mut self, now: Instant, channel: u32) {
        let rate = self.hashrate_of_one();
        let open = self.connection.as_mut();
        let Some(channel) = open.and_then(|c| c.channels.get_mut(&channel)) else {
            return;
        };
        let current = channel.current.as_ref().filter(|_| rate > 0.0);
        channel.due = current.map(|current| {
            let mean_s = target::difficulty(&current.bound) * 4_294_967_296.0 / rate;
            let wait_s = self.rng.exponential(mean_s).min(1e8);
            now + Duration::from_secs_f64(wait_s)
        });
    }

    /// Goes on with the login.
    fn take_step(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match connection.step {
            Step::Silent => {
                connection.step = Step::Setup;
                self.set_up();
                if self.config.manners.pipelined {
                    self.open_all(now);
                }
            }
            Step::Setup | Step::Opening => {}
            Step::Ready if self.config.tracks_workers => {
                connection.step = Step::Negotiating;
                connection.step_at = Some(now + NEGOTIATE_WITHIN);
                let (request, wanted) = (1, vec![WORKER_TRACKING]);
                self.send(&Message::RequestExtensions { request, wanted });
            }
            Step::Ready | Step::Negotiating => self.open_all(now),
        }
    }

    fn set_up(&mut self) {
        let standard = matches!(self.config.kind, KindV2::Standard);
        let flags = if standard { REQUIRES_STANDARD_JOBS } else { 0 };
        let rolling = if self.config.manners.fixed_version {
            0
        } else {
            REQUIRES_VERSION_ROLLING
        };
        self.send(&Message::SetupConnection(Setup {
            protocol: 0,
            min_version: 2,
            max_version: 2,
            flags: flags | rolling,
            host: "127.0.0.1".into(),
            port: 0,
            vendor: "sluice simulated".into(),
            hardware: self.config.kind.name().into(),
            firmware: "1".into(),
            device: String::new(),
        }));
        if self.config.manners.strange {
            let frame = Frame {
                extension: 0x4001,
                kind: 1,
                payload: vec![0; 8],
            };
            self.send_bytes(frame.bytes());
        }
    }

    fn open_all(&mut self, now: Instant) {
        let hashrate = self.hashrate_of_one() as f32;
        let any = Bound([u64::MAX; 4]);
        let max_target = Bound::of_difficulty(self.config.min_difficulty).unwrap_or(any);
        for (n, standard) in self.config.kind.plan().into_iter().enumerate() {
            let user = match n {
                0 => self.config.user.clone(),
                _ => format!("{}_{n}", self.config.user),
            };
            let request = n as u32 + 10;
            let open = Open {
                request,
                user: user.clone(),
                hashrate,
                max_target: target::to_bytes(max_target),
                min_extranonce: self.config.min_extranonce,
            };
            let channel = Channel::new(standard, user, max_target);
            if let Some(connection) = &mut self.connection {
                connection.step = Step::Opening;
                connection.opening.insert(request, (channel, now, false));
            }
            self.send(&if standard {
                Message::OpenStandard(open)
            } else {
                Message::OpenExtended(open)
            });
        }
    }

    fn send(&mut self, message: &Message) {
        self.send_bytes(message.bytes());
    }

    fn send_bytes(&mut self, frame: Vec<u8>) {
        self.stats.lines_out += 1;
        self.stats.bytes_out += frame.len() as u64;
        self.outbox.push_back(frame);
    }

    fn collect_violations(&mut self) {
        if let Some(connection) = &mut self.connection {
            for violation in connection.watch.take_broken() {
                self.stats.violated(violation);
            }
        }
    }
}

impl Connection {
    /// Reports what is unanswered for too long, each once.
    fn tell_missing(&mut self, now: Instant, acks_within: Duration) {
        let channels = self.channels.values_mut();
        let shares = channels.flat_map(|c| c.outstanding.values_mut());
        let shares = shares.map(|share| (share.at + acks_within, &mut share.told));
        let opens = self.opening.values_mut();
        let opens = opens.map(|(_, at, told)| (*at + OPEN_WITHIN, told));
        for (due, told) in shares.chain(opens) {
            if !*told && now >= due {
                *told = true;
                self.watch.report(Violation::ReplyMissing);
            }
        }
    }

    fn next_missing(&self, acks_within: Duration) -> Option<Instant> {
        let shares = self.channels.values().flat_map(|c| c.outstanding.values());
        let shares = shares
            .filter(|share| !share.told)
            .map(|share| share.at + acks_within);
        let opens = self.opening.values().filter(|(.., told)| !told);
        shares
            .chain(opens.map(|(_, at, _)| *at + OPEN_WITHIN))
            .min()
    }
}

/// The worker that found a share, for extension 0x0002.
fn worker(user: &str, sequence: u32) -> String {
    let mut name = format!("{user}.w{}", sequence % WORKERS);
    let fits = (0..=WORKER_NAME.min(name.len()))
        .rev()
        .find(|at| name.is_char_boundary(*at));
    name.truncate(fits.unwrap_or(0));
    name
}
