//! What is told: answers, previews, the view.

use super::{Answer, Controller, Output};
use crate::curtail::{
    Setpoint, Watts,
    machine::Standing,
    orders::Order,
    plan::{self, Need, Shed},
    reserve::Reservation,
    signal::{Ask, Envelope, Refusal},
    timeline::{self, Present},
    view::{
        Counts, Liveness, OrderState, PartStatus, Preview, ReservationState, ReservationStatus,
        View,
    },
};
use std::time::{Duration, Instant};

impl Controller {
    /// What is in force under this id, as the answer to a signal that had been taken before.
    pub(super) fn again(&self, now: Instant, id: &str) -> Result<Answer, Refusal> {
        let Some((kind, n)) = super::take::number(id) else {
            return Ok(Answer::Done);
        };
        match kind {
            'o' => {
                let order = self.orders.all.get(&n).ok_or(Refusal::UnknownOrder)?;
                let status = self.status(now, order, &self.balance(now));
                Ok(Answer::Order {
                    status: Box::new(status),
                    repeated: true,
                })
            }
            _ => {
                let one = self.reservations.find(n).ok_or(Refusal::UnknownOrder)?;
                let status = self.reserved(now, one);
                Ok(Answer::Reservation {
                    status: Box::new(status),
                    repeated: true,
                })
            }
        }
    }

    fn reserved(&self, now: Instant, one: &Reservation) -> ReservationStatus {
        let mut status = one.status(self.eta(now));
        if let (true, ReservationState::Pending | ReservationState::Partial, Some(why)) =
            (one.open(), one.state, self.unseen(now))
        {
            status.text = why;
        }
        status
    }

    fn eta(&self, now: Instant) -> Option<Duration> {
        let moving = self.machines.iter().filter(|machine| machine.moving());
        let due = moving.filter_map(|machine| machine.due()).max()?;
        Some(due.saturating_duration_since(now))
    }

    /// What an order would do, were it taken now. Changes nothing.
    pub(super) fn preview(&self, now: Instant, envelope: Envelope) -> Result<Answer, Refusal> {
        self.check(now, &envelope)?;
        let field = self.field(now);
        let mut drawn = field.sums(|machine, kind| machine.expected(kind));
        let bias = self.bias(now);
        drawn.site += bias;
        let reserve = match envelope.ask {
            Ask::Reserve(watts) => watts,
            _ => Watts::ZERO,
        };
        let mut reserved = self.reservations.reserved(now, self.lead());
        reserved.pending += reserve;
        let present = Present {
            now,
            wall: self.wall(now),
            firm: self
                .gpu
                .firm(now, reserved, self.site.telemetry.gpu_nameplate),
            lost: self.orders.liveness(now) == Liveness::Lost,
        };
        let order = Order {
            n: 0,
            from: self.drawn(now, &envelope.scope),
            accepted_at: present.wall,
            state: OrderState::Accepted,
            proven_at: None,
            accepted: Some(now),
            renewed: None,
            envelope: Envelope {
                ramp_watts_per_s: None,
                ..envelope
            },
        };
        let need = match order.envelope.ask {
            Ask::Setpoint(_) => Need::Soft,
            _ => Need::Hard,
        };
        let all: Vec<_> = self.orders.in_force().chain([&order]).collect();
        let limits = timeline::limits(&self.site, &all, present);
        let bound = match need {
            Need::Hard => &limits.hard,
            Need::Soft => &limits.aim,
        };
        let parts = plan::Sums {
            site: bound.watts,
            feeders: limits.feeders.clone(),
            groups: limits.groups.clone(),
        };
        let how = Shed {
            need,
            time: order.allowed(&self.site),
            fine: false,
        };
        let plan = plan::shed(&field, &drawn, &parts, how);
        Ok(Answer::Preview(Box::new(self.told(
            &plan,
            &drawn,
            bound.watts,
        ))))
    }

    fn told(&self, plan: &plan::Plan, drawn: &plan::Sums, limit: Watts) -> Preview {
        let count =
            |of: fn(&Setpoint) -> bool| plan.changes.iter().filter(|(_, to)| of(to)).count();
        let off = count(|to| *to == Setpoint::Off);
        let trimmed = count(|to| matches!(to, Setpoint::Percent(_)));
        let withdrawn = count(|to| *to == Setpoint::Withdrawn);
        let hashing = self.machines.iter().filter(|machine| {
            matches!(machine.setpoint, Setpoint::Run | Setpoint::Percent(_))
                && machine.standing != Standing::Offline
        });
        let hashing = hashing.count();
        let given: Watts = plan
            .changes
            .iter()
            .map(|(id, to)| {
                let machine = &self.machines[id.0 as usize];
                let kind = self.kind(machine);
                let group = &self.site.groups[usize::from(machine.facts.group.0)];
                (machine.expected(kind) - kind.watts(*to))
                    .at_least_zero()
                    .scaled(group.overhead_permille)
            })
            .sum();
        let then = drawn.site - given;
        let mut parts = Vec::new();
        for (n, verb) in [
            (off, "pause"),
            (trimmed, "trim"),
            (withdrawn, "withdraw work from"),
        ] {
            if n > 0 {
                parts.push(format!("{verb} {n} of {hashing}"));
            }
        }
        let eta = plan.eta.as_secs();
        let text = match (parts.is_empty(), limit) {
            (true, _) => format!("nothing to do: {} are drawn", drawn.site),
            (false, limit) => format!(
                "{}, worst J/TH first: {then} of {limit}, about {eta} s",
                parts.join(", ")
            ),
        };
        let text = match plan.excess > Watts::ZERO {
            true => format!("{text}; {} too much cannot be shed", plan.excess),
            false => text,
        };
        Preview {
            limit_watts: limit,
            now_watts: drawn.site,
            then_watts: then,
            off,
            trimmed,
            withdrawn,
            raised: 0,
            hashing,
            eta_s: eta,
            excess_watts: plan.excess,
            text,
        }
    }

