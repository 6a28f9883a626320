//! `sluice sim site`.
//!
//! Turns arguments into a [`SiteConfig`] and a site into a line a second. Invariant: machines live on loopback addresses and
//! mine on loopback alone, unless the pool is said to be one's own.

use super::{Course, fail, fleet::resolve, say, status, until_over_each};
use crate::cli::{exit, units};
use crate::sim::site::{
    Feeder, MachineView, Ports, Site, SiteConfig, SiteHandle, SiteReport, address::address,
    faults::Faults, model::Family,
};
use crate::sim::{stats::MinerStats, watch::Violation};
use serde_json::json;
use std::{process::ExitCode, time::Duration};

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(1);

/// Arguments of `sim site`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many machines
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    machines: u32,
    /// Firmware families and their weights
    #[arg(long, default_value = "luxos=40,whatsminer=50,bitaxe=10", value_name = "FAMILY=WEIGHT,...", value_parser = mix)]
    mix: Mix,
    /// Pool or proxy to mine at; without it, machines draw power and hash nothing. Outside loopback only with
    /// --i-own-this-pool
    #[arg(long, value_name = "URL")]
    pool: Option<String>,
    /// Hashrate of the whole site; real hashing, so keep it below a few MH/s
    #[arg(long, default_value = "300 kH/s", value_parser = units::hashrate)]
    hashrate: f64,
    /// Worker name; n in braces becomes the machine's number
    #[arg(long, default_value = "site.{n}", value_name = "NAME")]
    user: String,
    /// A feeder and how many machines hang on it, the next ones by number; may be given often
    #[arg(long = "feeder", value_name = "NAME=N", value_parser = feeder)]
    feeders: Vec<Feeder>,
    /// Password of WhatsMiner write calls
    #[arg(long, default_value = "super")]
    firmware_password: String,
    /// Port of LuxOS on every machine's address; 0: any free one
    #[arg(long, default_value_t = Ports::REAL.luxos, value_name = "PORT")]
    luxos_port: u16,
    /// Port of WhatsMiner API v3
    #[arg(long, default_value_t = Ports::REAL.whatsminer, value_name = "PORT")]
    whatsminer_port: u16,
    /// Port of the Bitaxe interface; the real one, 80, needs the right to open it
    #[arg(long, default_value_t = Ports::REAL.bitaxe, value_name = "PORT")]
    bitaxe_port: u16,
    #[command(flatten)]
    faults: FaultArgs,
    /// All machines draw this much more than their nameplate says
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    bias: f64,
    /// Standard deviation of what each draws, as a part of its nameplate
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    spread: f64,
    /// How long a boot takes, instead of the family's time
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    boot_time: Option<Duration>,
    /// Allow a pool outside loopback: simulated miners must not reach strangers' pools by mistake
    #[arg(long)]
    i_own_this_pool: bool,
    #[command(flatten)]
    course: Course,
}

/// What is wrong with how many of the machines; each has one fault at most.
#[derive(Debug, clap::Args)]
struct FaultArgs {
    /// Say ok and keep hashing
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    liars: f64,
    /// The telemetry of liars lies too
    #[arg(long)]
    lies_in_telemetry: bool,
    /// Obey, and never answer an order
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    timeouts: f64,
    /// Obey, and answer an order with an error
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    errors: f64,
    /// Answer late
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    slow: f64,
    /// How late
    #[arg(long, default_value = "2s", value_parser = units::duration, value_name = "TIME")]
    slow_by: Duration,
    /// Have no session or connection left
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    exhausted: f64,
    /// Boot at random
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    reboots: f64,
    /// How far apart, on average
    #[arg(long, default_value = "2m", value_parser = units::duration, value_name = "TIME")]
    reboot_every: Duration,
    /// Are another machine after a while
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    swapped: f64,
    /// After what while
    #[arg(long, default_value = "30s", value_parser = units::duration, value_name = "TIME")]
    swapped_after: Duration,
    /// Refuse every order
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    refuse: f64,
    /// Have their thermal manager on, which refuses profiles (LuxOS)
    #[arg(long, default_value = "0%", value_parser = units::percentage, value_name = "PERCENT")]
    atm: f64,
}

/// Families and weights. A newtype, since clap takes a `Vec` for an argument that may be given often.
#[derive(Clone, Debug)]
struct Mix(Vec<(Family, u32)>);

