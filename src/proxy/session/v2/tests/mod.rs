//! A V2 connection against a miner, a router and a judge that a test plays, in made-up time.
//!
//! Not any order of messages (the fuzz target `v2_session`) and no sockets (tests/hostile). The lines `// sv2:` name what of
//! the specification a test holds us to; `tests/must` compares them with `tests/sv2-must.txt`.

mod apart;
mod channels;
mod counts;
mod jobs;
mod lanes;
mod limits;
mod own;
mod setup;
mod shares;

use super::{GROUP, Input, Output, Session};
use crate::machine::Machine;
use crate::proxy::lease::{
    Issue, LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId, Submission,
};
use crate::proxy::session::{self, Attach, Bucket, Close, Config, JudgeRequest, WallAnchor};
use crate::proxy::tally::Judged;
use crate::stratum::v2::frame::Frames;
use crate::stratum::v2::message::{
    FromPool, OpenExtendedMiningChannel, OpenStandardMiningChannel, SetupConnection,
    SubmitSharesExtended, SubmitSharesStandard,
};
use crate::work::{Difficulty, Lane, Layout, LinkId, Parts, Target, Work, WorkId, share, vardiff};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Version bits that "version rolling allowed" promises.
const ROLLED: u32 = 0x1fff_e000;
const NTIME: u32 = 1_700_000_000;
const VERSION: u32 = 0x2000_0000;
/// The first channel of a connection, and its session.
const FIRST: u32 = GROUP + 1;
const OWN: SessionId = SessionId(100);
/// Longer than the shortest time between two jobs.
const GAP: Duration = Duration::from_millis(250);

/// The target of a difficulty, in wire order.
fn target(difficulty: f64) -> [u8; 32] {
    let difficulty = Difficulty::new(difficulty).expect("within range");
    Target::from_difficulty(difficulty).to_le_bytes()
}

/// Writes one message into a buffer.
macro_rules! frame {
    ($message:expr) => {
        |out: &mut Vec<u8>| $message.write(out)
    };
}
use frame;

/// A connection, and everybody around it.
struct World {
    now: Instant,
    session: Session,
    /// What was sent since it was last looked at.
    out: Vec<u8>,
    outputs: Vec<(SessionId, session::Output)>,
    submitted: Vec<Submission>,
    closed: Vec<(SessionId, Close)>,
    /// Why the connection ended.
    end: Option<Close>,
    attaching: VecDeque<(SessionId, Attach)>,
    judging: VecDeque<(SessionId, JudgeRequest)>,
    rooting: VecDeque<(SessionId, Arc<Work>, Lane)>,
    /// What is answered at once.
    seats: bool,
    judges: bool,
    roots: bool,
    lease: Lease,
    layout: Layout,
    lanes: u32,
    /// What the next seat remembers.
    memory: LaneMemory,
    works: u32,
    generation: u64,
    network: u32,
    pool_difficulty: Difficulty,
    counts: Judged,
}

fn config() -> Config {
    let bucket = Bucket {
        per_second: 1000.0,
        burst: 1000.0,
    };
    Config {
        listener: ListenerId(0),
        vardiff: vardiff::Config {
            start: Difficulty::MIN,
            min: Difficulty::MIN,
            max: Difficulty::MAX,
            fixed: Some(Difficulty::MIN),
            shares_per_minute: 12.0,
            ceiling_per_minute: 1e30,
        },
        password: None,
        submits: bucket,
        others: bucket,
        version_mask: ROLLED,
        channels: 64,
        fast_lines: true,
        wall: WallAnchor {
            at: Instant::now(),
            unix_s: u64::from(NTIME),
        },
    }
}

/// With a difficulty that follows the miner, from this one.
fn starting_at(difficulty: f64) -> Config {
    let mut config = config();
    config.vardiff.fixed = None;
    config.vardiff.start = Difficulty::new(difficulty).expect("within range");
    config
}

impl World {
    /// After the Noise handshake; nothing was said.
    fn connected(config: Config, version_mask: u32) -> Self {
        let now = config.wall.at;
        let ids = Arc::new(AtomicU64::new(200));
        Self {
            now,
            session: Session::new(now, OWN, ids, Arc::new(config), version_mask),
            out: Vec::new(),
            outputs: Vec::new(),
            submitted: Vec::new(),
            closed: Vec::new(),
            end: None,
            attaching: VecDeque::new(),
            judging: VecDeque::new(),
            rooting: VecDeque::new(),
            seats: true,
            judges: true,
            roots: true,
            lease: Lease {
                link: Some(LinkId(0)),
                version_mask: ROLLED,
            },
            layout: Layout::WIDE,
            lanes: 0x0a0b_0c00,
            memory: LaneMemory::default(),
            works: 0,
            generation: 0,
            network: 0x1705_1234,
            pool_difficulty: Difficulty::MAX,
            counts: Judged::default(),
        }
    }

