//! A socket inside Noise: whoever reads and writes it sees the frames of Stratum V2 as they are. Decides nothing about them.
//!
//! ```text
//!   driver ── plaintext frames ──> NoiseStream ── sealed ──> socket
//!          <── plaintext frames ──             <── sealed ──
//! ```
//! How many handshakes run at once is the caller's to bound. Invariants: the socket is asked before more is taken, so what
//! waits in here is one write's worth at most; a connection on which nothing moves holds no buffer.

mod issuer;
#[cfg(test)]
mod tests;

pub use issuer::Issuer;

use crate::stratum::v2::noise::{
    AuthorityPublic, FRAME_HEADER, HELLO, HandshakeError, Initiator, OpenError, REPLY, Transport,
    frame_len, respond as answer, whole_frames,
};
use std::cell::RefCell;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// A handshake has this long from its first byte to its last, on either side.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// What one read of a socket takes at most.
const READ: usize = 16 * 1024;
/// Bytes sealed at once, or one frame: what may wait in here for a socket that is full.
const WRITE: usize = 64 * 1024;

thread_local! {
    /// What the last read brought, sealed and opened, and what the last write sealed. Shared by all connections of a
    /// thread and empty of meaning between polls.
    static CAME: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
    static OPENED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFailed {
    /// The peer took too long.
    #[error("no handshake within {} s", HANDSHAKE.as_secs())]
    Slow,
    /// The peer said more than it can know to say.
    #[error("it speaks, but no Stratum V2")]
    Chatter,
    /// The peer is not who it should be.
    #[error(transparent)]
    Refused(#[from] HandshakeError),
    /// The socket failed, or the peer left; or this machine has no random numbers.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// All of an initiator's hello, `first` included: apart from [`respond`], which needs no more then, so that who is slow to
/// say it holds up nobody who has said it.
///
/// # Errors
/// A peer that is slow, that leaves, or that has said more.
pub async fn hello<S: AsyncRead + Unpin>(
    stream: &mut S,
    first: &[u8],
) -> Result<[u8; HELLO], HandshakeFailed> {
    in_time(read_hello(stream, first)).await
}

/// The listening side. `first` is what was read of the socket before its protocol was known.
///
/// # Errors
/// A peer that is slow, that leaves, or that is no initiator.
pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    first: &[u8],
    issuer: &Issuer,
) -> Result<NoiseStream<S>, HandshakeFailed> {
    let handshake = async {
        let hello = read_hello(&mut stream, first).await?;
        let identity = issuer.identity(unix_s())?;
        let (reply, transport) = answer(&identity, &hello, &chance()?);
        stream.write_all(&reply).await?;
        stream.flush().await?;
        Ok(transport)
    };
    let transport = in_time(handshake).await?;
    Ok(NoiseStream::new(stream, transport))
}

/// The connecting side: to the server of an authority.
///
/// # Errors
/// A server that is slow, that leaves, that speaks something else, or that has no certificate of this authority.
pub async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    authority: AuthorityPublic,
) -> Result<NoiseStream<S>, HandshakeFailed> {
    let handshake = async {
        let (initiator, hello) = Initiator::new(authority, &chance()?);
        stream.write_all(&hello).await?;
        stream.flush().await?;
        let mut reply = [0; REPLY];
        stream.read_exact(&mut reply).await?;
        Ok(initiator.finish(&reply, unix_s())?)
    };
    let transport = in_time(handshake).await?;
    Ok(NoiseStream::new(stream, transport))
}

async fn read_hello<S: AsyncRead + Unpin>(
    stream: &mut S,
    first: &[u8],
) -> Result<[u8; HELLO], HandshakeFailed> {
    let mut hello = [0; HELLO];
    let Some((known, rest)) = hello.split_at_mut_checked(first.len()) else {
        return Err(HandshakeFailed::Chatter);
    };
    known.copy_from_slice(first);
    stream.read_exact(rest).await?;
    Ok(hello)
}

/// Boxed, so that the future of a connection holds no room for a handshake that is over.
async fn in_time<T>(
    handshake: impl Future<Output = Result<T, HandshakeFailed>>,
) -> Result<T, HandshakeFailed> {
    let result = Box::pin(tokio::time::timeout(HANDSHAKE, handshake)).await;
    result.unwrap_or(Err(HandshakeFailed::Slow))
}

fn chance<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Frames over a socket, sealed on their way.
///
/// Whoever writes and does not flush may believe that all has left: reading also pushes what waits.
#[derive(Debug)]
pub struct NoiseStream<S> {
    socket: S,
    transport: Transport,
    /// The beginning of a frame that was written in parts.
    begun: Vec<u8>,
    /// Sealed, and not yet taken by the socket: from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// Opened, and not yet taken by the reader: from `given` on.
    unread: Vec<u8>,
    given: usize,
}

impl<S> NoiseStream<S> {
    fn new(socket: S, transport: Transport) -> Self {
        Self {
            socket,
            transport,
            begun: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            unread: Vec::new(),
            given: 0,
        }
    }

    /// The most payload bytes of a frame that may come, from the next header on.
    pub fn set_max(&mut self, max: usize) {
        self.transport.set_max(max);
    }

    /// Why nothing more can be read, if the peer sent what does not open or more than it may.
    pub fn failed(&self) -> Option<OpenError> {
        self.transport.failed()
    }

    /// The socket, for its options and addresses.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// Bytes of heap it holds; zero while nothing moves.
    pub fn held_bytes(&self) -> usize {
        let buffers = [&self.begun, &self.unsent, &self.unread];
        let buffers: usize = buffers.iter().map(|buffer| buffer.capacity()).sum();
        buffers + self.transport.held_bytes()
    }

    /// Gives the reader what was opened, as far as it has room.
    fn give(&mut self, opened: &[u8], room: &mut ReadBuf<'_>) {
        let (now, later) = opened.split_at(opened.len().min(room.remaining()));
        room.put_slice(now);
        self.unread = later.to_vec();
    }

    fn give_unread(&mut self, room: &mut ReadBuf<'_>) {
        let rest = &self.unread[self.given..];
        let now = rest.len().min(room.remaining());
        room.put_slice(&rest[..now]);
        self.given += now;
        if self.given == self.unread.len() {
            (self.unread, self.given) = (Vec::new(), 0);
        }
    }

    /// Adds to the frame that was begun; gives back the bytes taken and whether it is whole.
    fn add(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        loop {
            let len = frame_len(&self.begun);
            let missing = len.unwrap_or(FRAME_HEADER) - self.begun.len();
            if missing == 0 {
                return (taken, true);
            }
            let more = missing.min(bytes.len() - taken);
            if more == 0 {
                return (taken, false);
            }
            self.begun.extend_from_slice(&bytes[taken..taken + more]);
            taken += more;
        }
    }
}

impl<S: AsyncWrite + Unpin> NoiseStream<S> {
    /// Whether the socket has taken all that was sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let rest = &self.unsent[self.sent..];
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => self.sent += more,
            }
        }
        (self.unsent, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Seals whole frames and gives the socket what it takes; the rest waits. Only when nothing waits.
    fn send(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        SEALED.with_borrow_mut(|sealed| {
            sealed.clear();
            let taken = self.transport.seal(frames, sealed);
            taken.map_err(io::Error::other)?;
            let mut sent = 0;
            while sent < sealed.len() {
                match Pin::new(&mut self.socket).poll_write(cx, &sealed[sent..]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(more)) => sent += more,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => {
                        self.unsent = sealed[sent..].to_vec();
                        break;
                    }
                }
            }
            // One long frame shall not stay for ever.
            sealed.shrink_to(2 * WRITE);
            Ok(())
        })
    }
}

