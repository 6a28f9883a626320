//! Raw ends of a Stratum connection, for either side of the proxy: a miner that solves shares, a pool by exact bytes.
//!
//! Not the simulated peers of `sluice::sim`, which decide by themselves. Invariant: nothing is sent that the test did not
//! ask for.

use crate::lab::{EASY, PATIENCE, eventually};
use serde_json::{Value, json};
use sluice::sim::wire::{Bound, Job, hex, sha256d, unhex};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// One end of a Stratum connection, in exact bytes.
pub struct Peer<S> {
    pub stream: S,
    buffer: Vec<u8>,
    aside: VecDeque<Value>,
}

impl Peer<TcpStream> {
    pub fn connect(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).expect("it listens"))
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a live socket");
        let patience = Some(PATIENCE);
        stream.set_read_timeout(patience).expect("a live socket");
        Self::new(stream)
    }
}

impl<S: Read + Write> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            aside: VecDeque::new(),
        }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer reads");
        self.stream.flush().expect("the peer reads");
    }

    pub fn send(&mut self, message: &Value) {
        self.send_bytes(format!("{message}\n").as_bytes());
    }

    /// The next line as it came; `None` at the end of the connection.
    pub fn raw(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8(line).expect("UTF-8");
                return Some(line.trim_end_matches('\n').to_owned());
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the peer says nothing for {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// The next message, whatever it is.
    pub fn next(&mut self) -> Value {
        if let Some(message) = self.aside.pop_front() {
            return message;
        }
        self.fresh().expect("the connection is open")
    }

    fn fresh(&mut self) -> Option<Value> {
        let line = self.raw()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")))
    }

    /// The next message that `wanted` takes; others wait for their turn.
    pub fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.aside.iter().position(&wanted) {
            return self.aside.remove(at).expect("it was just found");
        }
        loop {
            let message = self.fresh().expect("the connection is open");
            if wanted(&message) {
                return message;
            }
            self.aside.push_back(message);
        }
    }

    /// The answer to the request with this id.
    pub fn answer(&mut self, id: &Value) -> Value {
        self.find(|message| message.get("method").is_none() && message.get("id") == Some(id))
    }

    /// Asks and returns the answer.
    pub fn ask(&mut self, id: u64, method: &str, params: &Value) -> Value {
        self.send(&json!({"id": id, "method": method, "params": params}));
        self.answer(&json!(id))
    }

    /// The next message of this method.
    pub fn call(&mut self, method: &str) -> Value {
        self.find(|message| message.get("method").and_then(Value::as_str) == Some(method))
    }

    /// Reads to the end of the connection; what still came.
    pub fn rest(&mut self) -> Vec<Value> {
        let mut rest: Vec<Value> = self.aside.drain(..).collect();
        while let Some(message) = self.fresh() {
            rest.push(message);
        }
        rest
    }
}

/// A logged-in miner with a job.
pub struct Mining<S = TcpStream> {
    pub peer: Peer<S>,
    pub worker: String,
    pub session: String,
    pub en1: Vec<u8>,
    pub en2_size: usize,
    pub difficulty: f64,
    pub job: Job,
    next_id: u64,
    next_en2: u64,
    rolls: bool,
}

impl<S: Read + Write> Mining<S> {
    /// Subscribes (with these parameters), authorizes, waits for the job.
    pub fn login(mut peer: Peer<S>, worker: &str, subscribe: &Value) -> Self {
        let answer = peer.ask(1, "mining.subscribe", subscribe);
        let result = &answer["result"];
        let en1 = unhex(result[1].as_str().expect("extranonce1")).expect("hex");
        let en2_size = result[2].as_u64().expect("extranonce2_size") as usize;
        let session = result[0][0][1].as_str().unwrap_or_default().to_owned();
        let answer = peer.ask(2, "mining.authorize", &json!([worker, "x"]));
        assert_eq!(answer["result"], json!(true), "{answer}");
        let difficulty = peer.call("mining.set_difficulty")["params"][0].as_f64();
        let notify = peer.call("mining.notify");
        Self {
            peer,
            worker: worker.to_owned(),
            session,
            en1,
            en2_size,
            difficulty: difficulty.expect("a number"),
            job: Job::from_params(&notify["params"]).expect("a job"),
            next_id: 10,
            next_en2: 0,
            rolls: false,
        }
    }

    /// The next job, with the difficulty that came before it.
    pub fn next_job(&mut self) -> &Job {
        loop {
            let message = self.peer.find(|m| m.get("method").is_some());
            match message["method"].as_str() {
                Some("mining.set_difficulty") => {
                    self.difficulty = message["params"][0].as_f64().expect("a number");
                }
                Some("mining.notify") => {
                    self.job = Job::from_params(&message["params"]).expect("a job");
                    return &self.job;
                }
                Some("mining.set_version_mask") => {}
                other => panic!("the proxy sent {other:?}"),
            }
        }
    }

