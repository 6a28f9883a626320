//! Whether what is in force is kept: orders proven or partial, reservations granted.

use super::Controller;
use crate::curtail::{
    Watts,
    machine::Standing,
    orders::Order,
    plan::Sums,
    reserve::Reserved,
    signal::Scope,
    view::{OrderState, OrderStatus},
};
use std::time::{Duration, Instant};

/// What counts, in one turn.
pub(super) struct Balance {
    /// Not proven off.
    drawn: Sums,
    /// What it could come down to.
    floor: Sums,
    /// Until the slowest machine that is on its way is due.
    eta: Duration,
}

impl Controller {
    /// Judges everything in force, after a turn.
    pub(super) fn judge(&mut self, now: Instant) {
        let balance = self.balance(now);
        let states: Vec<(u64, OrderState)> = self
            .orders
            .in_force()
            .filter(|order| order.state != OrderState::Expired)
            .map(|order| (order.n, self.state(now, order, &balance)))
            .collect();
        let wall = self.wall(now);
        for (n, state) in states {
            let order = self.orders.all.get_mut(&n).expect("just listed");
            if order.state == state {
                continue;
            }
            order.state = state;
            if state == OrderState::Proven {
                order.proven_at.get_or_insert(wall);
            }
            self.save_order(n);
        }
        self.judge_reservations(now, &balance);
    }

    fn judge_reservations(&mut self, now: Instant, balance: &Balance) {
        let lead = self.lead();
        let granted = self.reservations.reserved(now, lead).granted;
        let promised = Reserved {
            granted,
            pending: Watts::ZERO,
        };
        let firm = self
            .gpu
            .firm(now, promised, self.site.telemetry.gpu_nameplate);
        let room = self.site.limit - self.site.other_load - self.site.guard - firm + granted;
        let drawn = self
            .trim
            .meter(now)
            .map_or(balance.drawn.site, |meter| balance.drawn.site.max(meter));
        let free = match self.unseen(now) {
            Some(_) => Watts::ZERO,
            None => room - drawn,
        };
        let best = room - balance.floor.site;
        let wall = self.wall(now);
        let changed = self.reservations.judge(now, wall, lead, free, best);
        if changed.iter().any(|n| self.reservations.granted(*n)) {
            let base = self.gpu.promise(now, granted);
            self.reservations.note(base);
        }
        for n in changed {
            self.save_reservation(n);
        }
    }

