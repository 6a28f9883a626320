//! What must hold for any life of a link: the machine under a program of steps, with the reference in `pool`.
//!
//! Not a driver of sockets and not a test of meaning. The program plays pool, sessions, router and clock; after every
//! step the machine is drained and what came out is checked.

use crate::pool::{Asked, Given, Pool};
use crate::program::{Program, Turn, pass_time};
use sluice::machine::Machine;
use sluice::proxy::lease::{Issue, SessionId, Submission};
use sluice::proxy::link::{
    Config, Identity, Input, Link, Output, Protocol, SettleResult, Settlement,
};
use sluice::proxy::tally::Weighted;
use sluice::work::{Lane, Layout, LinkId, Proof, Share};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// More than one input can honestly cause beside the ends of shares, of which a lost connection has thousands.
const MOST_OUTPUTS: usize = 64;
/// Works kept to submit for; the oldest are long stale.
const WORKS: usize = 8;
/// Shares of one program: enough for the ledger's limit and beyond.
const MOST_SHARES: u32 = 6000;

/// Runs a program.
pub(crate) fn link(data: &[u8]) {
    let mut world = World::new(Program::new(data));
    world.drain();
    while !world.program.is_empty() {
        world.step();
        world.books();
    }
    world.end();
}

/// What the link has of a socket.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Socket {
    None,
    Connecting,
    Open,
}

struct World<'a> {
    program: Program<'a>,
    now: Instant,
    machine: Link,
    pool: Pool,
    socket: Socket,
    works: Vec<Arc<Issue>>,
    shares: u32,
    layout: Option<Layout>,
    /// Ends per worker, against shares given per worker.
    given: HashMap<Arc<str>, i64>,
    settled: u64,
    dropped: u64,
    unsettled: i64,
    last: Vec<Settlement>,
    drained: bool,
    job: u16,
}

impl<'a> World<'a> {
    fn new(mut program: Program<'a>) -> Self {
        let now = Instant::now();
        let config = config(&mut program);
        Self {
            machine: Link::new(now, config, Arc::new(AtomicU32::new(1))),
            program,
            now,
            pool: Pool::default(),
            socket: Socket::None,
            works: Vec::new(),
            shares: 0,
            layout: None,
            given: HashMap::new(),
            settled: 0,
            dropped: 0,
            unsettled: 0,
            last: Vec::new(),
            drained: false,
            job: 0,
        }
    }

    fn step(&mut self) {
        match self.program.byte() % 24 {
            0 | 1 => self.wait(),
            2 => self.welcome(),
            3 if self.socket == Socket::Connecting => self.connect(),
            4 if self.socket == Socket::Connecting => {
                self.socket = Socket::None;
                self.input(Input::ConnectFailed("refused"));
            }
            5 if self.program.byte() < 64 => self.lose(),
            6 | 7 => self.answer_one(),
            8 => self.answer_all(),
            9 | 10 => self.notify(),
            11 | 12 => self.template(),
            13 => {
                let line = self.program.line();
                self.line(line);
            }
            14 | 15 => self.submit(),
            16 => {
                // A storm now and then; each costs as much as the rest of a program.
                let shares = match self.program.byte() {
                    storm @ 250.. => storm,
                    few => few / 16,
                };
                let worker = self.program.byte() % 8;
                (0..shares).for_each(|_| self.submit_of(worker, false, 0));
            }
            17 => self.lay_out(),
            18 => self.input(Input::Refresh),
            19 => {
                let fleet = self.program.pick(&[
                    0.0,
                    1e12,
                    1e15,
                    1e18,
                    f64::NAN,
                    f64::INFINITY,
                    -1.0,
                    1e-300,
                ]);
                self.input(Input::Fleet(fleet));
            }
            20 => {
                self.machine.handle_timeout(self.now);
                self.drain();
            }
            21 if self.program.byte() < 8 && !self.drained => {
                self.drained = true;
                // As our driver does: a socket that is being opened is given up.
                if self.socket == Socket::Connecting {
                    self.socket = Socket::None;
                }
                self.input(Input::Drain);
            }
            22 if self.socket == Socket::Open && self.program.byte() < 16 => {
                self.input(Input::Overlong);
            }
            _ => {}
        }
    }

