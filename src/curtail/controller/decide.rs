//! One turn of the law: what is over, limits, shed, raise.

use super::{Controller, TICK};
use crate::curtail::{
    MachineId, Setpoint, Watts,
    machine::{Machine, Standing},
    plan::{self, Leave, Need, Plan, Shed, Sums},
    signal::Scope,
    timeline::{self, Limits, Present},
    view::Liveness,
};
use std::time::{Duration, Instant};

/// Time kept for reading back and proving when a reservation is due, on top of the slowest machine.
const PROVING: Duration = Duration::from_secs(10);
/// Part of the limit by which the meter may be over before anything is shed for it.
const TOLERATED_PERMILLE: u32 = 1;
/// Part of the limit up to which a metered excess is trimmed before anything is put off: the regulating room.
const FINE_PERMILLE: u32 = 50;

/// With a meter, so long nothing was shed before a trim is raised: as long as it takes to know what the last shed left.
const SLOW_UP: Duration = Duration::from_secs(10);
/// Least time between two turns while starts wait for their feeder's budget.
const PAUSE: Duration = Duration::from_millis(100);
/// A start with no machine in the ledger: so long their connections are awaited at least, and at most while more come.
const FIRST: Duration = Duration::from_secs(10);
/// See [`FIRST`].
const LONGEST_FIRST: Duration = Duration::from_secs(60);
/// So long after the last machine became known the meter teaches nothing: a fleet comes one by one.
const GROWING: Duration = Duration::from_secs(5);

impl Controller {
    /// One turn of the law.
    pub(super) fn turn(&mut self, now: Instant) {
        let unknown = self.machines.is_empty();
        self.began.get_or_insert((now, unknown));
        let date = timeline::next_date(&self.site, self.wall(now)).map(|after| now + after);
        for n in self.orders.turn(now) {
            self.save_order(n);
        }
        for n in self.reservations.turn(now) {
            self.save_reservation(n);
        }
        // What ends, or falls silent, or begins by the calendar does so at its moment, not at the next tick.
        let change = self.orders.next_change(now);
        let next = [date, change].into_iter().flatten();
        self.due = next.fold(now + TICK, Instant::min);
        self.turn_machines(now);
        self.learn(now);
        self.limits = self.limits_now(now);
        let shed = self.shed(now);
        if shed {
            self.headroom.reset();
        } else {
            self.raise(now);
        }
        self.judge(now);
    }

    fn turn_machines(&mut self, now: Instant) {
        for n in 0..self.machines.len() {
            let id = MachineId(u32::try_from(n).expect("fewer than 2^32 machines"));
            self.with(now, id, |machine, kind, law| machine.turn(now, kind, law));
        }
    }

