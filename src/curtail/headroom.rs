//! How long a limit has lasted: mining is started only into room that was there all the while.
//!
//! Not how much room there is (`plan.rs`). Invariant: what [`Headroom::lasting`] says was allowed at every moment of the span
//! before, so a limit that rises for a moment starts nothing, and one that ripples starts what its troughs allow.

use super::Watts;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The lowest limit of the latest past.
#[derive(Clone, Debug, Default)]
pub struct Headroom {
    began: Option<Instant>,
    /// Times and limits, both rising: a later, lower one makes those before it pointless.
    lows: VecDeque<(Instant, Watts)>,
}

impl Headroom {
    /// A limit at one moment; called every turn, so it holds at most one entry for each of `span`.
    pub fn note(&mut self, now: Instant, limit: Watts, span: Duration) {
        self.began.get_or_insert(now);
        while self.lows.back().is_some_and(|(_, low)| *low >= limit) {
            self.lows.pop_back();
        }
        self.lows.push_back((now, limit));
        while self
            .lows
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > span)
        {
            self.lows.pop_front();
        }
    }

    /// Begins anew: something was shed, or a source is silent.
    pub fn reset(&mut self) {
        self.began = None;
        self.lows.clear();
    }

    /// What was allowed throughout `span`, if that has passed since the beginning.
    pub fn lasting(&self, now: Instant, span: Duration) -> Option<Watts> {
        self.lows
            .front()
            .filter(|_| self.lasted(now, span))
            .map(|(_, limit)| *limit)
    }

    /// Whether nothing was shed, and no source silent, for so long.
    pub fn lasted(&self, now: Instant, span: Duration) -> bool {
        self.began
            .is_some_and(|began| now.saturating_duration_since(began) >= span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(30);

    fn after(limits: &[i64]) -> Option<Watts> {
        let (begin, mut headroom) = (Instant::now(), Headroom::default());
        let mut now = begin;
        for (second, limit) in limits.iter().enumerate() {
            now = begin + Duration::from_secs(second as u64);
            headroom.note(now, Watts(*limit), SPAN);
        }
        headroom.lasting(now, SPAN)
    }

    #[test]
    fn a_limit_counts_once_it_has_lasted_and_not_a_second_before() {
        assert_eq!(after(&[7; 30]), None);
        assert_eq!(after(&[7; 31]), Some(Watts(7)));
    }

    #[test]
    fn a_step_up_counts_after_the_span_and_the_old_limit_until_then() {
        let mut limits = [vec![5; 40], vec![9; 30]].concat();
        assert_eq!(after(&limits), Some(Watts(5)));
        limits.push(9);
        assert_eq!(after(&limits), Some(Watts(9)));
    }

    #[test]
    fn a_limit_that_ripples_is_worth_its_troughs() {
        let limits: Vec<i64> = (0..100).map(|n| 100 + n % 7).collect();
        assert_eq!(after(&limits), Some(Watts(100)));
    }
}
