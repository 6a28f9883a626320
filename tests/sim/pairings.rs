//! Worlds written by hand in which V1 and V2 meet: every pairing, moves between pools of both kinds, many channels.
//!
//! Invariant: what is claimed is what miners and pools saw; the books are closed in each.

use crate::clock::{MS, S};
use crate::conn::Wire;
use crate::plan::{Fault, Plan};
use crate::world::World;
use sluice::proxy::session::Close;
use sluice::sim::Temperament;
use sluice::sim::v2::KindV2;
use std::time::Duration;

const PROXY: KindV2 = KindV2::Proxy {
    extended: 2,
    standard: 2,
};

/// What a pool or a miner speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaks {
    V1,
    V2,
}
use Speaks::{V1, V2};

#[test]
fn every_pairing_of_miners_and_a_pool_mines_without_a_lost_share() {
    for (miners, pool) in [(V1, V1), (V1, V2), (V2, V1), (V2, V2)] {
        let mut plan = Plan::quiet(11);
        add_pool(&mut plan, pool, 0, 1.0);
        add_miners(&mut plan, miners);
        let world = ended(plan);
        let accepted = world.pools[0].core.stats().accepted;
        assert!(
            accepted > 50 && world.books.accepted > 200,
            "{miners:?} and {pool:?}: {accepted}"
        );
        let lost = world.links[0].machine.settled().unknown.shares;
        assert_eq!(lost, 0, "{miners:?} and {pool:?}");
    }
}

#[test]
fn a_failover_between_v1_and_v2_pools_and_the_way_back_cost_one_clean_job_each() {
    for (first, second) in [(V1, V2), (V2, V1), (V2, V2)] {
        let mut plan = Plan::quiet(12);
        plan.failback = Duration::from_secs(20);
        for (tier, pool) in [(0, first), (1, second)] {
            let pool = add_pool(&mut plan, pool, tier, 1.0);
            quiet(&mut plan, pool);
        }
        for miners in [V1, V2] {
            add_miners(&mut plan, miners);
        }
        plan.faults.push((60 * S, Fault::PoolDies(0, 30 * S)));
        let mut world = World::new(plan);
        world.run_until(59 * S);
        let before = world.books.cleans.clone();
        world.run_until(80 * S);
        for (miner, clean) in &world.books.cleans {
            let cost = clean - before[miner];
            assert_eq!(cost, 1, "{first:?} to {second:?}: {miner:?}");
        }
        world.run_until(170 * S);
        assert!(world.books.moves["failback"] > 0, "{:?}", world.books.moves);
        for (miner, clean) in &world.books.cleans {
            let cost = clean - before[miner];
            assert_eq!(cost, 2, "{second:?} back to {first:?}: {miner:?}");
        }
        world.end();
        healthy(world);
    }
}

#[test]
fn weights_of_three_to_one_between_a_v1_and_a_v2_pool_are_kept_within_three_percent() {
    for (heavy, light) in [(V1, V2), (V2, V1)] {
        let mut plan = Plan::quiet(13);
        plan.watched = false;
        plan.length = 1100 * S;
        plan.vardiff.shares_per_minute = 20.0;
        for (share, pool) in [(3.0, heavy), (1.0, light)] {
            add_pool(&mut plan, pool, 0, share);
        }
        for at in 0..24u32 {
            let rate = 18.0 + f64::from(at % 7);
            plan.miner(Temperament::ALL[at as usize % 6], rate);
            let kind = [KindV2::Standard, KindV2::Extended][at as usize % 2];
            plan.miner_v2(kind, rate);
        }
        plan.miner_v2(PROXY, 80.0);
        let mut world = World::new(plan);
        world.run_until(300 * S);
        let before = world.books.by_link.clone();
        world.run_until(1100 * S);
        let after = world.books.by_link.iter().zip(&before);
        let work: Vec<f64> = after.map(|(a, b)| (a.1 - b.1) as f64).collect();
        let part = work[0] / (work[0] + work[1]);
        println!("{heavy:?} to {light:?}: {part:.4}");
        assert!((part - 0.75).abs() < 0.03, "{work:?}");
        world.end();
        healthy(world);
    }
}

