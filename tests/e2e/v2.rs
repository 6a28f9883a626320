//! The four pairings on real sockets: V1 and V2 miners on one port, a V1 or a V2 pool behind it, counted at both ends.

use crate::lab::*;
use sluice::sim::fleet::{Fleet, FleetConfig, FleetHandle, Protocol};
use sluice::sim::judge::Reason;
use sluice::sim::v2::pool::PoolHandleV2;
use sluice::sim::v2::{self, Extensions, KindV2, MinerConfigV2, PoolConfigV2};
use sluice::sim::{MinerConfig, PoolConfig, PoolStats};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The authority of the proxies in here, and what its miners are given.
const SECRET: &str = "0101010101010101010101010101010101010101010101010101010101010101";

const MINERS: usize = 12;
/// Shares before a new block, and after it.
const ENOUGH: u64 = 60;

/// Those of [`MIXED`], by what follows the dot; a proxy's channels are workers of their own.
const WORKERS: [&str; 7] = ["1", "2", "3", "4", "4_1", "4_2", "4_3"];

const V1: &[Protocol] = &[Protocol::V1];
const V2: &[Protocol] = &[
    Protocol::V2(KindV2::Standard),
    Protocol::V2(KindV2::Extended),
    Protocol::V2(KindV2::Proxy {
        extended: 2,
        standard: 2,
    }),
];
const MIXED: &[Protocol] = &[
    Protocol::V1,
    Protocol::V2(KindV2::Standard),
    Protocol::V2(KindV2::Extended),
    Protocol::V2(KindV2::Proxy {
        extended: 1,
        standard: 3,
    }),
];

#[test]
fn v2_miners_on_a_v1_pool_lose_nothing() {
    pairing("v2-on-v1", V2, &v1_pool());
}

#[test]
fn v1_miners_on_a_v2_pool_lose_nothing() {
    pairing("v1-on-v2", V1, &v2_pool());
}

#[test]
fn v2_miners_on_a_v2_pool_lose_nothing() {
    pairing("v2-on-v2", V2, &v2_pool());
}

#[test]
fn miners_of_both_kinds_share_one_port_and_one_link_to_a_v1_pool() {
    pairing("mixed-on-v1", MIXED, &v1_pool());
}

#[test]
fn miners_of_both_kinds_share_one_port_and_one_link_to_a_v2_pool() {
    pairing("mixed-on-v2", MIXED, &v2_pool());
}

#[test]
fn a_failover_from_a_v1_to_a_v2_pool_and_back_is_one_clean_job_for_everybody() {
    let (first, second) = (v1_pool(), v2_pool());
    let toml = [
        first.section("switch-v1", ""),
        second.section("switch-v2", "tier = 1"),
        authority(),
    ];
    let proxy = Proxy::start(&lab(&toml.concat()));
    proxy.wait_up("switch-v1");
    proxy.wait_up("switch-v2");
    let fleet = fleet(proxy.listeners[0], MIXED);
    mined_at(&first, ENOUGH);
    first.kill();
    mined_at(&second, ENOUGH);
    first.resume();
    let before = first.stats().accepted;
    mined_at(&first, before + ENOUGH);
    let stats = fleet.stats();
    assert_eq!(
        (stats.connects, stats.disconnects),
        (MINERS as u64, 0),
        "{stats:?}"
    );
    assert_eq!(stats.violations, BTreeMap::new());
    assert_eq!(refused(&fleet), [], "no share is refused");
}

/// Enough shares, a new block, enough shares; then everything that was sent is accounted for at both ends.
fn pairing(name: &str, kinds: &[Protocol], pool: &SimPool) {
    let proxy = Proxy::start(&lab(&[pool.section(name, ""), authority()].concat()));
    proxy.wait_up(name);
    let fleet = fleet(proxy.listeners[0], kinds);
    mined_at(pool, ENOUGH);
    pool.new_block();
    mined_at(pool, pool.stats().accepted + ENOUGH);
    // Whoever is told to finish hangs up.
    let gone = fleet.stats().disconnects;
    let stats = finish(&fleet);
    assert_eq!(stats.violations, BTreeMap::new(), "what miners noticed");
    assert_eq!(
        (stats.connects, gone, stats.unanswered),
        (MINERS as u64, 0, 0)
    );
    assert_eq!(
        stats.rejected_total(),
        stats.stale(),
        "only a race at the new block: {:?}",
        stats.rejected
    );
    let seen = eventually("all shares are settled", || {
        let seen = proxy.pool(name);
        (seen.accepted.shares == seen.submitted.shares).then_some(seen)
    });
    let there = pool.stats();
    assert_eq!(seen.accepted.shares, there.accepted);
    let stale = there.rejected.get(&Reason::Stale).copied().unwrap_or(0);
    assert_eq!(
        there.rejected.values().sum::<u64>(),
        stale,
        "{:?}",
        there.rejected
    );
}

#[test]
fn at_a_v2_pool_without_0x0002_every_worker_is_counted_on_a_channel_of_its_own() {
    workers_apart("apart-grouped", Extensions::Refused, true);
}

#[test]
fn and_so_it_is_at_one_that_is_silent_about_extensions_and_knows_no_groups() {
    workers_apart("apart-silent", Extensions::Silent, false);
}