    /// Waits for a job with clean set.
    pub fn next_clean(&mut self) {
        while !self.next_job().clean {}
    }

    /// Parameters of a share at this difficulty on the present job: fresh extranonce2, version bits 0 of the mask.
    pub fn solve(&mut self, wanted: impl Fn(&[u8; 32]) -> bool, bits: Option<(u32, u32)>) -> Value {
        loop {
            self.next_en2 += 1;
            let en2 = &self.next_en2.to_be_bytes()[8 - self.en2_size..];
            let root = self.job.merkle_root(&self.en1, en2);
            let version = bits.map_or(self.job.version, |(mask, bits)| {
                (self.job.version & !mask) | bits
            });
            for nonce in 0..100_000 {
                let header = self.job.header(root, version, self.job.ntime, nonce);
                if !wanted(&sha256d(&header)) {
                    continue;
                }
                let mut params = json!([
                    self.worker,
                    self.job.id,
                    hex(en2),
                    format!("{:08x}", self.job.ntime),
                    format!("{nonce:08x}")
                ]);
                if let (Some((_, bits)), Some(list)) = (bits, params.as_array_mut()) {
                    list.push(json!(format!("{bits:08x}")));
                }
                return params;
            }
        }
    }

    /// Parameters of a good share.
    pub fn good(&mut self) -> Value {
        let bound = Bound::of_difficulty(self.difficulty).expect("a difficulty");
        let bits = self.rolls.then_some((0x1fff_e000, 0x0040_0000));
        self.solve(|hash| bound.holds(hash), bits)
    }

    /// From now on its shares carry rolled version bits.
    pub fn roll(&mut self) {
        self.rolls = true;
    }

    /// Submits and returns the answer.
    pub fn submit(&mut self, params: &Value) -> Value {
        self.next_id += 1;
        self.peer.ask(self.next_id, "mining.submit", params)
    }

    /// Finds a share and has it accepted.
    pub fn share(&mut self) {
        let params = self.good();
        let answer = self.submit(&params);
        assert_eq!(answer["result"], json!(true), "{answer}");
    }

    /// Submits what must be refused with this code.
    pub fn refused(&mut self, params: &Value, code: i64) {
        let answer = self.submit(params);
        assert_eq!(answer["result"], Value::Null, "{answer} to {params}");
        assert_eq!(answer["error"][0], json!(code), "{answer} to {params}");
    }
}

/// A pool of which the test writes every byte.
pub struct RawPool {
    listener: TcpListener,
}

impl RawPool {
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a live socket");
        Self { listener }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Waits for the proxy.
    pub fn accept(&self) -> Peer<TcpStream> {
        let (stream, _) = eventually("the proxy connects", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("a live socket");
        Peer::over(stream)
    }

    /// Waits for the proxy and answers up to authorize, all replies at once with `then` behind them in one segment.
    pub fn login(&self, en1: &str, en2_size: u64, then: &[Value]) -> Peer<TcpStream> {
        let mut peer = self.accept();
        let subscribed = json!([[["mining.notify", "s"]], en1, en2_size]);
        answer(&mut peer, "mining.configure", &granted());
        answer(&mut peer, "mining.subscribe", &subscribed);
        let login = peer.call("mining.authorize");
        let mut lines = format!("{}\n", reply(&login, &json!(true)));
        for message in then {
            lines += &format!("{message}\n");
        }
        peer.send_bytes(lines.as_bytes());
        peer
    }
}

/// What a pool says to configure.
pub fn granted() -> Value {
    json!({"version-rolling": true, "version-rolling.mask": "1fffe000"})
}

/// Waits for a request of this method and answers it.
pub fn answer<S: Read + Write>(peer: &mut Peer<S>, method: &str, result: &Value) -> Value {
    let request = peer.call(method);
    peer.send(&reply(&request, result));
    request
}

/// The answer to a request.
pub fn reply(request: &Value, result: &Value) -> Value {
    json!({"id": request["id"], "result": result, "error": null})
}

/// A notification.
pub fn push(method: &str, params: &Value) -> Value {
    json!({"id": null, "method": method, "params": params})
}

/// A job with this id that anyone can mine.
pub fn notify(job: &str, clean: bool) -> Value {
    let branch = "11ee8391ee4a08a0d8014876e569a64985579af88278bab5c7ddba996e8cbdf1";
    let prev = "c6c5ce115bd3005e4e0e86083ff6c64729b12b520542b54d0000000000000000";
    push(
        "mining.notify",
        &json!([
            job,
            prev,
            "01000000010000",
            "ffffffff00",
            [branch],
            "20000000",
            "1703421a",
            "6553f100",
            clean
        ]),
    )
}

/// The difficulty at which a share takes 256 hashes.
pub fn easy() -> Value {
    push("mining.set_difficulty", &json!([EASY]))
}
