//! The proxy under test with its pool, set up and ready: one listener at the lab's difficulty.
//!
//! Invariant: when `start` returns, the proxy hands out work.

use super::Result;
use super::child::{self, Helper, Process};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Of one miner: practically every nonce is a share.
pub(crate) const MINER_DIFFICULTY: f64 = 2.328_306_436_538_696_3e-10;
/// 2^-25: one share in 128 meets the pool's target.
pub(crate) const POOL_DIFFICULTY: f64 = 2.980_232_238_769_531_2e-8;
/// How long it may take to start and to have work.
const START: Duration = Duration::from_secs(20);
/// How long one who has logged in waits for a job.
const PATIENCE: Duration = Duration::from_secs(2);

/// In what the set-ups of the benchmarks differ.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// One share in `pool_difficulty / MINER_DIFFICULTY` is forwarded.
    pub(crate) pool_difficulty: f64,
    /// Keys of the `[limits]` table beside `connections`.
    pub(crate) limits: &'static str,
    /// The environment of the proxy, beside ours.
    pub(crate) environment: Vec<(String, String)>,
}

/// Both processes; ended when dropped, the proxy first: it has nothing to say about its pool's end.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    process: Process,
    pub(crate) pool: Helper,
    _config: TempDir,
}

impl Proxy {
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let pool = Helper::start(&["pool", &plan.pool_difficulty.to_string()])?;
        let (port, api_port) = (free_port()?, free_port()?);
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("bench.toml");
        std::fs::write(&path, config(plan, port, pool.port(), api_port))?;
        let mut process = child::start_proxy(&path, &plan.environment)?;
        let deadline = Instant::now() + START;
        while let Err(error) = probe(port) {
            process.check()?;
            if Instant::now() > deadline {
                return Err(format!("the proxy hands out no work: {error}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self {
            port,
            process,
            pool,
            _config: directory,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn config(plan: &Plan, port: u16, pool_port: u16, api_port: u16) -> String {
    let limits = plan.limits;
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
{limits}
[log]
filter = "warn"
[api]
listen = "127.0.0.1:{api_port}"
"#
    )
}

/// Logs one miner in and waits for its first job.
pub(crate) fn probe(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
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
