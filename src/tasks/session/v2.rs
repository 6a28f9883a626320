//! One V2 connection: frames to its machine, the wishes of its channels to the rest. As the V1 task, but every channel has
//! a mailbox and a seat of its own. The stream carries plaintext frames: Noise is below it.
//!
//! Invariant: nothing is read while an answer cannot be sent, and every channel's seat goes back once.

mod news;

use super::super::judge::{Answer, Ticket};
use super::super::mail::{DRAIN, Mailbox};
use super::super::noise::NoiseStream;
use super::super::shard::Shard;
use super::super::{ToRouter, Works};
use super::pump::{Outlet, with_read};
use super::{Alarm, Next, TURN, clock, reach};
use crate::machine::Machine;
use crate::proxy::lease::{ListenerId, SessionId, Submission};
use crate::proxy::router;
use crate::proxy::session::v2::{Input, Output, Session};
use crate::proxy::session::{self, Close, NoSeat};
use crate::stratum::v2::frame::Frames;
use crate::stratum::v2::noise::OpenError;
use crate::work::{Lane, LinkId, Work};
use smallvec::SmallVec;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace};

/// What a V2 task is given.
#[derive(Debug)]
pub struct Start<S> {
    /// Plaintext frames, sealed below.
    pub stream: NoiseStream<S>,
    /// The machine.
    pub session: Session,
    /// The connection's own id, known to the board already; its first channel takes it.
    pub id: SessionId,
    /// Where it came in.
    pub listener: ListenerId,
    /// From where.
    pub peer: SocketAddr,
    /// Its shard.
    pub shard: Arc<Shard>,
    /// The process drains.
    pub cancel: CancellationToken,
}

/// The letter box of one channel, and what it was told.
struct Held {
    id: SessionId,
    mailbox: Arc<Mailbox>,
    attached: bool,
    watched: bool,
    /// The leased link.
    link: Option<LinkId>,
}

/// Tickets and roots asked for, in the order asked.
#[derive(Default)]
struct Asked {
    shares: SmallVec<[(SessionId, Ticket); 2]>,
    roots: Vec<(SessionId, Arc<Work>, Lane)>,
}

impl Asked {
    fn is_empty(&self) -> bool {
        self.shares.is_empty() && self.roots.is_empty()
    }
}

/// What a connection may have to wait for: room in a queue.
enum Wait {
    Submit(SessionId, Box<Submission>),
    Router(ToRouter),
    /// A channel is over: the last work of the shard, then its seat.
    Farewell(Works, Option<ToRouter>),
}

struct Conn<S> {
    stream: NoiseStream<S>,
    frames: Frames,
    session: Session,
    own: SessionId,
    listener: ListenerId,
    peer: SocketAddr,
    shard: Arc<Shard>,
    out: Outlet,
    /// Rings for the drain also where there is no channel; the first channel's too.
    door: Arc<Mailbox>,
    held: Vec<Held>,
    /// The board still shows the connection itself.
    shown: bool,
    /// The waker that the mailboxes know.
    listening: Option<Waker>,
    work_waits: bool,
    close: Option<Close>,
    vanished: bool,
}

