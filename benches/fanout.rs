//! What one work costs to give to ten thousand miners: `Input::Issue` to every session machine and the drain of its
//! output, beside the bound "copy the notify line into a fresh vector as often".
//!
//! No sockets and no tasks: `load` has those. Figures are the least of many repetitions, taken in turns, and only ratios
//! of one run say something. The invariant: each session's bytes end with the clean notify line, asserted every time.
//!
//! Without `--bench` it runs small; `--instructions` counts those per session, against a limit
//! (`common/instructions.rs`).

use sluice::machine::Machine;
use sluice::proxy::lease::{Issue, LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId};
use sluice::proxy::session::{Bucket, Config, Input, Output, Session, WallAnchor};
use sluice::stratum::v1::down::notification;
use sluice::work::{Difficulty, Lane, Layout, LinkId, Parts, Target, Work, WorkId, vardiff};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[path = "common/instructions.rs"]
mod instructions;
use instructions::Way;

const LINK: LinkId = LinkId(0);
/// Above the gap that a session keeps between two notifies.
const STEP: Duration = Duration::from_secs(1);
/// Passes that callgrind sees, over [`COUNTED_SESSIONS`].
const COUNTED: usize = 10;
const COUNTED_SESSIONS: usize = 100;
const LOGIN: [&[u8]; 2] = [
    br#"{"id":1,"method":"mining.subscribe","params":["bench/1"]}"#,
    br#"{"id":2,"method":"mining.authorize","params":["account.rig","x"]}"#,
];

/// What callgrind counts, with the check that ends each pass.
const WAYS: [Way; 2] = [
    Way {
        name: "fan out a work",
        argument: "same",
        times: COUNTED,
        each: COUNTED_SESSIONS,
    },
    Way {
        name: "fan out a new difficulty",
        argument: "change",
        times: COUNTED,
        each: COUNTED_SESSIONS,
    },
];

fn main() -> ExitCode {
    if let Some(code) = instructions::asked(&WAYS, count) {
        return code;
    }
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let full = has("--bench") && !has("--smoke");
    report(if full { (10_000, 200) } else { (200, 3) });
    ExitCode::SUCCESS
}

fn report((sessions, repetitions): (usize, u32)) {
    let mut fleet = Fleet::new(sessions);
    let (mut bound, mut same, mut changed) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..repetitions {
        let issue = fleet.work(false);
        bound = bound.min(fleet.copy(&issue));
        same = same.min(fleet.issue(&issue));
        let issue = fleet.work(true);
        changed = changed.min(fleet.issue(&issue));
    }
    println!("{sessions} sessions, least of {repetitions}");
    let line = fleet.work(false).v1_clean.len();
    println!(
        "a notify line has {line} bytes; a session {} without its heap",
        size_of::<Session>()
    );
    for (name, ns) in [
        ("bound: copy the line", bound),
        ("issue", same),
        ("issue, new difficulty", changed),
    ] {
        println!(
            "{name:<22} {:8.1} ns/session {:8.3} ms for all  x bound {:.2}",
            ns / sessions as f64,
            ns / 1e6,
            ns / bound
        );
    }
}

/// Sessions on one link, logged in, and the works it gives them.
struct Fleet {
    sessions: Vec<Session>,
    now: Instant,
    works: u32,
    high: bool,
}

impl Fleet {
    fn new(sessions: usize) -> Self {
        let now = Instant::now();
        let config = Arc::new(config(now));
        let lane = |at: usize| u32::try_from(at).expect("fewer sessions than lanes");
        let mut fleet = Self {
            sessions: (0..sessions)
                .map(|at| logged_in(now, &config, lane(at)))
                .collect(),
            now,
            works: 0,
            high: false,
        };
        // The first work brings a difficulty to everyone.
        let first = fleet.work(false);
        fleet.issue(&first);
        fleet
    }

    /// A clean work that nobody has seen; `change` moves the link's difficulty, and with it everybody's.
    fn work(&mut self, change: bool) -> Arc<Issue> {
        self.works += 1;
        self.now += STEP;
        self.high ^= change;
        let work = Arc::new(work(self.works, if self.high { 64.0 } else { 32.0 }));
        Arc::new(Issue {
            v1_clean: notification::notify(&work, true),
            v1_keep: notification::notify(&work, false),
            work,
        })
    }

