//! A second opinion on the V1 wire: SRI's `sv1_api` reads what we write, and we read what it writes.
//!
//! Only what both speak; where the two differ the field decides, and the difference is named in the test.

use proptest::prelude::*;
use sluice::stratum::v1::message::Id;
use sluice::stratum::v1::{down, up};
use sluice::work::Difficulty;
use sv1_api::methods::{Client2Server, Server2Client};
use sv1_api::utils::{Extranonce, HexU32Be};
use sv1_api::{Message, client_to_server, server_to_client};

proptest! {
    #[test]
    fn sri_reads_our_notify_and_we_read_it_back_from_sri(
        id: u32, prev_hash: [u8; 32], coinb1: Vec<u8>, coinb2: Vec<u8>,
        branch in prop::collection::vec(any::<[u8; 32]>(), 0..20),
        version: u32, nbits: u32, ntime: u32, clean: bool,
    ) {
        let job = down::notification::Job {
            id, prev_hash: &prev_hash, coinb1: &coinb1, coinb2: &coinb2, branch: &branch, version, nbits, ntime, clean,
        };
        let ours = job.render();
        let Ok(Server2Client::Notify(notify)) = Server2Client::try_from(sri(&ours)) else {
            panic!("a notify");
        };
        prop_assert_eq!(&notify.job_id, &format!("{id:x}"));
        prop_assert_eq!(&Vec::<u8>::from(notify.prev_hash.clone()), &prev_hash);
        prop_assert_eq!(&Vec::<u8>::from(notify.coin_base1.clone()), &coinb1);
        prop_assert_eq!((notify.version.0, notify.bits.0, notify.time.0), (version, nbits, ntime));

        let theirs = line(&Message::from(notify));
        prop_assert_eq!(up::parse(&theirs).unwrap(), up::parse(ours.trim_ascii_end()).unwrap());
    }

    #[test]
    fn sri_reads_our_submit_and_we_read_it_back_from_sri(
        user in "[a-z0-9.]{0,20}", job: u32, en2 in prop::collection::vec(any::<u8>(), 1..=8), ntime: u32, nonce: u32,
        version_bits: Option<u32>,
    ) {
        let job = format!("{job:x}");
        let mut ours = Vec::new();
        let share = up::request::Submit { user: &user, job: &job, en2: &en2, ntime, nonce, version_bits };
        up::request::submit(&mut ours, 7, &share);
        let Ok(Client2Server::Submit(submit)) = Client2Server::try_from(sri(&ours)) else {
            panic!("a submit");
        };
        prop_assert_eq!(submit.version_bits.as_ref().map(|bits| bits.0), version_bits);
        let theirs = line(&Message::from(submit));
        let ours = down::parse(ours.trim_ascii_end()).unwrap();
        let theirs = down::parse(&theirs).unwrap();
        prop_assert_eq!(ours.request, theirs.request);
        prop_assert_eq!(ours.id, theirs.id);
    }

    #[test]
    fn difficulties_survive_both_ways(exponent in -32_i32..=62, mantissa in 1.0_f64..2.0) {
        let difficulty = Difficulty::new(mantissa * f64::powi(2.0, exponent)).unwrap();
        let mut ours = Vec::new();
        down::notification::set_difficulty(&mut ours, difficulty);
        let Ok(Server2Client::SetDifficulty(read)) = Server2Client::try_from(sri(&ours)) else {
            panic!("a difficulty");
        };
        // serde_json's own float reading may be one unit off (its feature `float_roundtrip` is not on).
        prop_assert!((read.value / difficulty.value() - 1.0).abs() < 1e-15);
        let theirs = line(&Message::from(server_to_client::SetDifficulty { value: difficulty.value() }));
        prop_assert_eq!(up::parse(&theirs), Ok(up::Message::SetDifficulty(Some(difficulty))));
    }

    #[test]
    fn a_subscribe_result_of_sri_is_read(extranonce1 in prop::collection::vec(any::<u8>(), 1..=32), size in 1_usize..=254) {
        let theirs = server_to_client::Subscribe {
            id: 2,
            extra_nonce1: Extranonce::try_from(extranonce1.clone()).unwrap(),
            extra_nonce2_size: size,
            subscriptions: vec![("mining.notify".into(), "b4".into())],
        };
        let theirs = line(&Message::from(theirs));
        let Ok(up::Message::Response { id: Some(2), outcome: up::Outcome::Ok(raw) }) = up::parse(&theirs) else {
            panic!("a response");
        };
        prop_assert_eq!(up::subscribe_result(raw), Some(up::Extranonce { extranonce1, size: size as u8 }));
    }

    #[test]
    fn configures_are_understood_both_ways(mask: u32, min_bits in 0_u32..=32) {
        let theirs = client_to_server::Configure::new(1, Some(HexU32Be(mask)), Some(HexU32Be(min_bits)));
        let theirs = line(&Message::from(theirs));
        let expected = asked(mask, min_bits);
        prop_assert_eq!(down::parse(&theirs).unwrap().request, Ok(down::Request::Configure(expected.clone())));

        let mut ours = Vec::new();
        down::reply::configured(&mut ours, Id("1"), &expected, Some(mask));
        let Message::OkResponse(response) = sri(&ours) else {
            panic!("a response");
        };
        let read = server_to_client::Configure::try_from(&response).unwrap();
        prop_assert_eq!(read.version_rolling_mask().map(|mask| mask.0), Some(mask));
        let result = serde_json::to_string(&response.result).unwrap();
        prop_assert_eq!(up::configure_result(&result), Some(mask));
    }
}

