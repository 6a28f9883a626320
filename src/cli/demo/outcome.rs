//! The accounts at the end: what miners sent, what the proxy judged, what pools counted; and whether that is good.
//!
//! Invariant: three parties counted on their own (miner, proxy, pool), and every difference between them is either
//! explained by a pool's death or is in `wrong`.

use super::{
    pool::Speech,
    power::{HEAD, Moment, PowerStory},
    site::Accounts,
    story::{self, Story},
};
use crate::{cli::units, sim::judge::Reason};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Display, time::Duration};

/// A failover that takes longer is a failure of the proxy (STRATUM.md I10).
const FAILOVER_WITHIN: Duration = Duration::from_secs(5);
/// Refusals that an honest miner gets: its share and a new block crossed each other.
const HONEST: [&str; 2] = ["stale", "job_not_found"];
/// Refusals of what was sent before the login was complete, on purpose, by one of the firmware families.
const EARLY: [&str; 2] = ["unauthorized_worker", "not_subscribed"];

/// One pool's account.
#[derive(Debug, Default, Serialize)]
pub(super) struct PoolAccount {
    name: String,
    protocol: String,
    submitted: u64,
    accepted: u64,
    rejected: u64,
    unknown: u64,
    in_flight: u64,
    dropped: BTreeMap<String, u64>,
    counted: u64,
    counted_accepted: u64,
    counted_rejected: BTreeMap<&'static str, u64>,
}

/// The summary. Counts are shares unless told otherwise.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    seconds: f64,
    miners: u64,
    reconnects: u64,
    put_off: u64,
    power: Vec<Moment>,
    early: u64,
    sent: u64,
    answered_yes: u64,
    answered_no: u64,
    unanswered: u64,
    judged: u64,
    accepted: u64,
    rejected: u64,
    reasons: BTreeMap<String, u64>,
    forwarded: u64,
    not_queued: BTreeMap<String, u64>,
    pools: Vec<PoolAccount>,
    blocks: u64,
    reply_micros_p99: Option<u64>,
    deaths: u64,
    failover_millis: Vec<u64>,
    failbacks: u64,
    homeless: u64,
    violations: BTreeMap<&'static str, u64>,
    conserves: bool,
    drained: bool,
    /// Why the demo has failed; empty: it has not.
    pub(super) wrong: Vec<String>,
}

impl Outcome {
    /// Adds up.
    pub(super) fn of(
        elapsed: Duration,
        miners: u64,
        accounts: &Accounts,
        story: &Story,
        power: &PowerStory,
    ) -> Self {
        let look = &accounts.look;
        let fleet = &look.fleet;
        let mut outcome = Self {
            seconds: elapsed.as_secs_f64(),
            miners,
            reconnects: story::reconnects(look, miners),
            put_off: look.stops,
            power: power.moments().to_vec(),
            early: fleet.early_refused,
            sent: fleet.submitted,
            answered_yes: fleet.accepted,
            answered_no: fleet.rejected_total(),
            unanswered: fleet.unanswered,
            judged: (look.proxy.accepted.shares + look.proxy.rejected.shares)
                .saturating_sub(fleet.early_refused),
            accepted: look.proxy.accepted.shares,
            rejected: look
                .proxy
                .rejected
                .shares
                .saturating_sub(fleet.early_refused),
            reasons: look.proxy.reasons.clone(),
            blocks: look.proxy.blocks,
            reply_micros_p99: fleet.latency.quantile(0.99).map(|d| d.as_micros() as u64),
            deaths: story.deaths,
            failover_millis: story
                .failovers
                .iter()
                .map(|d| d.as_millis() as u64)
                .collect(),
            failbacks: story.failbacks,
            homeless: story.homeless,
            violations: fleet
                .violations
                .iter()
                .map(|(v, n)| (v.words(), *n))
                .collect(),
            conserves: look.proxy.conserves,
            drained: accounts.drained,
            ..Self::default()
        };
        for listener in &look.proxy.listeners {
            outcome.forwarded += listener.forwarded.shares;
            for (reason, count) in &listener.dropped {
                *outcome.not_queued.entry(reason.clone()).or_default() += count;
            }
        }
        for (pool, counted) in look.pools.iter().zip(&look.counted) {
            let rejected = counted.rejected.iter();
            outcome.pools.push(PoolAccount {
                name: pool.name.clone(),
                protocol: Speech::of_url(&pool.url).to_string(),
                submitted: pool.submitted.shares,
                accepted: pool.accepted.shares,
                rejected: pool.rejected.shares,
                unknown: pool.unknown.shares,
                in_flight: pool.in_flight.shares,
                dropped: pool.dropped.clone(),
                counted: counted.received,
                counted_accepted: counted.accepted,
                counted_rejected: rejected.map(|(r, n)| (r.name(), *n)).collect(),
            });
        }
        outcome.take_out_early();
        outcome.wrong = outcome.judge();
        outcome.wrong.extend_from_slice(power.wrong());
        outcome
    }

