//! Who gives way, and who comes back: a limit and a fleet become changes of setpoint.
//!
//! Not when, nor whether anybody may rise at all (the controller says that with [`Leave`]). Invariants: what is shed for a
//! hard limit never depends on money or wear, only its order does; nothing is raised that would not fit with its nameplate
//! at the site, its feeder and its group; a machine changes only when a limit needs it (no swapping for profit).
//!
//! Merit order: worst joules per terahash first; among equals those with fewer starts first, then dealt over the feeders.

use super::{
    MachineId, Setpoint, Watts,
    fleet::Kind,
    machine::{Machine, Standing},
    site::Site,
};
use std::time::{Duration, Instant};

/// What is planned over.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The site.
    pub site: &'a Site,
    /// Models under drivers.
    pub kinds: &'a [Kind],
    /// Every machine, by id.
    pub machines: &'a [Machine],
    /// Now.
    pub now: Instant,
}

/// Watts at the meter: of all mining, by feeder, by group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// All mining.
    pub site: Watts,
    /// By position in [`Site::feeders`].
    pub feeders: Vec<Watts>,
    /// By position in [`Site::groups`].
    pub groups: Vec<Watts>,
}

impl Sums {
    /// Nothing drawn anywhere.
    pub fn zero(site: &Site) -> Self {
        Self {
            site: Watts::ZERO,
            feeders: vec![Watts::ZERO; site.feeders.len()],
            groups: vec![Watts::ZERO; site.groups.len()],
        }
    }

    fn add(&mut self, field: &Field<'_>, machine: &Machine, plug: Watts) {
        let group = usize::from(machine.facts.group.0);
        let of = &field.site.groups[group];
        let meter = plug.scaled(of.overhead_permille);
        self.site += meter;
        self.groups[group] += meter;
        self.feeders[usize::from(of.feeder.0)] += meter;
    }

    /// The least of what is left, or the most of what is over, where this machine draws.
    fn at(&self, field: &Field<'_>, machine: &Machine, pick: fn(Watts, Watts) -> Watts) -> Watts {
        let group = usize::from(machine.facts.group.0);
        let feeder = usize::from(field.site.groups[group].feeder.0);
        pick(self.site, pick(self.feeders[feeder], self.groups[group]))
    }

    /// `limits - self`, part by part.
    fn under(&self, limits: &Sums) -> Sums {
        let part = |limits: &[Watts], drawn: &[Watts]| {
            limits
                .iter()
                .zip(drawn)
                .map(|(limit, drawn)| *limit - *drawn)
                .collect()
        };
        Sums {
            site: limits.site - self.site,
            feeders: part(&limits.feeders, &self.feeders),
            groups: part(&limits.groups, &self.groups),
        }
    }
}

impl<'a> Field<'a> {
    fn kind(&self, machine: &Machine) -> &'a Kind {
        &self.kinds[usize::from(machine.facts.kind)]
    }

    /// What `of` says of each machine, summed at the meter.
    pub fn sums(&self, of: impl Fn(&Machine, &Kind) -> Watts) -> Sums {
        let mut sums = Sums::zero(self.site);
        for machine in self.machines {
            sums.add(self, machine, of(machine, self.kind(machine)));
        }
        sums
    }

    /// The least that could be counted, at the meter, if every machine that can gave all: what is achievable.
    pub fn floor(&self) -> Sums {
        self.sums(|machine, kind| match kind.can.off {
            Some(_) if machine.can_give() => kind.model.idle.min(machine.committed(kind)),
            _ => machine.committed(kind),
        })
    }

    fn merit(&self) -> Vec<MachineId> {
        let mut dealt = vec![0_u32; self.site.feeders.len()];
        let key = |(n, machine): (usize, &Machine)| {
            let feeder = self.site.groups[usize::from(machine.facts.group.0)]
                .feeder
                .0;
            let turn = &mut dealt[usize::from(feeder)];
            *turn += 1;
            // A tenth of a joule apart is the same: the table is no better than that.
            let cost = (self.kind(machine).joules_per_terahash() * 10.0).min(1e15) as i64;
            let id = u32::try_from(n).expect("fewer than 2^32 machines");
            (-cost, machine.wear(), *turn, feeder, id)
        };
        let mut keys: Vec<_> = self.machines.iter().enumerate().map(key).collect();
        keys.sort_unstable();
        keys.into_iter().map(|key| MachineId(key.4)).collect()
    }
}

