//! `sluice sim fleet`.
//!
//! Turns arguments into a [`FleetConfig`] and counters into words. Invariant: never connects to an address outside
//! loopback unless told that the pool is one's own.

use super::{Course, fail, say, status, until_over};
use crate::cli::{exit, units};
use crate::sim::{
    MinerConfig, Temperament,
    fleet::{Fleet, FleetConfig, Protocol},
    stats::MinerStats,
    v2::{KindV2, MannersV2, MinerConfigV2, authority},
};
use serde_json::json;
use std::{
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

/// How long the replies under way are waited for at the end.
const GRACE: Duration = Duration::from_secs(3);

/// Arguments of `sim fleet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pool or proxy to mine at; outside loopback only with --i-own-this-pool. With --v2 also
    /// stratum2+tcp://HOST:PORT/KEY: its authority key is then expected of it
    #[arg(
        long,
        default_value = "stratum+tcp://127.0.0.1:3333",
        value_name = "URL"
    )]
    pool: String,
    /// How many miners, each with its own connection
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    miners: u32,
    /// Hashrate of each; real hashing, so keep the sum below a few MH/s
    #[arg(long, default_value = "20 kH/s", value_parser = units::hashrate)]
    hashrate: f64,
    /// Firmware family, or all of them in turn
    #[arg(long, default_value = "mixed", value_parser = ["mixed", "cgminer", "bitaxe", "whatsminer", "antminer", "nerdminer", "proxy"])]
    temperament: String,
    /// Worker name; n in braces becomes the miner's number
    #[arg(long, default_value = "sim.{n}", value_name = "NAME")]
    user: String,
    /// Password
    #[arg(long, default_value = "x")]
    password: String,
    /// Part of one core that hashing may take
    #[arg(long, default_value = "50%", value_parser = units::percentage, value_name = "PERCENT")]
    cpu: f64,
    /// A difficulty that is not a power of two is a violation
    #[arg(long)]
    powers_of_two: bool,
    /// Let each miner come from its own 127.0.x.y
    #[arg(long)]
    spread_sources: bool,
    /// Allow an address outside loopback: simulated miners must not reach strangers' pools by mistake
    #[arg(long)]
    i_own_this_pool: bool,
    /// Speak Stratum V2: one standard channel each, one extended channel each, a proxy with four channels each, these three
    /// in turn, or these three and V1 in turn
    #[arg(long, value_name = "KIND", value_parser = ["standard", "extended", "proxy", "mixed", "with-v1"])]
    v2: Option<String>,
    /// V2: habits, or all but `late` in turn
    #[arg(long, default_value = "mixed", requires = "v2", value_parser = ["mixed", "plain", "pipelined", "strange", "slow", "late"])]
    manners: String,
    /// V2: name a worker with every share of an extended channel, where extension 0x0002 is granted
    #[arg(long, requires = "v2")]
    track_workers: bool,
    #[command(flatten)]
    course: Course,
}

pub(super) async fn run(args: &Args) -> ExitCode {
    let pool = without_key(&args.pool, args.v2.is_some())
        .and_then(|(url, key)| Ok((resolve(&url, args.i_own_this_pool)?, key)));
    let (pool, authority) = match pool {
        Ok(pool) => pool,
        Err((code, why)) => return fail(code, &why),
    };
    let fleet = Fleet::start(FleetConfig {
        authority,
        ..args.config(pool)
    });
    status(&format!(
        "{} simulated miners towards {pool}, {} in all",
        args.miners,
        units::show_hashrate(args.hashrate * f64::from(args.miners))
    ));
    until_over(&args.course, |elapsed| {
        let s = fleet.stats();
        status(&format!(
            "{:>8}  {} of {} mining, {} shares accepted, {} refused, {}, {} violations",
            units::show_duration(elapsed),
            s.mining,
            args.miners,
            s.accepted,
            s.rejected_total(),
            units::show_hashrate(s.accepted_hashes as f64 / elapsed.as_secs_f64().max(1.0)),
            s.violations_total(),
        ));
    })
    .await;
    let stats = fleet.finish(GRACE).await;
    let good = stats.accepted > 0 && stats.violations_total() == 0;
    say(&if args.course.json {
        as_json(&stats, good)
    } else {
        as_words(&stats, good)
    });
    ExitCode::from(u8::from(!good))
}

