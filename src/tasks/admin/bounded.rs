//! A listener with limits: so many connections, so much time and so many bytes a request. Of HTTP it knows that a head
//! ends with an empty line; that a request begins with the first byte read after something was written.
//!
//! Invariants: a connection that drips its request or does not read its answer is gone within [`REQUEST`], one that asks
//! nothing within [`SILENT`]; and none that asks nothing ever keeps out one that asks (`crowd.rs`).
//!
//! ```text
//!          first byte          empty line             first byte written
//!   Silent ──────────> Asking ────────────> Asked ──────────────────────> Answered ──┐
//!                        ^                                                first byte │
//!                        └───────────────────────────────────────────────────────────┘
//! ```

mod crowd;

use axum::serve::Listener;
use crowd::{Crowd, Seat};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at once. Dashboards and scrapers need ten; each sender of orders that keeps its connection one more.
pub(super) const CONNECTIONS: usize = 256;
/// From its first byte to its answer being written.
pub(super) const REQUEST: Duration = Duration::from_secs(10);
/// Until the first byte, and from an answer to the next request: a round trip to the other side of the world and back
/// three times. Who keeps connections longer connects again.
pub(super) const SILENT: Duration = Duration::from_secs(2);
/// Most bytes of a request, head and body: an order has 4 KiB, and browsers' heads are below 8 KiB.
pub(super) const REQUEST_BYTES: usize = 16 * 1024;
/// Wait after a failed accept: descriptors are short, and asking at once would spin.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Times that a connection may take: [`SILENT`] and [`REQUEST`] but in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) silent: Duration,
    pub(super) request: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            silent: SILENT,
            request: REQUEST,
        }
    }
}

/// The listener.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    crowd: Crowd,
    times: Times,
}

impl Bounded {
    /// Limits on top of a bound listener.
    pub(super) fn new(listener: TcpListener, times: Times) -> Self {
        Self {
            listener,
            crowd: Crowd::new(CONNECTIONS),
            times,
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let seat = self.crowd.seat().await;
                    return (Connection::new(stream, seat, self.times), peer);
                }
                Err(_) => sleep(BACK_OFF).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Silent,
    Asking,
    Asked,
    Answered,
}

/// One connection under its limits.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    seat: Seat,
    times: Times,
    phase: Phase,
    head: Head,
    /// Of this request, so far.
    bytes: usize,
    /// When this request must be done.
    end: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(stream: TcpStream, seat: Seat, times: Times) -> Self {
        Self {
            stream,
            seat,
            times,
            phase: Phase::Silent,
            head: Head::default(),
            bytes: 0,
            end: Instant::now() + times.request,
            deadline: Box::pin(sleep(times.silent)),
        }
    }

    /// Fails once the time is over, else has the task woken then.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Counts what was read.
    fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if matches!(self.phase, Phase::Silent | Phase::Answered) {
            self.phase = Phase::Asking;
            self.head = Head::default();
            self.bytes = 0;
            self.end = Instant::now() + self.times.request;
            self.deadline.as_mut().reset(self.end);
        }
        self.bytes += bytes.len();
        if self.bytes > REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.phase == Phase::Asking && self.head.ends_in(bytes) {
            self.phase = Phase::Asked;
            self.seat.busy();
        }
        Ok(())
    }

    /// Some of an answer is on its way. Perhaps all of it: then the silence begins.
    fn wrote(&mut self) {
        self.phase = Phase::Answered;
        self.seat.idle();
        let silent = Instant::now() + self.times.silent;
        self.deadline.as_mut().reset(silent.min(self.end));
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Before anything is read: no request is begun that will not be answered.
        if this.seat.poll_asked_for(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            read?;
            return Poll::Ready(this.read(&buffer.filled()[before..]));
        }
        this.in_time(cx)?;
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write(cx, bytes) {
            let written = written?;
            this.wrote();
            return Poll::Ready(Ok(written));
        }
        // Nobody reads the answer: that is not silence, and has the request's time.
        this.seat.busy();
        let end = this.end;
        this.deadline.as_mut().reset(end);
        this.in_time(cx)?;
        Poll::Pending
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Looks for the end of a head: an empty line, but for those before the first that is none (RFC 9112, 2.2).
#[derive(Debug, Default)]
struct Head {
    /// Line ends since the last other byte; `None`: there was no other byte yet.
    line_ends: Option<u8>,
}

impl Head {
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| match (byte, &mut self.line_ends) {
            (b'\r', _) | (b'\n', None) => false,
            (b'\n', Some(ends)) => {
                *ends += 1;
                *ends == 2
            }
            _ => {
                self.line_ends = Some(0);
                false
            }
        })
    }
}

#[cfg(test)]
mod tests;
