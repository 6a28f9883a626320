//! Too many connections, too many messages, too few descriptors: bounded memory, and the listener lives.

use crate::child::Proxy;
use crate::house::{House, Plan, Upstream, eventually, get};
use crate::miner::Miner;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// R1: what a connection may cost under every fault.
const KIB_PER_CONNECTION: u64 = 24;
/// What an allocator keeps of a burst, whoever made it.
const SLACK_KIB: u64 = 4 * 1024;

#[test]
fn at_the_cap_the_next_miner_waits_and_gets_the_first_place_that_is_free() {
    // One place is the honest miner's.
    let house = House::open(&Plan {
        limits: "connections = 4",
        ..Plan::default()
    });
    let mut inside: Vec<Miner> = (0..3).map(|n| house.miner(&format!("in.{n}"))).collect();
    let address = house.address;
    let waiting = std::thread::spawn(move || Miner::login(address, "late.comer"));
    let refused = || {
        let summary: Value = serde_json::from_str(&house.get("/api/v1/summary")).expect("JSON");
        summary["refused_connections"]["cap"].as_u64().unwrap_or(0)
    };
    eventually("the cap is counted", || refused() == 1);
    assert!(!waiting.is_finished());
    for miner in &mut inside {
        miner.mine();
    }
    drop(inside.pop());
    let mut late = waiting.join().expect("it got in");
    late.mine();
    house.close();
}

#[test]
fn a_connect_flood_is_slowed_to_the_rate_and_everybody_gets_in() {
    let house = House::open(&Plan {
        limits: "accepts_per_second = 100\naccept_burst = 5",
        ..Plan::default()
    });
    let started = Instant::now();
    let flood: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(house.address).expect("the kernel's queue takes it"))
        .collect();
    let mut last = house.miner("behind.the.flood");
    // One accept of the burst was the honest miner's; 56 more at 100 a second.
    assert!(started.elapsed() > Duration::from_millis(450));
    last.mine();
    drop(flood);
    house.expect_closed("peer", 60);
    house.close();
}

#[test]
fn without_descriptors_accept_waits_and_works_again_when_there_are_some() {
    let upstream = Upstream::start(1.0);
    let plan = Plan::default();
    let mut proxy = Proxy::start(&plan.config(upstream.pool.address(), "info"), Some(64));
    let mut honest = Miner::login(proxy.address, "honest.one");
    let flood: Vec<TcpStream> = (0..150)
        .map(|_| TcpStream::connect(proxy.address).expect("the kernel's queue takes it"))
        .collect();
    // Nobody new gets in, and the one inside mines on.
    let mut outside = TcpStream::connect(proxy.address).expect("the kernel's queue takes it");
    outside
        .write_all(b"{\"id\":1,\"method\":\"mining.ping\"}\n")
        .expect("it waits");
    outside
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let mut byte = [0];
    let silent = outside.read(&mut byte).expect_err("nobody answers");
    assert!(matches!(
        silent.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    for _ in 0..20 {
        honest.mine();
    }
    drop(flood);
    let mut late = Miner::login(proxy.address, "late.comer");
    late.mine();
    honest.mine();
    let log = proxy.end();
    assert!(log.contains("cannot accept miners"), "it says why");
    upstream.stop();
}

#[test]
fn two_hundred_thousand_pipelined_messages_cost_the_sender_only() {
    let upstream = Upstream::start(1.0);
    let plan = Plan::default();
    let mut proxy = Proxy::start(&plan.config(upstream.pool.address(), "warn"), None);
    let mut honest = Miner::login(proxy.address, "honest.one");
    let mut flooder = Miner::login(proxy.address, "flooder");
    let before = proxy.resident_kib();
    let line = b"{\"id\":\"flood\",\"method\":\"mining.ping\",\"params\":[]}\n";
    let all = line.repeat(200_000);
    flooder.stream.set_nonblocking(true).expect("an option");
    let mut sent = 0;
    for _ in 0..100 {
        while let Ok(more) = flooder.stream.write(&all[sent..]) {
            sent += more;
            if sent == all.len() {
                break;
            }
        }
        honest.mine();
    }
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(
        grown < KIB_PER_CONNECTION + SLACK_KIB,
        "grew by {grown} KiB"
    );
    // 20 at once, a turn overdrawn at most, then 5 a second: the rest waits in the sockets.
    flooder.stream.set_nonblocking(false).expect("an option");
    let first = flooder.answer(&json!("flood"));
    assert!(first["error"].is_null());
    drop(flooder);
    honest.mine();
    proxy.end();
    upstream.stop();
}

#[test]
fn five_hundred_that_hold_half_a_line_each_stay_within_their_memory() {
    const HELD: usize = 500;
    let upstream = Upstream::start(1.0);
    let plan = Plan {
        limits: "connections = 1000",
        ..Plan::default()
    };
    let mut proxy = Proxy::start(&plan.config(upstream.pool.address(), "warn"), None);
    let mut honest = Miner::login(proxy.address, "honest.one");
    let before = proxy.resident_kib();
    let mut held: Vec<Miner> = (0..HELD).map(|_| Miner::connect(proxy.address)).collect();
    for miner in &mut held {
        miner.subscribe("holder/1");
        miner.authorize("holder");
        miner.send(&[b'x'; 4096]);
    }
    honest.mine();
    let grown = proxy.resident_kib().saturating_sub(before);
    let most = HELD as u64 * KIB_PER_CONNECTION + SLACK_KIB;
    assert!(grown < most, "grew by {grown} of {most} KiB");
    for miner in &mut held {
        miner.shout(b"x");
    }
    let ended = || {
        let summary: Value =
            serde_json::from_str(&get(proxy.api, "/api/v1/summary")).expect("JSON");
        summary["listeners"][0]["closed"]["overlong_line"] == HELD
    };
    eventually("each is closed at its 4,097th byte", ended);
    honest.mine();
    proxy.end();
    upstream.stop();
}
