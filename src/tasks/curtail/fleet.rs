//! Machines as they become known: by a connection, by a firmware, by the ledger. Turns names into ids and kinds.
//!
//! Not what they do. Invariant: an id given here is the one the controller gives: machines are numbered in the order in
//! which [`Input::Machine`] of a new name is pushed.

use super::super::power::{Mined, Seen};
use super::super::reconcile::{Desk, Known};
use crate::actuators::{Actuator, Identity};
use crate::config::site::{Firmware, SiteConfig};
use crate::curtail::controller::{Controller, Input};
use crate::curtail::fleet::{Capability, Facts, Kind, Observation};
use crate::curtail::machine::Standing;
use crate::curtail::site::GroupId;
use crate::curtail::{MachineId, Setpoint, Wall, Watts};
use crate::ledger::{Recovered, Row};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// An unchanged observation is told to the controller again after this: it only says that the machine lives.
const STILL: Duration = Duration::from_secs(300);

/// A silence that proves something is told this often.
const SILENT: Duration = Duration::from_secs(5);

/// What shares stand for is told this often: the audit keeps each.
const COUNTED: Duration = Duration::from_secs(10);

/// Every machine that was ever seen here.
pub(super) struct Fleet {
    config: SiteConfig,
    families: Vec<Arc<dyn Actuator>>,
    kinds: HashMap<(usize, Option<&'static str>), u16>,
    entries: HashMap<Arc<str>, Entry>,
    /// Told to the controller, in that order: an index is a [`MachineId`].
    told: u32,
    hashed: Hashed,
    strangers: u32,
    changed: Vec<Row>,
}

/// What the shares of all machines stand for, since then.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed {
    since: Option<Instant>,
    /// At the meter.
    joules: f64,
    /// The same of each share, squared: a few heavy ones tell less than their number.
    squares: f64,
}

struct Entry {
    group: GroupId,
    address: Option<IpAddr>,
    id: Option<MachineId>,
    connected: bool,
    reported: Option<(Observation, Instant)>,
    mined_at: Option<Instant>,
    hashes_per_share: Option<f64>,
}

/// What is remembered of a machine over restarts.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    group: String,
    address: Option<IpAddr>,
    identity: Option<String>,
    model: String,
    family: Option<String>,
}

/// What is remembered of an intent over restarts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Intent {
    /// What it was told.
    pub(super) setpoint: Setpoint,
    /// When.
    pub(super) at: Wall,
}

impl Fleet {
    pub(super) fn new(config: SiteConfig, families: Vec<Arc<dyn Actuator>>) -> Self {
        Self {
            config,
            families,
            kinds: HashMap::new(),
            entries: HashMap::new(),
            told: 0,
            hashed: Hashed::default(),
            strangers: 0,
            changed: Vec::new(),
        }
    }

    /// The name as everybody shares it.
    pub(super) fn name(&self, name: &str) -> Arc<str> {
        self.entries
            .get_key_value(name)
            .map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    /// Rows of machines that were learned since the last call.
    pub(super) fn learned(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.changed)
    }

    /// Machines of before a restart, with what they had been told.
    pub(super) fn recover(
        &mut self,
        batch: &mut Vec<Input>,
        desks: &[Arc<Desk>],
        recovered: &Recovered,
        wall: Wall,
    ) {
        let intents: HashMap<&str, Intent> = recovered
            .intents
            .iter()
            .filter_map(|row| Some((row.key.as_str(), serde_json::from_str(&row.body).ok()?)))
            .collect();
        for row in &recovered.machines {
            let Ok(known) = serde_json::from_str::<Remembered>(&row.body) else {
                warn!(
                    machine = row.key,
                    "what was known of this machine cannot be read"
                );
                continue;
            };
            let intent = intents.get(row.key.as_str()).map(|intent| {
                let ago = u64::try_from(wall.0.saturating_sub(intent.at.0)).unwrap_or(0);
                (intent.setpoint, ago)
            });
            self.remember(batch, desks, &row.key, &known, intent);
        }
    }