impl Args {
    fn config(&self, pool: SocketAddr) -> FleetConfig {
        FleetConfig {
            temperaments: match Temperament::by_name(&self.temperament) {
                Some(one) => vec![one],
                None => Temperament::ALL.to_vec(),
            },
            user: self.user.clone(),
            each: MinerConfig {
                password: self.password.clone(),
                hashrate: self.hashrate,
                seed: self.course.seed,
                powers_of_two: self.powers_of_two,
                ..MinerConfig::default()
            },
            cpu_share: self.cpu,
            spread_sources: self.spread_sources,
            protocols: self.protocols(),
            each_v2: MinerConfigV2 {
                tracks_workers: self.track_workers,
                ..MinerConfigV2::default()
            },
            manners: match MannersV2::by_name(&self.manners) {
                Some(one) => vec![one],
                None => MannersV2::ALL.to_vec(),
            },
            ..FleetConfig::new(pool, self.miners as usize)
        }
    }

    fn protocols(&self) -> Vec<Protocol> {
        let Some(name) = &self.v2 else {
            return vec![Protocol::V1];
        };
        let v1 = (name == "with-v1").then_some(Protocol::V1);
        let kinds = match KindV2::by_name(name) {
            Some(kind) => vec![kind],
            None => KindV2::ALL.to_vec(),
        };
        v1.into_iter()
            .chain(kinds.into_iter().map(Protocol::V2))
            .collect()
    }
}

/// A V2 URL as one of V1 and its authority key; one of V1 as it is.
fn without_key(url: &str, v2: bool) -> Result<(String, Option<String>), (u8, String)> {
    let Some(bare) = url.strip_prefix("stratum2+tcp://") else {
        return Ok((url.to_owned(), None));
    };
    if !v2 {
        let why = format!("--pool {url} speaks V2: say what kind of miners with --v2 KIND");
        return Err((exit::CONFIG, why));
    }
    let (address, key) = bare.split_once('/').unwrap_or((bare, ""));
    let key = Some(key.to_owned()).filter(|key| !key.is_empty());
    if key
        .as_deref()
        .is_some_and(|key| authority::decode(key).is_none())
    {
        let why = format!(
            "--pool {url}: what stands behind the last / is no authority key (base58check, as the pool shows it)"
        );
        return Err((exit::CONFIG, why));
    }
    Ok((format!("stratum+tcp://{address}"), key))
}

/// The pool's address, if simulated miners may go there.
pub(super) fn resolve(url: &str, owned: bool) -> Result<SocketAddr, (u8, String)> {
    let bare = url.strip_prefix("stratum+tcp://").unwrap_or(url);
    let bare = bare.trim_end_matches('/');
    if bare.contains("://") {
        let why =
            format!("--pool {url}: only stratum+tcp://HOST:PORT is spoken by simulated miners");
        return Err((exit::CONFIG, why));
    }
    let addresses = bare.to_socket_addrs().map_err(|error| {
        let why = format!("--pool {url}: {error}; write stratum+tcp://HOST:PORT");
        (exit::CONFIG, why)
    })?;
    let addresses: Vec<_> = addresses.collect();
    let outside = addresses
        .iter()
        .find(|a| !a.ip().to_canonical().is_loopback());
    if let Some(outside) = outside.filter(|_| !owned) {
        let why = format!(
            "--pool {url} is {}, outside this machine. Simulated miners are for your own pool or proxy; \
             if this one is yours, say so with --i-own-this-pool",
            outside.ip()
        );
        return Err((exit::CONFIG, why));
    }
    // An IPv4 address first: `localhost` is often served there alone.
    let first = addresses.iter().find(|a| a.is_ipv4()).or(addresses.first());
    let nothing = || (exit::CONFIG, format!("--pool {url}: no address found"));
    first.copied().ok_or_else(nothing)
}