pub(super) async fn run(args: &Args) -> ExitCode {
    let pool = args
        .pool
        .as_ref()
        .map(|url| resolve(url, args.i_own_this_pool))
        .transpose();
    let pool = match pool {
        Ok(pool) => pool,
        Err((code, why)) => return fail(code, &why),
    };
    let config = SiteConfig {
        pool,
        ..args.config()
    };
    let site = match Site::start(&config) {
        Ok(site) => site,
        Err(error) => {
            let family = error.family.name();
            let why =
                format!("{error}; choose another with --{family}-port, or 0 for any free one");
            return fail(exit::ENVIRONMENT, &why);
        }
    };
    status(&opening(&site, args.machines));
    until_over_each(EVERY, &args.course, |elapsed| {
        status(&line(&site, elapsed));
    })
    .await;
    let last = site.machines();
    let report = site.stop().await;
    let bad = report.miners.as_ref().and_then(bad);
    say(&if args.course.json {
        as_json(&last, &report, bad.is_none())
    } else {
        as_words(&last, &report, bad.as_deref())
    });
    ExitCode::from(u8::from(bad.is_some()))
}

impl Args {
    fn config(&self) -> SiteConfig {
        SiteConfig {
            mix: self.mix.0.clone(),
            user: self.user.clone(),
            hashrate: self.hashrate,
            feeders: self.feeders.clone(),
            faults: self.faults.faults(),
            firmware_password: self.firmware_password.clone(),
            ports: Ports {
                luxos: self.luxos_port,
                whatsminer: self.whatsminer_port,
                bitaxe: self.bitaxe_port,
            },
            boot_time: self.boot_time,
            watts_bias: self.bias,
            watts_spread: self.spread,
            seed: self.course.seed,
            ..SiteConfig::new(self.machines as usize)
        }
    }
}

impl FaultArgs {
    fn faults(&self) -> Faults {
        Faults {
            acks_only: self.liars,
            lies_in_telemetry: self.lies_in_telemetry,
            errors_though_applied: self.errors,
            silent_though_applied: self.timeouts,
            slow: self.slow,
            slow_by: self.slow_by,
            exhausted: self.exhausted,
            reboots: self.reboots,
            reboot_every: self.reboot_every,
            swapped: self.swapped,
            swapped_after: self.swapped_after,
            refuses: self.refuse,
            atm: self.atm,
        }
    }
}

fn opening(site: &SiteHandle, machines: u32) -> String {
    let ports = site.ports();
    format!(
        "{machines} simulated machines at {}..{}: LuxOS on port {}, WhatsMiner on {}, Bitaxe on {}; {} at full power",
        address(0),
        address(machines as usize - 1),
        ports.luxos,
        ports.whatsminer,
        ports.bitaxe,
        watts(site.mining_watts()),
    )
}

fn line(site: &SiteHandle, elapsed: Duration) -> String {
    let machines = site.machines();
    let count = |so: fn(&MachineView) -> bool| machines.iter().filter(|m| so(m)).count();
    let sum: f64 = machines.iter().map(|m| m.watts).sum();
    let mut line = format!(
        "{:>8}  {}, {} hashing, {} told to be off, {} dark, {} orders",
        units::show_duration(elapsed),
        watts(sum),
        count(|m| m.hashing > 0.0),
        count(|m| m.asleep),
        count(|m| !m.reachable),
        site.counts().orders,
    );
    if let Some(miners) = site.miners() {
        line += &format!(", {} connected, {} shares", miners.mining, miners.accepted);
    }
    line
}

/// Why this is no good end. A connection that the other side ended breaks no rule: a proxy may be restarted, and stops
/// before its site.
fn bad(miners: &MinerStats) -> Option<String> {
    if miners.accepted == 0 {
        return Some("no share was accepted".into());
    }
    let broken = miners.violations.iter();
    let broken: Vec<_> = broken
        .filter(|(violation, count)| **violation != Violation::HungUp && **count > 0)
        .map(|(violation, count)| format!("{count} x {}", violation.words()))
        .collect();
    (!broken.is_empty()).then(|| format!("rules of the wire were broken: {}", broken.join(", ")))
}

fn as_words(last: &[MachineView], report: &SiteReport, bad: Option<&str>) -> String {
    let counts = report.counts;
    let mut lines = vec![
        format!(
            "firmware     {} connections, {} turned away, {} requests, {} orders, {} ended for nonsense",
            counts.connections,
            counts.turned_away,
            counts.requests,
            counts.orders,
            counts.bad_frames
        ),
        format!(
            "wear         {} times from on to off, {} boots",
            report.wear.power_cycles, report.wear.boots
        ),
        format!(
            "power        {} at the end",
            watts(last.iter().map(|m| m.watts).sum())
        ),
    ];
    if let (Some(first), Some(end)) = (counts.first_order, counts.last_order) {
        lines.push(format!(
            "orders       received within {}",
            units::show_duration(end - first)
        ));
    }
    if let Some(miners) = &report.miners {
        lines.push(format!(
            "mining       {} connections, {} shares accepted, {} refused, {} unanswered",
            miners.connects,
            miners.accepted,
            miners.rejected_total(),
            miners.unanswered
        ));
        if let Some(ended) = miners.violations.get(&Violation::HungUp) {
            lines.push(format!(
                "             {ended} connections ended by the peer"
            ));
        }
    }
    lines.push(match bad {
        None => "result       good".to_owned(),
        Some(why) => format!("result       bad: {why}"),
    });
    lines.join("\n")
}

