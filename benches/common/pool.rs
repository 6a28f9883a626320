//! A simulated upstream pool: canned answers, every share accepted, a new block on command.
//!
//! Not a judge: it counts what arrives and believes it. Its one thread costs the proxy nothing
//! but the wire. Invariant: a submit is counted before its answer is written.

use super::canned;
use super::child;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Default)]
struct Counts {
    connections: AtomicU32,
    authorized: AtomicU64,
    submits: AtomicU64,
}

#[derive(Deserialize)]
struct Request<'line> {
    #[serde(borrow)]
    id: &'line RawValue,
    method: &'line str,
}

/// Serves until standard input ends; `difficulty` is what every connection is told.
pub(crate) fn main(difficulty: f64) -> io::Result<()> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let (serial_tx, serial_rx) = watch::channel(1_u64);
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    std::thread::spawn(move || run(listener, difficulty, serial_rx, shared));
    child::serve(&json!({ "port": port }), |words| match words {
        ["notify"] => {
            let sent_ns = canned::unix_ns();
            serial_tx.send_modify(|serial| *serial += 1);
            json!({ "sent_ns": sent_ns })
        }
        ["counts"] => json!({
            "authorized": counts.authorized.load(Ordering::Relaxed),
            "submits": counts.submits.load(Ordering::Relaxed),
        }),
        _ => json!({ "error": "unknown command" }),
    })
}

fn run(
    listener: StdListener,
    difficulty: f64,
    serial_rx: watch::Receiver<u64>,
    counts: Arc<Counts>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let link = link(stream, difficulty, serial_rx.clone(), counts.clone());
            tokio::spawn(link);
        }
    })
}

/// One connection of the proxy's. Ends with it, or at the first line that is not a request.
async fn link(
    stream: TcpStream,
    difficulty: f64,
    mut serial_rx: watch::Receiver<u64>,
    counts: Arc<Counts>,
) -> io::Result<()> {
    let number = counts.connections.fetch_add(1, Ordering::Relaxed);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let mut output = String::new();
    let mut line = String::new();
    serial_rx.mark_unchanged();
    loop {
        // `read_line` keeps what it has read in `line` when another arm wins.
        tokio::select! {
            read = reader.read_line(&mut line) => {
                if read? == 0 {
                    return Ok(());
                }
                let serial = *serial_rx.borrow();
                answer(&line, number, difficulty, serial, &counts, &mut output)?;
                line.clear();
            }
            changed = serial_rx.changed() => {
                changed.map_err(io::Error::other)?;
                let serial = *serial_rx.borrow_and_update();
                output += &notify(serial);
            }
        }
        if !reader.buffer().contains(&b'\n') {
            flush(&mut writer, &mut output).await?;
        }
    }
}

async fn flush(writer: &mut OwnedWriteHalf, output: &mut String) -> io::Result<()> {
    writer.write_all(output.as_bytes()).await?;
    output.clear();
    Ok(())
}

fn answer(
    line: &str,
    number: u32,
    difficulty: f64,
    serial: u64,
    counts: &Counts,
    output: &mut String,
) -> io::Result<()> {
    let request: Request<'_> = serde_json::from_str(line)?;
    let mask = canned::VERSION_MASK;
    let result = match request.method {
        "mining.submit" => {
            counts.submits.fetch_add(1, Ordering::Relaxed);
            "true".to_owned()
        }
        "mining.configure" => {
            format!(r#"{{"version-rolling":true,"version-rolling.mask":"{mask}"}}"#)
        }
        "mining.subscribe" => {
            format!(r#"[[["mining.notify","1"]],"{:08x}",8]"#, number + 1)
        }
        _ => "true".to_owned(),
    };
    let id = request.id;
    writeln!(output, r#"{{"id":{id},"result":{result},"error":null}}"#)
        .expect("a String takes every write");
    if request.method == "mining.authorize" {
        counts.authorized.fetch_add(1, Ordering::Relaxed);
        *output += &canned::difficulty_line(difficulty);
        *output += &notify(serial);
    }
    Ok(())
}

fn notify(serial: u64) -> String {
    String::from_utf8(canned::notify_line(serial)).expect("the template is ASCII")
}
