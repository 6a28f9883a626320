//! One miner connection, both of its directions, and what serves it: a V1 session, or a V2 one with its channels.
//!
//! Not the driver (`sessions`). Invariant: both protocols show the driver the same face, that of a V2 connection; a V1
//! session is one with a single channel.

use crate::channels::ChannelsTap;
use crate::clock::Ns;
use crate::heard::Heard;
use crate::lines::DownTap;
use crate::pipe::Pipe;
use crate::tap::Books;
use sluice::machine::Machine;
use sluice::proxy::lease::{Issue, LaneMemory, Lease, Seat, SessionId, Submission};
use sluice::proxy::session::v2::{self, Output};
use sluice::proxy::session::{self, Close, Input, JudgeRequest, NoSeat, Observation, Session};
use sluice::stratum::v1::line::Lines;
use sluice::stratum::v2::frame::Frames;
use sluice::work::{Lane, Work};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

const MAX_LINE: usize = 4096;

/// The router's answer to an attach.
pub type SeatReply = Result<(Box<Seat>, Lease), NoSeat>;

/// The oneshot of an attach.
#[derive(Debug, Default)]
pub enum Mailbox {
    /// Asked.
    #[default]
    Waiting,
    /// Answered.
    Reply(SeatReply),
    /// Read.
    Empty,
}

/// One seat of a connection: its letters, and what it follows.
#[derive(Debug)]
pub struct Held {
    pub id: SessionId,
    pub seat: Mailbox,
    pub orders: Option<Lease>,
    pub order_news: bool,
    pub order_close: Option<Close>,
    pub follow: Option<usize>,
    /// Since when for whom.
    pub lease: Option<(Ns, usize)>,
    /// What of the extranonce is its own.
    pub lane: Vec<u8>,
    pub work_seen: u64,
}

impl Held {
    pub fn new(id: SessionId) -> Self {
        Self {
            id,
            seat: Mailbox::Waiting,
            orders: None,
            order_news: false,
            order_close: None,
            follow: None,
            lease: None,
            lane: Vec::new(),
            work_seen: 0,
        }
    }
}

/// A share that waits for room in a link's queue.
#[derive(Debug)]
pub struct Parked {
    pub of: SessionId,
    /// The share; `None` once the link has taken it.
    pub share: Option<Box<Submission>>,
    pub worker: Arc<str>,
    pub hashes: u128,
    pub until: Ns,
}

/// What serves it and who listens.
#[derive(Debug)]
pub enum Wire {
    V1 {
        id: SessionId,
        session: Box<Session>,
        lines: Lines,
        tap: Box<DownTap>,
    },
    V2 {
        session: Box<v2::Session>,
        frames: Frames,
        tap: Box<ChannelsTap>,
    },
}

impl Wire {
    pub fn v1(id: SessionId, session: Session) -> Self {
        Self::V1 {
            id,
            session: Box::new(session),
            lines: Lines::new(MAX_LINE),
            tap: Box::default(),
        }
    }

    pub fn v2(session: v2::Session) -> Self {
        Self::V2 {
            frames: Frames::new(session.max_payload()),
            session: Box::new(session),
            tap: Box::default(),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::V1 { id, session, .. } => session.poll_output().map(|output| match output {
                session::Output::Send(bytes) => Output::Send(bytes),
                session::Output::Close(why) => Output::Close(why),
                other => Output::Of(*id, other),
            }),
            Self::V2 { session, .. } => session.poll_output(),
        }
    }

    /// What concerns one seat.
    pub fn tell(&mut self, now: Instant, id: SessionId, input: Input<'_>) {
        match self {
            Self::V1 { session, .. } => session.handle_input(now, input),
            Self::V2 { session, .. } => session.handle_input(now, v2::Input::Of(id, input)),
        }
    }

    pub fn issue(&mut self, now: Instant, issue: &Arc<Issue>) {
        match self {
            Self::V1 { session, .. } => session.handle_input(now, Input::Issue(issue)),
            Self::V2 { session, .. } => session.handle_input(now, v2::Input::Issue(issue)),
        }
    }

    pub fn root(&mut self, now: Instant, id: SessionId, work: &Arc<Work>, root: [u8; 32]) {
        if let Self::V2 { session, .. } = self {
            session.handle_input(now, v2::Input::Root(id, work, root));
        }
    }

