//! What comes every second: shares, connections, the meter, GPU telemetry, heartbeats. And how all of them break.
//!
//! Invariant: the meter, as every sense here, is made from the truth of the machines, never from what they say.

use crate::clock::S;
use crate::event::Ev;
use crate::plan::Plan;
use crate::world::World;
use sluice::curtail::controller::Input;
use sluice::curtail::{Setpoint, Watts};
use sluice::sim::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Knobs of the senses.
#[derive(Debug)]
pub struct Senses {
    /// Sources that beat every 5 s.
    pub beating: BTreeSet<String>,
    /// Highest sequence number of each source.
    pub seqs: BTreeMap<String, u64>,
    /// The meter shows this for ever.
    pub frozen: Option<Watts>,
    /// The meter is silent.
    pub meter_lost: bool,
    /// GPU telemetry is silent.
    pub gpu_lost: bool,
    /// What GPU jobs draw, at the wall.
    pub jobs: BTreeMap<String, f64>,
    /// What GPUs draw without jobs.
    pub gpu_base: f64,
    last: (i64, u32),
}

impl Senses {
    pub fn new(plan: &Plan) -> Self {
        Self {
            beating: BTreeSet::new(),
            seqs: BTreeMap::new(),
            frozen: None,
            meter_lost: false,
            gpu_lost: false,
            jobs: BTreeMap::new(),
            gpu_base: plan.gpu_base,
            last: (0, 0),
        }
    }

    /// What GPUs draw, in truth.
    pub fn gpu(&self) -> f64 {
        self.gpu_base + self.jobs.values().sum::<f64>()
    }
}

impl World {
    /// A second has passed.
    pub fn second(&mut self) {
        let next = self.clock.now() + S;
        self.clock.plan(next, Ev::Second);
        self.measure();
        if self.controller.is_none() {
            return;
        }
        self.feed(Input::Clock(self.wall()));
        for n in 0..self.units.len() {
            self.sense(n);
        }
        self.meter();
        let seconds = self.clock.now() / S;
        if seconds.is_multiple_of(5) {
            if self.plan.site.telemetry.gpu_nameplate.is_some() {
                let gpu = Watts(self.senses.gpu().round() as i64);
                self.feed(Input::Gpu((!self.senses.gpu_lost).then_some(gpu)));
            }
            for source in self.senses.beating.clone() {
                self.beat(&source);
            }
        }
    }

    fn sense(&mut self, n: usize) {
        let now = self.clock.instant();
        let unit = &mut self.units[n];
        let hashing = unit.device.hashing(now);
        let connected = hashing > 0.0;
        if unit.connected != connected {
            unit.connected = connected;
            let machine = Self::id(n);
            self.feed(Input::Connected { machine, connected });
        }
        if self.units[n].told.0 == Setpoint::Run {
            return;
        }
        let full = self.plan.shares_per_minute / 60.0;
        let shares = poisson(&mut self.rng, full * hashing);
        self.feed(Input::Shares {
            machine: Self::id(n),
            shares,
            full,
        });
    }

    fn meter(&mut self) {
        let Some(metered) = self.plan.site.telemetry.meter else {
            return;
        };
        let elsewhere = match metered {
            sluice::curtail::site::Metered::Mining => 0.0,
            sluice::curtail::site::Metered::Site => {
                self.plan.site.other_load.0 as f64 + self.senses.gpu()
            }
        };
        let off = 1.0 + self.plan.meter_bias + self.plan.meter_noise * normal(&mut self.rng);
        let shows = ((self.books.truth.site + elsewhere) * off).round() as i64;
        let shows = self.senses.frozen.map_or(shows, |watts| watts.0);
        // The scraper's rule: ten equal samples are a frozen meter.
        self.senses.last = match self.senses.last {
            (watts, times) if watts == shows => (shows, times + 1),
            _ => (shows, 1),
        };
        let good = !self.senses.meter_lost && self.senses.last.1 < 10;
        self.feed(Input::Meter(good.then_some(Watts(shows))));
    }
}

/// Knuth's method: means here are far below one.
fn poisson(rng: &mut Rng, mean: f64) -> u32 {
    if mean <= 0.0 {
        return 0;
    }
    let floor = (-mean).exp();
    let (mut product, mut n) = (rng.unit(), 0);
    while product > floor {
        product *= rng.unit();
        n += 1;
    }
    n
}

/// Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * rng.unit().ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}
