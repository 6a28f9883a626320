//! Who mines for whom: seats (lanes), leases, failover, weights, as one pure machine. Not a judge and not a protocol.
//!
//! ```text
//!   Attach ─> seats ─> Seat + Lease        Link status ─> pools ─> Lease for those who must move
//!   Work   ─> weights ─> Lease for those who should move (dwell)   sizes ─> Layout, once
//! ```
//! Invariant: the answer to a lost pool is a new lease, never a new lane.

mod io;
mod member;
mod pools;
mod seats;
#[cfg(test)]
mod tests;
mod weights;

pub use io::*;

use super::lease::{Lease, ListenerId, SessionId};
use super::link::Status;
use super::session::{Close, NoSeat};
use crate::machine::Machine;
use crate::work::{Layout, LinkId};
use member::{Member, Rate, UNKNOWN_RATE};
use pools::{Capability, Pools};
use seats::{Seating, Seats, Wish};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};
use weights::{Movable, Weights};

/// Housekeeping beat: fail-backs, hand-overs.
const TICK: Duration = Duration::from_secs(1);
/// Weights and fleet sizes are looked at this often.
const BALANCE: Duration = Duration::from_secs(10);
/// No usable pool for this long while one with too small an extranonce is there: the layout shrinks.
const SHRINK_AFTER: Duration = Duration::from_secs(30);
/// Sessions that wait for the layout; more are refused (a farm of any size fits).
const WAITING: usize = 100_000;

/// What a kind of session may be leased to.
#[derive(Debug)]
struct Options {
    links: Vec<LinkId>,
    version_mask: u32,
}

fn listener_id(at: usize) -> ListenerId {
    ListenerId(u16::try_from(at).expect("the configuration has at most 65,535 listeners"))
}

/// The machine.
#[derive(Debug)]
pub struct Router {
    config: Config,
    pools: Pools,
    seats: Option<Seats>,
    waiting: VecDeque<Wish>,
    /// In order, so that sums of rates and with them every decision are the same in every run.
    members: BTreeMap<SessionId, Member>,
    weights: Weights,
    masks: Vec<u32>,
    told_fleet: HashMap<LinkId, f64>,
    /// Hashes per second on each link, as last measured and dealt since.
    loads: HashMap<LinkId, f64>,
    outlook: Vec<Vec<LinkId>>,
    layout_due: Instant,
    poolless_since: Option<Instant>,
    next_tick: Instant,
    next_balance: Instant,
    outputs: VecDeque<Output>,
}

impl Router {
    /// Nothing is known yet.
    pub fn new(now: Instant, config: Config) -> Self {
        let mut router = Self {
            pools: Pools::new(&config),
            seats: None,
            waiting: VecDeque::new(),
            members: BTreeMap::new(),
            weights: Weights::default(),
            masks: vec![config.version_mask; config.listeners.len()],
            told_fleet: HashMap::new(),
            loads: HashMap::new(),
            outlook: Vec::new(),
            layout_due: now + config.layout_wait,
            poolless_since: None,
            next_tick: now + TICK,
            next_balance: now + BALANCE,
            outputs: VecDeque::new(),
            config,
        };
        if let Some(layout) = router.config.layout {
            router.open(layout);
        }
        router
    }

    /// Sessions that hold a seat.
    pub fn seated(&self) -> usize {
        self.members.len()
    }

    fn open(&mut self, layout: Layout) {
        self.seats = Some(Seats::new(layout, self.config.first_lane));
        self.outputs.push_back(Output::Layout(layout));
        self.outputs.push_back(Output::Event(Event::Layout(layout)));
    }

