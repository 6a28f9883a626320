//! One machine as the controller knows it: what it was told, what is proven of it, what it counts for.
//!
//! Not which machine gives way (`plan.rs`). Invariants: a machine counts for everything that is not proven off
//! ([`Machine::committed`]); an acknowledgement proves nothing; nobody wakes one earlier than its minimum off.
//!
//! ```text
//!            command down              telemetry agrees, shares do not contradict
//!   Free ───────────────────> Pending ────────────────────────────> Proven
//!    ^  settled                  │ not seen in time                    │ seen hashing: told again
//!    └──────── Rising <── command up      v                            │
//!                              Late (told again, counts as load) <─────┘
//!                                │ three tries
//!                                v
//!                              Failed (counts as load; tried again after quarantine)
//! ```

use super::{
    Setpoint, Watts,
    fleet::{Facts, Kind, Mode, Observation, Receipt},
    site::Law,
    verify,
};
use std::time::{Duration, Instant};

/// On top of the published settling time, for the wire and the reading back.
const GRACE: Duration = Duration::from_secs(2);
/// Until a command that was refused or never arrived is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// Commands of one setpoint before a machine counts as failed: the first and two more.
const TRIES: u8 = 3;
/// Times a proven machine may be seen hashing within [`FIGHT`] before somebody else must be commanding it.
const REASSERTIONS: u8 = 3;
/// See [`REASSERTIONS`].
const FIGHT: Duration = Duration::from_secs(600);
/// After a restart, so long a machine that was commanded before may take to be read: nothing else is shed for it till then.
const READ_BACK: Duration = Duration::from_secs(5);
/// Whom shares contradicted must be silent that long before telemetry is believed again: at 12 shares a minute a machine
/// that hashes on is missed once in 3,000.
const CLEARING: Duration = Duration::from_secs(40);
/// Shares of full power after which counting starts anew: enough to tell 70 % from 100 %, not so many that a table which is
/// a little off is taken for a lie.
const WINDOW: f64 = 600.0;
/// Tables of hashrates are no better than that: a trimmed machine is allowed so many times its part of the shares.
const ALLOWANCE: f64 = 1.1;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A start of which nothing is heard so long never arrived, or did long ago.
const LOST: Duration = Duration::from_secs(30);
/// Longest way of a command that was told before a restart: a calling time-out and its queue.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// What is known of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Running as it may; counts with its setpoint.
    Free,
    /// Told to take more, on its way.
    Rising,
    /// Told to give way, in time so far.
    Pending,
    /// Told again; counts as load until proven.
    Late,
    /// Gives what was asked: telemetry says so and shares do not contradict.
    Proven,
    /// Did not; counts as load and is left alone until then.
    Failed {
        /// When it is tried again.
        until: Instant,
        /// It said it had.
        liar: bool,
    },
    /// Nothing heard of it for long: switched off, as far as can be known.
    Offline,
}

/// What the controller must do about a machine after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// Send its setpoint (again).
    Command,
    /// It is proven now.
    Proven,
    /// It has failed now.
    Failed,
    /// Somebody else commands it too: alarm.
    Fought,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it is.
    pub facts: Facts,
    /// What it shall do.
    pub setpoint: Setpoint,
    /// Commands sent to it so far: a receipt of an older one says nothing.
    pub attempt: u32,
    /// What is known of it.
    pub standing: Standing,
    /// At the plug: what is not yet proven off.
    pub held: Watts,
    /// The machine told us something, or a share of it came, or it connected.
    pub sign: Instant,
    /// It has a pool connection through us.
    pub connected: bool,
    /// The latest telemetry and when it came.
    pub observed: Option<(Observation, Instant)>,
    /// When it was last put off, and when last started.
    pub off_since: Option<Instant>,
    on_since: Option<Instant>,
    commanded: Instant,
    settles: Instant,
    tries: u8,
    starts: (u32, Instant),
    start: Option<Start>,
    reassertions: (u8, Instant),
    /// Shares count as evidence from then on.
    counting: Instant,
    window: Window,
    /// Shares contradicted its telemetry: until it has been silent long enough telemetry proves nothing.
    accused: bool,
    /// The last command never reached it.
    unreached: bool,
    /// It was commanded at some time: what it does is our doing.
    ours: bool,
    /// Taken up after a restart and not read since.
    unread: bool,
}

