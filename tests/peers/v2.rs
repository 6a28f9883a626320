//! Stratum V2 on our side, above or below, with real programs at the other end of it.
//!
//! Invariant: as in `v1`, what we forward is what the pool accepts, and what is missing has a name.

use crate::chain::{Far, MINERS, fleet, named_at_a_block, v2_fleet};
use crate::lab::*;
use crate::peers::{Count, Pool, Translation, Translator};
use crate::provider::{HARD, Provider, SOFT};
use crate::wire::{AUTHORITY, AUTHORITY_SECRET};
use sluice::sim::v2::KindV2;
use sluice::telemetry::view;

const ONE: Translation = Translation {
    aggregated: true,
    extranonce2: 4,
    names_workers: false,
};
const EACH: Translation = Translation {
    aggregated: false,
    extranonce2: 4,
    names_workers: true,
};

/// For us as its miner: bytes for our lanes too.
const WIDE: Translation = Translation {
    aggregated: true,
    extranonce2: 8,
    names_workers: false,
};

#[test]
fn v1_miners_mine_at_a_v2_pool() {
    let provider = Provider::start(SOFT);
    let pool = Pool::start(&provider, 1);
    let proxy = proxy(&above(&pool));
    let fleet = fleet(proxy.listeners[0]);
    let far = Far::behind(&pool);
    far.mined_over_news(&provider);
    eventually("a block", || (pool.count().blocks >= 1).then_some(()));
    fleet.set_hashrate(0.0);
    let (ours, count) = at_rest(&proxy, &pool, 0);
    all_accounted_for(&proxy, &ours, &count);
    eventually("the block is booked", || {
        (proxy.summary().blocks == count.blocks).then_some(())
    });
    eventually("every block reaches the node", || {
        (provider.solutions().len() as u64 == count.blocks).then_some(())
    });
    assert_eq!(fleet.stats().violations_total(), 0, "{:?}", fleet.stats());
}

/// Names go up by the channel: the account's, and one for each worker from its first share on.
#[test]
fn each_worker_mines_on_a_channel_of_its_own_at_a_pool_that_takes_no_names() {
    let provider = Provider::start(HARD);
    let pool = Pool::without_names(&provider);
    let proxy = proxy(&above(&pool).replace("acct", "acct.{worker}"));
    let fleet = fleet(proxy.listeners[0]);
    let far = Far::behind(&pool);
    far.mined_over_news(&provider);
    eventually("every worker has mined on its own", || {
        (pool.mined().len() as u64 == MINERS + 1).then_some(())
    });
    far.mined_over_news(&provider);
    fleet.set_hashrate(0.0);
    let (ours, count) = at_rest(&proxy, &pool, 0);
    all_accounted_for(&proxy, &ours, &count);
    let mined = pool.mined();
    assert_eq!(mined.values().sum::<u64>(), count.accepted, "{mined:?}");
    // The account's has only what came before the others were open.
    let (account, owns) = (mined.values().next(), mined.values().skip(1).sum::<u64>());
    assert!(account.is_some_and(|few| few * 3 < owns), "{mined:?}");
    assert_eq!(fleet.stats().violations_total(), 0, "{:?}", fleet.stats());
}

/// The pool says yes to ten shares at once and never to the last few: they are in flight, not lost.
#[test]
fn a_pool_that_acknowledges_in_batches_stays_up_with_the_last_batch_open() {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 10);
    let proxy = proxy(&above(&pool));
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
fn a_translator_with_one_channel_mines_through_us_at_a_v2_pool() {
    between(ONE);
}

#[test]
fn a_translator_with_a_channel_for_each_miner_mines_through_us_at_a_v2_pool() {
    between(EACH);
}

/// V1 miners, the translator, us, the pool.
fn between(translation: Translation) {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 1);
    let proxy = proxy(&above(&pool));
    let translator = Translator::start(proxy.listeners[0], translation);
    let fleet = fleet(translator.address);
    let far = Far::behind(&pool);
    far.mined_over_news(&provider);
    fleet.set_hashrate(0.0);
    let (ours, count) = at_rest(&proxy, &pool, 0);
    all_accounted_for(&proxy, &ours, &count);
    all_judged(&proxy, &translator);
}

/// V2 miners of every kind, us, and V1 from there on.
#[test]
fn v2_miners_mine_through_us_as_one_v1_miner_of_a_translator() {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 1);
    let translator = Translator::start(pool.address, WIDE);
    let proxy = proxy(&crate::lab::pool("sri", translator.address, ""));
    let fleet = v2_fleet(proxy.listeners[0], &KindV2::ALL);
    let far = Far::of(&pool, &translator);
    far.mined_over_news(&provider);
    fleet.set_hashrate(0.0);
    taken_is_accepted(&far, &proxy);
    let miners = fleet.stats();
    assert_eq!((miners.connects, miners.disconnects), (MINERS, 0));
    assert_eq!(miners.violations_total(), 0, "{miners:?}");
}

/// A translator below us and one above: V1, V2, us, V1, V2.
#[test]
fn a_translator_mines_through_us_as_one_v1_miner_of_another() {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 1);
    let above = Translator::start(pool.address, WIDE);
    let proxy = proxy(&crate::lab::pool("sri", above.address, ""));
    let below = Translator::start(proxy.listeners[0], EACH);
    let fleet = fleet(below.address);
    let far = Far::of(&pool, &above);
    far.mined_over_news(&provider);
    fleet.set_hashrate(0.0);
    taken_is_accepted(&far, &proxy);
    all_judged(&proxy, &below);
}

/// What the translator above took from us is what the pool accepts.
fn taken_is_accepted(far: &Far<'_>, proxy: &Proxy) {
    let (ours, count) = far.settled(|| {
        let ours = proxy.pool("sri");
        let taken = ours.accepted.shares;
        (ours, taken)
    });
    named_at_a_block(&count.rejected);
    named_at_a_block(&ours.reasons);
    assert_eq!((ours.unknown.shares, ours.connections), (0, 1), "{ours:?}");
    let summary = proxy.summary();
    assert!(summary.conserves, "{summary:?}");
    named_at_a_block(&summary.reasons);
}

/// We have judged whatever the translator below sent.
fn all_judged(proxy: &Proxy, below: &Translator) {
    below.program.alive();
    eventually("we judge what the translator sent", || {
        let sent = below.forwarded();
        let summary = proxy.summary();
        (sent == summary.accepted.shares + summary.rejected.shares).then_some(())
    });
}

/// Us, with everybody's authority, before these pools.
fn proxy(pools: &str) -> Proxy {
    let below = format!("[v2]\nauthority_key = \"{AUTHORITY_SECRET}\"\n");
    let proxy = Proxy::start(&lab(&format!("{pools}\n{below}")));
    proxy.wait_up("sri");
    proxy
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
