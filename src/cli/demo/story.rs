//! What happens in the demo, and when: pool A dies, miners move, it comes back, they return. Pure: looks in, events out.
//!
//! Invariant: A dies only when every miner mines for it, so that a failover's time is the proxy's and not the start's.

use super::site::Look;
use std::{fmt, time::Duration};

/// The first death, if there is time.
const FIRST_KILL: Duration = Duration::from_secs(20);
/// How long pool A stays dead, if there is time.
const OUTAGE: Duration = Duration::from_secs(10);
/// A miner may be without a pool so long: a failover takes less.
const HOMELESS: Duration = Duration::from_secs(5);
/// From one death to the next.
const PERIOD: Duration = Duration::from_secs(60);

/// What the story wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Pool A dies.
    Kill,
    /// Pool A listens again.
    Resume,
}

/// What has happened, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// So many miners mine.
    AllMining(u64),
    /// Pool A is dead.
    Killed,
    /// All miners are on B after this time, with so many reconnects since A died.
    FailedOver(u64, Duration, u64),
    /// A listens again.
    Resumed,
    /// The proxy has work from A again.
    Trusted,
    /// All miners are on A again, with so many reconnects since it died.
    FailedBack(u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Gathering,
    Steady,
    Killed,
    OnB,
    Returning { seen_up: bool },
}

/// The demo's story.
#[derive(Debug)]
pub(super) struct Story {
    miners: u64,
    span: Option<Duration>,
    outage: Duration,
    next_kill: Duration,
    killed_at: Duration,
    reconnects_before: u64,
    phase: Phase,
    /// Whether every miner mines for A.
    complete: bool,
    /// Since when miners mine that no pool has.
    homeless_since: Option<Duration>,
    /// Most miners that mined for nobody for longer than [`HOMELESS`].
    pub(super) homeless: u64,
    /// How long each failover took.
    pub(super) failovers: Vec<Duration>,
    /// Deaths of pool A.
    pub(super) deaths: u64,
    /// Returns of all miners to pool A.
    pub(super) failbacks: u64,
}

impl Story {
    /// For so many miners; in a short `span` A dies after a third and is back after half of it.
    pub(super) fn new(miners: u64, span: Option<Duration>) -> Self {
        let part = |n| span.map_or(Duration::MAX, |span| span / n);
        Self {
            miners,
            span,
            outage: OUTAGE.min(part(6)),
            next_kill: FIRST_KILL.min(part(3)),
            killed_at: Duration::ZERO,
            reconnects_before: 0,
            phase: Phase::Gathering,
            complete: false,
            homeless_since: None,
            homeless: 0,
            failovers: Vec::new(),
            deaths: 0,
            failbacks: 0,
        }
    }

    /// What a look shows to have happened.
    pub(super) fn advance(&mut self, look: &Look) -> Option<Event> {
        let leases = |at: usize| look.pools.get(at).map_or(0, |pool| pool.leases);
        let reconnects = reconnects(look, self.miners);
        let since = reconnects.saturating_sub(self.reconnects_before);
        // Those that are put off for power have no connection to move.
        let mining = look.fleet.mining;
        let all_on = |at| mining > 0 && leases(at) == mining && leases(1 - at) == 0;
        self.complete = all_on(0) && mining == self.miners;
        self.count_homeless(look.elapsed, mining.saturating_sub(leases(0) + leases(1)));
        match self.phase {
            Phase::Gathering if self.complete => {
                self.phase = Phase::Steady;
                Some(Event::AllMining(self.miners))
            }
            Phase::Steady => {
                self.reconnects_before = reconnects;
                None
            }
            Phase::Killed if all_on(1) => {
                let took = look.elapsed.saturating_sub(self.killed_at);
                self.failovers.push(took);
                self.phase = Phase::OnB;
                Some(Event::FailedOver(mining, took, since))
            }
            Phase::Returning { .. } if all_on(0) => {
                self.failbacks += 1;
                self.next_kill = self.killed_at + PERIOD;
                self.phase = Phase::Steady;
                Some(Event::FailedBack(mining, since))
            }
            Phase::Returning { seen_up: false } if look.pools.first().is_some_and(|a| a.up) => {
                self.phase = Phase::Returning { seen_up: true };
                Some(Event::Trusted)
            }
            _ => None,
        }
    }

