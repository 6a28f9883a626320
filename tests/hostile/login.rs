//! Before a miner is one: at most eight messages, submits without rights, names without end.

use crate::house::{House, Plan};
use crate::miner::{Miner, Verdict};
use serde_json::json;

#[test]
fn eight_messages_may_come_before_authorize_and_the_ninth_closes() {
    let house = House::open(&Plan::default());
    let ping = |id: u32| format!("{{\"id\":{id},\"method\":\"mining.ping\",\"params\":[]}}\n");

    let mut patient = Miner::connect(house.address);
    for id in 1..=6 {
        patient.send(ping(id).as_bytes());
        patient.answer(&json!(id));
    }
    patient.subscribe("seventh");
    assert_eq!(patient.authorize("eighth")["result"], true);
    while patient.job.is_none() {
        patient.line().expect("a job");
    }
    patient.mine();

    let mut hasty = Miner::connect(house.address);
    for id in 1..=9 {
        hasty.shout(ping(id).as_bytes());
    }
    assert_eq!(hasty.rest().len(), 8);
    house.expect_closed("misbehaved", 1);
    house.close();
}

#[test]
fn a_submit_before_subscribe_is_25_and_before_authorize_24_and_both_are_counted() {
    let house = House::open(&Plan::default());
    let mut early = Miner::connect(house.address);
    let share = json!(["early", "1", "00000000", "00000000", "00000000"]);
    assert_eq!(early.submit(&share), Verdict::Code(25));
    early.subscribe("early/1");
    assert_eq!(early.submit(&share), Verdict::Code(24));
    assert_eq!(early.authorize("early")["result"], true);
    house.expect_refusals(&[("not_subscribed", 1), ("unauthorized_worker", 1)]);
    house.close();
}

#[test]
fn a_connection_may_have_256_workers_and_the_next_is_refused_without_a_close() {
    let house = House::open(&Plan {
        limits: "others_per_second = 1000\nother_burst = 100000",
        ..Plan::default()
    });
    let mut many = house.miner("worker.0");
    for number in 1..256 {
        assert_eq!(many.authorize(&format!("worker.{number}"))["result"], true);
    }
    assert_eq!(many.authorize("worker.256")["error"][0], 24);
    many.worker = "worker.255".to_owned();
    many.mine();
    house.close();
}