    /// Refusals before login are counted apart.
    fn take_out_early(&mut self) {
        let mut left = self.early;
        for reason in EARLY {
            if let Some(count) = self.reasons.get_mut(reason) {
                let taken = left.min(*count);
                *count -= taken;
                left -= taken;
            }
        }
        self.reasons.retain(|_, count| *count > 0);
    }

    /// Everything that is not as it must be.
    fn judge(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, otherwise: String| {
            if !holds {
                wrong.push(otherwise);
            }
        };
        must(self.accepted > 0, "no share was accepted".to_owned());
        let rules: u64 = self.violations.values().sum();
        must(
            rules == 0,
            format!(
                "miners saw {rules} rules broken ({})",
                list(&self.violations)
            ),
        );
        must(
            self.reconnects == 0,
            format!("miners connected again {} times", self.reconnects),
        );
        // A machine that is put off may leave before it has its answers; each was judged or not, and no other.
        let lost = |judged: u64, answered: u64| judged.checked_sub(answered);
        let left =
            lost(self.accepted, self.answered_yes).zip(lost(self.rejected, self.answered_no));
        let most = if self.put_off > 0 { self.unanswered } else { 0 };
        must(
            self.judged == self.accepted + self.rejected
                && left.is_some_and(|(yes, no)| yes + no <= most)
                && self.sent == self.answered_yes + self.answered_no + self.unanswered
                && self.unanswered <= most,
            format!(
                "miners count {} sent, {} accepted, {} refused; the proxy {}, {}, {}",
                self.sent,
                self.answered_yes,
                self.answered_no,
                self.judged,
                self.accepted,
                self.rejected
            ),
        );
        let odd = |(reason, _): &(&String, &u64)| !HONEST.contains(&reason.as_str());
        let odd: BTreeMap<_, _> = self.reasons.iter().filter(odd).collect();
        must(
            odd.is_empty(),
            format!("honest miners were refused: {}", list(&odd)),
        );
        must(
            self.conserves,
            "the proxy's own sums do not add up".to_owned(),
        );
        must(
            self.drained,
            "the proxy did not drain within its grace".to_owned(),
        );
        must(
            self.homeless == 0,
            format!(
                "{} of {} miners mined for no pool for more than 5 s",
                self.homeless, self.miners
            ),
        );
        self.judge_pools(&mut must);
        self.judge_failovers(&mut must);
        wrong
    }

    fn judge_pools(&self, must: &mut impl FnMut(bool, String)) {
        let written: u64 = self.pools.iter().map(|pool| pool.submitted).sum();
        let dropped: u64 = self.pools.iter().map(PoolAccount::dropped).sum();
        must(
            self.forwarded == written + dropped,
            format!(
                "{} shares were forwarded, but {written} written and {dropped} dropped",
                self.forwarded
            ),
        );
        let full = self.not_queued.get("link_full").copied().unwrap_or(0);
        must(
            full == 0,
            format!("{full} shares found a pool's queue full"),
        );
        for (at, pool) in self.pools.iter().enumerate() {
            pool.judge(at == 0 && self.deaths > 0, must);
        }
    }

