//! Who is believed, and what is in force: the fence per source, the lives of orders, the liveness of sources.
//!
//! Not what the orders add up to (`timeline.rs`). Invariants: of a source, only an (epoch, seq) above the last one taken
//! is acted on, and the same one with the same bytes is answered again, never acted on twice; leases and deadlines are
//! `Instant`s from the moment of acceptance, so a wall clock that jumps extends none.
//!
//! ```text
//!   taken ──> in force ──> ended (ends_at, release) ──> forgotten
//!                 └──> expired (lease ran out): still holds, until its source is heard again or an operator ends it
//! ```

use super::{
    Wall, Watts,
    signal::{Ask, Envelope, Refusal, Scope},
    site::{Site, Source},
    view::{Liveness, OrderState, SourceStatus},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Answers of one source that are remembered for repeats: more than a sender retries within a lease.
const REMEMBERED: usize = 64;
/// The id under which a sign of life is remembered.
pub const HEARTBEAT: &str = "heartbeat";
/// Missed heartbeats after which nothing is raised (CURTAILMENT.md section 5).
const MISSED: u32 = 3;
/// A cap below this part of the nameplate, and not zero, is taken for kilowatts sent as watts.
const IMPLAUSIBLE_PART: i64 = 500;
/// A wish above this many times the site is taken for milliwatts.
const IMPLAUSIBLE_TIMES: i64 = 10;
/// Longest lease or lead that is believed.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// SHA-256 of the bytes that were signed, as the transport computed it.
pub type Digest = [u8; 32];

/// An order in force. Serialized, it is what a restart needs: times as the outside wrote them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its number; `o-<n>` outside.
    pub n: u64,
    /// As sent.
    pub envelope: Envelope,
    /// When it was taken.
    pub accepted_at: Wall,
    /// What mining drew in its scope then, at the meter: where a ramp and a relative order start.
    pub from: Watts,
    /// Where it stands.
    pub state: OrderState,
    /// When it was first proven.
    pub proven_at: Option<Wall>,
    /// `accepted_at` on the machine's own clock.
    #[serde(skip)]
    pub accepted: Option<Instant>,
    /// End of a renewed lease on the machine's own clock: the wall clock may have jumped since acceptance.
    #[serde(skip)]
    pub renewed: Option<Instant>,
}

impl Order {
    /// `o-<n>`.
    pub fn id(&self) -> String {
        format!("o-{}", self.n)
    }

    /// How long after acceptance it must be kept.
    pub fn allowed(&self, site: &Site) -> Duration {
        let class = usize::from(self.envelope.class).min(site.law.deadlines.len() - 1);
        self.envelope.deadline.unwrap_or(site.law.deadlines[class])
    }

    /// When it must be kept.
    pub fn deadline(&self, site: &Site) -> Instant {
        self.start() + self.allowed(site)
    }

    /// The bound in watts it asks for once it is fully reached.
    pub fn watts(&self) -> Watts {
        match self.envelope.ask {
            Ask::Cap(watts) | Ask::Setpoint(watts) => watts,
            Ask::Relative(less) => (self.from - less).at_least_zero(),
            Ask::Reserve(_) | Ask::Price(_) | Ask::Release(_) => Watts::UNLIMITED,
        }
    }

    /// The bound on its way: a wished ramp is followed from where mining was.
    pub fn bound(&self, now: Instant) -> Watts {
        let Some(ramp) = self.envelope.ramp_watts_per_s else {
            return self.watts();
        };
        let gone = now.saturating_duration_since(self.start()).as_millis();
        let down = i128::from(ramp.0) * i128::try_from(gone).unwrap_or(i128::MAX / 2) / 1000;
        let down = Watts(i64::try_from(down).unwrap_or(i64::MAX));
        self.watts().max(self.from - down)
    }

    /// Whether it is an emergency stop: only an operator ends it.
    pub fn is_stop(&self) -> bool {
        self.envelope.class == 0 && self.envelope.ask == Ask::Cap(Watts::ZERO)
    }

    /// Whether it still binds: an expired one does, until its source is heard again.
    pub fn holds(&self) -> bool {
        !matches!(self.state, OrderState::Ended)
    }

