//! Before there is a key: silence, halves, drips, garbage, floods, and who looks for another service.

use super::client::Client;
use crate::house::{AUTHORITY, House, Plan, eventually};
use noise_sv2::Initiator;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Of V2 peers at once; 20,000 descriptors are all that a test process may have.
const FLOOD: usize = 2_000;

pub(super) fn plan() -> Plan {
    Plan {
        more: AUTHORITY.to_owned(),
        ..Plan::default()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the listener lives");
    let patience = Some(Duration::from_secs(40));
    stream.set_read_timeout(patience).expect("a timeout");
    stream
}

/// A key that is known for none of text by its first byte.
fn hello() -> [u8; 64] {
    loop {
        let mut hello = Initiator::without_pk().expect("chance");
        let hello = hello.step_0().expect("a key");
        if hello[0] >= 0x80 {
            return hello;
        }
    }
}

/// How many bytes came before the end.
fn until_end(stream: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is not closed: {error}"),
    }
    rest.len()
}

fn refused(house: &House, why: &str) -> u64 {
    let summary: Value = serde_json::from_str(&house.get("/api/v1/summary")).expect("JSON");
    summary["refused_connections"][why].as_u64().unwrap_or(0)
}

/// Takes 20 s of real time: ten for the first byte, ten for the handshake.
#[test]
fn half_a_hello_and_a_drip_are_closed_in_time_without_a_word() {
    let mut house = House::open(&plan());
    let started = Instant::now();
    let mut halves: Vec<TcpStream> = [1, 32, 63]
        .into_iter()
        .map(|len| {
            let mut stream = connect(house.address);
            stream.write_all(&hello()[..len]).expect("it waits");
            stream
        })
        .collect();
    let mut drip = connect(house.address);
    let beat = Some(Duration::from_secs(1));
    drip.set_read_timeout(beat).expect("a timeout");
    // A byte a second would need a minute; it does not have one.
    for byte in hello() {
        house.honest.mine();
        let ended = drip.write_all(&[byte]).is_err();
        if ended
            || !matches!(drip.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(40), "it is cut off");
    for stream in halves.iter_mut().chain([&mut drip]) {
        assert_eq!(until_end(stream), 0, "nothing is said to who says half");
    }
    assert!(started.elapsed() >= Duration::from_secs(10));
    eventually("each is counted", || refused(&house, "noise") == 4);
    house.expect_closed("malformed", 4);
    house.close();
}

#[test]
fn garbage_after_random_bytes_ends_only_its_own_connection() {
    let house = House::open(&plan());
    let mut honest = Client::login(house.address, "v2.honest", 2);
    let mut rows = Vec::new();
    for garbage in [vec![0; 22], vec![0xff; 5_000], vec![b'{'; 64]] {
        let mut stream = connect(house.address);
        // Every 64 bytes are a key: the proxy answers, and nothing that follows opens.
        stream.write_all(&hello()).expect("it reads");
        stream.write_all(&garbage).expect("it reads");
        rows.push(until_end(&mut stream));
    }
    // A reset may overtake the answer.
    assert!(rows.iter().all(|len| [0, 234].contains(len)), "{rows:?}");
    house.expect_closed("malformed", 3);
    let ids: Vec<u32> = honest.channels.keys().copied().collect();
    for id in ids {
        honest.mine(id);
    }
    house.close();
}

#[test]
fn one_changed_bit_ends_the_connection_at_once() {
    let house = House::open(&plan());
    let mut honest = Client::login(house.address, "v2.honest", 1);
    for (at, frames) in [(0, 0), (21, 0), (22, 0), (22, 3)] {
        let mut client = Client::login(house.address, "v2.forger", 1);
        let id = *client.channels.keys().next().expect("one");
        for _ in 0..frames {
            client.mine(id);
        }
        let share = client.fresh(id);
        let mut sealed = client.seal(&client.submit_as(&share).bytes());
        sealed[at] ^= 1;
        client.stream.write_all(&sealed).expect("it reads");
        client.rest();
    }
    house.expect_closed("malformed", 4);
    let id = *honest.channels.keys().next().expect("one");
    honest.mine(id);
    house.close();
}

/// Each holds the beginning of a handshake; who has a whole one need not wait for them.
#[test]
fn two_thousand_half_handshakes_keep_nobody_out() {
    let mut house = House::open(&flooded());
    let half = hello();
    let mut flood: Vec<TcpStream> = (0..FLOOD).map(|_| connect(house.address)).collect();
    for stream in &mut flood {
        stream.write_all(&half[..32]).expect("it waits");
    }
    let started = Instant::now();
    let mut honest = Client::login(house.address, "v2.honest", 1);
    let id = *honest.channels.keys().next().expect("one");
    honest.mine(id);
    house.honest.mine();
    // Well before the first of them has had its ten seconds.
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "it took {:?}",
        started.elapsed()
    );
    drop(flood);
    house.close();
}

#[test]
fn two_thousand_whole_hellos_at_once_are_answered_and_the_miners_mine_on() {
    let mut house = House::open(&flooded());
    let mut honest = Client::login(house.address, "v2.honest", 1);
    let id = *honest.channels.keys().next().expect("one");
    let mut flood: Vec<TcpStream> = (0..FLOOD).map(|_| connect(house.address)).collect();
    let mut slowest = Duration::ZERO;
    for (number, stream) in flood.iter_mut().enumerate() {
        stream.write_all(&hello()).expect("it reads");
        if number % 100 == 0 {
            let asked = Instant::now();
            house.honest.mine();
            honest.mine(id);
            slowest = slowest.max(asked.elapsed());
        }
    }
    for stream in &mut flood {
        let mut reply = [0; 234];
        stream
            .read_exact(&mut reply)
            .expect("everybody is answered");
    }
    assert!(
        slowest < Duration::from_secs(5),
        "a miner waited {slowest:?}"
    );
    let mut late = Client::login(house.address, "v2.late", 1);
    let id = *late.channels.keys().next().expect("one");
    late.mine(id);
    drop(flood);
    house.close();
}

fn flooded() -> Plan {
    Plan {
        limits: "connections = 5000\naccepts_per_second = 20000\naccept_burst = 20000",
        ..plan()
    }
}

#[test]
fn who_looks_for_another_service_is_closed_silently_and_counted() {
    let house = House::open(&plan());
    let greetings: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for greeting in greetings {
        let mut stream = connect(house.address);
        stream.write_all(greeting).expect("it reads");
        assert_eq!(until_end(&mut stream), 0, "{}", greeting.escape_ascii());
    }
    house.expect_closed("malformed", greetings.len() as u64);
    assert_eq!(refused(&house, "tls"), 1);
    house.close();
}

#[test]
fn without_an_authority_key_a_hello_is_closed_silently_and_counted() {
    let house = House::open(&Plan::default());
    let mut stream = connect(house.address);
    stream.write_all(&hello()).expect("it reads");
    assert_eq!(until_end(&mut stream), 0);
    assert_eq!(refused(&house, "noise"), 1);
    house.close();
}
