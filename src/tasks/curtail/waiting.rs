//! What waits to be written: a batch that stays bounded however long the disk is full, and fits once there is room.
//!
//! Not when it is written (`journal.rs`). Invariants: the latest state of every row that may bind is kept, so what is found
//! after a crash is whole; the audit keeps its order, and where some of it did not fit one entry says how much.
//!
//! | what | bound |
//! |---|---|
//! | rows | one a key: of machines, intents and sources there are as many as the site has |
//! | orders that ended without ever being on the disk | the newest [`MOST_UNBORN`] |
//! | audit | [`MOST_ENTRIES`] entries of [`MOST_AUDIT_BYTES`] together |

use crate::ledger::{Batch, Entry, MAX_BATCH_BYTES, OrderRow, Row};
use serde::Serialize;
use std::collections::BTreeMap;

/// Entries that wait for a disk that is full: ten minutes of turns. Then the oldest go, and the audit says so.
pub(super) const MOST_ENTRIES: usize = 600;
/// Bytes of them together: half of what the ledger takes at once, so that rows have the other half. A turn of 10,000
/// machines is 200 KB; of those, the last 40 are kept.
pub(super) const MOST_AUDIT_BYTES: usize = MAX_BATCH_BYTES / 2;
/// Orders and reservations that came and ended while nothing could be written: nobody was told that they were taken. As
/// many as a view shows.
pub(super) const MOST_UNBORN: usize = 64;
/// The kind of the entry that stands for those that were lost.
const LOST: &str = "lost";

/// The batch.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) batch: Batch,
    lost: Lost,
    /// Highest number of an order or reservation that is on the disk.
    highest: u64,
}

/// What the audit lacks; the body of its entry.
#[derive(Debug, Default, Serialize)]
struct Lost {
    entries: u64,
    bytes: u64,
    /// Moments of the first and the last of them, milliseconds since 1970.
    from_ms: i64,
    until_ms: i64,
}

impl Waiting {
    /// Notes that these numbers are on the disk already.
    pub(super) fn known(&mut self, orders: &[OrderRow]) {
        let highest = orders.iter().map(number).max().unwrap_or(0);
        self.highest = self.highest.max(highest);
    }

    /// Takes out what is to be written next: everything, but for what would be too much at once. Only that large is it
    /// torn apart, rows before the audit; nobody is answered before all of it is written.
    pub(super) fn part(&mut self) -> Batch {
        if self.batch.bytes() <= MAX_BATCH_BYTES {
            return std::mem::take(&mut self.batch);
        }
        let batch = &mut self.batch;
        let mut room = MAX_BATCH_BYTES;
        let part = Batch {
            forget: std::mem::take(&mut batch.forget),
            orders: fitting(&mut batch.orders, &mut room, |o| o.id.len() + o.body.len()),
            fences: fitting(&mut batch.fences, &mut room, size),
            machines: fitting(&mut batch.machines, &mut room, size),
            intents: fitting(&mut batch.intents, &mut room, size),
            state: fitting(&mut batch.state, &mut room, size),
            audit: fitting(&mut batch.audit, &mut room, |e| e.kind.len() + e.body.len()),
        };
        match part.is_empty() {
            // One thing alone is too large: the ledger says so.
            true => std::mem::take(batch),
            false => part,
        }
    }

    /// Notes that a part is on the disk.
    pub(super) fn written(&mut self, part: &Batch) {
        self.known(&part.orders);
        if part.audit.first().is_some_and(|entry| entry.kind == LOST) {
            self.lost = Lost::default();
        }
    }

    /// Puts a part back that could not be written.
    pub(super) fn give_back(&mut self, mut part: Batch) {
        let later = &mut self.batch;
        part.forget.append(&mut later.forget);
        part.orders.append(&mut later.orders);
        part.fences.append(&mut later.fences);
        part.machines.append(&mut later.machines);
        part.intents.append(&mut later.intents);
        part.state.append(&mut later.state);
        part.audit.append(&mut later.audit);
        self.batch = part;
    }

    /// Brings it within its bounds. Whether audit entries were lost for the first time since it was last written.
    pub(super) fn bound(&mut self) -> bool {
        let batch = &mut self.batch;
        for rows in [
            &mut batch.fences,
            &mut batch.machines,
            &mut batch.intents,
            &mut batch.state,
        ] {
            latest(rows, |row| row.key.clone());
        }
        latest(&mut batch.orders, |order| order.id.clone());
        let unborn = |order: &OrderRow| !order.open && number(order) > self.highest;
        let mut newest: Vec<u64> = batch
            .orders
            .iter()
            .filter(|o| unborn(o))
            .map(number)
            .collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(least) = newest.get(MOST_UNBORN - 1) {
            batch.orders.retain(|o| !unborn(o) || number(o) >= *least);
        }
        self.bound_audit()
    }

    fn bound_audit(&mut self) -> bool {
        let audit = &mut self.batch.audit;
        let before = self.lost.entries;
        if audit.first().is_some_and(|entry| entry.kind == LOST) {
            audit.remove(0);
        }
        let size = |entry: &Entry| entry.kind.len() + entry.body.len();
        let mut bytes: usize = audit.iter().map(size).sum();
        let mut over = 0;
        while bytes > MOST_AUDIT_BYTES || audit.len() - over > MOST_ENTRIES {
            bytes -= size(&audit[over]);
            over += 1;
        }
        for entry in audit.drain(..over) {
            self.lost.add(&entry, size(&entry));
        }
        if self.lost.entries > 0 {
            let body = serde_json::to_string(&self.lost).expect("plain numbers");
            audit.insert(
                0,
                Entry {
                    at_ms: self.lost.until_ms,
                    kind: LOST.into(),
                    body,
                },
            );
        }
        before == 0 && self.lost.entries > 0
    }
}

impl Lost {
    fn add(&mut self, entry: &Entry, bytes: usize) {
        if self.entries == 0 {
            self.from_ms = entry.at_ms;
        }
        self.until_ms = entry.at_ms;
        self.entries += 1;
        self.bytes += bytes as u64;
    }
}

/// Of two rows with one key the later.
fn latest<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> String) {
    let by_key: BTreeMap<String, T> = rows.drain(..).map(|row| (key(&row), row)).collect();
    rows.extend(by_key.into_values());
}

/// The first ones that there is room for; after one that does not fit there is none for any other.
fn fitting<T>(from: &mut Vec<T>, room: &mut usize, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let fits = |item: &&T| {
        let left = room.checked_sub(bytes(item));
        *room = left.unwrap_or(0);
        left.is_some()
    };
    let count = from.iter().take_while(fits).count();
    from.drain(..count).collect()
}

fn size(row: &Row) -> usize {
    row.key.len() + row.body.len()
}

/// 17 of `o-17` and `r-17`: one count for both.
pub(super) fn number(order: &OrderRow) -> u64 {
    let n = order.id.split_once('-').map(|(_, n)| n.parse());
    n.and_then(Result::ok).unwrap_or(0)
}

#[cfg(test)]
mod tests;
