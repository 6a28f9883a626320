//! Miners that send and never read.

use crate::child::Proxy;
use crate::house::{House, Plan, Upstream};
use crate::miner::Miner;
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

/// Buckets that a test cannot empty.
const FAST: &str = "others_per_second = 1000\nother_burst = 100000";
/// Turns of the other miner after which the proxy is taken to read no more.
const TURNS: usize = 300;

/// A request with a long answer, so that the sockets' own buffers are full before the bucket is empty.
fn long() -> Vec<u8> {
    let names: Vec<String> = (0..8).map(|n| n.to_string().repeat(32)).collect();
    let params = json!([names, {}]);
    let line = json!({ "id": "unread", "method": "mining.configure", "params": params });
    format!("{line}\n").into_bytes()
}

/// Sends until the proxy reads no more; how many whole requests were taken.
fn fill(miner: &mut Miner, honest: &mut Miner) -> usize {
    miner.stream.set_nonblocking(true).expect("an option");
    let request = long();
    let all = request.repeat(100);
    let (mut sent, mut refused) = (0, 0);
    while refused < TURNS {
        match miner.stream.write(&all[sent % all.len()..]) {
            Ok(more) => {
                sent += more;
                refused = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // On the same shard: each answer means that the deaf one has had its turn too.
                honest.ask("mining.ping", &json!([]));
                refused += 1;
            }
            Err(error) => panic!("it is not closed yet: {error}"),
        }
        assert!(sent < 28 << 20, "the proxy reads what it cannot answer");
    }
    miner.stream.set_nonblocking(false).expect("an option");
    sent / request.len()
}

#[test]
fn who_does_not_read_is_not_read_and_newer_work_replaces_older() {
    let mut house = House::open(&Plan {
        limits: FAST,
        ..Plan::default()
    });
    let mut miner = house.miner("deaf");
    let requests = fill(&mut miner, &mut house.honest);
    for _ in 0..5 {
        house.upstream.pool.new_block();
        let old = house.honest.job.clone();
        while house.honest.job == old {
            house.honest.line().expect("work flows on");
        }
    }
    let newest = house.honest.job.clone().expect("just seen");
    let before = miner.notifies;
    let mut answers = 0;
    while answers < requests || miner.job.as_ref() != Some(&newest) {
        let line = miner.line().expect("all is answered once it reads");
        answers += usize::from(line.contains("\"unread\""));
    }
    assert!(
        miner.notifies - before <= 2,
        "of five blocks it saw {}",
        miner.notifies - before
    );
    house.close();
}

#[test]
fn readers_that_never_read_cost_no_more_than_their_place() {
    const DEAF: usize = 4;
    let upstream = Upstream::start(1.0);
    let plan = Plan {
        limits: FAST,
        ..Plan::default()
    };
    let mut proxy = Proxy::start(&plan.config(upstream.pool.address(), "warn"), None);
    let mut honest = Miner::login(proxy.address, "honest.one");
    let before = proxy.resident_kib();
    let mut all: Vec<Miner> = (0..DEAF)
        .map(|_| Miner::login(proxy.address, "deaf"))
        .collect();
    for miner in &mut all {
        fill(miner, &mut honest);
    }
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < DEAF as u64 * 24 + 4096, "grew by {grown} KiB");
    honest.mine();
    drop(all);
    proxy.end();
    upstream.stop();
}

/// Takes 31 s of real time, nearly all of it waiting: the driver's own clock is under test.
#[test]
fn who_reads_nothing_for_30_s_is_closed() {
    let mut house = House::open(&Plan {
        limits: FAST,
        ..Plan::default()
    });
    let mut miner = house.miner("deaf");
    fill(&mut miner, &mut house.honest);
    let started = Instant::now();
    let patience = Duration::from_secs(50);
    let option = miner.stream.set_write_timeout(Some(patience));
    option.expect("a timeout above zero");
    // Nobody takes this: the write waits for the end of the connection, and is told of it.
    let error = miner.stream.write_all(&vec![b' '; 64 << 20]);
    let error = error.expect_err("more than all buffers hold").kind();
    let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(reset.contains(&error), "{error:?}");
    let waited = started.elapsed();
    let patient = Duration::from_secs(20)..Duration::from_secs(40);
    assert!(patient.contains(&waited), "closed after {waited:?}");
    house.expect_closed("slow_reader", 1);
    house.close();
}
