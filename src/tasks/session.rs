//! One miner's connection: bytes to the session machine, its wishes to the rest. Decides nothing about mining.
//!
//! Two steps, for ever: wait for one event (`Conn::event`), then apply it without awaiting; between them the machine's
//! outputs are carried out. Invariant: nothing is read while an answer cannot be sent.

mod end;
mod news;
mod pump;
mod reach;
pub mod v2;

use super::ToRouter;
use super::judge::{Answer, Ticket};
use super::mail::{DRAIN, Mailbox};
use super::shard::Shard;
use crate::machine::Machine;
use crate::proxy::lease::{ListenerId, SessionId, Submission};
use crate::proxy::session::{Attach, Close, Input, NoSeat, Output, Session};
use crate::stratum::v1::line::Lines;
use crate::work::LinkId;
use pump::{Outlet, with_read};
use smallvec::SmallVec;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tracing::trace;

/// Longest line of a miner; a submit has about 120 bytes.
pub const MAX_LINE: usize = 4096;
/// Lines handled before other miners have their turn.
const TURN: usize = 32;
/// What a session task is given.
#[derive(Debug)]
pub struct Start<S> {
    /// The socket.
    pub stream: S,
    /// What was read of it already.
    pub first: Vec<u8>,
    /// The machine.
    pub session: Session,
    /// Its id.
    pub id: SessionId,
    /// Where it came in.
    pub listener: ListenerId,
    /// Its shard.
    pub shard: Arc<Shard>,
    /// The process drains.
    pub cancel: CancellationToken,
}

/// One thing that happened.
#[derive(Clone, Copy)]
enum Next {
    Read(usize),
    Wrote,
    Ended { vanished: bool },
    Mail(u8),
    Time,
}

