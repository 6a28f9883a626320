//! The controller: every second, and at once when an order comes, the limit, the plan, the proof.
//!
//! Not durability, not wires: [`Output::Save`] and [`Output::Command`] of one call are made durable by the driver before
//! any of them acts. Invariants: the same inputs at the same times give the same outputs (`curtail replay` checks it);
//! nothing is raised while a source is silent, and nothing at all after a restart until what was commanded has been seen.
//!
//! ```text
//!   orders, reservations, GPUs, calendar ──> limits ──> shed (hard, then soft) ──> commands
//!   meter ──> trim ─────────────────────────────^   └─> raise, if headroom lasted
//!   telemetry, shares, receipts ──> machines ──> committed ──> orders proven, reservations granted
//! ```

mod decide;
mod judge;
mod take;
mod tell;
#[cfg(test)]
mod tests;
mod words;

pub use words::{Answer, Input, Output, Proof, Save};

use super::{
    MachineId, Setpoint, Wall, Watts,
    fleet::{Facts, Kind},
    headroom::Headroom,
    machine::{Machine, Then},
    orders::Orders,
    plan::Field,
    reserve::{Gpu, Reservations},
    site::{Metered, Site},
    timeline::Limits,
    trim::Trim,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Time between two turns of the law.
const TICK: Duration = Duration::from_secs(1);
/// After a restart, longest wait for machines that were commanded before to be seen.
const RECONCILE: Duration = Duration::from_secs(60);

/// Alarms that are shown.
const ALARMS: usize = 64;

/// The power machine. See the module.
#[derive(Debug)]
pub struct Controller {
    site: Site,
    kinds: Vec<Kind>,
    machines: Vec<Machine>,
    names: BTreeMap<String, MachineId>,
    orders: Orders,
    reservations: Reservations,
    trim: Trim,
    gpu: Gpu,
    clock: (Wall, Instant),
    limits: Limits,
    /// How long the limit has been what it is.
    headroom: Headroom,
    /// Nothing is raised until then, or until what was commanded before has been seen.
    recovering: Option<Instant>,
    /// When the first turn was, and whether no machine was known then.
    began: Option<(Instant, bool)>,
    /// When a machine last became known.
    grew: Instant,
    /// Machines that mine and whose watts are not known.
    strangers: u32,
    /// The latest, each once.
    alarms: VecDeque<String>,
    out: VecDeque<Output>,
    due: Instant,
}

impl Controller {
    /// A controller of a site without machines, orders or readings.
    pub fn new(now: Instant, site: Site) -> Self {
        let wall = Wall(0);
        Self {
            kinds: Vec::new(),
            machines: Vec::new(),
            names: BTreeMap::new(),
            orders: Orders::new(&site),
            reservations: Reservations::default(),
            trim: Trim::default(),
            gpu: Gpu::new(now),
            clock: (wall, now),
            limits: Limits::none(&site),
            headroom: Headroom::default(),
            recovering: None,
            began: None,
            grew: now,
            strangers: 0,
            alarms: VecDeque::new(),
            out: VecDeque::new(),
            due: now,
            site,
        }
    }

    /// The site it was made for.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Every machine, by id.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The kind of a machine.
    pub fn kind(&self, machine: &Machine) -> &Kind {
        &self.kinds[usize::from(machine.facts.kind)]
    }

    /// The machine of this name.
    pub fn find(&self, name: &str) -> Option<MachineId> {
        self.names.get(name).copied()
    }

    fn field(&self, now: Instant) -> Field<'_> {
        Field {
            site: &self.site,
            kinds: &self.kinds,
            machines: &self.machines,
            now,
        }
    }

    fn wall(&self, now: Instant) -> Wall {
        let gone = now.saturating_duration_since(self.clock.1).as_millis();
        Wall(self.clock.0.0 + i64::try_from(gone).unwrap_or(0))
    }

    fn know(&mut self, now: Instant, facts: Facts, intent: Option<(Setpoint, u64)>) {
        let groups = self.site.groups.len();
        if usize::from(facts.kind) >= self.kinds.len() || usize::from(facts.group.0) >= groups {
            return;
        }
        if let Some(id) = self.names.get(&facts.name) {
            self.machines[id.0 as usize].facts = facts;
            return;
        }
        let id = MachineId(u32::try_from(self.machines.len()).expect("fewer than 2^32 machines"));
        self.grew = now;
        self.names.insert(facts.name.clone(), id);
        let kind = &self.kinds[usize::from(facts.kind)];
        let mut machine = Machine::new(now, facts, kind);
        if let Some((setpoint, ago)) = intent {
            machine.recover(now, setpoint, Duration::from_millis(ago));
            self.recovering.get_or_insert(now + RECONCILE);
        }
        self.machines.push(machine);
    }

    fn restore(&mut self, now: Instant, save: Save) {
        let wall = self.wall(now);
        match save {
            Save::Order(order) => {
                if order.holds() && !self.site.has(&order.envelope.scope) {
                    self.alarm(format!(
                        "{} is for a feeder or group that is no longer configured: it binds nothing",
                        order.id()
                    ));
                }
                self.orders.recover(now, wall, order);
            }
            Save::Reservation(one) => {
                self.orders.at_least(one.n + 1);
                if one.open() {
                    self.gpu.recover(one.base);
                }
                self.reservations.recover(now, wall, one);
            }
            Save::Fence { source, fence } => self.orders.recover_fence(&source, fence),
        }
        self.recovering.get_or_insert(now + RECONCILE);
    }

    fn then(&mut self, id: MachineId, then: Then) {
        let is = match then {
            Then::Nothing => return,
            Then::Command => return self.tell(id),
            Then::Proven => Proof::Proven,
            Then::Failed => match self.machines[id.0 as usize].standing {
                super::machine::Standing::Failed { liar: true, .. } => Proof::Liar,
                _ => Proof::Failed,
            },
            Then::Fought => {
                let name = self.machines[id.0 as usize].facts.name.clone();
                self.alarm(format!("{name}: something else commands this machine too"));
                Proof::Fought
            }
        };
        self.out.push_back(Output::Standing { machine: id, is });
    }

    fn tell(&mut self, id: MachineId) {
        let machine = &self.machines[id.0 as usize];
        self.out.push_back(Output::Command {
            machine: id,
            setpoint: machine.setpoint,
            attempt: machine.attempt,
        });
    }

    fn alarm(&mut self, text: String) {
        if self.alarms.contains(&text) {
            return;
        }
        if self.alarms.len() == ALARMS {
            self.alarms.pop_front();
        }
        self.alarms.push_back(text.clone());
        self.out.push_back(Output::Alarm(text));
    }

    fn save_order(&mut self, n: u64) {
        if let Some(order) = self.orders.all.get(&n) {
            let save = Save::Order(order.clone());
            self.out.push_back(Output::Save(Box::new(save)));
        }
    }

    fn save_reservation(&mut self, n: u64) {
        if let Some(one) = self.reservations.find(n) {
            let save = Save::Reservation(one.clone());
            self.out.push_back(Output::Save(Box::new(save)));
        }
    }

    fn with(
        &mut self,
        now: Instant,
        id: MachineId,
        act: impl FnOnce(&mut Machine, &Kind, &super::site::Law) -> Then,
    ) {
        let Some(machine) = self.machines.get_mut(id.0 as usize) else {
            return;
        };
        let kind = &self.kinds[usize::from(machine.facts.kind)];
        let counted = machine.expected(kind);
        let then = act(machine, kind, &self.site.law);
        let change = machine.expected(kind) - counted;
        if change != Watts::ZERO && self.trim.meter(now).is_some() {
            // Knowing who draws it changes nothing of what the meter shows.
            let group = usize::from(machine.facts.group.0);
            let change = change.scaled(self.site.groups[group].overhead_permille);
            let all = |this: &Self| this.field(now).sums(|machine, kind| machine.expected(kind));
            let before = match change > Watts::ZERO {
                true => all(self).site - change,
                // Less is known without a sum over all.
                false => Watts::ZERO,
            };
            self.trim.attribute(now, before, change);
        }
        self.then(id, then);
    }
}

