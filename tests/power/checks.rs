//! The books: what the world knows of every machine and every order, and the rules that are checked after every turn.
//!
//! Nothing here asks the controller what it believes, only what it says of orders. Invariant: a rule is checked against the
//! truth of the machines, or against what was told and heard, reckoned anew.

use crate::clock::{Ns, S};
use crate::plan::{Plan, kind, models};
use crate::world::World;
use sluice::curtail::controller::{Proof, Save};
use sluice::curtail::fleet::{Kind, Mode, Observation};
use sluice::curtail::signal::{Ask, Envelope, Scope};
use sluice::curtail::view::{OrderState, OrderStatus, ReservationState};
use sluice::curtail::{Setpoint, Wall, Watts};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// After something befell a machine, so long the controller may not know yet: a boot, a round of reading, a retry.
const UPSET: Ns = 100 * S;

/// What is known of one machine by what was told and heard.
#[derive(Clone, Debug)]
pub struct Page {
    /// Shown by telemetry to draw no more than this, since the last command.
    pub shown: Option<Watts>,
    /// Told to run, and off (or trimmed) all the same: what it then drew.
    idles: Option<Watts>,
    before: Watts,
    heard: Ns,
    off_at: Option<Ns>,
    starting_until: Option<Ns>,
    upset_until: Ns,
    boots: u32,
    /// The controller lately said that it does not believe it.
    accused: bool,
    /// The controller gave up reading it, and counts it in full.
    given_up: bool,
}

/// True watts at the meter.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub site: f64,
    pub feeders: Vec<f64>,
    pub groups: Vec<f64>,
    /// Of machines that nobody could know about yet.
    pub upset: f64,
    /// Of machines whose telemetry lies.
    pub lying: f64,
}

/// All that is written down.
#[derive(Debug)]
pub struct Books {
    pub pages: Vec<Page>,
    pub kinds: Vec<Kind>,
    pub truth: Truth,
    pub failures: Vec<String>,
    pub alarms: Vec<String>,
    pub deaths: u32,
    /// Orders that were answered yes: when, and what they asked.
    pub orders: BTreeMap<String, (Ns, Envelope)>,
    /// When each source was last heard.
    pub sources: BTreeMap<String, Ns>,
    starts: Vec<VecDeque<Ns>>,
    /// Up again after a death since then; nothing may be raised before it was read back.
    pub restarted: Option<Ns>,
    granted: BTreeMap<u64, Watts>,
    pub liars: u32,
    pub commands: u64,
    pub raises: u64,
    /// Rules about orders are not checked: the test does that itself.
    pub lenient: bool,
    /// Seconds in which the site drew more than its limit.
    pub over_site: u64,
}

impl Books {
    pub fn new(plan: &Plan) -> Self {
        let kinds: Vec<Kind> = models().iter().map(kind).collect();
        let page = |of: &usize| Page {
            shown: None,
            idles: None,
            before: kinds[*of].model.watts,
            heard: 0,
            off_at: None,
            starting_until: None,
            upset_until: 0,
            boots: 0,
            accused: false,
            given_up: false,
        };
        Self {
            pages: plan.machines.iter().map(page).collect(),
            kinds,
            truth: Truth::default(),
            failures: Vec::new(),
            alarms: Vec::new(),
            deaths: 0,
            orders: BTreeMap::new(),
            sources: BTreeMap::new(),
            starts: vec![VecDeque::new(); plan.site.feeders.len()],
            restarted: None,
            granted: BTreeMap::new(),
            liars: 0,
            commands: 0,
            raises: 0,
            lenient: false,
            over_site: 0,
        }
    }

    pub fn acknowledged(&mut self, at: Ns, id: String, envelope: Envelope) {
        self.heard(at, envelope.issued_at, &envelope.source);
        self.orders.entry(id).or_insert((at, envelope));
    }