/// The latest start: when it was told, and when its answer came, which is after it had arrived.
#[derive(Clone, Copy, Debug)]
struct Start {
    attempt: u32,
    told: Instant,
    answered: Option<Instant>,
}

/// Shares since the last command or the last verdict.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    shares: u32,
    /// Allowed on average.
    allowed: f64,
    /// Of a machine at full power, on average.
    full: f64,
}

impl Machine {
    /// A machine that becomes known while it may run.
    pub fn new(now: Instant, facts: Facts, kind: &Kind) -> Self {
        Self {
            facts,
            setpoint: Setpoint::Run,
            attempt: 0,
            standing: Standing::Free,
            held: kind.model.watts,
            sign: now,
            connected: false,
            observed: None,
            off_since: None,
            on_since: None,
            commanded: now,
            settles: now,
            tries: 0,
            starts: (0, now),
            start: None,
            reassertions: (0, now),
            counting: now,
            window: Window::default(),
            accused: false,
            unreached: false,
            ours: false,
            unread: false,
        }
    }

    /// Takes up an intent of before a restart: it counts in full until it has been seen. Told `ago`.
    pub fn recover(&mut self, now: Instant, setpoint: Setpoint, ago: Duration) {
        self.ours = true;
        if setpoint == Setpoint::Run {
            return;
        }
        self.setpoint = setpoint;
        self.standing = Standing::Pending;
        let ago = ago.saturating_sub(ON_ITS_WAY);
        self.off_since = Some(now.checked_sub(ago).unwrap_or(now));
        self.settles = now + READ_BACK;
        self.counting = self.settles;
        self.tries = 0;
        self.unread = setpoint != Setpoint::Withdrawn;
    }

    /// Whether it was commanded before a restart and has not been read, nor given up, since.
    pub fn unread(&self) -> bool {
        self.unread
    }

    /// What it counts for against a limit, at the plug: the larger of what it may and what is not proven off.
    pub fn committed(&self, kind: &Kind) -> Watts {
        match self.standing {
            Standing::Offline => Watts::ZERO,
            _ => self.held.max(kind.watts(self.setpoint)),
        }
    }

    /// What it will draw if all goes well, at the plug: one that is on its way in time counts with its setpoint.
    pub fn expected(&self, kind: &Kind) -> Watts {
        match self.standing {
            Standing::Pending if self.setpoint != Setpoint::Withdrawn => kind.watts(self.setpoint),
            _ => self.committed(kind),
        }
    }

    /// Whether a command is on its way.
    pub fn moving(&self) -> bool {
        self.setpoint != Setpoint::Withdrawn
            && matches!(self.standing, Standing::Pending | Standing::Rising)
    }

    /// Whether it can be told to give (more) way.
    pub fn can_give(&self) -> bool {
        !matches!(
            self.standing,
            Standing::Failed { .. } | Standing::Late | Standing::Offline
        )
    }

    /// Whether it may be raised: known where it is, dwelt long enough, not worn for today.
    ///
    /// One that failed is let go only when `everyone` may run: until then it is counted, and not touched.
    pub fn may_rise(&self, now: Instant, law: &Law, everyone: bool) -> bool {
        let dwelt = self
            .off_since
            .is_none_or(|since| now.saturating_duration_since(since) >= law.minimum_off);
        let (starts, since) = self.starts;
        let worn = starts >= law.most_cycles_a_day && now.saturating_duration_since(since) < DAY;
        match self.setpoint {
            Setpoint::Run => false,
            Setpoint::Percent(_) => match self.standing {
                Standing::Proven => true,
                Standing::Failed { .. } => everyone,
                _ => false,
            },
            Setpoint::Withdrawn => dwelt,
            Setpoint::Off => match self.standing {
                Standing::Proven => dwelt && !worn,
                Standing::Failed { .. } => dwelt && everyone,
                _ => false,
            },
        }
    }

    /// Whether a setpoint (not a cap) may put it off.
    pub fn has_run(&self, now: Instant, law: &Law) -> bool {
        self.on_since
            .is_none_or(|since| now.saturating_duration_since(since) >= law.minimum_on)
    }

    /// Until when its latest start counts as one of the starts of this second: a second from its answer, which is no
    /// earlier than its arrival, and all the while it is on its way. Whoever is told after that arrives a second later.
    pub fn starts_until(&self) -> Option<Instant> {
        self.start.map(|start| match start.answered {
            Some(at) => at + Duration::from_secs(1),
            None => start.told + LOST,
        })
    }

