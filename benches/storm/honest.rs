//! Honest miners that mine at their own pace and measure how long every answer takes.
//!
//! | command | does | answers |
//! |---|---|---|
//! | `measure PORT MINERS RATE SECONDS` | logs in, then RATE shares a second each | `shares`, `p50_ms`, `p99_ms`, `max_ms`, `lost`, `refused` |
//!
//! Invariant: a miner has one share outstanding, and a connection that ends is counted as lost, whenever it ends.

use crate::common::child;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Logins under way at once.
const LOGINS_AT_ONCE: usize = 256;
/// How long a login or an answer may take before the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    ready: usize,
    lost: usize,
    refused: usize,
    first_refusal: Option<String>,
}

/// Obeys until standard input ends.
pub(crate) fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    child::serve(&json!({}), |words| match words {
        ["measure", port, miners, rate, seconds] => {
            let parsed = (port.parse(), miners.parse(), rate.parse(), seconds.parse());
            let (Ok(port), Ok(miners), Ok(rate), Ok(seconds)) = parsed else {
                return json!({ "error": "not a number" });
            };
            LocalSet::new().block_on(&runtime, measure(port, miners, rate, seconds))
        }
        _ => json!({ "error": "unknown command" }),
    })
}

async fn measure(port: u16, miners: usize, rate: f64, seconds: f64) -> Value {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let places = Rc::new(Semaphore::new(LOGINS_AT_ONCE));
    let (start_tx, start_rx) = tokio::sync::watch::channel(None);
    let interval = Duration::from_secs_f64(1.0 / rate);
    let mut tasks = Vec::new();
    for index in 0..miners {
        let (tally, places, mut start_rx) = (tally.clone(), places.clone(), start_rx.clone());
        tasks.push(tokio::task::spawn_local(async move {
            let ended = async {
                let permit = places.acquire().await.map_err(io::Error::other)?;
                let mut miner = timeout(PATIENCE, Miner::login(port, index)).await??;
                drop(permit);
                tally.borrow_mut().ready += 1;
                let started = start_rx.wait_for(Option::is_some).await;
                let started = started.map_err(io::Error::other)?.expect("waited for");
                // Spread over the interval, so that the fleet's rate is even.
                let first = started + interval.mul_f64(index as f64 / miners as f64);
                let last = started + Duration::from_secs_f64(seconds);
                miner.mine(first, interval, last, &tally).await
            };
            let ended: io::Result<()> = ended.await;
            tally.borrow_mut().lost += usize::from(ended.is_err());
        }));
    }
    while tally.borrow().ready + tally.borrow().lost < miners {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start_tx.send_replace(Some(Instant::now()));
    for task in tasks {
        if let Err(error) = task.await {
            return json!({ "error": error.to_string() });
        }
    }
    tally.take().report()
}

impl Tally {
    fn report(mut self) -> Value {
        self.latencies.sort_unstable();
        let at = |part: f64| {
            let last = self.latencies.len().saturating_sub(1);
            let index = (last as f64 * part) as usize;
            let latency = self.latencies.get(index).copied().unwrap_or_default();
            latency.as_secs_f64() * 1e3
        };
        json!({
            "shares": self.latencies.len(),
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "max_ms": at(1.0),
            "lost": self.lost,
            "refused": self.refused,
            "first_refusal": self.first_refusal,
        })
    }
}

struct Miner {
    stream: BufReader<TcpStream>,
    line: String,
    index: usize,
    job: Option<(String, String)>,
    serial: u32,
}

impl Miner {
    async fn login(port: u16, index: usize) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let mut miner = Self {
            stream: BufReader::new(stream),
            line: String::new(),
            index,
            job: None,
            serial: 0,
        };
        let login = format!(
            concat!(
                r#"{{"id":2,"method":"mining.subscribe","params":["honest/1"]}}"#,
                "\n",
                r#"{{"id":3,"method":"mining.authorize","params":["honest.w{}","x"]}}"#,
                "\n"
            ),
            index
        );
        miner.stream.write_all(login.as_bytes()).await?;
        while miner.job.is_none() {
            miner.read().await?;
        }
        Ok(miner)
    }

    /// One line; notifies are kept.
    async fn read(&mut self) -> io::Result<()> {
        self.line.clear();
        if self.stream.read_line(&mut self.line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.line.contains(r#""method":"mining.notify""#) {
            let message: Value = serde_json::from_str(&self.line)?;
            let text = |at: usize| message["params"][at].as_str().map(str::to_owned);
            self.job = text(0).zip(text(7));
        }
        Ok(())
    }

    async fn mine(
        &mut self,
        first: Instant,
        interval: Duration,
        last: Instant,
        tally: &RefCell<Tally>,
    ) -> io::Result<()> {
        let mut next = first;
        while next < last {
            self.wait(next).await?;
            let sent = Instant::now();
            let id = self.submit().await?;
            let verdict = timeout(PATIENCE, self.verdict(&id)).await??;
            let mut tally = tally.borrow_mut();
            tally.latencies.push(sent.elapsed());
            if let Some(refusal) = verdict {
                tally.refused += 1;
                tally.first_refusal.get_or_insert(refusal);
            }
            next += interval;
        }
        Ok(())
    }

    /// Until it is time; work that comes meanwhile is taken.
    async fn wait(&mut self, until: Instant) -> io::Result<()> {
        loop {
            let buffered = !self.stream.buffer().is_empty();
            tokio::select! {
                () = sleep_until(until), if !buffered => return Ok(()),
                ready = self.stream.fill_buf() => if ready?.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                },
            }
            // A line is written whole by the proxy, so this does not wait long.
            self.read().await?;
        }
    }

    async fn submit(&mut self) -> io::Result<String> {
        self.serial += 1;
        let (job, ntime) = self.job.as_ref().expect("logged in with a job");
        let (index, serial) = (self.index, self.serial);
        let nonce = serial.wrapping_mul(0x9e37_79b1);
        let line = format!(
            "{{\"id\":{},\"method\":\"mining.submit\",\"params\":[\"honest.w{index}\",\"{job}\",\"{serial:08x}\",\"{ntime}\",\"{nonce:08x}\"]}}\n",
            serial + 10
        );
        self.stream.write_all(line.as_bytes()).await?;
        Ok(format!("{{\"id\":{},", serial + 10))
    }

    /// `Some`: refused, for another reason than the one in 65,536 that misses the lab's target or a job just replaced.
    async fn verdict(&mut self, beginning: &str) -> io::Result<Option<String>> {
        loop {
            self.read().await?;
            if self.line.starts_with(beginning) {
                let fine = ["\"result\":true", "[23,", "[21,"];
                let refused = !fine.iter().any(|part| self.line.contains(part));
                return Ok(refused.then(|| self.line.trim_end().to_owned()));
            }
        }
    }
}
