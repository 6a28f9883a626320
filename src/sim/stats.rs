//! What a simulated miner counted; adds up over a fleet.
//!
//! Not a metric and not the proxy's tally. Invariant: `submitted = accepted + rejected + unanswered + in flight`.

use super::watch::Violation;
use std::{collections::BTreeMap, time::Duration};

/// Buckets of [`Latency`]: bucket `i` holds what took less than `2^i` microseconds; the last holds the rest.
const BUCKETS: usize = 26;

/// A histogram in powers of two of a microsecond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    counts: [u64; BUCKETS],
}

impl Latency {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let bits = 128 - took.as_micros().leading_zeros() as usize;
        self.counts[bits.min(BUCKETS - 1)] += 1;
    }

    /// Upper edge of the bucket in which this part of all (0..=1) lies; `None` when nothing was counted.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let total: u64 = self.counts.iter().sum();
        let wanted = (part * total as f64).ceil().max(1.0) as u64;
        let mut sum = 0;
        let bucket = self.counts.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        bucket.map(|i| Duration::from_micros(1 << i))
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Counters of one miner, or of many.
#[derive(Clone, Debug, Default)]
pub struct MinerStats {
    /// Connections opened.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connections that ended, whoever ended them.
    pub disconnects: u64,
    /// Sessions that came back with the extranonce1 they had before.
    pub resumed: u64,
    /// Miners that are subscribed and authorized right now.
    pub mining: u64,
    /// Notifies taken.
    pub jobs: u64,
    /// Shares sent.
    pub submitted: u64,
    /// Shares answered with true.
    pub accepted: u64,
    /// Shares refused, by code (0 where none was given).
    pub rejected: BTreeMap<i64, u64>,
    /// Shares whose connection ended before the answer.
    pub unanswered: u64,
    /// Submits before authorize that were refused, as they must be.
    pub early_refused: u64,
    /// Difficulty-weighted hashes submitted.
    pub submitted_hashes: u128,
    /// Difficulty-weighted hashes accepted.
    pub accepted_hashes: u128,
    /// Shares found that a newer clean job had overtaken; never sent.
    pub overtaken: u64,
    /// From submit to reply.
    pub latency: Latency,
    /// What the peer did against the rules.
    pub violations: BTreeMap<Violation, u64>,
    /// Lines sent and received.
    pub lines_out: u64,
    /// Lines received.
    pub lines_in: u64,
    /// Bytes sent, newlines included.
    pub bytes_out: u64,
    /// Bytes received, newlines included.
    pub bytes_in: u64,
    /// Latest difficulty, for people; the largest when added up.
    pub difficulty: f64,
}

impl MinerStats {
    /// Refused shares of every code.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Refused as stale or unknown job (code 21).
    pub fn stale(&self) -> u64 {
        self.rejected.get(&21).copied().unwrap_or(0)
    }

    /// Violations of every kind.
    pub fn violations_total(&self) -> u64 {
        self.violations.values().sum()
    }

    /// Counts one violation.
    pub fn violated(&mut self, violation: Violation) {
        *self.violations.entry(violation).or_default() += 1;
    }

    /// Adds another's counters to these.
    pub fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.connect_failures += other.connect_failures;
        self.disconnects += other.disconnects;
        self.resumed += other.resumed;
        self.mining += other.mining;
        self.jobs += other.jobs;
        self.submitted += other.submitted;
        self.accepted += other.accepted;
        self.unanswered += other.unanswered;
        self.early_refused += other.early_refused;
        self.submitted_hashes += other.submitted_hashes;
        self.accepted_hashes += other.accepted_hashes;
        self.overtaken += other.overtaken;
        self.lines_out += other.lines_out;
        self.lines_in += other.lines_in;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.difficulty = self.difficulty.max(other.difficulty);
        for (code, count) in &other.rejected {
            *self.rejected.entry(*code).or_default() += count;
        }
        for (violation, count) in &other.violations {
            *self.violations.entry(*violation).or_default() += count;
        }
        for (mine, theirs) in self.latency.counts.iter_mut().zip(other.latency.counts) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_upper_edge_of_its_bucket() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for micros in [3, 3, 3, 900] {
            latency.add(Duration::from_micros(micros));
        }
        assert_eq!(latency.quantile(0.5), Some(Duration::from_micros(4)));
        assert_eq!(latency.quantile(1.0), Some(Duration::from_micros(1024)));
        latency.add(Duration::from_secs(1 << 40));
        assert_eq!(latency.count(), 5);
    }
}
