//! A thousand peers that mean harm, of eight kinds, at a rate that all share.
//!
//! | command | does | answers |
//! |---|---|---|
//! | `start PORT CONNECTIONS RATE` | connects, then RATE messages a second in turn | nothing |
//! | `stop` | ends them | `messages` and how many of them `per_s`, `connects`, `failed_connects`, `blocked` |
//!
//! Blocking calls are never made on a connection, so one thread is enough. Invariant: each turn is one message at most
//! (a connect, a line, a byte of a line), counted whether the proxy takes it or not.

use crate::common::child;
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(1);
const LOGIN: &[u8] = concat!(
    r#"{"id":1,"method":"mining.subscribe","params":["hostile/1"]}"#,
    "\n",
    r#"{"id":2,"method":"mining.authorize","params":["hostile","x"]}"#,
    "\n"
)
.as_bytes();
const PING: &[u8] = b"{\"id\":3,\"method\":\"mining.ping\",\"params\":[]}\n";
const GARBAGE: &[u8] = b"\x03\x00{[[[[\"<script>\x00\xff\n";
const BAD_SUBMIT: &[u8] =
    b"{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"hostile\",\"1\",\"zz\",\"0\",\"-1\"]}\n";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Lines that are no message: closed at the first, back at once.
    Garbage,
    /// Shares that cannot be read: closed at the 256th, back at once.
    BadSubmits,
    /// Good messages without end, far above the bucket.
    Flood,
    /// One byte of a line a turn.
    Drip,
    /// Logs in under a new name and goes.
    Churn,
    /// Asks and never reads.
    Deaf,
    /// The same share for ever.
    Duplicates,
    /// Connects and idles.
    Idle,
}

const KINDS: [Kind; 8] = [
    Kind::Garbage,
    Kind::BadSubmits,
    Kind::Flood,
    Kind::Drip,
    Kind::Churn,
    Kind::Deaf,
    Kind::Duplicates,
    Kind::Idle,
];

#[derive(Default)]
struct Counts {
    messages: u64,
    connects: u64,
    blocked: u64,
    failed_connects: u64,
    lasted: Duration,
}

struct Peer {
    kind: Kind,
    port: u16,
    stream: Option<TcpStream>,
    turns: usize,
    heard: Vec<u8>,
    share: Option<Vec<u8>>,
}

/// Obeys until standard input ends.
pub(crate) fn main() -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut running: Option<JoinHandle<Counts>> = None;
    child::serve(&json!({}), |words| match words {
        ["start", port, connections, rate] => {
            let (Ok(port), Ok(connections), Ok(rate)) =
                (port.parse(), connections.parse(), rate.parse())
            else {
                return json!({ "error": "not a number" });
            };
            let stop = stop.clone();
            running = Some(std::thread::spawn(move || {
                storm(port, connections, rate, &stop)
            }));
            json!({})
        }
        ["stop"] => {
            stop.store(true, Ordering::Relaxed);
            match running.take().map(JoinHandle::join) {
                Some(Ok(counts)) => counts.report(),
                _ => json!({ "error": "it did not run" }),
            }
        }
        _ => json!({ "error": "unknown command" }),
    })
}

impl Counts {
    fn report(&self) -> Value {
        json!({
            "messages": self.messages,
            "per_s": self.messages as f64 / self.lasted.as_secs_f64(),
            "connects": self.connects,
            "failed_connects": self.failed_connects,
            "blocked": self.blocked,
        })
    }
}

fn storm(port: u16, connections: usize, rate: f64, stop: &AtomicBool) -> Counts {
    let kinds = KINDS.iter().cycle().take(connections);
    let mut peers: Vec<Peer> = kinds.map(|kind| Peer::new(*kind, port)).collect();
    let mut counts = Counts::default();
    let started = Instant::now();
    let (mut turn, mut done) = (0, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        // What cannot be kept up with is let go, not made up for in a burst.
        done = done.max(due.saturating_sub(rate as u64 / 10));
        while done < due {
            peers[turn % connections].act(&mut counts);
            turn += 1;
            done += 1;
        }
        std::thread::sleep(TICK);
    }
    counts.lasted = started.elapsed();
    counts
}

impl Peer {
    fn new(kind: Kind, port: u16) -> Self {
        Self {
            kind,
            port,
            stream: None,
            turns: 0,
            heard: Vec::new(),
            share: None,
        }
    }

    /// One message, or one connect where there is no connection.
    fn act(&mut self, counts: &mut Counts) {
        if self.stream.is_none() {
            counts.messages += 1;
            match self.connect() {
                Ok(()) => counts.connects += 1,
                Err(_) => counts.failed_connects += 1,
            }
            return;
        }
        self.turns += 1;
        if self.kind != Kind::Deaf && self.listen().is_err() {
            self.stream = None;
            return;
        }
        let Some(message) = self.message() else {
            return;
        };
        counts.messages += 1;
        let stream = self.stream.as_mut().expect("connected above");
        match stream.write(&message) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => counts.blocked += 1,
            Err(_) => self.stream = None,
        }
        if self.kind == Kind::Churn && self.turns >= 2 {
            self.stream = None;
        }
    }

    /// Logged in at once, if this kind does.
    fn connect(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        // Ends with a reset: no port is left in TIME_WAIT.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        stream.set_nonblocking(true)?;
        if matches!(
            self.kind,
            Kind::BadSubmits | Kind::Flood | Kind::Deaf | Kind::Duplicates
        ) {
            (&stream).write_all(LOGIN)?;
        }
        self.heard.clear();
        self.share = None;
        self.turns = 0;
        self.stream = Some(stream);
        Ok(())
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        Some(match self.kind {
            Kind::Garbage => GARBAGE.to_vec(),
            Kind::BadSubmits => BAD_SUBMIT.to_vec(),
            Kind::Flood | Kind::Deaf => PING.to_vec(),
            Kind::Drip => vec![PING[self.turns % (PING.len() - 1)]],
            Kind::Churn => format!(
                "{{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"churn.{:x}\"]}}\n",
                std::ptr::from_ref(self) as usize + self.turns
            )
            .into_bytes(),
            Kind::Duplicates => self.share.clone().unwrap_or_else(|| PING.to_vec()),
            Kind::Idle => return None,
        })
    }

    /// Reads what is there; a duplicator looks for a job until it has one.
    fn listen(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let stream = self.stream.as_mut().expect("connected");
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.kind == Kind::Duplicates && self.share.is_none() {
            self.heard.extend_from_slice(&buffer[..read]);
            self.share = share(&self.heard);
        }
        Ok(())
    }
}

/// A share on the first whole notify in what was heard.
fn share(heard: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(heard).ok()?;
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let notify = lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["method"] == "mining.notify")?;
    let (job, ntime) = (notify["params"][0].as_str()?, notify["params"][7].as_str()?);
    let line = format!(
        "{{\"id\":5,\"method\":\"mining.submit\",\"params\":[\"hostile\",\"{job}\",\"00000001\",\"{ntime}\",\"00000001\"]}}\n"
    );
    Some(line.into_bytes())
}
