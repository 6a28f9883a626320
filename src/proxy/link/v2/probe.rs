//! Whether a quiet pool is frozen: asked, because acceptances come in batches and may honestly be hours late.
//!
//! SRI's pool acknowledges every tenth share and by no clock; a V1 rule ("a share unanswered for 10 s") would leave it four
//! times a minute. V2 has no ping either. So a quiet pool is asked for a channel with more extranonce than a share can carry:
//! it must refuse that at once (spec 5.3.4, 5.3.6: it accepts or sends OpenMiningChannel.Error), and nothing is left
//! behind. `UpdateChannel` serves worse: the specification has no answer to it, and SRI's answer undoes its own vardiff.
//!
//! ```text
//!   share unanswered, no byte ── 8 s ──> probe ── 10 s without a byte ──> dead        (18 s: I10)
//!                                          └── any byte: alive; its answer: the next probe may be sent
//! ```
//! Nobody promises that a pool answers so. One that was left for it is not left for it again unless it has once answered: then
//! it has the longer patience of [`UNPROBED`]. One that hangs up on a probe twice is never probed again.
//! Invariant: a probe decides nothing but whether the connection is alive; one waits at a time.

use super::super::{Link, Output, Phase, SILENCE};
use crate::stratum::v2::message::CloseChannel;
use std::time::{Duration, Instant};

/// Quiet that is worth a probe while shares wait for their answer.
const PROBE_AFTER: Duration = Duration::from_secs(8);
/// Dead without a byte this long after a probe: with the above within the 20 s of I10.
const PROBE_ANSWER: Duration = Duration::from_secs(10);
/// The patience with a pool that has never answered a probe: two jobs of a pool that sends one every 30 s.
const UNPROBED: Duration = Duration::from_secs(60);
/// How long a drain waits for a batch that pools fill by a clock, once refusals have all come.
const LAST_BATCH: Duration = Duration::from_secs(1);
/// More than B0_32 holds, so nobody can give it.
const IMPOSSIBLE: u16 = u16::MAX;

/// What is known of a pool's answers to probes; outlives its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Standing {
    #[default]
    Untried,
    Answers,
    /// A connection ended over one.
    Doubted,
    /// Two did.
    Never,
}

/// A question that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: u32,
    at: Instant,
    /// The last share that was written before.
    after: u64,
}

/// Probes of one link.
#[derive(Debug, Default)]
pub(super) struct Probe {
    standing: Standing,
    asked: Option<Asked>,
    /// Shares up to this one were written before a probe that was answered; and when that was.
    passed: u64,
    passed_at: Option<Instant>,
}

impl Probe {
    /// What the last connection has taught; it ended over a probe if one was open.
    pub(super) fn on_a_new_connection(self) -> Self {
        let standing = match (self.asked, self.standing) {
            (Some(_), Standing::Untried) => Standing::Doubted,
            (Some(_), Standing::Doubted) => Standing::Never,
            (_, standing) => standing,
        };
        Self {
            standing,
            ..Self::default()
        }
    }
}

impl Link {
    pub(super) fn probe_due(&self) -> Option<(Instant, &'static str)> {
        let idle =
            self.channel.probe.asked.is_none() && self.channel.probe.standing != Standing::Never;
        let Phase::Up(since) = self.phase else {
            return None;
        };
        if !idle {
            return None;
        }
        if self.channel.probe.standing == Standing::Doubted {
            // So that a pool which was frozen, and answers, is not doubted for ever.
            return Some((since, "probe"));
        }
        let shares = self.unanswered_since().map(|since| since + PROBE_AFTER);
        // Without shares, so that a pool which has nothing to say is not taken for a silent one.
        let due = self.last_byte + SILENCE / 2;
        Some((shares.map_or(due, |shares| shares.min(due)), "probe"))
    }

    pub(super) fn send_probe(&mut self, now: Instant) {
        let request = self.channel.request();
        self.channel.probe.asked = Some(Asked {
            request,
            at: now,
            after: self.ledger.last_id(),
        });
        self.write_open(request, IMPOSSIBLE);
    }

    /// Whether an answer was one to a probe. A pool that gave the impossible gets it back.
    pub(super) fn probe_answered(
        &mut self,
        now: Instant,
        request: u32,
        given: Option<u32>,
    ) -> bool {
        let probe = &mut self.channel.probe;
        let Some(asked) = probe.asked.take_if(|asked| asked.request == request) else {
            return false;
        };
        probe.standing = Standing::Answers;
        probe.passed = asked.after;
        probe.passed_at = Some(now);
        if let Some(channel_id) = given {
            let close = CloseChannel {
                channel_id,
                reason_code: b"",
            };
            close.write(&mut self.out);
        }
        true
    }

    /// When this connection is dead for the shares it leaves unanswered, unless a byte comes.
    pub(in super::super) fn frozen_at(&self) -> Option<(Instant, &'static str, &'static str)> {
        let since = self.unanswered_since()?;
        let probe = &self.channel.probe;
        match (probe.standing, probe.asked) {
            (Standing::Untried | Standing::Answers, Some(asked)) => Some((
                asked.at.max(since) + PROBE_ANSWER,
                "unanswered probe",
                "shares and a question unanswered for 10 s and not a byte since",
            )),
            (Standing::Untried | Standing::Answers, None) => None,
            (Standing::Doubted | Standing::Never, _) => Some((
                since + UNPROBED,
                "unanswered share",
                "shares unanswered for 60 s and not a byte since",
            )),
        }
    }

    /// When a drain gives up the rest of a batch: refusals come at once and in order, so with the answer to a probe that was
    /// asked after the last share all of them have come.
    pub(in super::super) fn last_batch_due(&self) -> Option<(Instant, &'static str)> {
        let probe = &self.channel.probe;
        let passed = self.ledger.in_flight() > 0 && probe.passed == self.ledger.last_id();
        let at = probe.passed_at.filter(|_| passed && self.draining)?;
        Some((at + LAST_BATCH, "last batch"))
    }

    /// Whether nothing more is to be expected for what was written, so that a drain may end. The rest of a batch that is
    /// filled by a count is never acknowledged: what is open in the end was neither refused nor acknowledged, and is
    /// counted unknown.
    pub(in super::super) fn v2_all_answered(&mut self, now: Instant) -> bool {
        if self.ledger.in_flight() > 0 {
            let probe = &self.channel.probe;
            if probe.passed != self.ledger.last_id() {
                // One that waits for its answer comes first, even if it was asked too early for the last shares.
                if probe.asked.is_none() && probe.standing != Standing::Never {
                    self.send_probe(now);
                }
                return false;
            }
            if self.last_batch_due().is_some_and(|(due, _)| now < due) {
                return false;
            }
            for end in self.ledger.lose_all() {
                self.outputs.push_back(Output::Settle(end));
            }
        }
        self.close_channels();
        true
    }
}