    /// Fixes the layout as soon as every pool has spoken, or when waiting is over.
    fn settle_layout(&mut self, now: Instant) {
        if self.seats.is_some() {
            return;
        }
        let sizes: Vec<Option<u8>> = self
            .pools
            .all()
            .iter()
            .map(|pool| pool.extranonce2_size())
            .collect();
        if sizes.iter().all(Option::is_some) || now >= self.layout_due {
            let fitting = sizes
                .iter()
                .flatten()
                .filter(|size| Layout::for_pool(**size).is_some())
                .min();
            let layout = fitting
                .and_then(|size| Layout::for_pool(*size))
                .unwrap_or(Layout::WIDE);
            self.open(layout);
            for wish in std::mem::take(&mut self.waiting) {
                self.seat(now, wish);
            }
        }
    }

    /// The last resort when only a pool with too small an extranonce is left: everybody reconnects once.
    fn shrink_layout(&mut self, now: Instant) {
        let usable = self.pools.all().iter().any(pools::PoolState::is_up);
        let smallest = self
            .pools
            .all()
            .iter()
            .filter(|p| p.is_excluded())
            .filter_map(|p| p.extranonce2_size())
            .min();
        let Some(layout) = smallest.and_then(Layout::for_pool).filter(|_| !usable) else {
            self.poolless_since = None;
            return;
        };
        let since = *self.poolless_since.get_or_insert(now);
        if now < since + SHRINK_AFTER || self.config.layout.is_some() || self.seats.is_none() {
            return;
        }
        self.poolless_since = None;
        self.outputs
            .push_back(Output::Event(Event::LayoutShrank(layout)));
        for session in std::mem::take(&mut self.members).into_keys() {
            self.outputs
                .push_back(Output::Close(session, Close::LayoutChanged));
        }
        self.open(layout);
    }

    fn attach(&mut self, now: Instant, wish: Wish) {
        if self.seats.is_some() {
            self.seat(now, wish);
        } else if self.waiting.len() < WAITING {
            self.waiting.push_back(wish);
        } else {
            self.outputs
                .push_back(Output::NoSeat(wish.session, NoSeat::Full));
        }
    }

    fn seat(&mut self, now: Instant, wish: Wish) {
        let Some(seats) = &mut self.seats else { return };
        match seats.seat(now, wish) {
            Seating::Evict(holder) => self
                .outputs
                .push_back(Output::Close(holder, Close::Resumed)),
            Seating::Refused(wish, why) => {
                self.outputs.push_back(Output::NoSeat(wish.session, why));
            }
            Seating::Seated(wish, seat) => {
                let Wish {
                    session,
                    listener,
                    attach,
                    ..
                } = wish;
                let miner = Capability {
                    version_mask: attach.version_mask,
                    min_bits: attach.min_bits,
                };
                let member = Member {
                    listener,
                    miner,
                    lease: Lease {
                        link: None,
                        version_mask: 0,
                    },
                    since: now,
                    fresh: 0.0,
                    rate: Rate::default(),
                };
                self.members.insert(session, member);
                let lease = self.lease(session, &self.options(now, listener, miner));
                if let Some(member) = self.members.get_mut(&session) {
                    member.lease = lease;
                }
                if let Some(link) = lease.link {
                    *self.loads.entry(link).or_default() += UNKNOWN_RATE;
                }
                self.outputs.push_back(Output::Seat(session, seat, lease));
            }
        }
    }

    fn detach(
        &mut self,
        now: Instant,
        session: SessionId,
        memory: Option<(crate::work::Lane, super::lease::LaneMemory, bool)>,
        vanished: bool,
    ) {
        self.members.remove(&session);
        self.waiting.retain(|wish| wish.session != session);
        let Some(seats) = &mut self.seats else { return };
        seats.forget(session);
        let Some((lane, memory, worked)) = memory else {
            return;
        };
        let rest = if vanished {
            self.config.rest_vanished
        } else {
            self.config.rest
        };
        if let Some(wish) = seats.leave(session, lane, memory, worked.then_some(now + rest)) {
            self.seat(now, wish);
        }
    }

    /// What a session of this kind may be leased to now.
    fn options(&self, now: Instant, listener: ListenerId, miner: Capability) -> Options {
        Options {
            links: self.pools.candidates(now, listener, miner),
            version_mask: self.pools.mask(listener, miner),
        }
    }

