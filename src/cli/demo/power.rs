//! The power side of the demo's story: a GPU job asks for watts, mining sheds, the grant, the run, the restore. Pure: looks
//! in, words out; and whether it went as it must.
//!
//! Invariant: what is judged is the truth of the simulated site (breakers, watts, room at the grant), never what the
//! proxy says of itself; of the proxy only its limit and its promises are taken, to hold it to them.

use super::site::Look;
use crate::{
    curtail::{
        Watts,
        view::{OrderState, ReservationState, ReservationStatus},
    },
    sim::site::job::Outcome as JobOutcome,
};
use serde::Serialize;
use std::{collections::VecDeque, time::Duration};

/// All machines mine and are known for this long before the job asks: a newcomer has read what is simulated.
const CALM: Duration = Duration::from_secs(3);
/// A limit that fell must be kept after this: the deadline of class 1, which the job's reservation has.
const DEADLINE: Duration = Duration::from_secs(15);
/// How far above its limit mining may be for good, as a part: the meter's noise.
const TOLERANCE: f64 = 0.005;
/// A grant may take this long before the demo, stopped by hand, calls it missing.
const GRANT_WITHIN: Duration = Duration::from_secs(30);
/// The same of the restore, counted from the release.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// Mining is back when it draws this part of what it drew before: a waking machine approaches its full power slowly.
const BACK: f64 = 0.97;

/// A step of the story, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// All machines mine, and the proxy knows each of them.
    Mining,
    /// The job has asked for its watts.
    Asked,
    /// Machines are off.
    Shedding,
    /// The proxy has promised the watts.
    Granted,
    /// The job runs, and draws all it will.
    Running,
    /// The job is over and has given its watts back.
    Released,
    /// The first machine is started again.
    Waking,
    /// Mining is as it was.
    Back,
}

/// The site at one step, in watts at the meter.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Moment {
    step: Step,
    seconds: f64,
    may_mine_watts: Option<i64>,
    mining_watts: f64,
    gpu_watts: f64,
    site_watts: f64,
    hashing: usize,
}

/// The story so far.
#[derive(Debug)]
pub(super) struct PowerStory {
    machines: usize,
    /// Nodes and watts of the job; `None`: it is not told.
    job: Option<(usize, i64)>,
    limit_watts: f64,
    told: Vec<Moment>,
    /// When the latest step was, and whether the job was told to begin.
    at: Duration,
    begun: bool,
    limits: VecDeque<(Duration, i64)>,
    worst: [Option<(f64, f64)>; 2],
    wrong: Vec<String>,
    trips: usize,
    judged: bool,
}

impl PowerStory {
    /// For a site with so many machines and this limit; without a `job` only the limit is watched.
    pub(super) fn new(machines: usize, limit_watts: f64, job: Option<(usize, i64)>) -> Self {
        Self {
            machines,
            job,
            limit_watts,
            told: Vec::new(),
            at: Duration::ZERO,
            begun: false,
            limits: VecDeque::new(),
            worst: [None, None],
            wrong: Vec::new(),
            trips: 0,
            judged: false,
        }
    }

    /// Whether all of it has been told: pool A may die.
    pub(super) fn is_over(&self) -> bool {
        self.job.is_none() || self.step() == Some(Step::Back)
    }

    /// When the latest step was.
    pub(super) fn latest(&self) -> Duration {
        self.at
    }

    /// The site at each step.
    pub(super) fn moments(&self) -> &[Moment] {
        &self.told
    }

    /// What has gone wrong.
    pub(super) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Whether the job is to ask now. Says so once.
    pub(super) fn is_due(&mut self, elapsed: Duration) -> bool {
        let due = !self.begun && self.step() == Some(Step::Mining) && elapsed >= self.at + CALM;
        self.begun |= due;
        due
    }

    /// What a look shows to have happened.
    pub(super) fn advance(&mut self, look: &Look) -> Option<String> {
        self.watch(look);
        self.job?;
        let next = self.next(look)?;
        let words = self.words(next, look);
        self.told.push(Moment::of(next, look));
        self.at = look.elapsed;
        Some(words)
    }

    fn step(&self) -> Option<Step> {
        self.told.last().map(|moment| moment.step)
    }

