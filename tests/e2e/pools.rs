//! What pools really do (STRATUM.md section 2), each as exact bytes on a socket.

use crate::failover::fleet;
use crate::lab::*;
use serde_json::{Value, json};
use sluice::sim::PoolConfig;
use sluice::sim::poolconfig::{Configure, Segments, Subscribe};
use std::net::TcpStream;
use std::time::Duration;

/// The proxy above one raw pool.
fn above(pool: &RawPool, name: &str) -> Proxy {
    Proxy::start(&lab(&crate::lab::pool(name, pool.address(), "")))
}

/// A raw pool that is logged in at and has sent a difficulty and a job.
fn raw(name: &str, job: &str) -> (RawPool, Proxy, Peer<TcpStream>) {
    let pool = RawPool::listen();
    let proxy = above(&pool, name);
    let peer = pool.login("aabbccdd", 8, &[easy(), notify(job, true)]);
    (pool, proxy, peer)
}

/// The link still listens: it answers a question.
fn alive(peer: &mut Peer<TcpStream>) {
    peer.send(&json!({"id": "still?", "method": "client.get_version", "params": []}));
    let version = peer.answer(&json!("still?"));
    let version = version["result"].as_str().expect("a string");
    assert!(version.starts_with("sluice/"), "{version}");
}

/// A share is accepted by the proxy and by a simulated pool.
fn works_with(name: &str, config: PoolConfig, en2_size: usize) {
    let sim = sim_pool(PoolConfig {
        difficulty: EASY,
        ..config
    });
    let proxy = Proxy::start(&lab(&pool(name, sim.address(), "")));
    let mut miner = proxy.mining("w");
    assert_eq!(miner.en2_size, en2_size, "{name}");
    miner.share();
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.received == 1));
    let seen = seen.unwrap_or_else(|stats| panic!("{name}: {stats:?}"));
    assert_eq!(seen.accepted, 1, "{name}: {seen:?}");
}

#[test]
fn every_shape_of_answer_and_segment_is_understood() {
    let shaped = |subscribe| PoolConfig {
        subscribe,
        ..PoolConfig::default()
    };
    let cut = |segments| PoolConfig {
        segments,
        ..PoolConfig::default()
    };
    works_with("one-pair", shaped(Subscribe::OnePair), 4);
    works_with("empty-list", shaped(Subscribe::Empty), 4);
    works_with("not-an-array", shaped(Subscribe::NotAnArray), 4);
    works_with("together", cut(Segments::Together), 4);
    works_with("torn", cut(Segments::Torn), 4);
    let jsonrpc2 = PoolConfig {
        jsonrpc2: true,
        ..PoolConfig::default()
    };
    works_with("jsonrpc2", jsonrpc2, 4);
    let mute = PoolConfig {
        answers_extranonce_subscribe: false,
        configure: Configure::Silent,
        ..PoolConfig::default()
    };
    works_with("mute", mute, 4);
    let unknown = PoolConfig {
        configure: Configure::Unknown,
        ..PoolConfig::default()
    };
    works_with("unknown-configure", unknown, 4);
}

#[test]
fn every_extranonce_size_from_4_on_is_cut_as_told() {
    for (size, rolled) in [(4, 2), (5, 2), (6, 4), (7, 4), (8, 4), (9, 4), (16, 4)] {
        let config = PoolConfig {
            extranonce2_size: size,
            ..PoolConfig::default()
        };
        works_with(&format!("size-{size}"), config, rolled);
    }
}

#[test]
fn everything_in_the_segment_of_the_login_reply_counts() {
    let (_pool, proxy, mut peer) = raw("segment", "first");
    let mut miner = proxy.mining("w");
    assert!((miner.difficulty / EASY - 1.0).abs() < 1e-12); // serde_json misreads the last bit
    miner.share();
    let submit = peer.call("mining.submit");
    assert_eq!(submit["params"][1], "first");
    let two = format!("{}\n{}\n", notify("second", false), notify("third", true));
    peer.send_bytes(two.as_bytes());
    miner.next_clean();
    miner.share();
    assert_eq!(peer.call("mining.submit")["params"][1], "third");
}

