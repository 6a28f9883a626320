//! A V2 connection with one open channel that has a job, driven as its task drives it. Nothing is timed here.

use sluice::cli::bench::lab;
use sluice::machine::Machine;
use sluice::proxy::lease::{Issue, LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId};
use sluice::proxy::session::v2::{Input, Output, Session};
use sluice::proxy::session::{self, Bucket, Config, WallAnchor};
use sluice::stratum::v2::frame::{Frames, MAX_DOWN};
use sluice::stratum::v2::message::{
    MINING, OpenExtendedMiningChannel, OpenStandardMiningChannel, SetupConnection,
    SubmitSharesExtended, SubmitSharesStandard, VERSION,
};
use sluice::tasks::judge::{Answer, Judge, Ticket};
use sluice::work::{Difficulty, Lane, Layout, Parts, Target, Work, WorkId, share, vardiff};
use smallvec::SmallVec;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

pub(crate) const LANE: Lane = Lane(0x0102_0304);
const ID: SessionId = SessionId(1);
const CHANNEL: u32 = 2;
pub(crate) const EASY: [u8; 32] = [0xff; 32];

/// Of channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Extended,
    Standard,
}

/// A connection with its channels.
pub(crate) struct Client {
    kind: Kind,
    channels: u32,
    session: Session,
    judge: Judge,
    now: Instant,
    work: Arc<Work>,
    frames: Frames,
    sequence: u32,
}

/// A 300-byte coinbase and 12 branches, a previous block of its own. `channels_sv2` parses it: it must be a transaction.
pub(crate) fn work(serial: u32) -> Work {
    let outpoint = [&[0; 32][..], &[0xff; 4]].concat();
    let prefix = [&[2, 0, 0, 0, 1][..], &outpoint, &[91], &[0x51; 68]].concat();
    let output = [&[7; 8][..], &[70], &[0x6a; 70]].concat();
    let end = [&[0x51; 15][..], &[0xff; 4], &[2]].concat();
    let suffix = [&end[..], &output, &output, &[0; 4]].concat();
    let mut prev_hash = [7; 32];
    prev_hash[..4].copy_from_slice(&serial.to_le_bytes());
    Work::new(Parts {
        id: WorkId(serial),
        generation: u64::from(serial),
        prev_hash,
        version_mask: 0x1fff_e000,
        coinbase_prefix: prefix.into(),
        coinbase_suffix: suffix.into(),
        branch: (0..12).map(|i| [i; 32]).collect(),
        pool_target: Target::from_difficulty(Difficulty::ONE),
        pool_difficulty: Difficulty::ONE,
        ..Parts::default()
    })
    .expect("this work is within limits")
}

/// A clean work under this id, from a pool of difficulty 1: no share of ours is forwarded.
pub(crate) fn issue(serial: u32) -> Arc<Issue> {
    Arc::new(Issue {
        work: Arc::new(work(serial)),
        v1_clean: Box::default(),
        v1_keep: Box::default(),
        own: None,
    })
}