    /// The lease a session should have: its present link if that is still a candidate.
    fn lease(&self, session: SessionId, options: &Options) -> Lease {
        let link = match self.members[&session].lease.link {
            Some(link) if options.links.contains(&link) => Some(link),
            _ => self
                .weights
                .place(&self.loads, &options.links, |link| self.pools.share(link)),
        };
        Lease {
            link,
            version_mask: options.version_mask,
        }
    }

    /// Looks at every lease after something changed.
    fn review(&mut self, now: Instant) {
        self.tell_masks();
        self.measure_loads();
        let mut kinds: HashMap<(ListenerId, Capability), Options> = HashMap::new();
        let mut sessions: Vec<SessionId> = self.members.keys().copied().collect();
        sessions.sort_unstable();
        let mut moved: Vec<(Option<LinkId>, Option<LinkId>, usize)> = Vec::new();
        for session in sessions {
            let Member {
                listener, miner, ..
            } = self.members[&session];
            let kind = kinds
                .entry((listener, miner))
                .or_insert_with(|| self.options(now, listener, miner));
            let lease = self.lease(session, kind);
            let member = self.members.get_mut(&session).expect("listed above");
            if lease == member.lease {
                continue;
            }
            let from = member.lease.link;
            if lease.link != from {
                let rate = member.rate();
                if let Some(sum) = from.and_then(|link| self.loads.get_mut(&link)) {
                    *sum -= rate;
                }
                if let Some(link) = lease.link {
                    *self.loads.entry(link).or_default() += rate;
                }
                member.since = now;
                match moved
                    .iter_mut()
                    .find(|(a, b, _)| (*a, *b) == (from, lease.link))
                {
                    Some((_, _, miners)) => *miners += 1,
                    None => moved.push((from, lease.link, 1)),
                }
            }
            member.lease = lease;
            self.outputs.push_back(Output::Lease(session, lease));
        }
        for (from, to, miners) in moved {
            let why = self.why(from, to);
            self.outputs.push_back(Output::Event(Event::Moved {
                from,
                to,
                miners,
                why,
            }));
        }
    }

    fn tell_masks(&mut self) {
        for (at, mask) in self.masks.iter_mut().enumerate() {
            let listener = listener_id(at);
            let known = self.pools.listener_mask(listener);
            if *mask != known {
                *mask = known;
                self.outputs.push_back(Output::Mask(listener, known));
            }
        }
    }

    fn measure_loads(&mut self) {
        self.loads.clear();
        for member in self.members.values() {
            if let Some(link) = member.lease.link {
                *self.loads.entry(link).or_default() += member.rate();
            }
        }
    }

