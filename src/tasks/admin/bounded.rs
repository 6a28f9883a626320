//! A listener with limits: so many connections, so much time and so many bytes a request. Knows no HTTP: a request
//! begins with the first byte read after something was written. Invariant: a connection that asks nothing, drips its
//! head, or does not read its answer is gone within [`REQUEST`].

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at once; others wait in the backlog. A dashboard and a few scrapers need ten.
pub(super) const CONNECTIONS: usize = 64;
/// From its first byte to its answer being written.
pub(super) const REQUEST: Duration = Duration::from_secs(10);
/// Most bytes of a request, head and body: reads have no body, and browsers' heads are below 8 KiB.
pub(super) const REQUEST_BYTES: usize = 16 * 1024;
/// Wait after a failed accept: descriptors are short, and asking at once would spin.
const BACK_OFF: Duration = Duration::from_millis(200);

/// The listener.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    request: Duration,
}

impl Bounded {
    /// Limits on top of a bound listener; `request` is [`REQUEST`] but in tests.
    pub(super) fn new(listener: TcpListener, request: Duration) -> Self {
        Self {
            listener,
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            request,
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permits = self.permits.clone();
        let permit = permits.acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (Connection::new(stream, permit, self.request), peer),
                Err(_) => sleep(BACK_OFF).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection under its limits.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    request: Duration,
    answered: bool,
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit, request: Duration) -> Self {
        Self {
            stream,
            deadline: Box::pin(sleep(request)),
            request,
            answered: false,
            bytes: 0,
            _permit: permit,
        }
    }

    /// Fails once the time is over, else has the task woken then.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Counts what was read; the first bytes after an answer begin a new request.
    fn count(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > 0 && self.answered {
            self.answered = false;
            self.bytes = 0;
            self.deadline.as_mut().reset(Instant::now() + self.request);
        }
        self.bytes += bytes;
        if self.bytes > REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            read?;
            return Poll::Ready(this.count(buffer.filled().len() - before));
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
        this.in_time(cx)?;
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.answered = true;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
