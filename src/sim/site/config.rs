//! What a simulated site consists of, and how its machines are dealt.
//!
//! Not the proxy's configuration. Invariant: the same configuration and seed give the same machines with the same faults.

use super::{
    device::Device,
    faults::Faults,
    model::{Family, Model},
};
use crate::sim::{fleet::Protocol, rng::Rng, temperament::Temperament};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Where the firmware families listen, on the address of every machine; 0: any free port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// LuxOS.
    pub luxos: u16,
    /// WhatsMiner API v3.
    pub whatsminer: u16,
    /// Bitaxe.
    pub bitaxe: u16,
}

impl Ports {
    /// The real ones; 80 needs the right to open it.
    pub const REAL: Self = Self {
        luxos: 4028,
        whatsminer: 4433,
        bitaxe: 80,
    };
    /// Whatever is free.
    pub const ANY: Self = Self {
        luxos: 0,
        whatsminer: 0,
        bitaxe: 0,
    };

    /// Of one family.
    pub fn of(&self, family: Family) -> u16 {
        match family {
            Family::Luxos => self.luxos,
            Family::Whatsminer => self.whatsminer,
            Family::Bitaxe => self.bitaxe,
        }
    }

    pub(super) fn of_mut(&mut self, family: Family) -> &mut u16 {
        match family {
            Family::Luxos => &mut self.luxos,
            Family::Whatsminer => &mut self.whatsminer,
            Family::Bitaxe => &mut self.bitaxe,
        }
    }
}

/// Part of a site's wiring: so many machines, the next ones by number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feeder {
    /// Its name.
    pub name: String,
    /// How many; what is left over hangs on the last feeder.
    pub machines: usize,
}

/// A site to start.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// How many machines.
    pub machines: usize,
    /// Families and their weights; dealt alternately, each from its own models in turn.
    pub mix: Vec<(Family, u32)>,
    /// All machines are of this model instead.
    pub model: Option<Model>,
    /// Where all of them mine; without it they draw power and hash nothing.
    pub pool: Option<SocketAddr>,
    /// Worker name; `{n}` becomes the machine's number, from 1.
    pub user: String,
    /// What machines mine by, dealt out in turn; empty: V1 for all.
    pub protocols: Vec<Protocol>,
    /// The authority key that V2 machines expect of their pool (base58check, as a URL writes it); `None`: any is taken.
    pub authority: Option<String>,
    /// Hashes per second of the whole site, for real on this computer; dealt in proportion to the models' hashrates.
    pub hashrate: f64,
    /// Where machines hang; empty: one feeder named `main`.
    pub feeders: Vec<Feeder>,
    /// What is wrong with how many.
    pub faults: Faults,
    /// Password of the firmware's write calls.
    pub firmware_password: String,
    /// Where the firmware listens.
    pub ports: Ports,
    /// Boots take this instead of the family's time.
    pub boot_time: Option<Duration>,
    /// What all machines draw above their nameplate, as a part of it (negative: below).
    pub watts_bias: f64,
    /// Standard deviation of what each draws, as a part of its nameplate; cut off at three.
    pub watts_spread: f64,
    /// All chance comes from here.
    pub seed: u64,
}

impl SiteConfig {
    /// A healthy mixed site without a pool, on free ports.
    pub fn new(machines: usize) -> Self {
        Self {
            machines,
            mix: vec![
                (Family::Luxos, 40),
                (Family::Whatsminer, 50),
                (Family::Bitaxe, 10),
            ],
            model: None,
            pool: None,
            user: "site.{n}".into(),
            protocols: Vec::new(),
            authority: None,
            hashrate: 300_000.0,
            feeders: Vec::new(),
            faults: Faults::default(),
            firmware_password: "super".into(),
            ports: Ports::ANY,
            boot_time: None,
            watts_bias: 0.0,
            watts_spread: 0.0,
            seed: 1,
        }
    }

    /// The machines, as they are at `now`.
    pub fn devices(&self, now: Instant) -> Vec<Device> {
        let models = self.models();
        let faults = self.faults.deal(self.machines, self.seed);
        let mut rng = Rng::new(self.seed ^ 0x5174);
        let device = |(model, fault): (&Model, _)| {
            let off = self.watts_bias + self.watts_spread * normal(&mut rng).clamp(-3.0, 3.0);
            let mut device = Device::new(now, *model, (1.0 + off).max(0.1), fault, rng.next_u64());
            if let Some(time) = self.boot_time {
                device.set_boot_time(time);
            }
            device
        };
        models.iter().zip(faults).map(device).collect()
    }

