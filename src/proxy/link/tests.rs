//! What a link gives out when nothing new has come.
//!
//! Not the dialects of pools (`stratum::v1::up`, end to end in tests/e2e). Invariant: no socket, no waiting.

use super::{Config, Dropped, Identity, Input, Link, Output, Protocol, SettleResult, Submission};
use crate::machine::Machine;
use crate::proxy::lease::SessionId;
use crate::work::{Lane, Layout, LinkId, Proof, Share, Work};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

const LAYOUT: Layout = Layout { lane: 4, rolled: 4 };
const SUBSCRIBED: &[u8] = br#"{"id":1,"result":[[],"aabbccdd",8],"error":null}"#;
const LOGGED_IN: &[u8] = br#"{"id":2,"result":true,"error":null}"#;
const NTIME: u32 = 0x6553_f100;

fn notify(clean: bool) -> String {
    let prev = "00".repeat(32);
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["1","{prev}","0100","ff00",[],"20000000","1703421a","{NTIME:08x}",{clean}]}}"#
    )
}

/// A link that has just been given its first work.
fn up(now: Instant) -> (Link, Arc<Work>) {
    let config = Config {
        id: LinkId(0),
        name: "pool".into(),
        protocol: Protocol::V1,
        host: "pool".into(),
        port: 3333,
        tls: false,
        user: "u".into(),
        password: "x".into(),
        identity: Identity::Account,
        version_mask: 0,
        reconnect_hosts: Vec::new(),
        shares_per_second: 1.0,
        easiest: crate::work::Difficulty::MIN,
        refresh: Duration::from_secs(25),
        seed: 1,
    };
    let mut link = Link::new(now, config, Arc::new(AtomicU32::new(1)));
    link.handle_input(now, Input::Connected);
    link.handle_input(now, Input::Layout(LAYOUT));
    // Ids are given in the order of asking: subscribe, authorize.
    for line in [SUBSCRIBED, LOGGED_IN, notify(true).as_bytes()] {
        link.handle_input(now, Input::Line(line));
    }
    let mut issued = issues(&mut link);
    assert_eq!(issued.len(), 1, "logged in, with work");
    (link, issued.remove(0))
}

fn issues(link: &mut Link) -> Vec<Arc<Work>> {
    let outputs = std::iter::from_fn(|| link.poll_output());
    outputs
        .filter_map(|output| match output {
            Output::Issue(issue) => Some(issue.work.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn the_same_layout_again_costs_no_job_and_another_costs_one() {
    let now = Instant::now();
    let (mut link, _) = up(now);
    link.handle_input(now, Input::Layout(LAYOUT));
    assert_eq!(issues(&mut link).len(), 0);
    let narrow = Layout { lane: 2, rolled: 4 };
    link.handle_input(now, Input::Layout(narrow));
    assert_eq!(issues(&mut link).len(), 1);
}

#[test]
fn a_repeated_job_starts_where_no_miner_can_have_rolled_to_and_is_renewed_in_time() {
    let start = Instant::now();
    let (mut link, first) = up(start);
    assert_eq!(first.ntime, NTIME);
    let later = start + Duration::from_secs(20);
    link.handle_input(later, Input::Line(notify(true).as_bytes()));
    let repeated = issues(&mut link);
    // The twenty seconds and the margin for a notify that is held or late on its way.
    assert_eq!(repeated[0].ntime, NTIME + 22);
    assert_eq!(repeated[0].pool_ntime, NTIME);
    link.handle_timeout(later + Duration::from_secs(25));
    let renewed = issues(&mut link);
    assert_eq!(
        renewed.len(),
        1,
        "not held back by the ntime given in advance"
    );
    assert!(renewed[0].ntime > repeated[0].ntime);
}

#[test]
fn a_block_found_while_the_pool_was_away_is_sent_only_under_the_extranonce_it_was_found_under() {
    for (extranonce1, is_written) in [("aabbccdd", true), ("aabbccde", false)] {
        let start = Instant::now();
        let (mut link, work) = up(start);
        link.handle_input(start, Input::Disconnected("gone"));
        link.handle_input(start, Input::Submit(Box::new(block(&work))));
        let back = start + Duration::from_secs(40);
        link.handle_timeout(back);
        link.handle_input(back, Input::Connected);
        let subscribed = format!(r#"{{"id":4,"result":[[],"{extranonce1}",8],"error":null}}"#);
        let logged_in = r#"{"id":5,"result":true,"error":null}"#;
        for line in [&subscribed, logged_in, &notify(true)] {
            link.handle_input(back, Input::Line(line.as_bytes()));
        }
        let outputs: Vec<Output> = std::iter::from_fn(|| link.poll_output()).collect();
        let written = outputs.iter().any(|output| match output {
            Output::Send(bytes) => String::from_utf8_lossy(bytes).contains("mining.submit"),
            _ => false,
        });
        assert_eq!(written, is_written, "{outputs:?}");
        let dropped = outputs.iter().any(|output| {
            let Output::Settle(end) = output else {
                return false;
            };
            end.result == SettleResult::Dropped(Dropped::LinkLost)
        });
        assert_eq!(dropped, !is_written);
    }
}

fn block(work: &Arc<Work>) -> Submission {
    Submission {
        session: SessionId(1),
        worker: "w".into(),
        work: work.clone(),
        lane: Lane(1),
        share: Share {
            en2: [0; 8],
            ntime: NTIME,
            nonce: 0,
            version: work.version,
        },
        proof: Proof::NONE,
        block: true,
    }
}
