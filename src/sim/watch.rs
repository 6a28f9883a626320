//! Watches, from the wire alone, whether the peer keeps the rules of STRATUM.md section 1.
//!
//! Decides nothing for the miner. Invariant: one connection, one `Watch`; every breach is reported once.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// The peer promises something every 30 s; the rest is for the way.
const SILENCE: Duration = Duration::from_secs(32);
/// A request unanswered so long counts as missing.
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// A difficulty must be followed by its notify within this time.
const NOTIFY_WITHIN: Duration = Duration::from_secs(2);
/// Job ids remembered per connection: at one notify every 5 s this is six hours.
const IDS_KEPT: usize = 4096;

/// A rule broken by the peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Violation {
    /// The peer ended the connection.
    HungUp,
    /// `mining.set_extranonce` came.
    SetExtranonce,
    /// A reply to something other than the oldest open request.
    ReplyOutOfOrder,
    /// A reply that nobody asked for.
    ReplyUnasked,
    /// No reply within 10 s.
    ReplyMissing,
    /// A difficulty that no notify followed directly.
    DifficultyWithoutNotify,
    /// A difficulty that is not a power of two (checked when asked for).
    DifficultyNotPowerOfTwo,
    /// A notify with an id used before on this connection.
    JobIdReused,
    /// Pushed before the subscribe result.
    PushBeforeSubscribe,
    /// `mining.set_version_mask` before the subscribe result.
    VersionMaskBeforeSubscribe,
    /// Nothing for more than 30 s.
    Silence,
    /// A configure reply with keys that were not asked for.
    ConfigureExtraKeys,
    /// A line that is not JSON, or a message that makes no sense.
    Malformed,
    /// A submit before authorize was answered with true.
    EarlySubmitAccepted,
    /// Subscribe or authorize was refused; a V2 setup or channel.
    LoginRefused,
    /// A rule that V2 alone has.
    V2(super::v2::Breach),
}

impl Violation {
    /// In an operator's words.
    pub fn words(self) -> &'static str {
        match self {
            Self::HungUp => "connection ended by the peer",
            Self::SetExtranonce => "set_extranonce received",
            Self::ReplyOutOfOrder => "replies out of order",
            Self::ReplyUnasked => "replies to nothing",
            Self::ReplyMissing => "requests unanswered for 10 s",
            Self::DifficultyWithoutNotify => "difficulty changed without a notify",
            Self::DifficultyNotPowerOfTwo => "difficulty not a power of two",
            Self::JobIdReused => "job id reused",
            Self::PushBeforeSubscribe => "pushed before the subscribe result",
            Self::VersionMaskBeforeSubscribe => "set_version_mask before the subscribe result",
            Self::Silence => "silent for more than 30 s",
            Self::ConfigureExtraKeys => "configure answered with keys not asked for",
            Self::Malformed => "malformed message",
            Self::EarlySubmitAccepted => "share accepted before authorize",
            Self::LoginRefused => "login refused",
            Self::V2(breach) => breach.words(),
        }
    }
}

/// What a connection has shown so far.
#[derive(Debug)]
pub struct Watch {
    subscribed: bool,
    last_line: Instant,
    silence_told: bool,
    open: VecDeque<(u64, Instant, bool)>,
    difficulty_pending: Option<Instant>,
    had_notify: bool,
    powers_of_two: bool,
    ids: BTreeSet<String>,
    ids_order: VecDeque<String>,
    broken: Vec<Violation>,
}

impl Watch {
    /// A new connection. `powers_of_two`: whether difficulties must be such.
    pub fn new(now: Instant, powers_of_two: bool) -> Self {
        Self {
            subscribed: false,
            last_line: now,
            silence_told: false,
            open: VecDeque::new(),
            difficulty_pending: None,
            had_notify: false,
            powers_of_two,
            ids: BTreeSet::new(),
            ids_order: VecDeque::new(),
            broken: Vec::new(),
        }
    }

    /// A rule was broken that only the miner can see.
    pub fn report(&mut self, violation: Violation) {
        self.broken.push(violation);
    }

