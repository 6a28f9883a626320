//! From a document to a [`Config`]: the sections that are there once, and what holds between sections.
//!
//! Invariant: a `Config` comes out only if there is no error among the findings.

use super::file::{Document, Section};
use super::finding::{Finding, Findings, Severity};
use super::site;
use super::{
    Api, Config, Limits, Listener, Log, Pool, Shared, V2, listeners, pools, secret, units,
};
use crate::proxy::router;
use crate::proxy::session::{Bucket, WallAnchor};
use crate::work::{Difficulty, Lane, Layout};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a configuration may ask of the world outside its file.
pub(super) struct World<'w> {
    /// Relative paths start here: where the file is.
    pub(super) base: &'w Path,
    /// Environment variables, for `{ env = ".." }`.
    pub(super) env: &'w dyn Fn(&str) -> Option<String>,
}

const DAY: Duration = Duration::from_secs(86_400);
/// STRATUM.md I1: a freed lane rests while its work may live.
const REST: Duration = Duration::from_secs(120);
/// The same for a miner that went without a goodbye and may still be mining.
const REST_VANISHED: Duration = Duration::from_secs(600);
/// ARCHITECTURE section 4: how long subscribes wait for the layout.
const LAYOUT_WAIT: Duration = Duration::from_secs(10);
/// BIP 320's bits.
const BIP_320: u32 = 0x1fff_e000;

