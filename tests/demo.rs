//! `sluice demo` as a newcomer runs it: the process, its exit code, its accounts.
//!
//! Not a test of the proxy's parts. It takes a minute of real time, because that is what the demo is.

use std::process::{Command, Output};

#[test]
fn the_demo_fails_over_loses_nothing_and_says_so() {
    let output = demo(&["--for", "15s"]);
    let summary = String::from_utf8(output.stdout).unwrap();
    let story = String::from_utf8(output.stderr).unwrap();
    let told = format!("{story}\n{summary}");
    assert_eq!(output.status.code(), Some(0), "{told}");

    // shares     980 sent by miners = 980 judged = 978 accepted + 2 refused (stale 2)
    let [sent, judged, accepted, refused, ..] = numbers(&summary, "shares ")[..] else {
        panic!("no accounts of shares: {told}");
    };
    assert!(accepted > 0, "{told}");
    assert_eq!(sent, judged, "{told}");
    assert_eq!(judged, accepted + refused, "{told}");

    // forwarded  86 met a pool's difficulty; pools counted 84; 2 not counted, named below
    let [forwarded, counted, lost, ..] = numbers(&summary, "forwarded ")[..] else {
        panic!("no accounts of forwarded shares: {told}");
    };
    assert!(counted > 0, "{told}");
    assert_eq!(forwarded, counted + lost, "{told}");

    for words in [
        "pool A dies now",
        "all 200 miners on pool B",
        "no reconnect",
    ] {
        assert!(story.contains(words), "{words}: {told}");
    }
}

#[test]
fn machines_of_both_protocols_fail_over_from_a_v2_to_a_v1_pool_and_lose_nothing() {
    let output = demo(&["--pool", "v2", "--miners", "mixed", "--for", "40s"]);
    let summary = String::from_utf8(output.stdout).unwrap();
    let story = String::from_utf8(output.stderr).unwrap();
    let told = format!("{story}\n{summary}");
    assert_eq!(output.status.code(), Some(0), "{told}");

    let [sent, judged, accepted, refused, ..] = numbers(&summary, "shares ")[..] else {
        panic!("no accounts of shares: {told}");
    };
    assert_eq!((sent, judged), (judged, accepted + refused), "{told}");
    for pool in ["pool A V2 ", "pool B V1 "] {
        let [written, accepted, ..] = numbers(&summary, pool)[..] else {
            panic!("no account of {pool}: {told}");
        };
        assert!(accepted > 0 && accepted <= written, "{told}");
    }
    for words in [
        "machines (V1 and V2)",
        "pool A (V2), pool B (V1)",
        "stratum2+tcp://127.0.0.1:",
        "all 200 miners on pool B",
        "no reconnect",
    ] {
        assert!(story.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_gpu_job_gets_its_watts_mining_makes_room_and_comes_back() {
    let output = demo(&["--for", "60s"]);
    let summary = String::from_utf8(output.stdout).unwrap();
    let story = String::from_utf8(output.stderr).unwrap();
    let told = format!("{story}\n{summary}");
    assert_eq!(output.status.code(), Some(0), "{told}");
    let steps = [
        "all 200 machines are known",
        "a GPU job on",
        "machines are being put off",
        "are proven free",
        "the job runs at full power",
        "its watts are given back",
        "mining is back",
    ];
    let at = steps.map(|words| {
        story
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {told}"))
    });
    assert!(at.is_sorted(), "{told}");
    for words in ["SLUICE_TOKEN=", "curtail status --api", "on a farm 5 min"] {
        assert!(story.contains(words), "{words}: {told}");
    }
    assert!(summary.contains("no limit passed"), "{told}");
}

#[test]
fn a_span_without_a_unit_or_too_short_is_refused_with_the_right_form() {
    for (span, words) in [("15", "such as 15s"), ("4.9s", "at least 5s")] {
        let output = demo(&["--for", span]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{said}");
    }
}

fn demo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("demo")
        .args(args)
        .output()
        .expect("the program of this very build can be started")
}

/// The whole numbers of the line that begins so.
fn numbers(summary: &str, begins: &str) -> Vec<u64> {
    let line = summary.lines().find(|line| line.starts_with(begins));
    let words = line.unwrap_or_default().split_whitespace();
    words
        .filter_map(|word| word.trim_end_matches(';').parse().ok())
        .collect()
}
