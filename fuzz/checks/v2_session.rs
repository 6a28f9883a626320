//! What must hold for any life of a V2 connection: the machine under a program of steps, checked against the reference in
//! `v2_miner`. What the client says is in `v2_talk`.
//!
//! Not a driver of sockets and not a test of meaning. The program plays client, router, judge and clock; after every step
//! the machine is drained and what came out is checked.

use crate::program::{Program, Turn, pass_time};
use crate::v2_miner::Miner;
use sluice::machine::Machine;
use sluice::proxy::lease::{Issue, LaneMemory, Lease, ListenerId, ResumeToken, Seat, SessionId};
use sluice::proxy::session::v2::{Input, Output, Session};
use sluice::proxy::session::{
    Attach, Bucket, Close, Config, Event, Input as Of, JudgeRequest, NoSeat, Output as Wish,
    WallAnchor,
};
use sluice::proxy::tally::{Drop as Dropped, Judged, Reject};
use sluice::stratum::v2::frame::{Frames, HEADER};
use sluice::work::{
    Difficulty, Lane, Layout, LinkId, Parts, Proof, Target, Work, WorkId, share, vardiff,
};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

pub(crate) const UNIX_S: u64 = 1_700_000_000;
pub(crate) const ROLLED: u32 = 0x1fff_e000;
const CHANNELS: usize = 8;
/// More than one input can honestly cause: a few for each channel.
const MOST_OUTPUTS: usize = 8 * (CHANNELS + 1);
/// A block's jobs for all channels, whose coinbases are of 90 bytes, and some more.
const MOST_BYTES: usize = 8 << 10;

/// Runs a program.
pub(crate) fn v2_session(data: &[u8]) {
    let mut world = World::new(Program::new(data));
    while !world.program.is_empty() {
        world.step();
        if world.closed {
            world.again();
        }
    }
    world.end();
}

pub(crate) struct World<'a> {
    pub(crate) program: Program<'a>,
    now: Instant,
    machine: Session,
    config: Arc<Config>,
    /// What the listener's pools let a miner roll.
    mask: u32,
    pub(crate) miner: Miner,
    sessions: HashSet<SessionId>,
    closed_channels: HashSet<SessionId>,
    attaching: VecDeque<(SessionId, Attach)>,
    judging: VecDeque<(SessionId, JudgeRequest)>,
    rooting: VecDeque<(SessionId, Arc<Work>, Lane)>,
    pub(crate) requests: u32,
    works: Vec<Arc<Issue>>,
    generations: [u64; 3],
    lanes: u32,
    layout: Layout,
    /// Answers come at once.
    prompt: bool,
    forged: Option<u8>,
    closed: bool,
    judged: Judged,
    submissions: u64,
}

impl<'a> World<'a> {
    fn new(mut program: Program<'a>) -> Self {
        let now = Instant::now();
        let config = Arc::new(config(&mut program, now));
        let mask = program.pick(&[ROLLED, ROLLED, ROLLED, 0]);
        let ids = Arc::new(AtomicU64::new(2));
        let prompt = program.flag();
        Self {
            machine: Session::new(now, SessionId(1), ids, config.clone(), mask),
            config,
            mask,
            layout: program.pick(&[Layout::WIDE, Layout { lane: 2, rolled: 2 }]),
            forged: program.flag().then(|| program.byte()),
            program,
            now,
            miner: Miner::default(),
            sessions: HashSet::new(),
            closed_channels: HashSet::new(),
            attaching: VecDeque::new(),
            judging: VecDeque::new(),
            rooting: VecDeque::new(),
            requests: 0,
            works: Vec::new(),
            generations: [0; 3],
            lanes: 0,
            prompt,
            closed: false,
            judged: Judged::default(),
            submissions: 0,
        }
    }

    /// The next connection in the same world.
    fn again(&mut self) {
        self.end();
        let fresh = World::new(Program::new(&[]));
        let old = std::mem::replace(self, fresh);
        self.machine = old.fresh();
        (self.config, self.mask) = (old.config, old.mask);
        (self.program, self.now, self.prompt) = (old.program, old.now, old.prompt);
        (self.layout, self.forged) = (old.layout, old.forged);
        (self.works, self.generations, self.lanes) = (old.works, old.generations, old.lanes);
    }

