//! `sluice sim pool`.
//!
//! Turns arguments into a [`PoolConfig`] or [`PoolConfigV2`] and counters into words. Invariant: decides nothing about shares.

use super::{Course, fail, say, status, until_over};
use crate::cli::{exit, units};
use crate::sim::{
    dialect::Dialect,
    judge::Reason,
    pool::{Pool, PoolCore, PoolHandle},
    poolconfig::{Configure, PoolConfig, PoolStats, PoolVardiff, Segments, Subscribe},
    v2::{self, Acks, PoolConfigV2, PoolStatsV2},
    wire::hex_u32,
};
use serde_json::json;
use std::{
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Arguments of `sim pool`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:3334", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Difficulty of a new connection; 2^-16 is 65,536 hashes a share
    #[arg(long, default_value_t = 1.0 / 65_536.0, value_name = "D", value_parser = difficulty)]
    difficulty: f64,
    /// Take the difficulty that a miner suggests, if above --difficulty
    #[arg(long)]
    honour_suggestions: bool,
    /// Let the pool adapt difficulty to so many shares per second and connection
    #[arg(long, value_name = "RATE")]
    vardiff: Option<f64>,
    /// A new block (clean job) this often
    #[arg(long, default_value = "30s", value_parser = units::duration, value_name = "TIME")]
    block_every: Duration,
    /// A new job on the same block this often
    #[arg(long, default_value = "10s", value_parser = units::duration, value_name = "TIME")]
    job_every: Duration,
    /// Version bits granted, hex; `none` refuses, `silent` never answers configure
    #[arg(long, default_value = "1fffe000", value_parser = configure, value_name = "HEX")]
    version_mask: Configure,
    /// Length of extranonce1, bytes
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    extranonce1_size: u8,
    /// Length of extranonce2, bytes
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    extranonce2_size: u8,
    /// Compact network target, hex; 207fffff makes every second share a block candidate
    #[arg(long, default_value = "17034219", value_parser = nbits, value_name = "HEX")]
    nbits: u32,
    /// Refuse this part of good shares
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    reject: f64,
    /// How refusals are worded
    #[arg(long, default_value = "standard", value_parser = ["standard", "ckpool", "btcpool", "datum", "mute"])]
    dialect: String,
    /// Refuse workers whose name contains this
    #[arg(long, value_name = "TEXT")]
    refuse_workers: Option<String>,
    /// Send everything late by this
    #[arg(long, default_value = "0s", value_parser = units::duration, value_name = "TIME")]
    delay: Duration,
    /// Put all lines of a turn into one segment, or tear each in two
    #[arg(long, default_value = "line", value_parser = ["line", "together", "torn"])]
    segments: String,
    /// How subscribe is answered
    #[arg(long, default_value = "usual", value_parser = ["usual", "one-pair", "empty", "not-an-array", "silent"])]
    subscribe: String,
    /// Go silent, connections open, after this
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    freeze_after: Option<Duration>,
    /// Speak Stratum V2, inside Noise, with an authority key made from --seed; the URL is shown at the start. The sizes of
    /// extranonce1 and 2 are then those of the prefix and of what a channel fills
    #[arg(long, conflicts_with_all = ["dialect", "segments", "subscribe", "honour_suggestions"])]
    v2: bool,
    /// V2: acknowledge good shares after so many, and at the latest after 1 s
    #[arg(long, default_value_t = 1, value_name = "N", requires = "v2", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ack_every: u32,
    /// V2: send the job of the next block ahead, so that a new block is one short message
    #[arg(long, requires = "v2")]
    jobs_ahead: bool,
    #[command(flatten)]
    course: Course,
}

