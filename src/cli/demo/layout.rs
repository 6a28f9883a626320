//! What the demo's site consists of, by how many machines there are: machines, feeders, GPU hall, limit; and the job.
//!
//! Opens nothing. Invariant: idle and with all machines mining the site keeps its limit, and with the job running on top
//! it would not: that is the story.

use crate::sim::site::{
    Feeder, Ports, SiteConfig,
    exporter::ExporterConfig,
    hall::{Hall, HallConfig},
    job::JobPlan,
    meter::MeterConfig,
    model::{Family, Model},
    plant::PlantConfig,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

/// Machines of feeder A: those of 127.10.0.0/25, from .1 on. The rest hangs on B.
const ON_A: usize = 127;
/// All machines together, hashes per second: about a tenth of a core with SHA instructions.
const FLEET_HASHRATE: f64 = 300_000.0;
/// One machine at most, on average, hashes per second.
const MACHINE_HASHRATE: f64 = 3_000.0;
/// Watts at the meter per watt of a machine; the same as in config/demo.toml, as are the two below.
const COOLING: f64 = 1.05;
/// Load that is neither mining nor GPUs.
const OTHER_WATTS: f64 = 20_000.0;
/// Kept free under the limit.
const GUARD_WATTS: f64 = 5_000.0;
/// Room under the limit while no job runs, as a part of mining: enough that all machines come back under a noisy meter.
const SPARE: f64 = 0.05;
/// The same as a part of the job at most: it must not fit without asking mining.
const SPARE_OF_JOB: f64 = 0.4;
/// The job takes at most this part of what mining draws.
const JOB_PART: f64 = 1.0 / 3.0;
/// Most nodes of a job: their 500 GPUs are 130 kB of telemetry a second.
const MOST_NODES: usize = 60;
/// How far machines are from their nameplate: the standard deviation. Only the meter sees what they come to.
const WATTS_SPREAD: f64 = 0.02;
/// From idle to full power.
const RAMP: Duration = Duration::from_secs(4);
/// How long the job runs.
const RUN: Duration = Duration::from_secs(12);

/// The site to build.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Machines, without a pool to mine at.
    pub(super) machines: SiteConfig,
    /// Breakers, hall, meter.
    pub(super) plant: PlantConfig,
    /// The job; `None`: there are too few machines to make room for one.
    pub(super) job: Option<JobPlan>,
    /// What the site may draw at the meter, in watts.
    pub(super) limit_watts: f64,
    models: BTreeMap<&'static str, f64>,
}

/// Where the parts that the configuration names can be found.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// Where miners connect.
    pub(super) listen: SocketAddr,
    /// Pools A and B, as URLs.
    pub(super) pools: [String; 2],
    /// The secret by which V2 machines know the proxy.
    pub(super) authority_key: String,
    /// Firmware, on each machine's address.
    pub(super) ports: Ports,
    /// The meter's text.
    pub(super) meter: String,
    /// The DCGM exporter's text.
    pub(super) gpus: String,
    /// A folder for the ledger.
    pub(super) folder: &'a Path,
}

impl Layout {
    /// For so many machines.
    pub(super) fn of(miners: u16) -> Self {
        let count = usize::from(miners);
        let on_a = count.min(ON_A);
        let feeder = |name: &str, machines| Feeder {
            name: name.to_owned(),
            machines,
        };
        let machines = SiteConfig {
            user: "asic{n}".to_owned(),
            hashrate: FLEET_HASHRATE.min(MACHINE_HASHRATE * f64::from(miners)),
            feeders: vec![feeder("A", on_a), feeder("B", count - on_a)],
            watts_spread: WATTS_SPREAD,
            ..SiteConfig::new(count)
        };
        let models: Vec<Model> = machines
            .devices(Instant::now())
            .iter()
            .map(|device| *device.model())
            .collect();
        let watts = |models: &[Model]| models.iter().map(|m| m.watts).sum::<f64>() * COOLING;
        let mining = watts(&models);
        let (hall, job) = hall(mining);
        let idle = Hall::new(Instant::now(), hall.clone()).idle_watts();
        let needs = job.as_ref().map_or(f64::MAX, |job| job.watts as f64);
        let spare = (mining * SPARE).min(needs * SPARE_OF_JOB);
        let limit_watts = kilowatts(mining + spare + idle + OTHER_WATTS + GUARD_WATTS);
        // Mining plans for 80 % of a breaker.
        let rating = |models: &[Model]| kilowatts(watts(models) * 1.1 / 0.8 + 1.0);
        let ratings = [
            ("A", rating(&models[..on_a])),
            ("B", rating(&models[on_a..])),
        ];
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let often = Duration::from_millis(250);
        let exporter = ExporterConfig {
            period: often,
            ..ExporterConfig::default()
        };
        let meter = MeterConfig {
            period: often,
            ..MeterConfig::default()
        };
        let plant = PlantConfig {
            cooling: COOLING,
            other_watts: OTHER_WATTS,
            hall,
            exporter: (exporter, any),
            meter: (meter, any),
            ..PlantConfig::new(limit_watts, &ratings)
        };
        let models = models.iter().map(|m| (reported(m), m.hashrate)).collect();
        Self {
            machines,
            plant,
            job,
            limit_watts,
            models,
        }
    }

