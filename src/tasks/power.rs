//! Sessions as machines: which connection is which machine of the site, what it mined, whether it is told to give way.
//!
//! The place where mining and power meet; decides nothing. Invariants: a machine is named by the address its firmware
//! answers on where that lies in a group's ranges, else by its worker's name where a group's pattern fits; every other
//! session is nobody's, and is never touched. Anyone can say a name, and each new one is watts that the site reckons with:
//! it counts with its first accepted share, and a group has a bound.

use super::mail::Mailbox;
use crate::config::site::{Bindings, Firmware};
use crate::curtail::site::GroupId;
use crate::proxy::lease::SessionId;
use crate::proxy::session::{Close, Observation};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What is shared between the shards and the controller's task.
#[derive(Debug)]
pub struct Power {
    bindings: Bindings,
    inside: Mutex<Inside>,
    /// Rings when a machine came or went.
    pub bell: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    sessions: HashMap<SessionId, Miner>,
    machines: HashMap<Arc<str>, Taps>,
    changed: HashSet<Arc<str>>,
    /// Machines that were seen, by group.
    counts: HashMap<GroupId, usize>,
    /// Groups that had no room for another.
    full: BTreeSet<GroupId>,
    /// Those of them that nobody was told of.
    full_news: BTreeSet<GroupId>,
}

/// One connection.
#[derive(Debug)]
struct Miner {
    address: IpAddr,
    mailbox: Option<Arc<Mailbox>>,
    machine: Option<Arc<str>>,
    /// What it says to be, until a share proves that it mines at all.
    claim: Option<(Arc<str>, GroupId)>,
}

/// One machine, as far as mining knows it.
#[derive(Debug, Default)]
struct Taps {
    /// None until it is seen: it may be known from before a restart.
    group: Option<GroupId>,
    address: Option<IpAddr>,
    sessions: HashSet<SessionId>,
    told: Told,
    mined: Mined,
}

/// What a machine's sessions are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Mine.
    #[default]
    Mine,
    /// Mine on what you have; your difficulty is frozen low.
    Watched,
    /// There is no work for you.
    Withdrawn,
}

/// What a machine mined since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mined {
    /// Accepted shares.
    pub shares: u32,
    /// Hashes they prove on average.
    pub hashes: f64,
}

/// A machine that came, went, or changed its connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its lasting name.
    pub name: Arc<str>,
    /// Where it is wired.
    pub group: GroupId,
    /// Where its firmware answers; none for a machine known by its worker's name.
    pub address: Option<IpAddr>,
    /// It has a pool connection.
    pub connected: bool,
}

