//! First byte, subscribe, authorize: in virtual time on the machine, and the first of them on sockets.

use crate::house::{House, Plan};
use crate::miner::Miner;
use sluice::machine::Machine;
use sluice::proxy::lease::{Lease, ListenerId, ResumeToken, Seat, SessionId};
use sluice::proxy::session::{Bucket, Close, Config, Input, Output, Session, WallAnchor};
use sluice::work::{Difficulty, Lane, Layout, vardiff};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SUBSCRIBE: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}";
const AUTHORIZE: &[u8] = b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"w\"]}";
const PING: &[u8] = b"{\"id\":3,\"method\":\"mining.ping\",\"params\":[]}";
const MILLISECOND: Duration = Duration::from_millis(1);

/// What a peer has managed before it falls silent, until when it may, and what it is told then.
#[test]
fn each_deadline_is_absolute_and_not_a_millisecond_early() {
    let rows: [(&str, &[&[u8]], u64, Close); 5] = [
        ("connect and idle", &[], 10, Close::FirstByte),
        (
            "a ping, then nothing",
            &[PING],
            15,
            Close::SubscribeDeadline,
        ),
        (
            "authorize without subscribe",
            &[AUTHORIZE],
            15,
            Close::SubscribeDeadline,
        ),
        (
            "subscribe without authorize",
            &[SUBSCRIBE],
            30,
            Close::AuthorizeDeadline,
        ),
        (
            "subscribe, pings, no authorize",
            &[SUBSCRIBE, PING, PING, PING],
            30,
            Close::AuthorizeDeadline,
        ),
    ];
    for (what, lines, seconds, why) in rows {
        let mut peer = Peer::new();
        for line in lines {
            peer.line(line);
        }
        let deadline = Duration::from_secs(seconds);
        assert_eq!(peer.at(deadline - MILLISECOND), None, "{what}");
        assert_eq!(peer.at(deadline), Some(why), "{what}");
    }
}

#[test]
fn talking_does_not_move_a_deadline() {
    let mut peer = Peer::new();
    for second in 1..=5 {
        assert_eq!(peer.at(Duration::from_secs(2 * second)), None);
        peer.line(PING);
    }
    assert_eq!(
        peer.at(Duration::from_secs(15)),
        Some(Close::SubscribeDeadline)
    );
}

#[test]
fn a_miner_that_has_logged_in_meets_no_deadline() {
    let mut peer = Peer::new();
    peer.line(SUBSCRIBE);
    peer.line(AUTHORIZE);
    for hour in 0..48 {
        assert_eq!(peer.at(Duration::from_secs(3600 * hour + 60)), None);
    }
}

#[test]
fn what_never_sends_a_line_is_closed_after_ten_seconds_without_a_word() {
    let mut house = House::open(&Plan::default());
    // Greetings of other services are known sooner (`v2::handshake`).
    let starts: [&[u8]; 4] = [b"", b"\x16\x03\x01", b"GET", b"{\"id\":1,\"method\":"];
    let started = Instant::now();
    let mut silent: Vec<Miner> = starts
        .iter()
        .map(|_| Miner::connect(house.address))
        .collect();
    for (miner, start) in silent.iter_mut().zip(starts) {
        miner.send(start);
    }
    house.honest.mine();
    for miner in &mut silent {
        assert_eq!(miner.rest(), [""; 0]);
    }
    assert!(started.elapsed() >= Duration::from_secs(10));
    house.expect_closed("first_byte_deadline", starts.len() as u64);
    house.close();
}

/// A session with a driver that answers at once.
struct Peer {
    born: Instant,
    now: Instant,
    session: Session,
}

impl Peer {
    fn new() -> Self {
        let now = Instant::now();
        let bucket = Bucket {
            per_second: 1000.0,
            burst: 1000.0,
        };
        let one = Difficulty::ONE;
        let config = Config {
            listener: ListenerId(0),
            vardiff: vardiff::Config {
                start: one,
                min: one,
                max: one,
                fixed: Some(one),
                shares_per_minute: 12.0,
                ceiling_per_minute: 60.0,
            },
            password: None,
            submits: bucket,
            others: bucket,
            version_mask: 0x1fff_e000,
            channels: 64,
            fast_lines: true,
            wall: WallAnchor {
                at: now,
                unix_s: 1_700_000_000,
            },
        };
        Self {
            born: now,
            now,
            session: Session::new(now, SessionId(1), Arc::new(config), 0x1fff_e000),
        }
    }

    fn line(&mut self, line: &[u8]) {
        self.session.handle_input(self.now, Input::Line(line));
        assert_eq!(self.drive(), None);
    }

    /// Lets time pass to here; why the session ended, if it did.
    fn at(&mut self, age: Duration) -> Option<Close> {
        let until = self.born + age;
        let mut turns = 0;
        while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= until) {
            turns += 1;
            assert!(turns < 10_000, "its timer never rests");
            self.now = at.max(self.now);
            self.session.handle_timeout(self.now);
            if let Some(why) = self.drive() {
                return Some(why);
            }
        }
        self.now = until;
        None
    }

    fn drive(&mut self) -> Option<Close> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Attach(_) => {
                    let seat = Seat {
                        lane: Lane(1),
                        layout: Layout::WIDE,
                        width: 0,
                        token: ResumeToken([0; 16]),
                        memory: Default::default(),
                    };
                    let lease = Lease {
                        link: None,
                        version_mask: 0x1fff_e000,
                    };
                    let input = Input::Seated(Box::new(seat), lease);
                    self.session.handle_input(self.now, input);
                }
                Output::Close(why) => return Some(why),
                _ => {}
            }
        }
        None
    }
}
