//! The first frames: lying lengths, wrong order, wishes that cannot be met.

use super::client::{ANY, Client, setup};
use super::handshake::plan;
use crate::house::House;
use sluice::sim::v2::frame::header;
use sluice::sim::v2::message::{Message, Open, REQUIRES_WORK_SELECTION, Setup};

/// An extension nobody speaks.
const UNKNOWN: u16 = 0x4321;

/// A frame of so many bytes that anybody may ignore.
fn ignored(len: usize) -> Vec<u8> {
    [&header(UNKNOWN, 1, len)[..], &vec![7; len]].concat()
}

fn set_up() -> Message {
    Message::SetupConnection(setup())
}

#[test]
fn a_frame_at_the_cap_is_read_and_one_byte_more_ends_the_connection() {
    let house = House::open(&plan());
    let mut client = Client::connect(house.address);
    client.send(&ignored(2_048));
    client.say(&set_up());
    assert!(matches!(
        client.message(),
        Some(Message::SetupSuccess { .. })
    ));
    client.send(&ignored(4_096));
    let id = client.open("v2.capped", true);
    client.until_all_have_jobs();
    client.mine(id);

    let mut before = Client::connect(house.address);
    before.shout(&ignored(2_049));
    assert_eq!(before.rest(), []);
    let mut after = Client::set_up(house.address);
    after.shout(&ignored(4_097));
    assert_eq!(after.rest(), []);
    for len in [65_536, 0x00ff_ffff] {
        // Announced and never sent: it is not waited for.
        let mut liar = Client::set_up(house.address);
        liar.shout(&header(UNKNOWN, 1, len));
        assert_eq!(liar.rest(), []);
    }
    house.expect_closed("overlong_line", 4);
    client.mine(id);
    house.close();
}

#[test]
fn whatever_comes_before_setup_ends_the_connection_without_an_answer() {
    let house = House::open(&plan());
    let open = Open {
        request: 1,
        user: "v2.early".into(),
        hashrate: 1.0,
        max_target: ANY,
        min_extranonce: 2,
    };
    let wanted = vec![2];
    let rows = [
        Message::OpenStandard(open.clone()),
        Message::OpenExtended(open),
        Message::CloseChannel {
            channel: 1,
            reason: "x".into(),
        },
        Message::RequestExtensions { request: 1, wanted },
        Message::UpdateChannel {
            channel: 2,
            hashrate: 1.0,
            max_target: ANY,
        },
    ];
    let count = rows.len() as u64;
    for row in rows {
        let mut client = Client::connect(house.address);
        client.say(&row);
        assert_eq!(client.rest(), [], "{row:?}");
    }
    house.expect_closed("misbehaved", count);
    house.close();
}

#[test]
fn a_second_setup_ends_the_connection_and_its_channels_and_no_other() {
    let house = House::open(&plan());
    let mut other = Client::login(house.address, "v2.other", 2);
    let mut client = Client::login(house.address, "v2.twice", 2);
    client.say(&set_up());
    client.rest();
    house.expect_closed("misbehaved", 2);
    let ids: Vec<u32> = other.channels.keys().copied().collect();
    for id in ids {
        other.mine(id);
    }
    house.close();
}

#[test]
fn a_setup_that_cannot_be_met_is_told_why_and_closed() {
    let house = House::open(&plan());
    let rows = [
        (
            Setup {
                protocol: 1,
                ..setup()
            },
            0,
            "unsupported-protocol",
        ),
        (
            Setup {
                min_version: 3,
                max_version: 3,
                ..setup()
            },
            0,
            "protocol-version-mismatch",
        ),
        (
            Setup {
                min_version: 3,
                max_version: 1,
                ..setup()
            },
            0,
            "protocol-version-mismatch",
        ),
        (
            Setup {
                flags: REQUIRES_WORK_SELECTION,
                ..setup()
            },
            REQUIRES_WORK_SELECTION,
            "unsupported-feature-flags",
        ),
        (
            Setup {
                flags: 0xffff_ffff,
                ..setup()
            },
            0xffff_fffa,
            "unsupported-feature-flags",
        ),
    ];
    let count = rows.len() as u64;
    for (row, flags, code) in rows {
        let mut client = Client::connect(house.address);
        client.say(&Message::SetupConnection(row));
        let code = code.to_owned();
        assert_eq!(client.rest(), [Message::SetupError { flags, code }]);
    }
    house.expect_closed("misbehaved", count);
    house.close();
}

#[test]
fn a_setup_cut_anywhere_or_with_lying_lengths_ends_the_connection() {
    let house = House::open(&plan());
    let whole = set_up().frame().payload;
    let mut torn: Vec<Vec<u8>> = (0..whole.len())
        .step_by(3)
        .map(|len| whole[..len].to_vec())
        .collect();
    // The vendor's length byte reaches past the end.
    let mut lying = whole;
    let host = usize::from(lying[9]);
    lying[10 + host + 2] = 255;
    torn.push(lying);
    let count = torn.len() as u64;
    for payload in torn {
        let mut client = Client::connect(house.address);
        client.send(&[&header(0, 0, payload.len())[..], &payload].concat());
        assert_eq!(client.rest(), [], "{payload:x?}");
    }
    house.expect_closed("malformed", count);
    house.close();
}
