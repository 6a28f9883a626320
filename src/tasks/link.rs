//! One pool: sockets for the link machine, shares in, work out. Decides nothing about mining.
//!
//! Invariant: what is published is the machine's newest work; what is read from the queues goes into the machine whole.

use super::net::{self, Stream};
use super::{LinkOrders, Published, ToRouter};
use crate::config::Pool;
use crate::machine::Machine;
use crate::proxy::lease::Submission;
use crate::proxy::link::Protocol;
use crate::proxy::link::{Event, Input, Link, Output};
use crate::proxy::router;
use crate::stratum::v1::line::Lines;
use crate::stratum::v2::frame::{Frames, MAX_UP};
use crate::stratum::v2::noise::AuthorityPublic;
use crate::telemetry::Board;
use crate::telemetry::log::Repeats;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, trace, warn};

/// Longest line of a pool (STRATUM.md section 2).
pub const MAX_LINE: usize = 128 * 1024;
/// A pool's chatter of one kind is logged once in this time, with a count.
const FOLD: Duration = Duration::from_secs(60);
/// Shares written together at most.
const BATCH: usize = 256;
/// Bytes that may wait for a pool that does not read; then its queue fills, sessions wait, shares are dropped and counted.
const MOST_UNWRITTEN: usize = 64 * 1024;

/// What a link task is given.
#[derive(Debug)]
pub struct Start {
    /// Where.
    pub pool: Pool,
    /// The machine.
    pub link: Link,
    /// Shares.
    pub shares_rx: mpsc::Receiver<Box<Submission>>,
    /// Block candidates.
    pub blocks_rx: mpsc::Receiver<Box<Submission>>,
    /// Layout and fleet size.
    pub orders_rx: watch::Receiver<LinkOrders>,
    /// Where its work goes.
    pub work_tx: watch::Sender<Option<Published>>,
    /// The rest of the process (its `refresh` is ours).
    pub hub: Arc<super::Hub>,
    /// Drain.
    pub cancel: CancellationToken,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Stream, String>> + Send>>;

enum Next {
    Connected(Result<Stream, String>),
    Read(usize),
    Wrote,
    Ended(String),
    Share(Option<Box<Submission>>),
    Orders,
    Refresh,
    Time,
    Drain,
}

/// What of a read is not a whole message yet, by protocol.
enum Unread {
    Lines(Lines),
    Frames(Frames),
}

impl Unread {
    fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::V1 => Self::Lines(Lines::new(MAX_LINE)),
            Protocol::V2 => Self::Frames(Frames::new(MAX_UP)),
        }
    }
}

struct Task {
    start: Start,
    tls: Option<TlsConnector>,
    connecting: Option<Connecting>,
    stream: Option<Stream>,
    unread: Unread,
    out: Vec<u8>,
    buf: Box<[u8]>,
    board: Arc<Board>,
    repeats: Repeats,
}

/// Runs one link until it has drained.
pub async fn run(start: Start, tls: Option<TlsConnector>) {
    let board = start.hub.board.clone();
    let unread = Unread::new(start.pool.link.protocol);
    let mut task = Task {
        start,
        tls,
        connecting: None,
        stream: None,
        unread,
        out: Vec::new(),
        buf: vec![0; 32 * 1024].into_boxed_slice(),
        board,
        repeats: Repeats::new(FOLD),
    };
    task.serve().await;
}