    /// The step that has come, if one has.
    fn next(&self, look: &Look) -> Option<Step> {
        let reservation = reservation(look).map(|one| one.state);
        let (next, has_come) = match self.step() {
            None => (Step::Mining, self.is_known(look)),
            Some(Step::Mining) => (Step::Asked, reservation.is_some()),
            Some(Step::Asked) => (Step::Shedding, look.hashing < self.machines),
            Some(Step::Shedding) => {
                let granted = reservation == Some(ReservationState::Granted);
                (Step::Granted, granted)
            }
            Some(Step::Granted) => (Step::Running, self.is_at_full_power(look)),
            Some(Step::Running) => (
                Step::Released,
                reservation == Some(ReservationState::Released),
            ),
            Some(Step::Released) => {
                let off = self
                    .moment(Step::Released)
                    .map_or(0, |moment| moment.hashing);
                (Step::Waking, look.hashing > off)
            }
            Some(Step::Waking) => (Step::Back, self.is_back(look)),
            Some(Step::Back) => return None,
        };
        has_come.then_some(next)
    }

    fn moment(&self, step: Step) -> Option<&Moment> {
        self.told.iter().find(|moment| moment.step == step)
    }

    fn is_known(&self, look: &Look) -> bool {
        let view = &look.view;
        let all = look.hashing == self.machines && view.machines.running == self.machines;
        all && look.fleet.mining as usize == self.machines
            && view.meter_watts.is_some()
            && view.gpu_watts.is_some()
    }

    fn is_at_full_power(&self, look: &Look) -> bool {
        let (nodes, watts) = self.job.unwrap_or_default();
        // What is asked for has a GPU's spread on top.
        look.busy_nodes == nodes && look.job_watts > 0.95 * watts as f64
    }

    fn is_back(&self, look: &Look) -> bool {
        let before = self.moment(Step::Mining).map_or(0.0, |m| m.mining_watts);
        look.hashing == self.machines
            && look.fleet.mining as usize == self.machines
            && look.truth.mining_watts >= BACK * before
    }
}

/// What the job holds or has asked for.
fn reservation(look: &Look) -> Option<&ReservationStatus> {
    let mut all = look.view.reservations.iter();
    all.rfind(|one| one.source == "slurm")
}

impl PowerStory {
    fn words(&self, step: Step, look: &Look) -> String {
        let (nodes, watts) = self.job.unwrap_or_default();
        let watts = kw(watts as f64);
        let since = |step| {
            let at = self.moment(step).map_or(0.0, |moment| moment.seconds);
            look.elapsed.as_secs_f64() - at
        };
        let off = self.machines - look.hashing;
        let site = kw(look.truth.site_watts);
        match step {
            Step::Mining => format!(
                "all {} machines are known; the site draws {site} of its {}",
                self.machines,
                kw(self.limit_watts)
            ),
            Step::Asked => format!(
                "a GPU job on {nodes} nodes asks for {watts}; {} are free",
                kw((self.limit_watts - look.truth.site_watts).max(0.0))
            ),
            Step::Shedding => format!(
                "mining may draw {} from now on: machines are being put off",
                look.view
                    .limit_watts
                    .map_or_else(|| "-".to_owned(), |w| kw(w.0 as f64))
            ),
            Step::Granted => format!(
                "granted after {:.1} s: {watts} are proven free ({off} machines off, site {site})",
                since(Step::Asked)
            ),
            Step::Running => format!("the job runs at full power: site {site}"),
            Step::Released => "the job is over, its watts are given back".to_owned(),
            Step::Waking => format!("mining comes back: {off} machines still off"),
            Step::Back => format!(
                "mining is back {:.1} s after the release: site {site}",
                since(Step::Released)
            ),
        }
    }
}

impl Moment {
    fn of(step: Step, look: &Look) -> Self {
        Self {
            step,
            seconds: look.elapsed.as_secs_f64(),
            may_mine_watts: look.view.limit_watts.map(|watts| watts.0),
            mining_watts: look.truth.mining_watts,
            gpu_watts: look.truth.hall_watts,
            site_watts: look.truth.site_watts,
            hashing: look.hashing,
        }
    }

    /// A row of the table at the end.
    pub(super) fn as_words(&self) -> String {
        let what = match self.step {
            Step::Mining => "all mine",
            Step::Asked => "job asks",
            Step::Shedding => "shedding",
            Step::Granted => "granted",
            Step::Running => "job runs",
            Step::Released => "released",
            Step::Waking => "waking",
            Step::Back => "all mine",
        };
        let limit = self
            .may_mine_watts
            .map_or_else(|| "-".to_owned(), |watts| kw(watts as f64));
        format!(
            "  {what:9} {:>7.1} s {limit:>12} {:>10} {:>10} {:>10} {:>9}",
            self.seconds,
            kw(self.mining_watts),
            kw(self.gpu_watts),
            kw(self.site_watts),
            self.hashing
        )
    }
}

