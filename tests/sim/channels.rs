//! Between V2 miners and sessions: every frame read a second time, by the simulator's own codec, and judged per channel.
//!
//! Invariant: a tap only reads; what it finds goes into the books.

use crate::clock::Ns;
use crate::conn::Held;
use crate::heard::{Heard, Terms, Told};
use crate::tap::{Books, Known, content};
use sluice::proxy::lease::SessionId;
use sluice::sim::v2::frame::{self, CHANNEL_BIT, Cutter};
use sluice::sim::v2::message::{ExtendedJob, Message, Opened, Submit, U256};
use sluice::sim::v2::target;
use sluice::sim::wire::{self, Bound};
use sluice::stratum::v2::frame::Frame;
use std::collections::{BTreeMap, HashMap};

/// One channel.
#[derive(Debug)]
struct Channel {
    session: SessionId,
    group: u32,
    prefix: Vec<u8>,
    extranonce_size: usize,
    standard: bool,
    /// Closed by one side.
    ending: bool,
    /// By the miner.
    left: bool,
    target: Bound,
    /// The easiest that the miner takes.
    limit: f64,
    futures: Vec<u32>,
    tip_ntime: u32,
    /// Shares without an answer.
    open: BTreeMap<u32, Submit>,
    heard: Heard,
}

/// A wish for a channel.
#[derive(Clone, Copy, Debug)]
struct Asked {
    standard: bool,
    limit: f64,
    extranonce: usize,
}

/// Between a miner and its session.
#[derive(Debug, Default)]
pub struct ChannelsTap {
    cutter: Cutter,
    asked: HashMap<u32, Asked>,
    channels: BTreeMap<u32, Channel>,
    /// Over: by the miner's wish, or by ours.
    closed: Vec<u32>,
}

impl ChannelsTap {
    pub fn heard(&self, session: SessionId) -> Option<&Heard> {
        let mut channels = self.channels.values();
        let channel = channels.find(|channel| channel.session == session);
        channel.map(|channel| &channel.heard)
    }

    /// A frame that the session reads.
    pub fn read(&mut self, books: &mut Books, now: Ns, miner: usize, frame: &Frame<'_>) {
        let header = frame.header;
        let bit = if header.channel_message {
            CHANNEL_BIT
        } else {
            0
        };
        let frame = frame::Frame {
            extension: header.extension | bit,
            kind: header.kind,
            payload: frame.payload.to_vec(),
        };
        let message = Message::parse(&frame);
        books.note(now, || format!("miner {miner} > {message:?}"));
        match message {
            Ok(Message::OpenStandard(open)) => self.wish(&open, true),
            Ok(Message::OpenExtended(open)) => self.wish(&open, false),
            Ok(Message::SubmitStandard(submit) | Message::SubmitExtended(submit)) => {
                let open = self.channels.get_mut(&submit.channel);
                if let Some(channel) = open.filter(|channel| !channel.ending) {
                    books.submits_read += 1;
                    if channel.open.insert(submit.sequence, submit).is_some() {
                        books.fail(now, format!("miner {miner}: a sequence number twice"));
                    }
                } else {
                    books.homeless += 1;
                }
            }
            Ok(Message::CloseChannel { channel, .. }) => {
                for id in self.addressed(channel) {
                    if let Some(channel) = self.channels.get_mut(&id) {
                        (channel.ending, channel.left) = (true, true);
                    }
                }
            }
            _ => {}
        }
    }

    fn wish(&mut self, open: &sluice::sim::v2::message::Open, standard: bool) {
        let asked = Asked {
            standard,
            limit: target::difficulty(&target::of_bytes(&open.max_target)),
            extranonce: open.min_extranonce.into(),
        };
        self.asked.insert(open.request, asked);
    }

    /// Bytes that the session sends.
    pub fn sent(&mut self, books: &mut Books, now: Ns, miner: usize, held: &[Held], bytes: &[u8]) {
        self.cutter.push(bytes);
        while let Ok(Some(frame)) = self.cutter.next_frame() {
            let message = Message::parse(&frame);
            books.note(now, || {
                let text = format!("{message:?}");
                format!(
                    "miner {miner} < {}",
                    text.chars().take(200).collect::<String>()
                )
            });
            match message {
                Ok(message) => self.message(books, now, miner, held, message),
                Err(odd) => books.fail(now, format!("miner {miner}: a frame is {odd:?}")),
            }
        }
    }