    /// Everything that is told of this moment.
    pub fn view(&self, now: Instant) -> View {
        let held = self.held(now);
        let balance = self.balance(now);
        let field = self.field(now);
        let expected = field.sums(|machine, kind| match machine.observed {
            Some((seen, at)) if now.saturating_duration_since(at) < Duration::from_secs(60) => {
                seen.watts.unwrap_or_else(|| machine.expected(kind))
            }
            _ => machine.expected(kind),
        });
        let committed = field.sums(|machine, kind| machine.committed(kind));
        let finite = |watts: Watts| (watts < Watts::UNLIMITED).then_some(watts);
        View {
            limit_watts: finite(self.limits.aim.watts),
            bound_by: finite(self.limits.aim.watts).map(|_| self.limits.aim.by.clone()),
            mining_watts: self.trim.meter(now).unwrap_or(expected.site),
            committed_watts: committed.site,
            nameplate_watts: field.sums(|_, kind| kind.model.watts).site,
            meter_watts: self.trim.meter(now),
            gpu_watts: self.gpu.watts(now),
            reserved_watts: self.reservations.reserved(now, Duration::ZERO).all(),
            site_limit_watts: finite(self.site.limit),
            held,
            machines: self.counts(),
            feeders: self.parts_status(&committed.feeders, true),
            groups: self.parts_status(&committed.groups, false),
            sources: self.orders.sources(now),
            orders: self
                .orders
                .all
                .values()
                .map(|order| self.status(now, order, &balance))
                .collect(),
            reservations: self
                .reservations
                .all
                .iter()
                .map(|one| self.reserved(now, one))
                .collect(),
            alarms: self.alarms.iter().cloned().collect(),
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for machine in &self.machines {
            let of = match (machine.standing, machine.setpoint) {
                (Standing::Offline, _) => &mut counts.offline,
                (_, Setpoint::Withdrawn) => &mut counts.withdrawn,
                (Standing::Free, _) => &mut counts.running,
                (Standing::Rising | Standing::Pending | Standing::Late, _) => &mut counts.pending,
                (Standing::Proven, _) => &mut counts.proven,
                (Standing::Failed { liar: true, .. }, _) => &mut counts.quarantined,
                (Standing::Failed { .. }, _) => &mut counts.failed,
            };
            *of += 1;
        }
        counts
    }

    fn parts_status(&self, committed: &[Watts], feeders: bool) -> Vec<PartStatus> {
        let group = |n: usize| &self.site.groups[n];
        let names: Vec<(&String, Watts)> = match feeders {
            true => self
                .site
                .feeders
                .iter()
                .map(|f| &f.name)
                .zip(self.limits.feeders.iter().copied())
                .collect(),
            false => self
                .site
                .groups
                .iter()
                .map(|g| &g.name)
                .zip(self.limits.groups.iter().copied())
                .collect(),
        };
        let mut counts = vec![0; names.len()];
        for machine in &self.machines {
            let at = usize::from(machine.facts.group.0);
            counts[if feeders {
                usize::from(group(at).feeder.0)
            } else {
                at
            }] += 1;
        }
        let parts = names.into_iter().zip(committed).zip(counts);
        parts
            .map(|(((name, limit_watts), committed), machines)| PartStatus {
                name: name.clone(),
                limit_watts: (limit_watts < Watts::UNLIMITED).then_some(limit_watts),
                committed_watts: *committed,
                machines,
            })
            .collect()
    }

    /// What would be done with the outputs of a driver that has nothing to tell: for tests and replay.
    pub fn drain(&mut self) -> Vec<Output> {
        self.out.drain(..).collect()
    }
}

impl Ask {
    /// As in the envelope's `kind`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cap(_) => "cap",
            Self::Setpoint(_) => "setpoint",
            Self::Relative(_) => "relative",
            Self::Reserve(_) => "reserve",
            Self::Price(_) => "price",
            Self::Release(_) => "release",
        }
    }

    /// As in the envelope's `watts`.
    pub fn watts(&self) -> Option<Watts> {
        match self {
            Self::Cap(watts)
            | Self::Setpoint(watts)
            | Self::Relative(watts)
            | Self::Reserve(watts) => Some(*watts),
            Self::Price(_) | Self::Release(_) => None,
        }
    }
}
