//! Makes work of a pool's jobs, and new work of old (refresh). Not a protocol: it sees decoded jobs only. One for each channel
//! of a link; what they have in common is in [`Blocks`].
//!
//! Invariant: no two works of a link span the same search space (channels differ in their extranonce). A job repeated by the pool and a refresh both get a
//! later ntime than any work with the same content had or a miner rolled it to, because miners start extranonce2 over
//! at every notify, and some roll ntime by the seconds since.

use super::job::{Bound, Extranonce, Job};
use crate::proxy::lease::Issue;
use crate::stratum::v1::down::notification;
use crate::work::{Layout, LinkId, Parts, Work, WorkId};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Seconds between what miners can have rolled to and the ntime of a renewed job: a notify may be held for 250 ms and
/// be late on its way, and until it is there its miner rolls on.
const ROLL_MARGIN_S: u32 = 2;

/// Contents remembered: a pool that repeats itself repeats what it sent lately.
const CONTENTS: usize = 64;

/// What a job is made under.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) epoch: u32,
    pub(super) layout: Layout,
    pub(super) extranonce: &'a Extranonce,
    pub(super) bound: Bound,
    pub(super) version_mask: u32,
}

/// The generations of a link, the same for all its channels, so that a miner who changes the channel is told of a new block
/// once: a generation is of one block.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    newest: u64,
    prev_hash: [u8; 32],
}

impl Blocks {
    /// The newest generation of any channel.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The generation of clean work on this block, of a channel that had `old`: a new one, unless another channel has begun it.
    fn next(&self, old: u64, prev_hash: &[u8; 32]) -> u64 {
        let begun = self.newest > old && self.prev_hash == *prev_hash;
        self.newest + u64::from(!begun)
    }
}

/// The work in force of one channel and how old it is.
#[derive(Debug)]
pub(super) struct Workshop {
    link: LinkId,
    channel: u32,
    ids: Arc<AtomicU32>,
    generation: u64,
    current: Option<Arc<Issue>>,
    /// What the current work spans, less its ntime.
    content: u64,
    /// That and earlier contents: from which ntime on each was last given out, and when.
    contents: VecDeque<(u64, u32, Instant)>,
}

impl Workshop {
    pub(super) fn new(link: LinkId, ids: Arc<AtomicU32>) -> Self {
        Self {
            link,
            channel: 0,
            ids,
            generation: 0,
            current: None,
            content: 0,
            contents: VecDeque::new(),
        }
    }

    /// For another channel of the same link.
    pub(super) fn of_channel(&self, channel: u32) -> Self {
        Self {
            channel,
            ..Self::new(self.link, self.ids.clone())
        }
    }

    /// Which channel's it is.
    pub(super) fn channel(&self) -> u32 {
        self.channel
    }

    /// The newest work.
    pub(super) fn current(&self) -> Option<&Work> {
        self.current.as_ref().map(|issue| &*issue.work)
    }

    /// The same as it was issued.
    pub(super) fn issued(&self) -> Option<&Arc<Issue>> {
        self.current.as_ref()
    }

    /// The generation of the newest work; older ones are stale.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The next id that will be given out is at least this.
    pub(super) fn next_id(&self) -> WorkId {
        WorkId(self.ids.load(Ordering::Relaxed))
    }