/// A miner of each kind: the pool's count of each worker is that of its channel, but for what came before it was open.
fn workers_apart(name: &str, extensions: Extensions, groups: bool) {
    let sim = v2_pool_of(PoolConfigV2 {
        extensions,
        groups,
        ..easy_v2_pool()
    });
    let pool = format!(
        "[[pool]]\nname = \"{name}\"\nurl = \"{}\"\nuser = \"acct.{{worker}}\"\nshares_per_second = 100.0\n",
        sim.url()
    );
    let api = "[api]\nworker_metrics = true\nlisten = \"127.0.0.1:0\"\n";
    let toml = lab(&[pool, authority()].concat());
    let toml = toml.replace("[api]\nlisten = \"127.0.0.1:0\"\n", api);
    let proxy = Proxy::start(&toml);
    proxy.wait_up(name);
    let fleet = fleet_of(proxy.listeners[0], MIXED, MIXED.len());
    let users = || sim.stats().pool.users;
    let at_least = |shares: u64| {
        eventually("every worker mines on a channel of its own", || {
            let users = users();
            let count = |name| users.get(&format!("acct.{name}"));
            let enough = |name| count(name).is_some_and(|user| user.accepted >= shares);
            WORKERS.into_iter().all(enough).then_some(())
        });
    };
    at_least(3);
    let before_channels = users()["acct.sluice"].accepted;
    sim.new_block();
    at_least(8);
    let gone = fleet.stats().disconnects;
    let stats = finish(&fleet);
    assert_eq!(stats.violations, BTreeMap::new(), "what miners noticed");
    assert_eq!((gone, stats.unanswered), (0, 0));
    assert_eq!(
        stats.rejected_total(),
        stats.stale(),
        "{:?}",
        stats.rejected
    );
    eventually("all shares are settled", || {
        let seen = proxy.pool(name);
        (seen.accepted.shares == seen.submitted.shares).then_some(())
    });
    let (there, users) = (sim.stats(), users());
    let stale = there.pool.rejected.get(&Reason::Stale).copied();
    let refused = there.pool.rejected.values().sum::<u64>();
    assert_eq!(refused, stale.unwrap_or(0), "only a race at the new block");
    assert_eq!(there.extended_total, 1 + WORKERS.len() as u64);
    assert_eq!(users["acct.sluice"].accepted, before_channels);
    let metrics = proxy.get("/metrics/workers");
    let mut early = 0;
    for name in WORKERS {
        let series = format!(
            "sluice_worker_shares_total{{worker=\"sim.{name}\",side=\"pool\",result=\"accepted\"}} "
        );
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        let forwarded: u64 = line.expect(&series).parse().expect("a count");
        early += forwarded - users[&format!("acct.{name}")].accepted;
    }
    assert_eq!(early, before_channels, "the rest came under the account");
}

fn refused(fleet: &FleetHandle) -> Vec<(String, BTreeMap<i64, u64>)> {
    fleet
        .per_miner()
        .into_iter()
        .filter(|(_, _, stats)| stats.rejected_total() > 0)
        .map(|(name, _, stats)| (name, stats.rejected))
        .collect()
}

fn finish(fleet: &FleetHandle) -> sluice::sim::stats::MinerStats {
    RUNTIME.block_on(fleet.finish(Duration::from_secs(5)))
}

fn mined_at(pool: &SimPool, shares: u64) {
    eventually("shares arrive at the pool", || {
        (pool.stats().accepted >= shares).then_some(())
    });
}

fn authority() -> String {
    format!("[v2]\nauthority_key = \"{SECRET}\"\n")
}

fn fleet(to: SocketAddr, kinds: &[Protocol]) -> FleetHandle {
    fleet_of(to, kinds, MINERS)
}

fn fleet_of(to: SocketAddr, kinds: &[Protocol], miners: usize) -> FleetHandle {
    let _inside = RUNTIME.enter();
    Fleet::start(FleetConfig {
        protocols: kinds.to_vec(),
        each: MinerConfig {
            hashrate: 800.0,
            ..MinerConfig::default()
        },
        each_v2: MinerConfigV2 {
            hashrate: 800.0,
            ..MinerConfigV2::default()
        },
        cpu_share: 0.3,
        ..FleetConfig::new(to, miners)
    })
}

/// A simulated pool of either protocol.
enum SimPool {
    V1(sluice::sim::pool::PoolHandle),
    V2(v2::pool::PoolHandleV2),
}

fn v1_pool() -> SimPool {
    SimPool::V1(sim_pool(PoolConfig {
        seed: 11,
        ..easy_pool()
    }))
}

fn v2_pool() -> SimPool {
    SimPool::V2(v2_pool_of(easy_v2_pool()))
}

fn easy_v2_pool() -> PoolConfigV2 {
    PoolConfigV2 {
        seed: 12,
        difficulty: EASY,
        ..PoolConfigV2::default()
    }
}

fn v2_pool_of(config: PoolConfigV2) -> PoolHandleV2 {
    let _inside = RUNTIME.enter();
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    v2::pool::start(any, config).expect("loopback has a free port")
}

impl SimPool {
    fn section(&self, name: &str, more: &str) -> String {
        match self {
            Self::V1(sim) => pool(name, sim.address(), more),
            Self::V2(sim) => format!(
                "[[pool]]\nname = \"{name}\"\nurl = \"{}\"\nuser = \"acct\"\n{more}\n",
                sim.url()
            ),
        }
    }

    fn stats(&self) -> PoolStats {
        match self {
            Self::V1(sim) => sim.stats(),
            Self::V2(sim) => sim.stats().pool,
        }
    }

    fn new_block(&self) {
        match self {
            Self::V1(sim) => sim.new_block(),
            Self::V2(sim) => sim.new_block(),
        }
    }

    fn kill(&self) {
        match self {
            Self::V1(sim) => RUNTIME.block_on(sim.kill()),
            Self::V2(sim) => RUNTIME.block_on(sim.kill()),
        }
    }

    fn resume(&self) {
        let _inside = RUNTIME.enter();
        let resumed = match self {
            Self::V1(sim) => sim.resume(),
            Self::V2(sim) => sim.resume(),
        };
        resumed.expect("its port is still free");
    }
}
