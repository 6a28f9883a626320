//! The proxy under test with its pool, as a farm would run it: default limits, one listener.
//!
//! Invariant: when `start` returns, the proxy hands out work.

use crate::child::{self, Helper, Process};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Of one miner: practically every nonce is a share.
const MINER_DIFFICULTY: f64 = 2.328_306_436_538_696_3e-10;
/// 2^-25: one share in 128 meets the pool's target.
const POOL_DIFFICULTY: f64 = 2.980_232_238_769_531_2e-8;
/// How long it may take to start and to have work.
const START: Duration = Duration::from_secs(20);

/// Both processes; ended when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    proxy: Process,
    _pool: Helper,
    _config: TempDir,
}

impl Proxy {
    pub(crate) fn start() -> Result<Self> {
        let pool = Helper::start(&["pool", &POOL_DIFFICULTY.to_string()])?;
        let port = free_port()?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("storm.toml");
        std::fs::write(&path, config(port, pool.port()))?;
        let mut proxy = child::start_proxy(&path)?;
        let deadline = Instant::now() + START;
        while let Err(error) = probe(port) {
            proxy.check()?;
            if Instant::now() > deadline {
                return Err(format!("the proxy hands out no work: {error}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self {
            port,
            proxy,
            _pool: pool,
            _config: directory,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.proxy.pid()
    }
}

fn config(port: u16, pool_port: u16) -> String {
    format!(
        r#"
[[listen]]
address = "127.0.0.1:{port}"
difficulty = {{ fixed = {MINER_DIFFICULTY:e} }}
[[pool]]
url = "stratum+tcp://127.0.0.1:{pool_port}"
user = "bench"
[limits]
connections = 19000
[log]
filter = "error"
[api]
enabled = false
"#
    )
}

/// Logs one miner in and waits for its first job.
fn probe(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(
        concat!(
            r#"{"id":2,"method":"mining.subscribe","params":["bench/1"]}"#,
            "\n",
            r#"{"id":3,"method":"mining.authorize","params":["bench.probe","x"]}"#,
            "\n"
        )
        .as_bytes(),
    )?;
    for line in BufReader::new(stream).lines() {
        if line?.contains(r#""method":"mining.notify""#) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
