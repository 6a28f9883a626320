//! A V2 miner that sends and never reads.

use super::client::Client;
use super::handshake::plan;
use crate::house::{House, Plan};
use serde_json::json;
use sluice::sim::v2::message::Message;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

/// Buckets that a test cannot empty.
fn fast() -> Plan {
    Plan {
        limits: "others_per_second = 1000\nother_burst = 100000",
        ..plan()
    }
}

/// Turns of the other miner after which the proxy is taken to read no more.
const TURNS: usize = 300;

/// Asks what has a long answer until the proxy reads no more; a frame may be left half sent.
fn fill(client: &mut Client, house: &mut House) {
    client.stream.set_nonblocking(true).expect("an option");
    let wanted = vec![0x0777; 1_000];
    let question = Message::RequestExtensions { request: 1, wanted }.bytes();
    let (mut refused, mut total, mut rest) = (0, 0, Vec::new());
    while refused < TURNS {
        if rest.is_empty() {
            rest = client.seal(&question);
        }
        match client.stream.write(&rest) {
            Ok(more) => {
                rest.drain(..more);
                total += more;
                refused = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                house.honest.ask("mining.ping", &json!([]));
                refused += 1;
            }
            Err(error) => panic!("it is not closed yet: {error}"),
        }
        assert!(total < 28 << 20, "the proxy reads what it cannot answer");
    }
    client.stream.set_nonblocking(false).expect("an option");
}

/// Takes 31 s of real time, nearly all of it waiting: the driver's own clock is under test.
#[test]
fn a_v2_miner_that_reads_nothing_for_30_s_is_closed() {
    let mut house = House::open(&fast());
    let mut near = Client::login(house.address, "v2.near", 1);
    let mut client = Client::login(house.address, "v2.deaf", 2);
    fill(&mut client, &mut house);
    let started = Instant::now();
    let patience = Duration::from_secs(50);
    let option = client.stream.set_write_timeout(Some(patience));
    option.expect("a timeout above zero");
    let error = client.stream.write_all(&vec![b' '; 64 << 20]);
    let error = error.expect_err("more than all buffers hold").kind();
    let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(reset.contains(&error), "{error:?}");
    let waited = started.elapsed();
    let patient = Duration::from_secs(20)..Duration::from_secs(40);
    assert!(patient.contains(&waited), "closed after {waited:?}");
    house.expect_closed("slow_reader", 2);
    let id = *near.channels.keys().next().expect("one");
    near.mine(id);
    house.close();
}