/// What a shed may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A cap or a grant: minimum-on and heat floors give way too.
    Hard,
    /// A setpoint: they do not.
    Soft,
}

/// How something is shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// What for.
    pub need: Need,
    /// Who can be down within that comes first.
    pub time: Duration,
    /// Trims first, as far as they go; only then is somebody put off.
    pub fine: bool,
}

/// What a raise may do.
#[derive(Clone, Debug)]
pub struct Leave {
    /// Machines that are off may be started; otherwise only trims are raised.
    pub starts: bool,
    /// There is room for all: those that failed are let go too.
    pub everyone: bool,
    /// Starts left in this second, by feeder.
    pub budget: Vec<u32>,
}

/// Changes of setpoint, and what stays undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are to be commanded.
    pub changes: Vec<(MachineId, Setpoint)>,
    /// What is still over the limits at the site, at the meter.
    pub excess: Watts,
    /// Until the slowest of them has settled.
    pub eta: Duration,
}

/// A trim that settles within this regulates (tier 1). Slower ones (tier 3: profiles) are taken only where those are not
/// enough.
const QUICK: Duration = Duration::from_secs(5);
/// Machines that are looked at for a fine trim before one is put off whole.
const LOOKED_AT: usize = 512;

/// Lowers machines until `drawn` is within `limits`, or nobody is left who could.
///
/// First those who can be down within `time`, then the others, then (for a hard need) work is withdrawn, which changes no sum.
pub fn shed(field: &Field<'_>, drawn: &Sums, limits: &Sums, how: Shed) -> Plan {
    let Shed { need, time, fine } = how;
    let mut over = limits.under(drawn);
    let mut plan = Plan::default();
    if !any(&over, |watts| watts > Watts::ZERO) {
        return plan;
    }
    let merit = field.merit();
    let mut told = vec![false; field.machines.len()];
    // For heat what counts is what is left for certain: nobody who was told off heats.
    let left =
        field.sums(|machine, kind| machine.committed(kind).min(kind.watts(machine.setpoint)));
    let mut left = left.groups;
    for (time, withdraw) in [
        (time, false),
        (Duration::MAX, false),
        (Duration::MAX, need == Need::Hard),
    ] {
        let mut pass = Pass {
            field,
            over: &mut over,
            told: &mut told,
            left: &mut left,
            plan: &mut plan,
            need,
            time,
        };
        if fine && !withdraw {
            pass.trim(&merit, time.min(QUICK));
            pass.trim(&merit, time);
        }
        pass.run(&merit, withdraw);
    }
    let parts = over.feeders.iter().chain(&over.groups).copied().max();
    plan.excess = over.site.max(parts.unwrap_or(Watts::ZERO)).at_least_zero();
    plan
}

struct Pass<'p, 'f> {
    field: &'p Field<'f>,
    over: &'p mut Sums,
    told: &'p mut [bool],
    /// What each group draws after the changes so far, at the meter.
    left: &'p mut [Watts],
    plan: &'p mut Plan,
    need: Need,
    time: Duration,
}

impl Pass<'_, '_> {
    fn run(&mut self, merit: &[MachineId], withdraw: bool) {
        for (place, id) in merit.iter().enumerate() {
            if !any(self.over, |watts| watts > Watts::ZERO) {
                return;
            }
            let machine = self.machine(*id);
            let need = self.over.at(self.field, machine, Watts::max);
            if need <= Watts::ZERO || self.told[id.0 as usize] || !self.gives(machine) {
                continue;
            }
            match withdraw {
                true => self.withdraw(*id),
                false if self.whole(machine) > need => self.last(*id, &merit[place..], need),
                false => self.put(*id, Setpoint::Off),
            }
        }
    }