    /// After a restart under a clock that is ahead, deadlines run from now and leases are over that much earlier.
    pub fn run_anew(&mut self, now: Ns, ahead_ms: i64) {
        for (at, order) in self.orders.values_mut() {
            *at = now;
            let earlier = ahead_ms.max(0);
            order.expires_at.0 -= earlier;
            order.ends_at = order.ends_at.map(|at| Wall(at.0 - earlier));
        }
    }

    /// It cannot be started: somebody else answers there.
    pub fn starts_not(&mut self, n: usize) {
        self.pages[n].starting_until = None;
    }

    pub fn released(&mut self, id: &str) {
        self.orders.remove(id);
    }

    /// A source was heard at a time of everybody's clock: what had expired ends.
    pub fn heard(&mut self, at: Ns, wall: Wall, source: &str) {
        self.sources.insert(source.into(), at);
        self.orders
            .retain(|_, (_, order)| order.source != source || order.expires_at.0 > wall.0 + 3_000);
    }

    pub fn stood(&mut self, n: usize, is: Proof) {
        self.pages[n].accused = is != Proof::Proven;
        self.pages[n].given_up = is != Proof::Proven;
        self.liars += u32::from(is == Proof::Liar);
    }

    pub fn died(&mut self, up_at: Ns) {
        self.restarted = Some(up_at);
        for page in &mut self.pages {
            (page.shown, page.starting_until, page.idles) = (None, None, None);
            page.given_up = false;
        }
        // A new process hears every source anew from its start.
        for at in self.sources.values_mut() {
            *at = up_at;
        }
    }
}

fn gives(kind: &Kind, setpoint: Setpoint, seen: &Observation) -> bool {
    let part = match setpoint {
        Setpoint::Percent(_) => 10,
        _ => 20,
    };
    let slack = (kind.model.watts.0 / part).max(30);
    let low = seen
        .watts
        .is_some_and(|watts| watts.0 <= kind.watts(setpoint).0 + slack);
    match (setpoint, seen.mode) {
        (Setpoint::Off | Setpoint::Percent(_), Mode::Off) => low,
        (Setpoint::Percent(percent), Mode::Trimmed(at)) => at <= percent && low,
        _ => false,
    }
}

impl World {
    fn kind_of(&self, n: usize) -> &Kind {
        &self.books.kinds[self.units[n].kind]
    }

    /// What counts of a machine at its plug: (least, most) that an honest reckoning could say.
    fn counts(&self, n: usize) -> (Watts, Watts) {
        let (page, kind) = (&self.books.pages[n], self.kind_of(n));
        let full = kind.model.watts;
        let told = kind.watts(self.units[n].told.0);
        let silent = self.clock.now().saturating_sub(page.heard) >= 600 * S;
        if silent && !self.units[n].connected && self.units[n].told.0 == Setpoint::Run {
            return (Watts::ZERO, full);
        }
        if let Some(watts) = page.idles {
            return (watts, full);
        }
        match page.shown {
            Some(watts) if page.accused || self.units[n].lies() => (watts.max(told), full),
            Some(watts) => (watts.max(told), watts.max(told)),
            None => (page.before.max(told).min(full), full),
        }
    }

    /// A command is written down.
    pub fn check_command(&mut self, n: usize, setpoint: Setpoint) {
        let now = self.clock.now();
        let (told, since) = self.units[n].told;
        let kind = self.kind_of(n).clone();
        let (before, _) = self.counts(n);
        self.books.commands += 1;
        let idles = self.books.pages[n].idles;
        let fresh = told != setpoint || idles.is_some();
        let raises = fresh && kind.watts(setpoint) > idles.unwrap_or(kind.watts(told));
        if raises {
            self.books.raises += 1;
            self.check_raise(n, now);
        }
        let off = idles.is_none_or(|watts| watts.0 < kind.model.watts.0 / 5);
        let was_off = told == Setpoint::Off || (idles.is_some() && setpoint == Setpoint::Run);
        if fresh && setpoint != Setpoint::Off && off && was_off {
            self.check_start(n, now, since, &kind);
        }
        let page = &mut self.books.pages[n];
        (page.shown, page.idles) = (None, None);
        if fresh {
            page.before = before;
            page.off_at = (setpoint == Setpoint::Off).then_some(now);
            page.accused = false;
        }
        if setpoint != Setpoint::Run {
            page.starting_until = None;
        }
    }