    /// Starts today: the planner rotates by it.
    pub fn wear(&self) -> u32 {
        self.starts.0
    }

    /// Gives it another setpoint.
    pub fn command(&mut self, now: Instant, kind: &Kind, setpoint: Setpoint) {
        let before = self.committed(kind);
        let from = self.setpoint;
        let settle = kind.settles(from, setpoint).unwrap_or(Duration::ZERO);
        match setpoint {
            Setpoint::Off | Setpoint::Withdrawn => self.off_since = Some(now),
            Setpoint::Run | Setpoint::Percent(_)
                if matches!(from, Setpoint::Off | Setpoint::Withdrawn) =>
            {
                self.start(now);
            }
            Setpoint::Run | Setpoint::Percent(_) => {}
        }
        self.setpoint = setpoint;
        self.held = before.max(kind.watts(setpoint));
        self.standing = match setpoint {
            Setpoint::Run => Standing::Rising,
            _ => Standing::Pending,
        };
        self.tries = 0;
        self.accused = false;
        self.send(now, settle);
        if self.standing == Standing::Rising && from == Setpoint::Off {
            self.start = Some(Start {
                attempt: self.attempt,
                told: now,
                answered: None,
            });
        }
    }

    fn start(&mut self, now: Instant) {
        if now.saturating_duration_since(self.starts.1) >= DAY {
            self.starts = (0, now);
        }
        self.starts.0 += 1;
        self.on_since = Some(now);
        self.off_since = None;
    }

    fn send(&mut self, now: Instant, settle: Duration) {
        self.attempt += 1;
        self.tries += 1;
        self.commanded = now;
        self.ours = true;
        self.counting = now + settle + GRACE;
        self.settles = match self.accused {
            true => self.counting + CLEARING,
            false => self.counting,
        };
        self.window = Window::default();
    }

    /// What became of a command.
    pub fn receipt(&mut self, now: Instant, attempt: u32, receipt: Receipt, law: &Law) -> Then {
        // The answer to a later command: this start was answered, or replaced before it was sent.
        if let Some(start) = self.start.as_mut().filter(|s| attempt >= s.attempt) {
            start.answered.get_or_insert(now);
        }
        if attempt != self.attempt {
            return Then::Nothing;
        }
        self.arrived(now, receipt);
        self.unreached = receipt == Receipt::Unreachable;
        match receipt {
            Receipt::Acknowledged => self.sign = now,
            // It may have been applied: the reading back decides, at the time it was due anyway.
            Receipt::Unknown => {}
            // A start that failed still may have begun: it is counted as starting for its whole time.
            Receipt::Refused | Receipt::Unreachable if self.standing == Standing::Rising => {}
            Receipt::Refused | Receipt::Unreachable => {
                self.settles = self.settles.min(now + AGAIN);
            }
            Receipt::WrongIdentity => return self.fail(now, false, law),
        }
        Then::Nothing
    }

    /// Times that run from when a command arrived run from its answer: its way may have been long.
    fn arrived(&mut self, now: Instant, receipt: Receipt) {
        if matches!(receipt, Receipt::Unreachable | Receipt::WrongIdentity) {
            return;
        }
        if receipt == Receipt::Acknowledged {
            let way = now.saturating_duration_since(self.commanded).min(GRACE);
            self.settles += way;
            self.counting += way;
        }
        match (self.setpoint, self.standing) {
            (Setpoint::Off, _) => self.off_since = Some(now),
            (_, Standing::Rising) if self.on_since.is_some() => self.on_since = Some(now),
            _ => {}
        }
    }

