//! A V2 connection with one open channel that has a job, driven as its task drives it; and the same channel of
//! `channels_sv2`. Nothing is timed here.

use crate::channel;
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
use sluice::tasks::judge::{Judge, Ticket};
use sluice::work::{Difficulty, Lane, Layout, Parts, Share, Target, Work, WorkId, share, vardiff};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use stratum_core::binary_sv2::Sv2OptionOwned;
use stratum_core::channels_sv2::client::extended::ExtendedChannel;
use stratum_core::channels_sv2::client::standard::StandardChannel;
use stratum_core::channels_sv2::extranonce_manager::ExtranoncePrefix;
use stratum_core::mining_sv2::{
    NewMiningJobOwned, SetNewPrevHashOwned, SubmitSharesExtendedOwned, SubmitSharesStandardOwned,
};

const LANE: Lane = Lane(0x0102_0304);
const ID: SessionId = SessionId(1);
const CHANNEL: u32 = 2;
const EASY: [u8; 32] = [0xff; 32];

/// Of channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Extended,
    Standard,
}

/// A connection with its one channel.
pub(crate) struct Client {
    kind: Kind,
    session: Session,
    judge: Judge,
    now: Instant,
    work: Arc<Work>,
    sequence: u32,
    bytes: Vec<u8>,
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
        let now = Instant::now();
        let issue = issue(1);
        let config = Arc::new(config(now));
        let ids = Arc::new(AtomicU64::new(2));
        let mut client = Self {
            kind,
            session: Session::new(now, ID, ids, config, u32::MAX),
            judge: Judge::default(),
            now,
            work: issue.work.clone(),
            sequence: 0,
            bytes: Vec::new(),
        };
        client.log_in();
        client.session.handle_input(now, Input::Issue(&issue));
        client.drain();
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
        setup.write(&mut self.bytes);
        match self.kind {
            Kind::Standard => OpenStandardMiningChannel {
                request_id: 1,
                user_identity: b"account.rig",
                nominal_hash_rate: 0.0,
                max_target: EASY,
            }
            .write(&mut self.bytes),
            Kind::Extended => OpenExtendedMiningChannel {
                request_id: 1,
                user_identity: b"account.rig",
                nominal_hash_rate: 0.0,
                max_target: EASY,
                min_extranonce_size: 4,
            }
            .write(&mut self.bytes),
        }
        self.read();
        self.drain();
    }

    /// So many shares in one read, judged together.
    pub(crate) fn shares(&mut self, together: u32) {
        for _ in 0..together {
            self.sequence += 1;
            self.submit();
        }
        self.read();
        assert!(self.drain() > 0, "they are acknowledged");
    }

    fn submit(&mut self) {
        let (work, nonce) = (&self.work, self.sequence);
        let share = lab::share(nonce);
        match self.kind {
            Kind::Extended => SubmitSharesExtended {
                channel_id: CHANNEL,
                sequence_number: nonce,
                job_id: work.id.0,
                nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce: &share.en2[..4],
                tlv: &[],
            }
            .write(&mut self.bytes),
            Kind::Standard => SubmitSharesStandard {
                channel_id: CHANNEL,
                sequence_number: nonce,
                job_id: work.id.0,
                nonce,
                ntime: share.ntime,
                version: share.version,
            }
            .write(&mut self.bytes),
        }
    }

    fn read(&mut self) {
        let mut frames = Frames::new(MAX_DOWN);
        let mut chunk = &self.bytes[..];
        while let Some(frame) = frames.next(&mut chunk) {
            let frame = frame.expect("within the cap");
            self.session.handle_input(self.now, Input::Frame(frame));
        }
        self.bytes.clear();
    }

    /// Carries out what the machine wants; the bytes it sends.
    fn drain(&mut self) -> usize {
        let mut sent = 0;
        loop {
            let mut tickets: Vec<Ticket> = Vec::new();
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Send(bytes) => sent += black_box(bytes).len(),
                    Output::Of(_, session::Output::Judge(request)) => {
                        tickets.push(self.judge.ask(request));
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
            for ticket in tickets {
                let answer = self.judge.take(ticket);
                let judged = session::Input::Judged(&answer.request, &answer.proof);
                self.session.handle_input(self.now, Input::Of(ID, judged));
            }
        }
    }

    fn seat(&mut self, id: SessionId) {
        let seat = Seat {
            lane: LANE,
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

/// A channel of `channels_sv2` with the same job.
pub(crate) enum Rival {
    Extended(Box<ExtendedChannel>, SubmitSharesExtendedOwned),
    Standard(Box<StandardChannel>, SubmitSharesStandardOwned),
}

impl Rival {
    pub(crate) fn new(kind: Kind) -> Self {
        let work = work(1);
        let share = lab::share(0);
        match kind {
            Kind::Extended => {
                let channel = channel::of(&work, LANE, &EASY);
                Self::Extended(Box::new(channel), channel::submit(&work, &share))
            }
            Kind::Standard => Self::Standard(Box::new(standard(&work)), submit(&share)),
        }
    }

    pub(crate) fn shares(&mut self, shares: u32) {
        for _ in 0..shares {
            match self {
                Self::Extended(channel, share) => {
                    share.nonce += 1;
                    let judged = channel.validate_share(black_box(share.clone()));
                    assert!(black_box(judged).is_ok());
                }
                Self::Standard(channel, share) => {
                    share.nonce += 1;
                    let judged = channel.validate_share(black_box(share.clone()));
                    assert!(black_box(judged).is_ok());
                }
            }
        }
    }
}

fn standard(work: &Work) -> StandardChannel {
    let prefix = [&LANE.bytes(work.layout)[..], &[0; 4]].concat();
    let mut root = [[0; 32]];
    share::roots(work, &[(LANE, [0; 8])], &mut root);
    let mut channel = StandardChannel::new(
        1,
        "miner".into(),
        ExtranoncePrefix::from_wire(prefix).expect("it is short"),
        bitcoin::Target::from_le_bytes(EASY),
        1.0,
        None,
    )
    .expect("it is in order");
    let job = NewMiningJobOwned {
        channel_id: 1,
        job_id: 1,
        min_ntime: Sv2OptionOwned::new(None),
        version: work.version,
        merkle_root: root[0].into(),
    };
    channel.on_new_mining_job(job).expect("the job is in order");
    let activated = channel.on_set_new_prev_hash(SetNewPrevHashOwned {
        channel_id: 1,
        job_id: 1,
        prev_hash: work.prev_hash.into(),
        nbits: work.nbits,
        min_ntime: work.ntime,
    });
    activated.expect("the job is there");
    channel
}

fn submit(share: &Share) -> SubmitSharesStandardOwned {
    SubmitSharesStandardOwned {
        channel_id: 1,
        sequence_number: 0,
        job_id: 1,
        nonce: share.nonce,
        ntime: share.ntime,
        version: share.version,
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
        channels: 64,
        fast_lines: true,
        wall: WallAnchor {
            at: now,
            unix_s: 1_700_000_000,
        },
    }
}
