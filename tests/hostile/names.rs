//! Worker names and user agents from hell, looked for in every place they could come out of.

use crate::child::Proxy;
use crate::house::{EASY, House, Plan, Upstream, eventually};
use crate::miner::Miner;
use serde_json::Value;

/// What no sink may contain as it stands.
const RAW: [&str; 9] = [
    "<script>",
    "\"evil\"",
    "=cmd()",
    "\u{202e}",
    "\0",
    "\r\nX-Evil:",
    "\u{1b}[31m",
    "'; DROP",
    "é",
];

fn names() -> Vec<String> {
    let mut names: Vec<String> = RAW.iter().map(|raw| format!("w{raw}w")).collect();
    names.push("x".repeat(3_900));
    names.push("\u{1f4a9}".repeat(900));
    names.push(String::new());
    names.push("%41%0a{worker}{}".to_owned());
    names
}

pub(crate) fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+:/-%".contains(&byte);
    (1..=128).contains(&label.len()) && label.bytes().all(plain)
}

pub(crate) fn assert_clean(sink: &str, text: &str) {
    for raw in RAW {
        assert!(!text.contains(raw), "{raw:?} stands in {sink}");
    }
}

/// Comes in under the name, and mines one share with it.
fn visit(address: std::net::SocketAddr, name: &str) -> Miner {
    let mut miner = Miner::connect(address);
    miner.subscribe(&name.chars().take(900).collect::<String>());
    assert_eq!(miner.authorize(name)["result"], true, "{name:.40}");
    while miner.job.is_none() {
        miner.line().expect("a job");
    }
    miner.mine();
    miner
}

#[test]
fn names_from_hell_are_labels_in_the_api_the_metrics_and_at_the_pool() {
    let house = House::open(&Plan {
        pool_difficulty: EASY,
        ..Plan::default()
    });
    let names = names();
    let visitors: Vec<Miner> = names
        .iter()
        .map(|name| visit(house.address, name))
        .collect();
    let page =
        || -> Value { serde_json::from_str(&house.get("/api/v1/miners?limit=100")).expect("JSON") };
    let mined = |page: &Value| {
        let miners = page["miners"].as_array().expect("a list");
        miners.iter().filter(|miner| miner["accepted"] == 1).count()
    };
    eventually("every name has mined", || mined(&page()) == names.len());
    for miner in page()["miners"].as_array().expect("a list") {
        for key in ["worker", "agent"] {
            let label = miner[key].as_str().expect("a label");
            assert!(is_label(label), "{key} {label:?}");
        }
    }
    assert_clean("/api/v1/miners", &house.get("/api/v1/miners?limit=100"));
    for path in ["/metrics", "/metrics/workers"] {
        let text = house.get(path);
        assert_clean(path, &text);
        assert!(text.ends_with("# EOF\n"), "{path} is whole");
    }
    let pool = &house.upstream.pool;
    let all = names.len() as u64;
    eventually("the pool has every share", || pool.stats().accepted >= all);
    for user in pool.stats().users.keys() {
        let label = user.strip_prefix("lab.").expect("the template's beginning");
        assert!(is_label(label), "at the pool: {user:?}");
    }
    for line in &pool.stats().last_submits {
        assert_clean("a submit to the pool", line);
    }
    drop(visitors);
    house.close();
}

#[test]
fn names_from_hell_leave_no_raw_byte_in_the_log_even_at_trace() {
    let upstream = Upstream::start(EASY);
    let plan = Plan::default();
    let mut proxy = Proxy::start(&plan.config(upstream.pool.address(), "trace"), None);
    let visitors: Vec<Miner> = names()
        .iter()
        .map(|name| visit(proxy.address, name))
        .collect();
    let mut raw = Miner::connect(proxy.address);
    raw.shout("no json \u{1b}[31m \u{202e} \0 é \rX-Evil: 1\n".as_bytes());
    raw.rest();
    drop(visitors);
    let log = proxy.end();
    assert!(
        log.contains("w%3Cscript%3Ew"),
        "the names were logged as labels"
    );
    for (number, line) in log.lines().enumerate() {
        let clean = line
            .chars()
            .all(|c| c == '\t' || c == ' ' || c.is_ascii_graphic());
        assert!(clean, "line {number} of the log: {line:?}");
    }
    upstream.stop();
}

#[test]
fn a_new_name_at_every_connect_ends_in_one_bucket_and_the_site_still_adds_up() {
    let house = House::open(&Plan::default());
    for number in 0..300 {
        let mut miner = Miner::connect(house.address);
        miner.subscribe("churn/1");
        assert_eq!(miner.authorize(&format!("churn.{number}"))["result"], true);
    }
    house.expect_closed("peer", 300);
    house.close();
}
