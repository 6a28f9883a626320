//! One simulated miner: logs in, keeps its newest job, makes shares, counts the answers.
//!
//! It does not hash: at the lab difficulty of 2^-32 all but one in 65,536 of all nonces is a
//! share, so every (extranonce2, nonce) that was not used before will do. Invariant: a request
//! that was written is counted as sent before its answer can be read.

use super::canned;
use serde_json::Value;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

const CONFIGURE_ID: u64 = 1;
const SUBSCRIBE_ID: u64 = 2;
const AUTHORIZE_ID: u64 = 3;
/// Lines longer than this are looked at near their ends only.
const SHORT_LINE: usize = 200;

/// What all miners count together.
#[derive(Default)]
pub(crate) struct Fleet {
    /// A miner answers an accepted share with the next one.
    pub(crate) closed_loop: AtomicBool,
    pub(crate) ready: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Refused as of low difficulty: one share in 65,536 is.
    pub(crate) low: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Notifies of any kind.
    pub(crate) notifies: AtomicU64,
    /// Clean notifies since `arm`, and when the first and the last came (Unix ns).
    pub(crate) notified: AtomicU64,
    pub(crate) first_ns: AtomicU64,
    pub(crate) last_ns: AtomicU64,
    pub(crate) first_error: Mutex<Option<String>>,
}

impl Fleet {
    /// Submits that have their answer.
    pub(crate) fn answered(&self) -> u64 {
        self.accepted.load(Relaxed) + self.low.load(Relaxed) + self.errors.load(Relaxed)
    }

    /// Forgets the notifies seen so far.
    pub(crate) fn arm(&self) {
        self.notified.store(0, Relaxed);
        self.first_ns.store(u64::MAX, Relaxed);
        self.last_ns.store(0, Relaxed);
    }

    fn refused(&self, line: &[u8]) {
        self.errors.fetch_add(1, Relaxed);
        self.first_error
            .lock()
            .expect("no holder panics")
            .get_or_insert_with(|| String::from_utf8_lossy(line).trim_end().to_owned());
    }
}

/// One miner and its connection.
pub(crate) struct Miner {
    stream: TcpStream,
    index: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    job: Vec<u8>,
    ntime: Vec<u8>,
    en2_bytes: usize,
    authorized: bool,
    shares: u32,
    /// Held until logged in.
    permit: Option<OwnedSemaphorePermit>,
}

impl Miner {
    pub(crate) fn new(stream: TcpStream, index: usize, permit: OwnedSemaphorePermit) -> Arc<Self> {
        let state = State {
            permit: Some(permit),
            ..State::default()
        };
        Arc::new(Self {
            stream,
            index,
            state: Mutex::new(state),
        })
    }

