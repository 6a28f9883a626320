//! Bytes between a miner's socket and a session: one read or the waiting output at a time. Knows no lines.
//!
//! Invariant: nothing is read while something waits to be written.

use super::Next;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one read takes at most. Shared by all sessions of a thread: an idle miner holds no buffer.
const READ: usize = 16 * 1024;

thread_local! {
    static READ_BUF: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What the last read brought. Nothing may be awaited between the read and this: the buffer is everybody's.
pub(super) fn with_read<T>(len: usize, then: impl FnOnce(&[u8]) -> T) -> T {
    READ_BUF.with_borrow(|buf| then(&buf[..len]))
}

/// Writes what waits, else reads if it may. `blocked`: the last write did not come to its end.
pub(super) fn poll_io<S: AsyncRead + AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    out: &mut Vec<u8>,
    blocked: bool,
    readable: bool,
) -> Poll<Next> {
    // Blocked with nothing left: all was taken by the layer below (TLS, Noise), which still holds some of it.
    if !out.is_empty() || blocked {
        return match poll_write_all(cx, stream, out) {
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
pub(super) fn poll_write_all<S: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    out: &mut Vec<u8>,
) -> Poll<io::Result<()>> {
    let mut written = 0;
    let result = loop {
        if written == out.len() {
            break Pin::new(&mut *stream).poll_flush(cx);
        }
        match Pin::new(&mut *stream).poll_write(cx, &out[written..]) {
            Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(more)) => written += more,
            Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
            Poll::Pending => break Poll::Pending,
        }
    };
    if written == out.len() {
        *out = Vec::new();
    } else {
        out.drain(..written);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

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
        let mut out = b"a job".to_vec();
        assert!(poll_write_all(&mut cx, &mut layer, &mut out).is_pending());
        assert!(out.is_empty(), "the layer has it");
        assert!(poll_io(&mut cx, &mut layer, &mut out, true, true).is_pending());
        layer.socket_takes = true;
        let pushed = poll_io(&mut cx, &mut layer, &mut out, true, true);
        assert!(matches!(pushed, Poll::Ready(Next::Wrote)));
    }
}
