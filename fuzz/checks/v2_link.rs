//! What must hold for any life of a V2 link: the machine under a program of steps, with the pool's words in `v2_says` and
//! the reference in `v2_pool`.
//!
//! Not a driver of sockets and not a test of meaning. The program plays pool, sessions, router and clock; after every
//! step the machine is drained and what came out is checked.

use crate::program::{Program, Turn, pass_time};
use crate::v2_pool::{Given, Pool};
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
pub(crate) fn v2_link(data: &[u8]) {
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
pub(crate) enum Socket {
    None,
    Connecting,
    Open,
}

pub(crate) struct World<'a> {
    pub(crate) program: Program<'a>,
    pub(crate) now: Instant,
    pub(crate) machine: Link,
    pub(crate) pool: Pool,
    pub(crate) socket: Socket,
    works: Vec<Arc<Issue>>,
    shares: u32,
    layout: Option<Layout>,
    /// Ends per worker, against shares given per worker.
    given: HashMap<Arc<str>, i64>,
    settled: u64,
    dropped: u64,
    unsettled: i64,
    /// Ends since the last frame that say what the pool thinks.
    pub(crate) last: Vec<Settlement>,
    drained: bool,
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
            6 => self.set_up(),
            7 => self.answer_opens(),
            8 => self.extensions(),
            9 | 10 => self.job(),
            11 => self.new_prev_hash(),
            12 => self.terms(),
            13 => self.raw(),
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
                let fleets = [0.0, 1e12, 1e15, f64::NAN, f64::INFINITY, -1.0, 1e-300];
                let fleet = self.program.pick(&fleets);
                self.input(Input::Fleet(fleet));
            }
            20 => self.accept(),
            21 => self.refuse(),
            22 => self.rest(),
            23 if self.program.byte() < 8 && !self.drained => {
                self.drained = true;
                // As our driver does: a socket that is being opened is given up.
                if self.socket == Socket::Connecting {
                    self.socket = Socket::None;
                }
                self.input(Input::Drain);
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
        self.told_set_up(2, 0);
        self.extensions();
        self.grant();
        self.job_of(1, None, 0);
        self.told_prev_hash(7, 1, 0);
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
        let worker: Arc<str> = format!("farm.w{worker}").into();
        let issue = self.works[count - 1 - usize::from(age) % count].clone();
        // Now and then a worker's share is on the account's work although there is its own.
        let work = if age >= 128 {
            issue.work.clone()
        } else {
            issue.of(&worker, None).work.clone()
        };
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

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
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
                assert!(redirect.is_none_or(|(host, _)| allowed(&host)));
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
                let open = self.socket == Socket::Open;
                assert!(!status.up || open, "up without a socket");
                assert!(status.epoch == self.pool.epoch);
            }
            Output::Settle(end) => {
                let open = self.given.get_mut(&end.worker).expect("a given worker");
                *open -= 1;
                assert!(*open >= 0, "a share is settled twice");
                self.unsettled -= 1;
                self.settled += 1;
                match end.result {
                    SettleResult::Dropped(_) => self.dropped += 1,
                    SettleResult::Unknown => self.pool.lost(&end.worker),
                    _ => self.last.push(end),
                }
            }
            Output::Event(_) => {}
        }
    }

    /// After every step (I6).
    fn books(&self) {
        let books = self.machine.settled();
        assert!(books.conserves(), "the counts do not add up: {books:?}");
        assert_eq!(books.submitted.shares, self.pool.written);
        assert_eq!(books.in_flight.shares, self.pool.shares.len() as u64);
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
    }
}

fn config(program: &mut Program<'_>) -> Config {
    Config {
        id: LinkId(0),
        protocol: Protocol::V2,
        name: "pool".to_owned(),
        host: "pool.example".to_owned(),
        port: 3336,
        tls: false,
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