impl Client {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with(kind, 1)
    }

    /// Shares come for each of its channels in turn.
    pub(crate) fn with(kind: Kind, channels: u32) -> Self {
        let now = Instant::now();
        let issue = issue(1);
        let config = Arc::new(config(now));
        let ids = Arc::new(AtomicU64::new(2));
        let mut client = Self {
            kind,
            channels,
            session: Session::new(now, ID, ids, config, u32::MAX),
            judge: Judge::default(),
            now,
            work: issue.work.clone(),
            frames: Frames::new(MAX_DOWN),
            sequence: 0,
        };
        client.log_in();
        client.session.handle_input(now, Input::Issue(&issue));
        client.drain(false);
        client
    }

    fn log_in(&mut self) {
        let setup = SetupConnection {
            protocol: MINING,
            min_version: VERSION,
            max_version: VERSION,
            flags: u32::from(self.kind == Kind::Standard),
            endpoint_host: b"localhost",
            endpoint_port: 3333,
            vendor: b"bench",
            hardware_version: b"",
            firmware: b"",
            device_id: b"",
        };
        let mut bytes = Vec::new();
        setup.write(&mut bytes);
        for request_id in 0..self.channels {
            open(self.kind, request_id, &mut bytes);
        }
        self.read(&bytes);
        self.drain(false);
    }

    /// So many shares that were not sent yet, frame behind frame.
    pub(crate) fn written(&mut self, shares: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..shares {
            self.sequence += 1;
            let channel = CHANNEL + self.sequence % self.channels;
            write(self.kind, channel, &self.work, self.sequence, &mut bytes);
        }
        bytes
    }

    /// What one read brought. `alone`: no other share is on its way in the whole shard.
    pub(crate) fn shares(&mut self, read: &[u8], alone: bool) {
        self.read(read);
        assert!(self.drain(alone) > 0, "they are acknowledged");
    }

    fn read(&mut self, mut chunk: &[u8]) {
        while let Some(frame) = self.frames.next(&mut chunk) {
            let frame = frame.expect("within the cap");
            self.session.handle_input(self.now, Input::Frame(frame));
        }
    }

    /// Carries out what the machine wants; the bytes it sends.
    fn drain(&mut self, alone: bool) -> usize {
        let mut sent = 0;
        loop {
            let mut tickets: SmallVec<[(SessionId, Ticket); 2]> = SmallVec::new();
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Send(bytes) => sent += black_box(bytes).len(),
                    Output::Of(id, session::Output::Judge(request)) if alone => {
                        let answer = self.judge.prove_one(request);
                        self.judged(id, &answer);
                    }
                    Output::Of(id, session::Output::Judge(request)) => {
                        tickets.push((id, self.judge.ask(request)));
                    }
                    Output::Of(id, session::Output::Attach(_)) => self.seat(id),
                    Output::Root(id, work, lane) => {
                        let mut root = [[0; 32]];
                        share::roots(&work, &[(lane, [0; 8])], &mut root);
                        let input = Input::Root(id, &work, root[0]);
                        self.session.handle_input(self.now, input);
                    }
                    _ => {}
                }
            }
            if tickets.is_empty() {
                return sent;
            }
            for (id, ticket) in tickets {
                let answer = self.judge.take(ticket);
                self.judged(id, &answer);
            }
        }
    }

    fn judged(&mut self, id: SessionId, answer: &Answer) {
        let judged = session::Input::Judged(&answer.request, &answer.proof);
        self.session.handle_input(self.now, Input::Of(id, judged));
    }

    fn seat(&mut self, id: SessionId) {
        let seat = Seat {
            lane: Lane(LANE.0 + id.0 as u32),
            layout: Layout::WIDE,
            width: 0,
            token: ResumeToken([0; 16]),
            memory: LaneMemory::default(),
        };
        let lease = Lease {
            link: Some(self.work.link),
            version_mask: u32::MAX,
        };
        let seated = session::Input::Seated(Box::new(seat), lease);
        self.session.handle_input(self.now, Input::Of(id, seated));
    }

    /// A new job for a standard channel whose root is known; the bytes that tell of it.
    pub(crate) fn job(&mut self, issue: &Arc<Issue>, roots: &[[u8; 32]]) -> usize {
        self.now += Duration::from_secs(1);
        let mut sent = 0;
        self.session.handle_input(self.now, Input::Issue(issue));
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => sent += black_box(bytes).len(),
                Output::Root(id, work, lane) => {
                    let root = roots[lane.0 as usize % roots.len()];
                    let input = Input::Root(id, &work, root);
                    self.session.handle_input(self.now, input);
                }
                _ => {}
            }
        }
        sent
    }
}

fn open(kind: Kind, request_id: u32, bytes: &mut Vec<u8>) {
    match kind {
        Kind::Standard => OpenStandardMiningChannel {
            request_id,
            user_identity: b"account.rig",
            nominal_hash_rate: 0.0,
            max_target: EASY,
        }
        .write(bytes),
        Kind::Extended => OpenExtendedMiningChannel {
            request_id,
            user_identity: b"account.rig",
            nominal_hash_rate: 0.0,
            max_target: EASY,
            min_extranonce_size: 4,
        }
        .write(bytes),
    }
}

/// A share as its client writes it; the nonce is also its number.
pub(crate) fn write(kind: Kind, channel_id: u32, work: &Work, nonce: u32, bytes: &mut Vec<u8>) {
    let share = lab::share(nonce);
    match kind {
        Kind::Extended => SubmitSharesExtended {
            channel_id,
            sequence_number: nonce,
            job_id: work.id.0,
            nonce,
            ntime: share.ntime,
            version: share.version,
            extranonce: &share.en2[..4],
            tlv: &[],
        }
        .write(bytes),
        Kind::Standard => SubmitSharesStandard {
            channel_id,
            sequence_number: nonce,
            job_id: work.id.0,
            nonce,
            ntime: share.ntime,
            version: share.version,
        }
        .write(bytes),
    }
}

fn config(now: Instant) -> Config {
    let plenty = Bucket {
        per_second: 1e9,
        burst: 1e9,
    };
    Config {
        listener: ListenerId(0),
        vardiff: vardiff::Config {
            start: Difficulty::MIN,
            min: Difficulty::MIN,
            max: Difficulty::MAX,
            fixed: Some(Difficulty::MIN),
            shares_per_minute: 12.0,
            ceiling_per_minute: 60.0,
        },
        password: None,
        submits: plenty,
        others: plenty,
        version_mask: 0x1fff_e000,
        channels: 4096,
        fast_lines: true,
        wall: WallAnchor {
            at: now,
            unix_s: 1_700_000_000,
        },
    }
}
