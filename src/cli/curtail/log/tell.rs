//! An audit entry as a line for people: who ordered what, what was decided, who was told.
//!
//! Not the file, nor a replay. It remembers the names of machines, which the audit has once, where a machine arrives, and
//! numbers afterwards. Invariant: an entry makes one line at most, of bounded length and without control characters.

use crate::cli::ask::printable;
use crate::cli::curtail::show;
use crate::curtail::controller::{Answer, Input, Output, Proof, Save};
use crate::curtail::replay::{Begin, Turn};
use crate::curtail::reserve::Reservation;
use crate::curtail::signal::{Ask, Envelope, rfc3339};
use crate::curtail::view::ReservationState;
use crate::curtail::{MachineId, Setpoint, Wall};
use crate::ledger::Stored;
use crate::telemetry::units;
use std::collections::{HashMap, HashSet};

/// Longest text of an entry in a line.
const LONGEST_TEXT: usize = 400;
/// Machines that are named of those that one thing is said of.
const NAMED: usize = 8;

/// Keys of turns that a reader must remember.
const LEARNT: [&str; 2] = ["\"facts\":", "\"reservation\":"];

/// What a reader of entries must remember.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// By number, of the present run.
    names: Vec<String>,
    known: HashSet<String>,
    /// Reservations that have been told of as they stand.
    told: HashMap<u64, ReservationState>,
}

impl Teller {
    /// Remembers who arrived and what was granted, of an entry that is not shown.
    pub(super) fn learn(&mut self, entry: &Stored) {
        match entry.kind.as_str() {
            "start" => self.forget(),
            // Only few turns bring these, and reading them all takes long.
            "turn" if LEARNT.iter().any(|key| entry.body.contains(key)) => {
                if let Ok(turn) = serde_json::from_str::<Turn>(&entry.body) {
                    self.turn(&turn);
                }
            }
            _ => {}
        }
    }

    /// One line; `None` for a turn in which nothing happened that a person would look for, and for the bytes of orders,
    /// which the turn that follows says in words.
    pub(super) fn line(&mut self, entry: &Stored) -> Option<String> {
        let said = match entry.kind.as_str() {
            "raw" => return None,
            "turn" => match serde_json::from_str::<Turn>(&entry.body) {
                Ok(turn) => self.turn(&turn)?,
                Err(_) => "a turn that this version cannot read".to_owned(),
            },
            "start" => {
                self.forget();
                match serde_json::from_str::<Begin>(&entry.body) {
                    Ok(begin) => {
                        format!("Sluice {} begins, site {}", begin.version, begin.site.name)
                    }
                    Err(_) => "a start that this version cannot read".to_owned(),
                }
            }
            kind => format!("{kind} {}", entry.body),
        };
        let at = rfc3339::write(Wall(entry.at_ms));
        let said: String = printable(&said).chars().take(LONGEST_TEXT).collect();
        Some(format!("{:>8}  {at:<24}  {said}", entry.n))
    }

    /// Numbers begin anew with each run.
    fn forget(&mut self) {
        self.names.clear();
        self.known.clear();
    }

    fn arrivals(&mut self, turn: &Turn) {
        for input in &turn.inputs {
            if let Input::Machine { facts, .. } = input
                && self.known.insert(facts.name.clone())
            {
                self.names.push(facts.name.clone());
            }
        }
    }

    fn name(&self, machine: MachineId) -> String {
        let name = self.names.get(machine.0 as usize);
        name.map_or_else(|| format!("machine {}", machine.0), Clone::clone)
    }

