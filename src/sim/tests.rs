//! The pool and the fleet against each other: the cores in memory, the drivers over loopback.

use super::{
    MinerConfig, PoolConfig, SimMiner, SimPool, Temperament,
    fleet::{Fleet, FleetConfig, FleetHandle},
    judge::Reason,
    pool::{Pool, PoolHandle},
    poolconfig::{Configure, Script, Segments, Subscribe},
    poolcore::PoolOutput,
    template::Template,
    watch::Violation,
    wire::{Cutter, request},
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_secs(20);
/// 2^-24: 256 hashes a share.
const EASY: f64 = 1.0 / 16_777_216.0;

#[test]
fn every_temperament_mines_on_the_core_without_a_violation() {
    for temperament in Temperament::ALL {
        for segments in [Segments::PerLine, Segments::Together, Segments::Torn] {
            let mut pair = Pair::new(temperament, PoolConfig { segments, ..easy() });
            pair.shares(20);
            pair.pool.new_block(pair.now);
            pair.pool.set_difficulty(pair.now, 2.0 * EASY);
            pair.shares(20);
            let (miner, pool) = (pair.miner.stats(), pair.pool.stats());
            assert_eq!(miner.violations_total(), 0, "{temperament:?} {miner:?}");
            assert_eq!((miner.accepted, pool.accepted), (40, 40), "{temperament:?}");
            assert_eq!(miner.accepted_hashes, pool.accepted_hashes);
            assert_eq!(pool.accepted_hashes, 20 * 256 + 20 * 512);
        }
    }
}

#[test]
fn the_pool_refuses_a_duplicate_a_stale_a_low_and_a_foreign_share() {
    let mut pair = Pair::new(Temperament::Cgminer, easy());
    pair.shares(1);
    let line = pair.pool.stats().last_submits.back().unwrap().clone();
    pair.pool.handle_line(pair.now, 1, line.as_bytes());
    let mut other: Value = serde_json::from_str(&line).unwrap();
    other["params"][0] = json!("nobody");
    pair.pool
        .handle_line(pair.now, 1, other.to_string().as_bytes());
    other = serde_json::from_str(&line).unwrap();
    other["params"][2] = json!("00");
    pair.pool
        .handle_line(pair.now, 1, other.to_string().as_bytes());
    pair.pool.set_difficulty(pair.now, 1e6);
    let job = pair.pool.stats().jobs_made + 0x5100;
    other = serde_json::from_str(&line).unwrap();
    other["params"][1] = json!(format!("{job:x}"));
    pair.pool
        .handle_line(pair.now, 1, other.to_string().as_bytes());
    pair.pool.new_block(pair.now);
    pair.pool.handle_line(pair.now, 1, line.as_bytes());
    let stats = pair.pool.stats();
    for reason in [
        Reason::Duplicate,
        Reason::Unauthorized,
        Reason::Extranonce2,
        Reason::LowDifficulty,
        Reason::Stale,
    ] {
        assert_eq!(stats.rejected_for(reason), 1, "{reason:?} {stats:?}");
    }
    assert_eq!(stats.received, stats.accepted + stats.rejected_total());
}

#[test]
fn a_frozen_pool_is_seen_as_silent_and_given_up_by_those_who_notice() {
    for (temperament, gives_up) in [(Temperament::Cgminer, true), (Temperament::Bitaxe, false)] {
        let mut pair = Pair::new(temperament, easy());
        pair.shares(1);
        pair.pool.set_frozen(true);
        pair.miner.find_share(pair.now);
        pair.turn();
        pair.now += Duration::from_secs(100);
        pair.miner.handle_timeout(pair.now);
        let seen: Vec<_> = pair.miner.stats().violations.keys().copied().collect();
        assert_eq!(seen, [Violation::ReplyMissing, Violation::Silence]);
        assert_eq!(pair.miner.poll_hang_up().is_some(), gives_up);
        assert_eq!(pair.pool.stats().ignored, 1);
    }
}

#[test]
fn a_block_candidate_is_counted_and_a_scripted_job_is_served_as_given() {
    let notify = Template::new(9, 0x207f_ffff, 12).job(7, 1_700_000_000, true);
    let script = Script {
        notify: notify.to_params(),
        extranonce1: vec![0xab; 4],
        extranonce2_size: 8,
        difficulty: EASY,
    };
    let mut pair = Pair::new(
        Temperament::Antminer,
        PoolConfig {
            script: Some(script),
            ..easy()
        },
    );
    pair.shares(3);
    assert_eq!(pair.pool.stats().blocks, 3);
    let line = pair.pool.stats().last_submits.back().unwrap().clone();
    assert!(line.contains(r#""7""#), "{line}");
}

#[test]
fn refused_and_odd_logins_end_the_connection_and_missing_version_rolling_does_not() {
    let refusing = PoolConfig {
        refuses_workers: Some("sim".into()),
        ..easy()
    };
    let odd = PoolConfig {
        subscribe: Subscribe::NotAnArray,
        ..easy()
    };
    for config in [refusing, odd] {
        let mut pair = Pair::new(Temperament::Cgminer, config);
        assert!(pair.miner.poll_hang_up().is_some());
        assert_eq!(
            pair.miner.stats().violations.get(&Violation::LoginRefused),
            Some(&1)
        );
    }
    for configure in [Configure::Refuse, Configure::Unknown] {
        let mut pair = Pair::new(
            Temperament::Whatsminer,
            PoolConfig {
                configure,
                ..easy()
            },
        );
        pair.shares(2);
        assert_eq!(pair.pool.stats().accepted, 2);
    }
}

#[test]
fn extranonce_and_mask_changed_midway_are_followed_and_the_first_is_a_violation() {
    let mut pair = Pair::new(Temperament::Cgminer, easy());
    pair.shares(5);
    pair.pool.set_version_mask(pair.now, 0x00ff_e000);
    pair.turn();
    pair.shares(5);
    pair.pool.set_extranonce(pair.now, 4);
    pair.turn();
    pair.shares(5);
    assert_eq!(pair.pool.stats().accepted, 15);
    let broken = &pair.miner.stats().violations;
    assert_eq!(broken.get(&Violation::SetExtranonce), Some(&1));
    assert_eq!(broken.len(), 1);
}

#[test]
fn refusals_on_purpose_are_counted_on_both_sides() {
    let mut pair = Pair::new(
        Temperament::Cgminer,
        PoolConfig {
            reject_ratio: 1.0,
            ..easy()
        },
    );
    pair.shares(4);
    assert_eq!(pair.pool.stats().rejected_for(Reason::OnPurpose), 4);
    assert_eq!(pair.miner.stats().rejected.get(&20), Some(&4));
}

#[tokio::test]
async fn a_mixed_fleet_mines_over_loopback_without_loss_or_violation() {
    let (pool, fleet) = start(12);
    fleet
        .wait_for(SOON, |s| s.mining == 12 && s.accepted >= 30)
        .await
        .unwrap();
    pool.new_block();
    fleet.wait_for(SOON, |s| s.accepted >= 60).await.unwrap();
    let stats = fleet.finish(SOON).await;
    assert_eq!(stats.violations_total(), 0, "{stats:?}");
    assert_eq!(stats.unanswered, 0);
    let seen = pool.wait_for(SOON, |s| s.connections == 0).await.unwrap();
    assert_eq!(seen.accepted, stats.accepted);
    assert_eq!(seen.accepted_hashes, stats.accepted_hashes);
    // NerdMiner's early submits are refused as they must be; a block change may overtake a share on its way.
    let fair = [Reason::Unauthorized, Reason::Stale];
    assert!(seen.rejected.keys().all(|r| fair.contains(r)), "{seen:?}");
    assert_eq!(stats.early_refused, 2);
}

#[tokio::test]
async fn a_killed_pool_is_seen_and_found_again_when_it_resumes() {
    let (pool, fleet) = start(3);
    fleet
        .wait_for(SOON, |s| s.mining == 3 && s.accepted >= 3)
        .await
        .unwrap();
    pool.kill().await;
    let dead = fleet.wait_for(SOON, |s| s.connect_failures >= 1).await;
    assert_eq!(dead.unwrap().violations.get(&Violation::HungUp), Some(&3));
    assert_eq!(pool.stats().connections, 0);
    pool.resume().unwrap();
    fleet.wait_for(SOON, |s| s.mining == 3).await.unwrap();
    fleet.drop_all();
    let back = fleet
        .wait_for(SOON, |s| s.connects >= 9 && s.mining == 3)
        .await
        .unwrap();
    assert_eq!(back.violations.get(&Violation::HungUp), Some(&3));
}

#[tokio::test]
async fn a_paused_fleet_stays_connected_and_finds_nothing() {
    let (pool, fleet) = start(2);
    fleet.wait_for(SOON, |s| s.accepted >= 2).await.unwrap();
    fleet.set_hashrate(0.0);
    let settled = fleet
        .wait_for(SOON, |s| s.submitted == s.accepted + s.rejected_total())
        .await
        .unwrap();
    let jobs = settled.jobs;
    pool.new_job();
    let later = fleet.wait_for(SOON, |s| s.jobs >= jobs + 2).await.unwrap();
    assert_eq!(later.submitted, settled.submitted);
    assert_eq!(later.mining, 2);
}

#[tokio::test]
async fn the_pool_speaks_inside_tls_too() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key.try_into().unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listen = ([127, 0, 0, 1], 0).into();
    let pool = Pool::start(listen, easy(), Some(Arc::new(server))).unwrap();
    let plain = tokio::net::TcpStream::connect(pool.address())
        .await
        .unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut stream = connector.connect(name, plain).await.unwrap();
    let line = format!("{}\n", request(1, "mining.subscribe", &json!([])));
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut reply = String::new();
    let mut reader = tokio::io::BufReader::new(stream);
    reader.read_line(&mut reply).await.unwrap();
    assert!(reply.contains("mining.notify"), "{reply}");
}

fn easy() -> PoolConfig {
    PoolConfig {
        difficulty: EASY,
        ..PoolConfig::default()
    }
}

/// Shares of 4096 hashes, about ten a second from each miner.
fn start(miners: usize) -> (PoolHandle, FleetHandle) {
    let config = PoolConfig {
        difficulty: 16.0 * EASY,
        ..PoolConfig::default()
    };
    let pool = Pool::start(([127, 0, 0, 1], 0).into(), config, None).unwrap();
    let mut fleet = FleetConfig::new(pool.address(), miners);
    fleet.temperaments = Temperament::ALL.to_vec();
    fleet.each.hashrate = 40_000.0;
    fleet.each.powers_of_two = true;
    fleet.spread_sources = true;
    fleet.reconnect_after = Duration::from_millis(20);
    (pool, Fleet::start(fleet))
}

/// One miner and one pool in memory, in the time of the test.
struct Pair {
    now: Instant,
    miner: SimMiner,
    pool: SimPool,
    cutter: Cutter,
}

impl Pair {
    fn new(temperament: Temperament, config: PoolConfig) -> Self {
        let now = Instant::now();
        let mut pair = Self {
            now,
            pool: SimPool::new(config, now),
            miner: SimMiner::new(MinerConfig {
                temperament,
                powers_of_two: true,
                ..MinerConfig::default()
            }),
            cutter: Cutter::default(),
        };
        pair.pool.connected(1);
        pair.miner.connected(now);
        pair.turn();
        pair
    }

    fn shares(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
            self.now = self.miner.next_share_at().expect("it mines");
            self.miner.find_share(self.now);
            self.turn();
        }
    }

    /// Carries lines to and fro until both are quiet.
    fn turn(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(line) = self.miner.poll_line() {
                quiet = false;
                self.pool.handle_line(self.now, 1, line.as_bytes());
            }
            while let Some(output) = self.pool.poll_output() {
                quiet = false;
                if let PoolOutput::Write(_, bytes) = output {
                    let take = |line: &[u8]| self.miner.handle_line(self.now, line);
                    assert!(self.cutter.push(&bytes, take));
                }
            }
            if quiet {
                return;
            }
        }
    }
}
