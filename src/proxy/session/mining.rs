//! What one seat mines, whatever its protocol: its lane, its lease, its jobs, its difficulty, its counts. Not a wire: what
//! is to be written is for the protocol that holds it.
//!
//! A V1 connection has one; a V2 connection has one per channel. Invariant: the lane never changes once it was told, and
//! no lane is given the same work twice.

use super::jobs::{Issued, Jobs};
use super::{Config, Event, Observation, Output};
use crate::proxy::lease::{Issue, LaneMemory, Lease, ResumeToken, Seat, SessionId};
use crate::proxy::tally::Judged;
use crate::work::vardiff::Vardiff;
use crate::work::{Difficulty, Lane, Layout, LinkId, WorkId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A clean flood reaches a miner at no more than four jobs a second, by replacement.
const NOTIFY_GAP: Duration = Duration::from_millis(250);
/// Observations are emitted at most this often.
pub(super) const OBSERVE: Duration = Duration::from_secs(1);

/// A seat taken: what never changes while its holder lives.
#[derive(Debug)]
pub(super) struct Seated {
    pub(super) lane: Lane,
    pub(super) layout: Layout,
    pub(super) token: ResumeToken,
    pub(super) memory: LaneMemory,
}

/// How a job is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// What is being mined now is worth nothing any more.
    pub(super) clean: bool,
    /// What its shares must meet.
    pub(super) difficulty: Difficulty,
    /// That is news.
    pub(super) changed: bool,
}

/// The state.
#[derive(Debug)]
pub(super) struct Mining {
    pub(super) id: SessionId,
    pub(super) outputs: VecDeque<Output>,
    // In place, as is all that every share touches: of ten thousand sessions each pointer is another wait for memory.
    pub(super) seat: Option<Seated>,
    pub(super) lease: Lease,
    pub(super) vardiff: Vardiff,
    pub(super) advertised: Option<Difficulty>,
    /// Never told less than this, not even under a link that gives less: what a V2 client has as its `max_target`.
    pub(super) floor: Difficulty,
    pub(super) jobs: Jobs,
    /// The newest work of the leased link, not yet sent.
    pub(super) latest: Option<Arc<Issue>>,
    pub(super) last_notify: Option<Instant>,
    pub(super) refresh_asked: Option<WorkId>,
    pub(super) bad_streak: u16,
    /// Apart, so that nothing else that goes out of a session is as large, and an idle one has none.
    observation: Option<Box<Observation>>,
    observed_at: Instant,
    /// The observation is due.
    observe: bool,
}

impl Mining {
    /// Nothing yet. `version_mask`: what the listener's pools accept as far as is known now (policy included); the lease
    /// brings the final word.
    pub(super) fn new(now: Instant, id: SessionId, config: &Config, version_mask: u32) -> Self {
        Self {
            id,
            outputs: VecDeque::new(),
            seat: None,
            lease: Lease {
                link: None,
                version_mask,
            },
            vardiff: Vardiff::new(now, &config.vardiff),
            advertised: None,
            floor: Difficulty::MIN,
            jobs: Jobs::default(),
            latest: None,
            last_notify: None,
            refresh_asked: None,
            bad_streak: 0,
            observation: None,
            observed_at: now,
            observe: false,
        }
    }

    /// At the end: the lane, what it must remember, and whether it ever got work; `None` if it was never seated.
    pub(super) fn take_memory(&mut self) -> Option<(Lane, LaneMemory, bool)> {
        let seat = self.seat.take()?;
        let worked = !seat.memory.sent.is_empty();
        Some((seat.lane, seat.memory, worked))
    }

    /// Takes a seat; tells who sits there.
    pub(super) fn sit(&mut self, seat: Seat, agent: Arc<str>) {
        let resumed = !seat.memory.sent.is_empty();
        let lane = seat.lane;
        self.seat = Some(Seated {
            lane,
            layout: seat.layout,
            token: seat.token,
            memory: seat.memory,
        });
        self.outputs.push_back(Output::Event(Event::Subscribed {
            agent,
            lane,
            resumed,
        }));
    }

    /// A new lease: work of another link is forgotten.
    pub(super) fn lease(&mut self, lease: Lease) {
        if lease.link != self.lease.link {
            self.latest = None;
        }
        self.lease = lease;
    }

