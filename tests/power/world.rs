//! The world: the controller under test, a driver as `src/tasks` has one, simulated machines, a ledger in memory, one
//! clock. Decides nothing about power; every delay is chance from the seed.
//!
//! ```text
//!   signals, meter, GPUs, shares ──> Controller ──> outputs ──> ledger (durable) ──> commands ──> machines
//!                                       ^─────────── receipts, telemetry, connections <──────────────┘
//! ```
//! Invariant: one seed, one history.

use crate::checks::Books;
use crate::clock::{Clock, MS, Ns, S};
use crate::event::Ev;
use crate::ledger::{Crash, Ledger, Tape};
use crate::plan::{Plan, kind, models};
use crate::senses::Senses;
use crate::units::Unit;
use sluice::curtail::controller::{Answer, Controller, Input, Output};
use sluice::curtail::signal::Refusal;
use sluice::curtail::view::View;
use sluice::curtail::{MachineId, Setpoint, Wall, fleet::Facts, site::GroupId};
use sluice::machine::Machine as _;
use sluice::sim::rng::Rng;
use std::collections::{BTreeMap, VecDeque};

/// What the wall clock shows when the world begins, ms.
const DAWN: i64 = 1_790_000_000_000;

/// Everything.
pub struct World {
    pub clock: Clock<Ev>,
    pub rng: Rng,
    pub plan: Plan,
    pub units: Vec<Unit>,
    /// None while the process is down.
    pub controller: Option<Controller>,
    /// Counts controllers: what an earlier one wanted is not for a later one.
    pub life: u32,
    pub ledger: Ledger,
    pub books: Books,
    pub senses: Senses,
    pub tape: Option<Tape>,
    /// Die at this step of the driver.
    pub crash: Option<Crash>,
    /// Steps of the driver so far.
    pub steps: u64,
    pub answers: BTreeMap<u64, Result<Answer, Refusal>>,
    /// The proxy's wall clock is off by this, ms.
    pub skew_ms: i64,
    pub queue: VecDeque<u32>,
    pub in_flight: usize,
    pub calls: u64,
    planned: Option<Ns>,
}

impl World {
    /// As planned, everything running, nothing asked.
    pub fn new(plan: Plan) -> Self {
        let clock = Clock::new();
        let now = clock.instant();
        let faults = plan.faults.deal(plan.machines.len(), plan.seed);
        let units: Vec<_> = faults
            .into_iter()
            .enumerate()
            .map(|(n, fault)| Unit::new(now, &plan, n, fault))
            .collect();
        let mut world = Self {
            books: Books::new(&plan),
            senses: Senses::new(&plan),
            rng: Rng::new(plan.seed ^ 0x0077_6f72_6c64),
            ledger: Ledger::default(),
            units,
            controller: None,
            life: 0,
            tape: None,
            crash: None,
            steps: 0,
            answers: BTreeMap::new(),
            skew_ms: 0,
            queue: VecDeque::new(),
            in_flight: 0,
            calls: 0,
            planned: None,
            clock,
            plan,
        };
        world.clock.plan(S, Ev::Second);
        world.start();
        world
    }

    /// The same, taping what the controller hears and says.
    pub fn taped(plan: Plan) -> Self {
        let mut world = Self::new(plan);
        let tape = Tape::default();
        // From the start: a world that has not moved yet is made again with its tape in.
        world.controller = None;
        world.tape = Some(tape);
        world.start();
        world
    }

    /// A fresh controller is told everything that the config and the ledger know.
    pub fn start(&mut self) {
        let site = self.plan.site.clone();
        self.controller = Some(Controller::new(self.clock.instant(), site));
        self.planned = None;
        self.life += 1;
        if self.skew_ms != 0 {
            // A restart can only go by the wall clock.
            self.books.run_anew(self.clock.now(), self.skew_ms);
        }
        self.feed(Input::Clock(self.wall()));
        for row in models() {
            self.feed(Input::Kind(kind(&row)));
        }
        for save in self.ledger.saves() {
            self.feed(Input::Restore(Box::new(save)));
        }
        for n in 0..self.units.len() {
            let facts = self.facts(n);
            let (setpoint, at) = self.units[n].told;
            let ago = (self.clock.now() - at) / MS;
            let intent = self.ledger.knows(n).then_some((setpoint, ago));
            self.feed(Input::Machine { facts, intent });
        }
        let life = self.life;
        // Those that were commanded are read first.
        for n in 0..self.units.len() {
            let first = match self.units[n].told.0 {
                Setpoint::Run => crate::plan::below(&mut self.rng, 30 * S),
                _ => crate::plan::below(&mut self.rng, S),
            };
            let at = self.clock.now() + first;
            self.clock.plan(at, Ev::Poll(n as u32, life));
        }
    }