    /// Work from a pool's job. `Err`: what is wrong with it.
    pub(super) fn make(
        &mut self,
        now: Instant,
        job: &Job,
        terms: &Terms<'_>,
        clean: bool,
        blocks: &mut Blocks,
    ) -> Result<Arc<Issue>, &'static str> {
        let pad = terms
            .extranonce
            .size
            .checked_sub(terms.layout.total())
            .ok_or("extranonce2 is too small for the layout")?;
        let fixed = &terms.extranonce.prefix;
        let mut prefix =
            Vec::with_capacity(job.coinbase_prefix.len() + fixed.len() + usize::from(pad));
        prefix.extend_from_slice(&job.coinbase_prefix);
        prefix.extend_from_slice(fixed);
        prefix.resize(prefix.len() + usize::from(pad), 0);
        let content = content(job, &prefix);
        let unrolled = self.unrolled(now, content).ok_or("its ntime cannot grow")?;
        let ntime = job.ntime.max(unrolled);
        let new_block = self
            .current()
            .is_none_or(|old| old.prev_hash != job.prev_hash);
        let generation = if clean || new_block {
            blocks.next(self.generation, &job.prev_hash)
        } else {
            self.generation
        };
        let work = Work::new(Parts {
            id: self.take_id(),
            link: self.link,
            channel: self.channel,
            epoch: terms.epoch,
            pool_job: job.id.clone(),
            generation,
            prev_hash: job.prev_hash,
            version: job.version,
            version_mask: terms.version_mask,
            nbits: job.nbits,
            ntime,
            pool_ntime: job.ntime,
            layout: terms.layout,
            pad,
            coinbase_prefix: prefix.into(),
            coinbase_suffix: job.coinbase_suffix.as_slice().into(),
            branch: job.branch.as_slice().into(),
            pool_target: terms.bound.target,
            pool_difficulty: terms.bound.difficulty,
        })
        .map_err(|_| "the job is out of limits")?;
        // Only now: a job that cannot be work must not make the one in force stale, nor be what a refresh renews.
        if generation > blocks.newest {
            *blocks = Blocks {
                newest: generation,
                prev_hash: job.prev_hash,
            };
        }
        self.generation = generation;
        self.remember(now, content, ntime);
        self.content = content;
        Ok(self.publish(work))
    }

    /// The same work under a new id and a later ntime; `None`: there is none, or its ntime cannot grow.
    pub(super) fn refresh(&mut self, now: Instant) -> Option<Arc<Issue>> {
        let ntime = self.unrolled(now, self.content)?;
        let work = self.current()?.refreshed(self.take_id(), ntime);
        self.remember(now, self.content, ntime);
        Some(self.publish(work))
    }

    /// The first ntime of a content that nobody has reached who rolled it by the seconds since he had it; 0 for a
    /// content never given out; `None` past the end of time. It runs ahead of the clock by at most that margin per work:
    /// far from the 7,000 s that pools allow.
    fn unrolled(&self, now: Instant, content: u64) -> Option<u32> {
        let Some((_, from, at)) = self.contents.iter().find(|(known, ..)| *known == content) else {
            return Some(0);
        };
        let rolled = u32::try_from(now.saturating_duration_since(*at).as_secs()).ok()?;
        from.checked_add(rolled)?.checked_add(ROLL_MARGIN_S)
    }

    /// Notes from which ntime on a content was given out.
    fn remember(&mut self, now: Instant, content: u64, ntime: u32) {
        self.contents.retain(|(known, ..)| *known != content);
        if self.contents.len() == CONTENTS {
            self.contents.pop_front();
        }
        self.contents.push_back((content, ntime, now));
    }

    fn take_id(&self) -> WorkId {
        WorkId(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn publish(&mut self, work: Work) -> Arc<Issue> {
        let work = Arc::new(work);
        let issue = Arc::new(Issue {
            v1_clean: notification::notify(&work, true),
            v1_keep: notification::notify(&work, false),
            own: None,
            work,
        });
        self.current = Some(issue.clone());
        issue
    }
}

/// Names everything that a header is made of, except what a miner rolls and ntime.
fn content(job: &Job, prefix: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (
        prefix,
        &job.coinbase_suffix,
        &job.branch,
        &job.prev_hash,
        job.version,
        job.nbits,
    )
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Difficulty;
    use std::time::Duration;

    const NTIME: u32 = 0x6849_f2b1;

    #[test]
    fn a_refresh_begins_where_no_miner_that_rolls_ntime_has_been() {
        let begun = Instant::now();
        let mut workshop = workshop();
        let first = make(&mut workshop, begun, &job(NTIME));
        assert_eq!(first.work.ntime, NTIME);

        // Rolled by whole seconds, the first work was mined at NTIME..=NTIME + 3 when it was 3.9 s old.
        let later = begun + Duration::from_millis(3_900);
        let second = workshop.refresh(later).unwrap();
        assert_eq!(second.work.ntime, NTIME + 5);
        // The second at NTIME + 5..=NTIME + 7 when it was 2.2 s old, although only 6.1 s have passed in all.
        let third = workshop.refresh(later + Duration::from_millis(2_200));
        assert_eq!(third.unwrap().work.ntime, NTIME + 9);
    }

    #[test]
    fn a_job_that_the_pool_repeats_begins_there_too_and_a_new_one_at_its_own_ntime() {
        let begun = Instant::now();
        let mut workshop = workshop();
        make(&mut workshop, begun, &job(NTIME));
        let later = begun + Duration::from_secs(5);
        assert_eq!(
            make(&mut workshop, later, &job(NTIME + 2)).work.ntime,
            NTIME + 7
        );
        let other = Job {
            coinbase_suffix: vec![0xfe],
            ..job(NTIME + 2)
        };
        assert_eq!(make(&mut workshop, later, &other).work.ntime, NTIME + 2);
    }

    fn workshop() -> Workshop {
        Workshop::new(LinkId(0), Arc::new(AtomicU32::new(1)))
    }

    fn make(workshop: &mut Workshop, now: Instant, job: &Job) -> Arc<Issue> {
        let extranonce = Extranonce {
            prefix: vec![1, 2, 3, 4],
            size: 8,
        };
        let terms = Terms {
            epoch: 1,
            layout: Layout { lane: 4, rolled: 4 },
            extranonce: &extranonce,
            bound: Bound::of_difficulty(Difficulty::ONE),
            version_mask: 0,
        };
        let mut blocks = Blocks::default();
        workshop.make(now, job, &terms, false, &mut blocks).unwrap()
    }

    fn job(ntime: u32) -> Job {
        Job {
            id: "1".into(),
            prev_hash: [7; 32],
            coinbase_prefix: vec![1, 0],
            coinbase_suffix: vec![0xff],
            branch: vec![[0xaa; 32]],
            version: 0x2000_0000,
            nbits: 0x1703_4219,
            ntime,
        }
    }
}
