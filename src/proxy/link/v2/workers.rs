//! Which workers have a channel of their own: where shares shall bear the worker's name (`identity = "worker"`) and the pool
//! does not take it with the share (extension 0x0002).
//!
//! ```text
//!   first share of a worker ─> Wanted ─> OpenExtendedMiningChannel ─> Open ─> its first job ─> the next Issue has it
//!                                 ^             │ refused                │ an hour without a share: closed, forgotten
//!                            (reconnect)        └──> Account <───────────┘ closed by the pool, no job, or of no use
//! ```
//! Not what a channel does with its jobs (`own`). A share goes up on the channel that its work came from and on no other:
//! until its channel is open, and where several workers share one connection below, a worker's shares come under the name
//! of that channel. Invariant: a worker whose channel is refused or lost mines on for the account's.

pub(super) mod channels;

use super::super::job::Bound;
use super::super::{Identity, Link, Phase};
use super::own::{LAG, Own};
use crate::proxy::lease::{Issue, OwnIssues, Submission};
use crate::stratum::label;
use crate::work::WorkId;
use crate::work::hashrate::Hashrate;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Workers remembered; those who were refused a channel count too.
pub(super) const KNOWN: usize = 4096;
/// An opening that is not answered this long holds up no other.
const PATIENCE: Duration = Duration::from_secs(15);
/// Shares without an answer for each: pools acknowledge in batches, SRI's ten at a time.
pub(super) const UNANSWERED: usize = 64;
/// How often that and the rates are looked at.
const CHECK: Duration = Duration::from_secs(5);
/// One share says little of a rate: it counts as if it had taken this long.
const LEAST_OBSERVED: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Wanted,
    Asked,
    /// Under this number.
    Open(u32),
    /// It stays on the account's channel, on this connection.
    Account,
    /// And on any: its shares are found on the work of a worker who stands for it.
    Elsewhere,
}

/// What is known of a worker; outlives connections.
#[derive(Debug)]
struct Known {
    standing: Standing,
    /// When its last share came.
    seen: Instant,
    rate: Hashrate,
}

#[derive(Debug)]
struct Opening {
    request: u32,
    machine: Arc<str>,
    at: Instant,
}

/// The workers of one link, by their machines' names.
#[derive(Debug, Default)]
pub(in super::super) struct Workers {
    known: BTreeMap<Arc<str>, Known>,
    wanted: VecDeque<Arc<str>>,
    openings: Vec<Opening>,
    /// By their numbers.
    channels: Vec<Own>,
    numbers: u32,
    refusals: u32,
    check_at: Option<Instant>,
    late_at: Option<Instant>,
    /// What is published is not what there is.
    pub(in super::super) changed: bool,
}

impl Workers {
    /// The connection is gone; who mined lately gets a channel on the next.
    pub(super) fn lost(&mut self) {
        self.openings.clear();
        self.channels.clear();
        self.refusals = 0;
        self.late_at = None;
        self.changed = false;
        self.wanted.clear();
        for (machine, known) in &mut self.known {
            if known.standing != Standing::Elsewhere {
                known.standing = Standing::Wanted;
                self.wanted.push_back(machine.clone());
            }
        }
    }

    /// Workers remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    pub(in super::super) fn are_none(&self) -> bool {
        self.channels.is_empty()
    }

    /// Shares that may wait for their answer beside the account's.
    pub(in super::super) fn room(&self) -> usize {
        self.channels.len() * UNANSWERED
    }

    /// The channel that works of that number came from.
    pub(super) fn find(&self, number: u32) -> Option<&Own> {
        let at = self
            .channels
            .binary_search_by_key(&number, |own| own.number);
        at.ok().map(|at| &self.channels[at])
    }

    /// From which id and in which generation on works of that channel are still good; `None`: there is no such channel.
    pub(in super::super) fn valid(&self, number: u32) -> Option<(WorkId, u64)> {
        let own = self.find(number)?;
        Some((own.valid_from, own.workshop.generation()))
    }

    /// By the pool's id.
    pub(super) fn by_id(&self, id: u32) -> Option<&Own> {
        self.channels.iter().find(|own| own.id == id)
    }

    pub(super) fn is_reached(&self, id: u32) -> bool {
        self.channels.iter().any(|own| own.is_reached(id))
    }

    /// Those that a message for channel `id` is for.
    pub(super) fn reached(&mut self, id: u32) -> impl Iterator<Item = &mut Own> {
        let channels = self.channels.iter_mut();
        channels.filter(move |own| own.is_reached(id))
    }

    /// For jobs to come and those kept.
    pub(super) fn set_bound(&mut self, id: u32, bound: Bound) {
        self.reached(id).for_each(|own| own.bound = bound);
    }

    pub(super) fn set_prefix(&mut self, id: u32, prefix: &[u8]) {
        if let Some(own) = self.channels.iter_mut().find(|own| own.id == id) {
            own.jobs.set_prefix(prefix);
        }
    }

    pub(super) fn set_group(&mut self, group: u32, names: impl Fn(u32) -> bool) {
        let named = self.channels.iter_mut().filter(|own| names(own.id));
        named.for_each(|own| own.group = group);
    }

    /// The account's channel has come to this block; theirs have a moment to follow.
    pub(in super::super) fn overtaken(&mut self, now: Instant, prev_hash: &[u8; 32]) {
        let mut any = false;
        for own in &mut self.channels {
            any |= own.overtaken(now, prev_hash);
        }
        if any {
            self.late_at = Some(now + LAG);
        }
    }

    /// The same works under new ids and later ntimes.
    pub(in super::super) fn refresh(&mut self, now: Instant) {
        for own in &mut self.channels {
            if own.shown().is_some() {
                self.changed |= own.workshop.refresh(now).is_some();
            }
        }
    }

    fn set_standing(&mut self, machine: &str, standing: Standing) {
        if let Some(known) = self.known.get_mut(machine) {
            known.standing = standing;
        }
    }

    /// Openings that hold up others.
    fn in_flight(&self, now: Instant) -> usize {
        let waits = |opening: &&Opening| now < opening.at + PATIENCE;
        self.openings.iter().filter(waits).count()
    }
}