/// A batch of V2 shares is acknowledged at the latest after this: sooner than a fleet that ends stops waiting.
const ACK_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn run(args: &Args) -> ExitCode {
    if args.v2 {
        match v2::pool::start(args.listen, args.config_v2()) {
            Ok(pool) => serve(args, &pool, &pool.url(), |s| s.pool.clone(), more_v2).await,
            Err(error) => fail(exit::ENVIRONMENT, &unable(args, &error)),
        }
    } else {
        match Pool::start(args.listen, args.config(), None) {
            Ok(pool) => {
                let url = format!("stratum+tcp://{}", pool.address());
                serve(args, &pool, &url, Clone::clone, |_| Vec::new()).await
            }
            Err(error) => fail(exit::ENVIRONMENT, &unable(args, &error)),
        }
    }
}

fn unable(args: &Args, error: &std::io::Error) -> String {
    format!("cannot listen on {}: {error}", args.listen)
}

/// A pool of either protocol until its time is over; `common`: what both kinds count, `more`: lines that one alone has.
async fn serve<C: PoolCore>(
    args: &Args,
    pool: &PoolHandle<C>,
    url: &str,
    common: impl Fn(&C::Stats) -> PoolStats,
    more: impl Fn(&C::Stats) -> Vec<String>,
) -> ExitCode {
    status(&format!("simulated pool on {url}"));
    if let Some(after) = args.freeze_after {
        let pool = pool.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            status("the pool is frozen now");
            pool.freeze(true);
        });
    }
    until_over(&args.course, |elapsed| {
        let s = common(&pool.stats());
        let hashrate = s.accepted_hashes as f64 / elapsed.as_secs_f64().max(1.0);
        status(&format!(
            "{:>8}  {} connections, {} shares accepted, {} refused, {}, {} jobs",
            units::show_duration(elapsed),
            s.connections,
            s.accepted,
            s.rejected_total(),
            units::show_hashrate(hashrate),
            s.jobs_made,
        ));
    })
    .await;
    let all = pool.stats();
    pool.stop().await;
    let stats = common(&all);
    let good = stats.accepted > 0 && bad(&stats) == 0;
    say(&if args.course.json {
        as_json(&stats, good)
    } else {
        as_words(&stats, &more(&all), good)
    });
    ExitCode::from(u8::from(!good))
}

impl Args {
    fn config(&self) -> PoolConfig {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        PoolConfig {
            seed: self.course.seed,
            extranonce1_size: self.extranonce1_size.into(),
            extranonce2_size: self.extranonce2_size.into(),
            difficulty: self.difficulty,
            honours_suggestions: self.honour_suggestions,
            vardiff: self.vardiff.map(|shares_per_s| PoolVardiff {
                shares_per_s,
                every: Duration::from_secs(5),
            }),
            configure: self.version_mask,
            subscribe: match self.subscribe.as_str() {
                "one-pair" => Subscribe::OnePair,
                "empty" => Subscribe::Empty,
                "not-an-array" => Subscribe::NotAnArray,
                "silent" => Subscribe::Silent,
                _ => Subscribe::Usual,
            },
            block_every: Some(self.block_every).filter(|d| !d.is_zero()),
            job_every: Some(self.job_every).filter(|d| !d.is_zero()),
            nbits: self.nbits,
            unix_time: unix.map_or(0, |d| d.as_secs() as u32),
            refuses_workers: self.refuse_workers.clone(),
            reject_ratio: self.reject,
            delay: self.delay,
            segments: match self.segments.as_str() {
                "together" => Segments::Together,
                "torn" => Segments::Torn,
                _ => Segments::PerLine,
            },
            dialect: Dialect::ALL
                .into_iter()
                .find(|d| d.name() == self.dialect)
                .unwrap_or_default(),
            ..PoolConfig::default()
        }
    }
}

impl Args {
    fn config_v2(&self) -> PoolConfigV2 {
        let common = self.config();
        PoolConfigV2 {
            seed: common.seed,
            prefix_size: common.extranonce1_size,
            extranonce_size: common.extranonce2_size,
            difficulty: common.difficulty,
            shares_per_s: self.vardiff,
            vardiff: common.vardiff,
            acks: Acks {
                every: self.ack_every,
                within: Some(ACK_WITHIN),
            },
            version_mask: match self.version_mask {
                Configure::Grant(mask) => mask,
                _ => 0,
            },
            jobs_ahead: self.jobs_ahead,
            refuses_users: common.refuses_workers,
            block_every: common.block_every,
            job_every: common.job_every,
            nbits: common.nbits,
            unix_time: common.unix_time,
            reject_ratio: common.reject_ratio,
            delay: common.delay,
            ..PoolConfigV2::default()
        }
    }
}

