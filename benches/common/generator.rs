//! The load generator's process: all miners on one thread, led by commands on standard input.
//!
//! | command | does | answers |
//! |---|---|---|
//! | `login PORT MINERS` | connects and logs all in | `wall_s` |
//! | `paced RATE SHARES` | SHARES in all, RATE a second, miner after miner | the tally below |
//! | `closed SECONDS` | every miner keeps one share outstanding | the tally below |
//! | `arm`, then `collect` | waits until all have a new clean job | `first_ns`, `last_ns` |
//!
//! The tally: `accepted`, `notifies` and `wall_s` of this command, `low`, `errors`, `lost`, `first_error` of all so far.
//! Invariant: a command is answered only when every share it sent is answered, or given up after `PATIENCE`.

use super::child;
use super::miner::{Fleet, Miner};
use serde_json::{Value, json};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Miners per source address: well below the 28,000 ephemeral ports of one.
const MINERS_PER_ADDRESS: usize = 4_000;
/// Logins under way at once, so that no listen backlog of a usual size overflows.
const LOGINS_AT_ONCE: usize = 512;
/// How long all logins, all outstanding answers, or all notifies may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(1);

struct Generator {
    fleet: Arc<Fleet>,
    miners: Vec<Arc<Miner>>,
    /// Who sends the next paced share.
    turn: usize,
}

/// Obeys until standard input ends.
pub(crate) fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (commands_tx, commands_rx) = std::sync::mpsc::channel::<Vec<String>>();
    let (answers_tx, answers_rx) = std::sync::mpsc::channel();
    // Commands come from a thread of their own; the miners' thread also runs between commands.
    let wake = Arc::new(tokio::sync::Notify::new());
    let waker = wake.clone();
    std::thread::spawn(move || {
        let ended = child::serve(&json!({}), |words| {
            let words = words.iter().map(|&word| word.to_owned()).collect();
            let sent = commands_tx.send(words);
            waker.notify_one();
            sent.ok()
                .and_then(|()| answers_rx.recv().ok())
                .unwrap_or(Value::Null)
        });
        waker.notify_one();
        ended
    });
    obey(&runtime, &commands_rx, &answers_tx, &wake)
}

fn obey(
    runtime: &Runtime,
    commands: &std::sync::mpsc::Receiver<Vec<String>>,
    answers: &std::sync::mpsc::Sender<Value>,
    wake: &tokio::sync::Notify,
) -> io::Result<()> {
    let mut generator = Generator {
        fleet: Arc::default(),
        miners: Vec::new(),
        turn: 0,
    };
    runtime.block_on(async {
        loop {
            wake.notified().await;
            let Ok(words) = commands.try_recv() else {
                return Ok(());
            };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let answer = generator.command(&words).await;
            let answer = answer.unwrap_or_else(|error| json!({ "error": error.to_string() }));
            answers.send(answer).map_err(io::Error::other)?;
        }
    })
}

impl Generator {
    async fn command(&mut self, words: &[&str]) -> io::Result<Value> {
        match words {
            ["login", port, miners] => self.login(parse(port)?, parse(miners)?).await,
            ["paced", rate, shares] => self.paced(parse(rate)?, parse(shares)?).await,
            ["closed", seconds] => self.closed(parse(seconds)?).await,
            ["arm"] => {
                self.fleet.arm();
                Ok(json!({}))
            }
            ["collect"] => self.collect().await,
            _ => Err(io::Error::other("unknown command")),
        }
    }