    fn check_start(&mut self, n: usize, now: Ns, since: Ns, kind: &Kind) {
        let law = &self.plan.site.law;
        let least = law.minimum_off.as_nanos() as Ns;
        if now - since < least {
            self.fail(format!(
                "machine {n} wakes {} s after it was put off",
                (now - since) / S
            ));
        }
        let group = self.units[n].group;
        let of = &self.plan.site.groups[group];
        let feeder = usize::from(of.feeder.0);
        let (most, most_starting) = (
            self.plan.site.feeders[feeder].starts_per_s,
            of.most_starting,
        );
        let starts = &mut self.books.starts[feeder];
        starts.push_back(now);
        while starts.front().is_some_and(|at| now - *at >= S) {
            starts.pop_front();
        }
        if starts.len() > most as usize {
            let starts = starts.len();
            self.fail(format!(
                "{starts} starts within a second on feeder {feeder}"
            ));
        }
        let up = kind.can.off.map_or(Duration::ZERO, |off| off.up);
        self.books.pages[n].starting_until = Some(now + up.as_nanos() as Ns);
        let starting = (0..self.units.len())
            .filter(|m| self.units[*m].group == group)
            .filter(|m| {
                self.books.pages[*m]
                    .starting_until
                    .is_some_and(|at| at > now)
            })
            .count();
        if starting > most_starting as usize {
            self.fail(format!(
                "{starting} machines of group {group} are starting at once"
            ));
        }
    }

    fn check_raise(&mut self, n: usize, now: Ns) {
        for (source, at) in &self.books.sources {
            let config = self.plan.site.sources.iter().find(|of| of.name == *source);
            let Some(every) = config.and_then(|of| of.heartbeat) else {
                continue;
            };
            let silent = now.saturating_sub(*at) >= 3 * every.as_nanos() as Ns;
            let stake = self
                .in_force()
                .any(|(_, (_, order))| order.source == *source);
            if silent && stake {
                let text = format!("machine {n} is raised though {source} is silent");
                return self.fail(text);
            }
        }
        self.check_recovery();
        if self.books.restarted.is_some() {
            self.fail(format!("machine {n} is raised before all was read back"));
        }
    }

    /// Orders that were acknowledged and, by their own times, still bind.
    pub fn in_force(&self) -> impl Iterator<Item = (&String, &(Ns, Envelope))> {
        let wall = self.true_wall();
        self.books
            .orders
            .iter()
            // The proxy's clock may be off by what is believed of a sender's.
            .filter(move |(_, (_, order))| order.ends_at.is_none_or(|at| at.0 > wall.0 + 3_000))
    }

    /// What a machine said is written down.
    pub fn books_seen(&mut self, n: usize, seen: Observation) {
        let now = self.clock.now();
        let told = self.units[n].told.0;
        let kind = self.kind_of(n).clone();
        let page = &mut self.books.pages[n];
        page.heard = now;
        if seen.mode == Mode::Running {
            page.starting_until = None;
        }
        let idles = match seen.mode {
            Mode::Off => gives(&kind, Setpoint::Off, &seen),
            Mode::Trimmed(percent) => gives(&kind, Setpoint::Percent(percent), &seen),
            Mode::Running | Mode::Between => false,
        };
        page.idles = seen.watts.filter(|_| idles && told == Setpoint::Run);
        if gives(&kind, told, &seen) {
            page.shown = seen.watts;
        } else if page.shown.take().is_some() {
            page.before = kind.model.watts;
        }
    }

