//! The channels of workers: how they are asked for, given, watched and closed, and how much the pool is told to expect of each.
//!
//! Not who is known (`workers`). Invariant: every opening has one end: a channel, a worker that stays on the account's, or the end
//! of the connection.

use super::super::super::job::{Bound, Extranonce};
use super::super::super::{Event, Link, Output};
use super::super::open::{LONGEST, changed_much, nominal};
use super::super::own::Own;
use super::{Known, LEAST_OBSERVED, Opening, Standing};
use crate::stratum::v2::message::{
    self, CloseChannel, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess,
    OpenMiningChannelError, UpdateChannel,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Workers' channels on one connection: at a new block each is a work of its own, made before the first can be told. Workers
/// beyond them stay on the account's.
pub(in super::super) const CHANNELS: usize = 1024;
/// Openings that wait for their answer: a thousand workers are back on their channels after 64 round trips.
pub(in super::super) const OPENINGS: usize = 16;
/// So many refusals in a row say that this pool opens no more on this connection.
pub(in super::super) const REFUSALS: u32 = 16;
/// Without a share for so long, a worker is forgotten.
const AWAY: Duration = Duration::from_secs(3600);
/// The longest name that a channel can have (STR0_255).
const LONGEST_NAME: usize = 255;

impl Link {
    /// Asks for the channels that are wanted, a few at a time.
    pub(in super::super::super) fn open_wanted(&mut self, now: Instant) {
        let Some(layout) = self.layout.filter(|_| self.wants_own()) else {
            return;
        };
        while !self.channel.workers.wanted.is_empty() {
            let workers = &mut self.channel.workers;
            let full = workers.channels.len() + workers.openings.len() >= CHANNELS;
            if full || workers.refusals >= REFUSALS || workers.in_flight(now) >= OPENINGS {
                return;
            }
            let Some(machine) = workers.wanted.pop_front() else {
                return;
            };
            let Some(known) = workers.known.get_mut(&machine) else {
                continue;
            };
            known.standing = Standing::Asked;
            let rate = self.rate_of(now, &machine);
            let name = self.names.short(&machine, LONGEST_NAME);
            let request = self.channel.request();
            let open = OpenExtendedMiningChannel {
                request_id: request,
                user_identity: name.as_bytes(),
                nominal_hash_rate: nominal(rate),
                max_target: self.easiest_target(rate),
                min_extranonce_size: u16::from(layout.total()),
            };
            open.write(&mut self.out);
            let at = now;
            self.channel.workers.openings.push(Opening {
                request,
                machine,
                at,
            });
        }
    }

    /// Whether an answer was one to an opening for a worker.
    pub(in super::super) fn own_opened(
        &mut self,
        now: Instant,
        told: &OpenExtendedMiningChannelSuccess<'_>,
    ) -> bool {
        let Some(machine) = self.opening(told.request_id) else {
            return false;
        };
        let id = told.channel_id;
        let known = self.channel.ids().is_some_and(|(ours, _)| ours == id);
        if known || self.channel.workers.by_id(id).is_some() {
            self.stays(&machine, "it gave an id that is in use");
            return true;
        }
        let least = u16::from(self.layout.map_or(u8::MAX, |layout| layout.total()));
        let fits = (least..=LONGEST).contains(&told.extranonce_size);
        let size = u8::try_from(told.extranonce_size).ok().filter(|_| fits);
        let (Some(size), Some(bound)) = (size, Bound::of_target(&told.target)) else {
            self.write_close(id, b"unusable");
            self.stays(&machine, "it gave no usable extranonce or target");
            return true;
        };
        let prefix = told.extranonce_prefix.to_vec();
        let extranonce = Extranonce { prefix, size };
        let rate = self.rate_of(now, &machine);
        let workers = &mut self.channel.workers;
        workers.numbers += 1;
        workers.refusals = 0;
        workers.set_standing(&machine, Standing::Open(workers.numbers));
        let workshop = self.workshop.of_channel(workers.numbers);
        let mut own = Own::new(now, machine, told, (extranonce, bound), workshop);
        own.told = rate;
        // A pool may take it that a channel of a connection knows the connection's block.
        own.jobs.tip = self.channel.jobs.tip;
        workers.channels.push(own);
        self.update_channel();
        self.open_wanted(now);
        true
    }

    /// Whether a refusal was one of an opening for a worker.
    pub(in super::super) fn own_refused(
        &mut self,
        now: Instant,
        told: &OpenMiningChannelError<'_>,
    ) -> bool {
        let Some(machine) = self.opening(told.request_id) else {
            return false;
        };
        self.channel.workers.refusals += 1;
        self.stays(&machine, &message::text(told.error_code));
        self.open_wanted(now);
        true
    }

    /// For whom that request was, once.
    fn opening(&mut self, request: u32) -> Option<Arc<str>> {
        let openings = &mut self.channel.workers.openings;
        let at = openings.iter().position(|o| o.request == request)?;
        Some(openings.swap_remove(at).machine)
    }

    /// The worker stays on the account's channel, on this connection.
    fn stays(&mut self, machine: &str, text: &str) {
        let workers = &mut self.channel.workers;
        workers.set_standing(machine, Standing::Account);
        let event = Event::WorkerRefused {
            worker: self.names.short(machine, LONGEST_NAME),
            text: text.to_owned(),
        };
        self.outputs.push_back(Output::Event(event));
    }

    fn write_close(&mut self, channel_id: u32, reason_code: &[u8]) {
        let close = CloseChannel {
            channel_id,
            reason_code,
        };
        close.write(&mut self.out);
    }

    /// A worker's channel ends: `reason` if it is us who ends it. Its worker stays on the account's.
    pub(super) fn close_own(&mut self, at: usize, reason: Option<&[u8]>) -> Arc<str> {
        let workers = &mut self.channel.workers;
        let own = workers.channels.remove(at);
        workers.set_standing(&own.machine, Standing::Account);
        workers.changed = true;
        if let Some(reason) = reason {
            self.write_close(own.id, reason);
        }
        for end in self.ledger.lose(own.number) {
            self.outputs.push_back(Output::Settle(end));
        }
        self.update_channel();
        own.machine
    }

    /// The pool ends one, or a group of them.
    pub(in super::super) fn own_closed(&mut self, id: u32, reason: &[u8]) {
        let channels = |link: &Self| {
            let mut channels = link.channel.workers.channels.iter();
            channels.position(|own| own.is_reached(id))
        };
        while let Some(at) = channels(self) {
            let machine = self.close_own(at, None);
            let text = format!("it closed the channel: {}", message::text(reason));
            self.stays(&machine, &text);
        }
    }

    /// All end, by us; the layout has changed, or the process drains. Who mined lately may ask again.
    pub(in super::super::super) fn close_owns(&mut self) {
        while let Some(last) = self.channel.workers.channels.len().checked_sub(1) {
            self.close_own(last, Some(b"shutdown"));
        }
        self.channel.workers.lost();
    }

    pub(super) fn check_workers(&mut self, now: Instant) {
        let is_away = |known: &Known| now >= known.seen + AWAY;
        let mut at = 0;
        while let Some(own) = self.channel.workers.channels.get(at) {
            let known = self.channel.workers.known.get(&own.machine);
            if known.is_none_or(is_away) {
                self.close_own(at, Some(b"unused"));
            } else if own.is_forgotten(now) {
                let machine = self.close_own(at, Some(b"no job"));
                self.stays(&machine, "no job for 15 s");
            } else {
                self.update_own(now, at);
                at += 1;
            }
        }
        let workers = &mut self.channel.workers;
        workers
            .known
            .retain(|_, known| known.standing == Standing::Asked || !is_away(known));
        let known = &workers.known;
        workers.wanted.retain(|machine| known.contains_key(machine));
        if workers.known.is_empty() {
            workers.check_at = None;
        }
        self.update_channel();
        self.open_wanted(now);
    }

    /// Tells the pool how much to expect of a worker, when that has changed much.
    fn update_own(&mut self, now: Instant, at: usize) {
        let own = &self.channel.workers.channels[at];
        let rate = self.rate_of(now, &own.machine);
        if !changed_much(own.told, rate) {
            return;
        }
        let update = UpdateChannel {
            channel_id: own.id,
            nominal_hash_rate: nominal(rate),
            maximum_target: self.easiest_target(rate),
        };
        update.write(&mut self.out);
        self.channel.workers.channels[at].told = rate;
    }

    /// Hashes per second of a worker, from its shares; never more than the whole fleet has.
    fn rate_of(&self, now: Instant, machine: &str) -> f64 {
        let Some(known) = self.channel.workers.known.get(machine) else {
            return 0.0;
        };
        let [.., rate] = known.rate.rates(now);
        if self.fleet > 0.0 {
            rate.min(self.fleet)
        } else if now < known.seen + LEAST_OBSERVED {
            // Shares come before the fleet's size is told.
            rate
        } else {
            0.0
        }
    }

    /// Hashes per second of those on the account's channel: the rest, and room for one more, who begins there.
    pub(in super::super) fn account_rate(&self) -> f64 {
        let channels = &self.channel.workers.channels;
        let told: f64 = channels.iter().map(|own| own.told).sum();
        let average = self.fleet / (channels.len() as f64 + 1.0);
        (self.fleet - told).max(average)
    }
}