/// Each is a session of its own, and none can tell what happens to another.
#[test]
fn of_sixty_four_channels_one_is_closed_and_sixty_three_go_on() {
    for by_us in [false, true] {
        let mut plan = Plan::quiet(14);
        for (tier, pool) in [(0, V2), (0, V1)] {
            add_pool(&mut plan, pool, tier, 1.0);
        }
        let (extended, standard) = (32, 32);
        plan.miner_v2(KindV2::Proxy { extended, standard }, 320.0);
        let mut world = World::new(plan);
        world.run_until(60 * S);
        let conn = world.miners[0].conn.expect("it mines");
        assert_eq!(held(&world, conn), 64);
        if by_us {
            let id = world.conns[conn].as_deref().expect("it lives").held[17].id;
            let told = world.conns[conn].as_deref_mut().and_then(|c| c.held(id));
            let told = told.expect("it is seated");
            (told.order_close, told.order_news) = (Some(Close::Draining), true);
            world.wake_session(conn);
        } else {
            world.miners[0].core.close_channel();
            world.run_miner(0);
        }
        world.run_until(62 * S);
        assert_eq!(held(&world, conn), 63);
        let shares = world.books.accepted;
        world.run_until(120 * S);
        assert!(world.books.accepted > shares + 100, "the others mine on");
        assert_eq!(held(&world, conn), 63);
        let stats = world.miners[0].core.stats();
        assert_eq!((stats.connects, stats.disconnects), (1, 0));
        world.end();
        if by_us {
            world.books.channels_closed = true;
        }
        healthy(world);
    }
}

/// The pool names an earlier time than the work on which a channel came to it: what follows may not begin there twice.
#[test]
fn a_channel_that_opens_on_renewed_work_is_never_told_a_time_twice() {
    for kind in [KindV2::Standard, KindV2::Extended] {
        let mut plan = Plan::quiet(15);
        plan.refresh = Duration::from_secs(2);
        plan.vardiff.shares_per_minute = 60.0;
        let pool = add_pool(&mut plan, V1, 0, 1.0);
        quiet(&mut plan, pool);
        plan.pools[0].config.job_every = Some(Duration::from_millis(20_500));
        let miner = plan.miner_v2(kind, 60.0);
        miner.joins = 19 * S;
        if let Some(config) = &mut miner.v2 {
            config.manners.rolls_ntime = true;
        }
        ended(plan);
    }
}

fn held(world: &World, conn: usize) -> usize {
    let conn = world.conns[conn].as_deref().expect("it is not in its turn");
    let Wire::V2 { session, .. } = &conn.wire else {
        panic!("a V2 connection");
    };
    assert_eq!(session.sessions().count(), conn.held.len());
    conn.held.len()
}

fn add_pool(plan: &mut Plan, speaks: Speaks, tier: u8, share: f64) -> usize {
    match speaks {
        V1 => plan.pool(tier, share, 400.0),
        V2 => plan.pool_v2(tier, share, 400.0),
    };
    plan.pools.len() - 1
}

/// No news of its own but at the start.
fn quiet(plan: &mut Plan, pool: usize) {
    let pool = &mut plan.pools[pool];
    (pool.config.block_every, pool.config.job_every) = (None, None);
    if let Some(config) = &mut pool.v2 {
        (config.block_every, config.job_every) = (None, None);
    }
}

fn add_miners(plan: &mut Plan, speak: Speaks) {
    for at in 0..6usize {
        match speak {
            V1 => plan.miner(Temperament::ALL[at], 40.0),
            V2 => plan.miner_v2([KindV2::Standard, KindV2::Extended, PROXY][at % 3], 40.0),
        }
        .joins = at as u64 * 700 * MS;
    }
}

fn ended(plan: Plan) -> World {
    let mut world = World::new(plan);
    world.run();
    healthy(world)
}

fn healthy(mut world: World) -> World {
    world.close_books();
    let failures = &world.books.failures;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    world
}