impl Link {
    fn wants_own(&self) -> bool {
        self.config.identity == Identity::Worker
            && self.channel.nameless
            && !self.draining
            && !self.excluded()
            && matches!(self.phase, Phase::Up(_))
    }

    /// A share has come: so there is this worker.
    pub(in super::super) fn heard_of(&mut self, now: Instant, share: &Submission) {
        if !self.wants_own() {
            return;
        }
        let machine = label::machine(&share.worker);
        let hashes = share.work.pool_difficulty.hashes();
        let workers = &mut self.channel.workers;
        if let Some(known) = workers.known.get_mut(machine) {
            known.seen = now;
            known.rate.add(now, hashes);
            if let Standing::Open(number) = known.standing {
                self.judge_use(number, share);
            }
        } else if workers.known.len() < KNOWN {
            let begun = now.checked_sub(LEAST_OBSERVED).unwrap_or(now);
            let mut rate = Hashrate::new(begun);
            rate.add(now, hashes);
            let machine: Arc<str> = machine.into();
            workers.wanted.push_back(machine.clone());
            let known = Known {
                standing: Standing::Wanted,
                seen: now,
                rate,
            };
            workers.known.insert(machine, known);
            workers.check_at.get_or_insert(now + CHECK);
        }
        self.open_wanted(now);
    }

    /// Whose connection's work is another's, by its first name or because a proxy below tells workers apart, never mines on a
    /// channel of its own: that is closed again.
    fn judge_use(&mut self, number: u32, share: &Submission) {
        let channels = &mut self.channel.workers.channels;
        let Ok(at) = channels.binary_search_by_key(&number, |own| own.number) else {
            return;
        };
        let (own, work) = (&mut channels[at], &share.work);
        own.mined |= work.channel == own.number;
        let passed_over = own.shown().is_some_and(|issue| {
            work.id > issue.work.id && work.generation <= issue.work.generation
        });
        if passed_over && !own.mined {
            let machine = self.close_own(at, Some(b"unused"));
            let workers = &mut self.channel.workers;
            workers.set_standing(&machine, Standing::Elsewhere);
        }
    }

    /// What every miner of the link is to have now, if that has changed with workers' channels.
    pub(in super::super) fn changed_issue(&mut self) -> Option<Arc<Issue>> {
        if !std::mem::take(&mut self.channel.workers.changed) {
            return None;
        }
        // Of another layout it is not to be mined; the next that is takes theirs with it.
        let of_layout = |issue: &&Arc<Issue>| Some(issue.work.layout) == self.layout;
        let account = self.workshop.issued().filter(of_layout)?;
        let channels = self.channel.workers.channels.iter();
        let shown = channels.filter_map(|own| Some((own.machine.clone(), own.shown()?.clone())));
        let own: OwnIssues = shown.collect();
        if own.is_empty() {
            return Some(account.clone());
        }
        Some(Arc::new(Issue {
            work: account.work.clone(),
            v1_clean: account.v1_clean.clone(),
            v1_keep: account.v1_keep.clone(),
            own: Some(Arc::new(own)),
        }))
    }

    pub(in super::super) fn workers_due(&self) -> Option<(Instant, &'static str)> {
        let workers = &self.channel.workers;
        let check = workers.check_at.filter(|_| self.wants_own());
        let late = workers.late_at.map(|at| (at, "late channels"));
        let check = check.map(|at| (at, "workers"));
        [late, check]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    pub(in super::super) fn workers_timeout(&mut self, now: Instant) {
        let workers = &mut self.channel.workers;
        if workers.late_at.take_if(|at| now >= *at).is_some() {
            for own in &mut workers.channels {
                workers.changed |= own.is_late(now);
            }
        }
        if self.wants_own()
            && let workers = &mut self.channel.workers
            && workers.check_at.is_some_and(|at| now >= at)
        {
            workers.check_at = Some(now + CHECK);
            self.check_workers(now);
        }
    }
}