    fn turn(&mut self, turn: &Turn) -> Option<String> {
        self.arrivals(turn);
        let mut parts: Vec<String> = turn.inputs.iter().filter_map(input).collect();
        for output in &turn.outputs {
            parts.extend(self.output(output));
        }
        for is in PROOFS {
            let found = turn.outputs.iter().filter_map(|output| match output {
                Output::Standing { machine, is: now } if *now == is => Some(*machine),
                _ => None,
            });
            parts.extend(self.all(found, "is", "are", &show::word(&is)));
        }
        for (verb, is_meant) in COMMANDS {
            let told = turn.outputs.iter().filter_map(|output| match output {
                Output::Command {
                    machine, setpoint, ..
                } if is_meant(*setpoint) => Some(*machine),
                _ => None,
            });
            parts.extend(self.all(told, "is told to", "are told to", verb));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn output(&mut self, output: &Output) -> Option<String> {
        match output {
            Output::Answer {
                answer: Err(refusal),
                ..
            } => Some(format!("refused: {refusal}")),
            Output::Answer {
                answer: Ok(answer), ..
            } => taken(answer),
            Output::Alarm(text) => Some(format!("ALARM {text}")),
            Output::Save(save) => match &**save {
                Save::Reservation(one) => self.reservation(one),
                _ => None,
            },
            Output::Command { .. } | Output::Standing { .. } => None,
        }
    }

    /// What became of a reservation; nothing where it is saved for a renewal.
    fn reservation(&mut self, one: &Reservation) -> Option<String> {
        if self.told.insert(one.n, one.state) == Some(one.state) {
            return None;
        }
        let id = one.id();
        match one.state {
            ReservationState::Granted => {
                Some(format!("{id} granted: {} are proven free", one.watts()))
            }
            ReservationState::Partial => {
                let most = one.achievable.unwrap_or(one.granted);
                Some(format!("{id}: only {most} of {} can be had", one.watts()))
            }
            ReservationState::Expired => Some(format!("{id} expired")),
            // The order and the release say so themselves.
            ReservationState::Pending | ReservationState::Released => None,
        }
    }

    /// `asic1 is proven`, `11 machines are proven: asic1, asic2 ...`; nothing of none.
    fn all(
        &self,
        machines: impl Iterator<Item = MachineId>,
        one: &str,
        many: &str,
        what: &str,
    ) -> Option<String> {
        let names: Vec<String> = machines.map(|machine| self.name(machine)).collect();
        let named = names[..names.len().min(NAMED)].join(", ");
        match names.len() {
            0 => None,
            1 => Some(format!("{named} {one} {what}")),
            n => {
                let rest = match n.saturating_sub(NAMED) {
                    0 => String::new(),
                    rest => format!(" and {} more", units::count(rest as u64)),
                };
                let n = units::count(n as u64);
                Some(format!("{n} machines {many} {what}: {named}{rest}"))
            }
        }
    }
}

const PROOFS: [Proof; 4] = [Proof::Proven, Proof::Failed, Proof::Liar, Proof::Fought];

type Command = (&'static str, fn(Setpoint) -> bool);

const COMMANDS: [Command; 4] = [
    ("go off", |to| to == Setpoint::Off),
    ("run trimmed", |to| matches!(to, Setpoint::Percent(_))),
    ("wait without work", |to| to == Setpoint::Withdrawn),
    ("run in full", |to| to == Setpoint::Run),
];

fn input(input: &Input) -> Option<String> {
    match input {
        Input::Signal { dry_run: true, .. } => None,
        Input::Signal { envelope, .. } => Some(order(envelope)),
        Input::Release { id, .. } => Some(format!("release of {id}")),
        Input::Renew { id, expires_at, .. } => {
            let until = rfc3339::write(*expires_at);
            Some(format!("{id} renewed until {until}"))
        }
        _ => None,
    }
}

fn order(envelope: &Envelope) -> String {
    let what = match &envelope.ask {
        Ask::Cap(watts) | Ask::Setpoint(watts) | Ask::Relative(watts) | Ask::Reserve(watts) => {
            watts.to_string()
        }
        Ask::Release(id) => id.clone(),
        Ask::Price(price) => price.to_string(),
    };
    format!(
        "{} {what} for {} by {} (class {}, epoch {}, seq {})",
        envelope.ask.kind(),
        envelope.scope,
        envelope.source,
        envelope.class,
        envelope.epoch,
        envelope.seq
    )
}

fn taken(answer: &Answer) -> Option<String> {
    let (id, limit, repeated) = match answer {
        Answer::Order { status, repeated } => (&status.id, Some(status.limit_watts), repeated),
        Answer::Reservation { status, repeated } => (&status.id, None, repeated),
        Answer::Preview(_) | Answer::Done => return None,
    };
    let limit = limit.map_or(String::new(), |limit| format!(", mining may draw {limit}"));
    Some(match repeated {
        true => format!("repeats {id}"),
        false => format!("taken as {id}{limit}"),
    })
}
