//! What the binary says to a person, and its exit codes: 0 well, 69 the surroundings, 78 the configuration.

use crate::lab::*;
use crate::process::{run, sluice, words};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Stdio;

fn code(output: &std::process::Output) -> i32 {
    output.status.code().expect("it was not killed")
}

struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("x.toml"), toml).expect("a folder of ours");
        Self { folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("x.toml").display().to_string()
    }
}

#[test]
fn a_taken_port_is_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let pools = ["--pool", "stratum+tcp://127.0.0.1:9", "--user", "u"];
    let output = run(&[&["run", "--listen", &address], &pools[..]].concat());
    assert_eq!(code(&output), 69);
    let said = words(&output);
    let line = said.lines().find(|line| line.starts_with("sluice:"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains(&address) && line.contains("taken") && line.contains("choose another"),
        "{line}"
    );
}

#[test]
fn a_bad_file_gives_every_mistake_with_its_place_to_run_and_check_alike() {
    let file = File::new("[[pool]]\nurl = \"http://x\"\ntire = 1\n\n[log]\nformat = \"xml\"\n");
    for verb in [&["run", "-c"][..], &["check", "--offline"]] {
        let output = run(&[verb, &[file.path().as_str()]].concat());
        assert_eq!(code(&output), 78, "{}", words(&output));
        let said = words(&output);
        for wanted in [
            "x.toml:2",
            "x.toml:3",
            "x.toml:6",
            "tire",
            "tier",
            "user",
            "xml",
            "stratum+tcp",
        ] {
            assert!(said.contains(wanted), "{wanted} in {said}");
        }
    }
    let output = run(&["check", "--json", &file.path()]);
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        findings.as_array().is_some_and(|list| list.len() >= 4),
        "{findings}"
    );
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let output = run(&["run", "-c", "/nowhere/at/all.toml"]);
    assert_eq!(code(&output), 78);
    assert!(words(&output).contains("/nowhere/at/all.toml"));
}

#[test]
fn check_tells_an_unreachable_pool_from_a_bad_file() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let file = File::new(&lab(&pool("gone", address, "")));
    let output = run(&["check", &file.path()]);
    let said = words(&output);
    assert_eq!(code(&output), 69, "{said}");
    assert!(said.contains(&address.to_string()), "{said}");
    let output = run(&["check", "--offline", &file.path()]);
    assert_eq!(code(&output), 0, "{}", words(&output));
}

#[test]
fn check_logs_in_where_it_is_told_to() {
    let sim = sim_pool(easy_pool());
    let file = File::new(&lab(&pool("there", sim.address(), "")));
    let output = run(&["check", "--pool-login", &file.path()]);
    assert_eq!(code(&output), 0, "{}", words(&output));
    let refusing = sim_pool(sluice::sim::PoolConfig {
        refuses_login: true,
        ..easy_pool()
    });
    let file = File::new(&lab(&pool("there", refusing.address(), "")));
    let output = run(&["check", "--pool-login", &file.path()]);
    assert_eq!(code(&output), 69, "{}", words(&output));
}

#[test]
fn the_verbs_show_a_running_proxy_as_text_and_as_json() {
    let (proxy, _pool) = Proxy::easy("shown");
    let mut miner = proxy.mining("rig-7");
    miner.share();
    eventually("the share is counted", || {
        (proxy.summary().accepted.shares == 1).then_some(())
    });
    let api = format!("http://{}", proxy.api);
    let ask = |verb: &str, more: &[&str]| {
        let output = run(&[&[verb, "--api", &api], more].concat());
        assert_eq!(code(&output), 0, "{}", words(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let json =
        |verb: &str| -> Value { serde_json::from_str(&ask(verb, &["--json"])).expect("JSON") };
    assert_eq!(json("status")["accepted"]["shares"], 1);
    assert_eq!(json("miners")["miners"][0]["worker"], "rig-7");
    assert_eq!(json("pools")["pools"][0]["name"], "shown");
    assert!(ask("miners", &[]).contains("rig-7"));
    assert!(ask("pools", &[]).contains("shown"));
    assert!(!ask("status", &[]).is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (proxy, _pool) = Proxy::easy("head");
    let _miner = proxy.mining("w");
    let api = format!("http://{}", proxy.api);
    for verb in ["status", "miners", "pools"] {
        let mut command = sluice(&[verb, "--json", "--api", &api]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            (code(&output), words(&output)),
            (0, String::new()),
            "{verb}"
        );
    }
}

#[test]
fn without_a_proxy_the_verbs_say_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let api = format!("http://{}", free.local_addr().expect("it is bound"));
    drop(free);
    let output = run(&["status", "--api", &api]);
    assert_eq!(code(&output), 69);
    let said = words(&output);
    assert!(
        said.contains(&api) && said.contains("--api") && said.lines().count() == 1,
        "{said}"
    );
}
