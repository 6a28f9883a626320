//! How commands and readings travel: bounded calls in flight, a reading after the settling time, then every 2 s until
//! proven, and of every machine every 30 s. A model of `tasks/reconcile`.
//!
//! Invariant: one call to a machine at a time; of several commands that wait, the newest is sent.

use crate::clock::{Ns, S};
use crate::event::Ev;
use crate::plan::{below, kind, models};
use crate::world::World;
use sluice::curtail::Setpoint;
use sluice::curtail::controller::Input;
use sluice::curtail::fleet::{Mode, Receipt};
use std::time::Duration;

/// Most calls at once.
const AT_ONCE: usize = 512;

impl World {
    fn way(&mut self) -> Ns {
        let (least, most) = self.plan.latency_ms;
        (least + below(&mut self.rng, most - least + 1)) * crate::clock::MS
    }

    /// Sends what waits, as far as calls are free.
    pub fn send(&mut self) {
        for _ in 0..self.queue.len() {
            if self.in_flight >= AT_ONCE {
                return;
            }
            let Some(n) = self.queue.pop_front() else {
                return;
            };
            let unit = &mut self.units[n as usize];
            if unit.flying.is_some() {
                self.queue.push_back(n);
                continue;
            }
            unit.flying = unit.waiting.take();
            self.in_flight += 1;
            let at = self.clock.now() + self.way();
            self.clock.plan(at, Ev::Deliver(n, self.life));
        }
    }

    /// A command reaches its machine.
    pub fn deliver(&mut self, n: u32) {
        let now = self.clock.instant();
        let unit = &mut self.units[n as usize];
        let Some((setpoint, attempt)) = unit.flying else {
            return;
        };
        let (receipt, took) = unit.write(now, setpoint);
        unit.receipt = Some((attempt, receipt));
        if receipt == Receipt::WrongIdentity {
            self.books.starts_not(n as usize);
        }
        let back = self.clock.now() + took.as_nanos() as Ns + self.way();
        self.clock.plan(back, Ev::Reply(n, self.life));
        let kind = kind(&models()[self.units[n as usize].kind]);
        let settles = match setpoint {
            Setpoint::Percent(_) => kind.can.trim.map(|trim| trim.settles),
            Setpoint::Off => kind.can.off.map(|off| off.down),
            Setpoint::Run => kind.can.off.map(|off| off.up),
            Setpoint::Withdrawn => None,
        };
        self.units[n as usize].chased = settles.is_some();
        let then = self.clock.now() + settles.unwrap_or(Duration::ZERO).as_nanos() as Ns;
        self.clock.plan(then, Ev::Read(n, self.life));
    }

    /// What became of a command is known.
    pub fn reply(&mut self, n: u32) {
        let unit = &mut self.units[n as usize];
        unit.flying = None;
        self.in_flight -= 1;
        if let Some((attempt, receipt)) = unit.receipt.take() {
            self.feed(Input::Receipt {
                machine: Self::id(n as usize),
                attempt,
                receipt,
            });
        }
        if self.controller.is_some() {
            self.send();
        }
    }

    /// Reads a machine, unless that is being done.
    pub fn read(&mut self, n: u32) {
        let now = self.clock.instant();
        let unit = &mut self.units[n as usize];
        if unit.reading.is_some() {
            return;
        }
        let (says, took) = unit.read(now);
        unit.reading = Some(says);
        let at = self.clock.now() + took.as_nanos() as Ns + self.way();
        self.clock.plan(at, Ev::Seen(n, self.life));
    }

    /// What a machine says is known; a machine under command is read again in 2 s.
    pub fn seen(&mut self, n: u32) {
        let at = n as usize;
        let says = self.units[at].reading.take().flatten();
        if let Some(seen) = says {
            self.books_seen(at, seen);
            self.feed(Input::Observed {
                machine: Self::id(at),
                seen,
            });
            let unit = &mut self.units[at];
            if unit.told.0 == Setpoint::Run && seen.mode == Mode::Running {
                unit.chased = false;
            }
        }
        if self.units[at].chased && self.controller.is_some() {
            let next = self.clock.now() + 2 * S;
            self.clock.plan(next, Ev::Read(n, self.life));
        }
    }
}