#[test]
fn the_pools_own_job_ids_go_back_as_they_came() {
    for job in ["6553f1000000002a", "255", "0", "bT/+=._~"] {
        let (_pool, proxy, mut peer) = raw("ids", job);
        let mut miner = proxy.mining("w");
        assert!(miner.job.id.len() <= 8, "our own: {}", miner.job.id);
        miner.share();
        let submit = peer.call("mining.submit");
        assert_eq!(submit["params"][1], json!(job));
        assert_eq!(submit["params"][0], "acct");
    }
}

#[test]
fn answers_without_an_error_member_are_answers() {
    let pool = RawPool::listen();
    let proxy = above(&pool, "no-error");
    let mut peer = pool.accept();
    let bare = |request: &Value, result: Value| json!({"id": request["id"], "result": result});
    let configure = peer.call("mining.configure");
    peer.send(&bare(&configure, granted()));
    let subscribe = peer.call("mining.subscribe");
    peer.send(&bare(&subscribe, json!([[], "aabbccdd", 8])));
    let authorize = peer.call("mining.authorize");
    peer.send(&bare(&authorize, json!(true)));
    peer.send(&easy());
    peer.send(&notify("1", true));
    let mut miner = proxy.mining("w");
    miner.share();
    let submit = peer.call("mining.submit");
    peer.send(&bare(&submit, json!(true)));
    miner.share();
    let submit = peer.call("mining.submit");
    peer.send(&json!({"id": submit["id"], "result": false, "reject-reason": "Duplicate"}));
    let pool = eventually("both are settled", || {
        let pool = proxy.pool("no-error");
        (pool.accepted.shares == 1 && pool.rejected.shares == 1).then_some(pool)
    });
    assert_eq!(pool.reasons.get("duplicate"), Some(&1), "{pool:?}");
}

#[test]
fn another_extranonce_costs_one_clean_job_and_no_lane() {
    let sim = sim_pool(easy_pool());
    let proxy = Proxy::start(&lab(&pool("extranonce", sim.address(), "")));
    let mut miner = proxy.mining("w");
    let (before, old) = (miner.job.clone(), miner.good());
    sim.with(|core, now| core.set_extranonce(now, 8));
    miner.next_job();
    assert!(miner.job.clean);
    assert_ne!(miner.job.coinb1, before.coinb1);
    miner.refused(&old, 21);
    miner.share();
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.received == 1));
    assert_eq!(seen.expect("the new share alone").accepted, 1);
}

#[test]
fn a_narrower_mask_reaches_the_miner_before_its_next_job() {
    let sim = sim_pool(easy_pool());
    let proxy = Proxy::start(&lab(&pool("mask", sim.address(), "")));
    proxy.wait_up("mask");
    let mut peer = proxy.miner();
    let asked = json!([["version-rolling"], {"version-rolling.mask": "1fffe000"}]);
    let answer = peer.ask(7, "mining.configure", &asked);
    assert_eq!(answer["result"]["version-rolling.mask"], "1fffe000");
    let mut miner = Mining::login(peer, "w", &json!([]));
    sim.with(|core, now| {
        core.set_version_mask(now, 0x00ff_e000);
        core.new_block(now);
    });
    let mask = miner
        .peer
        .find(|m| m["method"] == "mining.set_version_mask");
    assert_eq!(mask["params"][0], "00ffe000");
    miner.next_clean();
    miner.roll(); // 00400000, inside the new mask
    miner.share();
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.received == 1));
    assert_eq!(seen.expect("it reaches the pool").accepted, 1);
}

