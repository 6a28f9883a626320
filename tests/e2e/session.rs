//! A miner's side of the conversation: every answer of STRATUM.md section 1, over a socket.

use crate::lab::*;
use serde_json::{Value, json};
use sluice::sim::wire::Bound;
use std::collections::BTreeSet;

fn code(answer: &Value) -> i64 {
    answer["error"][0].as_i64().expect("an error code")
}

#[test]
fn requests_sent_in_one_segment_are_answered_in_their_order() {
    let (proxy, _pool) = Proxy::easy("order");
    let mut miner = proxy.miner();
    miner.send_bytes(
        b"{\"id\":1,\"method\":\"mining.configure\",\"params\":[[\"version-rolling\"],{\"version-rolling.mask\":\"ffffffff\"}]}\n\
          {\"id\":2,\"method\":\"mining.subscribe\",\"params\":[\"bitaxe\"]}\r\n\
          {\"id\":3,\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}\n\
          {\"id\":4,\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n\
          {\"id\":5,\"method\":\"get_transactions\",\"params\":[]}\n",
    );
    let mut ids = Vec::new();
    while ids.len() < 5 {
        let message = miner.next();
        if message.get("method").is_none() {
            ids.push(message["id"].as_u64().expect("a number"));
        } else {
            assert!(ids.contains(&2), "pushed before the subscribe result");
        }
    }
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    miner.call("mining.notify");
}

#[test]
fn ids_are_echoed_as_they_came_and_a_message_without_one_is_not_answered() {
    let (proxy, _pool) = Proxy::easy("ids");
    let mut miner = proxy.miner();
    miner.send_bytes(b"{\"method\":\"mining.ping\",\"params\":[]}\n");
    miner.send_bytes(b"{\"id\":\"a b\\u00e9\",\"method\":\"mining.subscribe\",\"params\":[]}\n");
    let line = miner.raw().expect("an answer");
    assert!(line.contains("\"a b\\u00e9\""), "verbatim: {line}");
    miner.send_bytes(b"{\"id\":1.50,\"method\":\"nothing.known\",\"params\":[]}\n");
    let line = miner.raw().expect("an answer");
    assert!(line.contains("1.50") && line.contains("-3"), "{line}");
    let long = "x".repeat(65);
    miner.send(&json!({"id": long, "method": "nothing.known", "params": []}));
    assert_eq!(miner.next()["id"], Value::Null);
    miner.send(&json!({"id": "x".repeat(62), "method": "nothing.known", "params": []}));
    assert_eq!(miner.next()["id"], json!("x".repeat(62)));
}

