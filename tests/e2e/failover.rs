//! Pools as processes of their own, killed and stopped: a fleet moves without noticing more than one clean job.

use crate::lab::*;
use crate::process::Process;
use serde_json::json;
use sluice::sim::fleet::{Fleet, FleetConfig, FleetHandle};
use sluice::sim::{MinerConfig, PoolConfig, Temperament};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// I10: after detection.
const MOVED_WITHIN: Duration = Duration::from_secs(5);
const MINERS: usize = 50;

/// A fleet of every firmware family at some 25 shares a second in all.
pub fn fleet(to: SocketAddr, miners: usize) -> FleetHandle {
    let _inside = RUNTIME.enter();
    Fleet::start(FleetConfig {
        temperaments: vec![
            Temperament::Cgminer,
            Temperament::Bitaxe,
            Temperament::Whatsminer,
            Temperament::Antminer,
        ],
        each: MinerConfig {
            hashrate: 130.0,
            ..MinerConfig::default()
        },
        cpu_share: 0.3,
        ..FleetConfig::new(to, miners)
    })
}

/// The seed sets the blocks and extranonces: two pools of one seed would give out the same search space.
fn sim(listen: &str, seed: &str) -> (Process, SocketAddr) {
    let easy = EASY.to_string();
    let args = [
        "sim",
        "pool",
        "--listen",
        listen,
        "--difficulty",
        &easy,
        "--seed",
        seed,
    ];
    let process = Process::start(&args);
    let line = process.says("simulated pool on");
    let address = line.rsplit('/').next().expect("an address");
    (process, address.trim().parse().expect("an address"))
}

fn two_pools(primary: SocketAddr, backup: SocketAddr, name: &str) -> String {
    let first = pool(&format!("{name}-first"), primary, "");
    let second = pool(&format!("{name}-backup"), backup, "tier = 1");
    lab(&format!("{first}{second}"))
}

/// Every miner of the API is at this pool.
fn all_at(proxy: &Proxy, name: &str, miners: usize) -> Option<()> {
    let list = proxy.miners();
    let there = list.iter().filter(|m| m.pool.as_deref() == Some(name));
    (list.len() == miners && there.count() == miners).then_some(())
}

fn unharmed(fleet: &FleetHandle) {
    let stats = fleet.stats();
    let refused = fleet
        .per_miner()
        .into_iter()
        .filter(|(_, _, s)| s.rejected_total() > 0);
    let refused: Vec<_> = refused.map(|(n, t, s)| (n, t, s.rejected)).collect();
    assert_eq!(refused, [], "no share is refused");
    assert_eq!(stats.connects, MINERS as u64, "{stats:?}");
    assert_eq!(
        (stats.disconnects, stats.violations_total()),
        (0, 0),
        "{stats:?}"
    );
}

/// Starts everything, lets `fail` happen to the active pool, and follows the fleet to the backup.
fn fails_over(
    name: &str,
    fail: impl FnOnce(&mut Process),
    detected_within: Duration,
) -> (Proxy, FleetHandle, Process, SocketAddr, Process) {
    let (mut first, first_address) = sim("127.0.0.1:0", "1");
    let (backup, backup_address) = sim("127.0.0.1:0", "2");
    let proxy = Proxy::start(&two_pools(first_address, backup_address, name));
    let (one, two) = (format!("{name}-first"), format!("{name}-backup"));
    proxy.wait_up(&two);
    let fleet = fleet(proxy.listeners[0], MINERS);
    let mut raw = proxy.mining("raw");
    eventually("everyone mines at the first pool", || {
        let stats = fleet.stats();
        let working = stats.mining == MINERS as u64 && stats.accepted > 50;
        working.then(|| all_at(&proxy, &one, MINERS + 1)).flatten()
    });
    let before: Vec<u64> = fleet.per_miner().iter().map(|(_, _, s)| s.jobs).collect();

    fail(&mut first);
    let begun = Instant::now();
    within(detected_within, "the failure is detected", || {
        logged(&["pool is down", &one]).pop()
    });
    let detected = Instant::now();
    raw.next_clean();
    within(MOVED_WITHIN, "every miner has work of the backup", || {
        let jobs = fleet.per_miner();
        let fresh = jobs
            .iter()
            .zip(&before)
            .all(|((_, _, s), old)| s.jobs > *old);
        fresh.then(|| all_at(&proxy, &two, MINERS + 1)).flatten()
    });
    println!(
        "{name}: detected after {:?}, moved {:?} later",
        detected - begun,
        detected.elapsed()
    );
    let so_far = proxy.pool(&two).accepted.shares;
    raw.share();
    eventually("the backup accepts shares", || {
        (proxy.pool(&two).accepted.shares > so_far + 20).then_some(())
    });
    unharmed(&fleet);
    (proxy, fleet, first, first_address, backup)
}

