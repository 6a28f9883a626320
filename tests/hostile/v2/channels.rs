//! Opening and closing: floods, churn, wishes that make no sense, all channels at once.

use super::client::{ANY, Client};
use super::handshake::plan;
use super::hundred::large;
use crate::house::{House, Plan};
use sluice::sim::v2::message::Message;
use std::collections::BTreeSet;

const FULL: &str = "channel-capacity-exhausted";

#[test]
fn at_the_cap_of_channels_the_next_is_refused_by_message_and_the_others_mine() {
    let house = House::open(&Plan {
        limits: "channels = 3\nothers_per_second = 1000\nother_burst = 1000",
        ..plan()
    });
    let mut client = Client::login(house.address, "v2.greedy", 3);
    let ids: Vec<u32> = client.channels.keys().copied().collect();
    for number in 0..500 {
        let refused = client.try_open("v2.more", number % 2 == 0);
        assert_eq!(refused.map(|opened| opened.channel), Err(FULL.to_owned()));
    }
    for id in &ids {
        client.mine(*id);
    }
    let (channel, reason) = (ids[1], String::new());
    client.say(&Message::CloseChannel { channel, reason });
    let next = client.open("v2.next", false);
    client.until_all_have_jobs();
    client.mine(next);
    house.close();
}

/// Twice as many as a connection may have, pipelined: nobody is asked twice and nobody is forgotten.
#[test]
fn a_flood_of_opens_is_answered_one_by_one_up_to_the_cap() {
    let house = House::open(&large());
    let mut client = Client::set_up(house.address);
    let wishes: Vec<_> = (0..256).map(|_| client.wish("v2.flood")).collect();
    for (number, wish) in wishes.into_iter().enumerate() {
        client.say(&match number % 2 {
            0 => Message::OpenStandard(wish),
            _ => Message::OpenExtended(wish),
        });
    }
    let (mut opened, mut refused) = (0, BTreeSet::new());
    while opened + refused.len() < 256 {
        match client.message().expect("an answer") {
            Message::OpenedStandard(_) | Message::OpenedExtended(_) => opened += 1,
            Message::OpenError { request, code } => {
                assert_eq!(code, FULL);
                assert!(refused.insert(request));
            }
            _ => {}
        }
    }
    assert_eq!((opened, refused.len()), (128, 128));
    client.until_all_have_jobs();
    let ids: Vec<u32> = client.channels.keys().copied().collect();
    for id in ids {
        client.mine(id);
    }
    house.close();
}

#[test]
fn a_thousand_channels_in_turn_have_a_thousand_ids_and_leave_room_for_others() {
    let house = House::open(&large());
    let mut client = Client::login(house.address, "v2.churn", 1);
    let first = *client.channels.keys().next().expect("one");
    let mut ids = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for number in 0..1_000 {
        let opened = client.try_open("v2.churn", number % 2 == 0);
        let opened = opened.expect("there is room: the last one is closed");
        assert!(ids.insert(opened.channel), "{} twice", opened.channel);
        assert!(prefixes.insert(opened.prefix), "a lane was given twice");
        let channel = opened.channel;
        let reason = String::new();
        client.say(&Message::CloseChannel { channel, reason });
        let closed = client.channels.get_mut(&channel).expect("just opened");
        closed.closed = Some("by itself".into());
    }
    client.mine(first);
    let mut late = Client::login(house.address, "v2.late", 2);
    for id in late.channels.clone().into_keys() {
        late.mine(id);
    }
    house.close();
}

#[test]
fn closing_the_group_closes_every_channel_and_the_connection_lives() {
    let house = House::open(&large());
    let mut other = Client::login(house.address, "v2.other", 2);
    let mut client = Client::login(house.address, "v2.all", 10);
    let channel = client.channels.values().next().expect("ten").group;
    let old: Vec<u32> = client.channels.keys().copied().collect();
    let reason = String::new();
    client.say(&Message::CloseChannel { channel, reason });
    let gone = client.channels.values_mut();
    gone.for_each(|channel| channel.closed = Some("by itself".into()));
    for id in &old {
        let share = client.fresh(*id);
        let refused = super::client::Verdict::refused("invalid-channel-id");
        assert_eq!(client.submit(&share), refused);
    }
    let again = client.open("v2.again", true);
    assert!(!old.contains(&again));
    client.until_all_have_jobs();
    client.mine(again);
    let ids: Vec<u32> = other.channels.keys().copied().collect();
    for id in ids {
        other.mine(id);
    }
    house.close();
}

#[test]
fn wishes_that_make_no_sense_are_refused_with_the_reason_or_bounded() {
    let house = House::open(&large());
    let mut client = Client::login(house.address, "v2.first", 1);
    let first = *client.channels.keys().next().expect("one");
    for standard in [true, false] {
        let mut wish = client.wish("v2.impossible");
        wish.max_target = [0; 32];
        assert_eq!(
            client.ask_open(wish, !standard),
            Err("max-target-out-of-range".to_owned())
        );
    }
    for (bytes, given) in [
        (0, true),
        (2, true),
        (33, false),
        (256, false),
        (65_535, false),
    ] {
        let mut wish = client.wish("v2.rolls");
        wish.min_extranonce = bytes;
        let answer = client.ask_open(wish, true);
        match answer {
            Ok(opened) => assert!(given && opened.extranonce_size >= bytes),
            Err(why) => {
                assert_eq!(why, "min-extranonce-size-too-large");
                assert!(!given, "{bytes} bytes");
            }
        }
    }
    let rates = [0.0, -0.0, f32::MIN_POSITIVE, f32::MAX];
    for (number, rate) in rates.into_iter().enumerate() {
        let mut wish = client.wish("v2.rate");
        wish.hashrate = rate;
        wish.max_target = ANY;
        let opened = client.ask_open(wish, number % 2 == 0).expect("a channel");
        client.until_all_have_jobs();
        client.mine(opened.channel);
    }
    client.mine(first);
    house.close();
}

#[test]
fn a_hash_rate_that_is_no_number_is_refused_and_the_connection_lives() {
    let house = House::open(&large());
    let mut client = Client::login(house.address, "v2.rates", 2);
    let ids: Vec<u32> = client.channels.keys().copied().collect();
    for rate in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
        let mut wish = client.wish("v2.rate");
        wish.hashrate = rate;
        let refused = client.ask_open(wish, true).map(|opened| opened.channel);
        assert_eq!(
            refused,
            Err("invalid-nominal-hashrate".to_owned()),
            "{rate}"
        );
        for id in &ids {
            client.mine(*id);
        }
    }
    house.close();
}

#[test]
fn a_client_of_standard_jobs_gets_no_extended_channel() {
    let house = House::open(&large());
    let mut client = Client::connect(house.address);
    client.say(&Message::SetupConnection(sluice::sim::v2::message::Setup {
        flags: 1,
        ..super::client::setup()
    }));
    let answer = client.message();
    assert!(matches!(answer, Some(Message::SetupSuccess { .. })));
    let refused = client.try_open("v2.header-only", true).map(|o| o.channel);
    let code = "extended-channels-not-supported-for-standard-jobs";
    assert_eq!(refused, Err(code.to_owned()));
    let id = client.open("v2.header-only", false);
    client.until_all_have_jobs();
    client.mine(id);
    house.close();
}
