//! Messages that nobody asked for: unknown ones, custom jobs, torn ones, floods; and proofs that are sent twice.

use super::client::{Client, Verdict};
use super::handshake::plan;
use super::hundred::large;
use crate::child::Proxy;
use crate::house::{House, Plan, Upstream};
use crate::miner::Miner;
use sluice::sim::v2::frame::{CHANNEL_BIT, header};
use sluice::sim::v2::message::{Message, Submit};
use sluice::sim::v2::target;
use sluice::sim::wire::sha256d;
use std::io::Write;

/// 2^-22: of a thousand hashes one is a share, so that a test can find both kinds.
const HARD: f64 = 2.384_185_791_015_625e-7;
/// What an allocator keeps of a burst, whoever made it, and a connection's place (R1).
const MOST_KIB: u64 = 24 + 4 * 1024;

fn only(client: &Client) -> u32 {
    *client.channels.keys().next().expect("one")
}

#[test]
fn a_custom_job_is_refused_by_message_and_the_channel_mines_on() {
    let house = House::open(&plan());
    let mut client = Client::login(house.address, "v2.declares", 1);
    let id = only(&client);
    for channel in [id, 0xbad] {
        let mut payload = Vec::new();
        payload.extend(channel.to_le_bytes());
        payload.extend(77_u32.to_le_bytes());
        payload.push(4); // a token
        payload.extend([9; 4]);
        payload.extend(0x2000_0000_u32.to_le_bytes());
        payload.extend([3; 32]);
        payload.extend([0; 12]); // ntime, nbits, coinbase version
        payload.extend([2, 1, 1]); // coinbase prefix
        payload.extend([0xff; 4]);
        payload.extend(1_u16.to_le_bytes());
        payload.push(0); // outputs
        payload.extend([0; 4]);
        payload.push(0); // path
        let frame = [&header(CHANNEL_BIT, 0x22, payload.len())[..], &payload].concat();
        client.send(&frame);
        let answer = loop {
            let frame = client.frame().expect("an answer, not the end");
            if frame.kind == 0x24 {
                break frame.payload;
            }
        };
        let expected = [
            &channel.to_le_bytes()[..],
            &77_u32.to_le_bytes(),
            &[16],
            b"jd-not-supported",
        ];
        assert_eq!(answer, expected.concat());
    }
    client.mine(id);
    house.close();
}

#[test]
fn unknown_extensions_and_messages_are_ignored_in_any_state() {
    let house = House::open(&large());
    let mut client = Client::connect(house.address);
    let strange = |client: &mut Client| {
        for (extension, kind) in [
            (0x0123, 0),
            (0x8123, 0xff),
            (0, 0x7f),
            (0x8000, 0x60),
            (0x0001, 9),
        ] {
            client.send(&[&header(extension, kind, 5)[..], &[1, 0, 0, 0, 9]].concat());
            client.send(&header(extension, kind, 0));
        }
    };
    strange(&mut client);
    client.say(&Message::SetupConnection(super::client::setup()));
    let answer = client.message();
    assert!(matches!(answer, Some(Message::SetupSuccess { .. })));
    strange(&mut client);
    let id = client.open("v2.strange", true);
    strange(&mut client);
    client.until_all_have_jobs();
    client.mine(id);
    house.close();
}

#[test]
fn a_message_that_only_a_pool_sends_ends_the_connection_or_is_ignored() {
    let house = House::open(&large());
    let mut other = Client::login(house.address, "v2.other", 1);
    for message in [
        Message::SetupSuccess {
            version: 2,
            flags: 0,
        },
        Message::CloseChannel {
            channel: 77,
            reason: "x".into(),
        },
        Message::SetTarget {
            channel: 2,
            target: [0; 32],
        },
        Message::SubmitSuccess {
            channel: 2,
            last: 1,
            count: 1,
            sum: 1,
        },
    ] {
        let mut client = Client::login(house.address, "v2.pool", 1);
        client.shout(&message.bytes());
        drop(client);
    }
    let id = only(&other);
    other.mine(id);
    house.expect_closed("peer", 4);
    house.close();
}

#[test]
fn a_torn_message_ends_its_connection_and_no_other() {
    let house = House::open(&large());
    let mut other = Client::login(house.address, "v2.other", 1);
    let mut count = 0;
    for (kind, len) in [
        (0x10, 9),
        (0x13, 30),
        (0x16, 39),
        (0x18, 4),
        (0x1a, 23),
        (0x1b, 24),
    ] {
        let mut client = Client::login(house.address, "v2.torn", 1);
        let bit = if kind >= 0x16 { CHANNEL_BIT } else { 0 };
        let payload = vec![0xff; len];
        client.shout(&[&header(bit, kind, len)[..], &payload].concat());
        client.rest();
        count += 1;
    }
    house.expect_closed("malformed", count);
    let id = only(&other);
    other.mine(id);
    house.close();
}