    /// What the firmware says.
    pub fn observe(&mut self, now: Instant, kind: &Kind, seen: Observation, law: &Law) -> Then {
        self.observed = Some((seen, now));
        self.sign = now;
        self.unread = false;
        let gives = gives(kind, self.setpoint, &seen);
        let shown = kind
            .watts(self.setpoint)
            .max(seen.watts.unwrap_or(Watts::ZERO));
        match self.standing {
            Standing::Offline => self.back(now, kind),
            Standing::Rising if gives => {
                self.standing = Standing::Free;
                self.held = kind.watts(self.setpoint);
                Then::Nothing
            }
            Standing::Free if self.setpoint == Setpoint::Run && self.ours => {
                self.adopt(now, kind, &seen);
                Then::Nothing
            }
            Standing::Pending | Standing::Late | Standing::Failed { liar: false, .. }
                if gives && now > self.commanded && self.cleared() =>
            {
                self.standing = Standing::Proven;
                self.accused = false;
                self.held = shown;
                Then::Proven
            }
            // It was dark when it was told; now it is there.
            Standing::Failed { liar: false, .. } if self.unreached => {
                self.tries = 0;
                self.unreached = false;
                self.again(now, kind, law)
            }
            // Recovered after a restart, never commanded since, and seen to run: told again now, not after a timeout.
            Standing::Pending if self.tries == 0 && !gives => self.again(now, kind, law),
            Standing::Proven if gives => {
                self.held = shown;
                Then::Nothing
            }
            Standing::Proven => self.reassert(now, kind, law),
            _ => Then::Nothing,
        }
    }

    /// A machine that we started and that is off (or trimmed) all the same: that is what it does from now on, and it is
    /// raised as any other is, within budgets and after its minimum off.
    fn adopt(&mut self, now: Instant, kind: &Kind, seen: &Observation) {
        let is = match seen.mode {
            Mode::Off => Setpoint::Off,
            Mode::Trimmed(percent @ 1..=99) => Setpoint::Percent(percent),
            Mode::Trimmed(_) | Mode::Running | Mode::Between => return,
        };
        if !gives(kind, is, seen) {
            return;
        }
        if is == Setpoint::Off {
            self.off_since = Some(now);
        }
        self.setpoint = is;
        self.standing = Standing::Proven;
        self.window = Window::default();
        self.counting = now + GRACE;
        self.held = kind.watts(is).max(seen.watts.unwrap_or(Watts::ZERO));
    }

    /// Whether shares leave room for telemetry to be believed.
    fn cleared(&self) -> bool {
        let Window {
            shares,
            allowed,
            full,
        } = self.window;
        !self.accused
            || match self.setpoint {
                Setpoint::Off | Setpoint::Withdrawn => shares == 0 && verify::none_is_proof(full),
                Setpoint::Run | Setpoint::Percent(_) => {
                    verify::none_is_proof(full) && f64::from(shares) <= allowed
                }
            }
    }

    /// Shares of the time since the last call, and how many a machine at full power would find in it on average.
    pub fn shares(&mut self, now: Instant, kind: &Kind, shares: u32, full: f64, law: &Law) -> Then {
        if shares > 0 {
            self.sign = now;
        }
        let known = matches!(
            self.standing,
            Standing::Proven | Standing::Pending | Standing::Late
        );
        if !known || now < self.counting {
            self.window = Window::default();
            return Then::Nothing;
        }
        let allowed = match self.setpoint {
            Setpoint::Percent(percent) => f64::from(percent) / 100.0 * ALLOWANCE,
            Setpoint::Run => ALLOWANCE,
            Setpoint::Off | Setpoint::Withdrawn => 0.0,
        };
        let window = &mut self.window;
        window.shares += shares;
        window.allowed += full * allowed;
        window.full += full;
        if !verify::too_many(window.shares, window.allowed) {
            if window.full >= WINDOW {
                self.window = Window::default();
            }
            return Then::Nothing;
        }
        self.window = Window::default();
        self.held = kind.model.watts;
        let twice = std::mem::replace(&mut self.accused, true);
        match self.standing {
            Standing::Proven => self.reassert(now, kind, law),
            // Told again after the first contradiction, and still at it.
            _ if twice => {
                let said = self.says(kind);
                self.fail(now, said, law)
            }
            _ => self.again(now, kind, law),
        }
    }

    /// Whether its telemetry since the last command says that it gives what was asked.
    fn says(&self, kind: &Kind) -> bool {
        self.observed
            .is_some_and(|(seen, at)| at > self.commanded && gives(kind, self.setpoint, &seen))
    }

    /// Its pool connection came or went.
    pub fn connect(&mut self, now: Instant, kind: &Kind, connected: bool, law: &Law) -> Then {
        self.connected = connected;
        self.sign = now;
        match (self.standing, connected) {
            (Standing::Offline, true) => self.back(now, kind),
            // It rebooted, or another tool woke it: it was off and comes to mine.
            (Standing::Proven, true) if self.setpoint == Setpoint::Off => {
                self.reassert(now, kind, law)
            }
            _ => Then::Nothing,
        }
    }

