//! Watts promised to GPU jobs: asked for, proven free, held, given back.
//!
//! Not where the watts come from (`timeline.rs` subtracts them, `plan.rs` sheds). Invariants: nothing is granted before it
//! is proven free; a grant is kept until it ends, whatever happens to later ones; a holder that vanishes loses it at its
//! lease's end.

use super::{
    Wall, Watts,
    orders::span,
    signal::{Ask, Envelope},
    view::{ReservationState, ReservationStatus},
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// One reservation. Serialized, it is what a restart needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its number; `r-<n>` outside.
    pub n: u64,
    /// As sent; a renewal moves `expires_at`.
    pub envelope: Envelope,
    /// When it was taken.
    pub accepted_at: Wall,
    /// Where it stands.
    pub state: ReservationState,
    /// When it was granted.
    pub granted_at: Option<Wall>,
    /// What is proven free for it.
    pub granted: Watts,
    /// What can be had, where that is not all.
    pub achievable: Option<Watts>,
    /// What GPUs drew without any promise, as known when it was granted.
    #[serde(default)]
    pub base: Watts,
    /// `accepted_at` on the machine's own clock.
    #[serde(skip)]
    pub accepted: Option<Instant>,
    /// End of a renewed lease on the machine's own clock: the wall clock may have jumped since acceptance.
    #[serde(skip)]
    pub renewed: Option<Instant>,
}

impl Reservation {
    /// `r-<n>`.
    pub fn id(&self) -> String {
        format!("r-{}", self.n)
    }

    /// What was asked for.
    pub fn watts(&self) -> Watts {
        match self.envelope.ask {
            Ask::Reserve(watts) => watts,
            _ => Watts::ZERO,
        }
    }

    /// Whether it is still somebody's.
    pub fn open(&self) -> bool {
        use ReservationState::{Granted, Partial, Pending};
        matches!(self.state, Pending | Granted | Partial)
    }

    /// When its watts are needed, on the machine's own clock.
    pub fn starts(&self) -> Instant {
        self.at(self.envelope.starts_at.unwrap_or(self.accepted_at))
    }

    /// End of the lease, on the machine's own clock.
    pub fn expires(&self) -> Instant {
        self.renewed
            .unwrap_or_else(|| self.at(self.envelope.expires_at))
    }

    fn at(&self, wall: Wall) -> Instant {
        let start = self.accepted.expect("set when taken and when recovered");
        start + span(self.accepted_at, wall)
    }

    /// As told to the outside.
    pub fn status(&self, eta: Option<Duration>) -> ReservationStatus {
        let text = match self.state {
            ReservationState::Pending => "mining gives way; wait for the grant".to_owned(),
            ReservationState::Granted => format!("{} are proven free", self.watts()),
            ReservationState::Partial => format!(
                "only {} can be had; {} are proven free",
                self.achievable.unwrap_or_default(),
                self.granted
            ),
            ReservationState::Released => "given back".to_owned(),
            ReservationState::Expired => "not renewed by its holder".to_owned(),
        };
        ReservationStatus {
            id: self.id(),
            source: self.envelope.source.clone(),
            watts: self.watts(),
            state: self.state,
            granted_watts: self.granted,
            achievable_watts: self.achievable,
            eta_s: eta.map(|eta| eta.as_secs()),
            starts_at: self.envelope.starts_at.unwrap_or(self.accepted_at),
            granted_at: self.granted_at,
            ends_at: self.envelope.ends_at,
            expires_at: self.envelope.expires_at,
            text,
        }
    }
}

/// Watts for reservations at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Granted: drawn at any moment, with no further word.
    pub granted: Watts,
    /// Asked for and due: mining makes room, nobody draws it yet.
    pub pending: Watts,
}

impl Reserved {
    /// Both.
    pub fn all(self) -> Watts {
        self.granted + self.pending
    }
}

/// Ended reservations that are still shown.
const SHOWN: usize = 64;

/// All reservations, in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    /// By number.
    pub all: Vec<Reservation>,
}

impl Reservations {
    /// Those that are still somebody's.
    pub fn open(&self) -> impl Iterator<Item = &Reservation> {
        self.all.iter().filter(|one| one.open())
    }

    /// What is promised, and what must become free for others that are due when shedding takes `lead`.
    pub fn reserved(&self, now: Instant, lead: Duration) -> Reserved {
        let granted = |one: &&Reservation| one.state == ReservationState::Granted;
        let due = |one: &&Reservation| one.starts().checked_sub(lead).is_none_or(|at| at <= now);
        Reserved {
            granted: self.open().filter(granted).map(Reservation::watts).sum(),
            pending: self
                .open()
                .filter(|one| !granted(one) && due(one))
                .map(Reservation::watts)
                .sum(),
        }
    }

    /// Puts back what a restart found.
    pub fn recover(&mut self, now: Instant, wall: Wall, mut one: Reservation) {
        let ago = span(one.accepted_at, wall);
        one.accepted = Some(now.checked_sub(ago).unwrap_or(now));
        self.all.push(one);
        self.all.sort_by_key(|one| one.n);
    }

    /// Ends what is over. Returns the numbers whose state changed.
    pub fn turn(&mut self, now: Instant) -> Vec<u64> {
        let mut changed = Vec::new();
        for one in self.all.iter_mut().filter(|one| one.open()) {
            let ended = one.envelope.ends_at.is_some_and(|at| one.at(at) <= now);
            let expired = one.expires() <= now;
            if ended || expired {
                one.state = match ended {
                    true => ReservationState::Released,
                    false => ReservationState::Expired,
                };
                one.granted = Watts::ZERO;
                changed.push(one.n);
            }
        }
        let ended = self.all.iter().filter(|one| !one.open()).count();
        let mut surplus = ended.saturating_sub(SHOWN);
        self.all.retain(|one| {
            let drop = !one.open() && surplus > 0;
            surplus -= usize::from(drop);
            !drop
        });
        changed
    }