    /// The truth of this second.
    pub fn measure(&mut self) {
        let now = self.clock.instant();
        let site = &self.plan.site;
        let mut truth = Truth {
            feeders: vec![0.0; site.feeders.len()],
            groups: vec![0.0; site.groups.len()],
            ..Truth::default()
        };
        for (unit, page) in self.units.iter_mut().zip(&mut self.books.pages) {
            let group = &site.groups[unit.group];
            let watts = unit.device.watts(now) * f64::from(group.overhead_permille) / 1e3;
            truth.site += watts;
            truth.groups[unit.group] += watts;
            truth.feeders[usize::from(group.feeder.0)] += watts;
            let boots = unit.device.wear().boots;
            if std::mem::replace(&mut page.boots, boots) != boots {
                page.upset_until = self.clock.now() + UPSET;
            }
            if page.upset_until > self.clock.now() {
                truth.upset += watts;
            } else if unit.lies() {
                truth.lying += watts;
            }
        }
        let all = truth.site + self.senses.gpu() + site.other_load.0 as f64;
        let slack = if site.telemetry.meter.is_some() {
            1.01
        } else {
            1.0001
        };
        self.books.over_site += u64::from(all > site.limit.0 as f64 * slack);
        self.books.truth = truth;
        self.check_breakers();
    }

    /// Something befell a machine that nobody is told of.
    pub fn upset(&mut self, n: usize) {
        self.books.pages[n].upset_until = self.clock.now() + UPSET;
    }

    fn check_breakers(&mut self) {
        for feeder in 0..self.plan.site.feeders.len() {
            let rating = self.plan.site.feeders[feeder].rating;
            let watts = self.books.truth.feeders[feeder];
            if watts > rating.0 as f64 {
                self.fail(format!("feeder {feeder} draws {watts:.0} of {rating}"));
            }
        }
    }

    /// What is checked after every turn of the controller.
    pub fn look(&mut self) {
        if self.controller.is_none() {
            return;
        }
        self.measure();
        self.check_recovery();
        if self.books.lenient {
            return;
        }
        let orders = self.view().orders;
        for order in &orders {
            if order.state != OrderState::Ended {
                self.check_order(order);
            }
        }
        self.check_kept(&orders);
    }

    fn check_recovery(&mut self) {
        let Some(up_at) = self.books.restarted else {
            return;
        };
        let now = self.clock.now();
        let unread = (0..self.units.len()).any(|n| {
            let (told, since) = self.units[n].told;
            let commanded = matches!(told, Setpoint::Off | Setpoint::Percent(_)) && since < up_at;
            commanded && !self.books.pages[n].given_up && self.books.pages[n].heard < up_at
        });
        if !unread || now > up_at + 10 * S {
            self.books.restarted = None;
        }
    }

    /// S5: nothing that was acknowledged is lost.
    fn check_kept(&mut self, shown: &[OrderStatus]) {
        let mut lost = Vec::new();
        for (id, (_, order)) in self.in_force() {
            let found = shown.iter().find(|status| status.id == *id);
            let same = found.is_some_and(|found| {
                found.source == order.source && Some(found.watts) == order.ask.watts()
            });
            let over = found.is_some_and(|found| found.state == OrderState::Ended);
            let expired = order.expires_at.0 <= self.true_wall().0 + 3_000;
            if !same || (over && !expired) {
                lost.push(format!("{id} was acknowledged and is lost: {found:?}"));
            }
        }
        for text in lost {
            self.fail(text);
        }
    }