    /// Set up with these flags.
    fn with(config: Config, flags: u32) -> Self {
        let mut world = Self::connected(config, ROLLED);
        world.says(frame!(setup(flags)));
        world.out.clear();
        world
    }

    /// One extended channel with one job.
    fn mining(config: Config) -> Self {
        let mut world = Self::with(config, 0);
        world.extended(4);
        world.block();
        world.out.clear();
        world
    }

    /// A channel more; its id.
    fn extended(&mut self, min_extranonce_size: u16) -> u32 {
        self.says(frame!(extended(7, min_extranonce_size)));
        self.opened()
    }

    fn standard(&mut self) -> u32 {
        self.says(frame!(standard(7)));
        self.opened()
    }

    fn opened(&mut self) -> u32 {
        let opened = |said: FromPool<'_>| match said {
            FromPool::OpenStandardMiningChannelSuccess(open) => Some(open.channel_id),
            FromPool::OpenExtendedMiningChannelSuccess(open) => Some(open.channel_id),
            _ => None,
        };
        let opened = self.said().into_iter().find_map(opened);
        opened.expect("a channel was opened")
    }

    fn says(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.sends(&bytes);
    }

    /// Bytes of whole frames, as one read.
    fn sends(&mut self, bytes: &[u8]) {
        let (mut frames, mut chunk) = (Frames::new(self.session.max_payload()), bytes);
        while let Some(frame) = frames.next(&mut chunk) {
            let input = match frame {
                Ok(frame) => Input::Frame(frame),
                Err(_) => Input::TooLong,
            };
            self.session.handle_input(self.now, input);
            frames.set_max(self.session.max_payload());
        }
        self.drain();
    }

    fn input(&mut self, input: Input<'_>) {
        self.session.handle_input(self.now, input);
        self.drain();
    }

    fn of(&mut self, session: SessionId, input: session::Input<'_>) {
        self.input(Input::Of(session, input));
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.session.poll_output() {
                self.output(output);
            }
            if self.seats && !self.attaching.is_empty() {
                self.seat();
            } else if self.judges && !self.judging.is_empty() {
                self.judge();
            } else if self.roots && !self.rooting.is_empty() {
                self.root();
            } else {
                return;
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send(bytes) => {
                assert_eq!(self.end, None, "sent after the end");
                self.out.extend(bytes);
            }
            Output::Of(id, session::Output::Attach(attach)) => {
                self.attaching.push_back((id, attach));
            }
            Output::Of(id, session::Output::Judge(request)) => {
                self.judging.push_back((id, request));
            }
            Output::Of(id, session::Output::Submit(share)) => {
                let (worker, hashes) = (share.worker.clone(), share.work.pool_difficulty.hashes());
                self.submitted.push(*share);
                let submitted = session::Input::Submitted(&worker, Ok(()), hashes);
                self.session
                    .handle_input(self.now, Input::Of(id, submitted));
            }
            Output::Of(id, output) => {
                if let session::Output::Observe(seen) = &output {
                    assert!(seen.judged.conserves());
                    self.counts.merge(&seen.judged);
                }
                self.outputs.push((id, output));
            }
            Output::Root(id, work, lane) => self.rooting.push_back((id, work, lane)),
            Output::Closed(id, why) => {
                self.session.take_memory(id);
                self.closed.push((id, why));
            }
            Output::Close(why) => self.end = Some(why),
        }
    }

    /// Seats whoever waits longest.
    fn seat(&mut self) {
        let (id, attach) = self.attaching.pop_front().expect("one waits");
        self.lanes += 1 << 8;
        let width = attach.extranonce.saturating_sub(self.layout.rolled);
        let seat = Seat {
            lane: Lane(self.lanes >> (8 * width) << (8 * width)),
            layout: self.layout,
            width,
            token: ResumeToken([0; 16]),
            memory: std::mem::take(&mut self.memory),
        };
        let lease = self.lease;
        self.of(id, session::Input::Seated(Box::new(seat), lease));
    }

    /// Proves whatever waits longest.
    fn judge(&mut self) {
        let (id, request) = self.judging.pop_front().expect("one waits");
        let proof = share::prove(&request.work, request.lane, &request.share);
        self.of(id, session::Input::Judged(&request, &proof));
    }

    fn root(&mut self) {
        let (id, work, lane) = self.rooting.pop_front().expect("one waits");
        let mut roots = [[0; 32]];
        share::roots(&work, &[(lane, [0; 8])], &mut roots);
        self.input(Input::Root(id, &work, roots[0]));
    }

    /// Time passes, every timer of the machine on its instant.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Work on a new block.
    fn block(&mut self) -> u32 {
        self.generation += 1;
        self.job()
    }

    /// More work on the same block.
    fn job(&mut self) -> u32 {
        self.works += 1;
        self.job_of(Parts::default())
    }

    fn job_of(&mut self, parts: Parts) -> u32 {
        let issue = Arc::new(Issue {
            v1_clean: Box::default(),
            v1_keep: Box::default(),
            own: None,
            work: Arc::new(self.work(parts)),
        });
        self.input(Input::Issue(&issue));
        self.works
    }

    fn work(&self, parts: Parts) -> Work {
        let parts = Parts {
            id: WorkId(self.works),
            generation: self.generation,
            prev_hash: [self.generation as u8; 32],
            version_mask: ROLLED,
            layout: self.layout,
            nbits: self.network,
            coinbase_prefix: vec![1; 50].into(),
            coinbase_suffix: vec![2; 40].into(),
            branch: vec![[3; 32]; 2].into(),
            pool_difficulty: self.pool_difficulty,
            ..parts
        };
        Work::new(parts).expect("within limits")
    }

    /// All that was sent since the last look.
    fn said(&mut self) -> Vec<FromPool<'static>> {
        let bytes: &'static [u8] = std::mem::take(&mut self.out).leak();
        parsed(bytes)
    }

    fn closes(&self, session: SessionId) -> Option<Close> {
        let closed = self.closed.iter().find(|(id, _)| *id == session);
        closed.map(|(_, why)| *why)
    }
}