    fn wait(&mut self) {
        let target = self.now + self.program.pause();
        self.until(target);
    }

    fn until(&mut self, target: Instant) {
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
    fn welcome(&mut self) {
        if self.layout.is_none() {
            self.lay_out();
        }
        if self.socket == Socket::Connecting {
            self.connect();
        }
        self.answer_all();
        self.answer_all();
        self.notify();
    }

    fn connect(&mut self) {
        self.socket = Socket::Open;
        self.pool.connected();
        self.input(Input::Connected);
    }

    fn lose(&mut self) {
        if self.socket == Socket::Open {
            self.socket = Socket::None;
            // What is still owed is settled by the link; the pool's view ends here.
            self.input(Input::Disconnected("reset"));
            self.pool.gone();
        }
    }

    fn lay_out(&mut self) {
        let layouts = [
            Layout::WIDE,
            Layout::WIDE,
            Layout { lane: 2, rolled: 2 },
            Layout { lane: 2, rolled: 4 },
        ];
        let layout = self.program.pick(&layouts);
        self.layout = Some(layout);
        self.input(Input::Layout(layout));
    }

    fn answer_one(&mut self) {
        let place = usize::from(self.program.byte());
        let count = self.pool.asked.len().max(1);
        let Some((id, asked)) = self.pool.asked.iter().nth(place % count) else {
            return;
        };
        let (id, asked) = (*id, asked.clone());
        const RESULTS: &[&str] = &[
            "\"result\":true,\"error\":null",
            "\"result\":false,\"error\":null",
            "\"result\":null,\"error\":[21,\"stale\",null]",
            "\"result\":true",
            "\"error\":{\"code\":23,\"message\":\"low\"}",
            "\"result\":[[[\"mining.notify\",\"1\"]],\"%\",%],\"error\":null",
            "\"result\":{\"version-rolling\":true,\"version-rolling.mask\":\"%\"}",
            "\"result\":%,\"error\":%",
        ];
        let kind = self.program.byte();
        let line = if kind < 128 {
            self.good(id, &asked)
        } else {
            let template = RESULTS[usize::from(kind) % RESULTS.len()];
            self.program
                .filled(&format!("{{\"id\":{id},{template}}}"), WORDS)
        };
        self.line(&line);
        if kind & 15 == 0 {
            // A second answer changes nothing.
            let before = self.settled;
            self.line(&line);
            assert!(self.settled == before || self.socket == Socket::None);
        }
    }

    fn good(&mut self, id: u64, asked: &Asked) -> Vec<u8> {
        let result = match asked {
            Asked::Configure => r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#,
            Asked::Subscribe => self.program.pick(&[
                r#"[[["mining.notify","1"]],"aabbccdd",8]"#,
                r#"[[["mining.notify","1"]],"aabbccdd",8]"#,
                r#"[[],"00",4]"#,
                r#"[[],"0102030405060708",254]"#,
                r#"[[],"",9]"#,
            ]),
            _ => "true",
        };
        format!("{{\"id\":{id},\"result\":{result},\"error\":null}}").into_bytes()
    }

    fn answer_all(&mut self) {
        let asked: Vec<_> = self.pool.asked.clone().into_iter().collect();
        for (id, asked) in asked {
            let line = self.good(id, &asked);
            self.line(&line);
        }
    }

    fn notify(&mut self) {
        let kind = self.program.byte();
        self.job = if kind & 1 == 0 {
            self.job.wrapping_add(1)
        } else {
            self.job
        };
        let prev = if kind & 2 == 0 { "00" } else { "11" }.repeat(32);
        let ntime = self.program.pick(&[
            "684ee180", "684ee180", "684ee1ff", "ffffffff", "fffffffe", "00000000",
        ]);
        let nbits = self
            .program
            .pick(&["17034219", "17034219", "207fffff", "00000000", "ff123456"]);
        let clean = kind & 12 == 0;
        let suffix = self.program.pick(&["00", "ab", ""]);
        let branch = [
            "",
            "\"2222222222222222222222222222222222222222222222222222222222222222\"",
        ];
        let branch = branch[usize::from(kind >> 7)];
        let line = format!(
            r#"{{"id":null,"method":"mining.notify","params":["{:x}","{prev}","0100000001","{suffix}",[{branch}],"20000000","{nbits}","{ntime}",{clean}]}}"#,
            self.job
        );
        self.line(line.as_bytes());
    }

    fn template(&mut self) {
        const LINES: &[&str] = &[
            r#"{"id":null,"method":"mining.set_difficulty","params":[%]}"#,
            r#"{"id":null,"method":"mining.set_extranonce","params":["%",%]}"#,
            r#"{"id":null,"method":"mining.set_extranonce","params":["aabb%",8]}"#,
            r#"{"id":null,"method":"mining.set_version_mask","params":["%"]}"#,
            r#"{"id":%,"method":"client.reconnect","params":["%",%,%]}"#,
            r#"{"id":null,"method":"client.reconnect","params":[]}"#,
            r#"{"id":null,"method":"client.show_message","params":["%"]}"#,
            r#"{"id":%,"method":"client.get_version","params":[]}"#,
            r#"{"id":%,"method":"mining.ping"}"#,
            r#"{"id":null,"method":"mining.notify","params":["%","%","%","%",["%"],"%","%","%",%]}"#,
            r#"{"id":%,"result":%,"error":%}"#,
            r#"{"id":%,"method":"%","params":[%]}"#,
        ];
        let template = self.program.pick(LINES);
        let line = self.program.filled(template, WORDS);
        self.line(&line);
    }

    fn line(&mut self, line: &[u8]) {
        if self.socket != Socket::Open {
            return;
        }
        let ended = self.pool.says(line);
        self.last.clear();
        self.input(Input::Line(line));
        let Some((nonce, good)) = ended else { return };
        let answers = |end: &&Settlement| end.latency.is_some();
        assert_eq!(
            self.last.iter().filter(answers).count(),
            1,
            "a share without its end"
        );
        let end = self.last.iter().find(answers).expect("counted above");
        assert_eq!(end.result == SettleResult::Accepted, good);
        assert_eq!(end.worker, self.pool.given[&nonce].share.worker);
    }

    fn submit(&mut self) {
        let worker = self.program.byte();
        let age = self.program.byte();
        self.submit_of(worker % 24, worker > 200, age);
    }

    fn submit_of(&mut self, worker: u8, block: bool, age: u8) {
        let count = self.works.len();
        if count == 0 || self.shares == MOST_SHARES {
            return;
        }
        let work = self.works[count - 1 - usize::from(age) % count]
            .work
            .clone();
        self.shares += 1;
        let nonce = self.shares;
        let make = |worker: Arc<str>| Submission {
            session: SessionId(u64::from(nonce)),
            worker,
            work: work.clone(),
            lane: Lane(7),
            share: Share {
                en2: [9; 8],
                ntime: work.ntime,
                nonce,
                version: work.version,
            },
            proof: Proof {
                hash: [0; 32],
                header: [0; 80],
            },
            block,
        };
        let worker: Arc<str> = format!("farm.w{worker}").into();
        let share = make(worker.clone());
        let given = Given {
            share: make(worker.clone()),
            written: false,
        };
        self.pool.given.insert(nonce, given);
        *self.given.entry(worker).or_default() += 1;
        self.unsettled += 1;
        self.input(Input::Submit(Box::new(share)));
    }

    fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.machine.poll_output() {
            outputs += usize::from(!matches!(output, Output::Settle(_)));
            assert!(outputs <= MOST_OUTPUTS, "an input with too many outputs");
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Connect(redirect) => {
                assert_eq!(self.socket, Socket::None, "two sockets");
                assert!(!self.drained, "a connection after the drain");
                let allowed = |host: &str| host == "pool.example" || host.ends_with(".example.org");
                assert!(redirect.is_none_or(|(host, _)| allowed(&host.to_ascii_lowercase())));
                self.socket = Socket::Connecting;
            }
            Output::Send(bytes) => self.pool.reads(&bytes),
            Output::Disconnect => {
                self.socket = Socket::None;
                self.pool.gone();
            }
            Output::Issue(issue) => {
                assert_eq!(Some(issue.work.layout), self.layout);
                self.pool.issued(issue.clone());
                if self.works.len() == WORKS {
                    self.works.remove(0);
                }
                self.works.push(issue);
            }
            Output::Status(status) => {
                assert!(
                    !status.up || self.socket == Socket::Open,
                    "up without a socket"
                );
                assert!(status.epoch == self.pool.epoch);
            }
            Output::Settle(end) => {
                let open = self
                    .given
                    .get_mut(&end.worker)
                    .expect("a worker that was given");
                *open -= 1;
                assert!(*open >= 0, "a share is settled twice");
                self.unsettled -= 1;
                self.settled += 1;
                self.dropped += u64::from(matches!(end.result, SettleResult::Dropped(_)));
                self.last.push(end);
            }
            Output::Event(_) => {}
        }
    }