    /// What was broken since the last call.
    pub fn take_broken(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.broken)
    }

    /// A line came.
    pub fn line(&mut self, now: Instant) {
        self.timeout(now);
        self.last_line = now;
        self.silence_told = false;
    }

    /// When the last line came.
    pub fn last_line(&self) -> Instant {
        self.last_line
    }

    /// A request left.
    pub fn asked(&mut self, now: Instant, id: u64) {
        self.open.push_back((id, now, false));
    }

    /// A reply came; the oldest open request must be the one it answers.
    pub fn replied(&mut self, id: u64) {
        match self.open.iter().position(|(open, _, _)| *open == id) {
            Some(0) => drop(self.open.pop_front()),
            Some(i) => {
                self.open.remove(i);
                self.broken.push(Violation::ReplyOutOfOrder);
            }
            None => self.broken.push(Violation::ReplyUnasked),
        }
    }

    /// The subscribe result came.
    pub fn subscribed(&mut self) {
        self.subscribed = true;
    }

    /// A push came.
    pub fn pushed(&mut self, method: &str) {
        if !self.subscribed {
            self.broken.push(match method {
                "mining.set_version_mask" => Violation::VersionMaskBeforeSubscribe,
                _ => Violation::PushBeforeSubscribe,
            });
        }
        if method == "mining.set_extranonce" {
            self.broken.push(Violation::SetExtranonce);
        }
    }

    /// A difficulty came.
    pub fn difficulty(&mut self, now: Instant, difficulty: f64) {
        if self.powers_of_two && !is_power_of_two(difficulty) {
            self.broken.push(Violation::DifficultyNotPowerOfTwo);
        }
        // Before the first notify any number is harmless: nothing is being mined.
        if self.had_notify && self.difficulty_pending.replace(now).is_some() {
            self.broken.push(Violation::DifficultyWithoutNotify);
        }
    }

    /// A notify came.
    pub fn notify(&mut self, id: &str) {
        self.had_notify = true;
        self.difficulty_pending = None;
        if !self.ids.insert(id.to_owned()) {
            self.broken.push(Violation::JobIdReused);
            return;
        }
        self.ids_order.push_back(id.to_owned());
        if self.ids_order.len() > IDS_KEPT
            && let Some(oldest) = self.ids_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// Time passed.
    pub fn timeout(&mut self, now: Instant) {
        if self.silence_due().is_some_and(|at| now >= at) {
            self.silence_told = true;
            self.broken.push(Violation::Silence);
        }
        if self
            .difficulty_pending
            .is_some_and(|at| now >= at + NOTIFY_WITHIN)
        {
            self.difficulty_pending = None;
            self.broken.push(Violation::DifficultyWithoutNotify);
        }
        for (_, at, told) in &mut self.open {
            if !*told && now >= *at + REPLY_WITHIN {
                *told = true;
                self.broken.push(Violation::ReplyMissing);
            }
        }
    }

    /// When to call [`Watch::timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let unanswered = self.open.iter().find(|(_, _, told)| !told);
        [
            self.silence_due(),
            self.difficulty_pending.map(|at| at + NOTIFY_WITHIN),
            unanswered.map(|(_, at, _)| *at + REPLY_WITHIN),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Silence is promised not to happen only once something was subscribed to.
    fn silence_due(&self) -> Option<Instant> {
        (self.subscribed && !self.silence_told).then(|| self.last_line + SILENCE)
    }
}

fn is_power_of_two(value: f64) -> bool {
    value.is_normal() && value > 0.0 && value.to_bits() & ((1 << 52) - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> (Instant, Watch) {
        let now = Instant::now();
        (now, Watch::new(now, true))
    }

    #[test]
    fn replies_in_order_pass_and_a_swapped_pair_is_told_once() {
        let (now, mut watch) = watch();
        (1..=3).for_each(|id| watch.asked(now, id));
        watch.replied(1);
        assert!(watch.take_broken().is_empty());
        watch.replied(3);
        watch.replied(2);
        assert_eq!(watch.take_broken(), [Violation::ReplyOutOfOrder]);
        watch.replied(9);
        assert_eq!(watch.take_broken(), [Violation::ReplyUnasked]);
    }

    #[test]
    fn silence_is_told_past_its_limit_and_not_before() {
        let (now, mut watch) = watch();
        watch.subscribed();
        watch.timeout(now + Duration::from_secs(31));
        assert!(watch.take_broken().is_empty());
        watch.timeout(now + SILENCE);
        watch.timeout(now + 2 * SILENCE);
        assert_eq!(watch.take_broken(), [Violation::Silence]);
    }

    #[test]
    fn a_difficulty_needs_its_notify_once_work_has_begun() {
        let (now, mut watch) = watch();
        watch.difficulty(now, 8.0);
        watch.difficulty(now, 4.0);
        watch.notify("1");
        watch.difficulty(now, 8.0);
        watch.notify("2");
        watch.timeout(now + NOTIFY_WITHIN);
        assert!(watch.take_broken().is_empty());
        watch.difficulty(now, 4.0);
        watch.timeout(now + NOTIFY_WITHIN);
        assert_eq!(watch.take_broken(), [Violation::DifficultyWithoutNotify]);
    }

    #[test]
    fn powers_of_two_include_the_fractions_of_a_lab() {
        assert!(is_power_of_two(2f64.powi(-16)) && is_power_of_two(1.0));
        assert!(!is_power_of_two(3.0) && !is_power_of_two(0.0) && !is_power_of_two(f64::NAN));
    }

    #[test]
    fn a_job_id_may_come_once() {
        let (_, mut watch) = watch();
        watch.notify("a");
        watch.notify("b");
        assert!(watch.take_broken().is_empty());
        watch.notify("a");
        assert_eq!(watch.take_broken(), [Violation::JobIdReused]);
    }
}
