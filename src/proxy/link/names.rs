//! Under which name a share goes up. Not the miner's right to mine: that is the session's.
//!
//! The rule for a worker that the pool refuses: its miner mines on, its shares go under the link's own login name, one
//! warning says so, and the pool is asked again at the next connection. So nobody's work is lost over a name.
//! Invariant: a name is asked once per connection, and shares wait for the answer only a bounded time in a bounded room.

use super::{Config, Identity};
use crate::proxy::lease::Submission;
use crate::stratum::label::machine;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names asked on one connection; the fleet's size class. Beyond, shares go under the login name.
const NAMES: usize = 20_000;
/// Shares that wait for an answer to authorize.
const HELD: usize = 256;
/// How long they wait; after that the login name serves.
const PATIENCE: Duration = Duration::from_secs(5);
/// What stands for `{worker}` in the login itself.
const OWN_WORKER: &str = "sluice";

/// Shares as they came, boxed by the session: what moves between queues is a pointer.
type Shares = Vec<Box<Submission>>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Asked(Instant),
    Granted,
    Refused,
}

/// What to do with a share of some worker.
#[derive(Debug)]
pub(super) enum Name {
    /// Submit under this name.
    Use(Arc<str>),
    /// Authorize this name, then hold the share.
    Ask(Arc<str>),
    /// The name is being asked: hold the share.
    Wait(Arc<str>),
}

/// Names of one link.
#[derive(Debug)]
pub(super) struct Names {
    template: String,
    identity: Identity,
    account: Arc<str>,
    known: HashMap<Arc<str>, Standing>,
    held: Vec<(Arc<str>, Box<Submission>)>,
}

impl Names {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            template: config.user.clone(),
            identity: config.identity,
            account: config.user.replace("{worker}", OWN_WORKER).into(),
            known: HashMap::new(),
            held: Vec::new(),
        }
    }

    /// The name of the login.
    pub(super) fn account(&self) -> Arc<str> {
        self.account.clone()
    }

    /// What to do with a share of `worker` (its label; what follows the last dot names the machine).
    pub(super) fn name(&mut self, now: Instant, worker: &str) -> Name {
        if self.identity == Identity::Account {
            return Name::Use(self.account.clone());
        }
        let user = self.template.replace("{worker}", machine(worker));
        match self.known.get_key_value(user.as_str()) {
            Some((user, Standing::Granted)) => Name::Use(user.clone()),
            Some((_, Standing::Refused)) => Name::Use(self.account.clone()),
            Some((user, Standing::Asked(_))) => Name::Wait(user.clone()),
            None if self.known.len() >= NAMES => Name::Use(self.account.clone()),
            None => {
                let user: Arc<str> = user.into();
                self.known.insert(user.clone(), Standing::Asked(now));
                Name::Ask(user)
            }
        }
    }

    /// The name of `worker` in at most `max` bytes: as rendered, or else what its machine's name ends in, where
    /// machines of one farm differ.
    pub(super) fn short(&self, worker: &str, max: usize) -> String {
        let machine = machine(worker);
        let user = self.template.replace("{worker}", machine);
        if user.len() <= max {
            return user;
        }
        let start = machine.len().saturating_sub(max);
        machine[machine.ceil_char_boundary(start)..].to_owned()
    }

    /// Keeps a share until its name is known; gives it back if it cannot wait.
    pub(super) fn hold(
        &mut self,
        user: Arc<str>,
        share: Box<Submission>,
    ) -> Result<(), Box<Submission>> {
        if share.block || self.held.len() >= HELD {
            return Err(share);
        }
        self.held.push((user, share));
        Ok(())
    }

    /// The pool's answer; gives back the shares that waited and the name they go under.
    pub(super) fn answered(&mut self, user: &Arc<str>, granted: bool) -> (Arc<str>, Shares) {
        let standing = if granted {
            Standing::Granted
        } else {
            Standing::Refused
        };
        if let Some(known) = self.known.get_mut(user) {
            *known = standing;
        }
        let ready = self
            .held
            .extract_if(.., |(name, _)| name == user)
            .map(|(_, share)| share)
            .collect();
        (
            if granted {
                user.clone()
            } else {
                self.account.clone()
            },
            ready,
        )
    }

    /// Shares whose name was not answered in time; they go under the login name, and so do the next.
    pub(super) fn overdue(&mut self, now: Instant) -> Shares {
        if self.next_due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        for standing in self.known.values_mut() {
            if matches!(standing, Standing::Asked(at) if now >= *at + PATIENCE) {
                *standing = Standing::Refused;
            }
        }
        let known = &self.known;
        self.held
            .extract_if(.., |(name, _)| known.get(name) == Some(&Standing::Refused))
            .map(|(_, share)| share)
            .collect()
    }

    /// When [`Names::overdue`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held
            .iter()
            .filter_map(|(name, _)| match self.known.get(name) {
                Some(Standing::Asked(at)) => Some(*at + PATIENCE),
                _ => None,
            })
            .min()
    }

    /// Shares that wait.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The connection is gone: the shares that waited.
    pub(super) fn take_held(&mut self) -> Shares {
        std::mem::take(&mut self.held)
            .into_iter()
            .map(|(_, share)| share)
            .collect()
    }

    /// A new connection: everything is asked anew.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}