    /// Which feeder each machine hangs on, as a place in [`SiteConfig::feeder_names`].
    pub fn wiring(&self) -> Vec<usize> {
        let counts = self.feeders.iter().enumerate();
        let wired = counts.flat_map(|(feeder, f)| std::iter::repeat_n(feeder, f.machines));
        let last = self.feeders.len().saturating_sub(1);
        wired
            .chain(std::iter::repeat(last))
            .take(self.machines)
            .collect()
    }

    /// The feeders by name.
    pub fn feeder_names(&self) -> Vec<String> {
        match self.feeders.is_empty() {
            true => vec!["main".into()],
            false => self
                .feeders
                .iter()
                .map(|feeder| feeder.name.clone())
                .collect(),
        }
    }

    /// Each machine's model, its hashrate scaled so that the site's is `self.hashrate`.
    fn models(&self) -> Vec<Model> {
        let models: Vec<Model> = match self.model {
            Some(model) => vec![model; self.machines],
            None => deal(&self.mix, self.machines),
        };
        let sum: f64 = models.iter().map(|model| model.hashrate).sum();
        let factor = self.hashrate / sum.max(1.0);
        models
            .into_iter()
            .map(|model| model.scaled(factor))
            .collect()
    }
}

/// What the Stratum side of a family behaves like.
pub(super) fn temperament(family: Family) -> Temperament {
    match family {
        Family::Luxos => Temperament::Cgminer,
        Family::Whatsminer => Temperament::Whatsminer,
        Family::Bitaxe => Temperament::Bitaxe,
    }
}

/// Families in proportion to their weights, as evenly mixed as can be; each family's models in turn.
fn deal(mix: &[(Family, u32)], machines: usize) -> Vec<Model> {
    let total: u32 = mix.iter().map(|(_, weight)| weight).sum();
    let mut credit = vec![0_i64; mix.len()];
    let mut dealt = vec![0_usize; mix.len()];
    let mut models = Vec::with_capacity(machines);
    while total > 0 && models.len() < machines {
        for (credit, (_, weight)) in credit.iter_mut().zip(mix) {
            *credit += i64::from(*weight);
        }
        let next = (0..mix.len())
            .max_by_key(|i| credit[*i])
            .expect("a total above 0 has a part");
        credit[next] -= i64::from(total);
        let rows = Model::of(mix[next].0);
        models.push(rows[dealt[next] % rows.len()]);
        dealt[next] += 1;
    }
    models
}

/// Standard normal, near enough: twelve uniform numbers less six.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_dealt_in_proportion_and_evenly() {
        let config = SiteConfig::new(200);
        let models = config.models();
        let count = |family, upto| {
            models[..upto]
                .iter()
                .filter(|m: &&Model| m.family == family)
                .count()
        };
        assert_eq!(Family::ALL.map(|family| count(family, 200)), [80, 100, 20]);
        assert_eq!(Family::ALL.map(|family| count(family, 20)), [8, 10, 2]);
        let sum: f64 = models.iter().map(|model| model.hashrate).sum();
        assert!((sum - 300_000.0).abs() < 1.0);
    }

    #[test]
    fn machines_hang_on_feeders_by_number_and_the_rest_on_the_last() {
        let feeder = |name: &str, machines| Feeder {
            name: name.into(),
            machines,
        };
        let config = SiteConfig {
            feeders: vec![feeder("a", 2), feeder("b", 1)],
            ..SiteConfig::new(5)
        };
        assert_eq!(config.wiring(), [0, 0, 1, 1, 1]);
        assert_eq!(SiteConfig::new(2).wiring(), [0, 0]);
        assert_eq!(SiteConfig::new(2).feeder_names(), ["main"]);
    }

    #[test]
    fn what_machines_draw_is_off_by_the_bias_and_spread_asked_for() {
        let config = SiteConfig {
            watts_bias: 0.04,
            watts_spread: 0.06,
            ..SiteConfig::new(4_000)
        };
        let devices = config.devices(Instant::now());
        let off: Vec<f64> = devices
            .iter()
            .map(|d| d.full_watts() / d.model().watts - 1.0)
            .collect();
        let mean = off.iter().sum::<f64>() / 4_000.0;
        let variance = off.iter().map(|o| (o - mean).powi(2)).sum::<f64>() / 4_000.0;
        assert!(
            (mean - 0.04).abs() < 0.005 && (variance.sqrt() - 0.06).abs() < 0.005,
            "{mean} {variance}"
        );
    }
}