    fn judge_failovers(&self, must: &mut impl FnMut(bool, String)) {
        let done = self.failover_millis.len() as u64;
        must(
            done == self.deaths,
            format!(
                "pool A died {} times, but all miners were on B only {done} times",
                self.deaths
            ),
        );
        let slow = FAILOVER_WITHIN.as_millis() as u64;
        if let Some(longest) = self.failover_millis.iter().max() {
            must(
                *longest <= slow,
                format!("a failover took {longest} ms; {slow} are allowed"),
            );
        }
    }
}

impl PoolAccount {
    fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    fn judge(&self, has_died: bool, must: &mut impl FnMut(bool, String)) {
        let (name, written, counted) = (&self.name, self.submitted, self.counted);
        let answered = self.accepted + self.rejected;
        must(
            self.in_flight == 0 && written == answered + self.unknown,
            format!(
                "pool {name}: {written} shares written, {answered} answered, {} unknown, {} still open",
                self.unknown, self.in_flight
            ),
        );
        must(
            (answered..=written).contains(&counted),
            format!(
                "pool {name} counted {counted} shares; {written} were written, {answered} answered"
            ),
        );
        let gone = self.unknown + self.dropped.get("link_lost").copied().unwrap_or(0);
        must(
            gone == 0 || has_died,
            format!("pool {name} never died, but {gone} shares for it were lost"),
        );
        let odd = |(reason, _): &(&&'static str, &u64)| **reason != Reason::Stale.name();
        let odd: BTreeMap<_, _> = self.counted_rejected.iter().filter(odd).collect();
        must(
            odd.is_empty(),
            format!(
                "pool {name} refused what the proxy had accepted: {}",
                list(&odd)
            ),
        );
    }
}

impl Outcome {
    /// As one JSON object.
    pub(super) fn as_json(&self) -> String {
        serde_json::to_string(self).expect("plain values are JSON")
    }

