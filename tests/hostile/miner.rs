//! A miner on a blocking socket, honest or not: sends what it is told, reads line by line.
//!
//! It does not hash: at a lab difficulty of 2^-32 all but one in 65,536 nonces is a share. Invariant: nothing waits for
//! ever; a peer that is silent for `PATIENCE` fails the test.

use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Miner {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
    pub(crate) worker: String,
    pub(crate) job: Option<Job>,
    /// Clean or not, all that were seen.
    pub(crate) notifies: usize,
    pub(crate) en2_bytes: usize,
    /// It may roll the version, and does.
    rolls: bool,
    serial: u32,
    id: u64,
}

/// What a share needs from the newest notify.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) ntime: u32,
}

impl Miner {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the listener lives");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout above zero");
        stream.set_nodelay(true).expect("a TCP option");
        Self {
            stream,
            unread: Vec::new(),
            worker: String::new(),
            job: None,
            notifies: 0,
            en2_bytes: 0,
            rolls: false,
            serial: 0,
            id: 100,
        }
    }

    /// Configured, subscribed, authorized, with a job.
    pub(crate) fn login(address: SocketAddr, worker: &str) -> Self {
        let mut miner = Self::connect(address);
        let rolling = json!([["version-rolling"], { "version-rolling.mask": "1fffe000" }]);
        let granted = miner.ask("mining.configure", &rolling);
        miner.rolls = granted["result"]["version-rolling"] == true;
        miner.subscribe("honest/1");
        assert_eq!(miner.authorize(worker)["result"], true);
        while miner.job.is_none() {
            miner.line().expect("a job comes");
        }
        miner
    }

    pub(crate) fn subscribe(&mut self, agent: &str) -> Value {
        let answer = self.ask("mining.subscribe", &json!([agent]));
        let bytes = answer["result"][2].as_u64().expect("an extranonce2 size");
        self.en2_bytes = usize::try_from(bytes).expect("a small number");
        answer
    }

    pub(crate) fn authorize(&mut self, worker: &str) -> Value {
        worker.clone_into(&mut self.worker);
        self.ask("mining.authorize", &json!([worker, "x"]))
    }

    /// Sends a request and reads to its answer.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.id += 1;
        let id = self.id;
        let line = json!({ "id": id, "method": method, "params": params });
        self.send(format!("{line}\n").as_bytes());
        self.answer(&json!(id))
    }

    /// Reads to the answer with this id.
    pub(crate) fn answer(&mut self, id: &Value) -> Value {
        loop {
            let line = self.line().expect("an answer, not the end");
            let message: Value = serde_json::from_str(&line).expect("the proxy sends JSON");
            if message["id"] == *id && message.get("method").is_none() {
                return message;
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the proxy reads");
    }

    /// Sends what a peer that has already closed need not take.
    pub(crate) fn shout(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes); // a reset here is what the test waits for
    }

    /// The next line; `None`: the connection is over.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                let line = String::from_utf8(line).expect("the proxy sends UTF-8");
                self.notice(&line);
                return Some(line.trim_end().to_owned());
            }
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the proxy is silent: {error}"),
            }
        }
    }

    /// Everything until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    fn notice(&mut self, line: &str) {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            return;
        };
        if message["method"] == "mining.notify" {
            let params = &message["params"];
            let ntime = params[7].as_str().expect("ntime");
            self.notifies += 1;
            self.job = Some(Job {
                id: params[0].as_str().expect("a job id").to_owned(),
                ntime: u32::from_str_radix(ntime, 16).expect("hex"),
            });
        }
    }

    /// Parameters of a share that was never sent before.
    pub(crate) fn fresh(&mut self) -> Value {
        self.serial += 1;
        let job = self.job.clone().expect("logged in");
        let digits = 2 * self.en2_bytes;
        json!([
            self.worker,
            job.id,
            format!("{:0digits$x}", self.serial),
            format!("{:08x}", job.ntime),
            format!("{:08x}", self.serial.wrapping_mul(0x9e37_79b1)),
            if self.rolls { "00002000" } else { "00000000" },
        ])
    }

    pub(crate) fn submit(&mut self, params: &Value) -> Verdict {
        let answer = self.ask("mining.submit", params);
        Verdict::of(&answer)
    }

    /// A fresh share, until one is accepted: one in 65,536 misses even the lab's target.
    pub(crate) fn mine(&mut self) -> Value {
        for _ in 0..3 {
            let share = self.fresh();
            match self.submit(&share) {
                Verdict::Accepted => return share,
                // A clean job came between building and judging it.
                Verdict::Code(21 | 23) => {}
                other => panic!("an honest share: {other:?}"),
            }
        }
        panic!("three honest shares in a row were refused");
    }
}

/// What the proxy said of a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Accepted,
    Code(i64),
}

impl Verdict {
    pub(crate) fn of(answer: &Value) -> Self {
        match answer["error"][0].as_i64() {
            Some(code) => Self::Code(code),
            None => {
                assert_eq!(answer["result"], true, "{answer}");
                Self::Accepted
            }
        }
    }
}
