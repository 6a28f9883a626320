//! `channels_sv2`, the Stratum V2 reference implementation, as the miner of a V2 session of ours: what we tell it, it can
//! follow, and what it thinks of a share, we think too.
//!
//! Not a wire. The invariant: it is given our own messages and nothing else that we know. Where we are stricter
//! (STRATUM.md) it is not asked: times beyond 7,000 s, version bits outside BIP 320, an extranonce of the wrong length
//! before anything else.

use proptest::prelude::*;
use sluice::machine::Machine;
use sluice::proxy::lease::{Issue, LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId};
use sluice::proxy::session::v2::{GROUP, Input, Output, Session};
use sluice::proxy::session::{self, Bucket, Config, WallAnchor};
use sluice::stratum::v2::frame::{Frame, Frames, HEADER, Header};
use sluice::stratum::v2::message::{
    FromPool, OpenExtendedMiningChannel, OpenStandardMiningChannel, SetupConnection,
    SubmitSharesExtended, SubmitSharesStandard, UpdateChannel,
};
use sluice::work::{Difficulty, Lane, Layout, LinkId, Parts, Target, Work, WorkId, share, vardiff};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

#[path = "oracle_sv2_channels/miner.rs"]
mod miner;

use miner::{Miner, Verdict};

const NTIME: u32 = 1_700_000_000;
const VERSION: u32 = 0x2000_0000;
const ROLLED: u32 = 0x1fff_e000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn both_sides_of_a_connection_agree_on_every_share(
        steps in prop::collection::vec(step(), 1..120),
        lane in any::<u32>(),
    ) {
        let mut world = World::new(lane);
        for step in steps {
            world.step(&step);
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Block,
    /// On the same block, so much later.
    Job(u32),
    /// The client wants a target of 2^-n.
    Harder(u8),
    Share(Found),
}

/// A share of the standard or the extended channel, with at most one thing wrong.
#[derive(Clone, Debug)]
struct Found {
    standard: bool,
    nonce: u32,
    extranonce: u8,
    version: u32,
    wrong: Wrong,
}

#[derive(Clone, Debug)]
enum Wrong {
    Nothing,
    /// A job before the newest.
    Job(usize),
    Unknown,
    /// Seconds from the time of its job.
    Time(i64),
    Version(u32),
    Size(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Block),
        2 => (0..50u32).prop_map(Step::Job),
        1 => (24..32u8).prop_map(Step::Harder),
        16 => found().prop_map(Step::Share),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    let wrong = prop_oneof![
        8 => Just(Wrong::Nothing),
        3 => (0..5usize).prop_map(Wrong::Job),
        1 => Just(Wrong::Unknown),
        2 => prop::sample::select(&[-1, 1, 6_900, 7_001, 7_200, 7_201]).prop_map(Wrong::Time),
        2 => prop::sample::select(&[1, 0x8000_0000, 0x20, 0x1000]).prop_map(Wrong::Version),
        1 => prop::sample::select(&[0, 3, 5, 32]).prop_map(Wrong::Size),
    ];
    let version = prop::sample::select(&[0, 0, 0x2000, ROLLED]);
    // Few nonces, so that some come twice.
    let parts = (any::<bool>(), 0..12u32, 0..2u8, version, wrong);
    parts.prop_map(|(standard, nonce, extranonce, version, wrong)| Found {
        standard,
        nonce,
        extranonce,
        version,
        wrong,
    })
}

struct World {
    now: Instant,
    session: Session,
    miner: Miner,
    lane: u32,
    works: u32,
    generation: u64,
    ntime: u32,
    sequence: u32,
    jobs: Vec<(u32, u32)>,
}

impl World {
    fn new(lane: u32) -> Self {
        let now = Instant::now();
        let ids = Arc::new(AtomicU64::new(2));
        let session = Session::new(now, SessionId(1), ids, Arc::new(config(now)), ROLLED);
        let mut world = Self {
            now,
            session,
            miner: Miner::default(),
            lane,
            works: 0,
            generation: 0,
            ntime: NTIME,
            sequence: 0,
            jobs: Vec::new(),
        };
        world.says(|out| setup().write(out));
        world.says(|out| standard().write(out));
        world.says(|out| extended().write(out));
        world.step(&Step::Block);
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Block => {
                self.generation += 1;
                self.ntime += 600;
                self.work();
            }
            Step::Job(later) => {
                self.ntime += later;
                self.work();
            }
            Step::Harder(bits) => {
                let difficulty =
                    Difficulty::new(f64::powi(2.0, -i32::from(*bits))).expect("in range");
                for channel_id in [self.miner.standard_id(), self.miner.extended_id()] {
                    self.says(|out| {
                        UpdateChannel {
                            channel_id,
                            nominal_hash_rate: 0.0,
                            maximum_target: Target::from_difficulty(difficulty).to_le_bytes(),
                        }
                        .write(out);
                    });
                }
            }
            Step::Share(found) => self.share(found),
        }
    }

    fn work(&mut self) {
        self.now += Duration::from_millis(250);
        self.works += 1;
        let work = Work::new(Parts {
            id: WorkId(self.works),
            generation: self.generation,
            prev_hash: [self.generation as u8; 32],
            version: VERSION,
            version_mask: ROLLED,
            ntime: self.ntime,
            pool_ntime: self.ntime,
            coinbase_prefix: coinbase_head().into(),
            coinbase_suffix: coinbase_tail().into(),
            branch: vec![[3; 32]; 3].into(),
            pool_target: Target::from_difficulty(Difficulty::MAX),
            pool_difficulty: Difficulty::MAX,
            ..Parts::default()
        });
        let issue = Arc::new(Issue {
            v1_clean: Box::default(),
            v1_keep: Box::default(),
            own: None,
            work: Arc::new(work.expect("within limits")),
        });
        self.jobs.push((self.works, self.ntime));
        self.input(Input::Issue(&issue));
        assert_eq!(
            self.miner.jobs_told(),
            2 * self.works,
            "each job reaches both"
        );
    }

    fn share(&mut self, found: &Found) {
        let (newest, ntime) = *self.jobs.last().expect("there is one");
        let (mut job_id, mut ntime) = (newest, ntime);
        let mut version = VERSION ^ found.version;
        let mut extranonce = vec![found.extranonce; 4];
        match found.wrong {
            Wrong::Nothing => {}
            Wrong::Job(back) => {
                let index = self.jobs.len().saturating_sub(1 + back);
                (job_id, ntime) = self.jobs[index];
            }
            Wrong::Unknown => job_id = newest + 1,
            Wrong::Time(seconds) => ntime = (i64::from(ntime) + seconds) as u32,
            Wrong::Version(bits) => version ^= bits,
            Wrong::Size(size) => extranonce.resize(size, 0),
        }
        self.sequence += 1;
        let extended = SubmitSharesExtended {
            channel_id: self.miner.extended_id(),
            sequence_number: self.sequence,
            job_id,
            nonce: found.nonce,
            ntime,
            version,
            extranonce: &extranonce,
            tlv: b"",
        };
        let standard = SubmitSharesStandard {
            channel_id: self.miner.standard_id(),
            sequence_number: self.sequence,
            job_id,
            nonce: found.nonce,
            ntime,
            version,
        };
        if found.standard {
            self.says(|out| standard.write(out));
        } else {
            self.says(|out| extended.write(out));
        }
        let ours = self.miner.told(self.sequence);
        let theirs = match found.wrong {
            Wrong::Time(7_001..=7_200) => Verdict::Invalid,
            Wrong::Version(0x20 | 0x1000) => Verdict::Version,
            Wrong::Size(_) if !found.standard => Verdict::Size,
            _ if found.standard => self.miner.validate_standard(&standard),
            _ => self.miner.validate_extended(&extended),
        };
        // Of the block before the last it knows nothing any more; refused is refused.
        let theirs = match theirs {
            Verdict::UnknownJob if job_id <= newest => Verdict::Stale,
            theirs => theirs,
        };
        assert_eq!(ours, theirs, "{found:?}");
    }

    fn says(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        let (mut frames, mut chunk) = (Frames::new(self.session.max_payload()), &bytes[..]);
        while let Some(frame) = frames.next(&mut chunk) {
            self.input(Input::Frame(frame.expect("short")));
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.session.handle_input(self.now, input);
        while let Some(output) = self.session.poll_output() {
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send(bytes) => self.read(&bytes),
            Output::Of(id, session::Output::Attach(_)) => {
                self.lane = self.lane.wrapping_add(1);
                let seat = Seat {
                    lane: Lane(self.lane),
                    layout: Layout::WIDE,
                    width: 0,
                    token: ResumeToken([0; 16]),
                    memory: LaneMemory::default(),
                };
                let lease = Lease {
                    link: Some(LinkId(0)),
                    version_mask: ROLLED,
                };
                self.answer(Input::Of(id, session::Input::Seated(Box::new(seat), lease)));
            }
            Output::Of(id, session::Output::Judge(request)) => {
                let proof = share::prove(&request.work, request.lane, &request.share);
                self.answer(Input::Of(id, session::Input::Judged(&request, &proof)));
            }
            Output::Root(id, work, lane) => {
                let mut roots = [[0; 32]];
                share::roots(&work, &[(lane, [0; 8])], &mut roots);
                self.answer(Input::Root(id, &work, roots[0]));
            }
            Output::Of(..) => {}
            output => panic!("{output:?}"),
        }
    }

    fn answer(&mut self, input: Input<'_>) {
        self.session.handle_input(self.now, input);
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
            let header = Header::parse(header);
            let (payload, rest) = rest.split_at(header.length as usize);
            let message = FromPool::parse(&Frame { header, payload }).expect("well formed");
            self.miner.hears(&message.expect("known"), GROUP);
            bytes = rest;
        }
    }
}

