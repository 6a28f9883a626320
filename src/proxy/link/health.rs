//! When a pool counts as dead (STRATUM.md section 2, I10). Not why work stops: only the connection.
//!
//! Invariant: every rule that ends a connection has its timer in [`Link::health_timer`], and the other way round.

use super::{FIRST_JOB, Link, Phase, Protocol, SILENCE, UNANSWERED};
use std::time::Instant;

impl Link {
    pub(super) fn watch_health(&mut self, now: Instant) {
        if let Some((_, _, reason)) = self
            .deaths()
            .into_iter()
            .flatten()
            .find(|(at, ..)| now >= *at)
        {
            self.down(now, reason);
        }
    }

    /// The next instant at which this connection is dead if nothing comes.
    pub(super) fn health_timer(&self) -> Option<(Instant, &'static str)> {
        let deaths = self.deaths().into_iter().flatten();
        deaths
            .map(|(at, timer, _)| (at, timer))
            .min_by_key(|(at, _)| *at)
    }

    /// When, the timer's name, and the reason in words.
    fn deaths(&self) -> [Option<(Instant, &'static str, &'static str)>; 3] {
        let v1 = self.config.protocol == Protocol::V1;
        let phase = match self.phase {
            Phase::Subscribing(at) => Some((
                at + FIRST_JOB,
                "login",
                if v1 {
                    "no answer to mining.subscribe for 15 s"
                } else {
                    "no answer to SetupConnection for 15 s"
                },
            )),
            Phase::LoggingIn(at) => Some((
                at + FIRST_JOB,
                "login",
                if v1 {
                    "no answer to mining.authorize for 15 s"
                } else {
                    "no answer to OpenExtendedMiningChannel for 15 s"
                },
            )),
            Phase::Jobless(at) if self.can_work() => Some((
                at + FIRST_JOB,
                "first job",
                "no job for 15 s after the login",
            )),
            Phase::Up(_) if v1 => self.unanswered_since().map(|since| {
                (
                    since + UNANSWERED,
                    "unanswered share",
                    "shares unanswered for 10 s and not a byte since",
                )
            }),
            Phase::Up(_) => self.frozen_at(),
            _ => None,
        };
        let silence =
            self.is_open()
                .then_some((self.last_byte + SILENCE, "silence", "silent for 150 s"));
        let idle = self.channel.idle_since.filter(|_| self.can_work());
        let idle = idle.map(|since| {
            let reason = "no job for 15 s after a new block";
            (since + FIRST_JOB, "job for a block", reason)
        });
        [phase, silence, idle]
    }

    /// Whether a job would be work.
    fn can_work(&self) -> bool {
        self.layout.is_some() && !self.excluded()
    }

    /// Since when shares wait for an answer and not a byte has come.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        Some(self.ledger.oldest_share()?.max(self.last_byte))
    }
}