/// The head of that table.
pub(super) const HEAD: &str =
    "  step            at    may mine     mining       GPUs       site  machines";

impl PowerStory {
    /// Compares the truth with what was promised.
    fn watch(&mut self, look: &Look) {
        for trip in look.trips.iter().skip(self.trips) {
            self.wrong.push(format!(
                "breaker {} tripped at {}: it is rated for {}",
                trip.name,
                kw(trip.watts),
                kw(trip.rating_watts)
            ));
        }
        self.trips = self.trips.max(look.trips.len());
        if let Some(job) = look.job.as_ref().filter(|_| !self.judged) {
            self.judged = true;
            if job.came_early(0.0) {
                self.wrong.push(format!(
                    "the grant of {} came early: {} were free in truth",
                    kw(job.watts as f64),
                    kw(job.room_watts.unwrap_or_default())
                ));
            }
            if job.outcome != Some(JobOutcome::Ran) {
                self.wrong
                    .push(format!("the job did not run to its end: {:?}", job.outcome));
            }
        }
        let site = look.truth.site_watts;
        note(&mut self.worst[0], site, self.limit_watts);
        if let Some(limit) = self.due_limit(look) {
            note(&mut self.worst[1], look.truth.mining_watts, limit);
        }
    }

    /// What mining must keep now: the highest of its limits since a deadline ago. `None`: no deadline has passed, or what
    /// bounds it is an order that said at once that it cannot be kept in full.
    fn due_limit(&mut self, look: &Look) -> Option<f64> {
        let limit = look.view.limit_watts.unwrap_or(Watts::UNLIMITED).0;
        self.limits.push_back((look.elapsed, limit));
        let deadline = look.elapsed.checked_sub(DEADLINE)?;
        while self.limits.get(1).is_some_and(|(at, _)| *at <= deadline) {
            self.limits.pop_front();
        }
        let bound = look.view.bound_by.as_deref();
        let order = look
            .view
            .orders
            .iter()
            .find(|one| Some(one.id.as_str()) == bound);
        let is_excused = order.is_some_and(|order| order.state != OrderState::Proven);
        let most = self.limits.iter().map(|(_, limit)| *limit).max()?;
        (!is_excused).then_some(most as f64)
    }

    /// What is missing when the demo ends: after its time, or by hand somewhere in between.
    pub(super) fn end(&mut self, elapsed: Duration, by_hand: bool) {
        let names = ["the site drew", "mining drew"];
        for (name, worst) in names.iter().zip(self.worst) {
            if let Some((watts, limit)) = worst {
                self.wrong.push(format!(
                    "{name} {} where {} are allowed",
                    kw(watts),
                    kw(limit)
                ));
            }
        }
        let passed = elapsed.saturating_sub(self.at);
        let wait = |most| !by_hand || passed > most;
        let missing = match self.step() {
            _ if self.job.is_none() => None,
            None => wait(GRANT_WITHIN).then_some("not all machines were mining and known in time"),
            Some(Step::Mining | Step::Asked | Step::Shedding) => {
                wait(GRANT_WITHIN).then_some("the job was not granted its watts in time")
            }
            Some(Step::Granted | Step::Running) => {
                wait(GRANT_WITHIN).then_some("the job did not run and release in time")
            }
            Some(Step::Released | Step::Waking) => {
                wait(BACK_WITHIN).then_some("mining did not come back in time")
            }
            Some(Step::Back) => None,
        };
        self.wrong.extend(missing.map(str::to_owned));
    }
}

/// Keeps the worst excess over a limit.
fn note(worst: &mut Option<(f64, f64)>, watts: f64, limit: f64) {
    let over = |(watts, limit): (f64, f64)| watts - limit;
    if watts > limit * (1.0 + TOLERANCE) && worst.is_none_or(|w| over(w) < watts - limit) {
        *worst = Some((watts, limit));
    }
}

/// `748 kW`, `1.62 MW`.
pub(super) fn kw(watts: f64) -> String {
    match watts {
        w if w < 9_950.0 => format!("{:.1} kW", w / 1e3),
        w if w < 999_500.0 => format!("{:.0} kW", w / 1e3),
        w => format!("{:.2} MW", w / 1e6),
    }
}

#[cfg(test)]
mod tests;
