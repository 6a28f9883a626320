//! Between links and V2 pools: every frame read a second time, and which hashes are submitted.
//!
//! Invariant: a tap only reads; what it finds goes into the books.

use crate::clock::Ns;
use crate::tap::Books;
use sluice::sim::v2::frame::Cutter;
use sluice::sim::v2::message::{Message, Submit};
use sluice::sim::wire::{self, Job};
use std::collections::{BTreeMap, HashMap};

/// A job with the prefix it came under.
#[derive(Clone, Debug)]
struct Known {
    job: Job,
    prefix: Vec<u8>,
}

/// One connection of a link.
#[derive(Debug, Default)]
pub struct UpChannel {
    down: Cutter,
    up: Cutter,
    conn: usize,
    channel: Option<(u32, u32)>,
    prefix: Vec<u8>,
    extranonce_size: usize,
    jobs: HashMap<u32, Known>,
    tip: ([u8; 32], u32),
    /// Shares on this connection without an answer, and when they left.
    pub unanswered: BTreeMap<u64, Ns>,
}

impl UpChannel {
    pub fn connected(&mut self, conn: usize) {
        *self = Self {
            conn,
            ..Self::default()
        };
    }

    /// Bytes that the link is given.
    pub fn received(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        self.down.push(bytes);
        while let Ok(Some(frame)) = self.down.next_frame() {
            let message = Message::parse(&frame);
            books.note(now, || {
                let text = format!("{message:?}");
                format!(
                    "pool {link} > {}",
                    text.chars().take(200).collect::<String>()
                )
            });
            if let Ok(message) = message {
                self.told(message);
            }
        }
    }

    fn told(&mut self, message: Message) {
        match message {
            Message::OpenedExtended(opened) if self.channel.is_none() => {
                self.channel = Some((opened.channel, opened.group));
                self.prefix = opened.prefix;
                self.extranonce_size = opened.extranonce_size.into();
            }
            Message::SetGroup { group, .. } => {
                if let Some((_, ours)) = &mut self.channel {
                    *ours = group;
                }
            }
            Message::SetPrefix { channel, prefix } if self.is_ours(channel) => {
                self.prefix = prefix;
            }
            Message::NewExtendedJob(said) if self.is_ours(said.channel) => {
                let job = Job {
                    id: said.job.to_string(),
                    prev_hash: self.tip.0,
                    coinb1: said.coinbase_prefix,
                    coinb2: said.coinbase_suffix,
                    branches: said.path,
                    version: said.version,
                    nbits: self.tip.1,
                    ntime: 0,
                    clean: false,
                };
                let prefix = self.prefix.clone();
                self.jobs.insert(said.job, Known { job, prefix });
            }
            Message::SetPrevHash {
                channel,
                job,
                prev_hash,
                nbits,
                ..
            } if self.is_ours(channel) => {
                self.tip = (prev_hash, nbits);
                if let Some(known) = self.jobs.get_mut(&job) {
                    (known.job.prev_hash, known.job.nbits) = self.tip;
                }
            }
            Message::SubmitSuccess { last, .. } => {
                self.unanswered.retain(|id, _| *id > u64::from(last));
            }
            Message::SubmitError { sequence, .. } => {
                self.unanswered.remove(&u64::from(sequence));
            }
            _ => {}
        }
    }

    fn is_ours(&self, id: u32) -> bool {
        self.channel
            .is_some_and(|(channel, group)| id == channel || id == group)
    }

    /// Bytes that the link sends.
    pub fn sent(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        self.up.push(bytes);
        while let Ok(Some(frame)) = self.up.next_frame() {
            let message = Message::parse(&frame);
            books.note(now, || format!("pool {link} < {message:?}"));
            match message {
                Ok(Message::SubmitExtended(submit)) => {
                    let id = u64::from(submit.sequence);
                    books.written_count[link] += 1;
                    self.unanswered.insert(id, now);
                    books.written_at.insert((link, id), now);
                    books.written_ids.entry(self.conn).or_default().push(id);
                    if books.watched {
                        self.submit(books, now, link, &submit);
                    }
                }
                Ok(_) => {}
                Err(odd) => {
                    books.fail(now, format!("pool {link} is given a frame that is {odd:?}"));
                }
            }
        }
    }

    fn submit(&self, books: &mut Books, now: Ns, link: usize, submit: &Submit) {
        let Some(Known { job, prefix }) = self.jobs.get(&submit.job) else {
            return books.fail(
                now,
                format!("pool {link} is given a job it never made: {submit:?}"),
            );
        };
        // I2.
        if submit.extranonce.len() != self.extranonce_size {
            books.fail(now, format!("pool {link}: an extranonce of another length"));
        }
        let root = job.merkle_root(prefix, &submit.extranonce);
        let hash = wire::sha256d(&job.header(root, submit.version, submit.ntime, submit.nonce));
        if !books.written[link].insert(hash) {
            books.fail(
                now,
                format!("pool {link} is given a share twice: {submit:?}"),
            );
        }
    }
}

/// What watches a link's wire.
#[derive(Debug)]
pub enum Tap {
    V1(Box<crate::lines::UpTap>),
    V2(Box<UpChannel>),
}

impl Tap {
    pub fn of(v2: bool) -> Self {
        if v2 {
            Self::V2(Box::default())
        } else {
            Self::V1(Box::default())
        }
    }

    pub fn connected(&mut self, conn: usize) {
        match self {
            Self::V1(tap) => tap.connected(conn),
            Self::V2(tap) => tap.connected(conn),
        }
    }

    pub fn received(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        match self {
            Self::V1(tap) => tap.received(books, now, link, bytes),
            Self::V2(tap) => tap.received(books, now, link, bytes),
        }
    }

    pub fn sent(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        match self {
            Self::V1(tap) => tap.sent(books, now, link, bytes),
            Self::V2(tap) => tap.sent(books, now, link, bytes),
        }
    }

    /// When the oldest share without an answer left.
    pub fn unanswered_since(&self) -> Option<Ns> {
        let unanswered = match self {
            Self::V1(tap) => &tap.unanswered,
            Self::V2(tap) => &tap.unanswered,
        };
        unanswered.values().min().copied()
    }
}
