//! Our simulated V2 peers against real ones, without us between: what the simulation does is what the world does.
//!
//! Invariant: both ends count, and agree.

use crate::chain::{Far, MINERS, fleet, named_at_a_block, v2_fleet};
use crate::lab::*;
use crate::peers::{Pool, Translation, Translator};
use crate::provider::{HARD, Provider};
use sluice::sim::v2::{self, KindV2, PoolConfigV2};
use std::net::Ipv4Addr;

#[test]
fn simulated_v2_miners_of_every_kind_mine_at_the_pool() {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 1);
    let fleet = v2_fleet(pool.address, &KindV2::ALL);
    let far = Far::behind(&pool);
    far.mined_over_news(&provider);
    fleet.set_hashrate(0.0);
    let (miners, count) = eventually("the pool has answered every share", || {
        let (miners, count) = (fleet.stats(), pool.count());
        let answered = miners.accepted + miners.rejected_total();
        (miners.submitted == answered && answered == count.received()).then_some((miners, count))
    });
    assert_eq!(miners.accepted, count.accepted, "{miners:?}");
    named_at_a_block(&count.rejected);
    assert_eq!((miners.connects, miners.disconnects), (MINERS, 0));
    assert_eq!(miners.violations_total(), 0, "{miners:?}");
}

#[test]
fn a_translator_mines_at_the_simulated_v2_pool() {
    let sim = {
        let _inside = RUNTIME.enter();
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let config = PoolConfigV2 {
            difficulty: EASY,
            extranonce_size: 16,
            ..PoolConfigV2::default()
        };
        v2::pool::start(any, config).expect("loopback has a free port")
    };
    let translation = Translation {
        aggregated: true,
        extranonce2: 4,
        names_workers: true,
    };
    let translator = Translator::trusting(&sim.authority(), sim.address(), translation);
    let fleet = fleet(translator.address);
    let accepts = |more| {
        let before = sim.stats().pool.accepted;
        eventually("shares at the simulated pool", || {
            translator.program.alive();
            (sim.stats().pool.accepted >= before + more).then_some(())
        });
    };
    accepts(100);
    sim.new_job();
    accepts(100);
    sim.new_block();
    accepts(100);
    fleet.set_hashrate(0.0);
    let stats = eventually("every share sent is judged", || {
        let (sent, stats) = (translator.forwarded(), sim.stats());
        (sent == stats.pool.accepted + stats.pool.rejected_total()).then_some(stats)
    });
    // One channel; every miner by the part of its name behind the dot.
    assert_eq!((stats.pool.connections, stats.channels_total), (1, 1));
    let named: Vec<_> = stats.workers.keys().cloned().collect();
    let all: Vec<_> = (1..=MINERS).map(|n| n.to_string()).collect();
    assert_eq!(named, all, "{stats:?}");
    assert_eq!((stats.unknown, stats.malformed), (0, 0), "{stats:?}");
}
