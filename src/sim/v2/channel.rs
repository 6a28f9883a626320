//! One channel as its miner sees it: jobs, targets, and shares on their way.
//!
//! Decides nothing about the connection. Invariant: an active job keeps the target under which it became active
//! (5.3.21), and a share is outstanding until it is answered once.

use super::{
    super::{
        search::{Found, Search},
        watch::Violation,
        wire::{Bound, sha256d},
    },
    message::U256,
    target,
    watch::Breach,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

/// Job ids remembered: at one job every 5 s this is six hours.
const IDS_KEPT: usize = 4096;
/// Future jobs kept; the oldest goes.
const FUTURES: usize = 16;

/// What a job commits to.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A standard job's.
    Root(U256),
    /// An extended job's, with the prefix in force when it came (5.3.10).
    Coinbase {
        head: Vec<u8>,
        tail: Vec<u8>,
        path: Vec<U256>,
    },
}

/// A job as received.
#[derive(Clone, Debug)]
pub(super) struct JobV2 {
    pub(super) id: u32,
    pub(super) version: u32,
    /// Version bits that may be rolled.
    pub(super) mask: u32,
    pub(super) body: Body,
}

/// The active prev-hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prev {
    pub(super) hash: U256,
    pub(super) nbits: u32,
}

/// A job being mined.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) job: JobV2,
    pub(super) seq: u64,
    pub(super) bound: Bound,
    prev: Prev,
    ntime: u32,
    taken: Instant,
    found: u64,
    next_nonce: u32,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) standard: bool,
    pub(super) user: String,
    pub(super) group: u32,
    pub(super) prefix: Vec<u8>,
    pub(super) extranonce_size: usize,
    pub(super) max_target: Bound,
    pub(super) target: Bound,
    pub(super) prev: Option<Prev>,
    futures: VecDeque<JobV2>,
    pub(super) current: Option<Current>,
    /// One more share of the job before, and when it is looked for.
    pub(super) late: Option<(Instant, Current)>,
    pub(super) due: Option<Instant>,
    pub(super) sequence: u32,
    pub(super) outstanding: BTreeMap<u32, Outstanding>,
    ids: BTreeSet<u32>,
    ids_order: VecDeque<u32>,
}

/// A share on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    pub(super) at: Instant,
    pub(super) weight: u128,
    pub(super) told: bool,
}

/// What a search found, as it is submitted.
pub(super) struct Share {
    pub(super) job: u32,
    pub(super) version: u32,
    pub(super) weight: u128,
}

impl Channel {
    pub(super) fn new(standard: bool, user: String, max_target: Bound) -> Self {
        Self {
            standard,
            user,
            group: 0,
            prefix: Vec::new(),
            extranonce_size: 0,
            max_target,
            target: max_target,
            prev: None,
            futures: VecDeque::new(),
            current: None,
            late: None,
            due: None,
            sequence: 0,
            outstanding: BTreeMap::new(),
            ids: BTreeSet::new(),
            ids_order: VecDeque::new(),
        }
    }

    /// A job came; `min_ntime`: it is active at once.
    pub(super) fn take_job(
        &mut self,
        now: Instant,
        seq: u64,
        job: JobV2,
        min_ntime: Option<u32>,
    ) -> Result<(), Violation> {
        let first = self.ids.is_empty();
        self.note_id(job.id)?;
        match (min_ntime, self.prev) {
            (None, _) => {
                self.futures.push_back(job);
                if self.futures.len() > FUTURES {
                    self.futures.pop_front();
                }
                Ok(())
            }
            (Some(_), None) => Err(Violation::V2(Breach::UnknownPrevHash)),
            (Some(ntime), Some(prev)) => {
                self.activate(now, seq, job, prev, ntime);
                let odd = Err(Violation::V2(Breach::FirstJobNotFuture));
                if first { odd } else { Ok(()) }
            }
        }
    }

    /// A prev-hash came: only the job it names is valid (5.3.17).
    pub(super) fn take_prev_hash(
        &mut self,
        now: Instant,
        seq: u64,
        job: u32,
        prev: Prev,
        min_ntime: u32,
    ) -> Result<(), Violation> {
        self.prev = Some(prev);
        self.current = None;
        let named = self.futures.iter().position(|future| future.id == job);
        let named = named.and_then(|at| self.futures.remove(at));
        self.futures.clear();
        let job = named.ok_or(Violation::V2(Breach::UnknownPrevHash))?;
        self.activate(now, seq, job, prev, min_ntime);
        Ok(())
    }