    fn remember(
        &mut self,
        batch: &mut Vec<Input>,
        desks: &[Arc<Desk>],
        name: &str,
        known: &Remembered,
        intent: Option<(Setpoint, u64)>,
    ) {
        let Some(group) = self.group_now(name, known) else {
            let told = intent.map_or(Setpoint::Run, |(setpoint, _)| setpoint);
            return warn!(
                machine = name,
                group = known.group,
                ?told,
                "ALARM: its group is no longer configured and no other has its address: it stays as it was told last, uncounted, until a [[group]] has it again"
            );
        };
        let model = self
            .config
            .models
            .iter()
            .position(|model| model.name == known.model);
        let Some(model) = model.or_else(|| self.config.bindings.of(group)?.model) else {
            return warn!(
                machine = name,
                model = known.model,
                "its model is no longer in the table: the machine is left as it is"
            );
        };
        let driver = known
            .family
            .as_deref()
            .and_then(|family| self.driver(family));
        let name: Arc<str> = name.into();
        self.entries
            .insert(name.clone(), Entry::new(group, known.address));
        self.tell(batch, &name, model, driver.as_ref(), intent);
        if let Some(address) = known.address {
            let identity = known.identity.clone().zip(driver);
            desks[usize::from(group.0)].know(&name, Known { address, identity });
        }
    }

    /// Its group by name; one that was renamed or split is found by where its machines are.
    fn group_now(&self, name: &str, known: &Remembered) -> Option<GroupId> {
        let groups = &self.config.site.groups;
        let at = groups.iter().position(|group| group.name == known.group);
        let same = at.and_then(|at| u16::try_from(at).ok()).map(GroupId);
        let bindings = &self.config.bindings;
        same.or_else(|| bindings.group_at(known.address?))
            .or_else(|| bindings.group_named(name))
    }

    fn driver(&self, family: &str) -> Option<Arc<dyn Actuator>> {
        self.families
            .iter()
            .find(|driver| driver.family() == family)
            .cloned()
    }

    /// A machine's connections changed.
    pub(super) fn seen(
        &mut self,
        batch: &mut Vec<Input>,
        desks: &[Arc<Desk>],
        controller: &Controller,
        seen: &Seen,
    ) {
        if !self.entries.contains_key(&seen.name) {
            self.entries
                .insert(seen.name.clone(), Entry::new(seen.group, seen.address));
            let binding = self.config.bindings.of(seen.group);
            let model = binding.and_then(|binding| binding.model);
            let speaks = binding.is_some_and(|binding| binding.firmware != Firmware::None);
            match (model, seen.address.filter(|_| speaks)) {
                (model, Some(address)) => {
                    if let Some(model) = model {
                        // Until its firmware has been heard it is load that cannot be commanded.
                        self.tell(batch, &seen.name, model, None, None);
                    }
                    let known = Known {
                        address,
                        identity: None,
                    };
                    desks[usize::from(seen.group.0)].know(&seen.name, known);
                }
                (Some(model), None) => self.tell(batch, &seen.name, model, None, None),
                (None, None) => {
                    batch.push(Input::Warn(format!(
                        "group {} has machines without firmware that can be asked, and names no model: what they draw is not \
                         counted, and nothing is granted or proven; name its model",
                        self.config.site.groups[usize::from(seen.group.0)].name,
                    )));
                    warn!(machine = %seen.name, "has no firmware that can be asked and its group names no model: its watts are not known, it is not counted");
                }
            }
        }
        let entry = self.entries.get_mut(&seen.name).expect("inserted above");
        entry.connected = seen.connected;
        let Some(machine) = entry.id else {
            return;
        };
        batch.push(Input::Connected {
            machine,
            connected: seen.connected,
        });
        let told = controller.machines().get(machine.0 as usize);
        if told.is_some_and(|machine| machine.setpoint != Setpoint::Run) {
            // Back from a reboot, or gone as it was told: its firmware knows.
            desks[usize::from(entry.group.0)].look(&seen.name);
        }
    }