    fn fresh(&self) -> Session {
        let ids = Arc::new(AtomicU64::new(2));
        let config = self.config.clone();
        Session::new(self.now, SessionId(1), ids, config, self.mask)
    }

    fn step(&mut self) {
        match self.program.byte() % 24 {
            0 | 1 => self.wait(),
            2 if !self.miner.set_up || self.program.byte() < 8 => self.set_up(),
            3 => self.greet(),
            4 => self.open(true),
            5 => self.open(false),
            6 | 7 => self.share_standard(),
            8 | 9 => self.share_extended(),
            10 => self.update(),
            11 if self.program.byte() < 100 => self.close_channel(),
            12 => self.extensions(),
            13 => self.raw(),
            14 | 15 => self.make_work(),
            16 => self.old_work(),
            17 => self.seat(),
            18 => self.root(),
            19 => self.judge(),
            20 | 21 => self.orders(),
            22 => self.custom_job(),
            23 if self.program.byte() < 4 => self.ending(),
            _ => {}
        }
    }

    fn wait(&mut self) {
        let (from, target) = (self.now, self.now + self.program.pause());
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

    pub(crate) fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.closed || self.machine.paused_until(self.now).is_some() {
            return;
        }
        let mut bytes = Vec::with_capacity(HEADER);
        write(&mut bytes);
        let (mut frames, mut chunk) = (Frames::new(self.machine.max_payload()), &bytes[..]);
        while let Some(frame) = frames.next(&mut chunk) {
            let Ok(frame) = frame else {
                self.miner.closes = true;
                self.input(Input::TooLong);
                break;
            };
            self.miner.says(&frame);
            self.input(Input::Frame(frame));
        }
        if !self.closed {
            self.miner.settled();
        }
        let owed = !self.judging.is_empty();
        assert!(
            !self.miner.closes || self.closed || owed,
            "this had to close"
        );
    }

    pub(crate) fn seat(&mut self) {
        let Some((id, attach)) = self.attaching.pop_front() else {
            return;
        };
        let width = attach.extranonce.saturating_sub(self.layout.rolled);
        if self.program.byte() > 250 || width >= self.layout.lane {
            return self.of(id, Of::NoSeat(NoSeat::Full));
        }
        self.lanes += 1;
        let seat = Seat {
            lane: Lane(self.lanes << (8 * width)),
            layout: self.layout,
            width,
            token: ResumeToken([0; 16]),
            memory: LaneMemory::default(),
        };
        let lease = self.lease();
        self.of(id, Of::Seated(Box::new(seat), lease));
    }

    fn lease(&mut self) -> Lease {
        let links = [Some(LinkId(0)), Some(LinkId(0)), Some(LinkId(1)), None];
        Lease {
            link: self.program.pick(&links),
            version_mask: self.program.pick(&[ROLLED, ROLLED, u32::MAX, 0]),
        }
    }

    pub(crate) fn make_work(&mut self) {
        let link = self.program.byte() % 3;
        let kind = self.program.byte();
        self.generations[usize::from(link)] += u64::from(kind & 3 == 0);
        let ntime = UNIX_S as u32 + u32::from(kind);
        let difficulties = [1.0 / 4_294_967_296.0, 1.0 / 1024.0, 1.0, 1e6];
        let difficulty = Difficulty::new(self.program.pick(&difficulties)).expect("in range");
        let work = Work::new(Parts {
            id: WorkId(self.works.len() as u32 + 1),
            link: LinkId(u16::from(link)),
            generation: self.generations[usize::from(link)],
            prev_hash: [self.generations[usize::from(link)] as u8; 32],
            version_mask: self.program.pick(&[ROLLED, ROLLED, u32::MAX, 0]),
            nbits: self.program.pick(&[0x1703_4219, 0x207f_ffff]),
            ntime,
            pool_ntime: ntime,
            layout: self.layout,
            coinbase_prefix: vec![1; 50].into(),
            coinbase_suffix: vec![2; 40].into(),
            branch: vec![[3; 32]; usize::from(kind % 3)].into(),
            pool_target: Target::from_difficulty(difficulty),
            pool_difficulty: difficulty,
            ..Parts::default()
        });
        let issue = Arc::new(Issue {
            v1_clean: Box::default(),
            v1_keep: Box::default(),
            own: None,
            work: Arc::new(work.expect("within limits")),
        });
        self.works.push(issue.clone());
        self.input(Input::Issue(&issue));
    }

