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
        aggregated: false,
        extranonce2: 4,
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
    let (sent, counted) = eventually("every share sent is judged", || {
        let (sent, stats) = (translator.forwarded(), sim.stats().pool);
        (sent == stats.accepted + stats.rejected_total()).then_some((sent, stats))
    });
    assert!(sent >= 300);
    println!("{counted:?}");
    assert_eq!(sim.stats().channels, MINERS);
}
