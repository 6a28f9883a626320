//! What can be wrong with a machine, as data, and how faults are dealt to a fleet.
//!
//! Invariant: a share of a fleet is an exact number of its machines (rounded), which ones is the seed's choice; a machine
//! has one fault at most.

use crate::sim::rng::Rng;
use std::time::Duration;

/// What is wrong with one machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// Says ok and keeps hashing.
    AcksOnly {
        /// Its telemetry shows what was ordered, not what is.
        lies_in_telemetry: bool,
    },
    /// Does as told and answers with an error.
    ErrorThoughApplied,
    /// Does as told and never answers (writes only).
    SilentThoughApplied,
    /// Answers everything late by this.
    Slow(Duration),
    /// Its sessions or connections are all taken by somebody else.
    Exhausted,
    /// Boots at random times, so far apart on average.
    Reboots(Duration),
    /// After this time another machine answers at its address.
    Swapped(Duration),
    /// Answers every write with an error and does nothing.
    Refuses,
    /// Its thermal manager is on, which refuses profiles (LuxOS; other families have none).
    Atm,
}

/// Shares of a fleet (0..=1) that have each fault; together at most 1.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// [`Fault::AcksOnly`].
    pub acks_only: f64,
    /// What their telemetry does.
    pub lies_in_telemetry: bool,
    /// [`Fault::ErrorThoughApplied`].
    pub errors_though_applied: f64,
    /// [`Fault::SilentThoughApplied`].
    pub silent_though_applied: f64,
    /// [`Fault::Slow`].
    pub slow: f64,
    /// By how much.
    pub slow_by: Duration,
    /// [`Fault::Exhausted`].
    pub exhausted: f64,
    /// [`Fault::Reboots`].
    pub reboots: f64,
    /// How far apart on average.
    pub reboot_every: Duration,
    /// [`Fault::Swapped`].
    pub swapped: f64,
    /// When.
    pub swapped_after: Duration,
    /// [`Fault::Refuses`].
    pub refuses: f64,
    /// [`Fault::Atm`].
    pub atm: f64,
}

impl Faults {
    /// One entry per machine.
    pub fn deal(&self, machines: usize, seed: u64) -> Vec<Option<Fault>> {
        let kinds = [
            (
                self.acks_only,
                Fault::AcksOnly {
                    lies_in_telemetry: self.lies_in_telemetry,
                },
            ),
            (self.errors_though_applied, Fault::ErrorThoughApplied),
            (self.silent_though_applied, Fault::SilentThoughApplied),
            (self.slow, Fault::Slow(self.slow_by)),
            (self.exhausted, Fault::Exhausted),
            (self.reboots, Fault::Reboots(self.reboot_every)),
            (self.swapped, Fault::Swapped(self.swapped_after)),
            (self.refuses, Fault::Refuses),
            (self.atm, Fault::Atm),
        ];
        let count = |share: f64| (share.clamp(0.0, 1.0) * machines as f64).round() as usize;
        let mut dealt: Vec<_> = kinds
            .iter()
            .flat_map(|(share, fault)| std::iter::repeat_n(Some(*fault), count(*share)))
            .chain(std::iter::repeat(None))
            .take(machines)
            .collect();
        shuffle(&mut dealt, &mut Rng::new(seed));
        dealt
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_fleet_is_an_exact_number_of_machines_and_a_seed_repeats_it() {
        let faults = Faults {
            acks_only: 0.03,
            silent_though_applied: 0.02,
            ..Faults::default()
        };
        let dealt = faults.deal(5_000, 7);
        let count = |wanted: Fault| dealt.iter().filter(|fault| **fault == Some(wanted)).count();
        assert_eq!(
            count(Fault::AcksOnly {
                lies_in_telemetry: false
            }),
            150
        );
        assert_eq!(count(Fault::SilentThoughApplied), 100);
        assert_eq!(dealt.iter().flatten().count(), 250);
        assert_eq!(dealt, faults.deal(5_000, 7));
        assert_ne!(dealt, faults.deal(5_000, 8));
    }

    #[test]
    fn more_faults_than_machines_are_cut_off() {
        let faults = Faults {
            acks_only: 1.0,
            refuses: 1.0,
            ..Faults::default()
        };
        assert_eq!(faults.deal(10, 1).len(), 10);
    }
}