    fn activate(&mut self, now: Instant, seq: u64, job: JobV2, prev: Prev, ntime: u32) {
        self.current = Some(Current {
            job,
            seq,
            bound: self.target,
            prev,
            ntime,
            taken: now,
            found: 0,
            next_nonce: 0,
        });
    }

    fn note_id(&mut self, id: u32) -> Result<(), Violation> {
        if !self.ids.insert(id) {
            return Err(Violation::JobIdReused);
        }
        self.ids_order.push_back(id);
        if self.ids_order.len() > IDS_KEPT
            && let Some(oldest) = self.ids_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        Ok(())
    }

    /// Whether a search of this number is for a share this channel still wants.
    pub(super) fn wants(&self, seq: u64) -> bool {
        let late = self.late.as_ref().is_some_and(|(_, job)| job.seq == seq);
        let current = self.current.as_ref().is_some_and(|job| job.seq == seq);
        late || (current && self.due.is_some())
    }

    /// When a share is looked for next.
    pub(super) fn next_share_at(&self) -> Option<Instant> {
        let late = self.late.as_ref().map(|(at, _)| *at);
        late.into_iter().chain(self.due).min()
    }

    /// The search for the share that is due.
    pub(super) fn search(&self, now: Instant, rolls_ntime: bool) -> Option<Search> {
        let late = self.late.as_ref().map(|(_, job)| job);
        let current = late.or(self.current.as_ref())?;
        let elapsed = now.duration_since(current.taken).as_secs().min(60) as u32;
        let ntime = current.ntime + if rolls_ntime { elapsed } else { 0 };
        let en2 = self.extranonce(current.found);
        let root = match &current.job.body {
            Body::Root(root) => *root,
            Body::Coinbase { head, tail, path } => {
                let coinbase = sha256d(&[&head[..], &en2, tail].concat());
                let step = |root: [u8; 32], hash: &U256| sha256d(&[root, *hash].concat());
                path.iter().fold(coinbase, step)
            }
        };
        let bits = spread(current.found, current.job.mask);
        let version = (current.job.version & !current.job.mask) | bits;
        let start = Found {
            job_seq: current.seq,
            en2,
            ntime,
            nonce: current.next_nonce,
            version_bits: bits,
        };
        let header = header(version, &current.prev, &root, ntime);
        Some(Search::over_header(header, current.bound, start))
    }

    /// The share that a search for this channel found.
    pub(super) fn found(&mut self, found: &Found) -> Option<Share> {
        let is = |job: &Current| job.seq == found.job_seq;
        if let Some((_, late)) = self.late.take_if(|(_, job)| is(job)) {
            return Some(late.share(found));
        }
        let current = self.current.as_mut().filter(|job| is(job))?;
        current.found += 1;
        current.next_nonce = found.nonce.wrapping_add(1);
        Some(current.share(found))
    }

    /// The low bytes of a count, in the room there is.
    fn extranonce(&self, count: u64) -> Vec<u8> {
        let bytes = count.to_be_bytes();
        let mut extranonce = vec![0; self.extranonce_size.saturating_sub(8)];
        extranonce.extend(&bytes[8usize.saturating_sub(self.extranonce_size)..]);
        extranonce
    }
}

impl Current {
    fn share(&self, found: &Found) -> Share {
        Share {
            job: self.job.id,
            version: (self.job.version & !self.job.mask) | found.version_bits,
            weight: target::weight(&self.bound),
        }
    }
}

/// The 80 bytes that are hashed, nonce zero.
fn header(version: u32, prev: &Prev, root: &U256, ntime: u32) -> [u8; 80] {
    let mut header = [0; 80];
    header[..4].copy_from_slice(&version.to_le_bytes());
    header[4..36].copy_from_slice(&prev.hash);
    header[36..68].copy_from_slice(root);
    header[68..72].copy_from_slice(&ntime.to_le_bytes());
    header[72..76].copy_from_slice(&prev.nbits.to_le_bytes());
    header
}

/// The low bits of `count`, laid into the set bits of `mask`: each share its own version.
fn spread(count: u64, mask: u32) -> u32 {
    let set = (0..32).filter(|bit| mask >> bit & 1 == 1);
    set.enumerate()
        .filter(|(i, _)| count >> i & 1 == 1)
        .fold(0, |bits, (_, bit)| bits | 1 << bit)
}
