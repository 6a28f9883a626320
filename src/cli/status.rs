//! `sluice status | miners | pools`: what a running proxy is doing, asked over its API. Decides nothing.
//!
//! Invariant: every text of the API goes through `printable` on its way to a terminal.

use super::ask::{AskError, Proxy, printable};
use super::exit;
use crate::api::model::{MAX_PAGE, Miners, Pools, Summary, why_down};
use crate::telemetry::units;
use crate::telemetry::view::{Pool, Reasons};
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Longer than any answer takes on loopback, short enough for a person.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the proxy's API listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3380")]
    pub api: String,
    /// Print JSON, as the API gives it
    #[arg(long)]
    pub json: bool,
}

/// Summary.
pub fn summary(args: &Args) -> ExitCode {
    show(args, proxy(&args.api).get("/api/v1/summary"), summary_text)
}

/// Miners.
pub fn miners(args: &Args) -> ExitCode {
    show(args, all_miners(&args.api), miners_table)
}

/// Pools.
pub fn pools(args: &Args) -> ExitCode {
    show(args, proxy(&args.api).get("/api/v1/pools"), pools_table)
}

fn proxy(api: &str) -> Proxy {
    Proxy::new(api, TIMEOUT)
}

fn show<T: Serialize>(
    args: &Args,
    answer: Result<T, AskError>,
    text: impl Fn(&T) -> String,
) -> ExitCode {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(exit::ENVIRONMENT);
        }
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&answer).expect("plain values are JSON") + "\n",
        false => text(&answer),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write: {error}");
            ExitCode::from(exit::ENVIRONMENT)
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// All pages in one. Miners that come or go meanwhile may be missed or shown twice: it is a list for people.
fn all_miners(api: &str) -> Result<Miners, AskError> {
    let proxy = proxy(api);
    let mut all: Miners = proxy.get(&format!("/api/v1/miners?limit={MAX_PAGE}"))?;
    while all.miners.len() < all.total {
        let offset = all.miners.len();
        let page: Miners =
            proxy.get(&format!("/api/v1/miners?limit={MAX_PAGE}&offset={offset}"))?;
        if page.miners.is_empty() {
            break;
        }
        all.miners.extend(page.miners);
    }
    all.limit = all.miners.len();
    Ok(all)
}

fn summary_text(summary: &Summary) -> String {
    let shares = summary.accepted.shares + summary.rejected.shares;
    let (minute, five) = (summary.hashrate.minute, summary.hashrate.five_minutes);
    let mut lines = vec![
        format!(
            "Sluice {}, up {}",
            printable(&summary.version),
            units::duration(summary.uptime_seconds)
        ),
        format!("miners     {}", units::count(summary.miners)),
        format!(
            "hashrate   {} (1m)   {} (5m)   {} (1h)",
            units::hashrate(minute),
            units::hashrate(five),
            units::hashrate(summary.hashrate.hour)
        ),
        format!(
            "shares     {} accepted, {} rejected ({})",
            units::count(summary.accepted.shares),
            units::count(summary.rejected.shares),
            units::percent(summary.rejected.shares, shares)
        ),
    ];
    if !summary.reasons.is_empty() {
        lines.push(format!("rejected   {}", reasons(&summary.reasons)));
    }
    lines.push(format!(
        "pools      {} of {} up",
        summary.pools_up, summary.pools
    ));
    if summary.blocks > 0 {
        lines.push(format!(
            "blocks     {} candidates",
            units::count(summary.blocks)
        ));
    }
    if !summary.refused_connections.is_empty() {
        lines.push(format!(
            "refused    {}",
            reasons(&summary.refused_connections)
        ));
    }
    if !summary.conserves {
        lines.push("WARNING    the sums of shares do not add up: please report this".to_owned());
    }
    lines.join("\n") + "\n"
}

/// The table of `sluice miners`.
fn miners_table(miners: &Miners) -> String {
    let header = [
        "WORKER",
        "PEER",
        "POOL",
        "HASHRATE 5M",
        "DIFFICULTY",
        "ACCEPTED",
        "REJECTED",
        "LAST SHARE",
        "CONNECTED",
        "BY",
        "AGENT",
    ];
    let rows = miners.miners.iter().map(|miner| {
        let name = |name: &Option<String>| name.as_deref().map_or("-".to_owned(), printable);
        [
            name(&miner.worker),
            printable(&miner.peer),
            name(&miner.pool),
            units::hashrate(miner.hashrate.five_minutes),
            miner.difficulty.map_or("-".to_owned(), units::difficulty),
            units::count(miner.accepted),
            units::percent(miner.rejected, miner.accepted + miner.rejected),
            miner.last_share_seconds.map_or("never".to_owned(), ago),
            units::duration(miner.connected_seconds),
            printable(&miner.protocol),
            name(&miner.agent),
        ]
    });
    let count = units::count(miners.total as u64);
    table(header, rows) + &format!("{count} miners\n")
}

/// The table of `sluice pools`, and a line for each pool that needs one.
fn pools_table(pools: &Pools) -> String {
    let header = [
        "POOL",
        "STATE",
        "SINCE",
        "TIER",
        "MINERS",
        "ACCEPTED",
        "REJECTED",
        "UNKNOWN",
        "DIFFICULTY",
        "LAST JOB",
        "URL",
    ];
    let rows = pools.pools.iter().map(|pool| {
        let answered = pool.accepted.shares + pool.rejected.shares;
        [
            printable(&pool.name),
            state(pool).to_owned(),
            ago(pool.since_seconds),
            pool.tier.to_string(),
            units::count(pool.leases),
            units::count(pool.accepted.shares),
            units::percent(pool.rejected.shares, answered),
            units::count(pool.unknown.shares),
            pool.difficulty.map_or("-".to_owned(), units::difficulty),
            pool.job_age_seconds.map_or("never".to_owned(), ago),
            printable(&pool.url),
        ]
    });
    let notes = pools.pools.iter().flat_map(pool_notes);
    table(header, rows) + &notes.collect::<String>()
}

fn state(pool: &Pool) -> &'static str {
    match pool {
        Pool { excluded: true, .. } => "excluded",
        Pool { up: false, .. } => "down",
        Pool { suspect: true, .. } => "suspect",
        _ => "up",
    }
}

fn pool_notes(pool: &Pool) -> Vec<String> {
    let mut notes = Vec::new();
    if !pool.up {
        notes.push(format!("{}\n", printable(&why_down(pool))));
    }
    if let Some(part) = pool.divergence {
        notes.push(format!(
            "{}: rejects {:.1} % of the work that we accepted over the last 5 minutes ({})\n",
            printable(&pool.name),
            part * 100.0,
            reasons(&pool.reasons)
        ));
    }
    if pool.plaintext {
        notes.push(format!(
            "{}: not encrypted; anybody on the way can redirect the work (use stratum2+tcp:// or stratum+ssl:// if the pool offers it)\n",
            printable(&pool.name)
        ));
    }
    notes
}

fn ago(seconds: f64) -> String {
    format!("{} ago", units::duration(seconds))
}

/// `stale 12, duplicate 3`, the most frequent first.
fn reasons(reasons: &Reasons) -> String {
    let mut sorted: Vec<_> = reasons.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words = sorted
        .into_iter()
        .map(|(reason, count)| format!("{} {}", printable(reason), units::count(*count)));
    words.collect::<Vec<_>>().join(", ")
}

/// Columns as wide as their widest cell, two spaces apart, nothing after the last.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut all = vec![header.map(str::to_owned)];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in &all {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
