//! What falls from the router and the links to a session: its seat, its lease, its work. Latest wins, always.

use crate::stratum::label::machine;
use crate::work::seen::Seen;
use crate::work::{Lane, Layout, LinkId, Proof, Share, Work, WorkId};
use std::collections::HashMap;
use std::sync::Arc;

/// Names one miner connection for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// Names one configured listener.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub u16);

/// The unguessable token by which a miner resumes; the V1 session id is its hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResumeToken(pub [u8; 16]);

impl std::fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeToken(..)")
    }
}

impl ResumeToken {
    /// 32 lower-case hex digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
    /// The reverse; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut token = [0; 16];
        for (to, pair) in token.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(token))
    }
}

/// What stays with a lane when its miner goes, and comes back with a resume.
#[derive(Debug, Default)]
pub struct LaneMemory {
    /// The duplicate window.
    pub seen: Seen,
    /// Per link, the newest work this lane was given: anything not newer needs a refresh first.
    pub sent: Vec<(LinkId, WorkId)>,
}

/// A place at the table: the lane of a session, given once, never changed.
#[derive(Debug)]
pub struct Seat {
    /// The lane.
    pub lane: Lane,
    /// The layout of the whole process.
    pub layout: Layout,
    /// How many of the lane's low bytes the miner rolls itself: a block of lanes is its own. 0 for most.
    pub width: u8,
    /// By which this seat can be resumed.
    pub token: ResumeToken,
    /// What the lane remembers (empty unless resumed).
    pub memory: LaneMemory,
}

/// For whom a session mines now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The link; `None`: no pool can be given.
    pub link: Option<LinkId>,
    /// Version bits that every pool this session may be leased to accepts (BIP 310), policy included.
    pub version_mask: u32,
}

/// One work as it is issued to every miner of a link.
#[derive(Debug)]
pub struct Issue {
    /// The work.
    pub work: Arc<Work>,
    /// The V1 notify line with clean jobs true, rendered once.
    pub v1_clean: Box<[u8]>,
    /// The same with clean jobs false.
    pub v1_keep: Box<[u8]>,
    /// Of workers whose shares go up on a channel of their own, by their machine's name. Nearly always there are none.
    pub own: Option<Arc<OwnIssues>>,
}

/// What workers with a channel of their own mine instead; theirs have no `own`.
pub type OwnIssues = HashMap<Arc<str>, Arc<Issue>>;

impl Issue {
    /// What a worker is to mine who has seen work of this link up to that generation: not of a channel of its own that
    /// has not come as far yet, or it would be led back to an older block.
    pub fn of(self: Arc<Self>, worker: &str, known: Option<u64>) -> Arc<Self> {
        let own = self.own.as_ref().and_then(|own| own.get(machine(worker)));
        let own = own.filter(|own| known.is_none_or(|known| own.work.generation >= known));
        own.cloned().unwrap_or(self)
    }
}

/// A share that is to go to the pool its work came from.
#[derive(Debug)]
pub struct Submission {
    /// From whom.
    pub session: SessionId,
    /// Sanitised worker name, as in metrics and `{worker}`.
    pub worker: Arc<str>,
    /// What it was found on.
    pub work: Arc<Work>,
    /// Under which lane.
    pub lane: Lane,
    /// The share.
    pub share: Share,
    /// Its hash and header.
    pub proof: Proof,
    /// At or below the network target: goes first, is never dropped silently.
    pub block: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Parts;

    fn issue(id: u32, generation: u64, own: Option<Arc<OwnIssues>>) -> Arc<Issue> {
        let parts = Parts {
            id: WorkId(id),
            generation,
            ..Parts::default()
        };
        Arc::new(Issue {
            work: Arc::new(Work::new(parts).unwrap()),
            v1_clean: Box::default(),
            v1_keep: Box::default(),
            own,
        })
    }

    #[test]
    fn a_worker_has_its_own_work_by_its_machine_unless_it_has_come_further_than_that() {
        let own: OwnIssues = [("rig1".into(), issue(2, 7, None))].into();
        let account = issue(1, 8, Some(Arc::new(own)));
        for (worker, known, id) in [
            ("farm.rig1", None, 2),
            ("rig1", Some(7), 2),
            ("rig1", Some(8), 1),
            ("rig2", None, 1),
            ("rig1.farm", None, 1),
        ] {
            let given = account.clone().of(worker, known);
            assert_eq!(given.work.id, WorkId(id), "{worker} {known:?}");
        }
    }
}
