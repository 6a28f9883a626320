//! Keeps the shares of the pools in a tier by moving leases. Not failover: it never leaves the candidates.
//!
//! Per link the controller wants `share * rate + (share * work - work_done) / HORIZON`: the instant split, corrected by
//! what the past owes. Invariant: it moves a lease only after its dwell, and only if that brings both links closer.

use crate::proxy::lease::SessionId;
use crate::work::LinkId;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How fast past imbalance is paid back: two dwell times, so that what moved is seen before it is judged again.
const HORIZON: Duration = Duration::from_secs(120);
/// A debt larger than this much of the whole fleet's work is forgiven (an outage is no reason to overload for hours).
const MOST_DEBT: Duration = Duration::from_secs(600);
/// Imbalance of the fleet's rate below which nothing moves.
const DEADBAND: f64 = 0.002;

/// A session that may be moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Movable {
    pub(super) session: SessionId,
    pub(super) link: LinkId,
    /// Hashes per second.
    pub(super) rate: f64,
    /// Its dwell is over.
    pub(super) dwelled: bool,
}

/// Work done per link since the set of links last changed.
#[derive(Debug, Default)]
pub(super) struct Weights {
    links: Vec<(LinkId, f64)>,
    done: BTreeMap<LinkId, f64>,
}

impl Weights {
    /// Notes proven work.
    pub(super) fn work(&mut self, link: LinkId, hashes: u128) {
        if let Some(done) = self.done.get_mut(&link) {
            *done += hashes as f64;
        }
    }

    /// The links that share now, with their weights. A change starts the books anew.
    pub(super) fn set_links(&mut self, links: Vec<(LinkId, f64)>) {
        if links != self.links {
            self.done = links.iter().map(|(link, _)| (*link, 0.0)).collect();
            self.links = links;
        }
    }

    /// The rate each link should have, given the fleet's.
    fn wanted(&self, fleet: f64) -> Vec<(LinkId, f64)> {
        let shares: f64 = self.links.iter().map(|(_, share)| share).sum();
        let done: f64 = self.done.values().sum();
        let cap = fleet * MOST_DEBT.as_secs_f64();
        self.links
            .iter()
            .map(|(link, share)| {
                let part = share / shares;
                let owed = (part * done - self.done[link]).clamp(-cap, cap);
                (
                    *link,
                    (part * fleet + owed / HORIZON.as_secs_f64()).clamp(0.0, fleet),
                )
            })
            .collect()
    }

    /// The link a new session brings closest to its share.
    pub(super) fn place(
        &self,
        rates: &HashMap<LinkId, f64>,
        candidates: &[LinkId],
        share: impl Fn(LinkId) -> f64,
    ) -> Option<LinkId> {
        let load = |link: LinkId| rates.get(&link).copied().unwrap_or(0.0) / share(link).max(1e-9);
        candidates
            .iter()
            .copied()
            .min_by(|a, b| load(*a).total_cmp(&load(*b)))
    }

    /// Which sessions to move where.
    pub(super) fn moves(&self, fleet: &[Movable]) -> Vec<(SessionId, LinkId)> {
        if self.links.len() < 2 {
            return Vec::new();
        }
        let total: f64 = fleet.iter().map(|member| member.rate).sum();
        let mut gaps: Vec<(LinkId, f64)> = self.wanted(total);
        for (link, gap) in &mut gaps {
            *gap -= fleet
                .iter()
                .filter(|member| member.link == *link)
                .map(|member| member.rate)
                .sum::<f64>();
        }
        let mut movable: Vec<&Movable> =
            fleet.iter().filter(|m| m.dwelled && m.rate > 0.0).collect();
        movable.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(a.session.cmp(&b.session)));
        let mut moves = Vec::new();
        for member in movable {
            let Some(&(to, short)) = gaps.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
                break;
            };
            if short <= total * DEADBAND {
                break;
            }
            let Some(over) = gaps
                .iter()
                .find(|(link, _)| *link == member.link)
                .map(|(_, gap)| -gap)
            else {
                continue;
            };
            // Moving more than the gap would turn the imbalance round.
            if to == member.link || member.rate > short.min(over) {
                continue;
            }
            for (link, gap) in &mut gaps {
                if *link == to {
                    *gap -= member.rate;
                } else if *link == member.link {
                    *gap += member.rate;
                }
            }
            moves.push((member.session, to));
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(rates: &[f64], link: LinkId) -> Vec<Movable> {
        let member = |(at, rate): (usize, &f64)| Movable {
            session: SessionId(at as u64),
            link,
            rate: *rate,
            dwelled: true,
        };
        rates.iter().enumerate().map(member).collect()
    }

    #[test]
    fn a_fleet_on_one_link_is_split_as_the_shares_say() {
        let (a, b) = (LinkId(0), LinkId(1));
        let mut weights = Weights::default();
        weights.set_links(vec![(a, 3.0), (b, 1.0)]);
        let moves = weights.moves(&fleet(&[1.0; 100], a));
        assert_eq!(moves.len(), 25);
        assert!(moves.iter().all(|(_, to)| *to == b));
    }

    #[test]
    fn a_lease_that_has_not_dwelled_stays() {
        let (a, b) = (LinkId(0), LinkId(1));
        let mut weights = Weights::default();
        weights.set_links(vec![(a, 1.0), (b, 1.0)]);
        let mut members = fleet(&[1.0; 10], a);
        members.iter_mut().for_each(|member| member.dwelled = false);
        assert!(weights.moves(&members).is_empty());
    }

    #[test]
    fn past_imbalance_is_paid_back() {
        let (a, b) = (LinkId(0), LinkId(1));
        let mut weights = Weights::default();
        weights.set_links(vec![(a, 1.0), (b, 1.0)]);
        weights.work(a, 10_000);
        let mut members = fleet(&[1.0; 100], a);
        members
            .iter_mut()
            .skip(50)
            .for_each(|member| member.link = b);
        // Even now, but b is owed 5,000 hashes: 42 more per second over the horizon.
        assert_eq!(weights.moves(&members).len(), 41);
    }
}
