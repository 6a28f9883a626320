//! The yardstick: the least a server of this shape can do for a miner.
//!
//! One thread and one current-thread runtime per core, each with its own SO_REUSEPORT listener;
//! one task per connection; one read and at most one write per turn. It parses nothing, checks
//! nothing and remembers nothing: a request is told by the bytes at a fixed place, its id copied
//! into a canned answer. Invariant: every request is answered, in order, by exactly one line.
//!
//! ```text
//! {"id":17,"method":"mining.submit", ...
//!       ^ id         first bytes ^ of the verb
//! ```

use super::canned;
use super::child;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What comes before the id.
const BEFORE_ID: &[u8] = br#"{"id":"#;
/// What stands between the id and the verb.
const BEFORE_VERB: &[u8] = br#","method":"mining."#;
/// One read; a turn's requests are what one read returned.
const READ_BYTES: usize = 4096;
/// Longest request remembered across reads, as Sluice's own cap.
const LINE_BYTES: usize = 4096;
/// A farm's power-up must fit; the kernel lowers it to `somaxconn`.
const BACKLOG: i32 = 16_384;

/// The line every miner has to have.
type Line = Arc<[u8]>;
/// Where it comes from: the newest one, and word of a newer.
type Lines = Arc<watch::Sender<Line>>;

/// What one read, and the write it leads to, works in; shared by all connections of a shard.
struct Scratch {
    input: [u8; READ_BYTES],
    output: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { input: [0; READ_BYTES], output: Vec::new() })
    };
}

/// Serves until standard input ends. Answers `notify` with the time at which it was sent.
pub(crate) fn main() -> io::Result<()> {
    let line_tx = Arc::new(watch::Sender::new(Line::from(canned::notify_line(1))));
    let shards = std::thread::available_parallelism()?.get();
    let first = listener(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(listener(address)?);
    }
    for listener in listeners {
        let line_tx = line_tx.clone();
        std::thread::spawn(move || shard(listener, line_tx));
    }
    let mut serial = 1;
    child::serve(&json!({ "port": address.port() }), |words| match words {
        ["notify"] => {
            serial += 1;
            let line = Line::from(canned::notify_line(serial));
            let sent_ns = canned::unix_ns();
            line_tx.send_replace(line);
            json!({ "sent_ns": sent_ns })
        }
        _ => json!({ "error": "unknown command" }),
    })
}

fn listener(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn shard(listener: StdListener, line_tx: Lines) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(accept(listener, line_tx))
}

async fn accept(listener: StdListener, line_tx: Lines) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true)?;
                tokio::spawn(session(stream, line_tx.clone()));
            }
            // Out of descriptors: the connection waits in the backlog until one is free.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn session(mut stream: TcpStream, line_tx: Lines) {
    let mut line_rx = line_tx.subscribe();
    let mut rest = Vec::new();
    loop {
        let alive = tokio::select! {
            biased;
            alive = poll_fn(|cx| turn(&mut stream, &mut rest, &line_tx, cx)) => alive,
            changed = line_rx.changed() => changed.is_ok() && push(&stream, &mut line_rx),
        };
        if !alive {
            return;
        }
    }
}

/// Sends the new line; false: the connection is over.
fn push(stream: &TcpStream, line_rx: &mut watch::Receiver<Line>) -> bool {
    let line = line_rx.borrow_and_update().clone();
    send(stream, &line)
}

/// One read, its answers in one write; false: the connection is over.
///
/// `poll_read` takes a read that does not fill the buffer as the last one, where `readable` and
/// `try_read` would read once more to be told EAGAIN.
fn turn(
    stream: &mut TcpStream,
    rest: &mut Vec<u8>,
    line_tx: &Lines,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(&mut scratch.input);
        if ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).is_err() {
            return Poll::Ready(false);
        }
        let input = buffer.filled();
        if input.is_empty() {
            return Poll::Ready(false);
        }
        scratch.output.clear();
        if rest.is_empty() {
            let used = answer_all(input, &mut scratch.output, line_tx);
            rest.extend_from_slice(&input[used..]);
        } else {
            rest.extend_from_slice(input);
            let used = answer_all(rest, &mut scratch.output, line_tx);
            rest.drain(..used);
        }
        Poll::Ready(rest.len() <= LINE_BYTES && send(stream, &scratch.output))
    })
}

/// A miner who does not read has a full socket buffer: it is closed rather than waited for.
fn send(stream: &TcpStream, bytes: &[u8]) -> bool {
    bytes.is_empty()
        || stream
            .try_write(bytes)
            .is_ok_and(|sent| sent == bytes.len())
}

/// Answers every whole line of `input`; returns how many bytes those were.
fn answer_all(input: &[u8], output: &mut Vec<u8>, line_tx: &Lines) -> usize {
    let mut used = 0;
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        if line.last() == Some(&b'\n') {
            used += line.len();
            answer(line, output, line_tx);
        }
    }
    used
}

fn answer(line: &[u8], output: &mut Vec<u8>, line_tx: &Lines) {
    let after = line.strip_prefix(BEFORE_ID).unwrap_or_default();
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit());
    let (id, after) = after.split_at(digits.count());
    let verb = after.strip_prefix(BEFORE_VERB).unwrap_or_default();
    output.extend_from_slice(BEFORE_ID);
    output.extend_from_slice(id);
    output.extend_from_slice(match verb {
        [b's', b'u', b'b', b's', ..] => SUBSCRIBED,
        [b'c', ..] => CONFIGURED,
        _ => ACCEPTED,
    });
    if verb.first() == Some(&b'a') {
        output.extend_from_slice(DIFFICULTY);
        output.extend_from_slice(&line_tx.borrow());
    }
}

const ACCEPTED: &[u8] = b",\"result\":true,\"error\":null}\n";
const SUBSCRIBED: &[u8] = concat!(
    r#","result":[[["mining.set_difficulty","1"],["mining.notify","1"]],"08000002",4],"#,
    "\"error\":null}\n"
)
.as_bytes();
const CONFIGURED: &[u8] = concat!(
    r#","result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"#,
    "\"error\":null}\n"
)
.as_bytes();
const DIFFICULTY: &[u8] = concat!(
    r#"{"id":null,"method":"mining.set_difficulty","params":[2.3283064365386963e-10]}"#,
    "\n"
)
.as_bytes();