    fn message(&mut self, books: &mut Books, now: Ns, miner: usize, held: &[Held], said: Message) {
        match said {
            Message::OpenedStandard(opened) => self.opened(books, now, miner, held, &opened, true),
            Message::OpenedExtended(opened) => self.opened(books, now, miner, held, &opened, false),
            Message::SetTarget { channel, target } => {
                for id in self.addressed(channel) {
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.target = target::of_bytes(&target);
                    }
                }
            }
            Message::NewJob {
                channel,
                job,
                min_ntime,
                version,
                root,
            } => {
                let same = |known: &Known, channel: &Channel| {
                    channel.standard
                        && version == known.job.version
                        && root == known.job.merkle_root(&channel.prefix, &[])
                };
                self.job(books, now, miner, (channel, job, min_ntime), same);
            }
            Message::NewExtendedJob(said) => {
                let ExtendedJob {
                    channel,
                    job,
                    min_ntime,
                    ..
                } = said;
                let same = |known: &Known, to: &Channel| {
                    (said.version, &said.path) == (known.job.version, &known.job.branches)
                        && said.coinbase_prefix == known.job.coinb1
                        && said.coinbase_suffix == known.job.coinb2
                        && !(to.standard && to.group != channel)
                };
                self.job(books, now, miner, (channel, job, min_ntime), same);
            }
            Message::SetPrevHash {
                channel,
                job,
                prev_hash,
                min_ntime,
                nbits,
            } => self.prev_hash(
                books,
                now,
                miner,
                channel,
                (job, min_ntime),
                (prev_hash, nbits),
            ),
            Message::SubmitSuccess {
                channel,
                last,
                count,
                ..
            } => self.acknowledged(books, now, miner, channel, last, count),
            Message::SubmitError {
                channel,
                sequence,
                code,
            } => self.refused(books, now, miner, channel, sequence, &code),
            Message::CloseChannel { channel, .. } => self.ending(channel),
            Message::SetupSuccess { .. }
            | Message::ExtensionsGranted { .. }
            | Message::ExtensionsRefused { .. } => {}
            other => books.fail(now, format!("miner {miner} is told {other:?}")),
        }
    }

    fn opened(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        held: &[Held],
        opened: &Opened,
        standard: bool,
    ) {
        let (prefix, id) = (&opened.prefix, opened.channel);
        let asked = self.asked.remove(&opened.request);
        let holder = |held: &&Held| !held.lane.is_empty() && prefix.starts_with(&held.lane);
        let (Some(asked), Some(held)) = (asked, held.iter().find(holder)) else {
            return books.fail(now, format!("miner {miner}: {opened:?} on nobody's lane"));
        };
        let extranonce_size = usize::from(opened.extranonce_size);
        let used = self.channels.contains_key(&id) || self.closed.contains(&id);
        if asked.standard != standard || used || extranonce_size < asked.extranonce {
            books.fail(now, format!("miner {miner}: {opened:?} for {asked:?}"));
        }
        books.holds(now, held.id, prefix, extranonce_size);
        let channel = Channel {
            session: held.id,
            group: opened.group,
            prefix: prefix.clone(),
            extranonce_size,
            standard,
            ending: false,
            left: false,
            target: target::of_bytes(&opened.target),
            limit: asked.limit,
            futures: Vec::new(),
            tip_ntime: 0,
            open: BTreeMap::new(),
            heard: Heard::from(now),
        };
        let total = |c: &Channel| c.prefix.len() + c.extranonce_size;
        if self.channels.values().any(|c| total(c) != total(&channel)) {
            books.fail(now, format!("miner {miner}: a group of uneven extranonces"));
        }
        self.channels.insert(id, channel);
    }

    fn job(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        (to, job, min_ntime): (u32, u32, Option<u32>),
        same: impl Fn(&Known, &Channel) -> bool,
    ) {
        let Some(known) = books.works.get(&job).cloned() else {
            return books.fail(now, format!("miner {miner}: job {job:x} nobody published"));
        };
        for id in self.addressed(to) {
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            if !same(&known, channel) {
                books.fail(
                    now,
                    format!("miner {miner}: job {job:x} is not the work it names"),
                );
            }
            match min_ntime {
                None => channel.futures.push(job),
                Some(ntime) => channel.mine(books, now, miner, job, ntime, false),
            }
        }
    }

    fn prev_hash(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        to: u32,
        (job, ntime): (u32, u32),
        tip: (U256, u32),
    ) {
        for id in self.addressed(to) {
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            let futures = std::mem::take(&mut channel.futures);
            let known = books.works.get(&job).cloned();
            let fits = |known: &Known| tip == (known.job.prev_hash, known.job.nbits);
            if !futures.contains(&job) || !known.is_some_and(|known| fits(&known)) {
                return books.fail(now, format!("miner {miner}: a previous hash for {job:x}"));
            }
            channel.tip_ntime = ntime;
            channel.mine(books, now, miner, job, ntime, true);
        }
    }

    /// I8 in V2's terms: each sequence number once, and the count is of those it covers.
    fn acknowledged(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        id: u32,
        last: u32,
        count: u32,
    ) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return books.fail(
                now,
                format!("miner {miner}: {last} of channel {id} accepted"),
            );
        };
        let later = channel.open.split_off(&last.wrapping_add(1));
        let covered = std::mem::replace(&mut channel.open, later);
        if covered.len() != count as usize || !covered.contains_key(&last) {
            let words = format!("miner {miner}: {count} up to {last} accepted of {covered:?}");
            books.fail(now, words);
        }
        for share in covered.into_values() {
            channel.accepted(books, now, miner, &share);
        }
    }

    fn refused(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        id: u32,
        sequence: u32,
        code: &str,
    ) {
        let late = code == "invalid-channel-id";
        let live = self.channels.get_mut(&id);
        let Some(channel) = live.filter(|channel| !(late && channel.ending)) else {
            // It was sent before the miner could know that the channel is over.
            books.homeless_answered += 1;
            let known = self.channels.contains_key(&id) || self.closed.contains(&id);
            if !(known && late) {
                books.fail(now, format!("miner {miner}: {code} for channel {id}"));
            }
            return;
        };
        let share = channel.open.remove(&sequence);
        *books.rejected.entry(21).or_default() += 1;
        let late = matches!(code, "stale-share" | "invalid-job-id");
        let is_fair = |share: &Submit| late && channel.heard.is_late(books, share.job);
        if !share.as_ref().is_some_and(is_fair) {
            books.fail(now, format!("miner {miner}: refused {code} for {share:x?}"));
        }
    }

    /// Nothing is sent to them any more but answers.
    fn ending(&mut self, named: u32) {
        for id in self.addressed(named) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.ending = true;
            }
        }
    }

    /// The session has forgotten a channel: everything is answered.
    pub fn gone(&mut self, books: &mut Books, now: Ns, miner: usize, session: SessionId) {
        books.gone(session);
        let of = |(_, channel): &(&u32, &Channel)| channel.session == session;
        let Some(id) = self.channels.iter().find(of).map(|(id, _)| *id) else {
            return;
        };
        self.closed.push(id);
        let Some(mut channel) = self.channels.remove(&id) else {
            return;
        };
        let open = std::mem::take(&mut channel.open);
        if !open.is_empty() && !channel.left {
            books.fail(now, format!("miner {miner}: channel {id} ends unanswered"));
        }
        // Read with the end of their channel, and judged: nobody is there to be told.
        for share in open.into_values() {
            if !channel.heard.is_late(books, share.job) {
                channel.accepted(books, now, miner, &share);
            }
        }
    }

    /// The channels that a number means: one, or those of a group.
    fn addressed(&self, named: u32) -> Vec<u32> {
        let open = self.channels.iter().filter(|(_, c)| !c.ending);
        let named = open.filter(|(id, c)| **id == named || c.group == named);
        named.map(|(id, _)| *id).collect()
    }
}

