//! How the process ends: what was read is answered, what is in flight is settled, a second signal is obeyed at once.

use crate::lab::*;
use crate::process::Process;
use rustix::process::Signal;
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A proxy process above a raw pool, with a share that the miner was told is good and the pool has not answered.
struct InFlight {
    process: Process,
    pool: Peer<TcpStream>,
    submit: serde_json::Value,
    miner: Mining,
    _folder: tempfile::TempDir,
}

fn in_flight(grace: &str) -> InFlight {
    let raw = RawPool::listen();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sluice.toml");
    let toml = lab(&pool("slow", raw.address(), ""));
    let toml = toml.replace("grace = \"5s\"", &format!("grace = \"{grace}\""));
    std::fs::write(&file, toml).expect("a folder of ours");
    let process = Process::start(&["run", "-c", file.to_str().expect("UTF-8")]);
    let mut pool = raw.login("aabbccdd", 8, &[easy(), notify("1", true)]);
    let line = process.says("miners may connect");
    let address: SocketAddr = line
        .rsplit('=')
        .next()
        .expect("an address")
        .parse()
        .expect("an address");
    let mut miner = Mining::login(Peer::connect(address), "w", &json!([]));
    miner.share();
    let submit = pool.call("mining.submit");
    InFlight {
        process,
        pool,
        submit,
        miner,
        _folder: folder,
    }
}

#[test]
fn sigterm_settles_what_is_in_flight_and_ends_well() {
    let mut it = in_flight("15s");
    let begun = Instant::now();
    it.process.signal(Signal::TERM);
    it.miner.peer.rest(); // ends: the listener's side is closed first
    it.pool.send(&reply(&it.submit, &json!(true)));
    assert_eq!(it.process.ends(PATIENCE), 0, "{:?}", it.process.said());
    assert!(
        begun.elapsed() < Duration::from_secs(14),
        "it did not wait for the grace to pass"
    );
    let said = it.process.said().join("\n");
    assert!(said.contains("draining"), "{said}");
}

#[test]
fn a_request_read_before_the_end_is_answered() {
    let mut it = in_flight("15s");
    let good = it.miner.good();
    let request = json!({"id": "last", "method": "mining.submit", "params": good});
    it.miner.peer.send(&request);
    let second = it.pool.call("mining.submit"); // so it has been read
    it.process.signal(Signal::TERM);
    let rest = it.miner.peer.rest();
    let answer = rest.iter().find(|m| m["id"] == "last").expect("an answer");
    assert_eq!(answer["result"], json!(true));
    it.pool.send(&reply(&it.submit, &json!(true)));
    it.pool.send(&reply(&second, &json!(true)));
    assert_eq!(it.process.ends(PATIENCE), 0, "{:?}", it.process.said());
}

#[test]
fn a_pool_that_never_answers_cannot_hold_the_end_beyond_the_grace() {
    let mut it = in_flight("1s");
    it.process.signal(Signal::TERM);
    assert_eq!(it.process.ends(PATIENCE), 1, "{:?}", it.process.said());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut it = in_flight("60s");
    it.process.signal(Signal::TERM);
    it.process.says("draining");
    it.process.signal(Signal::INT);
    assert_eq!(it.process.ends(PATIENCE), 130);
}