    /// After every step (I6).
    fn books(&self) {
        let books = self.machine.settled();
        assert!(books.conserves(), "the counts do not add up: {books:?}");
        assert_eq!(books.submitted.shares, self.pool.written);
        let count = |sums: &[Weighted]| sums.iter().map(|sum| sum.shares).sum::<u64>();
        assert_eq!(count(&books.dropped), self.dropped);
        let answered = books.accepted.shares + count(&books.rejected) + books.unknown.shares;
        assert_eq!(answered + self.dropped, self.settled);
    }

    /// Drains, and sees that every share got its end (I4).
    fn end(&mut self) {
        if !self.drained {
            self.drained = true;
            if self.socket == Socket::Connecting {
                self.socket = Socket::None;
            }
            self.input(Input::Drain);
        }
        self.until(self.now + Duration::from_secs(200));
        self.lose();
        assert_eq!(self.socket, Socket::None, "a drain that does not end");
        assert_eq!(self.unsettled, 0, "shares without an end");
        assert_eq!(self.machine.poll_timeout(), None, "a timer after the end");
        self.books();
        assert_eq!(self.machine.settled().in_flight.shares, 0);
    }
}

const WORDS: &[&str] = &[
    "1",
    "0",
    "4",
    "8",
    "7",
    "254",
    "255",
    "null",
    "true",
    "false",
    "\"x\"",
    "-1",
    "1e999",
    "0.5",
    "1e18",
    "1024",
    "aabbccdd",
    "",
    "0102",
    "1fffe000",
    "00000000",
    "zz",
    "pool.example",
    "evil.example.com",
    "a.example.org",
    "1111111111111111111111111111111111111111111111111111111111111111",
    "17034219",
    "684ee180",
    "[]",
    "9007199254740993",
];

fn config(program: &mut Program<'_>) -> Config {
    Config {
        id: LinkId(0),
        name: "pool".to_owned(),
        protocol: Protocol::V1,
        host: "pool.example".to_owned(),
        port: 3333,
        tls: program.flag(),
        user: "account.{worker}".to_owned(),
        password: "x".to_owned(),
        identity: program.pick(&[Identity::Account, Identity::Worker]),
        version_mask: program.pick(&[0x1fff_e000, 0]),
        reconnect_hosts: vec!["*.example.org".to_owned()],
        shares_per_second: 2.0,
        easiest: sluice::work::Difficulty::MIN,
        refresh: program.pick(&[Duration::from_secs(25), Duration::from_secs(15)]),
        seed: 7,
    }
}