    /// A group has as many machines as it may have, and one more came.
    pub(super) fn full(&self, group: GroupId) {
        let at = usize::from(group.0);
        let (of, binding) = (
            self.config.site.groups.get(at),
            self.config.bindings.of(group),
        );
        if let (Some(of), Some(binding)) = (of, binding) {
            warn!(
                group = of.name,
                most_machines = binding.most_machines,
                "ALARM: it has as many machines as it may have: others that come are not counted and not commanded. See who connects, or raise most_machines"
            );
        }
    }

    /// A firmware said who it is.
    pub(super) fn identified(
        &mut self,
        batch: &mut Vec<Input>,
        name: &Arc<str>,
        identity: Identity,
        driver: &Arc<dyn Actuator>,
    ) {
        let Some(entry) = self.entries.get(name) else {
            return;
        };
        let (group, address) = (entry.group, entry.address);
        let default = self
            .config
            .bindings
            .of(group)
            .and_then(|binding| binding.model);
        let row = self.config.model(&identity.model);
        let row = row.and_then(|row| {
            self.config
                .models
                .iter()
                .position(|model| model.name == row.name)
        });
        let Some(model) = row.or(default) else {
            batch.push(Input::Warn(format!(
                "model \"{}\" ({}) is not in the model table and group {} names no model: what it draws is not counted, and \
                 nothing is granted or proven; add a [[model]]",
                identity.model,
                driver.family(),
                self.config.site.groups[usize::from(group.0)].name,
            )));
            return warn!(machine = %name, model = identity.model, "is not in the model table and its group names no model: add a [[model]]; it is not counted");
        };
        if row.is_none() && !identity.model.is_empty() {
            info!(machine = %name, model = identity.model, "is not in the model table: counted as its group's model");
        }
        self.tell(batch, name, model, Some(driver), None);
        let remembered = Remembered {
            group: self.config.site.groups[usize::from(group.0)].name.clone(),
            address,
            identity: Some(identity.id),
            model: self.config.models[model].name.clone(),
            family: Some(driver.family().into()),
        };
        let body = serde_json::to_string(&remembered).expect("plain strings");
        self.changed.push(Row {
            key: name.to_string(),
            body,
        });
    }

    pub(super) fn unidentified(&self, name: &Arc<str>, why: &str) {
        tracing::debug!(machine = %name, why, "its firmware does not answer");
    }

    /// Tells the controller of a machine, new or known better now.
    fn tell(
        &mut self,
        batch: &mut Vec<Input>,
        name: &Arc<str>,
        model: usize,
        driver: Option<&Arc<dyn Actuator>>,
        intent: Option<(Setpoint, u64)>,
    ) {
        let kind = self.kind(batch, model, driver);
        let entry = self.entries.get_mut(name).expect("the caller has it");
        let facts = Facts {
            name: name.to_string(),
            group: entry.group,
            kind,
        };
        batch.push(Input::Machine { facts, intent });
        if entry.id.is_none() {
            let machine = MachineId(self.told);
            self.told += 1;
            entry.id = Some(machine);
            if entry.connected {
                batch.push(Input::Connected {
                    machine,
                    connected: true,
                });
            }
        }
    }

    fn kind(
        &mut self,
        batch: &mut Vec<Input>,
        model: usize,
        driver: Option<&Arc<dyn Actuator>>,
    ) -> u16 {
        let key = (model, driver.map(|driver| driver.family()));
        if let Some(kind) = self.kinds.get(&key) {
            return *kind;
        }
        let can = driver.map_or(
            Capability {
                trim: None,
                off: None,
            },
            |driver| driver.capability(),
        );
        batch.push(Input::Kind(Kind {
            model: self.config.models[model].clone(),
            can,
        }));
        let kind = u16::try_from(self.kinds.len()).expect("models times families");
        self.kinds.insert(key, kind);
        kind
    }