#[test]
fn sri_reads_our_requests() {
    let mut ours = Vec::new();
    up::request::subscribe(&mut ours, 2, "sluice/0.1");
    let Ok(Client2Server::Subscribe(subscribe)) = Client2Server::try_from(sri(&ours)) else {
        panic!("a subscribe");
    };
    assert_eq!(subscribe.agent_signature, "sluice/0.1");
    let theirs = line(&Message::try_from(subscribe).unwrap());
    assert!(
        matches!(down::parse(&theirs).unwrap().request, Ok(down::Request::Subscribe { agent: Some(agent), .. }) if agent == "sluice/0.1")
    );

    ours.clear();
    up::request::configure(&mut ours, 1, 0x1fff_e000);
    let Ok(Client2Server::Configure(configure)) = Client2Server::try_from(sri(&ours)) else {
        panic!("a configure");
    };
    assert_eq!(
        configure.version_rolling_mask().map(|mask| mask.0),
        Some(0x1fff_e000)
    );

    ours.clear();
    up::request::authorize(&mut ours, 3, "user.\"1\"", "x");
    let Ok(Client2Server::Authorize(authorize)) = Client2Server::try_from(sri(&ours)) else {
        panic!("an authorize");
    };
    assert_eq!(authorize.name, "user.\"1\"");
}

#[test]
fn sri_reads_our_verdicts() {
    let mut ours = Vec::new();
    down::reply::accepted(&mut ours, Id("7"));
    assert!(
        matches!(sri(&ours), Message::OkResponse(response) if response.id == 7 && response.result == true)
    );
    ours.clear();
    down::reply::error(&mut ours, Id("8"), 23, "low difficulty");
    assert!(matches!(sri(&ours), Message::ErrorResponse(response) if response.id == 8));
}

fn asked(mask: u32, min_bits: u32) -> down::Configure {
    down::Configure {
        version_rolling: Some(down::VersionRolling { mask, min_bits }),
        ..down::Configure::default()
    }
}

fn sri(line: &[u8]) -> Message {
    serde_json::from_slice(line).expect("SRI reads what we write")
}

fn line(message: &Message) -> Vec<u8> {
    serde_json::to_vec(message).expect("SRI writes JSON")
}