/// The one timer of a session.
struct Alarm {
    at: Instant,
    /// It has been polled since it was set.
    heard: bool,
    timer: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new(now: Instant) -> Self {
        Self {
            at: now,
            heard: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Deadlines mostly move away with every share; an alarm that is early costs less than moving it each time.
    fn set(&mut self, now: Instant, deadlines: [Option<Instant>; 3]) {
        // Nothing to wait for: an hour is as good as never.
        let deadline = deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + Duration::from_secs(3600));
        if deadline < self.at || now >= self.at {
            self.at = deadline;
            self.heard = false;
            self.timer.as_mut().reset(deadline.into());
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // Out of budget, the timer only asks to be polled again.
        self.heard = tokio::task::coop::has_budget_remaining();
        self.timer.as_mut().poll(cx).map(|()| Next::Time)
    }
}

/// Tickets of the judge, in the order asked. Mostly a miner brings one share at a time.
type Asked = SmallVec<[Ticket; 2]>;

/// What a session may have to wait for: room in a queue.
enum Wait {
    Submit(Box<Submission>),
    Router(ToRouter),
}

struct Conn<S> {
    stream: S,
    lines: Lines,
    session: Session,
    id: SessionId,
    listener: ListenerId,
    shard: Arc<Shard>,
    out: Outlet,
    mailbox: Arc<Mailbox>,
    /// The waker the mailbox knows.
    listening: Option<Waker>,
    attached: bool,
    /// Its machine is told to give way.
    watched: bool,
    /// The leased link.
    link: Option<LinkId>,
    /// Work came while the miner did not read.
    work_waits: bool,
    close: Option<Close>,
    vanished: bool,
}

/// Runs one connection to its end. Not an `async fn`, whose future would hold what it was given beside what it makes of it.
pub fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    start: Start<S>,
) -> impl Future<Output = ()> + Send {
    let Start {
        stream,
        first,
        session,
        id,
        listener,
        shard,
        cancel,
    } = start;
    let mut conn = Conn {
        stream,
        lines: Lines::new(MAX_LINE),
        session,
        id,
        listener,
        shard,
        out: Outlet::default(),
        mailbox: Arc::default(),
        listening: None,
        attached: false,
        watched: false,
        link: None,
        work_waits: false,
        close: None,
        vanished: false,
    };
    conn.lines.keep(&first);
    async move {
        // A panic in here costs this connection; its lane is never given back, so it is never given out twice.
        conn.shard.joined(id, conn.mailbox.clone());
        if cancel.is_cancelled() {
            // The drain may have been told before this session could hear of it.
            conn.mailbox.ring(DRAIN);
        }
        conn.serve().await;
        conn.shard.left(id);
        conn.end().await;
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
            if may_read && self.lines.has_line() {
                // Lines that a turn's budget left over are served after the others had theirs.
                tokio::task::yield_now().await;
                now = clock();
                self.read_lines(now, &[]);
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
        let mut woken = false;
        poll_fn(|cx| {
            let first = !std::mem::replace(&mut woken, true);
            if let Some(flags) = self.poll_mail(cx) {
                return Poll::Ready(Next::Mail(flags));
            }
            if let Poll::Ready(next) = self.out.poll_io(cx, &mut self.stream, readable) {
                return Poll::Ready(next);
            }
            // Once the timer knows the waker it need not be touched before it wakes us.
            if alarm.heard && first {
                return Poll::Pending;
            }
            alarm.poll(cx)
        })
        .await
    }

    fn poll_mail(&mut self, cx: &Context<'_>) -> Option<u8> {
        let known = self.listening.as_ref();
        if known.is_none_or(|known| !known.will_wake(cx.waker())) {
            self.mailbox.listen(cx.waker());
            self.listening = Some(cx.waker().clone());
        }
        let flags = self.mailbox.take();
        (flags != 0).then_some(flags)
    }

    fn apply(&mut self, next: Next, now: Instant) {
        match next {
            Next::Read(len) => with_read(len, |chunk| self.read_lines(now, chunk)),
            Next::Wrote => {
                self.out.wrote();
                if std::mem::take(&mut self.work_waits) {
                    self.worked(now);
                }
            }
            Next::Ended { vanished } => {
                self.vanished = vanished;
                self.close.get_or_insert(Close::Peer);
            }
            Next::Mail(flags) => self.opened(now, flags),
            Next::Time if self.out.is_slow(now) => self.close = Some(Close::SlowReader),
            Next::Time => self.session.handle_timeout(now),
        }
    }

    fn read_lines(&mut self, now: Instant, mut chunk: &[u8]) {
        for _ in 0..TURN {
            match self.lines.next(&mut chunk) {
                Some(Ok(line)) => {
                    trace!(line = %line.escape_ascii(), "from miner");
                    self.session.handle_input(now, Input::Line(line));
                }
                Some(Err(_)) => self.session.handle_input(now, Input::Overlong),
                None => break,
            }
        }
        self.lines.keep(chunk);
    }

    /// Does what the machine wants until it wants no more; gives back the time. It must be that of after the last wait:
    /// the alarm may have gone off meanwhile, and its wake was taken for another.
    async fn carry_out(&mut self, mut now: Instant) -> Instant {
        let mut asked = Asked::new();
        loop {
            match self.outputs(now, &mut asked) {
                Some(wait) => self.wait(wait).await,
                None if asked.is_empty() => return now,
                None => self.verdicts(now, std::mem::take(&mut asked)).await,
            }
            now = clock();
        }
    }

    /// The other sessions of this turn have theirs first; whoever comes back first makes the judge prove all.
    async fn verdicts(&mut self, now: Instant, asked: Asked) {
        reach::behind_the_others().await;
        for ticket in asked {
            let answer = self.shard.judge().take(ticket);
            self.proven(now, &answer);
        }
    }

    /// Carries out what the machine wants by now, up to what may have to wait; keeps the tickets of what the judge has.
    /// Apart, because a future has room for all that lives around an `await`, and ten thousand idle miners for it too.
    fn outputs(&mut self, now: Instant, asked: &mut Asked) -> Option<Wait> {
        while let Some(output) = self.session.poll_output() {
            let wait = self.act(now, output, asked);
            if wait.is_some() {
                return wait;
            }
        }
        None
    }

    async fn wait(&mut self, wait: Wait) {
        match wait {
            Wait::Submit(share) => self.submit(share).await,
            Wait::Router(message) => self.tell_router(message).await,
        }
    }

    fn act(&mut self, now: Instant, output: Output, asked: &mut Asked) -> Option<Wait> {
        match output {
            Output::Send(bytes) => self.out.push(bytes),
            Output::Judge(request) if asked.is_empty() && self.shard.is_quiet() => {
                let answer = self.shard.judge().prove_one(request);
                self.proven(now, &answer);
            }
            Output::Judge(request) => asked.push(self.shard.judge().ask(request)),
            Output::Submit(share) => return Some(Wait::Submit(share)),
            Output::Attach(attach) => return self.attach(now, attach).map(Wait::Router),
            Output::Refresh(link) => {
                if let Some(port) = self.shard.hub.links.get(usize::from(link.0)) {
                    port.refresh.notify_one();
                }
            }
            Output::Observe(observation) => self.shard.observe(*observation),
            Output::Event(event) => {
                return reach::announce(&self.shard, self.id, event, now).map(Wait::Router);
            }
            Output::Close(why) => self.close = Some(why),
        }
        None
    }

    fn proven(&mut self, now: Instant, answer: &Answer) {
        if answer.timed {
            // From the turn's beginning: what the miner waited for.
            let seconds = clock().saturating_duration_since(now).as_secs_f64();
            self.shard.hub.board.verdict_seconds(seconds);
        }
        let Answer { request, proof, .. } = answer;
        self.session
            .handle_input(now, Input::Judged(request, proof));
    }

    async fn submit(&mut self, share: Box<Submission>) {
        let (worker, hashes) = (share.worker.clone(), share.work.pool_difficulty.hashes());
        let result = reach::hand_over(&self.shard, share).await;
        self.session
            .handle_input(clock(), Input::Submitted(&worker, result, hashes));
    }

    fn attach(&mut self, now: Instant, attach: Attach) -> Option<ToRouter> {
        let wish = reach::wish(self.id, self.listener, attach, &self.mailbox);
        match wish {
            Some(_) => self.attached = true,
            None => self.session.handle_input(now, Input::NoSeat(NoSeat::Full)),
        }
        wish
    }

    /// A router that is gone gives no seats; all else it need not hear any more.
    async fn tell_router(&mut self, message: ToRouter) {
        let attaches = matches!(message, ToRouter::Attach(..));
        let heard = reach::tell_router(&self.shard, message).await;
        if !heard && attaches {
            self.session
                .handle_input(clock(), Input::NoSeat(NoSeat::Full));
        }
    }
}

/// The clock of the timers, so that a test can hold both.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
