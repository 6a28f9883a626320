//! Between links and V2 pools: every frame read a second time, and which hashes are submitted.
//!
//! Invariant: a tap only reads; what it finds goes into the books.

use crate::clock::Ns;
use crate::tap::Books;
use sluice::sim::v2::frame::Cutter;
use sluice::sim::v2::message::{ExtendedJob, Message, Submit};
use sluice::sim::wire::{self, Job};
use std::collections::{BTreeMap, HashMap};

/// A job with the prefix it came under.
#[derive(Clone, Debug)]
struct Known {
    job: Job,
    prefix: Vec<u8>,
}

/// One channel: the account's, or a worker's.
#[derive(Debug, Default)]
struct Channel {
    group: u32,
    prefix: Vec<u8>,
    extranonce_size: usize,
    jobs: HashMap<u32, Known>,
    tip: ([u8; 32], u32),
}

/// One connection of a link.
#[derive(Debug, Default)]
pub struct UpChannels {
    down: Cutter,
    up: Cutter,
    conn: usize,
    channels: BTreeMap<u32, Channel>,
    /// Shares on this connection without an answer, with their channel and when they left.
    unanswered: BTreeMap<u64, (u32, Ns)>,
}

impl UpChannels {
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
            Message::OpenedExtended(opened) => {
                let channel = Channel {
                    group: opened.group,
                    prefix: opened.prefix,
                    extranonce_size: opened.extranonce_size.into(),
                    ..Channel::default()
                };
                self.channels.insert(opened.channel, channel);
            }
            Message::SetGroup { group, channels } => {
                for id in channels {
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.group = group;
                    }
                }
            }
            Message::SetPrefix { channel, prefix } => {
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.prefix = prefix;
                }
            }
            Message::NewExtendedJob(said) => self.job(&said),
            Message::SetPrevHash {
                channel,
                job,
                prev_hash,
                nbits,
                ..
            } => {
                for channel in self.addressed(channel) {
                    channel.tip = (prev_hash, nbits);
                    if let Some(known) = channel.jobs.get_mut(&job) {
                        (known.job.prev_hash, known.job.nbits) = channel.tip;
                    }
                }
            }
            Message::SubmitSuccess { channel, last, .. } => {
                let ended = |id: u64, of: u32| of == channel && id <= u64::from(last);
                self.unanswered.retain(|id, (of, _)| !ended(*id, *of));
            }
            Message::SubmitError {
                channel, sequence, ..
            } => {
                let id = u64::from(sequence);
                self.unanswered
                    .retain(|open, (of, _)| (*open, *of) != (id, channel));
            }
            _ => {}
        }
    }

    fn job(&mut self, said: &ExtendedJob) {
        for channel in self.addressed(said.channel) {
            let job = Job {
                id: said.job.to_string(),
                prev_hash: channel.tip.0,
                coinb1: said.coinbase_prefix.clone(),
                coinb2: said.coinbase_suffix.clone(),
                branches: said.path.clone(),
                version: said.version,
                nbits: channel.tip.1,
                ntime: 0,
                clean: false,
            };
            let prefix = channel.prefix.clone();
            channel.jobs.insert(said.job, Known { job, prefix });
        }
    }

    /// The channels that a number means: one, or those of a group.
    fn addressed(&mut self, named: u32) -> impl Iterator<Item = &mut Channel> {
        let channels = self.channels.iter_mut();
        let named = channels.filter(move |(id, c)| **id == named || c.group == named);
        named.map(|(_, channel)| channel)
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
                    self.unanswered.insert(id, (submit.channel, now));
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
        let channel = self.channels.get(&submit.channel);
        let known = channel.and_then(|channel| Some((channel, channel.jobs.get(&submit.job)?)));
        let Some((channel, Known { job, prefix })) = known else {
            return books.fail(
                now,
                format!("pool {link} is given a job it never made: {submit:?}"),
            );
        };
        // I2.
        if submit.extranonce.len() != channel.extranonce_size {
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
    V2(Box<UpChannels>),
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
        match self {
            Self::V1(tap) => tap.unanswered.values().min().copied(),
            Self::V2(tap) => tap.unanswered.values().map(|(_, at)| *at).min(),
        }
    }
}