#[test]
fn two_hundred_thousand_unknown_frames_cost_the_sender_only() {
    let upstream = Upstream::start(1.0);
    let config = plan().config(upstream.pool.address(), "warn");
    let mut proxy = Proxy::start(&config, None);
    let mut honest = Miner::login(proxy.address, "honest.one");
    let mut neighbour = Client::login(proxy.address, "v2.honest", 1);
    let mut flooder = Client::login(proxy.address, "v2.flooder", 1);
    let near = only(&neighbour);
    let before = proxy.resident_kib();
    let frame = [&header(0x0123, 1, 32)[..], &[7; 32]].concat();
    let mut all = Vec::new();
    for _ in 0..200_000 {
        all.extend(flooder.seal(&frame));
    }
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
        neighbour.mine(near);
    }
    assert!(sent < all.len(), "the bucket holds");
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < MOST_KIB, "grew by {grown} KiB");
    drop(flooder);
    honest.mine();
    neighbour.mine(near);
    proxy.end();
    upstream.stop();
}

/// What a standard channel's shares are made of, by its messages.
#[derive(Default)]
struct Header {
    version: u32,
    prev_hash: [u8; 32],
    root: [u8; 32],
    nbits: u32,
}

impl Header {
    fn hash(&self, ntime: u32, nonce: u32) -> [u8; 32] {
        let numbers = [ntime, self.nbits, nonce].map(u32::to_le_bytes).concat();
        let version = self.version.to_le_bytes();
        sha256d(&[&version[..], &self.prev_hash, &self.root, &numbers].concat())
    }
}

/// Opens a standard channel and reads what its header is.
fn standard(client: &mut Client, user: &str) -> (u32, Header) {
    let id = client.open(user, false);
    let mut made = Header::default();
    let mut roots = std::collections::HashMap::new();
    while client.channels[&id].job.is_none() {
        match client.message().expect("a job comes") {
            Message::NewJob {
                channel,
                job,
                root,
                version,
                ..
            } if channel == id => {
                roots.insert(job, (version, root));
            }
            Message::SetPrevHash {
                channel,
                job,
                prev_hash,
                nbits,
                ..
            } if channel == id => {
                let (version, root) = roots[&job];
                made = Header {
                    version,
                    prev_hash,
                    root,
                    nbits,
                };
            }
            _ => {}
        }
    }
    (id, made)
}

/// A share that meets its channel's target, or one that does not.
fn found(client: &mut Client, id: u32, made: &Header, good: bool) -> Submit {
    let mut share = client.fresh(id);
    let bound = target::of_bytes(&client.channels[&id].target);
    while bound.holds(&made.hash(share.ntime, share.nonce)) != good {
        share.nonce = share.nonce.wrapping_add(1);
    }
    share
}

/// A client of standard jobs, so that it hears of merkle roots.
fn header_only(house: &House) -> Client {
    let mut client = Client::connect(house.address);
    client.say(&Message::SetupConnection(sluice::sim::v2::message::Setup {
        flags: 1,
        ..super::client::setup()
    }));
    let answer = client.message();
    assert!(matches!(answer, Some(Message::SetupSuccess { .. })));
    client
}

#[test]
fn a_proof_sent_again_on_another_channel_or_connection_is_worth_nothing() {
    let house = House::open(&Plan {
        difficulty: HARD,
        ..large()
    });
    let mut client = header_only(&house);
    let (a, made) = standard(&mut client, "v2.a");
    let (b, _) = standard(&mut client, "v2.b");
    let mut elsewhere = header_only(&house);
    let (c, _) = standard(&mut elsewhere, "v2.c");
    let mut accepted = 0;
    for _ in 0..20 {
        let share = found(&mut client, a, &made, true);
        assert_eq!(client.submit(&share), Verdict::Accepted);
        let again = Submit {
            sequence: share.sequence + 1_000_000,
            ..share.clone()
        };
        assert_eq!(client.submit(&again), Verdict::refused("duplicate-share"));
        // Under another lane it is another header: worth what its own hash is, one time in a thousand a share.
        let copy = |channel| Submit {
            channel,
            ..again.clone()
        };
        accepted += u32::from(client.submit(&copy(b)) == Verdict::Accepted);
        accepted += u32::from(elsewhere.submit(&copy(c)) == Verdict::Accepted);
    }
    assert!(accepted <= 2, "{accepted} of 40 copies");
    house.close();
}

#[test]
fn a_flood_of_low_difficulty_closes_its_channel_and_no_other() {
    let house = House::open(&Plan {
        difficulty: HARD,
        ..large()
    });
    let mut client = header_only(&house);
    let (bad, low) = standard(&mut client, "v2.low");
    let others: Vec<(u32, Header)> = (0..20)
        .map(|number| standard(&mut client, &format!("v2.{number}")))
        .collect();
    for number in 0..256 {
        let share = found(&mut client, bad, &low, false);
        let verdict = client.submit(&share);
        assert_eq!(verdict, Verdict::refused("difficulty-too-low"), "{number}");
    }
    while client.channels[&bad].closed.is_none() {
        client.message().expect("its end comes");
    }
    for (id, made) in &others {
        let share = found(&mut client, *id, made, true);
        assert_eq!(client.submit(&share), Verdict::Accepted);
    }
    house.close();
}