fn as_json(last: &[MachineView], report: &SiteReport, good: bool) -> String {
    let counts = report.counts;
    let spread = counts
        .first_order
        .zip(counts.last_order)
        .map(|(first, end)| (end - first).as_micros() as u64);
    json!({
        "good": good,
        "watts": last.iter().map(|m| m.watts).sum::<f64>().round() as u64,
        "hashing": last.iter().filter(|m| m.hashing > 0.0).count(),
        "asleep": last.iter().filter(|m| m.asleep).count(),
        "connections": counts.connections,
        "turned_away": counts.turned_away,
        "requests": counts.requests,
        "orders": counts.orders,
        "orders_within_micros": spread,
        "bad_frames": counts.bad_frames,
        "power_cycles": report.wear.power_cycles,
        "boots": report.wear.boots,
        "accepted": report.miners.as_ref().map(|m| m.accepted),
        "rejected": report.miners.as_ref().map(|m| m.rejected_total()),
        "violations": report.miners.as_ref().map(|m| m.violations_total()),
    })
    .to_string()
}

/// `512 kW`, `4.20 MW`.
fn watts(watts: f64) -> String {
    match watts {
        w if w < 10e3 => format!("{w:.0} W"),
        w if w < 1e6 => format!("{:.1} kW", w / 1e3),
        w => format!("{:.3} MW", w / 1e6),
    }
}

/// `luxos=40,whatsminer=50`.
fn mix(text: &str) -> Result<Mix, String> {
    let wrong = || {
        format!(
            "'{text}' is not a mix: write luxos=40,whatsminer=50,bitaxe=10 (families alone, weights above 0)"
        )
    };
    let part = |part: &str| {
        let (family, weight) = part.split_once('=')?;
        let weight = weight
            .trim()
            .parse()
            .ok()
            .filter(|weight| (1..=10_000).contains(weight))?;
        Some((Family::by_name(family.trim())?, weight))
    };
    let parts: Option<Vec<_>> = text.split(',').map(part).collect();
    parts
        .filter(|parts| parts.len() <= Family::ALL.len())
        .map(Mix)
        .ok_or_else(wrong)
}

/// `hall-1=100`.
fn feeder(text: &str) -> Result<Feeder, String> {
    let (name, machines) = text.split_once('=').unwrap_or((text, ""));
    match machines.trim().parse() {
        Ok(machines) if !name.trim().is_empty() => Ok(Feeder {
            name: name.trim().to_owned(),
            machines,
        }),
        _ => Err(format!(
            "'{text}' is not a feeder: write its name and how many machines, such as hall-1=100"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_families_with_weights_and_nothing_else() {
        assert_eq!(
            mix("luxos=1, bitaxe=2").unwrap().0,
            [(Family::Luxos, 1), (Family::Bitaxe, 2)]
        );
        for wrong in [
            "",
            "luxos",
            "luxos=0",
            "avalon=3",
            "luxos=-1",
            "luxos=1,luxos=1,luxos=1,luxos=1",
        ] {
            assert!(mix(wrong).unwrap_err().contains("luxos=40"), "{wrong}");
        }
    }

    #[test]
    fn a_feeder_is_a_name_and_a_number() {
        assert_eq!(
            feeder("hall-1=100").unwrap(),
            Feeder {
                name: "hall-1".into(),
                machines: 100
            }
        );
        for wrong in ["hall-1", "=100", "hall-1=many"] {
            assert!(feeder(wrong).unwrap_err().contains("hall-1=100"), "{wrong}");
        }
    }

    #[test]
    fn a_connection_that_the_peer_ended_breaks_no_rule_and_a_broken_rule_is_named() {
        let mut miners = MinerStats::default();
        assert_eq!(bad(&miners).as_deref(), Some("no share was accepted"));
        miners.accepted = 1;
        miners.violated(Violation::HungUp);
        assert_eq!(bad(&miners), None);
        miners.violated(Violation::ReplyOutOfOrder);
        let why = "rules of the wire were broken: 1 x replies out of order";
        assert_eq!(bad(&miners).as_deref(), Some(why));
    }

    #[test]
    fn watts_are_shown_with_their_unit() {
        assert_eq!(
            [watts(812.4), watts(45_678.0), watts(4_200_000.0)],
            ["812 W", "45.7 kW", "4.200 MW"]
        );
    }
}
