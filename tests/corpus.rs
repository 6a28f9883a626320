//! Replays every committed corpus file through the check that its fuzz target runs: a crash once found stays found.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/device.rs"]
mod device;
#[path = "../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../fuzz/checks/feeds.rs"]
mod feeds;
#[path = "../fuzz/checks/handshake.rs"]
mod handshake;
#[path = "../fuzz/checks/kernels.rs"]
mod kernels;
#[path = "../fuzz/checks/link.rs"]
mod link;
#[path = "../fuzz/checks/miner.rs"]
mod miner;
#[path = "../fuzz/checks/pool.rs"]
mod pool;
#[path = "../fuzz/checks/program.rs"]
mod program;
#[path = "../fuzz/checks/session.rs"]
mod session;
#[path = "../fuzz/checks/submit.rs"]
mod submit;
#[path = "../fuzz/checks/v1.rs"]
mod v1;
#[path = "../fuzz/checks/v2.rs"]
mod v2;
#[path = "../fuzz/checks/v2_link.rs"]
mod v2_link;
#[path = "../fuzz/checks/v2_miner.rs"]
mod v2_miner;
#[path = "../fuzz/checks/v2_pool.rs"]
mod v2_pool;
#[path = "../fuzz/checks/v2_says.rs"]
mod v2_says;
#[path = "../fuzz/checks/v2_session.rs"]
mod v2_session;
#[path = "../fuzz/checks/v2_talk.rs"]
mod v2_talk;

#[test]
fn lines_hold_for_the_whole_corpus() {
    replay("v1_line", v1::v1_line);
}

#[test]
fn messages_hold_for_the_whole_corpus() {
    replay("v1_message", v1::v1_message);
}

#[test]
fn frames_of_v2_hold_for_the_whole_corpus() {
    replay("v2_frame", v2::v2_frame);
}

#[test]
fn messages_of_v2_hold_for_the_whole_corpus() {
    replay("v2_message", v2::v2_message);
}

#[test]
fn the_short_way_to_a_share_agrees_for_the_whole_corpus() {
    replay("submit_fast", |data| {
        submit::submit_fast(data);
    });
}

#[test]
fn feeds_hold_for_the_whole_corpus() {
    replay("feeds", feeds::feeds);
}

#[test]
fn sessions_hold_for_the_whole_corpus() {
    replay("session", session::session);
}

#[test]
fn v2_sessions_hold_for_the_whole_corpus() {
    replay("v2_session", v2_session::v2_session);
}

#[test]
fn links_hold_for_the_whole_corpus() {
    replay("link", link::link);
}

#[test]
fn v2_links_hold_for_the_whole_corpus() {
    replay("v2_link", v2_link::v2_link);
}

#[test]
fn kernels_hold_for_the_whole_corpus() {
    replay("kernels", kernels::kernels);
}

#[test]
fn orders_hold_for_the_whole_corpus() {
    replay("envelope", envelope::envelope);
}

#[test]
fn answers_of_devices_hold_for_the_whole_corpus() {
    replay("device_answer", device::device_answer);
}

#[test]
fn handshakes_hold_for_the_whole_corpus() {
    replay("v2_handshake", handshake::v2_handshake);
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("a readable folder").path();
        // Shown only if the check panics.
        println!("{}", path.display());
        check(&fs::read(&path).expect("a readable file"));
        files += 1;
    }
    assert!(files > 0, "{target} has no corpus");
}