    /// S1 of one order, after its deadline.
    fn check_order(&mut self, order: &OrderStatus) {
        let Some((at, envelope)) = self.books.orders.get(&order.id) else {
            return;
        };
        let site = &self.plan.site;
        let allowed = envelope
            .deadline
            .unwrap_or(site.law.deadlines[usize::from(envelope.class)]);
        if self.clock.now() <= at + allowed.as_nanos() as Ns {
            return;
        }
        let limit = match envelope.ask {
            // An emergency stop leaves what boards draw that are off.
            Ask::Cap(Watts::ZERO) if envelope.class == 0 => self.plan.idle(),
            Ask::Cap(watts) | Ask::Setpoint(watts) if envelope.scope != Scope::Site => watts,
            _ => order.limit_watts,
        };
        let whole = matches!(envelope.scope, Scope::Mining | Scope::Site);
        let (least, most, truth, excused) = self.in_scope(&envelope.scope.clone());
        let partial = matches!(
            order.state,
            OrderState::Partial | OrderState::Failed | OrderState::Expired
        );
        let excess = order.excess_watts.filter(|_| partial).unwrap_or_default();
        let metered = self.plan.site.telemetry.meter.is_some();
        if !metered {
            if least > limit + excess {
                self.fail(format!(
                    "{} says {:?} with {excess} over, but {least} count against {limit}",
                    order.id, order.state
                ));
            }
            if excess > (most - limit).at_least_zero() + Watts(10) {
                self.fail(format!(
                    "{} says {excess} over {limit}, but at most {most} count",
                    order.id
                ));
            }
        }
        // What no meter shows, of a feeder, a group, or while it is lost, is known as well as the table knows the models.
        let slack = match metered {
            true if whole && !self.senses.meter_lost => 0.01,
            true => self.plan.table_error().max(0.01),
            false => 1e-4,
        };
        let blur = if metered { 2e-3 } else { 0.0 } * self.plan.nameplate().0 as f64;
        let bound = (limit + excess).0 as f64 * (1.0 + slack) + excused + blur + 10.0;
        if truth > bound {
            self.fail(format!(
                "{} says {:?} with {excess} over {limit}, but {truth:.0} W are drawn ({excused:.0} excused)",
                order.id, order.state
            ));
        }
    }

    /// At the meter: least and most that count, what is truly drawn, and how much of that nobody can know.
    fn in_scope(&self, scope: &Scope) -> (Watts, Watts, f64, f64) {
        let site = &self.plan.site;
        let truth = &self.books.truth;
        let named = |name: &String, of: &[f64], names: Vec<&String>| {
            let at = names.iter().position(|found| *found == name);
            at.map_or(0.0, |at| of[at])
        };
        let feeders = site.feeders.iter().map(|of| &of.name).collect();
        let groups = site.groups.iter().map(|of| &of.name).collect();
        let drawn = match scope {
            Scope::Mining | Scope::Site => truth.site,
            Scope::Feeder(name) => named(name, &truth.feeders, feeders),
            Scope::Group(name) => named(name, &truth.groups, groups),
        };
        let (mut least, mut most) = (Watts::ZERO, Watts::ZERO);
        for n in 0..self.units.len() {
            let group = &site.groups[self.units[n].group];
            let inside = match scope {
                Scope::Mining | Scope::Site => true,
                Scope::Feeder(name) => site.feeders[usize::from(group.feeder.0)].name == *name,
                Scope::Group(name) => group.name == *name,
            };
            if inside {
                let (low, high) = self.counts(n);
                least += low.scaled(group.overhead_permille);
                most += high.scaled(group.overhead_permille);
            }
        }
        (least, most, drawn, truth.upset + truth.lying)
    }

    /// Nothing is granted that is not free in truth.
    pub fn check_grant(&mut self, save: &Save) {
        let Save::Reservation(one) = save else {
            return;
        };
        if one.state != ReservationState::Granted {
            self.books.granted.remove(&one.n);
            return;
        }
        if self.books.granted.insert(one.n, one.watts()).is_some() {
            return;
        }
        self.measure();
        let promised: Watts = self.books.granted.values().copied().sum();
        let gpu = self.senses.gpu_base + promised.0 as f64;
        let site = &self.plan.site;
        let all = self.books.truth.site + gpu + site.other_load.0 as f64;
        let slack = if site.telemetry.meter.is_some() {
            0.01
        } else {
            1e-4
        };
        let mining = self.books.truth.site;
        if all > site.limit.0 as f64 + mining * slack {
            let text = format!(
                "r-{} is granted {} though {all:.0} W of {} would be drawn",
                one.n,
                one.watts(),
                site.limit
            );
            self.fail(text);
        }
    }
}
