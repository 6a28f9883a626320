//! Stratum V2 on our side, above or below, with real programs at the other end of it.
//!
//! Invariant: as in `v1`, what we forward is what the pool accepts, and what is missing has a name.

use crate::chain::{Far, fleet, named_at_a_block};
use crate::lab::*;
use crate::peers::{Count, Pool, Translation, Translator};
use crate::provider::{HARD, Provider, SOFT};
use crate::wire::{AUTHORITY, AUTHORITY_SECRET};
use sluice::telemetry::view;

const ONE: Translation = Translation {
    aggregated: true,
    extranonce2: 4,
};
const EACH: Translation = Translation {
    aggregated: false,
    extranonce2: 4,
};

#[test]
#[ignore = "until the link speaks Stratum V2"]
fn v1_miners_mine_at_a_v2_pool() {
    let provider = Provider::start(SOFT);
    let pool = Pool::start(&provider, 1);
    let proxy = Proxy::start(&lab(&above(&pool)));
    proxy.wait_up("sri");
    let fleet = fleet(proxy.listeners[0]);
    let far = Far::behind(&pool);
    far.accepts(100);
    provider.new_template();
    far.accepts(100);
    provider.new_block();
    far.accepts(100);
    eventually("a block", || (pool.count().blocks >= 1).then_some(()));
    fleet.set_hashrate(0.0);
    let (ours, count) = at_rest(&proxy, &pool, 0);
    all_accounted_for(&proxy, &ours, &count);
    assert_eq!(proxy.summary().blocks, count.blocks);
    eventually("every block reaches the node", || {
        (provider.solutions().len() as u64 == count.blocks).then_some(())
    });
    assert_eq!(fleet.stats().violations_total(), 0, "{:?}", fleet.stats());
}

/// The pool says yes to ten shares at once and never to the last few: they are in flight, not lost.
#[test]
#[ignore = "until the link speaks Stratum V2"]
fn a_pool_that_acknowledges_in_batches_stays_up_with_the_last_batch_open() {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 10);
    let proxy = Proxy::start(&lab(&above(&pool)));
    proxy.wait_up("sri");
    let fleet = fleet(proxy.listeners[0]);
    let far = Far::behind(&pool);
    far.accepts(105);
    fleet.set_hashrate(0.0);
    let (ours, count) = at_rest(&proxy, &pool, 9);
    assert_eq!(count.received(), ours.submitted.shares, "{count:?}");
    assert_eq!(ours.in_flight.shares, count.accepted % 10);
    assert_eq!(ours.connections, 1, "{ours:?}");
}

#[test]
#[ignore = "until the listener and the link speak Stratum V2"]
fn a_translator_with_one_channel_mines_through_us_at_a_v2_pool() {
    between(ONE);
}

#[test]
#[ignore = "until the listener and the link speak Stratum V2"]
fn a_translator_with_a_channel_for_each_miner_mines_through_us_at_a_v2_pool() {
    between(EACH);
}

/// V1 miners, the translator, us, the pool.
fn between(translation: Translation) {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 1);
    let keys = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(keys.path(), AUTHORITY_SECRET).expect("it is ours");
    let config = format!("{}\n{}", above(&pool), below(keys.path()));
    let proxy = Proxy::start(&lab(&config));
    proxy.wait_up("sri");
    let translator = Translator::start(proxy.listeners[0], translation);
    let fleet = fleet(translator.address);
    let far = Far::behind(&pool);
    far.accepts(100);
    provider.new_template();
    far.accepts(100);
    provider.new_block();
    far.accepts(100);
    fleet.set_hashrate(0.0);
    let (ours, count) = at_rest(&proxy, &pool, 0);
    all_accounted_for(&proxy, &ours, &count);
    // What the translator sent is what we judged.
    let summary = proxy.summary();
    let judged = summary.accepted.shares + summary.rejected.shares;
    assert_eq!(translator.forwarded(), judged, "{summary:?}");
    translator.program.alive();
}

/// Waits until nothing is on its way to the pool but what it leaves unanswered.
fn at_rest(proxy: &Proxy, pool: &Pool, unanswered: u64) -> (view::Pool, Count) {
    eventually("every share has arrived at the pool", || {
        let (ours, count) = (proxy.pool("sri"), pool.count());
        let arrived = ours.submitted.shares == count.received();
        (arrived && ours.in_flight.shares <= unanswered).then_some((ours, count))
    })
}

fn all_accounted_for(proxy: &Proxy, ours: &view::Pool, count: &Count) {
    assert_eq!(ours.accepted.shares, count.accepted, "{count:?}");
    let rejected: u64 = count.rejected.values().sum();
    assert_eq!(ours.rejected.shares, rejected, "{count:?}");
    assert_eq!((ours.unknown.shares, ours.connections), (0, 1), "{ours:?}");
    named_at_a_block(&count.rejected);
    named_at_a_block(&ours.reasons);
    let summary = proxy.summary();
    assert!(summary.conserves, "{summary:?}");
    named_at_a_block(&summary.reasons);
}

/// The pool as ours.
fn above(pool: &Pool) -> String {
    let url = format!("stratum2+tcp://{}/{AUTHORITY}", pool.address);
    format!("[[pool]]\nname = \"sri\"\nurl = \"{url}\"\nuser = \"acct\"\n")
}

/// The key that our V2 miners expect of us.
fn below(keys: &std::path::Path) -> String {
    // How the configuration names it is settled with the listener.
    format!("[v2]\nkeys = \"{}\"\n", keys.display())
}
