//! What must hold: later looks at what was promised (I9, I10), lanes (I1), and the books at the end (I3-I6).
//!
//! Invariant: a look never changes the world, but for ending a freeze.

use crate::clock::{MS, Ns, S};
use crate::event::Ev;
use crate::heard::Heard;
use crate::world::{TURN, World};
use sluice::proxy::lease::{Issue, ResumeToken, Seat, SessionId};
use sluice::proxy::link::Status;
use sluice::proxy::router::Input;
use sluice::sim::judge::Reason;
use sluice::sim::v2::Breach;
use sluice::sim::watch::Violation;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A promise to look at later.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// A stopped pool goes on.
    Thaw(usize),
    /// A stopped pool must be found out.
    Frozen(usize, usize, Ns),
    /// Nobody is on a link that went down then.
    Failover(usize, Ns),
    /// Everybody on that channel of the link has clean work of this generation, published then; `true`: also who had just been
    /// notified. Who has a channel of its own has its own news.
    Clean((usize, u32), u64, Ns, bool),
}

/// Who holds which lane, by what the router says.
#[derive(Debug, Default)]
pub struct LaneBook {
    /// By their first lane, the last of those that are one seat's.
    live: BTreeMap<u32, (u32, usize, ResumeToken)>,
    resting: HashMap<u32, (Ns, ResumeToken)>,
}

/// Everything that is looked at over time.
#[derive(Debug, Default)]
pub struct Watch {
    looks: Vec<Look>,
    lanes: LaneBook,
    up_since: HashMap<usize, Ns>,
    pub detections: u64,
    pub failovers: u64,
    pub cleans: u64,
}

impl World {
    fn later(&mut self, at: Ns, look: Look) {
        self.watch.looks.push(look);
        self.clock.plan(at, Ev::Check(self.watch.looks.len() - 1));
    }

    pub fn froze(&mut self, at: usize, until: Ns) {
        self.later(until, Look::Thaw(at));
        if let Some(up) = self.links[at].up {
            let now = self.clock.now();
            self.later(now + S, Look::Frozen(at, up, now));
        }
    }

    pub fn work_published(&mut self, at: usize, issue: &Arc<Issue>) {
        self.books.published(at, issue);
        let before = self.links[at].published.clone();
        let Some(before) = before else { return };
        self.renewed(at, &before, issue);
        for (worker, own) in issue.own.iter().flat_map(|own| own.iter()) {
            let before = before.own.as_ref().and_then(|own| own.get(worker));
            if let Some(before) = before.filter(|b| b.work.channel == own.work.channel) {
                self.renewed(at, before, own);
            }
        }
    }

    fn renewed(&mut self, at: usize, before: &Issue, issue: &Issue) {
        let now = self.clock.now();
        let (generation, from) = (issue.work.generation, (at, issue.work.channel));
        if before.work.generation < generation {
            self.later(now + 2 * TURN, Look::Clean(from, generation, now, false));
            self.later(
                now + 250 * MS + 3 * TURN,
                Look::Clean(from, generation, now, true),
            );
        }
    }

    pub fn status_changed(&mut self, at: usize, status: &Status) {
        let now = self.clock.now();
        let was_up = self.links[at].is_up();
        match (was_up, status.up) {
            (false, true) => {
                self.watch.up_since.insert(at, now);
            }
            (true, false) => {
                self.watch.up_since.remove(&at);
                self.watch.detections += 1;
                self.later(now + 5 * S, Look::Failover(at, now));
            }
            _ => {}
        }
    }

    pub fn look(&mut self, at: usize) {
        match self.watch.looks[at] {
            Look::Thaw(pool) => self.thaw(pool),
            Look::Frozen(link, up, since) => self.look_frozen(link, up, since),
            Look::Failover(link, since) => self.look_failover(link, since),
            Look::Clean(from, generation, at, all) => self.look_clean(from, generation, at, all),
        }
    }

    /// I10: found out within 20 s of the first share that goes unanswered.
    fn look_frozen(&mut self, link: usize, up: usize, since: Ns) {
        let now = self.clock.now();
        if !self.pools[link].frozen || self.links[link].up != Some(up) {
            return;
        }
        let first = self.links[link].tap.unanswered_since();
        if first.is_some_and(|first| now > first.max(since) + 20 * S) {
            return self.fail(format!("pool {link} froze and was not found out"));
        }
        self.later(now + S, Look::Frozen(link, up, since));
    }

