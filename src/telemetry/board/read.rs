//! Reading the board: snapshots for the API, lines for the log. Changes nothing but the wave counters.
//! Invariant: a snapshot holds one account's lock at a time, and never while it formats a page.

use super::{Board, Miner, PoolCard, SubmitSeconds, lock};
use crate::proxy::lease::SessionId;
use crate::proxy::session::Close;
use crate::proxy::tally::{Drop as Dropped, Judged, Reject, Weighted};
use crate::telemetry::counters::{PoolState, RefusedConnection};
use crate::telemetry::units;
use crate::telemetry::view::{self, HASHES_PER_DIFFICULTY, Rates, Reasons, Sum};
use crate::work::LinkId;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The labels of a pool's reasons, in the order of `RefusalKind`.
pub(super) const REFUSALS: [&str; 6] = [
    "stale",
    "duplicate",
    "low_difficulty",
    "unauthorized",
    "not_subscribed",
    "other",
];

/// Fewer miners coming and going in a minute are not worth a line, whatever the size of the site.
const WAVE_MIN: u64 = 20;
/// Nor are fewer than one in twenty of those connected.
const WAVE_PART: u64 = 20;

impl Board {
    /// Seconds since the board was made.
    pub fn uptime_seconds(&self, now: Instant) -> f64 {
        elapsed(self.started, now)
    }

    /// Miners connected.
    pub fn miner_count(&self) -> usize {
        self.miners.len()
    }

    /// I6 over every account: listeners, workers, pools.
    pub fn conserves(&self) -> bool {
        self.listeners
            .iter()
            .all(|(_, totals)| lock(totals).judged.conserves())
            && self.workers.iter().all(|worker| worker.judged.conserves())
            && self
                .pools
                .iter()
                .all(|pool| lock(&pool.state).settled.conserves())
            && lock(&self.strays).conserves()
    }

    /// One page of the connected miners whose worker name contains `worker`, by age; and how many there are in all.
    pub fn miners(
        &self,
        worker: &str,
        offset: usize,
        limit: usize,
        now: Instant,
    ) -> (Vec<view::Miner>, usize) {
        let matches = |miner: &Miner| {
            worker.is_empty() || miner.worker.as_ref().is_some_and(|w| w.contains(worker))
        };
        let mut ids: Vec<SessionId> = self
            .miners
            .iter()
            .filter(|entry| matches(entry.value()))
            .map(|entry| *entry.key())
            .collect();
        ids.sort_unstable();
        let page = ids.iter().skip(offset).take(limit);
        let miners = page
            .filter_map(|id| Some(self.miner(*id, self.miners.get(id)?.value(), now)))
            .collect();
        (miners, ids.len())
    }

    fn miner(&self, id: SessionId, miner: &Miner, now: Instant) -> view::Miner {
        let text = |text: &std::sync::Arc<str>| text.to_string();
        let activity = miner.activity.as_deref();
        view::Miner {
            id: id.0,
            listener: self.listener_name(usize::from(miner.listener.0)),
            peer: miner.peer.to_string(),
            worker: miner.worker.as_ref().map(text),
            protocol: if miner.is_v2 { "V2" } else { "V1" }.to_owned(),
            agent: miner.agent.as_ref().map(text),
            lane: miner.lane.map(|lane| format!("{:08x}", lane.0)),
            resumed: miner.resumed,
            pool: miner
                .link
                .and_then(|link| self.pools.get(usize::from(link.0)))
                .map(|pool| pool.card.name.clone()),
            difficulty: miner.difficulty.map(|difficulty| difficulty.value()),
            version_mask: miner.version_mask.map(|mask| format!("{mask:08x}")),
            connected_seconds: elapsed(miner.since, now),
            last_share_seconds: activity.map(|a| elapsed(a.last_share, now)),
            accepted: activity.map_or(0, |a| a.accepted),
            rejected: activity.map_or(0, |a| a.rejected.iter().sum()),
            reasons: activity.map_or_else(Reasons::new, |a| {
                reasons(Reject::ALL.iter().map(|r| r.label()).zip(a.rejected))
            }),
            hashrate: activity.map_or_else(Rates::default, |a| a.rate.rates(now).into()),
        }
    }