#[test]
fn configure_is_answered_with_the_keys_asked_for_and_no_other() {
    let (proxy, _pool) = Proxy::easy("configure");
    proxy.wait_up("configure");
    let cases = [
        (
            json!([["version-rolling"], {"version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2}]),
            json!({"version-rolling": true, "version-rolling.mask": "1fffe000"}),
        ),
        (
            json!([["version-rolling"], {"version-rolling.mask": "00ffe000"}]),
            json!({"version-rolling": true, "version-rolling.mask": "00ffe000"}),
        ),
        (
            json!([["version-rolling"], {"version-rolling.mask": "00000fff", "version-rolling.min-bit-count": 2}]),
            json!({"version-rolling": false}),
        ),
        (
            json!([["minimum-difficulty"], {"minimum-difficulty.value": 2048}]),
            json!({"minimum-difficulty": true}),
        ),
        (
            json!([["subscribe-extranonce"], {}]),
            json!({"subscribe-extranonce": true}),
        ),
    ];
    for (params, wanted) in cases {
        let answer = proxy.miner().ask(1, "mining.configure", &params);
        assert_eq!(answer["result"], wanted, "{params}");
    }
    let params = json!([["info", "strange-thing"], {"info.hw-version": "1"}]);
    let answer = proxy.miner().ask(1, "mining.configure", &params);
    let keys = answer["result"].as_object().expect("an object").keys();
    let keys: BTreeSet<_> = keys.map(String::as_str).collect();
    assert_eq!(keys, ["info", "strange-thing"].into());
}

#[test]
fn every_refusal_has_its_code() {
    let (proxy, _pool) = Proxy::easy("codes");
    let mut early = proxy.miner();
    let share = json!(["w", "1", "00000000", "6553f100", "00000000"]);
    assert_eq!(code(&early.ask(1, "mining.submit", &share)), 25);
    early.ask(2, "mining.subscribe", &json!([]));
    assert_eq!(code(&early.ask(3, "mining.submit", &share)), 24);

    let mut miner = proxy.mining("w");
    let job = miner.job.clone();
    let ntime = |n: u32| json!(format!("{n:08x}"));
    let shaped = |en2: &str, time: u32| json!(["w", job.id, en2, ntime(time), "00000000"]);
    let own = shaped("00000001", job.ntime);
    let mut foreign = own.clone();
    foreign[0] = json!("somebody");
    miner.refused(&foreign, 24);
    let mut unknown = own.clone();
    unknown[1] = json!("ffffffff");
    miner.refused(&unknown, 21);
    miner.refused(&shaped("000000", job.ntime), 20);
    miner.refused(&shaped("0000000001", job.ntime), 20);
    miner.refused(&shaped("0000000g", job.ntime), 20);
    miner.refused(&json!(["w", job.id]), 20);
    miner.refused(&shaped("00000001", job.ntime - 1), 20);
    miner.refused(&shaped("00000001", job.ntime + 7001), 20);
    let mut rolled = own;
    rolled
        .as_array_mut()
        .expect("a list")
        .push(json!("00002000"));
    miner.refused(&rolled, 20); // this miner never asked for version rolling

    let bound = Bound::of_difficulty(miner.difficulty).expect("a difficulty");
    let low = miner.solve(|hash| !bound.holds(hash), None);
    miner.refused(&low, 23);
    let good = miner.good();
    assert_eq!(miner.submit(&good)["result"], json!(true));
    miner.refused(&good, 22);
    let mut shouted = good.clone();
    shouted[4] = json!(good[4].as_str().expect("hex").to_uppercase());
    miner.refused(&shouted, 22);

    let answer = miner.peer.ask(900, "mining.multi_version", &json!([]));
    assert_eq!(code(&answer), -3);
    miner.share();
    let reasons = eventually("every refusal is counted", || {
        let summary = proxy.summary();
        (summary.rejected.shares == 14).then_some(summary.reasons)
    });
    let wanted = [
        ("not_subscribed", 1),
        ("unauthorized_worker", 2),
        ("job_not_found", 1),
        ("extranonce2_length", 2),
        ("ntime", 2),
        ("version_bits", 1),
        ("low_difficulty", 1),
        ("duplicate", 2),
        ("invalid_params", 2),
    ];
    for (reason, count) in wanted {
        assert_eq!(reasons.get(reason), Some(&count), "{reason}: {reasons:?}");
    }
}

#[test]
fn ntime_is_taken_up_to_7000_seconds_ahead_and_the_last_one_counts() {
    let (proxy, _pool) = Proxy::easy("ntime");
    let mut miner = proxy.mining("w");
    miner.job.ntime += 7000;
    miner.share();
    miner.job.ntime += 1;
    let late = miner.good();
    miner.refused(&late, 20);
}

#[test]
fn a_share_on_the_block_before_is_stale() {
    let (proxy, pool) = Proxy::easy("stale");
    let mut miner = proxy.mining("w");
    let old = miner.good();
    pool.new_block();
    miner.next_clean();
    miner.refused(&old, 21);
    miner.share();
}

#[test]
fn version_bits_inside_the_mask_survive_to_the_pool_and_others_are_refused() {
    let (proxy, pool) = Proxy::easy("bits");
    proxy.wait_up("bits");
    let mut peer = proxy.miner();
    let asked = json!([["version-rolling"], {"version-rolling.mask": "1fffe000"}]);
    peer.ask(7, "mining.configure", &asked);
    let mut miner = Mining::login(peer, "w", &json!(["bits"]));
    miner.share(); // five parameters count as zero bits
    miner.roll();
    miner.share();
    let mut outside = miner.good();
    outside[5] = json!("00000001");
    miner.refused(&outside, 20);
    outside[5] = json!("20400000");
    miner.refused(&outside, 20);
    let seen = RUNTIME.block_on(pool.wait_for(PATIENCE, |s| s.received == 2));
    let seen = seen.expect("both reach the pool");
    assert_eq!(seen.accepted, 2, "{seen:?}");
    let last: Value = serde_json::from_str(&seen.last_submits[1]).expect("JSON");
    assert_eq!(last["params"][5], "00400000");
}

#[test]
fn several_workers_share_a_connection_and_are_counted_apart() {
    let pool = sim_pool(easy_pool());
    let section = format!(
        "[[pool]]\nname = \"many\"\nurl = \"stratum+tcp://{}\"\nuser = \"acct.{{worker}}\"\n",
        pool.address()
    );
    let proxy = Proxy::start(&lab(&section));
    let mut miner = proxy.mining("one");
    let answer = miner.peer.ask(5, "mining.authorize", &json!(["two", ""]));
    assert_eq!(answer["result"], json!(true));
    miner.share();
    miner.worker = "two".into();
    miner.share();
    miner.share();
    miner.worker = "three".into();
    let unknown = miner.good();
    miner.refused(&unknown, 24);
    let seen = RUNTIME.block_on(pool.wait_for(PATIENCE, |s| s.accepted == 3));
    let users = seen.expect("all reach the pool").users;
    let accepted = |name: &str| users.get(name).map(|user| user.accepted);
    assert_eq!(accepted("acct.one"), Some(1), "{users:?}");
    assert_eq!(accepted("acct.two"), Some(2), "{users:?}");
}

#[test]
fn a_resumed_session_keeps_its_lane_and_its_duplicate_window() {
    let (proxy, _pool) = Proxy::easy("resume");
    let mut before = proxy.mining("w");
    let good = before.good();
    assert_eq!(before.submit(&good)["result"], json!(true));
    let (session, en1) = (before.session.clone(), before.en1.clone());
    drop(before);

    let mut after = Mining::login(proxy.miner(), "w", &json!(["test", session]));
    assert_eq!(after.en1, en1, "the same lane");
    // The work was refreshed, so the old share belongs to a job this connection never had ...
    after.refused(&good, 21);
    after.share();

    // ... and a session that still lives is taken over, with its window.
    let good = after.good();
    assert_eq!(after.submit(&good)["result"], json!(true));
    let mut taken = Mining::login(proxy.miner(), "w", &json!(["test", after.session]));
    assert_eq!(taken.en1, en1);
    after.peer.rest(); // ends: the old holder was closed
    taken.share();
    let fresh = Mining::login(
        proxy.miner(),
        "w",
        &json!(["test", "00112233445566778899aabbccddeeff"]),
    );
    assert_ne!(
        fresh.en1, en1,
        "a session nobody had gives a lane of its own"
    );
}

#[test]
fn after_a_resume_the_same_header_again_is_a_duplicate() {
    // A pool whose job comes back unchanged, under another id: the header is the same, and so is its hash.
    let pool = RawPool::listen();
    let proxy = Proxy::start(&lab(&crate::lab::pool("window", pool.address(), "")));
    let mut up = pool.login("aabbccdd", 8, &[easy(), notify("a", true)]);
    let mut before = proxy.mining("w");
    let good = before.good();
    assert_eq!(before.submit(&good)["result"], json!(true));
    let session = before.session.clone();
    drop(before);
    up.send(&notify("b", false));
    let mut after = Mining::login(proxy.miner(), "w", &json!(["test", session]));
    let mut again = good.clone();
    again[1] = json!(after.job.id);
    // Whatever ntime the new job starts at, the old one is within the pool's own bounds.
    after.refused(&again, 22);
}

#[test]
fn a_password_listener_takes_the_password_and_nothing_else() {
    let pool = sim_pool(easy_pool());
    let section = crate::lab::pool("password", pool.address(), "");
    let toml = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\npassword = \"s3cret\"\ndifficulty = {{ fixed = {EASY} }}\n{section}\n{LAB}"
    );
    let proxy = Proxy::start(&toml);
    let mut miner = proxy.miner();
    miner.ask(1, "mining.subscribe", &json!([]));
    for wrong in [json!(["w", "x"]), json!(["w", ""]), json!(["w"])] {
        assert_eq!(
            code(&miner.ask(2, "mining.authorize", &wrong)),
            24,
            "{wrong}"
        );
    }
    let right = json!(["w", "s3cret"]);
    assert_eq!(
        miner.ask(3, "mining.authorize", &right)["result"],
        json!(true)
    );
    miner.call("mining.notify");
}

#[test]
fn each_listener_has_its_own_difficulty() {
    let pool = sim_pool(sluice::sim::PoolConfig {
        difficulty: 1024.0,
        ..Default::default()
    });
    let section = crate::lab::pool("listeners", pool.address(), "");
    let toml = format!(
        "[[listen]]\nname = \"fixed\"\naddress = \"127.0.0.1:0\"\ndifficulty = {{ fixed = 16 }}\n\
         [[listen]]\nname = \"min\"\naddress = \"127.0.0.1:0\"\ndifficulty = {{ start = 64, min = 32 }}\n\
         [[listen]]\nname = \"above\"\naddress = \"127.0.0.1:0\"\ndifficulty = {{ start = 65536 }}\n{section}\n{LAB}"
    );
    let proxy = Proxy::start(&toml);
    let told = |listener: usize, suggest: Option<f64>| {
        let mut peer = Peer::connect(proxy.listeners[listener]);
        if let Some(suggest) = suggest {
            peer.ask(9, "mining.suggest_difficulty", &json!([suggest]));
        }
        Mining::login(peer, "w", &json!([])).difficulty
    };
    assert_eq!(told(0, None), 16.0);
    assert_eq!(told(0, Some(256.0)), 16.0, "fixed is fixed");
    assert_eq!(told(1, None), 64.0);
    assert_eq!(
        told(1, Some(1.5)),
        32.0,
        "never below the listener's minimum"
    );
    assert_eq!(told(1, Some(300.0)), 256.0, "a power of two, rounded down");
    assert_eq!(told(2, None), 1024.0, "never above the pool's own");
}

#[test]
fn a_difficulty_hint_in_the_password_is_a_minimum() {
    let pool = sim_pool(sluice::sim::PoolConfig {
        difficulty: 65_536.0,
        ..Default::default()
    });
    let section = crate::lab::pool("hints", pool.address(), "");
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\ndifficulty = { start = 64, min = 32 }";
    let proxy = Proxy::start(&format!("{listen}\n{section}\n{LAB}"));
    proxy.wait_up("hints");
    let told = |password: &str| {
        let mut peer = proxy.miner();
        peer.ask(1, "mining.subscribe", &json!([]));
        peer.ask(2, "mining.authorize", &json!(["w", password]));
        peer.call("mining.set_difficulty")["params"][0].clone()
    };
    assert_eq!(told("x"), json!(64));
    assert_eq!(told("d=1024"), json!(1024));
    assert_eq!(told("x,fd=2000"), json!(2048), "no less than asked for");
}