    pub fn close(&mut self, now: Instant, why: Close) {
        match self {
            Self::V1 { session, .. } => session.handle_input(now, Input::Close(why)),
            Self::V2 { session, .. } => session.handle_input(now, v2::Input::Close(why)),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::V1 { session, .. } => session.handle_timeout(now),
            Self::V2 { session, .. } => session.handle_timeout(now),
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = match self {
            Self::V1 { session, .. } => session.poll_timeout(),
            Self::V2 { session, .. } => session.poll_timeout(),
        };
        due.map(|(at, _)| at)
    }

    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::V1 { session, .. } => session.paused_until(now),
            Self::V2 { session, .. } => session.paused_until(now),
        }
    }

    /// Whether something was left over by the last turn.
    pub fn has_more(&self) -> bool {
        match self {
            Self::V1 { lines, .. } => lines.has_line(),
            Self::V2 { frames, .. } => frames.has_frame(),
        }
    }

    /// At most `budget` lines or frames of what came.
    pub fn read(
        &mut self,
        books: &mut Books,
        (ns, now): (Ns, Instant),
        miner: usize,
        mut chunk: &[u8],
        budget: usize,
    ) {
        match self {
            Self::V1 {
                session,
                lines,
                tap,
                ..
            } => {
                for _ in 0..budget {
                    match lines.next(&mut chunk) {
                        Some(Ok(line)) => {
                            tap.read(books, ns, miner, line);
                            session.handle_input(now, Input::Line(line));
                        }
                        Some(Err(_)) => session.handle_input(now, Input::Overlong),
                        None => break,
                    }
                }
                lines.keep(chunk);
            }
            Self::V2 {
                session,
                frames,
                tap,
            } => {
                for _ in 0..budget {
                    match frames.next(&mut chunk) {
                        Some(Ok(frame)) => {
                            tap.read(books, ns, miner, &frame);
                            session.handle_input(now, v2::Input::Frame(frame));
                        }
                        Some(Err(_)) => session.handle_input(now, v2::Input::TooLong),
                        None => break,
                    }
                    frames.set_max(session.max_payload());
                }
                frames.keep(chunk);
            }
        }
    }

    /// Bytes that it sends.
    pub fn sent(&mut self, books: &mut Books, now: Ns, miner: usize, held: &[Held], bytes: &[u8]) {
        match self {
            Self::V1 { id, tap, .. } => tap.sent(books, now, miner, *id, bytes),
            Self::V2 { tap, .. } => tap.sent(books, now, miner, held, bytes),
        }
    }

    pub fn take_memory(&mut self, id: SessionId) -> Option<(Lane, LaneMemory, bool)> {
        match self {
            Self::V1 { session, .. } => session.take_memory(),
            Self::V2 { session, .. } => session.take_memory(id),
        }
    }

    pub fn last_observations(&mut self) -> Vec<Observation> {
        match self {
            Self::V1 { session, .. } => {
                session.last_observation().into_iter().map(|o| *o).collect()
            }
            Self::V2 { session, .. } => session.last_observations().map(|o| *o).collect(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    pub miner: usize,
    pub up: Pipe,
    pub down: Pipe,
    pub wire: Wire,
    /// Its task runs.
    pub live: bool,
    pub awake: bool,
    pub held: Vec<Held>,
    pub parked: Option<Parked>,
    pub blocked_since: Option<Ns>,
    /// The miner's side is gone (it hung up, or was cut).
    pub left: bool,
    /// A watch on time must forgive.
    pub tainted: bool,
    pub shares_asked: Vec<(SessionId, JudgeRequest)>,
    pub roots_asked: Vec<(SessionId, Arc<Work>, Lane)>,
    pub inbox: VecDeque<Vec<u8>>,
    pub peer_ended: Option<bool>,
    pub out: Vec<u8>,
    pub close: Option<Close>,
    pub vanished: bool,
    pub ending: bool,
    pub timer: Option<Ns>,
    pub armed: Option<Ns>,
}

impl Conn {
    /// Just accepted.
    pub fn new(miner: usize, up: Pipe, down: Pipe, wire: Wire) -> Self {
        Self {
            miner,
            up,
            down,
            wire,
            live: true,
            awake: false,
            held: Vec::new(),
            parked: None,
            blocked_since: None,
            left: false,
            tainted: false,
            shares_asked: Vec::new(),
            roots_asked: Vec::new(),
            inbox: VecDeque::new(),
            peer_ended: None,
            out: Vec::new(),
            close: None,
            vanished: false,
            ending: false,
            timer: None,
            armed: None,
        }
    }

    pub fn held(&mut self, id: SessionId) -> Option<&mut Held> {
        let live = self.live;
        self.held.iter_mut().find(|held| live && held.id == id)
    }

    /// What the miner behind a seat was told, as its tap knows it.
    pub fn heard(&self, held: &Held) -> Option<&Heard> {
        match &self.wire {
            Wire::V1 { tap, .. } => Some(&tap.heard),
            Wire::V2 { tap, .. } => tap.heard(held.id),
        }
    }
}