#[test]
fn a_reconnect_is_followed_to_the_same_host_and_nowhere_else() {
    let (pool, proxy, mut peer) = raw("reconnect", "1");
    let mut miner = proxy.mining("w");
    peer.send(&push("client.reconnect", &json!(["evil.example", 3333, 0])));
    told(&["the pool wants us elsewhere", "evil.example"]);
    alive(&mut peer);
    let other = RawPool::listen();
    let port = other.address().port();
    peer.send(&push("client.reconnect", &json!(["127.0.0.1", port, 0])));
    let mut moved = other.login("11223344", 8, &[easy(), notify("2", true)]);
    miner.next_clean();
    miner.share();
    assert_eq!(moved.call("mining.submit")["params"][1], "2");
    moved.send(&push("client.reconnect", &json!([])));
    pool.accept(); // home
}

#[test]
fn what_a_pool_wants_shown_is_shown_without_its_tricks() {
    let (_pool, proxy, mut peer) = raw("message", "1");
    let text = "maintenance \u{1b}[31m at <b>noon\u{202e}\r\n";
    peer.send(&push("client.show_message", &json!([text])));
    let line = told(&["a message from the pool", "maintenance"]);
    let shown = line["fields"]["text"].as_str().expect("a text");
    assert!(
        shown.chars().all(|c| c.is_ascii_graphic() || c == ' '),
        "{shown:?}"
    );
    // The log has it first.
    let note = eventually("a note", || proxy.pool("message").note);
    assert!(
        note.contains("noon") && !note.contains('\u{1b}'),
        "{note:?}"
    );
    alive(&mut peer);
}

#[test]
fn bad_messages_are_ignored_until_the_third_fails_the_pool_over() {
    let primary = RawPool::listen();
    let backup = sim_pool(easy_pool());
    let sections = [
        pool("bad", primary.address(), ""),
        pool("good", backup.address(), "tier = 1"),
    ];
    let proxy = Proxy::start(&lab(&sections.concat()));
    let mut peer = primary.login("aabbccdd", 8, &[easy(), notify("1", true)]);
    let mut miner = eventually("a miner at the bad pool", || {
        let mining = proxy.mining("w");
        (proxy.miners().last()?.pool.as_deref() == Some("bad")).then_some(mining)
    });
    proxy.wait_up("good");
    let mut short = notify("2", true);
    short["params"].as_array_mut().expect("a list").truncate(5);
    peer.send(&short);
    peer.send_bytes(b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[NaN]}\n");
    alive(&mut peer);
    miner.share(); // the job before them is still good
    peer.call("mining.submit");
    let mut crooked = notify("3", true);
    crooked["params"][1] = json!("not hex");
    peer.send(&crooked);
    // For this reason, and not because the share above went unanswered.
    told(&["pool is down", "three bad jobs", "\"bad\""]);
    peer.rest(); // ends: the proxy hangs up
    miner.next_clean();
    miner.share();
    let seen = RUNTIME.block_on(backup.wait_for(PATIENCE, |s| s.accepted == 1));
    seen.expect("the backup has the share");
}

/// One line the limit allows and one it does not, with what the log says to the second.
#[test]
fn limits_on_a_pool_hold_on_both_sides() {
    let branch = "11".repeat(32);
    let with = |at: usize, value: Value| {
        let mut job = notify("limit", true);
        job["params"][at] = value;
        job
    };
    let difficulty = |text: &str| {
        format!("{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{text}]}}")
    };
    let coinbase = |bytes: usize| with(2, json!("00".repeat(bytes))).to_string();
    let branches = |count: usize| with(4, json!(vec![&branch; count])).to_string();
    let cases = [
        ("branches", branches(32), branches(33)),
        // The coinbase is counted whole: what the pool sends and the 12 bytes of extranonce.
        (
            "coinbase",
            coinbase(32 * 1024 - 64),
            coinbase(32 * 1024 + 1),
        ),
        (
            "difficulty",
            difficulty("9223372036854775807"),
            difficulty("1e999"),
        ),
        (
            "small difficulty",
            difficulty("2.3283064365386963e-10"),
            difficulty("0"),
        ),
    ];
    for (name, good, bad) in cases {
        let name = format!("limit-{}", name.replace(' ', "-"));
        let (_pool, proxy, mut peer) = raw(&name, "1");
        proxy.wait_up(&name);
        let complaints = || logged(&["ignored a bad message", &name]).len();
        peer.send_bytes(format!("{good}\n").as_bytes());
        alive(&mut peer);
        assert_eq!(complaints(), 0, "{name}: what is allowed");
        peer.send_bytes(format!("{bad}\n").as_bytes());
        alive(&mut peer);
        eventually(&format!("{name}: what is not"), || {
            (complaints() == 1).then_some(())
        });
    }
}