    /// Planned end on the machine's own clock.
    pub fn ends(&self) -> Option<Instant> {
        self.envelope.ends_at.map(|at| self.at(at))
    }

    /// End of the lease on the machine's own clock.
    pub fn expires(&self) -> Instant {
        self.renewed
            .unwrap_or_else(|| self.at(self.envelope.expires_at))
    }

    /// Moves the end of the lease. `wall` is the time now.
    pub fn renew(&mut self, now: Instant, wall: Wall, expires_at: Wall) {
        let end = now + span(wall, expires_at);
        // A renewal that comes late, or again, shortens nothing.
        if end > self.expires() {
            self.envelope.expires_at = expires_at;
            self.renewed = Some(end);
        }
    }

    fn start(&self) -> Instant {
        self.accepted.expect("set when taken and when recovered")
    }

    fn at(&self, wall: Wall) -> Instant {
        self.start() + span(self.accepted_at, wall)
    }
}

/// Milliseconds from one wall time to another, never negative, never absurd.
pub(super) fn span(from: Wall, to: Wall) -> Duration {
    let millis = u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
    Duration::from_millis(millis).min(LONGEST)
}

/// What is remembered of a source over restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fence {
    /// Highest epoch taken.
    pub epoch: u64,
    /// Highest sequence number taken in it.
    pub seq: u64,
    /// The latest answers: epoch, seq, digest, the id they were given.
    pub answers: VecDeque<(u64, u64, Digest, String)>,
}

/// What the fence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// New: act on it.
    New,
    /// Taken before under this id: answer again, do nothing.
    Repeat(String),
}

#[derive(Debug)]
struct Heard {
    source: Source,
    fence: Fence,
    at: Option<Instant>,
    /// A lease of it ran out and nothing was heard since.
    lapsed: bool,
}

/// Orders in force and the sources that may send them.
#[derive(Debug)]
pub struct Orders {
    sources: BTreeMap<String, Heard>,
    /// In force or lately ended, by number.
    pub all: BTreeMap<u64, Order>,
    next: u64,
}

/// Ended orders that are still shown.
const SHOWN: usize = 64;

impl Orders {
    /// No orders; the sources of `site`.
    pub fn new(site: &Site) -> Self {
        let heard = |source: &Source| Heard {
            source: source.clone(),
            fence: Fence::default(),
            at: None,
            lapsed: false,
        };
        Self {
            sources: site
                .sources
                .iter()
                .map(|source| (source.name.clone(), heard(source)))
                .collect(),
            all: BTreeMap::new(),
            next: 1,
        }
    }

    /// The next number for an order or a reservation.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Everything that can be checked before the fence, in a fixed order: who, for whom, when.
    pub fn check(
        &self,
        site: &Site,
        wall: Wall,
        envelope: &Envelope,
        nameplate: Watts,
    ) -> Result<(), Refusal> {
        let source = self.source(&envelope.source)?;
        if envelope.audience != site.name {
            return Err(Refusal::WrongAudience);
        }
        if envelope.class > 3 || envelope.class < source.source.most_urgent {
            return Err(Refusal::ClassNotAllowed);
        }
        let skew = i64::try_from(site.law.skew.as_millis()).unwrap_or(i64::MAX);
        if envelope.class > 0 && envelope.issued_at.0.saturating_sub(wall.0).saturating_abs() > skew
        {
            // Late delivery looks the same as a slow clock, and is as dangerous.
            return Err(match envelope.expires_at.0 <= wall.0 {
                true => Refusal::Expired,
                false => Refusal::ClockSkew,
            });
        }
        let over = |at: Option<Wall>| at.is_some_and(|at| at.0 <= wall.0);
        if over(Some(envelope.expires_at)) || over(envelope.ends_at) {
            return Err(Refusal::Expired);
        }
        self.check_ask(site, envelope, nameplate)
    }

