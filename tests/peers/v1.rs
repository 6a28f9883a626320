//! Stratum V1 on our side: alone, the two programs show what they do; with us above the translator, what we forward is
//! what the pool accepts.

use crate::chain::{Far, MINERS, fleet, named_at_a_block};
use crate::lab::*;
use crate::peers::{Pool, Translation, Translator};
use crate::provider::{HARD, Provider, SOFT};
use serde_json::Value;
use sluice::sim::watch::Violation;

/// One channel for all miners.
const ONE: Translation = Translation {
    aggregated: true,
    extranonce2: 8,
    names_workers: false,
};
/// A channel for each.
const EACH: Translation = Translation {
    aggregated: false,
    extranonce2: 4,
    names_workers: false,
};

#[test]
fn without_us_all_miners_mine_at_the_pool_on_one_channel() {
    without_us(ONE);
}

#[test]
fn without_us_every_miner_mines_at_the_pool_on_a_channel_of_its_own() {
    without_us(EACH);
}

/// What the harness is worth: the programs work together, blocks reach the node, and both ways to count agree.
fn without_us(translation: Translation) {
    let provider = Provider::start(SOFT);
    let pool = Pool::start(&provider, 1);
    let translator = Translator::start(pool.address, translation);
    let fleet = fleet(translator.address);
    let far = Far::of(&pool, &translator);
    far.mined_over_news(&provider);
    eventually("the pool finds a block", || {
        (pool.count().blocks >= 1).then_some(())
    });
    fleet.set_hashrate(0.0);
    let (miners, count) = far.settled(|| {
        let stats = fleet.stats();
        let taken = stats.accepted;
        (stats, taken)
    });
    named_at_a_block(&count.rejected);
    eventually("every block reaches the node", || {
        (provider.solutions().len() as u64 == pool.count().blocks).then_some(())
    });
    eventually("the pool's own monitoring agrees", || {
        (monitored(&pool) == pool.count().accepted).then_some(())
    });
    // Besides what was asked, it tells of `minimum-difficulty`: old firmware is known to stumble over that.
    assert_eq!(
        miners.violations,
        [(Violation::ConfigureExtraKeys, MINERS)].into()
    );
}

#[test]
fn what_we_forward_through_the_translator_is_what_the_pool_accepts() {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 10);
    let translator = Translator::start(pool.address, ONE);
    let proxy = Proxy::start(&lab(&crate::lab::pool("sri", translator.address, "")));
    proxy.wait_up("sri");
    let fleet = fleet(proxy.listeners[0]);
    let far = Far::of(&pool, &translator);
    far.mined_over_news(&provider);
    fleet.set_hashrate(0.0);
    // What the translator took from us went on to the pool, but for what the block overtook on the way.
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
    assert_eq!(fleet.stats().violations_total(), 0, "{:?}", fleet.stats());
}

/// The accepted shares of every channel that is open, as the pool's monitoring has them.
fn monitored(pool: &Pool) -> u64 {
    let channels = get(pool.monitoring, "/api/v1/clients/1/channels");
    let channels: Value = serde_json::from_str(&channels).expect("JSON");
    let lists = ["extended_channels", "standard_channels"].map(|kind| channels[kind].as_array());
    let all = lists.into_iter().flatten().flatten();
    all.map(|channel| channel["shares_accepted"].as_u64().expect("a count"))
        .sum()
}