    pub fn facts(&self, n: usize) -> Facts {
        Facts {
            name: format!("127.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255),
            group: GroupId(self.units[n].group as u16),
            kind: self.units[n].kind as u16,
        }
    }

    /// What the proxy's clock shows.
    pub fn wall(&self) -> Wall {
        Wall(DAWN + (self.clock.now() / MS) as i64 + self.skew_ms)
    }

    /// What everybody else's clock shows.
    pub fn true_wall(&self) -> Wall {
        Wall(DAWN + (self.clock.now() / MS) as i64)
    }

    /// Goes on for so many seconds.
    pub fn run(&mut self, seconds: u64) {
        let end = self.clock.now() + seconds * S;
        self.run_until(end);
    }

    /// Goes on up to a time.
    pub fn run_until(&mut self, end: Ns) {
        while let Some(event) = self.clock.next(end) {
            self.happen(event);
        }
        self.clock.rest_until(end);
    }

    fn happen(&mut self, event: Ev) {
        let alive = |life: u32| life == self.life && self.controller.is_some();
        match event {
            Ev::Second => self.second(),
            Ev::Restart => self.start(),
            Ev::Turn(life) if alive(life) => self.turn(),
            Ev::Deliver(n, life) if alive(life) => self.deliver(n),
            Ev::Reply(n, life) if alive(life) => self.reply(n),
            Ev::Read(n, life) if alive(life) => self.read(n),
            Ev::Seen(n, life) if alive(life) => self.seen(n),
            Ev::Poll(n, life) if alive(life) => {
                self.read(n);
                let next = self.clock.now() + 30 * S;
                self.clock.plan(next, Ev::Poll(n, life));
            }
            _ => {}
        }
    }

    fn turn(&mut self) {
        let now = self.clock.instant();
        if self.planned.is_some_and(|at| at > self.clock.now()) {
            return;
        }
        self.planned = None;
        if let Some(tape) = &mut self.tape {
            tape.heard.push((self.clock.now(), None));
        }
        self.alive().handle_timeout(now);
        self.pump();
        self.look();
    }

    /// The controller, which must be there.
    fn alive(&mut self) -> &mut Controller {
        self.controller.as_mut().expect("the process is up")
    }

    /// What it tells.
    pub fn view(&mut self) -> View {
        let now = self.clock.instant();
        self.alive().view(now)
    }

    /// Gives the controller an input, and does what it wants.
    pub fn feed(&mut self, input: Input) {
        if self.controller.is_none() {
            return;
        }
        let now = self.clock.instant();
        if let Some(tape) = &mut self.tape {
            tape.heard.push((self.clock.now(), Some(input.clone())));
        }
        self.alive().handle_input(now, input);
        self.pump();
    }

    /// Collects what one call put out, makes it durable, then acts: in that order, and it may die in between.
    fn pump(&mut self) {
        let mut outputs = Vec::new();
        while let Some(output) = self.alive().poll_output() {
            outputs.push(output);
        }
        if let Some(tape) = &mut self.tape {
            tape.said.extend(outputs.iter().cloned());
        }
        self.steps += 1;
        let dies = self.crash.filter(|crash| crash.step <= self.steps);
        if dies.is_some_and(|crash| crash.phase == 0) {
            return self.die();
        }
        for output in &outputs {
            self.keep(output);
        }
        if dies.is_some_and(|crash| crash.phase == 1) {
            return self.die();
        }
        for output in outputs {
            self.act(output);
        }
        if dies.is_some() {
            return self.die();
        }
        self.send();
        let due = self.alive().poll_timeout().map(|(at, _)| at);
        if let Some(at) = due.map(|at| self.clock.ns(at))
            && self.planned.is_none_or(|planned| at < planned)
        {
            self.planned = Some(at);
            self.clock.plan(at, Ev::Turn(self.life));
        }
    }

    fn keep(&mut self, output: &Output) {
        match output {
            Output::Save(save) => {
                self.check_grant(save);
                self.ledger.save(save);
            }
            Output::Command {
                machine, setpoint, ..
            } => {
                let n = machine.0 as usize;
                self.check_command(n, *setpoint);
                self.ledger.intend(n);
                if self.units[n].told.0 != *setpoint {
                    self.units[n].told = (*setpoint, self.clock.now());
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Command {
                machine,
                setpoint,
                attempt,
            } => {
                let unit = &mut self.units[machine.0 as usize];
                if unit.waiting.replace((setpoint, attempt)).is_none() {
                    self.queue.push_back(machine.0);
                }
            }
            Output::Answer { call, answer } => {
                self.answers.insert(call, answer);
            }
            Output::Standing { machine, is } => {
                self.units[machine.0 as usize].chased = false;
                self.books.stood(machine.0 as usize, is);
            }
            Output::Alarm(text) => self.books.alarms.push(text),
            Output::Save(_) => {}
        }
    }

    /// The process is gone. What was on the wire may still arrive.
    fn die(&mut self) {
        let crash = self.crash.take().expect("dies of it");
        let now = self.clock.instant();
        self.controller = None;
        self.books.deaths += 1;
        for unit in &mut self.units {
            if let Some((setpoint, _)) = unit.flying.take()
                && self.rng.chance(0.5)
            {
                unit.write(now, setpoint);
            }
            (unit.waiting, unit.receipt, unit.reading) = (None, None, None);
            (unit.chased, unit.connected) = (false, false);
        }
        self.queue.clear();
        self.in_flight = 0;
        self.books.died(self.clock.now() + crash.down);
        self.clock.plan(self.clock.now() + crash.down, Ev::Restart);
    }

    /// A machine by its number.
    pub fn id(n: usize) -> MachineId {
        MachineId(n as u32)
    }

    /// A rule is broken.
    pub fn fail(&mut self, what: impl Into<String>) {
        let at = self.clock.now() as f64 / S as f64;
        self.books
            .failures
            .push(format!("{at:.3} s: {}", what.into()));
    }
}