    /// Gives it to all; nanoseconds. What they send is looked at afterwards.
    fn issue(&mut self, issue: &Arc<Issue>) -> f64 {
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
        let took = start.elapsed().as_nanos() as f64;
        assert_eq!(sent.len(), self.sessions.len(), "one send each");
        assert!(sent.iter().all(|bytes| bytes.ends_with(&issue.v1_clean)));
        took
    }

    /// The bound: the same bytes in as many vectors, kept as long.
    fn copy(&self, issue: &Issue) -> f64 {
        let mut sent = Vec::with_capacity(self.sessions.len());
        let start = Instant::now();
        for _ in &self.sessions {
            sent.push(black_box(&issue.v1_clean).to_vec());
        }
        let took = start.elapsed().as_nanos() as f64;
        black_box(sent);
        took
    }
}

fn count(way: &str, passes: usize) -> bool {
    let mut fleet = Fleet::new(COUNTED_SESSIONS);
    // As many works are made whatever is counted, so that only issuing differs.
    for pass in 0..COUNTED {
        let issue = fleet.work(way == "change");
        if pass < passes {
            fleet.issue(&issue);
        }
    }
    true
}

/// Subscribed, seated, leased and authorized, through lines as a miner sends them.
fn logged_in(now: Instant, config: &Arc<Config>, lane: u32) -> Session {
    let id = SessionId(u64::from(lane));
    let mut session = Session::new(now, id, config.clone(), 0);
    let lease = Lease {
        link: Some(LINK),
        version_mask: 0,
    };
    session.handle_input(now, Input::Line(LOGIN[0]));
    let seat = Seat {
        lane: Lane(lane),
        layout: Layout::WIDE,
        token: ResumeToken(u128::from(lane).to_le_bytes()),
        memory: LaneMemory::default(),
    };
    session.handle_input(now, Input::Seated(Box::new(seat), lease));
    session.handle_input(now, Input::Line(LOGIN[1]));
    while session.poll_output().is_some() {}
    session
}

/// The difficulty is fixed, so that the link's is the only thing that moves it.
fn config(now: Instant) -> Config {
    let bucket = Bucket {
        per_second: 20.0,
        burst: 200.0,
    };
    let difficulty = |value| Difficulty::new(value).expect("a power of two within range");
    Config {
        listener: ListenerId(0),
        vardiff: vardiff::Config {
            start: difficulty(64.0),
            min: Difficulty::MIN,
            max: Difficulty::MAX,
            fixed: Some(difficulty(64.0)),
            shares_per_minute: 12.0,
            ceiling_per_minute: 60.0,
        },
        password: None,
        submits: bucket,
        others: bucket,
        version_mask: 0,
        fast_lines: true,
        wall: WallAnchor {
            at: now,
            unix_s: 1_700_000_000,
        },
    }
}

/// A 300-byte coinbase and 12 branches, clean.
fn work(serial: u32, difficulty: f64) -> Work {
    let difficulty = Difficulty::new(difficulty).expect("a power of two within range");
    let mut prev_hash = [7; 32];
    prev_hash[..4].copy_from_slice(&serial.to_le_bytes());
    Work::new(Parts {
        id: WorkId(serial),
        link: LINK,
        epoch: 0,
        pool_job: "1".into(),
        generation: u64::from(serial),
        prev_hash,
        version: 0x2000_0000,
        version_mask: 0,
        nbits: 0x1705_1234,
        ntime: 1_700_000_000,
        pool_ntime: 1_700_000_000,
        layout: Layout::WIDE,
        pad: 0,
        coinbase_prefix: (0..110).collect(),
        coinbase_suffix: (0..182).collect(),
        branch: (0..12).map(|i| [i; 32]).collect(),
        pool_target: Target::from_difficulty(difficulty),
        pool_difficulty: difficulty,
    })
    .expect("this work is within limits")
}
