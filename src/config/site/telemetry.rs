//! `[meter]` and `[gpu]`: what measures the site, and `[actuators]`: what moves it.
//!
//! Invariant: a URL that comes out is `http` or `https`, has a host, and carries no password (it is shown in logs).

use super::{Account, Actuators, Gpu, Meter, Secret};
use crate::config::build::World;
use crate::config::file::Section;
use crate::config::finding::{Findings, Severity};
use crate::config::tree::Value;
use crate::config::units::{self, Want, want};
use crate::config::{quantities, secret};
use crate::curtail::Watts;
use crate::curtail::site::Metered;
use std::time::Duration;
use url::Url;

/// Most DCGM exporters: each is scraped on its own.
const MOST_URLS: usize = 1024;

/// Outer `None`: it is wrong; inner: there is no meter.
pub(super) fn meter(section: &Section<'_>, findings: &mut Findings) -> Option<Option<Meter>> {
    if !section.is_given() {
        return Some(None);
    }
    section.missing("url", "where the meter's Prometheus text is", findings);
    let url = section.take("url", findings, url);
    let metric = section.take("metric", findings, metric);
    let labels = section.take("labels", findings, labels);
    let series = section.take("series", findings, |v| units::whole(v, &(1..=64)));
    let scales = [("W", 1.0), ("kW", 1000.0)];
    let scale = section.take("unit", findings, |v| units::either(v, scales));
    let words = [("site", Metered::Site), ("mining", Metered::Mining)];
    let measures = section.take("measures", findings, |v| units::either(v, words));
    let times = times(section, Duration::from_millis(200), findings);
    let (every, max_age) = times?;
    Some(Some(Meter {
        url: url?,
        metric: metric?,
        labels: labels?,
        series: series? as usize,
        watts_per_unit: scale?,
        measures: measures?,
        every,
        max_age,
    }))
}

/// Outer `None`: it is wrong; inner: there are no GPUs.
pub(super) fn gpu(section: &Section<'_>, findings: &mut Findings) -> Option<Option<Gpu>> {
    if !section.is_given() {
        return Some(None);
    }
    section.missing("urls", "where the DCGM exporters are", findings);
    let urls = section.take("urls", findings, urls);
    let metric = section.take("metric", findings, metric);
    let nodes = section.take("nodes", findings, |v| units::whole(v, &(1..=10_000)));
    let gpus = section.take("gpus_per_node", findings, |v| units::whole(v, &(1..=64)));
    let nameplate = section.take("nameplate", findings, |v| {
        quantities::watts(v, &(Watts(10)..=Watts(10_000)))
    });
    let factor = section.take("node_factor", findings, |v| units::number(v, &(1.0..=2.0)));
    let node = section.take("node_load", findings, |v| {
        quantities::watts(v, &(Watts::ZERO..=Watts(100_000)))
    });
    let range = Duration::ZERO..=Duration::from_secs(600);
    let hold = section.take("hold", findings, |v| units::duration(v, &range));
    let (every, max_age) = times(section, Duration::from_secs(1), findings)?;
    Some(Some(Gpu {
        urls: urls?,
        metric: metric?,
        nodes: nodes? as usize,
        gpus_per_node: gpus? as usize,
        gpu_nameplate_watts: nameplate?.0 as f64,
        node_factor: factor?,
        node_watts: node?.0 as f64,
        every,
        max_age,
        hold: hold?,
    }))
}

impl Gpu {
    /// What all of them draw at the wall at most: what is assumed when telemetry is lost.
    pub fn nameplate(&self) -> Watts {
        let node = self.gpus_per_node as f64 * self.gpu_nameplate_watts * self.node_factor;
        let nodes = (self.urls.len() * self.nodes) as f64;
        // Far below 2^53: 1,024 urls of 10,000 nodes of 1.4 MW are 1.4e13 W. Rounded up, but not by what binary
        // fractions make of a factor of 1.1.
        Watts(((node + self.node_watts) * nodes - 1e-3).ceil() as i64)
    }
}