    fn check_ask(&self, site: &Site, envelope: &Envelope, nameplate: Watts) -> Result<(), Refusal> {
        let known = site.has(&envelope.scope);
        let part = matches!(envelope.scope, Scope::Feeder(_) | Scope::Group(_));
        let whole_only = matches!(envelope.ask, Ask::Setpoint(_) | Ask::Reserve(_));
        if !known || (part && whole_only) {
            return Err(Refusal::UnknownScope);
        }
        let ceiling =
            Watts(site.limit.min(Watts(i64::MAX / 64)).max(nameplate).0 * IMPLAUSIBLE_TIMES);
        let watts = match envelope.ask {
            Ask::Price(_) => return Err(Refusal::Unsupported),
            Ask::Release(_) => return Ok(()),
            Ask::Cap(watts) | Ask::Setpoint(watts) => {
                if !part && watts > Watts::ZERO && watts.0 < nameplate.0 / IMPLAUSIBLE_PART {
                    return Err(Refusal::ImplausibleWatts);
                }
                watts
            }
            Ask::Relative(watts) | Ask::Reserve(watts) => watts,
        };
        match watts > ceiling || watts < Watts::ZERO {
            true => Err(Refusal::ImplausibleWatts),
            false => Ok(()),
        }
    }

    /// Whether (epoch, seq) is new. Changes nothing: [`Orders::pass`] does, once the order is taken.
    pub fn fence(
        &self,
        source: &str,
        epoch: u64,
        seq: u64,
        digest: &Digest,
    ) -> Result<Passage, Refusal> {
        let fence = &self.source(source)?.fence;
        let before = fence
            .answers
            .iter()
            .find(|answer| (answer.0, answer.1) == (epoch, seq));
        if let Some((_, _, bytes, id)) = before {
            return match bytes == digest {
                true => Ok(Passage::Repeat(id.clone())),
                false => Err(Refusal::SequenceConflict),
            };
        }
        match (epoch, seq) {
            (epoch, _) if epoch < fence.epoch => Err(Refusal::FencedEpoch),
            at if at <= (fence.epoch, fence.seq) => Err(Refusal::StaleSequence),
            _ => Ok(Passage::New),
        }
    }

    /// Moves the fence past an order that was taken. Returns the fence to be made durable.
    pub fn pass(&mut self, envelope: (&str, u64, u64), digest: Digest, id: &str) -> Fence {
        let (source, epoch, seq) = envelope;
        let heard = self.sources.get_mut(source).expect("checked");
        let fence = &mut heard.fence;
        (fence.epoch, fence.seq) = (epoch, seq);
        // Signs of life come by the thousand: only the latest is kept, so that they push out no order's answer.
        fence.answers.retain(|answer| answer.3 != HEARTBEAT);
        if fence.answers.len() == REMEMBERED {
            fence.answers.pop_front();
        }
        fence.answers.push_back((epoch, seq, digest, id.to_owned()));
        fence.clone()
    }

    /// A sign of life of `source`: it is live again, and what had expired meanwhile ends now. Returns the numbers of those.
    pub fn hear(&mut self, now: Instant, source: &str) -> Vec<u64> {
        if let Some(heard) = self.sources.get_mut(source) {
            heard.at = Some(now);
            heard.lapsed = false;
        }
        let expired = |order: &&mut Order| {
            order.envelope.source == source && order.state == OrderState::Expired
        };
        let end = |order: &mut Order| {
            order.state = OrderState::Ended;
            order.n
        };
        self.all.values_mut().filter(expired).map(end).collect()
    }

    /// Puts back what a restart found. `wall` is the time now; leases run on as they would have.
    pub fn recover(&mut self, now: Instant, wall: Wall, mut order: Order) {
        let ago = span(order.accepted_at, wall);
        // A clock that went back cannot lengthen a lease: then it runs from now.
        order.accepted = Some(now.checked_sub(ago).unwrap_or(now));
        self.next = self.next.max(order.n + 1);
        if let Some(heard) = self.sources.get_mut(&order.envelope.source) {
            if order.holds() {
                heard.at.get_or_insert(now);
            }
            heard.lapsed |= order.state == OrderState::Expired;
        }
        self.all.insert(order.n, order);
    }

    /// Puts back the fence of a source.
    pub fn recover_fence(&mut self, source: &str, fence: Fence) {
        if let Some(heard) = self.sources.get_mut(source) {
            heard.fence = fence;
        }
    }