impl Task {
    async fn serve(&mut self) {
        let mut draining = false;
        loop {
            self.carry_out().await;
            if draining && self.stream.is_none() && self.connecting.is_none() {
                return;
            }
            let next = self.event(draining).await;
            draining |= matches!(next, Next::Drain);
            let has_read = matches!(next, Next::Read(_));
            self.apply(next);
            if has_read {
                // A pool that talks without end shares this thread with the others and with the router.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn event(&mut self, draining: bool) -> Next {
        let deadline = self.start.link.poll_timeout().map(|(at, _)| at);
        let room = self.out.len() < MOST_UNWRITTEN;
        let Self {
            start,
            connecting,
            stream,
            out,
            buf,
            ..
        } = self;
        let refresh = &start.hub.links[usize::from(start.pool.link.id.0)].refresh;
        tokio::select! {
            biased;
            () = start.cancel.cancelled(), if !draining => Next::Drain,
            block = start.blocks_rx.recv(), if room => Next::Share(block),
            next = poll_io(stream, out, buf) => next,
            result = connected(connecting) => Next::Connected(result),
            Ok(()) = start.orders_rx.changed() => Next::Orders,
            () = refresh.notified() => Next::Refresh,
            share = start.shares_rx.recv(), if room && !draining => Next::Share(share),
            () = sleep_until(deadline) => Next::Time,
        }
    }

    fn apply(&mut self, next: Next) {
        let now = Instant::now();
        let link = &mut self.start.link;
        match next {
            Next::Connected(result) => {
                self.connecting = None;
                match result {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        self.unread = Unread::new(self.start.pool.link.protocol);
                        self.out.clear();
                        link.handle_input(now, Input::Connected);
                    }
                    Err(why) => link.handle_input(now, Input::ConnectFailed(&why)),
                }
            }
            Next::Read(len) => self.read(now, len),
            Next::Wrote => {}
            Next::Ended(why) => {
                self.stream = None;
                link.handle_input(now, Input::Disconnected(&why));
            }
            Next::Share(Some(share)) => {
                link.handle_input(now, Input::Submit(share));
                for _ in 1..BATCH {
                    let Ok(share) = self.start.shares_rx.try_recv() else {
                        break;
                    };
                    link.handle_input(now, Input::Submit(share));
                }
                if self.start.pool.link.protocol == Protocol::V2 {
                    // SRI's pool acknowledges ten at a time: what it has been sent is shown before.
                    let id = self.start.pool.link.id;
                    self.board.submitted(id, link.settled());
                }
            }
            // Every session is gone.
            Next::Share(None) => {}
            Next::Orders => {
                let orders = *self.start.orders_rx.borrow_and_update();
                if let Some(layout) = orders.layout {
                    link.handle_input(now, Input::Layout(layout));
                }
                link.handle_input(now, Input::Fleet(orders.fleet));
            }
            Next::Refresh => link.handle_input(now, Input::Refresh),
            Next::Time => link.handle_timeout(now),
            Next::Drain => {
                while let Ok(share) = self.start.shares_rx.try_recv() {
                    link.handle_input(now, Input::Submit(share));
                }
                self.connecting = None;
                link.handle_input(now, Input::Drain);
            }
        }
    }

    fn read(&mut self, now: Instant, len: usize) {
        let mut chunk = &self.buf[..len];
        let link = &mut self.start.link;
        match &mut self.unread {
            Unread::Lines(lines) => {
                while let Some(line) = lines.next(&mut chunk) {
                    let input = match line {
                        Ok(line) => {
                            trace!(line = %line.escape_ascii(), "from pool");
                            Input::Line(line)
                        }
                        Err(_) => Input::Overlong,
                    };
                    link.handle_input(now, input);
                }
                lines.keep(chunk);
            }
            Unread::Frames(frames) => {
                while let Some(frame) = frames.next(&mut chunk) {
                    let input = match frame {
                        Ok(frame) => {
                            trace!(
                                kind = frame.header.kind,
                                len = frame.payload.len(),
                                "from pool"
                            );
                            Input::Frame(frame)
                        }
                        Err(_) => Input::Overlong,
                    };
                    link.handle_input(now, input);
                }
                frames.keep(chunk);
            }
        }
    }

    async fn carry_out(&mut self) {
        let id = self.start.pool.link.id;
        while let Some(output) = self.start.link.poll_output() {
            let now = Instant::now();
            match output {
                Output::Connect(redirect) => self.connect(redirect),
                Output::Send(bytes) => self.out.extend_from_slice(&bytes),
                Output::Disconnect => self.disconnect().await,
                Output::Issue(issue) => {
                    self.board.link_issue(id, now);
                    self.start
                        .work_tx
                        .send_replace(Some(Published { issue, at: now }));
                }
                Output::Status(status) => {
                    self.board.link_status(id, &status, now);
                    let input = router::Input::Link(id, status);
                    let _ = self
                        .start
                        .hub
                        .router_tx
                        .send(ToRouter::Input(Box::new(input)))
                        .await;
                }
                Output::Settle(end) => self.board.settled(id, &end, self.start.link.settled(), now),
                Output::Event(event) => {
                    self.board.link_event(id, &event);
                    // What a pool can say at will is folded; what it does to us is told each time.
                    let class = match &event {
                        Event::Message(_) => Some("message"),
                        Event::BadNotify(_) => Some("bad notify"),
                        Event::ReconnectRefused(_) => Some("reconnect"),
                        Event::Extranonce => Some("extranonce"),
                        _ => None,
                    };
                    let folded = class.map_or(Some(0), |class| self.repeats.admit(class, now));
                    if let Some(folded) = folded {
                        say(&self.start.pool.link.name, &event, folded);
                    }
                }
            }
        }
    }

    fn connect(&mut self, redirect: Option<(String, u16)>) {
        let pool = &self.start.pool;
        let (host, port, authority) = place(pool, redirect);
        let tls = self.tls.clone();
        debug!(pool = %pool.link.name, host, port, "connecting");
        self.connecting = Some(Box::pin(async move {
            net::connect(&host, port, tls.as_ref(), authority).await
        }));
    }

    /// Lets what was written leave (a drain's last shares), as far as the socket takes it at once.
    async fn disconnect(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            let goodbye = async {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &self.out).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            };
            let _ = tokio::time::timeout(Duration::from_millis(100), goodbye).await;
        }
        self.out.clear();
        self.connecting = None;
    }
}

