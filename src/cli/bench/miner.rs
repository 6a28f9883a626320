//! A miner that answers back at once: one share under way, the next as soon as the verdict is there, while it may.
//!
//! It hashes nothing: at the lowest difficulty practically every nonce is a share. Not `sim`'s miner, which checks the
//! other side and would be what is measured. Invariant: no two of its shares are the same.

use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

const LOGIN: &[u8] = concat!(
    r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#,
    "\n",
    r#"{"id":2,"method":"mining.subscribe","params":["bench/1"]}"#,
    "\n",
    r#"{"id":3,"method":"mining.authorize","params":["account.rig","x"]}"#,
    "\n"
)
.as_bytes();
/// The id of the subscribe above.
const SUBSCRIBE: u64 = 2;
/// Of the first share; above those of the login.
const FIRST_ID: u32 = 10;
/// More digits than any server here asks for.
const ZEROS: &str = "0000000000000000";

/// What all miners of a server count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Have a job.
    pub(super) ready: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Connections that ended.
    pub(super) lost: AtomicU64,
}

/// Logs in, then mines whenever `go` is true, until the connection ends or `go` is dropped.
pub(super) async fn run(server: SocketAddr, go: watch::Receiver<bool>, counts: Arc<Counts>) {
    if mine(server, go, &counts).await.is_err() {
        counts.lost.fetch_add(1, Relaxed);
    }
}

async fn mine(
    server: SocketAddr,
    mut go: watch::Receiver<bool>,
    counts: &Counts,
) -> io::Result<()> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let mut miner = Miner {
        reader: BufReader::new(reader),
        writer,
        line: String::new(),
        job: None,
        en2: ZEROS,
    };
    miner.login().await?;
    counts.ready.fetch_add(1, Relaxed);
    for nonce in FIRST_ID.. {
        if go.wait_for(|go| *go).await.is_err() {
            return Ok(());
        }
        let counted = match miner.submit(nonce).await? {
            true => &counts.accepted,
            false => &counts.refused,
        };
        counted.fetch_add(1, Relaxed);
    }
    Ok(())
}

struct Miner {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: String,
    job: Option<Job>,
    /// The miner's part of the extranonce, always the same: the nonce is what it rolls.
    en2: &'static str,
}

struct Job {
    id: String,
    ntime: String,
}

impl Miner {
    /// Until there is a job.
    async fn login(&mut self) -> io::Result<()> {
        self.writer.write_all(LOGIN).await?;
        while self.job.is_none() {
            self.read().await?;
            let reply: Value = serde_json::from_str(&self.line)?;
            if reply["id"] == SUBSCRIBE {
                let bytes = reply["result"][2].as_u64().unwrap_or_default() as usize;
                self.en2 = ZEROS.get(..2 * bytes).ok_or(io::ErrorKind::InvalidData)?;
            }
            self.heed()?;
        }
        Ok(())
    }

    /// One share; whether it was accepted.
    async fn submit(&mut self, nonce: u32) -> io::Result<bool> {
        let job = self.job.as_ref().ok_or(io::ErrorKind::InvalidData)?;
        let Job { id, ntime } = job;
        let en2 = self.en2;
        let share = format!(
            "{{\"id\":{nonce},\"method\":\"mining.submit\",\"params\":[\"account.rig\",\"{id}\",\"{en2}\",\"{ntime}\",\"{nonce:08x}\",\"04002000\"]}}\n"
        );
        self.writer.write_all(share.as_bytes()).await?;
        loop {
            self.read().await?;
            if !self.heed()? {
                return Ok(self.line.contains("\"result\":true"));
            }
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        self.line.clear();
        match self.reader.read_line(&mut self.line).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Takes a notification; `false`: the line is an answer.
    fn heed(&mut self) -> io::Result<bool> {
        if !self.line.contains("\"method\":") {
            return Ok(false);
        }
        let told: Value = serde_json::from_str(&self.line)?;
        if told["method"] == "mining.notify" {
            let text = |at: usize| told["params"][at].as_str().unwrap_or_default().to_owned();
            self.job = Some(Job {
                id: text(0),
                ntime: text(7),
            });
        }
        Ok(true)
    }
}