    /// I10: five seconds after detection, every miner that can is elsewhere.
    fn look_failover(&mut self, link: usize, since: Ns) {
        if self.links[link].is_up() || self.ending {
            return;
        }
        self.watch.failovers += 1;
        let standing: Vec<(usize, u32)> = self
            .watch
            .up_since
            .iter()
            .filter(|(_, up)| **up <= since)
            .map(|(at, _)| {
                (
                    *at,
                    self.links[*at]
                        .status
                        .as_ref()
                        .and_then(|s| s.version_mask)
                        .unwrap_or(0),
                )
            })
            .collect();
        let mut left = Vec::new();
        for conn in self.conns.iter().flatten().filter(|conn| conn.live) {
            let miner = &self.miners[conn.miner].core;
            let could = standing.iter().any(|(_, mask)| miner.can_mine_with(*mask));
            if conn.left || conn.tainted || conn.parked.is_some() || !could {
                continue;
            }
            for held in &conn.held {
                let Some(heard) = conn.heard(held) else {
                    continue;
                };
                let since_before = heard.since.is_some_and(|at| at < since);
                let still = held.follow == Some(link)
                    || heard.last_job.is_some_and(|(_, _, of)| of == link);
                if since_before && still {
                    left.push(conn.miner);
                }
            }
        }
        if !left.is_empty() {
            self.fail(format!(
                "5 s after pool {link} was lost, miners {left:?} are still on its work"
            ));
        }
    }

    /// I9: clean work leaves within one turn, for who had a notify a moment ago within the gap.
    fn look_clean(&mut self, (link, of): (usize, u32), generation: u64, since: Ns, all: bool) {
        if self.ending {
            return;
        }
        self.watch.cleans += 1;
        let mut late = Vec::new();
        for conn in self.conns.iter().flatten().filter(|conn| conn.live) {
            let held_up = conn.parked.is_some() || conn.blocked_since.is_some();
            if conn.left || conn.tainted || held_up {
                continue;
            }
            for held in &conn.held {
                let leased = held.lease.is_some_and(|(at, of)| of == link && at < since);
                let heard = conn.heard(held).filter(|_| leased);
                let ready = |heard: &&Heard| heard.since.is_some_and(|at| at < since);
                let last = heard.filter(ready).and_then(|heard| heard.last_job);
                let Some((at, work, _)) = last else {
                    continue;
                };
                if !all && at < since && at + 250 * MS > since {
                    continue;
                }
                let known = &self.books.works[&work];
                let has_own_news = known.link == link && known.channel != of;
                if has_own_news || (of != 0 && known.link != link) {
                    continue;
                }
                if known.link != link || known.generation < generation {
                    late.push(conn.miner);
                }
            }
        }
        if !late.is_empty() {
            self.fail(format!(
                "clean work {generation} of pool {link} has not reached miners {late:?} ({all})"
            ));
        }
    }

    /// I1, as the router gives seats.
    pub fn note_seat(&mut self, session: SessionId, seat: &Seat) {
        let now = self.clock.now();
        let (lane, token) = (seat.lane.0, seat.token);
        let last = lane | ((1u64 << (8 * seat.width)) - 1) as u32;
        if let Some((until, before)) = self.watch.lanes.resting.remove(&lane)
            && now < until
            && before != token
            && seat.memory.sent.is_empty()
        {
            self.fail(format!("lane {lane:x} was given out while it rests"));
        }
        let live = &mut self.watch.lanes.live;
        let below = live.range(..=last).next_back();
        let before = below.filter(|(_, (end, ..))| *end >= lane);
        let before = before.map(|(_, (_, holder, _))| *holder);
        live.insert(lane, (last, session.0 as usize, token));
        if let Some(holder) = before {
            self.fail(format!(
                "lane {lane:x} has two holders, {holder} and {}",
                session.0
            ));
        }
    }

    pub fn note_router_input(&mut self, input: &Input) {
        let Input::Detach {
            session,
            memory: Some((lane, _, worked)),
            vanished,
        } = input
        else {
            return;
        };
        let now = self.clock.now();
        match self.watch.lanes.live.remove(&lane.0) {
            Some((_, holder, token)) if holder == session.0 as usize => {
                let rest = if *vanished { 600 * S } else { 120 * S };
                if *worked {
                    self.watch.lanes.resting.insert(lane.0, (now + rest, token));
                }
            }
            _ => self.fail(format!(
                "session {} gives back lane {:x}, which is not its",
                session.0, lane.0
            )),
        }
    }

    /// The end: everything adds up.
    pub fn close_books(&mut self) {
        self.judged_side();
        for at in 0..self.links.len() {
            self.pool_side(at);
        }
        self.miner_side();
    }