impl Channel {
    /// A job is in force, from this time on.
    fn mine(
        &mut self,
        books: &mut Books,
        now: Ns,
        miner: usize,
        job: u32,
        ntime: u32,
        clean: bool,
    ) {
        let known = books.works[&job].clone();
        if ntime < self.tip_ntime || ntime < known.job.ntime {
            books.fail(now, format!("miner {miner}: job {job:x} begins at {ntime}"));
        }
        let content = if ntime == known.job.ntime {
            known.content
        } else {
            content(&known.job, ntime)
        };
        let difficulty = target::difficulty(&self.target);
        let told = Told {
            session: self.session,
            work: job,
            clean,
            space: (self.prefix.clone(), content),
            difficulty,
            may_exceed: difficulty < 2.0 * self.limit,
            terms: Terms {
                bound: self.target,
                weight: target::weight(&self.target),
            },
        };
        self.heard.told(books, now, miner, told);
    }

    fn accepted(&self, books: &mut Books, now: Ns, miner: usize, share: &Submit) {
        let prefix = &self.prefix;
        if share.extranonce.len() != self.extranonce_size {
            books.fail(
                now,
                format!("miner {miner}: an extranonce of another length"),
            );
        }
        self.heard.accepted(books, now, miner, share.job, |known| {
            let root = known.job.merkle_root(prefix, &share.extranonce);
            let header = known
                .job
                .header(root, share.version, share.ntime, share.nonce);
            wire::sha256d(&header)
        });
    }
}
