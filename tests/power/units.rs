//! A simulated machine with what its driver remembers of it. Decides nothing: it carries words both ways.
//!
//! Invariant: what the controller learns of a machine passes through here, so the books (`checks.rs`) know all of it too.

use crate::clock::Ns;
use crate::plan::{Plan, models};
use sluice::curtail::fleet::{Mode, Observation, Receipt};
use sluice::curtail::{Setpoint, Watts};
use sluice::sim::rng::Rng;
use sluice::sim::site::device::{Answer, Device, Identity, Verb};
use sluice::sim::site::faults::Fault;
use sluice::sim::site::model::Family;
use std::time::{Duration, Instant};

/// One machine.
#[derive(Debug)]
pub struct Unit {
    pub device: Device,
    pub group: usize,
    pub kind: usize,
    /// Its intent in the ledger, and since when.
    pub told: (Setpoint, Ns),
    /// To be sent, newest only.
    pub waiting: Option<(Setpoint, u32)>,
    /// On the wire.
    pub flying: Option<(Setpoint, u32)>,
    /// What came of it.
    pub receipt: Option<(u32, Receipt)>,
    /// Read until then, every 2 s, because it was commanded.
    pub chased: bool,
    /// A read is on the wire; what it will say.
    pub reading: Option<Option<Observation>>,
    pub connected: bool,
    /// Who its driver learned it to be.
    identity: Identity,
}

impl Unit {
    /// Machine `n` of the plan, running.
    pub fn new(now: Instant, plan: &Plan, n: usize, fault: Option<Fault>) -> Self {
        let kind = plan.machines[n];
        let mut rng = Rng::new(plan.seed ^ (n as u64) << 20);
        let factor = plan.factors[kind] * (1.0 + plan.spread * (2.0 * rng.unit() - 1.0));
        let device = Device::new(now, models()[kind], factor, fault, rng.next_u64());
        Self {
            identity: device.identity(),
            device,
            group: n % plan.site.groups.len(),
            kind,
            told: (Setpoint::Run, 0),
            waiting: None,
            flying: None,
            receipt: None,
            chased: false,
            reading: None,
            connected: false,
        }
    }

    /// Whether its telemetry may be something else than the truth.
    pub fn lies(&self) -> bool {
        let lie = Fault::AcksOnly {
            lies_in_telemetry: true,
        };
        self.device.fault() == Some(lie)
    }

    /// A command arrives. What comes back, and after what time.
    pub fn write(&mut self, now: Instant, setpoint: Setpoint) -> (Receipt, Duration) {
        let patience = Duration::from_secs(5);
        if !self.device.reachable(now) {
            return (Receipt::Unreachable, Duration::from_secs(3));
        }
        if self.device.identity() != self.identity {
            return (Receipt::WrongIdentity, Duration::from_millis(20));
        }
        if self.device.fault() == Some(Fault::Exhausted) {
            return (Receipt::Unreachable, Duration::from_millis(20));
        }
        let asleep = self.device.asleep();
        let verb = match setpoint {
            Setpoint::Off => Verb::Sleep,
            Setpoint::Percent(percent) => Verb::Percent(percent),
            Setpoint::Run if asleep || self.device.model().family != Family::Whatsminer => {
                Verb::Wake
            }
            Setpoint::Run => Verb::Percent(100),
            Setpoint::Withdrawn => return (Receipt::Acknowledged, Duration::ZERO),
        };
        let outcome = self.device.command(now, verb);
        match outcome.answer {
            _ if outcome.delay >= patience => (Receipt::Unknown, patience),
            Answer::Ok => (Receipt::Acknowledged, outcome.delay),
            Answer::Error | Answer::NotReady => (Receipt::Refused, outcome.delay),
            Answer::Silence => (Receipt::Unknown, patience),
        }
    }

    /// What a read finds, and after what time; nothing where nobody (or somebody else) answers.
    pub fn read(&mut self, now: Instant) -> (Option<Observation>, Duration) {
        let full = self.device.fault() == Some(Fault::Exhausted)
            && self.device.model().family == Family::Whatsminer;
        if !self.device.reachable(now) || full || self.device.identity() != self.identity {
            return (None, Duration::from_secs(3));
        }
        let says = self.device.telemetry(now);
        let mode = match says.percent {
            _ if says.asleep => Mode::Off,
            _ if !says.ready => Mode::Between,
            percent if percent < 100 => Mode::Trimmed(percent),
            _ => Mode::Running,
        };
        let seen = Observation {
            watts: Some(Watts(says.watts.round() as i64)),
            mode,
            uptime_s: Some(says.uptime.as_secs()),
        };
        (Some(seen), self.device.read_delay())
    }
}