    /// For people.
    pub(super) fn as_words(&self) -> String {
        let counted: u64 = self.pools.iter().map(|pool| pool.counted).sum();
        let mut lines = vec![format!("summary of {:.1} s", self.seconds)];
        if !self.power.is_empty() {
            lines.push(HEAD.to_owned());
            lines.extend(self.power.iter().map(Moment::as_words));
        }
        lines.extend([
            format!(
                "miners     {}, put off {} times for the job, {} other reconnects, {} rules broken",
                self.miners,
                self.put_off,
                self.reconnects,
                self.violations.values().sum::<u64>()
            ),
            format!(
                "shares     {} sent by miners{} = {} judged = {} accepted + {} refused{}",
                self.sent,
                match self.sent - self.judged.min(self.sent) {
                    0 => String::new(),
                    n => format!(" - {n} cut off with their machines"),
                },
                self.judged,
                self.accepted,
                self.rejected,
                brackets(&self.reasons)
            ),
            format!(
                "forwarded  {} met a pool's difficulty; pools counted {counted}; {} not counted{}",
                self.forwarded,
                self.forwarded.abs_diff(counted),
                match self.forwarded == counted {
                    true => "",
                    false => ", named below",
                }
            ),
        ]);
        lines.extend(self.pools.iter().map(PoolAccount::as_words));
        lines.push(format!(
            "replies    99 % within {}",
            self.reply_micros_p99.map_or_else(
                || "-".to_owned(),
                |us| units::show_duration(Duration::from_micros(us))
            )
        ));
        lines.push(format!("blocks     {} found", self.blocks));
        let took: Vec<String> = self
            .failover_millis
            .iter()
            .map(|ms| format!("{:.2} s", *ms as f64 / 1000.0))
            .collect();
        lines.push(match self.deaths {
            0 => "failover   none: pool A did not die in this time".to_owned(),
            deaths => format!(
                "failover   pool A died {deaths} x; all miners on pool B after {}; back on A {} x",
                took.join(", "),
                self.failbacks
            ),
        });
        if self.early > 0 {
            lines.push(format!(
                "early      {} sent before login, on purpose, and refused; not counted above",
                self.early
            ));
        }
        lines.extend(self.wrong.iter().map(|why| format!("wrong      {why}")));
        lines.push(match self.wrong.is_empty() {
            true => {
                "result     good: every share is accounted for, no rule was broken, no limit passed"
                    .to_owned()
            }
            false => "result     bad: see above".to_owned(),
        });
        lines.join("\n")
    }
}

impl PoolAccount {
    fn as_words(&self) -> String {
        format!(
            "pool {} {:2}  {} written = {} accepted + {} refused{} + {} unknown{}; {} never written{}",
            self.name,
            self.protocol,
            self.submitted,
            self.accepted,
            self.rejected,
            brackets(&self.counted_rejected),
            self.unknown,
            match self.unknown {
                0 => "",
                _ => " (unanswered when it died)",
            },
            self.dropped(),
            brackets(&self.dropped)
        )
    }
}

/// `stale 12, duplicate 3`.
fn list<K: Display, V: Display>(counts: &BTreeMap<K, V>) -> String {
    let words = counts.iter().map(|(what, count)| format!("{what} {count}"));
    words.collect::<Vec<_>>().join(", ")
}

fn brackets<K: Display, V: Display>(counts: &BTreeMap<K, V>) -> String {
    match counts.is_empty() {
        true => String::new(),
        false => format!(" ({})", list(counts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        let pool = |name: &str, unknown| PoolAccount {
            name: name.to_owned(),
            submitted: 10 + unknown,
            accepted: 10,
            unknown,
            counted: 10,
            counted_accepted: 10,
            ..PoolAccount::default()
        };
        Outcome {
            sent: 100,
            answered_yes: 99,
            answered_no: 1,
            judged: 100,
            accepted: 99,
            rejected: 1,
            reasons: BTreeMap::from([("stale".to_owned(), 1)]),
            forwarded: 21,
            pools: vec![pool("A", 1), pool("B", 0)],
            deaths: 1,
            failover_millis: vec![300],
            conserves: true,
            drained: true,
            ..Outcome::default()
        }
    }

    #[test]
    fn what_was_in_flight_when_pool_a_died_is_forgiven() {
        assert_eq!(good().judge(), Vec::<String>::new());
    }

    #[test]
    fn what_is_unknown_without_a_death_is_not() {
        let outcome = Outcome {
            deaths: 0,
            failover_millis: Vec::new(),
            ..good()
        };
        let wrong = outcome.judge();
        assert_eq!(wrong, ["pool A never died, but 1 shares for it were lost"]);
    }

    #[test]
    fn each_kind_of_loss_is_named() {
        type Breaking = fn(&mut Outcome);
        let break_one: [(&str, Breaking); 9] = [
            ("miners count", |o| o.sent += 1),
            ("no share", |o| o.accepted = 0),
            ("forwarded", |o| o.forwarded += 1),
            ("duplicate", |o| {
                o.reasons.insert("duplicate".to_owned(), 1);
            }),
            ("pool B counted", |o| o.pools[1].counted -= 1),
            ("pool B refused", |o| {
                o.pools[1].counted_rejected.insert("duplicate", 1);
            }),
            ("rules broken", |o| {
                o.violations.insert("set_extranonce received", 1);
            }),
            ("all miners were on B", |o| o.failover_millis.clear()),
            ("5001 ms", |o| o.failover_millis[0] = 5_001),
        ];
        for (word, break_it) in break_one {
            let mut outcome = good();
            break_it(&mut outcome);
            let wrong = outcome.judge().join("\n");
            assert!(wrong.contains(word), "{word}: {wrong}");
        }
        let mut outcome = good();
        outcome.failover_millis[0] = 5_000;
        assert!(outcome.judge().is_empty());
    }
}