#[test]
fn a_line_of_128_kib_is_read_and_one_byte_more_ends_the_connection() {
    let (pool, _proxy, mut peer) = raw("line", "1");
    let line = |len: usize| {
        let head = "{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"";
        let body = "x".repeat(len - head.len() - 3);
        format!("{head}{body}\"]}}\n")
    };
    assert_eq!(line(1000).len(), 1001);
    peer.send_bytes(line(128 * 1024).as_bytes());
    alive(&mut peer);
    let _ = std::io::Write::write_all(&mut peer.stream, line(128 * 1024 + 1).as_bytes()); // it may hang up first
    told(&["pool is down", "a line of more than 128 KiB", "\"line\""]);
    pool.accept(); // and it comes back
}

#[test]
fn a_difficulty_that_is_no_number_leaves_the_last_one() {
    let (_pool, proxy, mut peer) = raw("nan", "1");
    proxy.wait_up("nan");
    peer.send_bytes(b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1e999]}\n");
    peer.send(&notify("2", true));
    alive(&mut peer);
    let mut miner = proxy.mining("w");
    assert!((miner.difficulty / EASY - 1.0).abs() < 1e-12); // serde_json misreads the last bit
    miner.share();
    assert_eq!(peer.call("mining.submit")["params"][1], "2");
}

#[test]
fn a_refused_login_says_so_in_one_line_and_what_to_do() {
    let sim = sim_pool(PoolConfig {
        refuses_login: true,
        ..easy_pool()
    });
    let proxy = Proxy::start(&lab(&pool("no-login", sim.address(), "")));
    let line = told(&["the pool refused our login", "no-login"]);
    let words = line["fields"]["message"].as_str().expect("words");
    assert!(
        words.contains("`user`") && words.contains("`password`"),
        "{words}"
    );
    let note = eventually("the API says why", || proxy.pool("no-login").note);
    assert!(note.contains("login"), "{note}");
    assert!(!proxy.pool("no-login").up);
}

#[test]
fn a_refused_worker_mines_under_the_login_name() {
    let sim = sim_pool(PoolConfig {
        refuses_workers: Some("evil".into()),
        ..easy_pool()
    });
    let section = format!(
        "[[pool]]\nname = \"workers\"\nurl = \"stratum+tcp://{}\"\nuser = \"farm.{{worker}}\"\n",
        sim.address()
    );
    let proxy = Proxy::start(&lab(&section));
    proxy.mining("good").share();
    proxy.mining("evil").share();
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.accepted == 2));
    let users = seen.expect("both shares count").users;
    let names: Vec<_> = users.keys().map(String::as_str).collect();
    assert_eq!(names, ["farm.good", "farm.sluice"]);
    told(&["the pool refused a worker", "farm.evil"]);
}

#[test]
fn a_pool_that_hangs_up_in_the_middle_of_a_line_is_connected_again() {
    let (pool, proxy, mut peer) = raw("midline", "1");
    let mut miner = proxy.mining("w");
    let line = notify("half", true).to_string();
    peer.send_bytes(&line.as_bytes()[..line.len() / 2]);
    drop(peer);
    let mut peer = pool.login("55667788", 8, &[easy(), notify("whole", true)]);
    miner.next_clean();
    miner.share();
    assert_eq!(peer.call("mining.submit")["params"][1], "whole");
}

#[test]
fn an_extranonce_of_255_bytes_is_refused_and_said() {
    let pool = RawPool::listen();
    let proxy = above(&pool, "huge");
    let mut peer = pool.accept();
    answer(&mut peer, "mining.configure", &granted());
    answer(&mut peer, "mining.subscribe", &json!([[], "aabbccdd", 255]));
    let note = eventually("the API says why", || proxy.pool("huge").note);
    assert!(note.contains("mining.subscribe"), "{note}");
    pool.accept(); // it is tried again, later
}