    /// Latest wins: only the newest of a link is ever published again.
    fn old_work(&mut self) {
        let link = LinkId(u16::from(self.program.byte() % 3));
        let newest = self.works.iter().rev().find(|old| old.work.link == link);
        if let Some(issue) = newest.cloned() {
            self.input(Input::Issue(&issue));
        }
    }

    fn root(&mut self) {
        if let Some((id, work, lane)) = self.rooting.pop_front() {
            let mut roots = [[0; 32]];
            share::roots(&work, &[(lane, [0; 8])], &mut roots);
            self.input(Input::Root(id, &work, roots[0]));
        }
    }

    /// Gives the oldest share its proof, a real or a forged one.
    fn judge(&mut self) {
        let Some((id, request)) = self.judging.pop_front() else {
            return;
        };
        let proof = match self.forged {
            Some(byte) => Proof {
                // Its key is the nonce, its size the last byte.
                hash: std::array::from_fn(|place| match place {
                    0 => request.share.nonce as u8,
                    _ => byte & 0xf8,
                }),
                header: [0; 80],
            },
            None => share::prove(&request.work, request.lane, &request.share),
        };
        self.of(id, Of::Judged(&request, &proof));
    }

    /// What the router or power control wants of one channel.
    fn orders(&mut self) {
        let count = self.sessions.len().max(1) as u64;
        let id = SessionId(1 + u64::from(self.program.byte()) % count);
        match self.program.byte() {
            0..=120 => {
                let lease = self.lease();
                // Leases come after the seat.
                if !self.attaching.iter().any(|(waiting, _)| *waiting == id) {
                    self.of(id, Of::Lease(lease));
                }
            }
            121..=190 => {
                let watched = self.program.flag();
                self.of(id, Of::Watched(watched));
            }
            191..=210 => self.of(id, Of::Close(Close::Withdrawn)),
            _ => self.prompt = !self.prompt,
        }
    }

    fn ending(&mut self) {
        let input = match self.program.byte() % 4 {
            0 => Input::Drain,
            1 => Input::Close(Close::LayoutChanged),
            2 => Input::SlowReader,
            _ => Input::TooLong,
        };
        self.input(input);
    }

    fn of(&mut self, id: SessionId, input: Of<'_>) {
        self.input(Input::Of(id, input));
    }

    fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.drain();
        while self.prompt && !(self.judging.is_empty() && self.rooting.is_empty()) {
            self.judge_now();
        }
    }

    fn judge_now(&mut self) {
        self.prompt = false;
        self.root();
        self.judge();
        self.prompt = true;
    }

    fn drain(&mut self) {
        let (mut outputs, mut bytes) = (0, 0);
        while let Some(output) = self.machine.poll_output() {
            outputs += 1;
            bytes += if let Output::Send(sent) = &output {
                sent.len()
            } else {
                0
            };
            assert!(outputs <= MOST_OUTPUTS, "an input with too many outputs");
            assert!(bytes <= MOST_BYTES, "an input with too many bytes");
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        let last = match &output {
            Output::Of(_, output) => matches!(output, Wish::Observe(_) | Wish::Event(_)),
            Output::Closed(..) => true,
            _ => false,
        };
        assert!(last || !self.closed, "after the end: {output:?}");
        match output {
            Output::Send(bytes) => self.miner.reads(&bytes),
            Output::Of(id, output) => {
                assert!(
                    !self.closed_channels.contains(&id),
                    "of a channel that is gone"
                );
                self.wish(id, output);
            }
            Output::Root(id, work, lane) => self.rooting.push_back((id, work, lane)),
            Output::Closed(id, _) => {
                assert!(self.sessions.contains(&id) && self.closed_channels.insert(id));
                self.machine.take_memory(id);
                self.attaching.retain(|(waiting, _)| *waiting != id);
            }
            Output::Close(_) => self.closed = true,
        }
    }

    fn wish(&mut self, id: SessionId, output: Wish) {
        match output {
            Wish::Attach(attach) => {
                assert!(self.sessions.insert(id), "an id again");
                self.attaching.push_back((id, attach));
            }
            Wish::Judge(request) => self.judging.push_back((id, request)),
            Wish::Submit(share) => {
                self.submissions += 1;
                assert!(share.block || share.work.pool_target.is_met_by(&share.proof.hash));
                // As our driver does: handed over before anything else is looked at.
                let result = self.program.pick(&[Ok(()), Err(Dropped::LinkFull)]);
                let hashes = share.work.pool_difficulty.hashes();
                let submitted = Of::Submitted(&share.worker, result, hashes);
                self.machine
                    .handle_input(self.now, Input::Of(id, submitted));
            }
            Wish::Observe(observation) => {
                assert!(observation.judged.conserves(), "the counts do not add up");
                assert_eq!(observation.session, id);
                self.judged.merge(&observation.judged);
            }
            Wish::Event(Event::Subscribed { .. } | Event::Authorized(_) | Event::Block(_)) => {}
            Wish::Refresh(link) => assert!(link.0 < 3),
            other => panic!("never wished: {other:?}"),
        }
    }

    /// Ends the connection and sees that the books are whole (I4, I6).
    fn end(&mut self) {
        let whole = !self.closed;
        while whole
            && !(self.judging.is_empty() && self.attaching.is_empty() && self.rooting.is_empty())
        {
            self.judge();
            self.root();
            self.seat();
        }
        if whole && !self.closed {
            self.miner.is_answered();
        }
        self.input(Input::Close(Close::Peer));
        while !self.judging.is_empty() {
            self.judge();
        }
        assert!(self.closed, "asked to close, answered everything, and open");
        assert_eq!(self.machine.poll_timeout(), None, "a timer after the end");
        assert_eq!(
            self.machine.last_observations().count(),
            0,
            "counts are left behind"
        );
        let judged = std::mem::take(&mut self.judged);
        // Those without a channel count where the connection has another.
        let astray = judged.rejected[Reject::NotSubscribed as usize].shares;
        assert_eq!(judged.received.shares - astray, self.miner.submits);
        assert!(judged.received.shares <= self.miner.shares);
        let dropped: u64 = judged.dropped.iter().map(|sum| sum.shares).sum();
        assert_eq!(judged.forwarded.shares + dropped, self.submissions);
        let left: Vec<SessionId> = self.machine.sessions().collect();
        assert_eq!(left.len() + self.closed_channels.len(), self.sessions.len());
    }
}

fn config(program: &mut Program<'_>, now: Instant) -> Config {
    let difficulty = |value: f64| Difficulty::new(value).expect("within range");
    let start = difficulty(program.pick(&[1.0 / 4_294_967_296.0, 1.0, 4096.0]));
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
            max: program.pick(&[Difficulty::MAX, difficulty(65_536.0)]),
            fixed: program.pick(&[None, None, Some(Difficulty::MIN)]),
            shares_per_minute: 12.0,
            ceiling_per_minute: program.pick(&[1e30, 60.0]),
        },
        password: program.pick(&[None, None, None, None, Some("x".to_owned())]),
        submits: program.pick(&[brisk, slow]),
        others: program.pick(&[brisk, slow]),
        version_mask: program.pick(&[ROLLED, u32::MAX, 0]),
        channels: CHANNELS,
        fast_lines: true,
        wall: WallAnchor {
            at: now,
            unix_s: UNIX_S,
        },
    }
}