impl<S: AsyncRead + Unpin> NoiseStream<S> {
    /// Reads the socket once and gives the reader what that completes; how many bytes came.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        CAME.with_borrow_mut(|came| {
            let mut came = ReadBuf::new(came);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut came))?;
            OPENED.with_borrow_mut(|opened| {
                opened.clear();
                // An error stays in the transport and is told once what came before it was read.
                let _ = self.transport.open(came.filled(), opened);
                self.give(opened, room);
                opened.shrink_to(2 * WRITE);
            });
            Poll::Ready(Ok(came.filled().len()))
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for NoiseStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        if !this.unread.is_empty() {
            this.give_unread(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        while buf.filled().len() == before && buf.remaining() > 0 {
            if let Some(error) = this.transport.failed() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            if ready!(this.poll_open(cx, buf))? == 0 {
                return Poll::Ready(match this.transport.is_between_frames() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for NoiseStream<S> {
    /// Takes whole frames, or the part of one. Once taken they are sealed in their order, and leave or wait.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let whole = whole_frames(bytes, WRITE);
        if this.begun.is_empty() && whole > 0 {
            this.send(cx, &bytes[..whole])?;
            return Poll::Ready(Ok(whole));
        }
        let (taken, is_whole) = this.add(bytes);
        if is_whole {
            let frame = mem::take(&mut this.begun);
            this.send(cx, &frame)?;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