    fn judged_side(&mut self) {
        for conn in self.conns.iter_mut().flatten().filter(|conn| conn.live) {
            for seen in conn.wire.last_observations() {
                self.books.judged.merge(&seen.judged);
            }
        }
        let judged = self.books.judged.clone();
        let books = &self.books;
        let claims = [
            (judged.conserves(), "I6: judged does not conserve"),
            (
                judged.received.shares == books.submits_read,
                "received is not what was read",
            ),
            (
                judged.accepted.shares == books.accepted,
                "accepted is not what was answered",
            ),
            (
                judged.accepted.hashes == books.accepted_weight,
                "the weight of the accepted is wrong",
            ),
            (
                books.homeless == books.homeless_answered,
                "I8: shares for channels that are over went unanswered",
            ),
        ];
        let facts = format!(
            "read {} accepted {} weight {}; {judged:?}",
            books.submits_read, books.accepted, books.accepted_weight
        );
        for (holds, words) in claims {
            if !holds {
                self.fail(format!("{words}: {facts}"));
            }
        }
        let dropped: u64 = judged.dropped.iter().map(|w| w.shares).sum();
        let links: u64 = self
            .links
            .iter()
            .map(|link| link.machine.settled())
            .map(|s| s.submitted.shares + s.dropped.iter().map(|w| w.shares).sum::<u64>())
            .sum();
        let expected: usize = self.books.expected.iter().map(|set| set.len()).sum();
        if self.books.watched && judged.forwarded.shares + dropped != expected as u64 {
            self.fail(format!(
                "I4: {expected} shares met their pool's target, forwarded {} dropped {dropped}",
                judged.forwarded.shares
            ));
        }
        let weight: u128 = self.books.expected_weight.iter().sum();
        let handed =
            judged.forwarded.hashes + judged.dropped.iter().map(|w| w.hashes).sum::<u128>();
        if self.books.watched && weight != handed {
            self.fail(format!(
                "I4: the weight for pools is {weight}, handed over {handed}"
            ));
        }
        if judged.forwarded.shares != links {
            self.fail(format!(
                "I4: forwarded {} and links saw {links}",
                judged.forwarded.shares
            ));
        }
    }

    fn pool_side(&mut self, at: usize) {
        let settled = self.links[at].machine.settled().clone();
        let stats = self.pools[at].core.stats();
        let books = &self.books;
        let ends = books.ends[at];
        let rejected: u64 = settled.rejected.iter().map(|w| w.shares).sum();
        let foreign = books.written[at].difference(&books.expected[at]).count();
        // What was under way when it closed our channel was refused, and why is looked at in `tap`.
        let homeless = stats.rejected_for(Reason::Unauthorized);
        let homeless = if self.plan.pools[at].v2.is_some() {
            homeless
        } else {
            0
        };
        let late = stats.rejected_for(Reason::Stale) + homeless;
        let claims = [
            (settled.conserves(), "I6: settled does not conserve"),
            (
                settled.in_flight.shares == 0,
                "something is still in flight",
            ),
            (
                settled.submitted.shares == books.written_count[at],
                "submitted is not what was written",
            ),
            (
                settled.accepted.shares == ends.accepted && rejected == ends.rejected,
                "ends are not told",
            ),
            (
                settled.unknown.shares == ends.unknown,
                "unknown ends are not told",
            ),
            (
                settled.accepted.shares <= stats.accepted,
                "more accepted than the pool did",
            ),
            (
                settled.accepted.shares + settled.unknown.shares >= stats.accepted,
                "the pool accepted more than it was sent",
            ),
            (
                !books.watched || foreign == 0,
                "I5: shares that no miner was credited for",
            ),
            (
                stats.rejected_total() == late,
                "the pool refused honest shares",
            ),
            (
                stats.received == books.pool_received[at],
                "the pool's own count is off",
            ),
        ];
        let facts = format!(
            "link {at}: {settled:?} written {} {ends:?} foreign {foreign}; pool received {} accepted {} {:?}",
            books.written_count[at], stats.received, stats.accepted, stats.rejected
        );
        for (holds, words) in claims {
            if !holds {
                self.fail(format!("{words}: {facts}"));
            }
        }
    }

    /// TCP loses nothing but the end: what a pool read is a beginning of what its link wrote, all of it while both live.
    fn wires(&mut self) {
        let none = Vec::new();
        for id in 0..self.ups.len() {
            let written = self.books.written_ids.get(&id).unwrap_or(&none);
            let read = self.books.read_ids.get(&id).unwrap_or(&none);
            let cut = self.ups[id]
                .as_ref()
                .is_none_or(|up| up.orphan || up.closed);
            let counts = (written.len(), read.len());
            if !written.starts_with(read) || (!cut && counts.0 != counts.1) {
                self.fail(format!(
                    "connection {id}: written and read shares are {counts:?}"
                ));
            }
        }
    }

    fn miner_side(&mut self) {
        self.wires();
        for at in 0..self.miners.len() {
            let (stats, tainted) = (
                self.miners[at].core.stats().clone(),
                self.miners[at].tainted,
            );
            let sum = stats.accepted + stats.rejected_total() + stats.unanswered;
            if stats.submitted != sum {
                self.fail(format!(
                    "miner {at}: {} submitted, {sum} ended",
                    stats.submitted
                ));
            }
            for (violation, count) in &stats.violations {
                let forgiven = match violation {
                    Violation::HungUp | Violation::Silence => tainted,
                    // Each share may wait two seconds for a pool that does not read, and the answers behind it.
                    Violation::ReplyMissing => tainted || self.books.parked > 0,
                    Violation::V2(Breach::ChannelClosed) => self.books.channels_closed,
                    // The same difficulty again breaks a silence when there is no work; changes are watched in `tap`.
                    Violation::DifficultyWithoutNotify => true,
                    _ => false,
                };
                if !forgiven {
                    self.fail(format!("miner {at} saw {count} x {}", violation.words()));
                }
            }
        }
    }
}