    /// Time passes: what was due and is not seen is told again, then given up.
    pub fn turn(&mut self, now: Instant, kind: &Kind, law: &Law) -> Then {
        match self.standing {
            Standing::Rising if now >= self.settles => {
                self.standing = Standing::Free;
                self.held = kind.watts(self.setpoint);
                if let Some((seen, at)) = self.observed
                    && at + GRACE >= self.settles
                {
                    self.adopt(now, kind, &seen);
                }
                Then::Nothing
            }
            Standing::Pending if self.setpoint == Setpoint::Withdrawn => Then::Nothing,
            Standing::Pending | Standing::Late if now >= self.settles => self.again(now, kind, law),
            Standing::Failed { until, .. } if now >= until => {
                self.tries = 0;
                self.again(now, kind, law)
            }
            Standing::Free if self.gone(now, law) => {
                self.standing = Standing::Offline;
                Then::Nothing
            }
            _ => Then::Nothing,
        }
    }

    /// When [`Machine::turn`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        match self.standing {
            Standing::Rising | Standing::Late => Some(self.settles),
            Standing::Pending if self.setpoint != Setpoint::Withdrawn => Some(self.settles),
            Standing::Failed { until, .. } => Some(until),
            _ => None,
        }
    }

    fn gone(&self, now: Instant, law: &Law) -> bool {
        !self.connected && now.saturating_duration_since(self.sign) >= law.offline_after
    }

    /// A machine that was silent for long is heard: what it was told before still counts.
    fn back(&mut self, now: Instant, kind: &Kind) -> Then {
        self.held = kind.model.watts;
        if self.setpoint == Setpoint::Run {
            self.standing = Standing::Free;
            return Then::Nothing;
        }
        self.standing = Standing::Late;
        self.tries = 0;
        let settle = kind
            .settles(Setpoint::Run, self.setpoint)
            .unwrap_or_default();
        self.send(now, settle);
        Then::Command
    }

    fn again(&mut self, now: Instant, kind: &Kind, law: &Law) -> Then {
        let said = self.says(kind);
        if self.tries >= TRIES || (self.accused && said) {
            return self.fail(now, said, law);
        }
        self.standing = Standing::Late;
        self.held = self.held.max(kind.model.watts);
        let settle = kind
            .settles(Setpoint::Run, self.setpoint)
            .unwrap_or_default();
        self.send(now, settle);
        Then::Command
    }

    fn reassert(&mut self, now: Instant, kind: &Kind, law: &Law) -> Then {
        if now.saturating_duration_since(self.reassertions.1) >= FIGHT {
            self.reassertions = (0, now);
        }
        self.reassertions.0 += 1;
        if self.setpoint == Setpoint::Off {
            self.off_since = Some(now);
        }
        self.held = kind.model.watts;
        if self.reassertions.0 > REASSERTIONS {
            self.fail(now, false, law);
            return Then::Fought;
        }
        self.tries = 0;
        self.again(now, kind, law)
    }

    fn fail(&mut self, now: Instant, liar: bool, law: &Law) -> Then {
        self.unread = false;
        self.standing = Standing::Failed {
            until: now + law.quarantine,
            liar,
        };
        Then::Failed
    }
}

/// Whether telemetry shows a machine at (or below) its setpoint.
fn gives(kind: &Kind, setpoint: Setpoint, seen: &Observation) -> bool {
    // A trimmed one counts with what it shows; how far that may be from the table says how far tables are off.
    let part = match setpoint {
        Setpoint::Percent(_) => 10,
        _ => 20,
    };
    let slack = Watts((kind.model.watts.0 / part).max(30));
    let within = |watts: Watts| seen.watts.is_none_or(|seen| seen <= watts + slack);
    match setpoint {
        Setpoint::Run => seen.mode == Mode::Running,
        Setpoint::Off => seen.mode == Mode::Off && within(kind.model.idle),
        Setpoint::Percent(percent) => match seen.mode {
            Mode::Trimmed(at) => at <= percent && within(kind.watts(setpoint)),
            // A machine that is off draws no more than one that is trimmed.
            Mode::Off => within(kind.watts(setpoint)),
            Mode::Running | Mode::Between => false,
        },
        Setpoint::Withdrawn => false,
    }
}