    /// The newest work of its link with the version bits granted on it, if the miner may have it now. `grantable`: the
    /// bits it may roll on work of that mask; `None`: fewer than it must have. `worker`: for whom, should it have work of its
    /// own.
    pub(super) fn next_work(
        &mut self,
        now: Instant,
        worker: &str,
        grantable: impl FnOnce(u32) -> Option<u32>,
    ) -> Option<(Arc<Issue>, u32)> {
        if self.is_held(now) {
            return None;
        }
        let mut issue = self.latest.take()?;
        if issue.own.is_some() {
            let known = self.jobs.generation(issue.work.link);
            issue = issue.of(worker, known);
        }
        let seat = self.seat.as_mut()?;
        if Some(issue.work.link) != self.lease.link || issue.work.layout != seat.layout {
            return None;
        }
        // Work that leaves this miner too few bits would cost it its shares: the router is about to lease it elsewhere.
        let granted = grantable(issue.work.version_mask)?;
        match seat
            .memory
            .sent
            .iter_mut()
            .find(|(link, _)| *link == issue.work.link)
        {
            // The lane has searched this work already: the miner would start over and submit duplicates.
            Some((link, newest)) if issue.work.id <= *newest => {
                if self
                    .jobs
                    .latest()
                    .is_none_or(|job| job.work.id != issue.work.id)
                    && self.refresh_asked != Some(issue.work.id)
                {
                    self.refresh_asked = Some(issue.work.id);
                    self.outputs.push_back(Output::Refresh(*link));
                }
                return None;
            }
            Some((_, newest)) => *newest = issue.work.id,
            None => seat.memory.sent.push((issue.work.link, issue.work.id)),
        }
        Some((issue, granted))
    }

    /// Notes a job that is being told. `lenient`: until the second job after a change of difficulty the lower of old and
    /// new counts, because V1 does not say which job a difficulty is for.
    pub(super) fn give(
        &mut self,
        now: Instant,
        config: &Config,
        issue: &Issue,
        mask: u32,
        lenient: bool,
    ) -> Told {
        let work = &issue.work;
        let clean = self
            .jobs
            .latest()
            .is_none_or(|last| last.work.link != work.link)
            || self
                .jobs
                .generation(work.link)
                .is_none_or(|known| known < work.generation);
        let difficulty = self
            .vardiff
            .next(now, &config.vardiff, work.pool_difficulty)
            .max(self.floor);
        let judged_at = match self.advertised {
            Some(old) if lenient => old.min(difficulty),
            _ => difficulty,
        };
        let changed = self.advertised.replace(difficulty) != Some(difficulty);
        self.jobs.push(Issued {
            work: work.clone(),
            difficulty: judged_at,
            mask,
            stale: false,
        });
        self.last_notify = Some(now);
        Told {
            clean,
            difficulty,
            changed,
        }
    }

    /// Asks for refreshed work: something must be told with the next job.
    pub(super) fn renew(&mut self) {
        let latest = self.jobs.latest().map(|job| job.work.id);
        if let (Some(link), Some(id)) = (self.lease.link, latest)
            && self.refresh_asked != Some(id)
        {
            self.refresh_asked = Some(id);
            self.outputs.push_back(Output::Refresh(link));
        }
    }

    fn is_held(&self, now: Instant) -> bool {
        self.last_notify.is_some_and(|last| now < last + NOTIFY_GAP)
    }

    /// When work that is held back may go.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.latest
            .as_ref()
            .and(self.last_notify)
            .map(|last| last + NOTIFY_GAP)
    }

    /// The observation is due once its second is over, or at the end.
    pub(super) fn observe(&mut self, now: Instant, force: bool) {
        if let Some(observation) = &mut self.observation
            && (force || now >= self.observed_at + OBSERVE)
        {
            observation.difficulty = self.advertised.unwrap_or(self.vardiff.current());
            self.observed_at = now;
            self.observe = true;
        }
    }

    /// What it wants done; the observation last.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        let output = output.or_else(|| self.due_observation().map(Output::Observe));
        if output.is_none() {
            self.rest();
        }
        output
    }

    /// The observation, if it is due.
    pub(super) fn due_observation(&mut self) -> Option<Box<Observation>> {
        if std::mem::take(&mut self.observe) {
            self.observation.take()
        } else {
            None
        }
    }

    /// The counts since the last observation, due or not.
    pub(super) fn last_observation(&mut self) -> Option<Box<Observation>> {
        self.observation.take()
    }

    /// When the observation is due.
    pub(super) fn observe_at(&self) -> Option<Instant> {
        self.observation
            .as_ref()
            .map(|_| self.observed_at + OBSERVE)
    }

    /// What this worker has done since the last observation; `link`: for whom, if it has proven work.
    pub(super) fn counts(&mut self, worker: &Arc<str>, link: Option<LinkId>) -> &mut Observation {
        let (session, difficulty) = (self.id, self.vardiff.current());
        // An aggregating proxy below us: each worker's shares are its own. And so are each link's.
        let another = |kept: &mut Box<Observation>| {
            kept.worker != *worker || (link.is_some() && kept.link.is_some() && kept.link != link)
        };
        if let Some(kept) = self.observation.take_if(another) {
            self.outputs.push_back(Output::Observe(kept));
        }
        let observation = self.observation.get_or_insert_with(|| {
            Box::new(Observation {
                session,
                worker: worker.clone(),
                link,
                judged: Judged::default(),
                difficulty,
            })
        });
        observation.link = observation.link.or(link);
        observation
    }

    /// No room is kept where there is nothing to do.
    pub(super) fn rest(&mut self) {
        if self.outputs.capacity() > 0 {
            self.outputs = VecDeque::new();
        }
    }
}