    /// Judges what is proven `free` for reservations in all, and what could be at best. Earlier ones come first, granted
    /// ones before all. Returns the numbers whose state changed.
    pub fn judge(
        &mut self,
        now: Instant,
        wall: Wall,
        lead: Duration,
        free: Watts,
        best: Watts,
    ) -> Vec<u64> {
        let granted = |one: &Reservation| one.state == ReservationState::Granted;
        let held: Watts = self
            .all
            .iter()
            .filter(|one| granted(one))
            .map(Reservation::watts)
            .sum();
        let (mut free, mut best) = (free - held, best - held);
        let mut changed = Vec::new();
        for one in self
            .all
            .iter_mut()
            .filter(|one| one.open() && !granted(one))
        {
            if one.starts().checked_sub(lead).is_some_and(|at| at > now) {
                continue;
            }
            let before = (one.state, one.granted, one.achievable);
            let asked = one.watts();
            one.granted = free.at_least_zero().min(asked);
            one.achievable = (best < asked).then_some(best.at_least_zero());
            one.state = match (free >= asked, one.achievable) {
                (true, _) => ReservationState::Granted,
                (false, Some(_)) => ReservationState::Partial,
                (false, None) => ReservationState::Pending,
            };
            if one.state == ReservationState::Granted {
                one.granted_at = Some(wall);
                one.achievable = None;
            }
            free -= asked;
            best -= asked;
            if before.0 != one.state {
                changed.push(one.n);
            }
        }
        changed
    }

    /// Gives one back.
    pub fn release(&mut self, n: u64) -> bool {
        match self.all.iter_mut().find(|one| one.n == n && one.open()) {
            Some(one) => {
                one.state = ReservationState::Released;
                one.granted = Watts::ZERO;
                true
            }
            None => false,
        }
    }

    /// Moves the end of a lease. `wall` is the time now.
    pub fn renew(&mut self, now: Instant, wall: Wall, n: u64, expires_at: Wall) -> bool {
        match self.all.iter_mut().find(|one| one.n == n && one.open()) {
            Some(one) => {
                let end = now + span(wall, expires_at);
                // A renewal that comes late, or again, shortens nothing.
                if end > one.expires() {
                    one.envelope.expires_at = expires_at;
                    one.renewed = Some(end);
                }
                true
            }
            None => false,
        }
    }

    /// Whether it is granted.
    pub fn granted(&self, n: u64) -> bool {
        self.find(n)
            .is_some_and(|one| one.state == ReservationState::Granted)
    }

    /// Notes with those that are granted what GPUs draw besides.
    pub fn note(&mut self, base: Watts) {
        for one in &mut self.all {
            if one.state == ReservationState::Granted {
                one.base = base;
            }
        }
    }

    /// The one with this number.
    pub fn find(&self, n: u64) -> Option<&Reservation> {
        self.all.iter().find(|one| one.n == n)
    }
}

/// What GPUs draw, and what they may draw at any moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gpu {
    measured: Option<(Watts, Instant)>,
    base: Watts,
    /// When readings were first waited for.
    since: Option<Instant>,
}

/// Telemetry older than this is none.
const STALE: Duration = Duration::from_secs(90);
/// So long after a start the first reading is waited for: a restart must not shed a hall's nameplate of mining.
const FIRST: Duration = Duration::from_secs(30);

impl Gpu {
    /// Readings are waited for since `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            since: Some(now),
            ..Self::default()
        }
    }

    /// Whether the first reading is still to come and not overdue: nothing is raised until then, nor shed.
    pub fn unread(&self, now: Instant) -> bool {
        let fresh = |since| now.saturating_duration_since(since) < FIRST;
        self.measured.is_none() && self.since.is_some_and(fresh)
    }

    /// A reading (held or assumed ones included), or that there is none.
    pub fn read(&mut self, now: Instant, watts: Option<Watts>, reserved: bool) {
        self.measured = watts.map(|watts| (watts, now));
        if let (Some(watts), false) = (watts, reserved) {
            self.base = watts;
        }
    }

    /// What they draw, if that is known.
    pub fn watts(&self, now: Instant) -> Option<Watts> {
        self.measured
            .filter(|(_, at)| now.saturating_duration_since(*at) <= STALE)
            .map(|(watts, _)| watts)
    }

    /// What must be left to them: what they draw, and never less than they drew without any promise plus all promises;
    /// their nameplate where telemetry is expected (`nameplate`) and lost. What is asked for comes on top: whoever waits
    /// for a grant draws nothing of it yet.
    pub fn firm(&self, now: Instant, reserved: Reserved, nameplate: Option<Watts>) -> Watts {
        let Reserved { granted, pending } = reserved;
        match (self.watts(now), nameplate) {
            (Some(watts), _) => watts.max(self.base + granted) + pending,
            (None, Some(_)) if self.unread(now) => self.base + granted + pending,
            (None, Some(nameplate)) => nameplate.max(granted + pending),
            (None, None) => granted + pending,
        }
    }

    /// A promise is about to be made on top of `granted`: what they draw beyond that is no part of it, and stays.
    pub fn promise(&mut self, now: Instant, granted: Watts) -> Watts {
        if let Some(watts) = self.watts(now) {
            self.base = self.base.max(watts - granted);
        }
        self.base
    }

    /// After a restart: what was known when a promise was made.
    pub fn recover(&mut self, base: Watts) {
        self.base = self.base.max(base);
    }
}
