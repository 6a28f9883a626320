//! Stratum V1 on our side: alone, the two programs show what they do; with us above the translator, what we forward is
//! what the pool accepts.

use crate::lab::*;
use crate::peers::{Count, Pool, Translation, Translator};
use crate::provider::{HARD, Provider, SOFT};
use sluice::sim::MinerConfig;
use sluice::sim::fleet::{Fleet, FleetConfig, FleetHandle};
use std::net::SocketAddr;

const AGGREGATED: Translation = Translation {
    aggregated: true,
    extranonce2: 8,
};

#[test]
fn without_us_a_fleet_mines_at_the_pool_through_the_translator() {
    let provider = Provider::start(SOFT);
    let pool = Pool::start(&provider, 1);
    let translator = Translator::start(pool.address, AGGREGATED);
    let fleet = fleet(translator.address, 4);
    eventually("shares at the pool", || (pool.count().accepted >= 100).then_some(()));
    provider.new_block();
    eventually("a block of ours", || (pool.count().blocks >= 1).then_some(()));
    eventually("the block reaches the node", || provider.solutions().into_iter().next());
    fleet.set_hashrate(0.0);
    println!("{:?}\n{:?}", pool.count(), fleet.stats());
    let monitored = get(pool.monitoring, "/api/v1/clients/1/channels");
    println!("{monitored}");
    let _ = (HARD, Count::default());
}

/// Miners at some 4 shares a second each.
fn fleet(to: SocketAddr, miners: usize) -> FleetHandle {
    let _inside = RUNTIME.enter();
    Fleet::start(FleetConfig {
        each: MinerConfig {
            hashrate: 1024.0,
            ..MinerConfig::default()
        },
        ..FleetConfig::new(to, miners)
    })
}
