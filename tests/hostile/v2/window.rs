//! One channel whose duplicate window is full (STRATUM.md section 4), and its neighbours.
//!
//! Invariant: what is new is refused and nothing is forgotten, on that channel alone.

use super::client::{Client, Verdict};
use super::handshake::plan;
use crate::house::{House, Plan};
use sluice::sim::v2::message::Submit;

/// Shares that a window holds.
const WINDOW: usize = 131_072;
/// Sent at once: fewer bad ones in a row than end a channel.
const TOGETHER: usize = 128;

#[test]
fn a_full_duplicate_window_refuses_what_is_new_forgets_nothing_and_leaves_the_others_untouched() {
    // A hundred channels may send as much as a hundred miners.
    let mut house = House::open(&Plan {
        limits: "channels = 128\nothers_per_second = 1000\nother_burst = 1000\nsubmits_per_second = 1000\nsubmit_burst = 1000",
        ..plan()
    });
    let mut client = Client::login(house.address, "v2.window", 100);
    let mut ids = client.channels.keys().copied();
    let (full, other) = (ids.next().expect("one"), ids.next().expect("two"));
    drop(ids);
    let early = client.mine(full);
    let sent = fill(&mut client, full);
    assert!(sent >= WINDOW, "full after {sent}");
    let mut again = early;
    again.sequence = u32::MAX;
    assert_eq!(
        client.submit(&again),
        Verdict::refused("duplicate-share"),
        "the first of all is known"
    );
    assert_eq!(
        new_share(&mut client, full),
        Verdict::refused("invalid-share")
    );
    client.mine(other);
    house.honest.mine();
    house.close();
}

/// Mines until nothing new is taken; how many were sent. A block that comes between empties the window.
fn fill(client: &mut Client, id: u32) -> usize {
    for batches in 1..3 * WINDOW / TOGETHER {
        if many(client, id) == Verdict::refused("invalid-share") {
            return batches * TOGETHER;
        }
    }
    panic!("three windows of shares were taken");
}

/// Sends many, each new; the verdict on the last.
fn many(client: &mut Client, id: u32) -> Verdict {
    let mut last = 0;
    let mut sealed = Vec::new();
    for _ in 0..TOGETHER {
        let share = client.fresh(id);
        last = share.sequence;
        let frame = client.submit_as(&share).bytes();
        sealed.extend(client.seal(&frame));
    }
    client.write(&sealed);
    client.verdict(id, last)
}

fn new_share(client: &mut Client, id: u32) -> Verdict {
    let share: Submit = client.fresh(id);
    client.submit(&share)
}
