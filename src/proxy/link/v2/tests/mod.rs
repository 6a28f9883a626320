//! A V2 link against a pool that a test plays message by message, in made-up time.
//!
//! Not real pools (tests/peers) and not any order of messages (the fuzz target `v2_link`). The lines `// sv2:` name what of
//! the specification a test holds us to.

mod health;
mod jobs;
mod leaving;
mod opening;
mod shares;
mod workers;

use super::super::{
    Config, Event, Identity, Input, Link, Output, Protocol, SettleResult, Settlement, Status,
};
use crate::machine::Machine;
use crate::proxy::lease::{SessionId, Submission};
use crate::stratum::v2::frame::{Frames, MAX_UP};
use crate::stratum::v2::message::{
    FromMiner, NewExtendedMiningJob, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess,
    SetNewPrevHash, SetupConnectionSuccess,
};
use crate::work::{Lane, Layout, LinkId, Proof, Share, Work};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// Our channel, its group, and a channel that is not ours.
const CHANNEL: u32 = 7;
const GROUP: u32 = 3;
const FOREIGN: u32 = 99;
const PREFIX: [u8; 4] = [0xaa, 0xbb, 0xcc, 0xdd];
const NTIME: u32 = 0x6553_f100;
const NBITS: u32 = 0x1703_421a;
const VERSION: u32 = 0x2000_0000;

/// Writes one message into a buffer.
macro_rules! frame {
    ($message:expr) => {
        |out: &mut Vec<u8>| $message.write(out)
    };
}
use frame;

/// A link, its clock, and what came out of it.
struct World {
    now: Instant,
    link: Link,
    out: Vec<u8>,
    outputs: Vec<Output>,
}

fn config() -> Config {
    Config {
        id: LinkId(0),
        protocol: Protocol::V2,
        name: "pool".into(),
        host: "pool.example".into(),
        port: 3336,
        tls: false,
        user: "account.{worker}".into(),
        password: String::new(),
        identity: Identity::Account,
        version_mask: 0x1fff_e000,
        reconnect_hosts: vec!["*.example.org".into()],
        shares_per_second: 1.0,
        easiest: crate::work::Difficulty::MIN,
        refresh: Duration::from_secs(25),
        seed: 1,
    }
}