    /// What the embedded configuration cannot know, as the environment would say it.
    pub(super) fn vars(&self, places: &Places<'_>) -> Vec<(String, String)> {
        let watts = |watts: f64| format!("{watts:.0} W");
        let mut vars = vec![
            ("V2__AUTHORITY_KEY".to_owned(), places.authority_key.clone()),
            (
                "LISTEN__DEMO__ADDRESS".to_owned(),
                places.listen.to_string(),
            ),
            ("SITE__LIMIT".to_owned(), watts(self.limit_watts)),
            ("METER__URL".to_owned(), places.meter.clone()),
            ("GPU__URLS".to_owned(), places.gpus.clone()),
            ("GPU__NODES".to_owned(), self.plant.hall.nodes.to_string()),
            (
                "CURTAIL__LEDGER".to_owned(),
                places.folder.join("ledger.db").display().to_string(),
            ),
        ];
        for (name, url) in ["A", "B"].iter().zip(&places.pools) {
            vars.push((format!("POOL__{name}__URL"), url.clone()));
        }
        for (name, rating) in &self.plant.feeders {
            vars.push((format!("FEEDER__{name}__RATING"), watts(*rating)));
        }
        for family in Family::ALL {
            let key = format!("ACTUATORS__{}__PORT", family.name().to_uppercase());
            vars.push((key, places.ports.of(family).to_string()));
        }
        for (name, hashrate) in &self.models {
            let name = name.to_uppercase().replace('-', "_");
            vars.push((
                format!("MODEL__{name}__HASHRATE"),
                format!("{hashrate:.4} H/s"),
            ));
        }
        let prefixed = |(key, value)| (format!("SLUICE__{key}"), value);
        vars.into_iter().map(prefixed).collect()
    }
}

/// A hall beside so much mining, and a job in it that needs most of its nodes.
fn hall(mining_watts: f64) -> (HallConfig, Option<JobPlan>) {
    let config = |nodes| HallConfig {
        ramp: RAMP,
        ..HallConfig::new(nodes)
    };
    let one = Hall::new(Instant::now(), config(1)).watts_of_job(1);
    let nodes = ((mining_watts * JOB_PART / one) as usize).min(MOST_NODES);
    let hall = config(nodes + nodes / 5 + 1);
    let job = (nodes > 0).then(|| {
        let watts = Hall::new(Instant::now(), hall.clone()).watts_of_job(nodes);
        JobPlan::new("train", nodes, kilowatts(watts) as i64, RUN)
    });
    (hall, job)
}

/// What a machine's firmware calls it; a Bitaxe tells of its chip.
fn reported(model: &Model) -> &'static str {
    match model.family {
        Family::Bitaxe => "BM1370",
        Family::Luxos | Family::Whatsminer => model.name,
    }
}

/// Rounded up to whole kilowatts, as people ask for them.
fn kilowatts(watts: f64) -> f64 {
    (watts / 1_000.0).ceil() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_keeps_its_limit_until_the_job_runs_and_mining_can_make_room() {
        for miners in [20, 200, 2_000] {
            let layout = Layout::of(miners);
            let job = layout.job.expect("enough machines").watts as f64;
            let hall = Hall::new(Instant::now(), layout.plant.hall.clone());
            let mining = layout.machines.devices(Instant::now());
            let mining: f64 = mining.iter().map(|d| d.model().watts * COOLING).sum();
            let all = mining + hall.idle_watts() + OTHER_WATTS + GUARD_WATTS;
            assert!(all < layout.limit_watts, "{miners}");
            assert!(all + job > layout.limit_watts, "{miners}");
            assert!(job < 0.5 * mining, "{miners}");
        }
        assert_eq!(Layout::of(1).job, None);
    }

    #[test]
    fn each_machine_is_on_the_feeder_that_its_address_says() {
        let wiring = Layout::of(300).machines.wiring();
        for (n, feeder) in wiring.iter().enumerate() {
            let [_, block, row, last] = crate::sim::site::address::address(n).octets();
            let low = (block, row) == (10, 0) && last < 128;
            assert_eq!(*feeder == 0, low, "{n}");
        }
    }

    #[test]
    fn the_breakers_carry_all_machines_within_what_mining_plans_for() {
        let layout = Layout::of(200);
        let sum: f64 = layout.plant.feeders.iter().map(|(_, rating)| rating).sum();
        let mining = layout.machines.devices(Instant::now());
        let mining: f64 = mining.iter().map(|d| d.model().watts * COOLING).sum();
        assert!(sum * 0.8 > mining * 1.05);
        assert_eq!(layout.plant.main_rating_watts, layout.limit_watts);
    }
}