/// Builds it, or leaves errors behind.
pub(super) fn config(
    document: &Document,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Config> {
    document.check_counts(findings);
    document.check_names(findings);
    document.check_keys(findings);
    let lab = document
        .section("lab")
        .take("allow_short_times", findings, units::flag);
    let lab = lab.unwrap_or(false);
    let limits_section = document.section("limits");
    let limits = limits(&limits_section, findings);
    let shared = shared(document, &limits_section, lab, findings);
    let pools = pools::read(document, &shared, world, findings);
    let listeners = listeners::read(document, &shared, world, findings);
    let api_section = document.section("api");
    let tokens = site::senders::tokens(document, world, findings);
    let api = api(&api_section, findings);
    if let (Some(listeners), Some(api)) = (&listeners, &api) {
        let api = api.as_ref().map(|api| (api.address, &api_section));
        listeners::check_addresses(document, listeners, api, findings);
    }
    let v2 = v2(&document.section("v2"), world, findings);
    let lanes = lanes(document, limits.as_ref(), findings);
    let times = failover(document, lab, findings);
    let log = log(&document.section("log"), findings);
    let run_section = document.section("run");
    let run = run(&run_section, lab, findings);
    let batches = run_section.take("batches", findings, units::flag);
    let kernel = run_section.take("kernel", findings, units::kernel);
    let site = site::read::read(document, tokens.as_deref(), world, findings);
    if findings.has_errors() {
        return None;
    }
    let (mut pools, router_pools): (Vec<Pool>, Vec<_>) = pools?.into_iter().unzip();
    let (listeners, listener_pools): (Vec<Listener>, _) = listeners?.into_iter().unzip();
    let least = |l: &Listener| l.session.vardiff.fixed.unwrap_or(l.session.vardiff.min);
    let easiest = listeners.iter().map(least).reduce(Difficulty::min);
    for pool in &mut pools {
        pool.link.easiest = easiest.unwrap_or(Difficulty::MIN);
    }
    let (layout, first_lane) = lanes?;
    let (failback_after, dwell) = times?;
    let (shards, grace) = run?;
    Some(Config {
        listeners,
        pools,
        router: router::Config {
            pools: router_pools,
            listeners: listener_pools,
            version_mask: shared.version_mask,
            layout,
            first_lane,
            rest: REST,
            rest_vanished: REST_VANISHED,
            dwell,
            failback_after,
            layout_wait: LAYOUT_WAIT,
        },
        limits: limits?,
        v2: v2?,
        shards,
        kernel: kernel?,
        batches: batches?,
        api: api?,
        tokens: tokens?,
        site: site?,
        log: log?,
        grace,
    })
}

/// What listeners and pools have in common. Where a value is wrong there is a finding, and a stand-in lets reading go on.
fn shared(document: &Document, limits: &Section<'_>, lab: bool, findings: &mut Findings) -> Shared {
    let rolling = document.section("version_rolling");
    let mask = rolling.take("mask", findings, units::version_mask);
    let version_mask = mask.unwrap_or(BIP_320);
    if version_mask & !BIP_320 != 0 {
        let message = "wider than 1fffe000 (BIP 320); not every pool takes that";
        rolling.say(Severity::Note, "mask", message, findings);
    }
    if version_mask == 0 {
        let message = "0 turns version rolling off for every miner";
        rolling.say(Severity::Warning, "mask", message, findings);
    }
    // STRATUM.md section 1: something is sent to every miner at least every 30 s.
    let least = Duration::from_millis(if lab { 100 } else { 5_000 });
    let range = least..=Duration::from_secs(30);
    let refresh = document
        .section("refresh")
        .take("every", findings, |v| units::duration(v, &range));
    // More than 1,000 a second from one miner is a flood, less than one would starve an honest one.
    let submits = bucket(
        limits,
        "submits_per_second",
        "submit_burst",
        1000.0,
        findings,
    );
    let others = bucket(limits, "others_per_second", "other_burst", 1000.0, findings);
    // Above, one connection costs what a small farm does; a proxy that needs more opens another.
    let channels = limits.take("channels", findings, |v| units::whole(v, &(1..=4096)));
    let nothing = Bucket {
        per_second: 1000.0,
        burst: 1000.0,
    };
    let fast_lines = document
        .section("run")
        .take("fast_lines", findings, units::flag);
    Shared {
        version_mask,
        refresh: refresh.unwrap_or(*range.end()),
        submits: submits.unwrap_or(nothing),
        others: others.unwrap_or(nothing),
        channels: channels.unwrap_or(64) as usize,
        v2: document.section("v2").given("authority_key").is_some(),
        fast_lines: fast_lines.unwrap_or(true),
        wall: wall(),
    }
}

/// Now, on both clocks.
fn wall() -> WallAnchor {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    WallAnchor {
        at: Instant::now(),
        unix_s: since.map_or(0, |since| since.as_secs()),
    }
}

/// A token bucket: a burst of at least one token, or nothing would ever pass.
fn bucket(
    section: &Section<'_>,
    rate: &str,
    burst: &str,
    most: f64,
    findings: &mut Findings,
) -> Option<Bucket> {
    let per_second = section.take(rate, findings, |v| units::number(v, &(1.0..=most)));
    let burst = section.take(burst, findings, |v| units::number(v, &(1.0..=most * 100.0)));
    Some(Bucket {
        per_second: per_second?,
        burst: burst?,
    })
}

fn limits(section: &Section<'_>, findings: &mut Findings) -> Option<Limits> {
    // A million connections at 24 KiB (STRATUM.md R1) are 24 GiB: beyond that it takes more than one machine.
    let connections = section.take("connections", findings, |v| {
        units::whole(v, &(1..=1_000_000))
    });
    let per_address = section.take("per_address", findings, |v| {
        units::whole(v, &(1..=1_000_000))
    });
    let accepts = bucket(section, "accepts_per_second", "accept_burst", 1e6, findings);
    // Below, a burst of blocks parks every session; above, shares would be stale before they are written.
    let link_queue = section.take("link_queue", findings, |v| units::whole(v, &(16..=65_536)));
    let connections = connections?;
    if let Some(per_address) = per_address.filter(|n| *n > connections) {
        let message = format!("{per_address} is more than limits.connections {connections}");
        section.say(Severity::Error, "per_address", message, findings);
    }
    Some(Limits {
        connections: connections as usize,
        per_address: per_address.map(|n| n as usize),
        accepts: accepts?,
        link_queue: link_queue? as usize,
    })
}

fn v2(section: &Section<'_>, world: &World<'_>, findings: &mut Findings) -> Option<V2> {
    // Shorter, and a miner whose clock is late turns away; longer, and a key that leaked is believed for long.
    let range = Duration::from_secs(60)..=30 * DAY;
    let validity = section.take("certificate_validity", findings, |v| {
        units::duration(v, &range)
    });
    let authority = section.take("authority_key", findings, |v| secret::authority(v, world));
    Some(V2 {
        authority,
        certificate_validity: validity?,
    })
}

fn lanes(
    document: &Document,
    limits: Option<&Limits>,
    findings: &mut Findings,
) -> Option<(Option<Layout>, Lane)> {
    let section = document.section("lanes");
    let layout = section.take("layout", findings, units::layout);
    let first = section.take("first", findings, |v| units::whole(v, &(0..=u32::MAX)));
    let (layout, first) = (layout?, first?);
    if let Some(pinned) = layout {
        let lanes = pinned.singles();
        let connections = limits.map_or(0, |limits| limits.connections as u64);
        if lanes < connections {
            let message = format!("{lanes} lanes are too few for limits.connections {connections}");
            section.say(Severity::Error, "layout", message, findings);
        } else if lanes < connections * 4 {
            let message = format!("{lanes} lanes for {connections} connections leave few to rest");
            section.say(Severity::Warning, "layout", message, findings);
        }
        let last = pinned.lanes() - 1;
        if u64::from(first) > last {
            let message = format!("{first} is beyond the last lane, {last}");
            section.say(Severity::Error, "first", message, findings);
        }
    }
    Some((layout, Lane(first)))
}

/// `failback_after` and `dwell`. Short ones make miners flap between pools, so they need the lab's permission.
fn failover(
    document: &Document,
    lab: bool,
    findings: &mut Findings,
) -> Option<(Duration, Duration)> {
    let section = document.section("failover");
    let mut time = |key: &str, least_s: u64| {
        let ordinary = Duration::from_secs(least_s)..=DAY;
        let range = if lab { Duration::ZERO..=DAY } else { ordinary };
        section.take(key, findings, |v| short_time(v, &range, lab))
    };
    let (failback_after, dwell) = (time("failback_after", 10), time("dwell", 60));
    Some((failback_after?, dwell?))
}

fn short_time(
    value: &super::tree::Value,
    range: &RangeInclusive<Duration>,
    lab: bool,
) -> Result<Duration, units::Want> {
    units::duration(value, range).map_err(|want| {
        let shorter = units::duration(value, &(Duration::ZERO..=*range.end())).is_ok();
        match shorter && !lab {
            true => want.hint("lab.allow_short_times permits less, for tests"),
            false => want,
        }
    })
}

/// The outer `None`: it is wrong; the inner: it is off.
fn api(section: &Section<'_>, findings: &mut Findings) -> Option<Option<Api>> {
    let enabled = section.take("enabled", findings, units::flag);
    let worker_metrics = section.take("worker_metrics", findings, units::flag);
    let address: Option<SocketAddr> = section.take("listen", findings, units::address);
    let address = address?;
    if !address.ip().is_loopback() {
        // Orders want credentials everywhere; what is only read does not ask for any.
        let message = format!("{address} can be reached from outside, and nothing asks who reads");
        let finding = Finding::said(Severity::Error, &section.path("listen"), message);
        let hint = "use 127.0.0.1, with a reverse proxy that has TLS and asks who it is before it";
        findings.push(finding.hint(hint).at(section.place("listen")));
    }
    let worker_metrics = worker_metrics?;
    Some(enabled?.then_some(Api {
        address,
        worker_metrics,
    }))
}

fn log(section: &Section<'_>, findings: &mut Findings) -> Option<Log> {
    let filter = section.take("filter", findings, units::filter);
    let words = [("text", false), ("json", true)];
    let json = section.take("format", findings, |v| units::either(v, words));
    Some(Log {
        filter: filter?,
        json: json?,
    })
}

/// Shards (0 becomes one per core) and grace.
fn run(section: &Section<'_>, lab: bool, findings: &mut Findings) -> Option<(usize, Duration)> {
    // A shard is a thread; more than 256 cores have not been tried.
    let shards = section.take("shards", findings, |v| units::whole(v, &(0..=256)));
    let least = Duration::from_secs(u64::from(!lab));
    let range = least..=Duration::from_secs(600);
    let grace = section.take("grace", findings, |v| units::duration(v, &range));
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards = match shards? {
        0 => cores().min(256),
        some => some as usize,
    };
    Some((shards, grace?))
}