/// Whole frames, as messages.
fn parsed(bytes: &'static [u8]) -> Vec<FromPool<'static>> {
    use crate::stratum::v2::frame::{Frame, Header};
    let (mut rest, mut said) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (header, after) = rest.split_first_chunk().expect("a whole header");
        let header = Header::parse(header);
        let (payload, after) = after.split_at(header.length as usize);
        let message = FromPool::parse(&Frame { header, payload }).expect("well formed");
        said.push(message.expect("a message that a miner knows"));
        rest = after;
    }
    said
}

fn setup(flags: u32) -> SetupConnection<'static> {
    SetupConnection {
        protocol: 0,
        min_version: 2,
        max_version: 2,
        flags,
        endpoint_host: b"sluice",
        endpoint_port: 3333,
        vendor: b"acme",
        hardware_version: b"s1",
        firmware: b"f2",
        device_id: b"",
    }
}

fn standard(request_id: u32) -> OpenStandardMiningChannel<'static> {
    OpenStandardMiningChannel {
        request_id,
        user_identity: b"farm.rig",
        nominal_hash_rate: 0.0,
        max_target: [0xff; 32],
    }
}

fn extended(request_id: u32, min_extranonce_size: u16) -> OpenExtendedMiningChannel<'static> {
    OpenExtendedMiningChannel {
        request_id,
        user_identity: b"farm.rig",
        nominal_hash_rate: 0.0,
        max_target: [0xff; 32],
        min_extranonce_size,
    }
}

/// A share of a standard channel, as good as any at the least difficulty.
fn found(channel_id: u32, sequence_number: u32, job_id: u32) -> SubmitSharesStandard {
    SubmitSharesStandard {
        channel_id,
        sequence_number,
        job_id,
        nonce: sequence_number,
        ntime: NTIME,
        version: VERSION,
    }
}

/// The same of an extended channel.
fn found_extended(
    channel_id: u32,
    sequence_number: u32,
    job_id: u32,
) -> SubmitSharesExtended<'static> {
    SubmitSharesExtended {
        channel_id,
        sequence_number,
        job_id,
        nonce: sequence_number,
        ntime: NTIME,
        version: VERSION,
        extranonce: &[0; 4],
        tlv: b"",
    }
}