/// How often, and how long a scrape is fresh: at least as long as it takes until the next.
fn times(
    section: &Section<'_>,
    least: Duration,
    findings: &mut Findings,
) -> Option<(Duration, Duration)> {
    let most = Duration::from_secs(60);
    let every = section.take("every", findings, |v| units::duration(v, &(least..=most)));
    let range = least..=Duration::from_secs(600);
    let max_age = section.take("max_age", findings, |v| units::duration(v, &range));
    let (every, max_age) = (every?, max_age?);
    if max_age <= every {
        let (age, every) = (units::show(max_age), units::show(every));
        let message = format!("stale after {age}, and scraped only every {every}");
        section.say(Severity::Error, "max_age", message, findings);
    }
    Some((every, max_age))
}

/// What the drivers need.
pub(super) fn actuators(
    section: &Section<'_>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Actuators> {
    // A call may take 5 s and needs a descriptor; beyond 4,096 the ordinary 20,000 are in danger.
    let in_flight = section.take("in_flight", findings, |v| units::whole(v, &(1..=4096)));
    let simulation = section.take("simulation", findings, units::flag);
    let luxos = section.inner("actuators.luxos");
    let profiles = luxos.take("profiles", findings, units::flag);
    let whatsminer = section.inner("actuators.whatsminer");
    let families = [
        ("luxos", &luxos),
        ("whatsminer", &whatsminer),
        ("bitaxe", &section.inner("actuators.bitaxe")),
    ];
    let ports = families.map(|(family, section)| {
        let port = section.take("port", findings, |v| units::whole(v, &(1..=65_535)));
        let port = port.and_then(|port| u16::try_from(port).ok());
        port.map(|port| (family.to_owned(), port))
    });
    let account = account(&whatsminer, world, findings)?;
    let accounts = account.map(|account| ("whatsminer".to_owned(), account));
    Some(Actuators {
        ports: ports.into_iter().collect::<Option<_>>()?,
        accounts: accounts.into_iter().collect(),
        profiles: profiles?,
        simulation: simulation?,
        in_flight: in_flight? as usize,
    })
}

/// Outer `None`: it is wrong; inner: there is none.
fn account(
    section: &Section<'_>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Option<Account>> {
    let name = section.take("account", findings, |v| units::line(v, 64));
    if section.given("password").is_none() {
        return name.map(|_| None);
    }
    let password = section.take("password", findings, |v| secret::read(v, world));
    Some(Some(Account {
        name: name?,
        password: Secret(password?),
    }))
}

fn url(value: &Value) -> Result<Url, Want> {
    let wanted = || want("http://HOST:PORT/PATH or https://HOST:PORT/PATH");
    let url = Url::parse(units::text(value)?.trim()).map_err(|_| wanted())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wanted().hint("no user and password in it"));
    }
    match matches!(url.scheme(), "http" | "https") && url.has_host() {
        true => Ok(url),
        false => Err(wanted()),
    }
}

fn urls(value: &Value) -> Result<Vec<Url>, Want> {
    let texts = units::list(value)?;
    let mut urls = Vec::new();
    for text in texts {
        let one = url(&Value::Text(text))?;
        if urls.contains(&one) {
            return Err(want("each url once").hint(format!("{one} is there twice")));
        }
        urls.push(one);
    }
    match (1..=MOST_URLS).contains(&urls.len()) {
        true => Ok(urls),
        false => Err(want(format!("1 to {MOST_URLS} urls"))),
    }
}

/// A metric's name, or a label's (Prometheus data model).
fn metric(value: &Value) -> Result<String, Want> {
    let name = units::text(value)?;
    match is_metric(name, ":_") {
        true => Ok(name.to_owned()),
        false => Err(want("the name of a metric: letters, digits, _ and :")),
    }
}

fn is_metric(name: &str, others: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    (1..=200).contains(&name.len())
        && name.chars().all(fits)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// `{ meter = "main" }`.
fn labels(value: &Value) -> Result<Vec<(String, String)>, Want> {
    let wanted = || want("labels such as { meter = \"main\" }");
    let Value::Table(table) = value else {
        return Err(wanted());
    };
    let pair = |entry: &crate::config::tree::Entry| {
        let value = units::line(&entry.node.value, 200).ok()?;
        is_metric(&entry.key, "_").then(|| (entry.key.clone(), value))
    };
    let pairs: Option<Vec<_>> = table.0.iter().map(pair).collect();
    pairs.filter(|pairs| pairs.len() <= 16).ok_or_else(wanted)
}
