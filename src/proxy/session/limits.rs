//! Token buckets: how fast one connection may talk. Empty means that its socket is not read; nothing is lost.

use super::Bucket;
use std::time::{Duration, Instant};

/// A bucket in use. A turn may overdraw it (at most one turn's lines); the debt is waited for.
#[derive(Debug)]
pub(super) struct Tokens {
    left: f32,
    at: Instant,
}

impl Tokens {
    pub(super) fn full(now: Instant, bucket: Bucket) -> Self {
        Self {
            left: bucket.burst as f32,
            at: now,
        }
    }

    fn refill(&mut self, now: Instant, bucket: Bucket) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * bucket.per_second;
        self.left = (f64::from(self.left) + gained).min(bucket.burst) as f32;
        self.at = now;
    }

    /// Takes one.
    pub(super) fn take(&mut self, now: Instant, bucket: Bucket) {
        self.refill(now, bucket);
        self.left -= 1.0;
    }

    /// When there will be one again; `None`: there is one.
    pub(super) fn empty_until(&self, bucket: Bucket) -> Option<Instant> {
        (self.left < 1.0).then(|| {
            let wait = (1.0 - f64::from(self.left)) / bucket.per_second.max(0.001);
            self.at + Duration::from_secs_f64(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_passes_and_the_next_one_waits_for_its_token() {
        let bucket = Bucket {
            per_second: 20.0,
            burst: 3.0,
        };
        let start = Instant::now();
        let mut tokens = Tokens::full(start, bucket);
        for _ in 0..2 {
            tokens.take(start, bucket);
            assert_eq!(tokens.empty_until(bucket), None);
        }
        tokens.take(start, bucket);
        let until = tokens.empty_until(bucket).expect("the burst is spent");
        assert_eq!(until - start, Duration::from_millis(50));
        tokens.take(until, bucket);
        assert!(tokens.empty_until(bucket).expect("spent again") > until);
    }
}
