//! What is measured on: a usual work, shares of it, a miner's lines, and sessions that have logged in. Benchmarks use it too.
//!
//! Nothing is timed here. Invariant: at [`Difficulty::MIN`] practically every share (all but one in 65,536) is accepted,
//! and none is forwarded to a pool of difficulty 1.

use crate::machine::Machine;
use crate::proxy::lease::{Issue, LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId};
use crate::proxy::session::{Bucket, Config, Input, Output, Session, WallAnchor};
use crate::stratum::v1::down::notification;
use crate::work::{Difficulty, Lane, Layout, LinkId, Parts, Share, Target, Work, WorkId, vardiff};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of the one pool.
const LINK: LinkId = LinkId(0);
/// Above the gap that a session keeps between two notifies.
const STEP: Duration = Duration::from_secs(1);
const NTIME: u32 = 1_700_000_000;
const VERSION: u32 = 0x2000_0000;
/// Bits a miner may roll (BIP 320), and those that ours rolls.
const MASK: u32 = 0x1fff_e000;
const ROLLED: u32 = 0x0400_2000;
/// What a miner sends to log in.
pub const LOGIN: [&[u8]; 3] = [
    br#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#,
    br#"{"id":2,"method":"mining.subscribe","params":["bench/1"]}"#,
    br#"{"id":3,"method":"mining.authorize","params":["account.rig","x"]}"#,
];

/// A 300-byte coinbase and 12 branches; a previous block of its own. From a pool of this difficulty.
pub fn work(serial: u32, difficulty: Difficulty) -> Work {
    let mut prev_hash = [7; 32];
    prev_hash[..4].copy_from_slice(&serial.to_le_bytes());
    Work::new(Parts {
        id: WorkId(serial),
        link: LINK,
        generation: u64::from(serial),
        prev_hash,
        version: VERSION,
        version_mask: MASK,
        ntime: NTIME,
        pool_ntime: NTIME,
        coinbase_prefix: (0..110).collect(),
        coinbase_suffix: (0..182).collect(),
        branch: (0..12).map(|i| [i; 32]).collect(),
        pool_target: Target::from_difficulty(difficulty),
        pool_difficulty: difficulty,
        ..Parts::default()
    })
    .expect("this work is within limits")
}

/// The share that [`line()`] tells of; of the rolled bytes the layout has four.
pub fn share(nonce: u32) -> Share {
    Share {
        en2: (u64::from(nonce) << 32).to_be_bytes(),
        ntime: NTIME,
        nonce,
        version: VERSION | ROLLED,
    }
}

/// As common firmware writes it.
pub fn line(work: WorkId, nonce: u32) -> Vec<u8> {
    format!(
        r#"{{"id":{nonce},"method":"mining.submit","params":["account.rig","{work}","{nonce:08x}","{NTIME:08x}","{nonce:08x}","{ROLLED:08x}"]}}"#
    )
    .into_bytes()
}

/// Sessions on one link, logged in, and the works it gives them.
#[derive(Debug)]
pub struct Fleet {
    /// In the order of their lanes.
    pub sessions: Vec<Session>,
    /// Of the last work.
    pub now: Instant,
    works: u32,
}

impl Fleet {
    /// So many of this fixed difficulty; `fast_lines` as in their configuration.
    pub fn new(sessions: usize, fixed: Difficulty, fast_lines: bool) -> Self {
        let now = Instant::now();
        let config = Arc::new(config(now, fixed, fast_lines));
        let lane = |at: usize| u32::try_from(at).expect("fewer sessions than lanes");
        let mut fleet = Self {
            sessions: (0..sessions)
                .map(|at| logged_in(now, &config, lane(at)))
                .collect(),
            now,
            works: 0,
        };
        // The first work brings a difficulty to everyone.
        fleet.give();
        fleet
    }

    /// A clean work that nobody has seen, a second later, from a link of this difficulty.
    pub fn issue(&mut self, difficulty: Difficulty) -> Arc<Issue> {
        self.works += 1;
        self.now += STEP;
        let work = Arc::new(work(self.works, difficulty));
        Arc::new(Issue {
            v1_clean: notification::notify(&work, true),
            v1_keep: notification::notify(&work, false),
            own: None,
            work,
        })
    }

    /// Issues a work of difficulty 1 and gives it to everyone.
    pub fn give(&mut self) -> Arc<Work> {
        let issue = self.issue(Difficulty::ONE);
        self.fan_out(&issue);
        issue.work.clone()
    }

    /// Gives a work to everyone; how long that took. What they send is looked at afterwards.
    ///
    /// # Panics
    /// If not each sends one message that ends with the clean notify line.
    pub fn fan_out(&mut self, issue: &Arc<Issue>) -> Duration {
        let mut sent = Vec::with_capacity(self.sessions.len());
        let start = Instant::now();
        for session in &mut self.sessions {
            session.handle_input(self.now, Input::Issue(issue));
            while let Some(output) = session.poll_output() {
                if let Output::Send(bytes) = output {
                    sent.push(bytes);
                }
            }
        }
        let took = start.elapsed();
        assert_eq!(sent.len(), self.sessions.len(), "one send each");
        assert!(sent.iter().all(|bytes| bytes.ends_with(&issue.v1_clean)));
        took
    }

    /// The bound of that: the same bytes in as many vectors, kept as long.
    pub fn copy(&self, issue: &Issue) -> Duration {
        let mut sent = Vec::with_capacity(self.sessions.len());
        let start = Instant::now();
        for _ in &self.sessions {
            sent.push(black_box(&issue.v1_clean).to_vec());
        }
        let took = start.elapsed();
        black_box(sent);
        took
    }
}

/// Subscribed, seated, leased and authorized, through lines as a miner sends them.
fn logged_in(now: Instant, config: &Arc<Config>, lane: u32) -> Session {
    let id = SessionId(u64::from(lane));
    let mut session = Session::new(now, id, config.clone(), MASK);
    let lease = Lease {
        link: Some(LINK),
        version_mask: MASK,
    };
    let seat = Seat {
        lane: Lane(lane),
        layout: Layout::WIDE,
        width: 0,
        token: ResumeToken(u128::from(lane).to_le_bytes()),
        memory: LaneMemory::default(),
    };
    session.handle_input(now, Input::Line(LOGIN[0]));
    session.handle_input(now, Input::Line(LOGIN[1]));
    session.handle_input(now, Input::Seated(Box::new(seat), lease));
    session.handle_input(now, Input::Line(LOGIN[2]));
    while session.poll_output().is_some() {}
    session
}

/// One difficulty, and buckets that never empty.
fn config(now: Instant, fixed: Difficulty, fast_lines: bool) -> Config {
    let bucket = Bucket {
        per_second: 1e9,
        burst: 1e9,
    };
    Config {
        listener: ListenerId(0),
        vardiff: vardiff::Config {
            start: fixed,
            min: Difficulty::MIN,
            max: Difficulty::MAX,
            fixed: Some(fixed),
            shares_per_minute: 12.0,
            ceiling_per_minute: 60.0,
        },
        password: None,
        submits: bucket,
        others: bucket,
        version_mask: MASK,
        channels: 64,
        fast_lines,
        wall: WallAnchor {
            at: now,
            unix_s: u64::from(NTIME),
        },
    }
}