impl Power {
    /// Nobody is connected.
    pub fn new(bindings: Bindings) -> Self {
        Self {
            bindings,
            inside: Mutex::default(),
            bell: Notify::new(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Plain maps: whole even if a holder panicked.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection came.
    pub fn joined(&self, session: SessionId, address: IpAddr) {
        let address = address.to_canonical();
        let miner = Miner {
            address,
            mailbox: None,
            machine: None,
            claim: None,
        };
        self.inside().sessions.insert(session, miner);
    }

    /// Its task can be told things now.
    pub fn reachable(&self, session: SessionId, mailbox: Arc<Mailbox>) {
        let mut inside = self.inside();
        let Some(miner) = inside.sessions.get_mut(&session) else {
            return;
        };
        miner.mailbox = Some(mailbox);
        let address = miner.address;
        if let Some(group) = self.bindings.group_at(address) {
            // Where nothing answers, an address is only a name.
            let firmware = self.bindings.of(group).map(|binding| binding.firmware);
            let address_of = (firmware != Some(Firmware::None)).then_some(address);
            self.belongs(
                &mut inside,
                session,
                address.to_string().into(),
                group,
                address_of,
            );
        }
    }

    /// A worker was authorized: its name may say which machine this is. One that is known already is told at once what
    /// holds for it; a new one counts once it has mined ([`Self::accepted`]).
    pub fn authorized(&self, session: SessionId, worker: &Arc<str>) {
        let mut inside = self.inside();
        let Some(group) = self.bindings.group_named(worker) else {
            return;
        };
        let is_known = inside.machines.contains_key(worker);
        let Some(miner) = inside.sessions.get_mut(&session) else {
            return;
        };
        if miner.machine.is_some() || miner.claim.is_some() {
            return;
        }
        match is_known {
            true => self.belongs(&mut inside, session, worker.clone(), group, None),
            false => miner.claim = Some((worker.clone(), group)),
        }
    }

    fn belongs(
        &self,
        inside: &mut Inside,
        session: SessionId,
        name: Arc<str>,
        group: GroupId,
        address: Option<IpAddr>,
    ) {
        if !inside.machines.contains_key(&name) && !self.has_room(inside, group) {
            return;
        }
        let taps = inside.machines.entry(name.clone()).or_default();
        if taps.group.replace(group).is_none() {
            *inside.counts.entry(group).or_default() += 1;
        }
        taps.address = address;
        taps.sessions.insert(session);
        let told = taps.told;
        inside.changed.insert(name.clone());
        if let Some(miner) = inside.sessions.get_mut(&session) {
            miner.machine = Some(name);
            miner.tell(told);
        }
        self.bell.notify_one();
    }

    /// Whether a group may have another machine. The first time that it may not is news.
    fn has_room(&self, inside: &mut Inside, group: GroupId) -> bool {
        let most = self.bindings.of(group).map_or(0, |of| of.most_machines);
        let count = inside.counts.get(&group).copied().unwrap_or(0);
        if count < most {
            return true;
        }
        if inside.full.insert(group) {
            inside.full_news.insert(group);
            self.bell.notify_one();
        }
        false
    }

    /// Groups whose bound kept a machine out, each once.
    pub fn full(&self) -> BTreeSet<GroupId> {
        std::mem::take(&mut self.inside().full_news)
    }

    /// A connection is gone.
    pub fn left(&self, session: SessionId) {
        let mut inside = self.inside();
        let machine = inside
            .sessions
            .remove(&session)
            .and_then(|miner| miner.machine);
        let Some(name) = machine else {
            return;
        };
        if let Some(taps) = inside.machines.get_mut(&name) {
            taps.sessions.remove(&session);
            inside.changed.insert(name);
            self.bell.notify_one();
        }
    }

    /// A second's observations of one shard.
    pub fn accepted(&self, observations: &[Observation]) {
        let mut inside = self.inside();
        for observation in observations {
            let accepted = &observation.judged.accepted;
            if accepted.shares == 0 {
                continue;
            }
            let miner = inside.sessions.get_mut(&observation.session);
            if let Some((name, group)) = miner.and_then(|miner| miner.claim.take()) {
                self.belongs(&mut inside, observation.session, name, group, None);
            }
            let Inside {
                sessions, machines, ..
            } = &mut *inside;
            let name = sessions
                .get(&observation.session)
                .and_then(|miner| miner.machine.as_ref());
            if let Some(taps) = name.and_then(|name| machines.get_mut(name)) {
                let count = u32::try_from(accepted.shares).unwrap_or(u32::MAX);
                taps.mined.shares = taps.mined.shares.saturating_add(count);
                taps.mined.hashes += accepted.hashes as f64;
            }
        }
    }

    /// Machines that came or went since the last call.
    pub fn changes(&self) -> Vec<Seen> {
        let mut inside = self.inside();
        let changed = std::mem::take(&mut inside.changed);
        let seen = |name: Arc<str>| {
            let taps = inside.machines.get(&name)?;
            Some(Seen {
                group: taps.group?,
                address: taps.address,
                connected: !taps.sessions.is_empty(),
                name,
            })
        };
        changed.into_iter().filter_map(seen).collect()
    }

    /// What every machine that mined, or that is told to give way, mined since the last call; and whether it is.
    pub fn mined(&self) -> Vec<(Arc<str>, Mined, bool)> {
        let mut inside = self.inside();
        let mut all = Vec::new();
        for (name, taps) in &mut inside.machines {
            let mined = std::mem::take(&mut taps.mined);
            let told = taps.told != Told::Mine;
            if told || mined.shares > 0 {
                all.push((name.clone(), mined, told));
            }
        }
        all
    }

    /// Tells a machine's sessions, those that come later included.
    pub fn tell(&self, name: &str, told: Told) {
        let mut inside = self.inside();
        let Inside {
            sessions, machines, ..
        } = &mut *inside;
        let taps = match machines.get_mut(name) {
            Some(taps) => taps,
            // Known from before a restart and not connected yet.
            None => machines.entry(name.into()).or_default(),
        };
        if std::mem::replace(&mut taps.told, told) == told {
            return;
        }
        for session in &taps.sessions {
            if let Some(miner) = sessions.get(session) {
                miner.tell(told);
            }
        }
    }
}

impl Miner {
    fn tell(&self, told: Told) {
        let Some(mailbox) = &self.mailbox else {
            return;
        };
        mailbox.order(|orders| {
            orders.watched = told == Told::Watched;
            if told == Told::Withdrawn {
                orders.close = Some(Close::Withdrawn);
            }
        });
    }
}

#[cfg(test)]
mod tests;