    fn why(&self, from: Option<LinkId>, to: Option<LinkId>) -> &'static str {
        let tier = |link: LinkId| self.pools.state(link).map_or(0, |state| state.pool.tier);
        match (from, to) {
            (None, Some(_)) => "a pool is up",
            (Some(_), None) => "no pool is left",
            (Some(from), Some(to)) if tier(to) < tier(from) => "failback",
            _ => "failover",
        }
    }

    /// What an undemanding miner of each listener could be leased to: when this changes by itself, a pool has become
    /// trusted again.
    fn outlook(&self, now: Instant) -> Vec<Vec<LinkId>> {
        let everyone = Capability {
            version_mask: u32::MAX,
            min_bits: 0,
        };
        let links = |at| self.pools.candidates(now, listener_id(at), everyone);
        (0..self.config.listeners.len()).map(links).collect()
    }

    fn balance(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.rate.fold(
                std::mem::take(&mut member.fresh),
                now.saturating_duration_since(member.since),
            );
        }
        self.measure_loads();
        let mut links: Vec<(LinkId, f64)> = Vec::new();
        for link in self.outlook(now).into_iter().flatten() {
            if !links.iter().any(|(known, _)| *known == link) {
                links.push((link, self.pools.share(link)));
            }
        }
        links.sort_by_key(|(link, _)| *link);
        self.weights.set_links(links);
        let mut fleet: Vec<Movable> = self
            .members
            .iter()
            .filter_map(|(session, member)| {
                Some(Movable {
                    session: *session,
                    link: member.lease.link?,
                    rate: member.rate.known().unwrap_or(0.0),
                    dwelled: now >= member.since + self.config.dwell,
                })
            })
            .collect();
        fleet.sort_unstable_by_key(|member| member.session);
        let mut miners = 0;
        for (session, to) in self.weights.moves(&fleet) {
            let Some(member) = self.members.get_mut(&session) else {
                continue;
            };
            if !self
                .pools
                .candidates(now, member.listener, member.miner)
                .contains(&to)
            {
                continue;
            }
            member.lease.link = Some(to);
            member.since = now;
            miners += 1;
            self.outputs.push_back(Output::Lease(session, member.lease));
        }
        if miners > 0 {
            let event = Event::Moved {
                from: None,
                to: None,
                miners,
                why: "weights",
            };
            self.outputs.push_back(Output::Event(event));
        }
        self.tell_fleet(&fleet);
    }

    /// Sizes every link's difficulty: for the miners it has, or would get at a failover.
    fn tell_fleet(&mut self, fleet: &[Movable]) {
        let total: f64 = fleet.iter().map(|member| member.rate).sum();
        for pool in self.pools.all() {
            let link = pool.pool.id;
            let own: f64 = fleet
                .iter()
                .filter(|member| member.link == link)
                .map(|member| member.rate)
                .sum();
            let size = if own > 0.0 { own } else { total };
            let told = self.told_fleet.entry(link).or_default();
            if size > 0.0 && (*told == 0.0 || size > *told * 1.1 || size < *told / 1.1) {
                *told = size;
                self.outputs.push_back(Output::Fleet(link, size));
            }
        }
    }

    fn work(&mut self, session: SessionId, link: LinkId, proven: u128) {
        self.weights.work(link, proven);
        if let Some(member) = self.members.get_mut(&session) {
            member.fresh += proven as f64;
        }
    }

    fn link(&mut self, now: Instant, link: LinkId, status: Status) {
        let excluded = status.excluded
            && self
                .pools
                .state(link)
                .is_some_and(|state| !state.is_excluded());
        if excluded {
            self.outputs.push_back(Output::Event(Event::Excluded(link)));
        }
        self.pools.update(now, link, status);
        self.settle_layout(now);
        self.review(now);
    }
}

impl Machine for Router {
    type Input<'a> = Input;
    type Output = Output;

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Detach {
                session,
                memory,
                vanished,
            } => self.detach(now, session, memory, vanished),
            Input::Capability {
                session,
                version_mask,
                min_bits,
            } => {
                if let Some(member) = self.members.get_mut(&session) {
                    member.miner = Capability {
                        version_mask,
                        min_bits,
                    };
                    self.review(now);
                }
            }
            Input::Work {
                session,
                link,
                proven,
            } => self.work(session, link, proven),
            Input::Link(link, status) => self.link(now, link, status),
            attach @ Input::Attach { .. } => {
                let wish = Wish::from_input(attach).expect("the arm says so");
                self.attach(now, wish);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.settle_layout(now);
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.shrink_layout(now);
            let outlook = self.outlook(now);
            if outlook != self.outlook {
                self.outlook = outlook;
                self.review(now);
            }
            let impatient = self
                .seats
                .as_mut()
                .map(|seats| seats.impatient(now))
                .unwrap_or_default();
            for wish in impatient {
                self.seat(now, wish);
            }
        }
        if now >= self.next_balance {
            self.next_balance = now + BALANCE;
            self.balance(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let layout = self.seats.is_none().then_some((self.layout_due, "layout"));
        [
            Some((self.next_tick, "tick")),
            Some((self.next_balance, "balance")),
            layout,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}