    pub(super) fn balance(&self, now: Instant) -> Balance {
        let field = self.field(now);
        let mut drawn = field.sums(|machine, kind| machine.committed(kind));
        let mut floor = field.floor();
        let bias = self.bias(now);
        drawn.site += bias;
        // What the meter sees beyond the count stays, in proportion, however little is left.
        let part = (floor.site.0 as f64 / drawn.site.0.max(1) as f64).clamp(0.0, 1.0);
        floor.site += Watts((bias.0 as f64 * part) as i64);
        let moving = self.machines.iter().filter(|machine| machine.moving());
        let due = moving.filter_map(|machine| machine.due()).max();
        Balance {
            drawn,
            floor,
            eta: due.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)),
        }
    }

    /// What an order leaves to mining in its scope, once reached.
    fn allows(&self, now: Instant, order: &Order) -> Watts {
        match order.envelope.scope {
            Scope::Site => {
                let reserved = self.reservations.reserved(now, self.lead());
                let firm = self
                    .gpu
                    .firm(now, reserved, self.site.telemetry.gpu_nameplate);
                order.watts() - self.site.other_load - firm - self.site.guard
            }
            _ => order.watts(),
        }
    }

    /// The same, as far as there is more to be done: an emergency stop leaves what boards draw that are off.
    fn reaches(&self, now: Instant, order: &Order) -> Watts {
        let idle = || self.field(now).sums(|_, kind| kind.model.idle).site;
        let allowed = self.allows(now, order).at_least_zero();
        match order.is_stop() {
            true => allowed.max(idle()),
            false => allowed,
        }
    }

    /// The part of `sums` that a scope means.
    pub(super) fn of(&self, sums: &Sums, scope: &Scope) -> Watts {
        let (parts, at) = match scope {
            Scope::Mining | Scope::Site => return sums.site,
            Scope::Feeder(name) => (
                &sums.feeders,
                self.site.feeders.iter().position(|f| f.name == *name),
            ),
            Scope::Group(name) => (
                &sums.groups,
                self.site.groups.iter().position(|g| g.name == *name),
            ),
        };
        at.map_or(Watts::ZERO, |at| parts[at])
    }

    fn state(&self, now: Instant, order: &Order, balance: &Balance) -> OrderState {
        let allowed = self.reaches(now, order);
        let drawn = self.of(&balance.drawn, &order.envelope.scope);
        let floor = self.of(&balance.floor, &order.envelope.scope);
        let whole = matches!(order.envelope.scope, Scope::Mining | Scope::Site);
        if !self.site.has(&order.envelope.scope) {
            return OrderState::Failed;
        }
        let tolerance = allowed.scaled(self.site.law.deadband_permille);
        let metered = self.trim.level(now).filter(|_| whole);
        // Twice the deadband: the mean of ten noisy readings stays within that.
        let contradicted = metered.is_some_and(|level| level > allowed + tolerance + tolerance);
        // With a meter the sum is calibrated by it, and as exact as its deadband.
        let slack = if metered.is_some() {
            tolerance
        } else {
            Watts::ZERO
        };
        let late = now >= order.deadline(&self.site);
        let in_time = now + balance.eta <= order.deadline(&self.site);
        let unseen = self.not_counted(now, order);
        match () {
            () if drawn <= allowed + slack && !contradicted && unseen.is_none() => {
                OrderState::Proven
            }
            () if floor > allowed && floor >= order.from => OrderState::Failed,
            () if floor > allowed || late => OrderState::Partial,
            () if order.bound(now) > allowed && !self.machines.iter().any(|m| m.moving()) => {
                OrderState::Planned
            }
            () if in_time => OrderState::Acting,
            () => OrderState::Partial,
        }
    }

    /// An order as it stands.
    pub(super) fn status(&self, now: Instant, order: &Order, balance: &Balance) -> OrderStatus {
        let scope = &order.envelope.scope;
        let allowed = self.reaches(now, order);
        let drawn = self.of(&balance.drawn, scope);
        let floor = self.of(&balance.floor, scope);
        let whole = matches!(scope, Scope::Mining | Scope::Site);
        let level = self.trim.level(now).filter(|_| whole);
        let excess = (drawn.max(level.unwrap_or(drawn)) - allowed).at_least_zero();
        let partial = match order.state {
            OrderState::Partial | OrderState::Failed => true,
            OrderState::Expired => excess > Watts::ZERO,
            _ => false,
        };
        let allowance =
            i64::try_from(order.allowed(&self.site).as_millis()).unwrap_or(i64::MAX / 2);
        OrderStatus {
            id: order.id(),
            source: order.envelope.source.clone(),
            epoch: order.envelope.epoch,
            seq: order.envelope.seq,
            class: order.envelope.class,
            kind: order.envelope.ask.name().into(),
            watts: order.envelope.ask.watts().unwrap_or_default(),
            scope: scope.clone(),
            state: order.state,
            accepted_at: order.accepted_at,
            deadline_at: crate::curtail::Wall(order.accepted_at.0 + allowance),
            proven_at: order.proven_at,
            ends_at: order.envelope.ends_at,
            expires_at: order.envelope.expires_at,
            limit_watts: self.allows(now, order).at_least_zero(),
            excess_watts: partial.then_some(excess),
            achievable_watts: (floor > allowed).then_some(floor),
            eta_s: (balance.eta > Duration::ZERO).then(|| balance.eta.as_secs() + 1),
            text: match self.not_counted(now, order).filter(|_| order.holds()) {
                Some(why) => why,
                None => self.sentence(order, allowed, drawn, floor),
            },
        }
    }

    /// Who in its scope nobody counts.
    fn not_counted(&self, now: Instant, order: &Order) -> Option<String> {
        match order.envelope.scope {
            Scope::Mining | Scope::Site => self.unseen(now),
            Scope::Feeder(_) | Scope::Group(_) => self.uncounted(now),
        }
    }

    fn sentence(&self, order: &Order, allowed: Watts, drawn: Watts, floor: Watts) -> String {
        let waiting = self
            .machines
            .iter()
            .filter(|machine| matches!(machine.standing, Standing::Pending | Standing::Late));
        let failed = self
            .machines
            .iter()
            .filter(|m| matches!(m.standing, Standing::Failed { .. }));
        match order.state {
            _ if !self.site.has(&order.envelope.scope) => {
                "its feeder or group is no longer configured: it binds nothing".into()
            }
            OrderState::Proven if order.is_stop() => {
                format!("everything is off, {drawn} are drawn idle")
            }
            OrderState::Proven => format!("kept: {drawn} of {allowed} counted"),
            OrderState::Ended => "over".into(),
            OrderState::Expired => {
                "its lease ran out; it binds until its source is heard again or an operator ends it"
                    .into()
            }
            OrderState::Partial | OrderState::Failed if floor > allowed => format!(
                "cannot be kept: {floor} is the least that can be reached, {allowed} is allowed ({} machines failed)",
                failed.count()
            ),
            OrderState::Partial => format!(
                "late: {drawn} counted of {allowed}, {} machines are not proven yet",
                waiting.count()
            ),
            _ => format!(
                "{drawn} counted of {allowed}, {} machines on their way",
                waiting.count()
            ),
        }
    }
}