    /// Lets no number be given twice.
    pub fn at_least(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Ends what is over. Returns the numbers of orders whose state changed.
    pub fn turn(&mut self, now: Instant) -> Vec<u64> {
        let mut changed = Vec::new();
        for order in self.all.values_mut() {
            let next = match order.state {
                OrderState::Ended => continue,
                _ if order
                    .ends()
                    .is_some_and(|at| at <= now && at <= order.expires()) =>
                {
                    OrderState::Ended
                }
                OrderState::Expired => continue,
                _ if order.expires() <= now => OrderState::Expired,
                _ => continue,
            };
            order.state = next;
            changed.push(order.n);
            if next == OrderState::Expired
                && let Some(heard) = self.sources.get_mut(&order.envelope.source)
            {
                heard.lapsed = true;
            }
        }
        self.forget();
        changed
    }

    /// Ends order `n` by hand. With the last one whose lease ran out its source is no longer lost.
    pub fn end(&mut self, n: u64) -> bool {
        let Some(order) = self.all.get_mut(&n).filter(|order| order.holds()) else {
            return false;
        };
        order.state = OrderState::Ended;
        let source = order.envelope.source.clone();
        let expired = self
            .in_force()
            .any(|of| of.envelope.source == source && of.state == OrderState::Expired);
        if let (false, Some(heard)) = (expired, self.sources.get_mut(&source)) {
            heard.lapsed = false;
        }
        true
    }

    fn forget(&mut self) {
        let ended: Vec<u64> = self
            .all
            .values()
            .filter(|o| !o.holds())
            .map(|o| o.n)
            .collect();
        for n in ended.iter().take(ended.len().saturating_sub(SHOWN)) {
            self.all.remove(n);
        }
    }

    /// Orders that bind.
    pub fn in_force(&self) -> impl Iterator<Item = &Order> {
        self.all.values().filter(|order| order.holds())
    }

    /// The worst that is true of any source with something at stake.
    pub fn liveness(&self, now: Instant) -> Liveness {
        let worst = |a: Liveness, b: Liveness| if rank(b) > rank(a) { b } else { a };
        self.sources
            .values()
            .map(|heard| self.state(now, heard))
            .fold(Liveness::Quiet, worst)
    }

    /// Every source as it is heard.
    pub fn sources(&self, now: Instant) -> Vec<SourceStatus> {
        let status = |(name, heard): (&String, &Heard)| SourceStatus {
            name: name.clone(),
            state: self.state(now, heard),
            age_s: heard
                .at
                .map(|at| now.saturating_duration_since(at).as_secs_f64()),
        };
        self.sources.iter().map(status).collect()
    }

    /// When the liveness of a source changes next by itself, or an order ends.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let orders = self.in_force().flat_map(|order| {
            let lease = (order.state != OrderState::Expired).then(|| order.expires());
            [order.ends(), lease].into_iter().flatten()
        });
        let sources = self.sources.values().flat_map(|heard| {
            let beat = heard.source.heartbeat.zip(heard.at);
            beat.into_iter()
                .flat_map(|(every, at)| [at + silence(every), at + heard.source.dead_after])
        });
        orders.chain(sources).filter(|at| *at > now).min()
    }

    fn state(&self, now: Instant, heard: &Heard) -> Liveness {
        if heard.lapsed {
            return Liveness::Lost;
        }
        let stake = self
            .in_force()
            .any(|order| order.envelope.source == heard.source.name);
        match (heard.at, heard.source.heartbeat) {
            (None, _) => Liveness::Quiet,
            (Some(_), None) => Liveness::Live,
            (Some(at), Some(every)) => match now.saturating_duration_since(at) {
                age if age >= heard.source.dead_after && stake => Liveness::Lost,
                age if age >= silence(every) && stake => Liveness::Hold,
                age if age >= silence(every) => Liveness::Quiet,
                _ => Liveness::Live,
            },
        }
    }

    fn source(&self, name: &str) -> Result<&Heard, Refusal> {
        self.sources.get(name).ok_or(Refusal::UnknownSource)
    }
}

/// Silence after which nothing is raised: three beats, less what a clock and a network may be off by, so that the third is
/// answered by HOLD when it is due and not after.
fn silence(every: Duration) -> Duration {
    every * MISSED - every / 10
}

fn rank(state: Liveness) -> u8 {
    match state {
        Liveness::Quiet => 0,
        Liveness::Live => 1,
        Liveness::Hold => 2,
        Liveness::Lost => 3,
    }
}