/// ... and home again, still on the same connections.
fn fails_back(proxy: &Proxy, fleet: &FleetHandle, name: &str) {
    let one = format!("{name}-first");
    within(
        Duration::from_secs(60),
        "everyone is back at the first pool",
        || all_at(proxy, &one, MINERS),
    );
    let so_far = proxy.pool(&one).accepted.shares;
    eventually("the first pool accepts shares again", || {
        (proxy.pool(&one).accepted.shares > so_far + 20).then_some(())
    });
    unharmed(fleet);
    assert!(proxy.summary().conserves);
    let stats = RUNTIME.block_on(fleet.finish(PATIENCE));
    assert_eq!(stats.violations_total(), 0, "{stats:?}");
    assert_eq!(
        stats.rejected_total(),
        stats.stale(),
        "nothing but stale: {stats:?}"
    );
}

#[test]
fn a_killed_pool_costs_the_fleet_one_clean_job_and_its_return_another() {
    let (proxy, fleet, first, address, _backup) =
        fails_over("kill", Process::kill, Duration::from_secs(2));
    drop(first);
    let (_again, _) = sim(&address.to_string(), "3");
    fails_back(&proxy, &fleet, "kill");
}

#[test]
fn a_stopped_pool_is_found_out_within_20_s_and_taken_back_when_it_goes_on() {
    let stop = |pool: &mut Process| pool.signal(rustix::process::Signal::STOP);
    let (proxy, fleet, first, _, _backup) = fails_over("stop", stop, Duration::from_secs(20));
    first.signal(rustix::process::Signal::CONT);
    fails_back(&proxy, &fleet, "stop");
}

#[test]
fn weights_split_the_fleet_and_are_kept_when_a_pool_returns() {
    let (big, small) = (
        sim_pool(easy_pool()),
        sim_pool(PoolConfig {
            seed: 2,
            ..easy_pool()
        }),
    );
    let sections = [
        pool("big", big.address(), "share = 3"),
        pool("small", small.address(), "share = 1"),
    ];
    let proxy = Proxy::start(&lab(&sections.concat()));
    proxy.wait_up("big");
    proxy.wait_up("small");
    let fleet = fleet(proxy.listeners[0], 40);
    let split = || {
        let list = proxy.miners();
        let at = |name: &str| {
            list.iter()
                .filter(|m| m.pool.as_deref() == Some(name))
                .count()
        };
        (at("big"), at("small"))
    };
    eventually("the fleet is split 3 to 1", || {
        let (big, small) = split();
        (big + small == 40 && (7..=13).contains(&small)).then_some(())
    });
    RUNTIME.block_on(small.kill());
    eventually("all are at the one that is left", || {
        (split() == (40, 0)).then_some(())
    });
    {
        let _inside = RUNTIME.enter();
        small.resume().expect("its port is still free");
    }
    within(Duration::from_secs(60), "the split is back", || {
        let (big, small) = split();
        (big + small == 40 && (5..=15).contains(&small)).then_some(())
    });
    let stats = RUNTIME.block_on(fleet.finish(PATIENCE));
    assert_eq!(
        (stats.disconnects, stats.violations_total()),
        (40, 0),
        "{stats:?}"
    );
    assert_eq!(json!(proxy.summary().conserves), json!(true));
}