fn more_v2(s: &PoolStatsV2) -> Vec<String> {
    vec![
        format!(
            "channels     {} in all, {} of them extended, {} refused, {} closed by their miner",
            s.channels_total, s.extended_total, s.opens_refused, s.closed_by_client
        ),
        format!(
            "announced    {} by the channels open at the end, {} updates in all",
            units::show_hashrate(s.nominal_hashrate),
            s.updates
        ),
        format!(
            "extensions   {} connections track workers, {} workers seen",
            s.worker_tracking,
            s.workers.len()
        ),
        format!(
            "frames       {} unknown ones ignored, {} malformed ones ended their connection",
            s.unknown, s.malformed
        ),
    ]
}

/// Shares that an honest miner through an honest proxy does not send.
fn bad(stats: &PoolStats) -> u64 {
    let forgiven = [Reason::Stale, Reason::Unauthorized, Reason::OnPurpose];
    let bad = stats.rejected.iter().filter(|(r, _)| !forgiven.contains(r));
    bad.map(|(_, count)| count).sum()
}

fn as_words(s: &PoolStats, more: &[String], good: bool) -> String {
    let mut lines = vec![
        format!("connections  {} in all", s.connections_total),
        format!(
            "shares       {} received, {} accepted ({}), {} refused",
            s.received,
            s.accepted,
            units::show_hashes(s.accepted_hashes),
            s.rejected_total()
        ),
    ];
    for (reason, count) in &s.rejected {
        lines.push(format!("             {count} {}", reason.name()));
    }
    lines.push(format!("workers      {}", s.users.len()));
    lines.push(format!("candidates   {} block candidates", s.blocks));
    lines.push(format!(
        "jobs         {} sent out, {} of them on a new block",
        s.jobs_made, s.blocks_made
    ));
    lines.push(format!(
        "the wire     {} lines ({} bytes) in, {} lines ({} bytes) out",
        s.lines_in, s.bytes_in, s.lines_out, s.bytes_out
    ));
    lines.extend_from_slice(more);
    lines.push(match (good, s.accepted) {
        (true, _) => "result       good: shares were accepted and no bad one came".to_owned(),
        (false, 0) => "result       bad: no share was accepted".to_owned(),
        _ => format!("result       bad: {} shares should never have come", bad(s)),
    });
    lines.join("\n")
}

fn as_json(s: &PoolStats, good: bool) -> String {
    let rejected: serde_json::Map<_, _> = s
        .rejected
        .iter()
        .map(|(reason, count)| (reason.name().to_owned(), json!(count)))
        .collect();
    json!({
        "good": good,
        "connections_total": s.connections_total,
        "received": s.received,
        "accepted": s.accepted,
        "rejected": rejected,
        "accepted_hashes": s.accepted_hashes as f64,
        "block_candidates": s.blocks,
        "workers": s.users.len(),
        "jobs": s.jobs_made,
        "blocks": s.blocks_made,
        "lines_in": s.lines_in,
        "lines_out": s.lines_out,
        "bytes_in": s.bytes_in,
        "bytes_out": s.bytes_out,
    })
    .to_string()
}

fn difficulty(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    let fits = number.filter(|d| crate::sim::wire::Bound::of_difficulty(*d).is_some());
    fits.ok_or_else(|| format!("'{text}' is not a difficulty between 2^-40 and 2^63"))
}

fn configure(text: &str) -> Result<Configure, String> {
    match text {
        "none" => Ok(Configure::Refuse),
        "silent" => Ok(Configure::Silent),
        hex => nbits(hex).map(Configure::Grant),
    }
}

fn nbits(text: &str) -> Result<u32, String> {
    hex_u32(text).ok_or_else(|| format!("'{text}' is not up to eight hex digits"))
}