impl World {
    /// Connected, nothing answered; the layout is 4+4.
    fn connected(config: Config) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            link: Link::new(now, config, Arc::new(AtomicU32::new(1))),
            out: Vec::new(),
            outputs: Vec::new(),
        };
        world.input(Input::Layout(Layout::WIDE));
        world.input(Input::Connected);
        world
    }

    /// With an open channel and no job.
    fn open() -> Self {
        let mut world = Self::connected(config());
        world.set_up(0);
        world.grant(8);
        world.forget();
        world
    }

    /// With the work of job 1.
    fn up() -> (Self, Arc<Work>) {
        let mut world = Self::open();
        let work = world.first_job();
        world.forget();
        (world, work)
    }

    fn first_job(&mut self) -> Arc<Work> {
        self.told(frame!(job(1, None)));
        self.told(frame!(prev_hash(1)));
        self.work()
    }

    fn input(&mut self, input: Input<'_>) {
        self.link.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.link.poll_output() {
            match output {
                Output::Send(bytes) => self.out.extend(bytes),
                output => self.outputs.push(output),
            }
        }
    }

    /// The pool says something.
    fn told(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        let (mut frames, mut chunk) = (Frames::new(MAX_UP), &bytes[..]);
        while let Some(frame) = frames.next(&mut chunk) {
            self.link
                .handle_input(self.now, Input::Frame(frame.unwrap()));
            self.drain();
        }
    }

    /// Time passes, every timer of the machine on its instant.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.link.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.link.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn forget(&mut self) {
        self.out.clear();
        self.outputs.clear();
    }

    fn forget_outputs(&mut self) {
        self.outputs.clear();
    }

    fn forget_all_but_the_last_issue(&mut self) {
        let is_issue = |output: &Output| matches!(output, Output::Issue(_));
        let last = self.outputs.iter().rposition(is_issue);
        let last = last.map(|at| self.outputs.swap_remove(at));
        self.forget();
        self.outputs.extend(last);
    }

    fn set_up(&mut self, flags: u32) {
        self.told(frame!(SetupConnectionSuccess {
            used_version: 2,
            flags
        }));
    }

    /// Answers the last request for a channel.
    fn grant(&mut self, size: u16) {
        let request_id = self.asked_channel().0;
        self.told(frame!(granted(request_id, size)));
    }

    /// Request id and size of the newest OpenExtendedMiningChannel.
    fn asked_channel(&self) -> (u32, u16) {
        let open = self.opens().pop().expect("a channel was asked for");
        (open.request_id, open.min_extranonce_size)
    }

    fn opens(&self) -> Vec<OpenExtendedMiningChannel<'static>> {
        let open = |said: &FromMiner<'static>| match *said {
            FromMiner::OpenExtendedMiningChannel(open) => Some(open),
            _ => None,
        };
        self.said().iter().filter_map(open).collect()
    }

    /// All that was sent since the last [`World::forget`].
    fn said(&self) -> Vec<FromMiner<'static>> {
        let bytes: &'static [u8] = self.out.clone().leak();
        let (mut chunk, mut said) = (bytes, Vec::new());
        while let Some((frame, rest)) = whole(chunk) {
            said.push(parse(frame));
            chunk = rest;
        }
        assert!(chunk.is_empty(), "half a frame");
        said
    }

    fn works(&self) -> Vec<Arc<Work>> {
        let work = |output: &Output| match output {
            Output::Issue(issue) => Some(issue.work.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(work).collect()
    }

    /// The newest work.
    fn work(&self) -> Arc<Work> {
        self.works().pop().expect("work was issued")
    }

    fn ends(&self) -> Vec<Settlement> {
        let end = |output: &Output| match output {
            Output::Settle(end) => Some(end.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(end).collect()
    }

    fn results(&self) -> Vec<SettleResult> {
        self.ends().iter().map(|end| end.result).collect()
    }

    fn status(&self) -> Status {
        let status = |output: &Output| match output {
            Output::Status(status) => Some(status.clone()),
            _ => None,
        };
        let newest = self.outputs.iter().rev().find_map(status);
        newest.expect("a status was told")
    }

    fn events(&self) -> Vec<Event> {
        let event = |output: &Output| match output {
            Output::Event(event) => Some(event.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(event).collect()
    }

    /// Why the link went down, if it did.
    fn down(&self) -> Option<String> {
        self.events().into_iter().find_map(|event| match event {
            Event::Down { reason, .. } => Some(reason),
            _ => None,
        })
    }

    fn bad_jobs(&self) -> usize {
        let events = self.events();
        let bad = |event: &&Event| matches!(event, Event::BadNotify(_));
        events.iter().filter(bad).count()
    }

    fn submit(&mut self, work: &Arc<Work>, nonce: u32) {
        self.submit_of(work, nonce, "farm.rig1", false);
    }

    fn submit_of(&mut self, work: &Arc<Work>, nonce: u32, worker: &str, block: bool) {
        let share = Submission {
            session: SessionId(1),
            worker: worker.into(),
            work: work.clone(),
            lane: Lane(0x0102_0304),
            share: Share {
                en2: [5, 6, 7, 8, 0, 0, 0, 0],
                ntime: work.ntime,
                nonce,
                version: work.version | (0x2000 & work.version_mask),
            },
            proof: Proof {
                hash: [0; 32],
                header: [0; 80],
            },
            block,
        };
        self.input(Input::Submit(Box::new(share)));
    }
}

/// The first frame of some bytes, and the rest.
fn whole(bytes: &'static [u8]) -> Option<(&'static [u8], &'static [u8])> {
    let [_, _, _, a, b, c, ..] = *bytes else {
        return None;
    };
    bytes.split_at_checked(6 + u32::from_le_bytes([a, b, c, 0]) as usize)
}

fn parse(frame: &'static [u8]) -> FromMiner<'static> {
    use crate::stratum::v2::frame::{Frame, Header};
    let (header, payload) = frame.split_first_chunk().expect("a header");
    let frame = Frame {
        header: Header::parse(header),
        payload,
    };
    let message = FromMiner::parse(&frame).expect("well formed");
    message.expect("a message that a pool knows")
}

fn granted(request_id: u32, size: u16) -> OpenExtendedMiningChannelSuccess<'static> {
    OpenExtendedMiningChannelSuccess {
        request_id,
        channel_id: CHANNEL,
        target: target(1),
        extranonce_size: size,
        extranonce_prefix: &PREFIX,
        group_channel_id: GROUP,
    }
}

/// A target whose difficulty is 2^(8 n), less a little.
fn target(n: usize) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[28 - n..].fill(0);
    bytes
}

fn job(job_id: u32, min_ntime: Option<u32>) -> NewExtendedMiningJob<'static> {
    NewExtendedMiningJob {
        channel_id: CHANNEL,
        job_id,
        min_ntime,
        version: VERSION,
        version_rolling_allowed: true,
        merkle_path: &[[0x11; 32], [0x22; 32]],
        coinbase_tx_prefix: &[1, 0, 0, 0, 1, 9],
        coinbase_tx_suffix: &[0xff, 0],
    }
}

fn prev_hash(job_id: u32) -> SetNewPrevHash {
    SetNewPrevHash {
        channel_id: CHANNEL,
        job_id,
        prev_hash: [0x77; 32],
        min_ntime: NTIME,
        nbits: NBITS,
    }
}