    fn learn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.grew) < GROWING {
            // What the meter shows beyond the count is machines that are not known yet.
            return;
        }
        let settled = !self.machines.iter().any(|machine| machine.moving());
        let counted = self.field(now).sums(|machine, kind| machine.expected(kind));
        self.trim.learn(now, counted.site, settled);
        if self.trim.doubt().is_some() {
            self.alarm(
                "the meter is off by more than 30 % from what is counted (wrong unit, or the meter of something else?): \
                 nothing is started into what it leaves free"
                    .into(),
            );
        }
        if !settled && self.trim.meter(now).is_some() {
            let committed = self
                .field(now)
                .sums(|machine, kind| machine.committed(kind));
            self.trim.learn_unsettled(now, committed.site);
        }
    }

    /// What bounds mining now.
    fn limits_now(&self, now: Instant) -> Limits {
        let reserved = self.reservations.reserved(now, self.lead());
        let present = Present {
            now,
            wall: self.wall(now),
            firm: self
                .gpu
                .firm(now, reserved, self.site.telemetry.gpu_nameplate),
            lost: self.orders.liveness(now) == Liveness::Lost,
        };
        let orders: Vec<_> = self.orders.in_force().collect();
        timeline::limits(&self.site, &orders, present)
    }

    /// How long before a reservation starts shedding must begin.
    pub(super) fn lead(&self) -> Duration {
        let downs = self.kinds.iter().filter_map(|kind| kind.can.off);
        downs.map(|off| off.down).max().unwrap_or_default() + PROVING
    }

    /// Counted watts plus what the meter taught; without a meter a correction downwards is not believed, and shares say
    /// when more is hashed than counts.
    pub(super) fn bias(&self, now: Instant) -> Watts {
        let known = self.trim.bias();
        match self.trim.meter(now) {
            Some(_) => known,
            None => known.max(self.trim.hashing(now)),
        }
    }

    /// Where to plan to under `limit`: with a meter half a deadband below, so that its noise stays within the other half.
    fn target(&self, now: Instant, limit: Watts) -> Watts {
        match self.trim.meter(now) {
            Some(_) if limit < Watts::UNLIMITED => {
                limit.scaled(1000 - self.site.law.deadband_permille.div_ceil(2))
            }
            _ => limit,
        }
    }

    fn parts(&self, site: Watts) -> Sums {
        Sums {
            site,
            feeders: self.limits.feeders.clone(),
            groups: self.limits.groups.clone(),
        }
    }

    /// Sheds what is over, first for caps, then for setpoints. Whether anything was.
    fn shed(&mut self, now: Instant) -> bool {
        let (hard, aim) = (self.limits.hard.clone(), self.limits.aim.clone());
        let hard_shed = self.shed_to(now, hard.watts, hard.deadline, Need::Hard);
        let soft = aim.watts < hard.watts;
        (soft && self.shed_to(now, aim.watts, aim.deadline, Need::Soft)) || hard_shed
    }

    fn shed_to(
        &mut self,
        now: Instant,
        limit: Watts,
        deadline: Option<Instant>,
        need: Need,
    ) -> bool {
        let mut drawn = self.field(now).sums(|machine, kind| machine.expected(kind));
        drawn.site += self.bias(now);
        let tolerated = match self.trim.meter(now) {
            Some(_) => limit.scaled(TOLERATED_PERMILLE),
            None => Watts::ZERO,
        };
        let over = drawn.site > limit + tolerated;
        let parts = self.parts(limit);
        let part_over = |drawn: &[Watts], limits: &[Watts]| {
            drawn.iter().zip(limits).any(|(drawn, limit)| drawn > limit)
        };
        let parts_over =
            part_over(&drawn.feeders, &parts.feeders) || part_over(&drawn.groups, &parts.groups);
        if !over && !parts_over {
            return false;
        }
        // Whoever is put off takes along what the table is off by for him.
        let bias = self.bias(now).0 as f64 / (drawn.site - self.bias(now)).0.max(1) as f64;
        let less = (drawn.site - self.target(now, limit)).0 as f64 / (1.0 + bias).max(0.5);
        let limits = self.parts(drawn.site - Watts(less.ceil() as i64));
        let time = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
        // With a meter what is a little over is trimmed, so that it can be given back at once when it was noise.
        let fine = self.trim.meter(now).is_some()
            && !parts_over
            && drawn.site - limit <= limit.scaled(FINE_PERMILLE);
        let how = Shed { need, time, fine };
        let plan = plan::shed(&self.field(now), &drawn, &limits, how);
        self.apply(now, &plan)
    }

    fn raise(&mut self, now: Instant) {
        let limit = self.limits.aim.watts;
        let mut drawn = self
            .field(now)
            .sums(|machine, kind| machine.committed(kind));
        drawn.site += self.bias(now);
        let target = self.target(now, limit);
        let spare = limit.scaled(self.site.law.deadband_permille);
        let wanted = self
            .machines
            .iter()
            .any(|machine| machine.setpoint != Setpoint::Run);
        if self.held(now).is_some() {
            return self.headroom.reset();
        }
        let span = self.site.law.restore_after;
        self.headroom.note(now, limit, span);
        if !wanted || target - drawn.site <= spare {
            return;
        }
        let lasting = self.headroom.lasting(now, span);
        let lasting = lasting
            .map(|limit| self.target(now, limit))
            .filter(|target| *target > drawn.site);
        let starts = lasting.is_some();
        if !starts && self.trim.meter(now).is_some() && !self.headroom.lasted(now, SLOW_UP) {
            return;
        }
        let settled = !self
            .machines
            .iter()
            .any(|m| m.standing == Standing::Pending && m.moving());
        if !starts && !settled {
            return;
        }
        let nameplate = self.field(now).sums(|_, kind| kind.model.watts).site;
        let (budget, free) = self.budget(now);
        if starts && let Some(free) = free {
            self.due = self.due.min(free.max(now + PAUSE));
        }
        let mut leave = Leave {
            starts,
            everyone: limit >= nameplate,
            budget,
        };
        let limits = self.parts(lasting.map_or(target, |lasting| lasting.min(target)));
        let plan = plan::raise(&self.field(now), &drawn, &limits, &mut leave);
        self.apply(now, &plan);
    }

    /// Starts left in this second, by feeder, and when the next is given back.
    fn budget(&self, now: Instant) -> (Vec<u32>, Option<Instant>) {
        let feeders = self.site.feeders.iter();
        let mut left: Vec<u32> = feeders.map(|feeder| feeder.starts_per_s).collect();
        let mut free: Option<Instant> = None;
        for machine in &self.machines {
            let Some(until) = machine.starts_until().filter(|until| *until > now) else {
                continue;
            };
            let group = usize::from(machine.facts.group.0);
            let feeder = usize::from(self.site.groups[group].feeder.0);
            left[feeder] = left[feeder].saturating_sub(1);
            free = Some(free.map_or(until, |earlier| earlier.min(until)));
        }
        (left, free)
    }

    fn apply(&mut self, now: Instant, plan: &Plan) -> bool {
        let metered = !plan.changes.is_empty() && self.trim.meter(now).is_some();
        let before = if metered {
            self.expected(now)
        } else {
            Watts::ZERO
        };
        for (id, setpoint) in &plan.changes {
            let machine = &mut self.machines[id.0 as usize];
            let kind = &self.kinds[usize::from(machine.facts.kind)];
            machine.command(now, kind, *setpoint);
            self.tell(*id);
        }
        if before > Watts::ZERO {
            let after = self.expected(now);
            self.trim.scale(after.0 as f64 / before.0 as f64);
        }
        !plan.changes.is_empty()
    }

    fn expected(&self, now: Instant) -> Watts {
        let field = self.field(now);
        field.sums(|machine, kind| machine.expected(kind)).site
    }

    /// Why nothing may be raised now, if so.
    pub(super) fn held(&self, now: Instant) -> Option<String> {
        let unread = || self.machines.iter().any(Machine::unread);
        if self.recovering.is_some_and(|until| now < until) && (unread() || self.clock.0.0 == 0) {
            return Some("restarted: what was commanded is being read back".into());
        }
        if self.site.telemetry.gpu_nameplate.is_some() && self.gpu.unread(now) {
            return Some("started: GPU telemetry has not been read yet".into());
        }
        match self.orders.liveness(now) {
            Liveness::Hold => Some("a source is silent: nothing is raised".into()),
            Liveness::Lost => Some("a source is lost: mining is held at the safe watts".into()),
            Liveness::Quiet | Liveness::Live => None,
        }
    }

    /// Why what is counted is not all that mines here, if so: nothing is proven then, and nothing granted.
    pub(super) fn uncounted(&self, now: Instant) -> Option<String> {
        let part = |(began, unknown): (Instant, bool)| {
            let age = now.saturating_duration_since(began);
            let comes = now.saturating_duration_since(self.grew) < GROWING;
            unknown && (age < FIRST || (age < LONGEST_FIRST && comes))
        };
        if self.began.is_some_and(part) {
            let known = self.machines.len();
            return Some(format!(
                "started without a list of machines: they are still being counted ({known} so far)"
            ));
        }
        let count = self.strangers;
        (count > 0).then(|| {
            format!("{count} machines mine here whose watts are not known: see the alarms")
        })
    }

    /// The same of the whole site, where a meter sees who is not counted.
    pub(super) fn unseen(&self, now: Instant) -> Option<String> {
        let metered = self.trim.meter(now).is_some() && self.trim.doubt().is_none();
        self.uncounted(now).filter(|_| !metered)
    }

    /// What counts as drawn in a scope, at the meter.
    pub(super) fn drawn(&self, now: Instant, scope: &Scope) -> Watts {
        let mut sums = self
            .field(now)
            .sums(|machine, kind| machine.committed(kind));
        sums.site += self.bias(now);
        self.of(&sums, scope)
    }
}