    /// Trims who can be trimmed, settled after `slowest` at most, until nothing is over.
    fn trim(&mut self, merit: &[MachineId], slowest: Duration) {
        for id in merit {
            let machine = self.machine(*id);
            let need = self.over.at(self.field, machine, Watts::max);
            if need <= Watts::ZERO || self.told[id.0 as usize] || !self.gives(machine) {
                continue;
            }
            let kind = self.field.kind(machine);
            let floor = kind
                .can
                .trim
                .filter(|trim| trim.settles <= slowest)
                .map(|trim| Setpoint::Percent(trim.floor_percent));
            let far = floor.filter(|floor| {
                machine.standing != Standing::Rising && machine.expected(kind) > kind.watts(*floor)
            });
            if let Some(to) = self.trimmed(machine, need, slowest).or(far) {
                self.put(*id, to);
            }
        }
    }

    /// One machine whole would be more than is needed: trims the first that can, else puts this one off.
    fn last(&mut self, id: MachineId, rest: &[MachineId], need: Watts) {
        let part = self.machine(id).facts.group;
        let trim = |slowest: Duration| {
            rest.iter().take(LOOKED_AT).find_map(|id| {
                let machine = self.machine(*id);
                let fits = machine.facts.group == part
                    || self.over.at(self.field, machine, Watts::max) == need;
                let free = !self.told[id.0 as usize] && self.gives(machine) && fits;
                free.then(|| self.trimmed(machine, need, slowest))
                    .flatten()
                    .map(|to| (*id, to))
            })
        };
        match trim(self.time.min(QUICK)).or_else(|| trim(self.time)) {
            Some((id, to)) => self.put(id, to),
            None => self.put(id, Setpoint::Off),
        }
    }

    /// The percent at which `machine` gives `need` at the meter, if it can be trimmed so far within `slowest`.
    fn trimmed(&self, machine: &Machine, need: Watts, slowest: Duration) -> Option<Setpoint> {
        let kind = self.field.kind(machine);
        // One that is starting takes no percentage until its frequency is up.
        let takes = machine.standing != Standing::Rising;
        let trim = kind
            .can
            .trim
            .filter(|trim| takes && trim.settles <= slowest)?;
        let overhead = self.overhead(machine);
        let plug = Watts((need.0 * 1000 + overhead - 1) / overhead);
        let left = machine.expected(kind) - plug;
        let percent = u8::try_from(left.0 * 100 / kind.model.watts.0.max(1)).ok()?;
        let lower = match machine.setpoint {
            Setpoint::Percent(now) => percent < now,
            Setpoint::Run => percent < 100,
            Setpoint::Off | Setpoint::Withdrawn => false,
        };
        (lower && percent >= trim.floor_percent).then_some(Setpoint::Percent(percent))
    }

    /// What putting `machine` off gives at the meter; nothing if it cannot in time.
    fn whole(&self, machine: &Machine) -> Watts {
        let kind = self.field.kind(machine);
        let gain = machine.expected(kind) - kind.watts(Setpoint::Off);
        Watts(gain.0 * self.overhead(machine) / 1000)
    }

    fn gives(&self, machine: &Machine) -> bool {
        let kind = self.field.kind(machine);
        let off = matches!(machine.setpoint, Setpoint::Off | Setpoint::Withdrawn);
        let in_time = kind.can.off.is_some_and(|off| off.down <= self.time);
        let can = in_time || (kind.can.off.is_none() && self.time == Duration::MAX);
        let may = self.need == Need::Hard || self.may(machine, kind);
        !off && machine.can_give() && can && may
    }

    fn may(&self, machine: &Machine, kind: &Kind) -> bool {
        let group = usize::from(machine.facts.group.0);
        let of = &self.field.site.groups[group];
        let floor = of.heat_floor;
        let keeps = floor == Watts::ZERO
            || self.left[group] - kind.model.watts.scaled(of.overhead_permille)
                >= floor.scaled(of.overhead_permille);
        keeps && machine.has_run(self.field.now, &self.field.site.law)
    }

    fn put(&mut self, id: MachineId, to: Setpoint) {
        let machine = self.machine(id);
        let kind = self.field.kind(machine);
        if to == Setpoint::Off && kind.can.off.is_none() {
            return;
        }
        let given = self.given(machine, to);
        let group = usize::from(machine.facts.group.0);
        let feeder = usize::from(self.field.site.groups[group].feeder.0);
        let settle = kind.settles(machine.setpoint, to).unwrap_or_default();
        self.over.site -= given;
        self.left[group] -= given;
        self.over.groups[group] -= given;
        self.over.feeders[feeder] -= given;
        self.plan.eta = self.plan.eta.max(settle);
        self.tell(id, to);
    }