    async fn login(&mut self, port: u16, miners: usize) -> io::Result<Value> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let places = Arc::new(Semaphore::new(LOGINS_AT_ONCE));
        let started = Instant::now();
        for index in 0..miners {
            let permit = places.clone().acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            let socket = TcpSocket::new_v4()?;
            // Ends with a reset: thousands of ports in TIME_WAIT would be missing in the next pass.
            socket.set_zero_linger()?;
            socket.bind(SocketAddr::new(source(index), 0))?;
            let stream = socket.connect(server).await?;
            stream.set_nodelay(true)?;
            let miner = Miner::new(stream, index, permit);
            miner.start()?;
            tokio::spawn(miner.clone().run(self.fleet.clone()));
            self.miners.push(miner);
        }
        let fleet = self.fleet.clone();
        let all = miners as u64;
        wait_until(|| fleet.ready.load(Relaxed) + fleet.lost.load(Relaxed) >= all).await;
        let ready = fleet.ready.load(Relaxed);
        if ready < all {
            let message = format!("{ready} of {miners} miners logged in");
            return Err(io::Error::other(message));
        }
        Ok(json!({ "wall_s": started.elapsed().as_secs_f64() }))
    }

    /// One share after another at even distances, as thousands of independent miners send them: from a thread that
    /// sleeps, because the runtime's timer would make bursts of them.
    async fn paced(&mut self, rate: f64, shares: u32) -> io::Result<Value> {
        let before = Before::now(&self.fleet);
        let started = before.at;
        let (fleet, miners, mut turn) = (self.fleet.clone(), self.miners.clone(), self.turn);
        let pacer = tokio::task::spawn_blocking(move || {
            for sent in 0..shares {
                let due = started + Duration::from_secs_f64(f64::from(sent) / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                turn = (turn + 1) % miners.len();
                miners[turn].submit(&fleet)?;
            }
            Ok::<usize, io::Error>(turn)
        });
        self.turn = pacer.await.map_err(io::Error::other)??;
        Ok(self.tally(before).await)
    }

    async fn closed(&mut self, seconds: f64) -> io::Result<Value> {
        let before = Before::now(&self.fleet);
        self.fleet.closed_loop.store(true, Relaxed);
        for miner in &self.miners {
            miner.submit(&self.fleet)?;
        }
        sleep(Duration::from_secs_f64(seconds)).await;
        self.fleet.closed_loop.store(false, Relaxed);
        Ok(self.tally(before).await)
    }

    async fn collect(&mut self) -> io::Result<Value> {
        let all = self.miners.len() as u64;
        let fleet = self.fleet.clone();
        wait_until(|| fleet.notified.load(Relaxed) + fleet.lost.load(Relaxed) >= all).await;
        let notified = fleet.notified.load(Relaxed);
        if notified < all {
            let message = format!("{notified} of {all} miners have the new job");
            return Err(io::Error::other(message));
        }
        Ok(json!({
            "first_ns": fleet.first_ns.load(Relaxed),
            "last_ns": fleet.last_ns.load(Relaxed),
        }))
    }

    /// Waits for the answers that are due and sums up.
    async fn tally(&self, before: Before) -> Value {
        let fleet = &self.fleet;
        wait_until(|| fleet.answered() >= fleet.sent.load(Relaxed) || fleet.lost.load(Relaxed) > 0)
            .await;
        let first_error = fleet.first_error.lock().expect("no holder panics").clone();
        json!({
            "accepted": fleet.accepted.load(Relaxed) - before.accepted,
            "notifies": fleet.notifies.load(Relaxed) - before.notifies,
            "low": fleet.low.load(Relaxed),
            "errors": fleet.errors.load(Relaxed) + fleet.sent.load(Relaxed) - fleet.answered(),
            "lost": fleet.lost.load(Relaxed),
            "first_error": first_error,
            "wall_s": before.at.elapsed().as_secs_f64(),
        })
    }
}

/// Where a command started from.
struct Before {
    at: Instant,
    accepted: u64,
    notifies: u64,
}

impl Before {
    fn now(fleet: &Fleet) -> Self {
        Self {
            at: Instant::now(),
            accepted: fleet.accepted.load(Relaxed),
            notifies: fleet.notifies.load(Relaxed),
        }
    }
}

/// 127.0.1.1, 127.0.1.2, ...: a source address runs out of ports.
fn source(index: usize) -> IpAddr {
    let host = u8::try_from(1 + index / MINERS_PER_ADDRESS).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, host))
}

/// Looks every tick; gives up after `PATIENCE`.
async fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() && Instant::now() < deadline {
        sleep(TICK).await;
    }
}

fn parse<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse()
        .map_err(|_| io::Error::other(format!("not a number that fits: {word}")))
}