/// Where to, and whose certificate is believed there: the same authority's wherever a pool sends us (SV2 3.6.5).
fn place(pool: &Pool, redirect: Option<(String, u16)>) -> (String, u16, Option<AuthorityPublic>) {
    let (host, port) = redirect.unwrap_or_else(|| (pool.host.clone(), pool.port));
    let port = if port == 0 { pool.port } else { port };
    (host, port, pool.authority)
}

fn say(pool: &str, event: &Event, folded: u64) {
    if folded > 0 {
        info!(pool, folded, "more like the next line in the last minutes");
    }
    match event {
        Event::Up => info!(pool, "pool is up"),
        Event::Down { reason, retry_in } => {
            warn!(
                pool,
                reason,
                retry_in_s = (retry_in.as_secs_f64() * 10.0).round() / 10.0,
                "pool is down; trying again"
            );
        }
        Event::LoginRefused(text) => {
            warn!(
                pool,
                text, "the pool refused our login; check `user` and `password` of this pool"
            );
        }
        Event::WorkerRefused { worker, text } => {
            warn!(
                pool,
                worker,
                text,
                "the pool refused a worker; its shares go under the pool's own login name"
            );
        }
        Event::Difficulty(difficulty) => debug!(
            pool,
            difficulty = difficulty.value(),
            "the pool's difficulty"
        ),
        Event::Message(text) => info!(pool, text, "a message from the pool"),
        Event::BadNotify(why) => warn!(pool, why, "ignored a bad message of the pool"),
        Event::ReconnectRefused(host) => {
            warn!(
                pool,
                host, "the pool wants us elsewhere; not on its `reconnect_hosts`, ignored"
            );
        }
        Event::Extranonce => info!(pool, "the pool changed its extranonce"),
        Event::NewBlock => debug!(pool, "new clean work"),
    }
}

async fn connected(connecting: &mut Option<Connecting>) -> Result<Stream, String> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn poll_io(stream: &mut Option<Stream>, out: &mut Vec<u8>, buf: &mut [u8]) -> Next {
    let Some(stream) = stream else {
        return std::future::pending().await;
    };
    poll_fn(|cx| {
        if !out.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, out) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Next::Ended("the connection takes no more".to_owned()));
                }
                Poll::Ready(Ok(written)) => {
                    out.drain(..written);
                    return Poll::Ready(Next::Wrote);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Next::Ended(reason(&error))),
                Poll::Pending => {}
            }
        } else if let Poll::Ready(Err(error)) = Pin::new(&mut *stream).poll_flush(cx) {
            return Poll::Ready(Next::Ended(reason(&error)));
        }
        let mut read = ReadBuf::new(buf);
        match Pin::new(&mut *stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if read.filled().is_empty() => {
                Poll::Ready(Next::Ended("it closed the connection".to_owned()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Next::Read(read.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Next::Ended(reason(&error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "it reset the connection".to_owned(),
        _ => format!("the connection failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    // sv2: 3.3 a new server is met by a new handshake
    // sv2: 3.6.5 a Reconnect leads to no server of another authority
    #[test]
    fn wherever_a_pool_sends_us_its_own_authority_is_wanted() {
        let key = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
        let text = format!(
            "[[pool]]\nurl = \"stratum2+tcp://pool.example:34254/{key}\"\nuser = \"a.{{worker}}\"\n"
        );
        let config = Config::from_toml("x", &text, &|_| None).expect("valid");
        let pool = &config.pools[0];
        assert!(pool.authority.is_some());
        for (redirect, host, port) in [
            (None, "pool.example", 34254),
            (Some(("pool.example".to_owned(), 0)), "pool.example", 34254),
            (Some(("eu.example.org".to_owned(), 1)), "eu.example.org", 1),
        ] {
            let expected = (host.to_owned(), port, pool.authority);
            assert_eq!(place(pool, redirect), expected);
        }
    }
}