    fn withdraw(&mut self, id: MachineId) {
        if self.field.kind(self.machine(id)).can.off.is_none() {
            self.tell(id, Setpoint::Withdrawn);
        }
    }

    fn tell(&mut self, id: MachineId, to: Setpoint) {
        self.told[id.0 as usize] = true;
        self.plan.changes.push((id, to));
    }

    fn given(&self, machine: &Machine, to: Setpoint) -> Watts {
        let kind = self.field.kind(machine);
        let gain = (machine.expected(kind) - kind.watts(to)).at_least_zero();
        Watts(gain.0 * self.overhead(machine) / 1000)
    }

    fn overhead(&self, machine: &Machine) -> i64 {
        i64::from(self.field.site.groups[usize::from(machine.facts.group.0)].overhead_permille)
    }

    fn machine(&self, id: MachineId) -> &Machine {
        &self.field.machines[id.0 as usize]
    }
}

/// Raises machines into the room that `limits` leave over `drawn`, the most profitable first.
pub fn raise(field: &Field<'_>, drawn: &Sums, limits: &Sums, leave: &mut Leave) -> Plan {
    let mut room = drawn.under(limits);
    let mut plan = Plan::default();
    if room.site <= Watts::ZERO {
        return plan;
    }
    let mut starting = starting(field);
    for id in field.merit().into_iter().rev() {
        let machine = &field.machines[id.0 as usize];
        if !machine.may_rise(field.now, &field.site.law, leave.everyone) {
            continue;
        }
        let group = usize::from(machine.facts.group.0);
        let of = &field.site.groups[group];
        let feeder = usize::from(of.feeder.0);
        let cold = matches!(machine.setpoint, Setpoint::Off | Setpoint::Withdrawn);
        let soft = machine.setpoint == Setpoint::Withdrawn;
        if cold
            && (!leave.starts || leave.budget[feeder] == 0 || starting[group] >= of.most_starting)
        {
            continue;
        }
        let kind = field.kind(machine);
        let drawn = machine.committed(kind);
        let free = room.at(field, machine, Watts::min);
        let Some(to) = raised(kind, machine, drawn, free, of.overhead_permille) else {
            continue;
        };
        let gain = (kind.watts(to) - drawn)
            .at_least_zero()
            .scaled(of.overhead_permille);
        room.site -= gain;
        room.groups[group] -= gain;
        room.feeders[feeder] -= gain;
        if cold && !soft {
            leave.budget[feeder] -= 1;
            starting[group] += 1;
        }
        plan.eta = plan
            .eta
            .max(kind.settles(machine.setpoint, to).unwrap_or_default());
        plan.changes.push((id, to));
    }
    plan
}

/// Smallest raise of a trim that is worth a command, percent.
const WORTH: u8 = 3;

fn raised(
    kind: &Kind,
    machine: &Machine,
    drawn: Watts,
    free: Watts,
    overhead: u32,
) -> Option<Setpoint> {
    let full = (kind.model.watts - drawn).at_least_zero().scaled(overhead);
    if full <= free {
        return Some(Setpoint::Run);
    }
    let Setpoint::Percent(now) = machine.setpoint else {
        return None;
    };
    let plug = drawn + Watts(free.0.max(0) * 1000 / i64::from(overhead));
    let percent = u8::try_from(plug.0 * 100 / kind.model.watts.0.max(1))
        .ok()?
        .min(99);
    // A slow one is not changed step by step.
    let quick = kind.can.trim.is_some_and(|trim| trim.settles <= QUICK);
    (quick && percent >= now.saturating_add(WORTH)).then_some(Setpoint::Percent(percent))
}

fn starting(field: &Field<'_>) -> Vec<u32> {
    let mut starting = vec![0; field.site.groups.len()];
    for machine in field.machines {
        if machine.standing == Standing::Rising {
            starting[usize::from(machine.facts.group.0)] += 1;
        }
    }
    starting
}

fn any(sums: &Sums, is: impl Fn(Watts) -> bool) -> bool {
    is(sums.site)
        || sums
            .feeders
            .iter()
            .chain(&sums.groups)
            .any(|watts| is(*watts))
}