fn as_words(s: &MinerStats, good: bool) -> String {
    let quantile = |part| {
        s.latency
            .quantile(part)
            .map_or("-".into(), units::show_duration)
    };
    let mut lines = vec![
        format!(
            "connections  {} opened, {} ended, {} attempts failed, {} sessions resumed",
            s.connects, s.disconnects, s.connect_failures, s.resumed
        ),
        format!(
            "shares       {} submitted ({}), {} accepted ({}), {} refused, {} unanswered",
            s.submitted,
            units::show_hashes(s.submitted_hashes),
            s.accepted,
            units::show_hashes(s.accepted_hashes),
            s.rejected_total(),
            s.unanswered
        ),
    ];
    for (code, count) in &s.rejected {
        lines.push(format!("             {count} with code {code}"));
    }
    lines.push(format!(
        "replies      half within {}, 99 % within {}",
        quantile(0.5),
        quantile(0.99)
    ));
    lines.push(format!("jobs         {} received", s.jobs));
    lines.push(format!(
        "the wire     {} lines ({} bytes) out, {} lines ({} bytes) in",
        s.lines_out, s.bytes_out, s.lines_in, s.bytes_in
    ));
    for (violation, count) in &s.violations {
        lines.push(format!("violation    {count} x {}", violation.words()));
    }
    lines.push(match (good, s.accepted) {
        (true, _) => "result       good: shares were accepted and no rule was broken".to_owned(),
        (false, 0) => "result       bad: no share was accepted".to_owned(),
        _ => "result       bad: rules were broken".to_owned(),
    });
    lines.join("\n")
}

fn as_json(s: &MinerStats, good: bool) -> String {
    let micros = |part| s.latency.quantile(part).map(|d| d.as_micros() as u64);
    let violations: serde_json::Map<_, _> = s
        .violations
        .iter()
        .map(|(violation, count)| (format!("{violation:?}"), json!(count)))
        .collect();
    json!({
        "good": good,
        "connects": s.connects,
        "disconnects": s.disconnects,
        "connect_failures": s.connect_failures,
        "resumed": s.resumed,
        "jobs": s.jobs,
        "submitted": s.submitted,
        "accepted": s.accepted,
        "rejected": s.rejected,
        "unanswered": s.unanswered,
        "submitted_hashes": s.submitted_hashes as f64,
        "accepted_hashes": s.accepted_hashes as f64,
        "reply_micros_p50": micros(0.5),
        "reply_micros_p99": micros(0.99),
        "violations": violations,
        "lines_in": s.lines_in,
        "lines_out": s.lines_out,
        "bytes_in": s.bytes_in,
        "bytes_out": s.bytes_out,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::{resolve, without_key};

    #[test]
    fn a_strangers_pool_is_refused_unless_it_is_owned() {
        let (_, why) = resolve("stratum+tcp://192.0.2.1:3333", false).unwrap_err();
        assert!(why.contains("--i-own-this-pool"), "{why}");
        assert!(resolve("stratum+tcp://192.0.2.1:3333", true).is_ok());
        assert!(resolve("stratum+tcp://127.0.0.1:3333", false).is_ok());
        assert!(resolve("[::ffff:192.0.2.1]:3333", false).is_err());
    }

    #[test]
    fn the_key_of_a_v2_pool_is_taken_off_its_url_and_checked() {
        let key = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
        let url = format!("stratum2+tcp://127.0.0.1:3333/{key}");
        let plain = "stratum+tcp://127.0.0.1:3333".to_owned();
        let expected = (plain.clone(), Some(key.to_owned()));
        assert_eq!(without_key(&url, true), Ok(expected));
        let bare = without_key("stratum2+tcp://127.0.0.1:3333", true);
        assert_eq!(bare, Ok((plain.clone(), None)));
        assert_eq!(without_key(&plain, true), Ok((plain.clone(), None)));
        let (_, why) = without_key(&url, false).unwrap_err();
        assert!(why.contains("--v2 KIND"), "{why}");
        let (_, why) = without_key(&url.replace("Yw6", "Yw7"), true).unwrap_err();
        assert!(why.contains("authority key"), "{why}");
    }

    #[test]
    fn what_is_not_a_plain_pool_address_is_refused() {
        assert!(resolve("stratum+ssl://127.0.0.1:3333", true).is_err());
        assert!(resolve("127.0.0.1", true).is_err());
    }
}