impl crate::machine::Machine for Controller {
    type Input<'a> = Input;
    type Output = Output;

    fn handle_input(&mut self, now: Instant, input: Input) {
        let answer = match input {
            Input::Clock(wall) => return self.clock = (wall, now),
            Input::Kind(kind) => return self.kinds.push(kind),
            Input::Machine { facts, intent } => return self.know(now, facts, intent),
            Input::Restore(save) => return self.restore(now, *save),
            Input::Signal {
                call,
                envelope,
                digest,
                admin,
                dry_run,
            } => match dry_run {
                true => (call, self.preview(now, *envelope)),
                false => return self.signal(now, call, *envelope, digest, admin),
            },
            Input::Heartbeat {
                call,
                source,
                epoch,
                seq,
                issued_at,
                digest,
            } => (
                call,
                self.heartbeat(now, &source, (epoch, seq), issued_at, digest),
            ),
            Input::Release {
                call,
                id,
                by,
                admin,
            } => (
                call,
                self.release(now, &id, by.as_deref(), admin)
                    .map(|()| Answer::Done),
            ),
            Input::Renew {
                call,
                id,
                expires_at,
                by,
            } => (call, self.renew(now, &id, expires_at, by.as_deref())),
            Input::Receipt {
                machine,
                attempt,
                receipt,
            } => {
                return self.with(now, machine, |machine, _, law| {
                    machine.receipt(now, attempt, receipt, law)
                });
            }
            Input::Observed { machine, seen } => {
                return self.with(now, machine, |machine, kind, law| {
                    machine.observe(now, kind, seen, law)
                });
            }
            Input::Connected { machine, connected } => {
                return self.with(now, machine, |machine, kind, law| {
                    machine.connect(now, kind, connected, law)
                });
            }
            Input::Shares {
                machine,
                shares,
                full,
            } => {
                return self.with(now, machine, |machine, kind, law| {
                    machine.shares(now, kind, shares, full, law)
                });
            }
            Input::Hashed { watts, shares } => {
                let committed = self
                    .field(now)
                    .sums(|machine, kind| machine.committed(kind));
                return self.trim.hashed(now, watts, shares, committed.site);
            }
            Input::Strangers(count) => return self.strangers = count,
            Input::Warn(text) => return self.alarm(text),
            Input::Meter(watts) => return self.meter(now, watts),
            Input::Gpu(watts) => {
                let reserved = self.reservations.open().next().is_some();
                return self.gpu.read(now, watts, reserved);
            }
        };
        let (call, answer) = answer;
        self.out.push_back(Output::Answer { call, answer });
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.due {
            self.turn(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.due, "the next turn of the law"))
    }
}

impl Controller {
    fn meter(&mut self, now: Instant, watts: Option<Watts>) {
        let elsewhere = match self.site.telemetry.meter {
            Some(Metered::Mining) | None => Watts::ZERO,
            Some(Metered::Site) => {
                let gpu = self.gpu.watts(now);
                if gpu.is_none() && self.site.telemetry.gpu_nameplate.is_some() {
                    // What of it is mining cannot be told.
                    return self.trim.read(now, None);
                }
                self.site.other_load + gpu.unwrap_or_default()
            }
        };
        self.trim.read(now, watts.map(|watts| watts - elsewhere));
    }
}
