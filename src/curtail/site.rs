//! What the site is: limits, feeders, groups, sources. Data alone, from the config; checked there.
//!
//! Invariant: indices ([`GroupId`], [`FeederId`]) are positions in [`Site::groups`] and [`Site::feeders`].

use super::{Watts, signal::Scope};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Position in [`Site::feeders`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeederId(pub u16);

/// Position in [`Site::groups`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct GroupId(pub u16);

/// Everything the controller knows of the site without asking anyone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The audience that orders must name.
    pub name: String,
    /// What the grid connection may draw at the meter.
    pub limit: Watts,
    /// Load that is neither mining nor GPUs (offices, pumps), at the meter.
    pub other_load: Watts,
    /// Kept free under the limit for what telemetry misses.
    pub guard: Watts,
    /// Where mining goes when a source is lost: an upper bound at the meter, never a reason to raise.
    pub safe: Watts,
    /// Breakers, in the order of the config.
    pub feeders: Vec<Feeder>,
    /// Groups of machines, in the order of the config.
    pub groups: Vec<Group>,
    /// Who may send signals.
    pub sources: Vec<Source>,
    /// Dated limits, any order.
    pub calendar: Vec<Dated>,
    /// What meter and GPU telemetry there is.
    pub telemetry: Telemetry,
    /// The knobs of the control law.
    pub law: Law,
}

impl Site {
    /// Whether there is such a part.
    pub fn has(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Mining | Scope::Site => true,
            Scope::Feeder(name) => self.feeders.iter().any(|feeder| feeder.name == *name),
            Scope::Group(name) => self.groups.iter().any(|group| group.name == *name),
        }
    }
}

/// A feeder and its breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feeder {
    /// Its name in scopes, `feeder:NAME`.
    pub name: String,
    /// What its breaker is rated for, at the meter; mining plans for [`Law::breaker_permille`] of it.
    pub rating: Watts,
    /// Most machine starts begun in one second.
    pub starts_per_s: u32,
}

/// Machines that are wired, cooled and bound together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name in scopes, `group:NAME`.
    pub name: String,
    /// The feeder it hangs on.
    pub feeder: FeederId,
    /// Watts at the meter per 1,000 W at the plug (cooling, losses); 1000 or more.
    pub overhead_permille: u32,
    /// What it must keep drawing for a heat customer, machine watts; broken only by caps and grants.
    pub heat_floor: Watts,
    /// An upper bound of its own, at the meter.
    pub limit: Watts,
    /// Most machines starting at once.
    pub most_starting: u32,
}

/// Who may send signals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// As in the envelope.
    pub name: String,
    /// Most urgent class it may use (0 = may stop everything).
    pub most_urgent: u8,
    /// How often it promises to be heard; `None`: it lives by the `expires_at` of its orders.
    pub heartbeat: Option<Duration>,
    /// Silence after which it counts as lost.
    pub dead_after: Duration,
}

/// A limit from the capacity calendar: mining at the meter, from a day on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dated {
    /// From this moment.
    pub from: super::Wall,
    /// Until this moment, if it ends.
    pub until: Option<super::Wall>,
    /// The bound, at the meter.
    pub mining: Watts,
    /// Why, for people.
    pub reason: String,
}

/// Which measurements the controller may expect. One that is configured and silent is a fault; one that is not is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telemetry {
    /// What the meter counts.
    pub meter: Option<Metered>,
    /// GPU telemetry: the nameplate of all GPUs at the wall, assumed when it is lost.
    pub gpu_nameplate: Option<Watts>,
}

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metered {
    /// The whole site.
    Site,
    /// Mining alone.
    Mining,
}

/// The knobs of the control law (CURTAILMENT.md sections 2, 4 and 5) with their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Law {
    /// A machine that was put off stays off at least this long. Nothing wakes it earlier.
    pub minimum_off: Duration,
    /// A machine that was started stays on at least this long, unless a cap or a grant needs it.
    pub minimum_on: Duration,
    /// Starts of one machine in a day.
    pub most_cycles_a_day: u32,
    /// Headroom must have lasted this long before anything is raised.
    pub restore_after: Duration,
    /// Part of a breaker's rating that is planned for.
    pub breaker_permille: u32,
    /// Deviation from the meter that is left alone, of the limit.
    pub deadband_permille: u32,
    /// Deadlines when an order names none, by class.
    pub deadlines: [Duration; 4],
    /// Clock difference to a source that is believed.
    pub skew: Duration,
    /// Nothing heard and nothing answered for this long: a machine counts as switched off.
    pub offline_after: Duration,
    /// Most orders in force.
    pub most_orders: usize,
    /// Most reservations in force.
    pub most_reservations: usize,
    /// Longest a liar stays in quarantine before it is tried again.
    pub quarantine: Duration,
}

impl Default for Law {
    fn default() -> Self {
        Self {
            minimum_off: Duration::from_secs(300),
            minimum_on: Duration::from_secs(600),
            most_cycles_a_day: 12,
            restore_after: Duration::from_secs(30),
            breaker_permille: 800,
            deadband_permille: 5,
            deadlines: [5, 15, 60, 300].map(Duration::from_secs),
            skew: Duration::from_secs(2),
            offline_after: Duration::from_secs(600),
            most_orders: 1024,
            most_reservations: 1024,
            quarantine: Duration::from_secs(3600),
        }
    }
}
