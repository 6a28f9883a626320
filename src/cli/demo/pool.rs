//! A pool of the demo, of either protocol, and which protocols the demo speaks.
//!
//! What a pool does is decided in `sim`. Invariant: both kinds have the same blocks, jobs and difficulties, so that their
//! accounts can be read side by side.

use crate::{
    cli::exit,
    sim::{
        PoolConfig, PoolStats,
        fleet::Protocol,
        pool::{Pool, PoolHandle},
        v2::{self, Acks, KindV2, PoolConfigV2, pool::PoolHandleV2},
    },
};
use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// 2^22 hashes find a block: one in a quarter of a minute.
const NBITS: u32 = 0x1e04_0000;
/// Difficulties of pools A and B: 65,536 and 32,768 hashes a share.
const DIFFICULTIES: [f64; 2] = [1.0 / 65_536.0, 1.0 / 131_072.0];
/// Between two blocks at most.
const BLOCK_EVERY: Duration = Duration::from_secs(20);
/// Between two jobs on one block.
const JOB_EVERY: Duration = Duration::from_secs(5);
/// A V2 pool acknowledges good shares in batches: of so many, and at the latest after so long.
const ACKS: Acks = Acks {
    every: 5,
    within: Some(Duration::from_millis(500)),
};

/// What a pool speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Speech {
    /// Stratum V1.
    V1,
    /// Stratum V2.
    V2,
}

impl Speech {
    /// What pools A and B speak: the backup is of the other kind, where V2 is asked for.
    pub(super) fn of_pools(main: Self) -> [Self; 2] {
        match main {
            Self::V1 => [Self::V1, Self::V1],
            Self::V2 => [Self::V2, Self::V1],
        }
    }

    /// Of a pool that the proxy names by its URL.
    pub(super) fn of_url(url: &str) -> Self {
        match url.starts_with("stratum2") {
            true => Self::V2,
            false => Self::V1,
        }
    }
}

impl fmt::Display for Speech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        })
    }
}

/// What the machines speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speeches {
    /// Stratum V1.
    V1,
    /// Stratum V2: half of them on standard channels, half on extended ones.
    V2,
    /// Every other one V2.
    Mixed,
}

impl Speeches {
    /// As a fleet is told, dealt out in turn. A machine has one channel, as it has one firmware and one address.
    pub(super) fn dealt(self) -> Vec<Protocol> {
        let (standard, extended) = (
            Protocol::V2(KindV2::Standard),
            Protocol::V2(KindV2::Extended),
        );
        match self {
            Self::V1 => vec![Protocol::V1],
            Self::V2 => vec![standard, extended],
            Self::Mixed => vec![Protocol::V1, standard, Protocol::V1, extended],
        }
    }
}

impl fmt::Display for Speeches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
            Self::Mixed => "V1 and V2",
        })
    }
}

/// The machines: how many, and what they speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Miners {
    pub(super) count: u16,
    pub(super) speeches: Speeches,
}

impl Miners {
    /// Most machines: more would be a benchmark.
    const MOST: u16 = 2_000;

    /// What `--miners` means: `200`, `mixed`, or both with a comma.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut count, mut speeches) = (None, None);
        let wrong = || {
            format!(
                "`{text}` is not understood; a number (1 to {}), v1, v2, mixed, or a number and one of these: 50,mixed",
                Self::MOST
            )
        };
        for word in text.split(',') {
            let again = match word {
                "v1" => speeches.replace(Speeches::V1).is_some(),
                "v2" => speeches.replace(Speeches::V2).is_some(),
                "mixed" => speeches.replace(Speeches::Mixed).is_some(),
                number => {
                    let number = number.parse().map_err(|_| wrong())?;
                    count.replace(number).is_some()
                }
            };
            if again {
                return Err(wrong());
            }
        }
        let count = count.unwrap_or(200);
        match (1..=Self::MOST).contains(&count) {
            true => Ok(Self {
                count,
                speeches: speeches.unwrap_or(Speeches::V1),
            }),
            false => Err(wrong()),
        }
    }
}

/// A running pool; clones are the same pool.
#[derive(Clone, Debug)]
pub(super) enum DemoPool {
    /// Of V1.
    V1(PoolHandle),
    /// Of V2.
    V2(PoolHandleV2),
}

