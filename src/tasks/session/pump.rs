//! Bytes between a miner's socket and a session: one read or the waiting output at a time. Knows no lines.
//!
//! Invariant: nothing is read while something waits to be written.

use super::super::shard::Shard;
use super::{Next, clock};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A miner that takes nothing for this long is given up.
const SLOW_READER: Duration = Duration::from_secs(30);
/// What one read takes at most. Shared by all sessions of a thread: an idle miner holds no buffer.
const READ: usize = 16 * 1024;

thread_local! {
    static READ_BUF: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What the last read brought. Nothing may be awaited between the read and this: the buffer is everybody's.
pub(super) fn with_read<T>(len: usize, then: impl FnOnce(&[u8]) -> T) -> T {
    READ_BUF.with_borrow(|buf| then(&buf[..len]))
}

/// What waits to be written to one miner.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    bytes: Vec<u8>,
    /// Since when the miner does not take it. With nothing left, all was taken by the layer below (TLS, Noise), which still
    /// holds some of it.
    blocked_since: Option<Instant>,
    /// When the pool's newest job in it came.
    pub(super) job_from: Option<Instant>,
}

impl Outlet {
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
    }

    /// Nothing waits: the miner may be read, and told of work.
    pub(super) fn is_clear(&self) -> bool {
        self.bytes.is_empty() && self.blocked_since.is_none()
    }

    /// What the miner takes has left.
    pub(super) fn is_done(&self) -> bool {
        self.bytes.is_empty() || self.blocked_since.is_some()
    }

    /// When the miner is given up.
    pub(super) fn slow_at(&self) -> Option<Instant> {
        self.blocked_since.map(|since| since + SLOW_READER)
    }

    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.slow_at().is_some_and(|at| now >= at)
    }

    /// All of it was taken.
    pub(super) fn wrote(&mut self) {
        self.blocked_since = None;
    }

    /// Writes what can be written at once.
    pub(super) fn flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        shard: &Shard,
    ) -> io::Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut cx = Context::from_waker(Waker::noop());
        match self.poll_write_all(&mut cx, stream) {
            Poll::Ready(Ok(())) => {
                if let Some(at) = self.job_from.take() {
                    shard.wrote_job(clock().saturating_duration_since(at));
                }
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => {
                self.blocked_since = Some(clock());
                Ok(())
            }
        }
    }

    /// Writes what waits, else reads if it may.
    pub(super) fn poll_io<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        readable: bool,
    ) -> Poll<Next> {
        if !self.is_clear() {
            return match self.poll_write_all(cx, stream) {
                Poll::Ready(Ok(())) => Poll::Ready(Next::Wrote),
                Poll::Ready(Err(_)) => Poll::Ready(Next::Ended { vanished: true }),
                Poll::Pending => Poll::Pending,
            };
        }
        if !readable {
            return Poll::Pending;
        }
        READ_BUF.with_borrow_mut(|buf| {
            let mut buf = ReadBuf::new(buf);
            match Pin::new(stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    Poll::Ready(Next::Ended { vanished: false })
                }
                // Applied before anything else is awaited, so no other session has touched the buffer.
                Poll::Ready(Ok(())) => Poll::Ready(Next::Read(buf.filled().len())),
                Poll::Ready(Err(_)) => Poll::Ready(Next::Ended { vanished: true }),
                Poll::Pending => Poll::Pending,
            }
        })
    }

    /// Writes all of it; what could not be written stays.
    fn poll_write_all<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        let mut written = 0;
        let result = loop {
            if written == self.bytes.len() {
                break Pin::new(&mut *stream).poll_flush(cx);
            }
            match Pin::new(&mut *stream).poll_write(cx, &self.bytes[written..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) => written += more,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if written == self.bytes.len() {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..written);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TLS or Noise over a socket that is full: it takes all, and is done once the socket is.
    struct Layer {
        socket_takes: bool,
    }

    impl AsyncWrite for Layer {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.socket_takes {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Layer {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            panic!("nothing is read while something waits to be written");
        }
    }

    #[test]
    fn what_a_layer_below_holds_back_is_pushed_until_it_has_left() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut layer = Layer {
            socket_takes: false,
        };
        let mut out = Outlet::default();
        out.push(b"a job".to_vec());
        assert!(out.poll_write_all(&mut cx, &mut layer).is_pending());
        assert!(out.bytes.is_empty(), "the layer has it");
        // As after a flush.
        out.blocked_since = Some(clock());
        assert!(out.poll_io(&mut cx, &mut layer, true).is_pending());
        layer.socket_takes = true;
        let pushed = out.poll_io(&mut cx, &mut layer, true);
        assert!(matches!(pushed, Poll::Ready(Next::Wrote)));
    }
}
