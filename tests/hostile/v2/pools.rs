//! A V2 pool that lies, lags or talks nonsense, with an honest V1 pool behind it: whatever it does, miners of both kinds
//! mine on, on the connections they have.

use super::client::{Client, Verdict as V2};
use crate::child::Proxy;
use crate::house::{AUTHORITY, EASY, House, Plan, Upstream, eventually};
use crate::miner::{Miner, Verdict as V1};
use sluice::sim::v2::message::{ExtendedJob, Message};
use sluice::sim::v2::pool::PoolHandleV2;
use sluice::sim::v2::{Lie, PoolConfigV2, SimPoolV2, pool};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};

/// How long miners may be without a job that counts.
const PATIENCE: Duration = Duration::from_secs(20);
/// What ten thousand jobs of a kilobyte would be, and what an allocator keeps of a burst besides.
const MOST_KIB: u64 = 8 * 1024;

/// All pools of this file live on one thread, for as long as the process.
static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

fn v2_pool(seed: u64, lies: Vec<Lie>) -> PoolHandleV2 {
    let _inside = RUNTIME.enter();
    let config = PoolConfigV2 {
        seed,
        difficulty: EASY,
        lies,
        ..PoolConfigV2::default()
    };
    pool::start(SocketAddr::from(([127, 0, 0, 1], 0)), config).expect("a port")
}

fn plan(hostile: &PoolHandleV2) -> Plan {
    let section = format!(
        "[[pool]]\nname = \"hostile\"\nurl = \"{}\"\nuser = \"lab\"\n",
        hostile.url()
    );
    Plan {
        pool_difficulty: EASY,
        limits: "submits_per_second = 1000\nsubmit_burst = 1000",
        more: [AUTHORITY, &section].concat(),
        tier: 1,
        ..Plan::default()
    }
}

/// A house whose miners are on the hostile pool, if it lets them.
struct Scene {
    house: House,
    hostile: PoolHandleV2,
    v2: Client,
}

impl Scene {
    fn open(seed: u64, lies: Vec<Lie>) -> Self {
        let hostile = v2_pool(seed, lies);
        let house = House::open(&plan(&hostile));
        let v2 = Client::login(house.address, "v2.honest", 2);
        Self { house, hostile, v2 }
    }

    /// Until the hostile pool is the one they mine for.
    fn move_in(&mut self) {
        let started = Instant::now();
        while self.hostile.stats().pool.accepted == 0 {
            self.all_mine("before");
            assert!(started.elapsed() < PATIENCE, "nobody mines for it");
        }
    }

    fn mined(&self) -> u64 {
        self.hostile.stats().pool.accepted + self.house.upstream.pool.stats().accepted
    }

    /// Both miners have shares accepted, here and, once the link has changed if it must, at a pool.
    fn all_mine(&mut self, what: &str) {
        let before = self.mined();
        let ids: Vec<u32> = self.v2.channels.keys().copied().collect();
        let started = Instant::now();
        loop {
            mine_v1(&mut self.house.honest, what);
            for id in &ids {
                mine_v2(&mut self.v2, *id, what);
            }
            if self.mined() > before {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: no pool has a share");
        }
        assert_eq!(self.v2.live().count(), ids.len(), "{what}");
    }

    /// The proxy has ended its connection to the hostile pool, which had so many until then.
    fn is_left(&self, connections: u64) -> bool {
        let seen = self.hostile.stats().pool;
        seen.connections_total > connections || seen.connections == 0
    }

    fn close(self) {
        drop(self.v2);
        self.house.close();
        RUNTIME.block_on(self.hostile.stop());
    }
}

fn mine_v1(miner: &mut Miner, what: &str) {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let share = miner.fresh();
        match miner.submit(&share) {
            V1::Accepted => return,
            V1::Code(21 | 23) => {}
            other @ V1::Code(_) => panic!("{what}: {other:?}"),
        }
    }
    panic!("{what}: no work for the V1 miner");
}

fn mine_v2(client: &mut Client, id: u32, what: &str) {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let share = client.fresh(id);
        match client.submit(&share) {
            V2::Accepted => return,
            V2::Refused(code) => assert!(
                ["stale-share", "invalid-job-id", "difficulty-too-low"].contains(&code.as_str()),
                "{what}: {code}"
            ),
        }
    }
    panic!("{what}: no work for the V2 miner");
}

type Act = fn(&mut SimPoolV2, Instant);