    fn count_homeless(&mut self, now: Duration, count: u64) {
        if count == 0 || self.phase == Phase::Gathering {
            self.homeless_since = None;
        } else if now.saturating_sub(*self.homeless_since.get_or_insert(now)) > HOMELESS {
            self.homeless = self.homeless.max(count);
        }
    }

    /// Pool A dies no sooner than this.
    pub(super) fn wait_until(&mut self, elapsed: Duration) {
        self.next_kill = self.next_kill.max(elapsed);
    }

    /// What is to be done now.
    pub(super) fn order(&self, elapsed: Duration) -> Option<Order> {
        let back_at = self.killed_at + self.outage;
        match self.phase {
            // A death whose failover could not be seen any more would prove nothing.
            Phase::Steady
                if self.complete
                    && elapsed >= self.next_kill
                    && self.span.is_none_or(|span| elapsed + self.outage <= span) =>
            {
                Some(Order::Kill)
            }
            Phase::Killed | Phase::OnB if elapsed >= back_at => Some(Order::Resume),
            _ => None,
        }
    }

    /// Pool A is being killed.
    pub(super) fn killed(&mut self, elapsed: Duration) -> Event {
        self.deaths += 1;
        self.killed_at = elapsed;
        self.phase = Phase::Killed;
        Event::Killed
    }

    /// Pool A listens again.
    pub(super) fn resumed(&mut self) -> Event {
        self.phase = Phase::Returning { seen_up: false };
        Event::Resumed
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllMining(miners) => write!(f, "all {miners} miners are mining for pool A"),
            Self::Killed => f.write_str("pool A dies now: its connections are reset"),
            Self::FailedOver(miners, took, reconnects) => write!(
                f,
                "all {miners} miners on pool B after {:.2} s; {}",
                took.as_secs_f64(),
                in_words(*reconnects)
            ),
            Self::Resumed => f.write_str("pool A is back; the proxy tries it now and then"),
            Self::Trusted => {
                f.write_str("the proxy has work from pool A; it must stay well for 2 s")
            }
            Self::FailedBack(miners, reconnects) => write!(
                f,
                "failed back: all {miners} miners on pool A; {}",
                in_words(*reconnects)
            ),
        }
    }
}

/// Connections beyond each miner's first, but for those of machines that were put off and started again.
pub(super) fn reconnects(look: &Look, miners: u64) -> u64 {
    look.fleet.connects.saturating_sub(miners + look.stops)
}

fn in_words(reconnects: u64) -> String {
    match reconnects {
        0 => "no reconnect".to_owned(),
        1 => "1 RECONNECT".to_owned(),
        n => format!("{n} RECONNECTS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn steady(span: Option<Duration>) -> Story {
        Story {
            phase: Phase::Steady,
            complete: true,
            ..Story::new(200, span)
        }
    }

    #[test]
    fn miners_that_mine_for_nobody_are_counted_once_a_failover_could_have_housed_them() {
        let mut story = steady(None);
        for (second, count) in [(10, 25), (15, 25), (16, 0), (20, 25), (25, 25)] {
            story.count_homeless(s(second), count);
        }
        assert_eq!(story.homeless, 0);
        story.count_homeless(s(26), 25);
        assert_eq!(story.homeless, 25);
    }

    #[test]
    fn in_a_short_span_a_dies_after_a_third_and_is_back_after_half() {
        let mut story = steady(Some(s(18)));
        assert_eq!(story.order(s(5)), None);
        assert_eq!(story.order(s(6)), Some(Order::Kill));
        story.killed(s(6));
        assert_eq!(story.order(s(8)), None);
        assert_eq!(story.order(s(9)), Some(Order::Resume));
        story.resumed();
        assert_eq!(story.order(s(10)), None);
    }

    #[test]
    fn nobody_dies_before_all_mine_nor_when_the_end_is_too_near_to_see_the_failover() {
        assert_eq!(Story::new(200, None).order(s(60)), None);
        assert_eq!(steady(Some(s(18))).order(s(15)), Some(Order::Kill));
        assert_eq!(steady(Some(s(18))).order(s(16)), None);
        assert_eq!(steady(None).order(s(3_600)), Some(Order::Kill));
    }
}