    /// How many mine here of which nobody knows what they draw, if that has changed.
    pub(super) fn strangers(&mut self) -> Option<Input> {
        let of = |entry: &&Entry| entry.id.is_none() && entry.connected;
        let count = self.entries.values().filter(of).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.strangers, count);
        (before != count).then_some(Input::Strangers(count))
    }

    /// Any machine's shares, as energy by its model's joules per hash.
    pub(super) fn hashed(&mut self, controller: &Controller, name: &Arc<str>, mined: Mined) {
        let id = self.entries.get(name).and_then(|entry| entry.id);
        let Some(machine) = id.and_then(|id| controller.machines().get(id.0 as usize)) else {
            return;
        };
        let model = &controller.kind(machine).model;
        let group = &controller.site().groups[usize::from(machine.facts.group.0)];
        let each = model.watts.0 as f64 / model.hashrate.max(1.0);
        let joules = mined.hashes * each * f64::from(group.overhead_permille) / 1000.0;
        self.hashed.joules += joules;
        self.hashed.squares += joules * joules / f64::from(mined.shares.max(1));
    }

    /// What they come to, every [`COUNTED`].
    pub(super) fn hashing(&mut self, now: Instant) -> Option<Input> {
        let since = *self.hashed.since.get_or_insert(now);
        let gone = now.saturating_duration_since(since);
        if gone < COUNTED {
            return None;
        }
        let Hashed {
            joules, squares, ..
        } = std::mem::take(&mut self.hashed);
        self.hashed.since = Some(now);
        Some(Input::Hashed {
            watts: Watts((joules / gone.as_secs_f64()) as i64),
            shares: (joules * joules / squares.max(1e-9)) as u64,
        })
    }

    /// What a machine that is told to give way mined: its shares, and how many it would find at full power. That there were
    /// none is told only of a machine that must prove it, and not every second.
    pub(super) fn mined(
        &mut self,
        batch: &mut Vec<Input>,
        controller: &Controller,
        name: &Arc<str>,
        mined: Mined,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if mined.shares > 0 {
            entry.hashes_per_share = Some(mined.hashes / f64::from(mined.shares));
        }
        let known = entry
            .id
            .and_then(|id| Some((id, controller.machines().get(id.0 as usize)?)));
        let (Some((machine, known)), Some(each)) = (known, entry.hashes_per_share) else {
            return;
        };
        let since = *entry.mined_at.get_or_insert(now);
        let gone = now.saturating_duration_since(since);
        let awaited = known.standing == Standing::Late && gone >= SILENT;
        if mined.shares == 0 && !awaited {
            return;
        }
        entry.mined_at = Some(now);
        let full = controller.kind(known).model.hashrate * gone.as_secs_f64() / each.max(1.0);
        batch.push(Input::Shares {
            machine,
            shares: mined.shares,
            full,
        });
    }

    /// Whether the controller wants to hear this: anything of a machine that is on its way, else only what changed.
    pub(super) fn is_news(
        &mut self,
        controller: &Controller,
        machine: MachineId,
        seen: &Observation,
        now: Instant,
    ) -> bool {
        let Some(known) = controller.machines().get(machine.0 as usize) else {
            return false;
        };
        let Some(entry) = self.entries.get_mut(known.facts.name.as_str()) else {
            return false;
        };
        let expecting = !matches!(known.standing, Standing::Free | Standing::Proven);
        let same = entry.reported.is_some_and(|(before, at)| {
            let near = match (before.watts, seen.watts) {
                (Some(before), Some(seen)) => (before - seen).0.abs() <= before.0 / 50 + 10,
                (before, seen) => before == seen,
            };
            near && before.mode == seen.mode && now.saturating_duration_since(at) < STILL
        });
        if same && !expecting {
            return false;
        }
        entry.reported = Some((*seen, now));
        true
    }
}

impl Entry {
    fn new(group: GroupId, address: Option<IpAddr>) -> Self {
        Self {
            group,
            address,
            id: None,
            connected: false,
            reported: None,
            mined_at: None,
            hashes_per_share: None,
        }
    }
}
