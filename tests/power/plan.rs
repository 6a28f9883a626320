//! What a world is made of: the site, the fleet, its faults, the meter. Data alone; the seed deals it.
//!
//! Invariant: capabilities here are the published ones that the drivers carry, never the simulated machines' own.

use sluice::curtail::Watts;
use sluice::curtail::fleet::{Capability, Kind, Model, Off, Trim};
use sluice::curtail::site::{Feeder, FeederId, Group, Law, Metered, Site, Source, Telemetry};
use sluice::sim::rng::Rng;
use sluice::sim::site::faults::Faults;
use sluice::sim::site::model::{self, Family};
use std::time::Duration;

/// Everything that is decided before time starts.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub site: Site,
    /// Machines, by position of their model in [`models`].
    pub machines: Vec<usize>,
    /// What each model truly draws over its nameplate.
    pub factors: Vec<f64>,
    /// What each machine draws over its model, at most, either way.
    pub spread: f64,
    pub faults: Faults,
    /// Shares a minute at full power, once the difficulty was lowered.
    pub shares_per_minute: f64,
    /// Standard deviation of the meter, of what it shows.
    pub meter_noise: f64,
    /// What the meter is off for ever, of what it shows.
    pub meter_bias: f64,
    /// On the wire, one way, ms.
    pub latency_ms: (u64, u64),
    /// What GPUs draw without jobs, at the wall.
    pub gpu_base: f64,
}

/// The rows that machines are dealt from.
pub fn models() -> [model::Model; 6] {
    [
        model::LAB_S21,
        model::LAB_S19J,
        model::LAB_M60S,
        model::LAB_M50S,
        model::LAB_GAMMA,
        model::LAB_GAMMA_OLD,
    ]
}

/// Position of a machine that nobody can put off.
pub const NO_OFF: usize = 5;

/// A model under its driver, as the controller is told.
pub fn kind(of: &model::Model) -> Kind {
    let off = |down, up, persists| {
        Some(Off {
            down: Duration::from_secs(down),
            up: Duration::from_secs(up),
            persists,
        })
    };
    let (trim, off) = match of.family {
        Family::Luxos => (None, off(5, 10, true)),
        Family::Whatsminer => {
            let trim = Trim {
                floor_percent: 50,
                settles: Duration::from_secs(1),
                persists: false,
            };
            (Some(trim), off(3, 15, false))
        }
        Family::Bitaxe => (None, off(1, 5, false)),
    };
    Kind {
        model: Model {
            name: of.name.into(),
            hashrate: of.hashrate,
            watts: Watts(of.watts as i64),
            idle: Watts(of.idle_watts as i64),
        },
        can: Capability {
            trim,
            off: off.filter(|_| of.is_at_least(2, 14) || of.family != Family::Bitaxe),
        },
    }
}

/// A source that beats every 5 s.
pub fn beating(name: &str) -> Source {
    Source {
        name: name.into(),
        most_urgent: 0,
        heartbeat: Some(Duration::from_secs(5)),
        dead_after: Duration::from_secs(30),
    }
}

/// A source that lives by the leases of its orders.
pub fn leasing(name: &str) -> Source {
    Source {
        heartbeat: None,
        ..beating(name)
    }
}

impl Plan {
    /// `n` machines of mixed firmware on `feeders` feeders with `groups` groups each; honest, unmetered, no limit of the site.
    pub fn mixed(seed: u64, n: usize, feeders: usize, groups: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x706c_616e);
        let machines: Vec<usize> = (0..n).map(|_| (rng.next_u64() % 5) as usize).collect();
        let overhead = 1050;
        let share = machines.iter().map(|of| models()[*of].watts).sum::<f64>()
            * f64::from(overhead)
            / 1e3
            / feeders as f64;
        let feeder = |n| Feeder {
            name: format!("f{n}"),
            // Room for an uneven deal, so that the 80 % bind nobody unless a test wants it.
            rating: Watts((share * 1.6) as i64 + 20_000),
            starts_per_s: 20,
        };
        let group = |n: usize| Group {
            name: format!("g{n}"),
            feeder: FeederId((n % feeders) as u16),
            overhead_permille: overhead,
            heat_floor: Watts::ZERO,
            limit: Watts::UNLIMITED,
            most_starting: 200,
        };
        Self {
            seed,
            site: Site {
                name: "lab".into(),
                limit: Watts::UNLIMITED,
                other_load: Watts::ZERO,
                guard: Watts::ZERO,
                safe: Watts((share * feeders as f64 * 0.3) as i64),
                feeders: (0..feeders).map(feeder).collect(),
                groups: (0..feeders * groups).map(group).collect(),
                sources: vec![
                    beating("grid"),
                    leasing("desk"),
                    beating("gpus"),
                    leasing("night"),
                ],
                calendar: Vec::new(),
                telemetry: Telemetry::default(),
                law: Law::default(),
            },
            factors: vec![1.0; models().len()],
            spread: 0.0,
            machines,
            faults: Faults::default(),
            shares_per_minute: 12.0,
            meter_noise: 0.0,
            meter_bias: 0.0,
            latency_ms: (5, 120),
            gpu_base: 0.0,
        }
    }

    /// A meter on all mining; models differ from their nameplates by up to `off`, machines by another 1 %.
    pub fn metered(mut self, off: f64, noise: f64) -> Self {
        let mut rng = Rng::new(self.seed ^ 0x006d_6574);
        self.site.telemetry.meter = Some(Metered::Mining);
        self.meter_noise = noise;
        self.spread = 0.01;
        for factor in &mut self.factors {
            *factor = 1.0 + off * (2.0 * rng.unit() - 1.0);
        }
        self
    }

    /// How far the worst machine draws beyond the table.
    pub fn table_error(&self) -> f64 {
        let worst = self.factors.iter().copied().fold(1.0, f64::max);
        worst * (1.0 + self.spread) - 1.0
    }

    /// What all machines draw at the meter by their nameplates.
    pub fn nameplate(&self) -> Watts {
        self.sum(|model| model.watts)
    }

    /// What all machines draw at the meter when they are off.
    pub fn idle(&self) -> Watts {
        self.sum(|model| model.idle_watts)
    }

    fn sum(&self, watts: impl Fn(&model::Model) -> f64) -> Watts {
        let groups = &self.site.groups;
        let one = |(n, of): (usize, &usize)| {
            let overhead = groups[n % groups.len()].overhead_permille;
            Watts(watts(&models()[*of]) as i64).scaled(overhead)
        };
        self.machines.iter().enumerate().map(one).sum()
    }

    /// That times a part.
    pub fn part(&self, part: f64) -> Watts {
        Watts((self.nameplate().0 as f64 * part) as i64)
    }
}

/// Uniform in 0..n.
pub fn below(rng: &mut Rng, n: u64) -> u64 {
    rng.next_u64() % n.max(1)
}