    /// Asks for version rolling; the answers drive the rest of the login.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mask = canned::VERSION_MASK;
        self.send(
            format!(
                concat!(
                    r#"{{"id":{},"method":"mining.configure","params":[["version-rolling"],"#,
                    r#"{{"version-rolling.mask":"{}","version-rolling.min-bit-count":2}}]}}"#,
                    "\n"
                ),
                CONFIGURE_ID, mask
            )
            .as_bytes(),
        )
    }

    /// Reads until the connection ends.
    pub(crate) async fn run(self: Arc<Self>, fleet: Arc<Fleet>) {
        while self.stream.readable().await.is_ok() {
            if self.turn(&fleet).is_err() {
                break;
            }
        }
        fleet.lost.fetch_add(1, Relaxed);
        self.state().permit = None;
    }

    /// Sends one share on the newest job.
    pub(crate) fn submit(&self, fleet: &Fleet) -> io::Result<()> {
        let mut output = Vec::with_capacity(160);
        self.write_share(&mut self.state(), &mut output);
        fleet.sent.fetch_add(1, Relaxed);
        self.send(&output)
    }

    fn turn(&self, fleet: &Fleet) -> io::Result<()> {
        let mut input = [0; 8192];
        let read = match self.stream.try_read(&mut input) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut state = self.state();
        let mut output = Vec::new();
        let mut rest = std::mem::take(&mut state.rest);
        rest.extend_from_slice(&input[..read]);
        let mut used = 0;
        for line in rest.split_inclusive(|&byte| byte == b'\n') {
            if line.ends_with(b"\n") {
                used += line.len();
                self.handle_line(&mut state, line, fleet, &mut output)?;
            }
        }
        rest.drain(..used);
        state.rest = rest;
        drop(state);
        if output.is_empty() {
            return Ok(());
        }
        self.send(&output)
    }

    fn handle_line(
        &self,
        state: &mut State,
        line: &[u8],
        fleet: &Fleet,
        output: &mut Vec<u8>,
    ) -> io::Result<()> {
        let head = &line[..line.len().min(SHORT_LINE)];
        // A subscribe's answer names mining.notify too, but has no method.
        if contains(head, b"\"method\"") {
            if contains(head, b"\"mining.notify\"") {
                state.take_job(line, fleet)?;
            }
        } else if state.authorized {
            self.handle_verdict(state, head, fleet, output);
        } else {
            self.handle_login(state, line, output)?;
        }
        if state.authorized && !state.job.is_empty() && state.permit.take().is_some() {
            fleet.ready.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn handle_verdict(&self, state: &mut State, line: &[u8], fleet: &Fleet, output: &mut Vec<u8>) {
        if contains(line, b"\"result\":true") {
            fleet.accepted.fetch_add(1, Relaxed);
        } else if contains(line, b"[23,") {
            fleet.low.fetch_add(1, Relaxed);
        } else {
            fleet.refused(line);
        }
        if fleet.closed_loop.load(Relaxed) {
            fleet.sent.fetch_add(1, Relaxed);
            self.write_share(state, output);
        }
    }

    fn handle_login(&self, state: &mut State, line: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let answer: Value = serde_json::from_slice(line)?;
        let (id, verb, params) = match answer["id"].as_u64() {
            Some(CONFIGURE_ID) => (SUBSCRIBE_ID, "subscribe", r#""bench/1""#.to_owned()),
            Some(SUBSCRIBE_ID) => {
                let bytes = answer["result"][2].as_u64().unwrap_or_default();
                state.en2_bytes = usize::try_from(bytes).map_err(io::Error::other)?;
                let params = format!(r#""bench.w{}","x""#, self.index);
                (AUTHORIZE_ID, "authorize", params)
            }
            _ if answer["result"] == true => {
                state.authorized = true;
                return Ok(());
            }
            _ => return Err(io::Error::other("not authorized")),
        };
        writeln!(
            output,
            r#"{{"id":{id},"method":"mining.{verb}","params":[{params}]}}"#
        )
    }

    fn write_share(&self, state: &mut State, output: &mut Vec<u8>) {
        state.shares = state.shares.wrapping_add(1);
        let serial = state.shares;
        let id = u64::from(serial) + AUTHORIZE_ID;
        let _ = write!(
            output,
            r#"{{"id":{id},"method":"mining.submit","params":["bench.w{}",""#,
            self.index
        );
        output.extend_from_slice(&state.job);
        let digits = state.en2_bytes * 2;
        let _ = write!(output, r#"","{serial:0digits$x}",""#);
        output.extend_from_slice(&state.ntime);
        // An odd multiplier: the nonces of the first 2^32 shares all differ.
        let nonce = serial.wrapping_mul(0x9e37_79b1);
        let _ = writeln!(output, r#"","{nonce:08x}","00002000"]}}"#);
    }

    /// Few bytes to a server that reads: a full socket buffer means that it does not.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        if self.stream.try_write(bytes)? == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    /// The job's id is the first string of `params`, its ntime the last one.
    fn take_job(&mut self, line: &[u8], fleet: &Fleet) -> io::Result<()> {
        let malformed = || io::Error::other("a notify without the fields");
        let params = find(line, b"\"params\"").ok_or_else(malformed)?;
        let strings = &line[params + b"\"params\"".len()..];
        let job = strings.split(|&byte| byte == b'"').nth(1);
        let tail = &line[line.len().saturating_sub(SHORT_LINE)..];
        let ntime = tail
            .rsplit(|&byte| byte == b'"')
            .find(|field| field.len() == 8 && field.iter().all(u8::is_ascii_hexdigit));
        let (Some(job), Some(ntime)) = (job, ntime) else {
            return Err(malformed());
        };
        self.job = job.to_vec();
        self.ntime = ntime.to_vec();
        fleet.notifies.fetch_add(1, Relaxed);
        if contains(tail, b"true]") {
            let now_ns = canned::unix_ns();
            fleet.first_ns.fetch_min(now_ns, Relaxed);
            fleet.last_ns.fetch_max(now_ns, Relaxed);
            fleet.notified.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    find(line, part).is_some()
}

fn find(line: &[u8], part: &[u8]) -> Option<usize> {
    line.windows(part.len()).position(|window| window == part)
}
