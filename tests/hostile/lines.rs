//! Single lines and first bytes that are no Stratum: closed and counted once, or answered, as the table says.

use crate::house::{House, Plan};
use crate::miner::Miner;
use socket2::SockRef;
use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

/// What must come of a line.
enum Fate {
    /// The connection ends without a word, and this reason moves by one.
    Closed(&'static str),
    /// An answer that contains this, and the connection lives.
    Answered(&'static str),
    /// Nothing at all, and the connection lives.
    Ignored,
}
use Fate::{Answered, Closed, Ignored};

#[test]
fn each_bad_line_meets_its_fate_and_nobody_else_does() {
    let mut house = House::open(&Plan::default());
    let mut closed: Vec<(&str, u64)> = vec![("malformed", 0), ("overlong_line", 0)];
    for (what, line, fate) in rows() {
        let mut miner = Miner::connect(house.address);
        miner.shout(&line);
        match fate {
            Closed(reason) => {
                assert_eq!(miner.rest(), [""; 0], "{what}");
                let (_, count) = closed
                    .iter_mut()
                    .find(|(known, _)| *known == reason)
                    .expect("one of the two");
                *count += 1;
            }
            Answered(part) => {
                let answer = miner.line().unwrap_or_default();
                assert!(answer.contains(part), "{what}: {answer}");
                still_served(&mut miner, what);
            }
            Ignored => still_served(&mut miner, what),
        }
        house.honest.mine();
    }
    for (reason, count) in closed {
        house.expect_closed(reason, count);
    }
    house.expect_refusals(&[]);
    house.close();
}

fn still_served(miner: &mut Miner, what: &str) {
    miner.send(b"{\"id\":\"after\",\"method\":\"mining.ping\",\"params\":[]}\n");
    let answer = miner.line().unwrap_or_default();
    assert!(answer.contains("\"after\""), "{what}: {answer}");
}

fn rows() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let ping = |id: &str| format!("{{\"id\":{id},\"method\":\"mining.ping\",\"params\":[]}}\n");
    let suggest = |value: &str| {
        format!("{{\"id\":1,\"method\":\"mining.suggest_difficulty\",\"params\":[{value}]}}\n")
    };
    let nested = |depth: usize| {
        // The object and `params` are two.
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!("{{\"id\":1,\"method\":\"mining.ping\",\"params\":{open}{close}}}\n")
    };
    let text = |what, line: String, fate| (what, line.into_bytes(), fate);
    vec![
        text("a line of the cap", padded(4096), Answered("pong")),
        text(
            "one byte above the cap",
            padded(4097),
            Closed("overlong_line"),
        ),
        text(
            "no end at all",
            "x".repeat(1 << 20),
            Closed("overlong_line"),
        ),
        text("the deepest nesting", nested(8), Answered("pong")),
        text("one level deeper", nested(9), Closed("malformed")),
        text("a nesting bomb", nested(1900), Closed("malformed")),
        text(
            "a bomb never closed",
            format!("{}\n", "{\"a\":[".repeat(600)),
            Closed("malformed"),
        ),
        text(
            "a key twice",
            "{\"id\":1,\"id\":2,\"method\":\"mining.ping\"}\n".into(),
            Closed("malformed"),
        ),
        text(
            "a key twice, once escaped",
            "{\"id\":1,\"\\u0069d\":2,\"method\":\"mining.ping\"}\n".into(),
            Closed("malformed"),
        ),
        text("NaN", suggest("NaN"), Closed("malformed")),
        text("a number beyond f64", suggest("1e999"), Answered("[20,")),
        text("zero difficulty", suggest("0"), Answered("[20,")),
        text("negative difficulty", suggest("-1"), Answered("[20,")),
        text("a lone surrogate as a name", authorize("\\ud800"), Ignored),
        text(
            "a lone surrogate as a method",
            method("\\udc00"),
            Closed("malformed"),
        ),
        text("a huge integer id", ping(&"9".repeat(64)), Answered(NINES)),
        text(
            "an id one digit too long",
            ping(&"9".repeat(65)),
            Answered("\"id\":null"),
        ),
        text("a float id", ping("1.5e3"), Answered("\"id\":1.5e3")),
        text(
            "an object as id",
            ping("{\"a\":1}"),
            Answered("\"id\":null"),
        ),
        text("a null id", ping("null"), Answered("\"id\":null")),
        text(
            "a batch",
            format!("[{}]\n", ping("1").trim_end()),
            Closed("malformed"),
        ),
        text(
            "a bare string",
            "\"mining.ping\"\n".into(),
            Closed("malformed"),
        ),
        text(
            "two objects on a line",
            "{}{}\n".into(),
            Closed("malformed"),
        ),
        text("an empty object", "{}\n".into(), Closed("malformed")),
        text(
            "HTTP",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            Closed("malformed"),
        ),
        text(
            "params of the wrong type",
            "{\"id\":1,\"method\":\"mining.authorize\",\"params\":7}\n".into(),
            Answered("[20,"),
        ),
        text(
            "an unknown method",
            method("mining.get_transactions"),
            Answered("[-3,"),
        ),
        text("blank lines", "\r\n\n\n \n".replace(' ', ""), Ignored),
        (
            "invalid UTF-8",
            b"{\"id\":1,\"method\":\"\xff\xfe\"}\n".to_vec(),
            Closed("malformed"),
        ),
        (
            "an overlong encoding",
            b"{\"id\":1,\"method\":\"\xc0\xaf\"}\n".to_vec(),
            Closed("malformed"),
        ),
        (
            "NUL bytes",
            b"{\"id\":1,\x00\"method\":\"mining.ping\"}\n".to_vec(),
            Closed("malformed"),
        ),
        ("only NULs", b"\0\0\0\0\n".to_vec(), Closed("malformed")),
        (
            "a TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n".to_vec(),
            Closed("malformed"),
        ),
        (
            "RDP",
            b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\n".to_vec(),
            Closed("malformed"),
        ),
    ]
}

const NINES: &str = "9999999999999999999999999999999999999999999999999999999999999999";

/// A ping of exactly this many bytes before its end.
fn padded(length: usize) -> String {
    let (head, tail) = ("{\"id\":1,\"method\":\"mining.ping\",\"x\":\"", "\"}");
    let fill = "x".repeat(length - head.len() - tail.len());
    format!("{head}{fill}{tail}\n")
}

fn authorize(name: &str) -> String {
    format!("{{\"method\":\"mining.authorize\",\"params\":[\"{name}\"]}}\n")
}

fn method(name: &str) -> String {
    format!("{{\"id\":1,\"method\":\"{name}\",\"params\":[]}}\n")
}

#[test]
fn a_miner_that_resets_or_half_closes_in_the_middle_of_a_line_is_gone_and_nobody_notices() {
    let mut house = House::open(&Plan::default());
    let mut reset = house.miner("reset.mid.line");
    reset.send(b"{\"id\":1,\"method\":\"mining.sub");
    let socket = SockRef::from(&reset.stream);
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(reset);
    house.expect_closed("peer", 1);

    let mut half = house.miner("half.open");
    half.send(b"{\"id\":\"last\",\"method\":\"mining.ping\",\"params\":[]}\n{\"id\":");
    half.stream.shutdown(Shutdown::Write).expect("still open");
    let said = half.rest();
    assert!(
        said.iter().any(|line| line.contains("\"last\"")),
        "{said:?}"
    );
    house.expect_closed("peer", 2);
    house.honest.mine();
    house.close();
}

#[test]
fn a_line_that_drips_byte_by_byte_is_one_line() {
    let mut house = House::open(&Plan::default());
    let mut slow = house.miner("slow.drip");
    for byte in b"{\"id\":\"drip\",\"method\":\"mining.ping\",\"params\":[]}\n" {
        slow.stream.write_all(&[*byte]).expect("it is read");
        house.honest.mine();
    }
    assert!(slow.line().is_some_and(|line| line.contains("\"drip\"")));
    house.close();
}