#[test]
fn bytes_that_trickle_one_by_one_make_a_job() {
    let pool = RawPool::listen();
    let proxy = above(&pool, "trickle");
    let mut peer = pool.login("aabbccdd", 8, &[]);
    for byte in format!("{}\n{}\n", easy(), notify("slow", true)).bytes() {
        peer.send_bytes(&[byte]);
    }
    proxy.mining("w").share();
    assert_eq!(peer.call("mining.submit")["params"][1], "slow");
}

#[test]
fn without_any_pool_miners_are_answered_and_get_work_when_one_comes() {
    let sim = sim_pool(easy_pool());
    RUNTIME.block_on(sim.kill());
    let proxy = Proxy::start(&lab(&pool("late", sim.address(), "")));
    let mut miner = proxy.miner();
    let answer = miner.ask(1, "mining.subscribe", &json!(["early"]));
    assert_eq!(answer["result"][2], json!(4), "{answer}");
    let answer = miner.ask(2, "mining.authorize", &json!(["w", "x"]));
    assert_eq!(answer["result"], json!(true));
    let note = eventually("the API says why", || proxy.pool("late").note);
    assert!(note.contains("cannot connect"), "{note}");
    assert_eq!(status(&proxy, "/readyz"), 503);
    assert_eq!(status(&proxy, "/livez"), 200);
    {
        let _inside = RUNTIME.enter();
        sim.resume().expect("its port is still free");
    }
    let job = within(Duration::from_secs(60), "work", || {
        miner.call("mining.notify")["params"][0]
            .as_str()
            .map(str::to_owned)
    });
    assert!(!job.is_empty());
    assert_eq!(status(&proxy, "/readyz"), 200);
}

fn status(proxy: &Proxy, path: &str) -> u16 {
    let agent = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = agent.build().into();
    let url = format!("http://{}{path}", proxy.api);
    agent.get(&url).call().expect("an answer").status().as_u16()
}

#[test]
fn sluice_below_sluice_loses_no_share_and_no_version_bit() {
    let sim = sim_pool(easy_pool());
    let generous = "[limits]\nsubmits_per_second = 1000\nothers_per_second = 1000\n";
    let upper = Proxy::start(&lab(&format!(
        "{}{generous}",
        pool("far", sim.address(), "")
    )));
    let section = format!(
        "[[pool]]\nname = \"near\"\nurl = \"stratum+tcp://{}\"\nuser = \"farm.{{worker}}\"\n",
        upper.listeners[0]
    );
    let lower = Proxy::start(&lab(&section));
    let fleet = fleet(lower.listeners[0], 20);
    let reached = fleet.wait_for(PATIENCE, |s| s.accepted >= 60);
    RUNTIME.block_on(reached).expect("shares flow");
    let stats = RUNTIME.block_on(fleet.finish(PATIENCE));
    assert_eq!(
        (stats.rejected_total(), stats.violations_total()),
        (0, 0),
        "{stats:?}"
    );
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.received == stats.accepted));
    let seen = seen.expect("every share arrives");
    assert_eq!(seen.accepted, stats.accepted, "{seen:?}");
    let rolled = seen.last_submits.iter().filter(|line| {
        let submit: Value = serde_json::from_str(line).expect("JSON");
        let bits = submit["params"][5].as_str();
        bits.is_some_and(|bits| bits != "00000000")
    });
    assert!(
        rolled.count() > 0,
        "somebody rolled: {:?}",
        seen.last_submits
    );
    eventually("both ledgers are settled", || {
        let (near, far) = (lower.pool("near"), upper.pool("far"));
        let all = near.accepted.shares == stats.accepted && far.accepted.shares == stats.accepted;
        (all && lower.summary().conserves && upper.summary().conserves).then_some(())
    });
}