fn config(now: Instant) -> Config {
    let bucket = Bucket {
        per_second: 1e6,
        burst: 1e6,
    };
    Config {
        listener: ListenerId(0),
        vardiff: vardiff::Config {
            start: Difficulty::MIN,
            min: Difficulty::MIN,
            max: Difficulty::MAX,
            // Half of all hashes.
            fixed: Difficulty::new(f64::powi(2.0, -31)),
            shares_per_minute: 12.0,
            ceiling_per_minute: 1e30,
        },
        password: None,
        submits: bucket,
        others: bucket,
        version_mask: ROLLED,
        channels: 2,
        fast_lines: true,
        wall: WallAnchor {
            at: now,
            unix_s: u64::from(NTIME) + 1_000_000,
        },
    }
}

/// A transaction, as the reference parses it, cut at the extranonce.
fn coinbase_head() -> Vec<u8> {
    let script = [7; 12];
    let length = [script.len() as u8 + Layout::WIDE.total()];
    [&[2, 0, 0, 0, 1][..], &[0; 32], &[0xff; 4], &length, &script].concat()
}

fn coinbase_tail() -> Vec<u8> {
    [&[0xff; 4][..], &[1], &[7; 8], &[22], &[9; 22], &[0; 4]].concat()
}

fn setup() -> SetupConnection<'static> {
    SetupConnection {
        protocol: 0,
        min_version: 2,
        max_version: 2,
        flags: 0,
        endpoint_host: b"h",
        endpoint_port: 1,
        vendor: b"v",
        hardware_version: b"",
        firmware: b"",
        device_id: b"",
    }
}

fn standard() -> OpenStandardMiningChannel<'static> {
    OpenStandardMiningChannel {
        request_id: 1,
        user_identity: b"u",
        nominal_hash_rate: 0.0,
        max_target: [0xff; 32],
    }
}

fn extended() -> OpenExtendedMiningChannel<'static> {
    OpenExtendedMiningChannel {
        request_id: 2,
        user_identity: b"u",
        nominal_hash_rate: 0.0,
        max_target: [0xff; 32],
        min_extranonce_size: 4,
    }
}