/// What the pool does once miners are on it, and whether its connection is ended for it.
const ROWS: [(&str, bool, Act); 17] = [
    ("a frame that is garbage", false, |pool, now| {
        pool.push_garbage(now);
    }),
    ("a header of 16 MiB", true, |pool, now| {
        pool.push_endless(now);
    }),
    ("messages nobody knows", false, |pool, now| {
        pool.push_unknown(now);
    }),
    ("all channels closed", true, |pool, now| {
        pool.close_channels(now, "\r\n<b>");
    }),
    ("a new prefix", false, |pool, now| {
        pool.set_prefixes(now);
    }),
    ("a new group", false, |pool, now| {
        pool.regroup(now);
    }),
    ("sent nowhere", false, |pool, now| {
        pool.reconnect(now, "192.0.2.1", 1);
    }),
    ("sent to nonsense", false, |pool, now| {
        pool.reconnect(now, "\r\n\0 ::1]", 0);
    }),
    ("success of shares never sent", false, |pool, now| {
        pool.push_each(now, |channel| {
            let (last, count, sum) = (4_000_000, 1_000_000, u64::MAX);
            Message::SubmitSuccess {
                channel,
                last,
                count,
                sum,
            }
            .bytes()
        });
    }),
    (
        "errors twice and of shares never sent",
        false,
        |pool, now| {
            for sequence in [0, 1, 1, u32::MAX] {
                pool.push_each(now, |channel| {
                    let code = "<script>".into();
                    Message::SubmitError {
                        channel,
                        sequence,
                        code,
                    }
                    .bytes()
                });
            }
        },
    ),
    ("a target of nothing", false, |pool, now| {
        pool.push_each(now, |channel| {
            let target = [0; 32];
            Message::SetTarget { channel, target }.bytes()
        });
        pool.new_job(now);
    }),
    ("a prefix of 32 bytes", false, |pool, now| {
        pool.push_each(now, |channel| {
            let prefix = vec![7; 32];
            Message::SetPrefix { channel, prefix }.bytes()
        });
    }),
    ("a prefix of 255 bytes", false, |pool, now| {
        pool.push_each(now, |channel| {
            let prefix = vec![7; 255];
            Message::SetPrefix { channel, prefix }.bytes()
        });
    }),
    ("no prefix", false, |pool, now| {
        pool.push_each(now, |channel| {
            let prefix = Vec::new();
            Message::SetPrefix { channel, prefix }.bytes()
        });
    }),
    ("a prev-hash of a job that never was", false, |pool, now| {
        pool.push_each(now, |channel| {
            Message::SetPrevHash {
                channel,
                job: 0xdead,
                prev_hash: [9; 32],
                min_ntime: 1,
                nbits: 0xffff_ffff,
            }
            .bytes()
        });
    }),
    ("jobs that cannot be", true, |pool, now| {
        for (prefix, suffix, path) in [(60_000, 60_000, 32), (1, 1, 255), (40_000, 0, 0)] {
            pool.push_each(now, |channel| job(channel, Some(1), prefix, suffix, path));
        }
    }),
    ("a thousand future jobs", false, |pool, now| {
        for _ in 0..1_000 {
            pool.push_each(now, |channel| job(channel, None, 64, 64, 2));
        }
    }),
];

fn job(channel: u32, min_ntime: Option<u32>, prefix: usize, suffix: usize, path: usize) -> Vec<u8> {
    Message::NewExtendedJob(ExtendedJob {
        channel,
        job: 0xbad,
        min_ntime,
        version: 0x2000_0000,
        rolling: true,
        path: vec![[5; 32]; path],
        coinbase_prefix: vec![1; prefix],
        coinbase_suffix: vec![2; suffix],
    })
    .bytes()
}

#[test]
fn whatever_a_v2_pool_does_its_miners_mine_on_where_they_are_connected() {
    for (seed, (what, leaves, act)) in (100..).zip(ROWS) {
        let mut scene = Scene::open(seed, Vec::new());
        scene.move_in();
        let jobs = scene.house.honest.notifies;
        let connections = scene.hostile.stats().pool.connections_total;
        scene.hostile.with(act);
        scene.hostile.new_block();
        // A clean job, of this pool or of the next: until then nothing has reached the miners, or nothing was to.
        while scene.house.honest.notifies == jobs {
            scene.all_mine(what);
        }
        for _ in 0..5 {
            scene.all_mine(what);
        }
        // The pool hears of the end of its connection last.
        eventually(what, || scene.is_left(connections) == leaves);
        // One for the block, and one if the pool changes besides.
        let jobs = scene.house.honest.notifies - jobs;
        assert!(jobs <= 2, "{what}: {jobs} jobs");
        scene.close();
    }
}

#[test]
fn whatever_a_v2_pool_lies_about_its_miners_mine_on_where_they_are_connected() {
    for (seed, lie) in (200..).zip(Lie::ALL) {
        let what = format!("{lie:?}");
        let mut scene = Scene::open(seed, vec![lie]);
        scene.all_mine(&what);
        scene.hostile.new_job();
        scene.hostile.new_block();
        scene.all_mine(&what);
        scene.hostile.new_block();
        scene.all_mine(&what);
        scene.close();
    }
}

#[test]
fn a_reconnect_to_a_pool_of_another_key_gives_it_nothing() {
    let other = v2_pool(301, Vec::new());
    let mut scene = Scene::open(300, Vec::new());
    scene.move_in();
    let port = other.address().port();
    scene
        .hostile
        .with(|pool, now| pool.reconnect(now, "127.0.0.1", port));
    for _ in 0..5 {
        scene.all_mine("sent to somebody else");
    }
    assert_eq!(other.stats().pool.received, 0);
    assert_eq!(other.stats().channels_total, 0);
    scene.close();
    RUNTIME.block_on(other.stop());
}

#[test]
fn ten_thousand_future_jobs_cost_a_bounded_memory() {
    let hostile = v2_pool(400, Vec::new());
    let upstream = Upstream::start(EASY);
    let config = plan(&hostile).config(upstream.pool.address(), "warn");
    let mut proxy = Proxy::start(&config, None);
    let mut honest = Miner::login(proxy.address, "honest.one");
    eventually("the link is up", || hostile.stats().channels > 0);
    mine_v1(&mut honest, "before");
    let before = proxy.resident_kib();
    for _ in 0..100 {
        hostile.with(|pool, now| {
            for _ in 0..100 {
                pool.push_each(now, |channel| job(channel, None, 4_000, 4_000, 12));
            }
        });
        mine_v1(&mut honest, "in the flood");
    }
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < MOST_KIB, "grew by {grown} KiB");
    drop(honest);
    proxy.end();
    upstream.stop();
    RUNTIME.block_on(hostile.stop());
}