    fn listener_name(&self, at: usize) -> String {
        self.listeners
            .get(at)
            .map_or_else(String::new, |(name, _)| name.clone())
    }

    /// Every listener, in the order of the configuration.
    pub fn listeners(&self, now: Instant) -> Vec<view::Listener> {
        self.listeners
            .iter()
            .map(|(name, totals)| {
                let totals = lock(totals);
                let judged = &totals.judged;
                view::Listener {
                    name: name.clone(),
                    connections: totals.connections,
                    received: judged.received.into(),
                    accepted: judged.accepted.into(),
                    rejected: sum(&*judged.rejected),
                    reasons: reject_reasons(judged),
                    forwarded: judged.forwarded.into(),
                    dropped: drop_reasons(&judged.dropped),
                    closed: reasons(Close::ALL.iter().map(|c| c.label()).zip(totals.closed)),
                    under_credit_difficulty: judged.under_credit_hashes as f64
                        / HASHES_PER_DIFFICULTY,
                    blocks: judged.blocks,
                    hashrate: totals.rate.rates(now).into(),
                }
            })
            .collect()
    }

    /// The whole ledger of every listener, for metrics that need work by reason.
    pub fn judged(&self) -> Vec<(&str, Judged)> {
        self.listeners
            .iter()
            .map(|(name, totals)| (name.as_str(), lock(totals).judged.clone()))
            .collect()
    }

    /// Every pool, in the order of the configuration.
    pub fn pools(&self, now: Instant) -> Vec<view::Pool> {
        let mut leases = vec![0; self.pools.len()];
        for miner in &self.miners {
            let link = miner.link.map(|link| usize::from(link.0));
            if let Some(count) = link.and_then(|link| leases.get_mut(link)) {
                *count += 1;
            }
        }
        self.pools
            .iter()
            .zip(leases)
            .map(|(pool, leases)| pool_view(&pool.card, &mut lock(&pool.state), leases, now))
            .collect()
    }

    /// Names of the pools, in the order of their `LinkId`.
    pub fn pool_names(&self) -> impl Iterator<Item = (LinkId, &str)> {
        let numbered = (0..).map(LinkId).zip(&self.pools);
        numbered.map(|(id, pool)| (id, pool.card.name.as_str()))
    }

    /// Pools that are up, and all pools.
    pub fn pools_up(&self) -> (usize, usize) {
        let up = |pool: &&super::Pool| lock(&pool.state).is_up();
        (self.pools.iter().filter(up).count(), self.pools.len())
    }

    /// Every worker account, in no order.
    pub fn workers(&self, now: Instant) -> Vec<view::Worker> {
        self.workers
            .iter()
            .map(|entry| view::Worker {
                name: entry.key().to_string(),
                accepted: entry.judged.accepted.into(),
                rejected: sum(&*entry.judged.rejected),
                pool_accepted: entry.pool_accepted.into(),
                pool_rejected: entry.pool_rejected.into(),
                hashrate: entry.rate.rates(now).into(),
            })
            .collect()
    }

    /// Connections turned away, by reason; all reasons, also those that never happened.
    pub fn refused(&self) -> impl Iterator<Item = (RefusedConnection, u64)> {
        let count = |reason: RefusedConnection| self.refused[reason as usize].load(Relaxed);
        RefusedConnection::ALL
            .into_iter()
            .map(move |r| (r, count(r)))
    }

