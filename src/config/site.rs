//! Curtailment as configured: `[site]` and what belongs to it. Without `[site]` there is none.
//!
//! The types are here; each table is read in a file of its own under `site/`. What the controller decides with is
//! [`Site`]; the rest is for the tasks round it. Invariant: index i of [`SiteConfig::source_keys`] and of
//! [`Bindings::of_groups`] belongs to the same index of `site.sources` and `site.groups`.

mod bindings;
mod calendar;
mod law;
mod models;
mod parts;
pub(super) mod read;
pub(super) mod senders;
mod telemetry;

pub use bindings::{Binding, Bindings, Firmware, Range};

use crate::curtail::Watts;
use crate::curtail::fleet::Model;
use crate::curtail::site::{Metered, Site};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// More than any site: the largest power station.
const MOST_WATTS: Watts = Watts(25_000_000_000);

/// A site and everything that its curtailment needs.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// What the controller decides with.
    pub site: Site,
    /// The model table: what is built in, overridden and extended by `[[model]]`. See [`Self::model`].
    pub models: Vec<Model>,
    /// Which machine belongs to which group, and how it is spoken to.
    pub bindings: Bindings,
    /// For the drivers.
    pub actuators: Actuators,
    /// The site meter, where there is one.
    pub meter: Option<Meter>,
    /// GPU telemetry, where there is some.
    pub gpu: Option<Gpu>,
    /// The HMAC key of each source; `None`: it can only speak through a token.
    pub source_keys: Vec<Option<Secret>>,
    /// The file of the ledger.
    pub ledger: PathBuf,
    /// What becomes of the machines when the proxy ends.
    pub on_exit: OnExit,
    /// Whether `curtail.lab` permits what no farm should do.
    pub lab: bool,
}

/// A bearer token of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// In the audit.
    pub name: String,
    /// What is sent.
    pub secret: Secret,
    /// May read what is not open to everyone.
    pub read: bool,
    /// May send orders, reservations and heartbeats, and end its own.
    pub curtail: bool,
    /// May end others' orders, and stop everything.
    pub admin: bool,
    /// The only source in whose name it speaks; `None`: any.
    pub source: Option<String>,
}

/// What becomes of the machines when the proxy ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// Setpoints stay as they are.
    Leave,
    /// Mining goes to the safe watts first, within the grace period.
    Safe,
}

/// For the drivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actuators {
    /// TCP port by family.
    pub ports: BTreeMap<String, u16>,
    /// Who writes, by family, where it asks for that. Without one its machines are only read.
    pub accounts: BTreeMap<String, Account>,
    /// LuxOS is trimmed by profiles.
    pub profiles: bool,
    /// Machines are simulated on loopback.
    pub simulation: bool,
    /// Most calls at once, over all machines.
    pub in_flight: usize,
}

/// An account of a firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// As the firmware knows it.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// The site meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// Prometheus text is scraped here.
    pub url: Url,
    /// Name of the gauge.
    pub metric: String,
    /// Labels that its series must have, all of them.
    pub labels: Vec<(String, String)>,
    /// Series that match: 3 where each phase has its own, which are summed. Another number is a fault.
    pub series: usize,
    /// Watts per unit of the metric: 1, or 1,000 for kilowatts.
    pub watts_per_unit: f64,
    /// What it counts.
    pub measures: Metered,
    /// Between scrapes.
    pub every: Duration,
    /// A scrape counts as fresh for this long.
    pub max_age: Duration,
}

/// GPU telemetry by DCGM exporters.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Prometheus text is scraped at each.
    pub urls: Vec<Url>,
    /// Name of the gauge, watts of one GPU.
    pub metric: String,
    /// Nodes behind each url.
    pub nodes: usize,
    /// GPUs of a node.
    pub gpus_per_node: usize,
    /// The most that one GPU draws, in watts: its power limit.
    pub gpu_nameplate_watts: f64,
    /// Watts at the wall per GPU watt (power supplies, fans); 1 or more.
    pub node_factor: f64,
    /// Watts at the wall of a node beside its GPUs (processors, memory, network).
    pub node_watts: f64,
    /// Between scrapes.
    pub every: Duration,
    /// A scrape counts as fresh for this long.
    pub max_age: Duration,
    /// A GPU's last good sample stands in for missing ones for this long; then its nameplate does.
    pub hold: Duration,
}

/// A key or password. It has no way to be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What it is, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl SiteConfig {
    /// The row of a model as the firmware or a person writes it: without regard to case, blanks, the maker's name, or
    /// the variant behind an underscore (`M50S_VH30`). `None`: nothing is known of it, and nothing is guessed.
    pub fn model(&self, name: &str) -> Option<&Model> {
        let wanted = plain(name);
        let short = wanted.split('_').next().unwrap_or(&wanted);
        let by = |name: &str| self.models.iter().find(|model| plain(&model.name) == name);
        by(&wanted).or_else(|| by(short))
    }

    /// One line: "site north: 5.00 MW, 3 feeders, 4 groups, 2 sources".
    pub fn summary(&self) -> String {
        let site = &self.site;
        let many = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        format!(
            "site {}: {}, {}, {}, {}",
            site.name,
            site.limit,
            many(site.feeders.len(), "feeder"),
            many(site.groups.len(), "group"),
            many(site.sources.len(), "source"),
        )
    }
}

/// A model's name as it is compared.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = ["antminer", "whatsminer", "avalonminer", "avalon"]
        .iter()
        .find_map(|maker| name.trim_start().strip_prefix(maker))
        .unwrap_or(&name);
    name.chars().filter(|c| !matches!(c, ' ' | '-')).collect()
}
