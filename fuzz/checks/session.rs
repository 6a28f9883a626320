//! What must hold for any life of a session: the machine under a program of steps, with the reference in `miner`.
//!
//! Not a driver of sockets and not a test of meaning. The program plays router, links, judge, clock and miner; after
//! every step the machine is drained and what came out is checked. One program lives through many connections.

use crate::miner::{Awaited, Miner};
use crate::program::{Program, Turn, pass_time};
use sluice::machine::Machine;
use sluice::proxy::lease::{
    Issue, LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId, Submission,
};
use sluice::proxy::session::{
    Bucket, Close, Config, Event, Input, JudgeRequest, NoSeat, Output, Session, WallAnchor,
};
use sluice::proxy::tally::{Drop as Dropped, Judged};
use sluice::stratum::v1::down::{self, notification};
use sluice::work::{
    Difficulty, Lane, Layout, LinkId, Parts, Proof, Target, Work, WorkId, share, vardiff,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

const UNIX_S: u64 = 1_750_000_000;
/// More than one input can honestly cause: a full ring of answers, each with its submission, event and observation.
const MOST_OUTPUTS: usize = 256;

/// Runs a program.
pub(crate) fn session(data: &[u8]) {
    let mut world = World::new(Program::new(data));
    while !world.program.is_empty() {
        world.step();
    }
    world.end();
}

struct World<'a> {
    program: Program<'a>,
    now: Instant,
    born: Instant,
    config: Arc<Config>,
    machine: Session,
    miner: Miner,
    layout: Layout,
    works: Vec<Arc<Issue>>,
    next_id: u32,
    generations: [u64; 3],
    /// Answers of the judge come at once, as in our driver.
    prompt: bool,
    forged: Option<u8>,
    awaited: VecDeque<Awaited>,
    to_judge: VecDeque<JudgeRequest>,
    to_submit: VecDeque<Box<Submission>>,
    attaching: bool,
    closed: bool,
    lane: u32,
    judged: Judged,
    submissions: u64,
    answered: u64,
    memory: LaneMemory,
}

impl<'a> World<'a> {
    fn new(mut program: Program<'a>) -> Self {
        let now = Instant::now();
        let config = Arc::new(config(&mut program, now));
        let prompt = !program.flag();
        let layout = program.pick(&[Layout::WIDE, Layout { lane: 2, rolled: 2 }]);
        Self {
            machine: Session::new(now, SessionId(1), config.clone(), config.version_mask),
            program,
            now,
            born: now,
            config,
            miner: Miner::new(prompt),
            layout,
            works: Vec::new(),
            next_id: 1,
            generations: [1; 3],
            prompt,
            forged: None,
            awaited: VecDeque::new(),
            to_judge: VecDeque::new(),
            to_submit: VecDeque::new(),
            attaching: false,
            closed: false,
            lane: 1,
            judged: Judged::default(),
            submissions: 0,
            answered: 0,
            memory: LaneMemory::default(),
        }
    }

    fn step(&mut self) {
        match self.program.byte() % 20 {
            0 | 1 => self.wait(),
            2 | 3 => self.template(),
            4 => {
                let line = self.program.line();
                self.line(line);
            }
            5 => self.greet(),
            6 if self.attaching => self.seat(),
            7 if self.miner.layout.is_some() => {
                let lease = self.lease();
                self.miner.leased = lease.link;
                self.input(Input::Lease(lease));
            }
            8 | 9 => self.make_work(),
            10 => self.old_work(),
            11..=13 => self.share(),
            14 => self.judge_one(),
            15 => self.submitted_one(),
            16 => self.forged = Some(self.program.byte()).filter(|hash| *hash < 0xe0),
            17 => {
                self.machine.handle_timeout(self.now);
                self.drain();
            }
            18 if self.program.byte() < 8 => self.ending(),
            _ => {}
        }
        if self.closed {
            self.again();
        }
    }

    fn wait(&mut self) {
        let target = self.now + self.program.pause();
        let from = self.now;
        pass_time(from, target, |now, turn| {
            self.now = now;
            if turn == Turn::Fire {
                self.machine.handle_timeout(now);
                self.drain();
            }
            self.machine.poll_timeout()
        });
        self.now = target;
    }