    /// Miners moved between pools so far.
    pub fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }

    /// Runs of the hash kernels.
    pub fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    /// The histograms: verdict, broadcast, submit by pool. Clones share their counts.
    pub fn histograms(&self) -> (Histogram, Histogram, SubmitSeconds) {
        let submit = self.submit.clone();
        (self.verdict.clone(), self.broadcast.clone(), submit)
    }

    /// The site in one line, for the log.
    pub fn log_line(&self, now: Instant) -> String {
        let (mut received, mut accepted, mut rate) = (0, 0, 0.0);
        for (_, totals) in &self.listeners {
            let totals = lock(totals);
            received += totals.judged.received.shares;
            accepted += totals.judged.accepted.shares;
            rate += totals.rate.rates(now)[1];
        }
        let (up, pools) = self.pools_up();
        format!(
            "{} miners, {}, {} shares accepted, {} rejected, {up} of {pools} pools up",
            units::count(self.miners.len() as u64),
            units::hashrate(rate),
            units::count(accepted),
            units::percent(received - accepted, received),
        )
    }

    /// Who came and went since the last call, if that is a wave (at least 20, and one in twenty); call once a minute.
    pub fn wave(&self) -> Option<String> {
        let arrived = self.arrived.swap(0, Relaxed);
        let left = self.left.swap(0, Relaxed);
        let before = (self.miners.len() as u64 + left).saturating_sub(arrived);
        let changed = arrived + left;
        (changed >= WAVE_MIN && changed * WAVE_PART >= before).then(|| {
            format!(
                "{} miners connected, {} left in the last minute",
                units::count(arrived),
                units::count(left)
            )
        })
    }

    /// Whether every share that listeners (or nobody) counted is on a worker's account too; true when nothing is
    /// being observed just now.
    #[cfg(test)]
    pub(crate) fn balances(&self) -> bool {
        let mut ours = lock(&self.strays).clone();
        for (_, totals) in &self.listeners {
            ours.merge(&lock(totals).judged);
        }
        let mut workers = Judged::default();
        for worker in &self.workers {
            workers.merge(&worker.judged);
        }
        ours == workers
    }
}

fn pool_view(card: &PoolCard, state: &mut PoolState, leases: u64, now: Instant) -> view::Pool {
    let divergence = state.divergence.alarm(now);
    let status = state.status.as_ref();
    let settled = &state.settled;
    let refusals = settled.rejected.map(|weighted| weighted.shares);
    view::Pool {
        name: card.name.clone(),
        url: card.url.clone(),
        user: card.user.clone(),
        tier: card.tier,
        share: card.share,
        plaintext: card.plaintext,
        up: state.is_up(),
        since_seconds: elapsed(state.changed, now),
        suspect: status.is_some_and(|s| s.suspect),
        excluded: status.is_some_and(|s| s.excluded),
        connections: status.map_or(0, |s| s.epoch),
        difficulty: status.and_then(|s| s.difficulty).map(|d| d.value()),
        version_mask: status
            .and_then(|s| s.version_mask)
            .map(|mask| format!("{mask:08x}")),
        extranonce2_size: status.and_then(|s| s.extranonce2_size),
        leases,
        job_age_seconds: state.last_issue.map(|at| elapsed(at, now)),
        submitted: settled.submitted.into(),
        accepted: settled.accepted.into(),
        rejected: sum(&settled.rejected),
        reasons: reasons(REFUSALS.into_iter().zip(refusals)),
        unknown: settled.unknown.into(),
        in_flight: settled.in_flight.into(),
        dropped: drop_reasons(&settled.dropped),
        divergence,
        note: state.note.clone(),
    }
}

fn elapsed(since: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64()
}

fn sum(parts: &[Weighted]) -> Sum {
    let mut whole = Weighted::default();
    for part in parts {
        whole.merge(*part);
    }
    whole.into()
}

fn reject_reasons(judged: &Judged) -> Reasons {
    let counts = judged.rejected.map(|weighted| weighted.shares);
    reasons(Reject::ALL.iter().map(|r| r.label()).zip(counts))
}

fn drop_reasons(dropped: &[Weighted; Dropped::ALL.len()]) -> Reasons {
    let counts = dropped.map(|weighted| weighted.shares);
    reasons(Dropped::ALL.iter().map(|d| d.label()).zip(counts))
}

fn reasons(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Reasons {
    let happened = counts.into_iter().filter(|(_, count)| *count > 0);
    happened.map(|(label, n)| (label.to_owned(), n)).collect()
}