impl DemoPool {
    /// Pool A (0) or B (1), on a free port of loopback.
    pub(super) fn start(at: usize, speech: Speech) -> Result<Self, (u8, String)> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_time = unix.map_or(0, |d| d.as_secs() as u32);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let started = match speech {
            Speech::V1 => {
                let config = PoolConfig {
                    seed: 1 + at as u64,
                    difficulty: DIFFICULTIES[at],
                    block_every: Some(BLOCK_EVERY),
                    job_every: Some(JOB_EVERY),
                    nbits: NBITS,
                    unix_time,
                    ..PoolConfig::default()
                };
                Pool::start(any_port, config, None).map(Self::V1)
            }
            Speech::V2 => {
                let config = PoolConfigV2 {
                    seed: 1 + at as u64,
                    difficulty: DIFFICULTIES[at],
                    block_every: Some(BLOCK_EVERY),
                    job_every: Some(JOB_EVERY),
                    nbits: NBITS,
                    unix_time,
                    acks: ACKS,
                    ..PoolConfigV2::default()
                };
                v2::pool::start(any_port, config).map(Self::V2)
            }
        };
        started.map_err(|error| {
            let why = format!("a simulated pool cannot listen on 127.0.0.1: {error}");
            (exit::ENVIRONMENT, why)
        })
    }

    /// What it speaks.
    pub(super) fn speech(&self) -> Speech {
        match self {
            Self::V1(_) => Speech::V1,
            Self::V2(_) => Speech::V2,
        }
    }

    /// As the proxy's configuration names it.
    pub(super) fn url(&self) -> String {
        match self {
            Self::V1(pool) => format!("stratum+tcp://{}", pool.address()),
            Self::V2(pool) => pool.url(),
        }
    }

    /// What it counted.
    pub(super) fn stats(&self) -> PoolStats {
        match self {
            Self::V1(pool) => pool.stats(),
            Self::V2(pool) => pool.stats().pool,
        }
    }

    /// Its connections are reset, and it listens no more.
    pub(super) async fn kill(&self) {
        match self {
            Self::V1(pool) => pool.kill().await,
            Self::V2(pool) => pool.kill().await,
        }
    }

    /// It listens again, on its old port.
    pub(super) fn resume(&self) -> io::Result<()> {
        match self {
            Self::V1(pool) => pool.resume(),
            Self::V2(pool) => pool.resume(),
        }
    }

    /// Ends for good.
    pub(super) async fn stop(&self) {
        match self {
            Self::V1(pool) => pool.stop().await,
            Self::V2(pool) => pool.stop().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miners_are_a_number_a_protocol_or_both() {
        let of = |text| Miners::parse(text).map(|m| (m.count, m.speeches));
        assert_eq!(of("200"), Ok((200, Speeches::V1)));
        assert_eq!(of("mixed"), Ok((200, Speeches::Mixed)));
        assert_eq!(of("50,v2"), Ok((50, Speeches::V2)));
        assert_eq!(of("v2,50"), Ok((50, Speeches::V2)));
        assert_eq!((of("1").is_ok(), of("0").is_ok()), (true, false));
        assert_eq!((of("2000").is_ok(), of("2001").is_ok()), (true, false));
        for wrong in ["", "v3", "v1,v2", "1,2", "50,", "-1"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_failover_from_a_v2_pool_is_one_to_a_v1_pool() {
        assert_eq!(Speech::of_pools(Speech::V1), [Speech::V1, Speech::V1]);
        assert_eq!(Speech::of_pools(Speech::V2), [Speech::V2, Speech::V1]);
    }

    #[test]
    fn a_mixed_fleet_has_machines_of_both_protocols_and_both_kinds_of_channel() {
        let is_v2 = |protocol: &Protocol| *protocol != Protocol::V1;
        let of = |speeches: Speeches| speeches.dealt();
        assert!(!of(Speeches::V1).iter().any(is_v2));
        assert!(of(Speeches::V2).iter().all(is_v2));
        let mixed = of(Speeches::Mixed);
        assert_eq!(mixed.iter().filter(|p| is_v2(p)).count() * 2, mixed.len());
        for kind in [KindV2::Standard, KindV2::Extended] {
            assert!(mixed.contains(&Protocol::V2(kind)), "{kind:?}");
        }
    }
}