/// Runs one connection to its end.
pub fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    start: Start<S>,
) -> impl Future<Output = ()> + Send {
    let Start {
        stream,
        session,
        id,
        listener,
        peer,
        shard,
        cancel,
    } = start;
    let mut conn = Conn {
        stream,
        frames: Frames::new(session.max_payload()),
        session,
        own: id,
        listener,
        peer,
        shard,
        out: Outlet::default(),
        door: Arc::default(),
        held: Vec::new(),
        shown: true,
        listening: None,
        work_waits: false,
        close: None,
        vanished: false,
    };
    async move {
        // A panic in here costs this connection; its lanes are never given back, so they are never given out twice.
        conn.shard.joined(id, conn.door.clone());
        if cancel.is_cancelled() {
            // The drain may have been told before this session could hear of it.
            conn.door.ring(DRAIN);
        }
        conn.serve().await;
        conn.end().await;
        conn.shard.left(id);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    async fn serve(&mut self) {
        let mut alarm = Alarm::new(clock());
        let mut now = clock();
        loop {
            now = self.carry_out(now).await;
            if self.out.flush(&mut self.stream, &self.shard).is_err() {
                self.vanished = true;
                self.close.get_or_insert(Close::Peer);
                return;
            }
            if self.close.is_some() && self.out.is_done() {
                return;
            }
            let pause = self.session.paused_until(now);
            let may_read = self.out.is_clear() && pause.is_none();
            if may_read && self.frames.has_frame() {
                // Frames that a turn's budget left over are served after the others had theirs.
                tokio::task::yield_now().await;
                now = clock();
                self.read_frames(now, &[]);
                continue;
            }
            let machine = self.session.poll_timeout().map(|(at, _)| at);
            alarm.set(now, [machine, self.out.slow_at(), pause]);
            let next = self.event(&mut alarm, may_read).await;
            now = clock();
            self.apply(next, now);
        }
    }

    async fn event(&mut self, alarm: &mut Alarm, readable: bool) -> Next {
        poll_fn(|cx| {
            self.listen(cx);
            if self.mail_waits() {
                return Poll::Ready(Next::Mail(0));
            }
            if let Poll::Ready(next) = self.out.poll_io(cx, &mut self.stream, readable) {
                return Poll::Ready(next);
            }
            alarm.poll(cx)
        })
        .await
    }

    /// Whose mailboxes know this waker already need not be told again.
    fn listen(&mut self, cx: &Context<'_>) {
        let known = self.listening.as_ref();
        if known.is_none_or(|known| !known.will_wake(cx.waker())) {
            self.door.listen(cx.waker());
            for held in &self.held {
                held.mailbox.listen(cx.waker());
            }
            self.listening = Some(cx.waker().clone());
        }
    }

    fn mail_waits(&self) -> bool {
        self.door.has_mail() || self.held.iter().any(|held| held.mailbox.has_mail())
    }

    fn apply(&mut self, next: Next, now: Instant) {
        match next {
            Next::Read(len) => with_read(len, |chunk| self.read_frames(now, chunk)),
            Next::Wrote => {
                self.out.wrote();
                if std::mem::take(&mut self.work_waits) {
                    let links = self.held.iter().filter_map(|held| held.link).collect();
                    self.worked(now, links);
                }
            }
            Next::Ended { vanished } => {
                let why = self.ended();
                self.vanished = vanished && why == Close::Peer;
                self.close.get_or_insert(why);
            }
            Next::Mail(_) => self.open_mail(now),
            Next::Time if self.out.is_slow(now) => self.close = Some(Close::SlowReader),
            Next::Time => self.session.handle_timeout(now),
        }
    }

    /// Why there is nothing more to read: what Noise refuses is the peer's doing, not its leaving.
    fn ended(&self) -> Close {
        match self.stream.failed() {
            None => Close::Peer,
            Some(OpenError::TooLong { .. }) => Close::Overlong,
            Some(_) => Close::Malformed,
        }
    }

    fn read_frames(&mut self, now: Instant, mut chunk: &[u8]) {
        for _ in 0..TURN {
            match self.frames.next(&mut chunk) {
                Some(Ok(frame)) => {
                    trace!(
                        kind = frame.header.kind,
                        len = frame.payload.len(),
                        "from miner"
                    );
                    self.session.handle_input(now, Input::Frame(frame));
                }
                Some(Err(_)) => self.session.handle_input(now, Input::TooLong),
                None => break,
            }
        }
        self.frames.keep(chunk);
        let most = self.session.max_payload();
        self.frames.set_max(most);
        self.stream.set_max(most);
    }

    /// Does what the machine wants until it wants no more; gives back the time, which is that of after the last wait.
    async fn carry_out(&mut self, mut now: Instant) -> Instant {
        let mut asked = Asked::default();
        loop {
            match self.outputs(now, &mut asked) {
                Some(wait) => self.wait(wait).await,
                None if asked.is_empty() => return now,
                None => self.answers(now, std::mem::take(&mut asked)).await,
            }
            now = clock();
        }
    }

    /// The other sessions of this turn have theirs first; whoever comes back first hashes for all.
    async fn answers(&mut self, now: Instant, asked: Asked) {
        reach::behind_the_others().await;
        for (id, ticket) in asked.shares {
            let answer = self.shard.judge().take(ticket);
            self.proven(now, id, &answer);
        }
        for (id, work, lane) in asked.roots {
            let root = self.shard.roots().take(&work, lane);
            self.session.handle_input(now, Input::Root(id, &work, root));
        }
    }

    fn outputs(&mut self, now: Instant, asked: &mut Asked) -> Option<Wait> {
        while let Some(output) = self.session.poll_output() {
            let wait = match output {
                Output::Send(bytes) => {
                    self.out.push(bytes);
                    None
                }
                Output::Of(id, output) => self.act(now, id, output, asked),
                Output::Root(id, work, lane) => {
                    self.shard.roots().ask(work.clone(), lane);
                    asked.roots.push((id, work, lane));
                    None
                }
                Output::Closed(id, why) => self.channel_closed(now, id, why),
                Output::Close(why) => {
                    self.close = Some(why);
                    None
                }
            };
            if wait.is_some() {
                return wait;
            }
        }
        None
    }

    fn act(
        &mut self,
        now: Instant,
        id: SessionId,
        output: session::Output,
        asked: &mut Asked,
    ) -> Option<Wait> {
        match output {
            session::Output::Judge(request) if asked.shares.is_empty() && self.shard.is_quiet() => {
                let answer = self.shard.judge().prove_one(request);
                self.proven(now, id, &answer);
            }
            session::Output::Judge(request) => {
                asked.shares.push((id, self.shard.judge().ask(request)));
            }
            session::Output::Submit(share) => return Some(Wait::Submit(id, share)),
            session::Output::Attach(attach) => return self.attach(now, id, attach),
            session::Output::Refresh(link) => {
                if let Some(port) = self.shard.hub.links.get(usize::from(link.0)) {
                    port.refresh.notify_one();
                }
            }
            session::Output::Observe(observation) => self.shard.observe(*observation),
            session::Output::Event(event) => {
                return reach::announce(&self.shard, id, event, now).map(Wait::Router);
            }
            session::Output::Send(_) | session::Output::Close(_) => {}
        }
        None
    }

    fn proven(&mut self, now: Instant, id: SessionId, answer: &Answer) {
        if answer.timed {
            let seconds = clock().saturating_duration_since(now).as_secs_f64();
            self.shard.hub.board.verdict_seconds(seconds);
        }
        let Answer { request, proof, .. } = answer;
        let judged = session::Input::Judged(request, proof);
        self.session.handle_input(now, Input::Of(id, judged));
    }

    /// A new channel: the first is the connection itself, any other becomes known now.
    fn attach(&mut self, now: Instant, id: SessionId, attach: session::Attach) -> Option<Wait> {
        let mailbox = if id == self.own {
            self.door.clone()
        } else {
            let hub = &self.shard.hub;
            hub.board.connected(id, self.listener, self.peer, now);
            if let Some(power) = &hub.power {
                power.joined(id, self.peer.ip());
            }
            let mailbox = Arc::<Mailbox>::default();
            self.shard.joined(id, mailbox.clone());
            mailbox
        };
        self.shard.hub.board.speaks_v2(id);
        if let Some(waker) = &self.listening {
            mailbox.listen(waker);
        }
        let wish = reach::wish(id, self.listener, attach, &mailbox);
        self.held.push(Held {
            id,
            mailbox,
            attached: wish.is_some(),
            watched: false,
            link: None,
        });
        if wish.is_none() {
            let full = session::Input::NoSeat(NoSeat::Full);
            self.session.handle_input(now, Input::Of(id, full));
        }
        wish.map(Wait::Router)
    }

    async fn wait(&mut self, wait: Wait) {
        match wait {
            Wait::Farewell(works, detach) => {
                if !works.is_empty() {
                    reach::tell_router(&self.shard, ToRouter::Works(works)).await;
                }
                if let Some(detach) = detach {
                    reach::tell_router(&self.shard, detach).await;
                }
            }
            Wait::Submit(id, share) => {
                let (worker, hashes) = (share.worker.clone(), share.work.pool_difficulty.hashes());
                let result = reach::hand_over(&self.shard, share).await;
                let submitted = session::Input::Submitted(&worker, result, hashes);
                self.session.handle_input(clock(), Input::Of(id, submitted));
            }
            Wait::Router(message) => {
                let wanted = match &message {
                    ToRouter::Attach(_, id, _) => Some(*id),
                    _ => None,
                };
                let heard = reach::tell_router(&self.shard, message).await;
                if let Some(id) = wanted.filter(|_| !heard) {
                    let full = session::Input::NoSeat(NoSeat::Full);
                    self.session.handle_input(clock(), Input::Of(id, full));
                }
            }
        }
    }

    /// Its seat goes back; its last shares were observed before.
    fn channel_closed(&mut self, now: Instant, id: SessionId, why: Close) -> Option<Wait> {
        let memory = self.session.take_memory(id);
        let at = self.held.iter().position(|held| held.id == id)?;
        let held = self.held.swap_remove(at);
        // Its last shares are booked while the board still knows where it came in.
        let works = self.shard.book(now);
        self.shard.hub.board.closed(id, why, now);
        if id == self.own {
            self.shown = false;
            self.door.follow(None);
            if let Some(power) = &self.shard.hub.power {
                power.left(id);
            }
        } else {
            self.shard.left(id);
        }
        debug!(session = id.0, why = why.label(), "channel closed");
        let detach = router::Input::Detach {
            session: id,
            memory,
            vanished: self.vanished || why == Close::SlowReader,
        };
        let detach = ToRouter::Input(Box::new(detach));
        Some(Wait::Farewell(works, held.attached.then_some(detach)))
    }

    /// The end of the connection and with it of all its channels; nobody is there to be answered.
    async fn end(&mut self) {
        let now = clock();
        let why = self.close.unwrap_or(Close::Peer);
        self.session.handle_input(now, Input::Close(why));
        let mut asked = Asked::default();
        while let Some(output) = self.session.poll_output() {
            let wait = match output {
                Output::Of(_, session::Output::Judge(_) | session::Output::Attach(_)) => None,
                Output::Of(id, output) => self.act(now, id, output, &mut asked),
                Output::Closed(id, why) => self.channel_closed(now, id, why),
                Output::Send(_) | Output::Root(..) | Output::Close(_) => None,
            };
            if let Some(wait) = wait {
                self.wait(wait).await;
            }
        }
        let left: Vec<_> = self.session.last_observations().collect();
        left.into_iter().for_each(|seen| self.shard.observe(*seen));
        for id in self.held.iter().map(|held| held.id).collect::<Vec<_>>() {
            if let Some(wait) = self.channel_closed(now, id, why) {
                self.wait(wait).await;
            }
        }
        if self.shown {
            self.shard.hub.board.closed(self.own, why, now);
        }
        debug!(session = self.own.0, why = why.label(), "closed");
    }
}
