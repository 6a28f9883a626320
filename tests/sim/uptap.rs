//! What a link and its pool say to each other, read by the observer. Not the miners' side, nor the books: those are
//! `tap`. Invariant: jobs and extranonce are known from the pool's lines alone, never from the link.

use crate::clock::Ns;
use crate::tap::{Books, hash};
use serde_json::Value;
use sluice::sim::wire::{self, Cutter, Job};
use std::collections::{BTreeMap, HashMap};

/// Between a link and its pool: which hashes are submitted.
#[derive(Debug, Default)]
pub struct UpTap {
    down: Cutter,
    up: Cutter,
    en1: Vec<u8>,
    jobs: HashMap<String, (Job, Vec<u8>)>,
    conn: usize,
    /// Shares on this connection without an answer, and when they left.
    pub unanswered: BTreeMap<u64, Ns>,
}

impl UpTap {
    pub fn connected(&mut self, conn: usize) {
        *self = Self {
            conn,
            ..Self::default()
        };
    }

    /// Bytes that the link is given.
    pub fn received(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.down.push(bytes, |line| lines.push(line.to_vec()));
        for line in lines {
            books.note(now, || {
                let text = String::from_utf8_lossy(&line);
                format!(
                    "pool {link} > {}",
                    text.chars().take(110).collect::<String>()
                )
            });
            let message: Value = serde_json::from_slice(&line).unwrap_or_default();
            match message["method"].as_str() {
                Some("mining.notify") => {
                    if let Some(job) = Job::from_params(&message["params"]) {
                        self.jobs.insert(job.id.clone(), (job, self.en1.clone()));
                    }
                }
                Some("mining.set_extranonce") => {
                    self.en1 = message["params"][0]
                        .as_str()
                        .and_then(wire::unhex)
                        .unwrap_or_default();
                }
                Some(_) => {}
                None => {
                    if let Some(en1) = message["result"][1].as_str().and_then(wire::unhex) {
                        self.en1 = en1;
                    }
                    if let Some(id) = message["id"].as_u64() {
                        self.unanswered.remove(&id);
                    }
                }
            }
        }
    }

    /// Bytes that the link sends.
    pub fn sent(&mut self, books: &mut Books, now: Ns, link: usize, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.up.push(bytes, |line| lines.push(line.to_vec()));
        for line in lines {
            books.note(now, || {
                format!("pool {link} < {}", String::from_utf8_lossy(&line))
            });
            let message: Value = serde_json::from_slice(&line).unwrap_or_default();
            if message["method"] != "mining.submit" {
                continue;
            }
            books.written_count[link] += 1;
            if let Some(id) = message["id"].as_u64() {
                self.unanswered.insert(id, now);
                books.written(now, link, self.conn, id);
            }
            if books.watched {
                self.submit(books, now, link, &message);
            }
        }
    }

    fn submit(&self, books: &mut Books, now: Ns, link: usize, message: &Value) {
        let text = |at: usize| message["params"][at].as_str().unwrap_or_default();
        let number = |at: usize| wire::hex_u32(text(at)).unwrap_or(0);
        let Some((job, en1)) = self.jobs.get(text(1)) else {
            return books.fail(
                now,
                format!("pool {link} is given a job it never made: {message}"),
            );
        };
        let en2 = wire::unhex(text(2)).unwrap_or_default();
        let hash = hash(job, en1, &en2, number(3), number(4), number(5));
        if !books.written[link].insert(hash) {
            books.fail(
                now,
                format!("pool {link} is given a share twice: {message}"),
            );
        }
    }
}