    /// The usual opening, so that little input gets far.
    fn greet(&mut self) {
        let configure = br#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]}"#;
        self.line(configure);
        self.line(br#"{"id":2,"method":"mining.subscribe","params":["cgminer/4"]}"#);
        if self.attaching && !self.closed {
            self.seat();
        }
        self.line(br#"{"id":3,"method":"mining.authorize","params":["farm.one","x"]}"#);
        if !self.closed {
            self.make_work();
        }
    }

    fn template(&mut self) {
        const LINES: &[&str] = &[
            r#"{"id":%,"method":"mining.configure","params":[["version-rolling","minimum-difficulty","%"],{"version-rolling.mask":"%","version-rolling.min-bit-count":%,"minimum-difficulty.value":%}]}"#,
            r#"{"id":%,"method":"mining.subscribe","params":["%","%"]}"#,
            r#"{"method":"mining.subscribe","params":[]}"#,
            r#"{"id":%,"method":"mining.authorize","params":["%","%"]}"#,
            r#"{"id":%,"method":"mining.suggest_difficulty","params":[%]}"#,
            r#"{"id":%,"method":"mining.suggest_target","params":["%"]}"#,
            r#"{"id":%,"method":"mining.extranonce.subscribe","params":[]}"#,
            r#"{"id":%,"method":"mining.ping"}"#,
            r#"{"id":%,"method":"mining.submit","params":["%","%","%","%","%"]}"#,
            r#"{"id":%,"method":"%","params":[%]}"#,
            r#"{"id":%,"result":%,"error":null}"#,
            r#"{"method":"mining.authorize","params":["%"]}"#,
        ];
        const WORDS: &[&str] = &[
            "1",
            "0",
            "null",
            "true",
            "\"a\"",
            "-1",
            "1e999",
            "0.001",
            "65536",
            "1e18",
            "farm.one",
            "two",
            "x",
            "d=1024",
            "fd=0.5",
            "1fffe000",
            "ffffffff",
            "0000000a",
            "[1]",
            "[[[[[[[[[1]]]]]]]]]",
            "pong",
            "mining.get_transactions",
            "NiceHash/1.0",
            "11111111111111111111111111111111",
            "00000000",
            "00000000ffff0000000000000000000000000000000000000000000000000000",
            "12345678901234567890123456789012345678901234567890123456789012345678",
        ];
        let template = self.program.pick(LINES);
        let line = self.program.filled(template, WORDS);
        self.line(&line);
    }

    /// A share on a job the miner was told, near every limit.
    fn share(&mut self) {
        let index = self.program.byte();
        let (id, first) = self.miner.job(index).unwrap_or((0, UNIX_S as u32));
        let roll = self
            .program
            .pick(&[0u32, 1, 6999, 7000, 7001, u32::MAX, 7200, 600]);
        let ntime = first.wrapping_add(roll);
        let nonce = self.program.word();
        let en2 = match self.program.byte() {
            255 => "00".to_owned(),
            254 => "000000000000000000".to_owned(),
            byte => format!(
                "{byte:0width$x}",
                width = 2 * usize::from(self.layout.rolled)
            ),
        };
        let worker = self
            .program
            .pick(&["farm.one", "farm.one", "two", "nobody"]);
        let bits = self.program.pick(&[
            "",
            ",\"00002000\"",
            ",\"1fffe000\"",
            ",\"20000000\"",
            ",\"0\"",
        ]);
        let number = self
            .program
            .pick(&["\"id\":7,", "\"id\":8,", "", "\"id\":\"s\","]);
        let line = format!(
            r#"{{{number}"method":"mining.submit","params":["{worker}","{id:x}","{en2}","{ntime:08x}","{nonce:08x}"{bits}]}}"#
        );
        self.line(line.as_bytes());
    }

    fn line(&mut self, line: &[u8]) {
        if self.closed || self.machine.paused_until(self.now).is_some() || line.len() > 4096 {
            return;
        }
        if let Ok(message) = down::parse(line) {
            let unix_s = self.config.wall.unix_at(self.now);
            let awaited = self.miner.says(&message, unix_s);
            self.awaited.extend(awaited);
        } else {
            self.miner.closes = true;
        }
        self.input(Input::Line(line));
        if self.prompt {
            assert!(!self.miner.closes || self.closed, "this had to close");
            assert!(self.awaited.is_empty(), "a share that is not judged");
        }
    }

    fn seat(&mut self) {
        self.attaching = false;
        let kind = self.program.byte();
        if kind > 250 {
            return self.input(Input::NoSeat(NoSeat::Full));
        }
        let lease = self.lease();
        self.lane = (self.lane + 1) % 60_000;
        // A resume brings back what the lane remembers; the reference forgets with the connection, so not the window.
        let memory = if kind % 2 == 1 {
            LaneMemory {
                sent: std::mem::take(&mut self.memory.sent),
                ..LaneMemory::default()
            }
        } else {
            LaneMemory::default()
        };
        let seat = Seat {
            lane: Lane(self.lane),
            layout: self.layout,
            width: 0,
            token: ResumeToken([kind; 16]),
            memory,
        };
        self.miner.leased = lease.link;
        self.miner.layout = Some(self.layout);
        self.input(Input::Seated(Box::new(seat), lease));
    }

    fn lease(&mut self) -> Lease {
        Lease {
            link: self.program.pick(&[
                Some(LinkId(0)),
                Some(LinkId(0)),
                Some(LinkId(1)),
                Some(LinkId(2)),
                None,
            ]),
            version_mask: self
                .program
                .pick(&[0x1fff_e000, 0x1fff_e000, 0, 0x00ff_e000, u32::MAX]),
        }
    }

    fn make_work(&mut self) {
        let link = self.program.byte() % 3;
        let kind = self.program.byte();
        self.generations[usize::from(link)] += u64::from(kind & 3 == 0);
        let ntime = UNIX_S as u32 + u32::from(kind);
        let difficulty =
            self.program
                .pick(&[1.0, 1.0 / 4_294_967_296.0, 0.3, 1024.0, 1e6, 1.5, 9.2e18]);
        let difficulty = Difficulty::new(difficulty).expect("within range");
        let work = Work::new(Parts {
            id: WorkId(self.next_id),
            link: LinkId(u16::from(link)),
            epoch: 1,
            generation: self.generations[usize::from(link)],
            prev_hash: [kind & 3; 32],
            version_mask: self.program.pick(&[0x1fff_e000, 0, 0x0000_6000, u32::MAX]),
            nbits: self.program.pick(&[0x1703_4219, 0x1703_4219, 0x207f_ffff]),
            ntime,
            pool_ntime: ntime,
            layout: if kind == 255 {
                Layout { lane: 3, rolled: 2 }
            } else {
                self.layout
            },
            coinbase_prefix: vec![1; 50].into(),
            coinbase_suffix: vec![2; 40].into(),
            branch: vec![[3; 32]; usize::from(kind % 3)].into(),
            pool_target: Target::from_difficulty(difficulty),
            pool_difficulty: difficulty,
            ..Parts::default()
        })
        .expect("a work within limits");
        self.next_id += 1;
        let work = Arc::new(work);
        let issue = Arc::new(Issue {
            v1_clean: notification::notify(&work, true),
            v1_keep: notification::notify(&work, false),
            own: None,
            work,
        });
        self.works.push(issue.clone());
        self.input(Input::Issue(&issue));
    }

    fn old_work(&mut self) {
        let index = usize::from(self.program.byte());
        // Latest wins: only the newest of a link is ever published again.
        let link = LinkId((index % 3) as u16);
        let newest = self
            .works
            .iter()
            .rev()
            .find(|issue| issue.work.link == link);
        if let Some(issue) = newest.cloned() {
            self.input(Input::Issue(&issue));
        }
    }

    fn ending(&mut self) {
        match self.program.byte() % 5 {
            0 => self.input(Input::Drain),
            1 => self.input(Input::Close(Close::Resumed)),
            2 => self.input(Input::SlowReader),
            3 => self.input(Input::Overlong),
            _ => self.input(Input::Close(Close::Peer)),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.machine.poll_output() {
            outputs += 1;
            assert!(outputs <= MOST_OUTPUTS, "an input with too many outputs");
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        assert!(
            !self.closed || matches!(output, Output::Observe(_)),
            "after the end: {output:?}"
        );
        match output {
            Output::Send(bytes) => self.miner.reads(self.now, &bytes, &self.works),
            Output::Judge(request) => {
                self.to_judge.push_back(request);
                if self.prompt {
                    self.judge();
                }
            }
            Output::Submit(share) => {
                self.submissions += 1;
                assert!(share.block || share.work.pool_target.is_met_by(&share.proof.hash));
                self.to_submit.push_back(share);
            }
            Output::Attach(_) => self.attaching = true,
            Output::Observe(observation) => {
                assert!(observation.judged.conserves(), "the counts do not add up");
                self.judged.merge(&observation.judged);
            }
            Output::Event(Event::Authorized(worker)) => self.miner.workers.push(worker),
            Output::Event(_) => {}
            Output::Refresh(link) => assert!(link.0 < 3),
            Output::Close(_) => {
                self.closed = true;
                self.miner.closed();
            }
        }
    }

    /// Gives the oldest share its proof, a real or a forged one; drained by whoever drains.
    fn judge(&mut self) {
        let Some(request) = self.to_judge.pop_front() else {
            return;
        };
        let proof = match self.forged {
            Some(byte) => Proof {
                // Its key is the first byte, its size the last: from a block to nothing worth.
                hash: std::array::from_fn(|place| if place == 0 { byte % 7 } else { byte & 0xf8 }),
                header: [0; 80],
            },
            None => share::prove(&request.work, request.lane, &request.share),
        };
        if let Some(awaited) = self.awaited.pop_front().filter(|_| self.prompt) {
            self.miner.judged(&awaited, &proof);
        }
        self.machine
            .handle_input(self.now, Input::Judged(&request, &proof));
    }

    fn judge_one(&mut self) {
        self.judge();
        self.drain();
    }

    fn submitted_one(&mut self) {
        if let Some(share) = self.to_submit.pop_front() {
            self.answered += 1;
            let result =
                self.program
                    .pick(&[Ok(()), Err(Dropped::LinkFull), Err(Dropped::LinkLost)]);
            let hashes = share.work.pool_difficulty.hashes();
            self.input(Input::Submitted(&share.worker, result, hashes));
        }
    }

    /// Ends the connection and sees that the books are whole (I4, I6).
    fn end(&mut self) {
        self.input(Input::Close(Close::Peer));
        while !self.to_judge.is_empty() {
            self.judge_one();
        }
        assert!(self.closed, "asked to close, answered everything, and open");
        while !self.to_submit.is_empty() {
            self.submitted_one();
        }
        self.drain();
        assert!(
            self.machine.last_observation().is_none(),
            "counts are left behind"
        );
        let judged = std::mem::take(&mut self.judged);
        assert!(judged.conserves());
        assert_eq!(judged.received.shares, self.miner.submits);
        let dropped: u64 = judged.dropped.iter().map(|sum| sum.shares).sum();
        assert_eq!(judged.forwarded.shares + dropped, self.submissions);
        assert_eq!(self.submissions, self.answered);
        assert!(judged.accepted.shares >= self.submissions);
        assert_eq!(self.machine.poll_timeout(), None, "a timer after the end");
    }

    /// The next connection in the same world.
    fn again(&mut self) {
        self.end();
        let config = self.config.clone();
        let fresh = Session::new(self.now, SessionId(1), config, self.config.version_mask);
        let mut old = std::mem::replace(&mut self.machine, fresh);
        if let Some((_, memory, _)) = old.take_memory() {
            self.memory = memory;
        }
        self.miner = Miner::new(self.prompt);
        (self.closed, self.attaching) = (false, false);
        self.awaited.clear();
        (self.submissions, self.answered) = (0, 0);
        debug_assert!(self.now >= self.born);
    }
}

fn config(program: &mut Program<'_>, now: Instant) -> Config {
    let difficulty = |value: f64| Difficulty::new(value).expect("within range");
    let start = difficulty(program.pick(&[1.0 / 4_294_967_296.0, 1.0, 0.1, 4096.0]));
    let fixed = program.pick(&[None, None, None, Some(Difficulty::ONE)]);
    let brisk = Bucket {
        per_second: 1000.0,
        burst: 1000.0,
    };
    let slow = Bucket {
        per_second: 5.0,
        burst: 20.0,
    };
    Config {
        listener: ListenerId(0),
        vardiff: vardiff::Config {
            start,
            min: Difficulty::MIN,
            max: Difficulty::MAX,
            fixed,
            shares_per_minute: 12.0,
            // Out of reach, so that nothing may ever be above the link.
            ceiling_per_minute: 1e30,
        },
        password: program.pick(&[None, None, None, Some("x".to_owned())]),
        submits: program.pick(&[brisk, slow]),
        others: program.pick(&[brisk, slow]),
        version_mask: program.pick(&[0x1fff_e000, 0x1fff_e000, 0, u32::MAX]),
        channels: 64,
        fast_lines: true,
        wall: WallAnchor {
            at: now,
            unix_s: UNIX_S,
        },
    }
}
