//! What a simulated V2 miner makes of the frames it reads: login, targets, answers. Jobs are in jobs.rs.
//!
//! Invariant: any frame is survived; one that makes no sense is counted.

use super::{
    BTreeSet, Breach, Channel, Connection, Instant, Message, SimMinerV2, Step, Violation, target,
};
use crate::sim::{
    v2::{
        decode::Odd,
        frame::Frame,
        message::{Opened, REQUIRES_FIXED_VERSION, U256, WORKER_TRACKING},
    },
    wire::Bound,
};
use std::cmp::Ordering;

impl SimMinerV2 {
    pub(super) fn take_frame(&mut self, now: Instant, frame: &Frame) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.watch.frame(now);
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(Odd::Unknown) => return connection.watch.breach(Breach::UnknownMessage),
            Err(Odd::Malformed) => return connection.watch.report(Violation::Malformed),
        };
        let set_up = connection.set_up();
        match message {
            Message::SetupSuccess { flags, .. } => self.set_up_done(now, flags),
            Message::SetupError { .. } => self.refused("setup refused"),
            Message::Reconnect { host, port } => {
                self.redirect = Some((host, port));
                self.hang_up = Some("reconnect");
            }
            _ if !set_up => connection.watch.breach(Breach::MessageBeforeSetup),
            Message::ExtensionsGranted { granted, .. } => self.negotiated(now, &granted),
            Message::ExtensionsRefused { .. } => self.negotiated(now, &[]),
            Message::OpenedStandard(opened) => self.opened(&opened, true),
            Message::OpenedExtended(opened) => self.opened(&opened, false),
            Message::OpenError { request, .. } => {
                connection.opening.remove(&request);
                connection.watch.report(Violation::LoginRefused);
                self.hang_up_if_idle("no channel");
            }
            Message::CloseChannel { channel, .. } => self.closed(channel),
            Message::SetPrefix { channel, prefix } => self.take_prefix(channel, prefix),
            Message::SetTarget { channel, target } => self.take_target(channel, &target),
            Message::SetGroup { group, channels } => self.take_group(group, &channels),
            Message::SubmitSuccess {
                channel,
                last,
                count,
                ..
            } => self.acknowledged(now, channel, last, count),
            Message::SubmitError {
                channel,
                sequence,
                code,
            } => self.share_refused(now, channel, sequence, &code),
            Message::UpdateError { .. } => connection.watch.breach(Breach::UpdateRefused),
            Message::EndpointChanged { .. } => {}
            job => self.take_work(now, job),
        }
    }

    fn set_up_done(&mut self, now: Instant, flags: u32) {
        let slow = self.config.manners.slow;
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.fixed_version = flags & REQUIRES_FIXED_VERSION != 0;
        if connection.step != Step::Setup {
            return; // pipelined: the opens are on their way already
        }
        connection.step = Step::Ready;
        connection.step_at = slow.map(|pause| now + pause);
        if slow.is_none() {
            self.take_step(now);
        }
    }

    fn negotiated(&mut self, now: Instant, granted: &[u16]) {
        if let Some(connection) = &mut self.connection {
            connection.worker_tracking = granted.contains(&WORKER_TRACKING);
            if connection.step == Step::Negotiating {
                connection.step_at = None;
                self.take_step(now);
            }
        }
    }

    fn opened(&mut self, opened: &Opened, standard: bool) {
        let planned = self.config.kind.plan().len();
        let asked = usize::from(self.config.min_extranonce);
        let Some(connection) = &mut self.connection else {
            return;
        };
        let opening = connection.opening.remove(&opened.request);
        let Some((mut channel, ..)) = opening.filter(|(c, ..)| c.standard == standard) else {
            return connection.watch.report(Violation::ReplyUnasked);
        };
        channel.group = opened.group;
        channel.prefix.clone_from(&opened.prefix);
        channel.extranonce_size = opened.extranonce_size.into();
        channel.target = target::of_bytes(&opened.target);
        let above = target::compare(&channel.target, &channel.max_target) == Ordering::Greater;
        if above {
            connection.watch.breach(Breach::TargetAboveMax);
        }
        if !standard && channel.extranonce_size < asked {
            connection.watch.breach(Breach::ExtranonceTooSmall);
        }
        let is_a_group = |c: &Channel| c.group == opened.channel;
        let taken = connection.channels.values().any(is_a_group) || is_a_group(&channel);
        if taken || !connection.numbers.insert(opened.channel) {
            connection.watch.breach(Breach::ChannelIdReused);
        }
        connection.watch.opened();
        connection.channels.insert(opened.channel, channel);
        connection.check_groups();
        if connection.channels.len() == planned {
            self.stats.mining = 1;
        }
    }

    fn closed(&mut self, named: u32) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let gone: Vec<u32> = connection.addressed(named);
        if gone.is_empty() && !connection.closed.contains(&named) {
            return connection.watch.breach(Breach::WrongChannel);
        }
        for id in gone {
            connection.watch.breach(Breach::ChannelClosed);
            if let Some(channel) = connection.channels.remove(&id) {
                self.stats.unanswered += channel.outstanding.len() as u64;
            }
        }
        self.stats.mining = 0;
        self.hang_up_if_idle("channels closed");
    }

    fn take_prefix(&mut self, id: u32, prefix: Vec<u8>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        // Said with a message it is no breach of V2; of the proxy's promise it is (as in V1).
        connection.watch.report(Violation::SetExtranonce);
        match connection.channels.get_mut(&id) {
            Some(channel) if channel.prefix.len() == prefix.len() => channel.prefix = prefix,
            Some(_) => connection.watch.report(Violation::Malformed),
            None => connection.wrong_channel(id),
        }
    }

    fn take_target(&mut self, named: u32, bytes: &U256) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let bound: Bound = target::of_bytes(bytes);
        let addressed = connection.addressed(named);
        if addressed.is_empty() {
            return connection.wrong_channel(named);
        }
        for id in addressed {
            if let Some(channel) = connection.channels.get_mut(&id) {
                channel.target = bound;
                if target::compare(&bound, &channel.max_target) == Ordering::Greater {
                    connection.watch.breach(Breach::TargetAboveMax);
                }
            }
        }
        self.stats.difficulty = target::difficulty(&bound);
    }

    fn take_group(&mut self, group: u32, channels: &[u32]) {
        let standard_only = self.config.kind == super::KindV2::Standard;
        let Some(connection) = &mut self.connection else {
            return;
        };
        if connection.numbers.contains(&group) || standard_only {
            connection.watch.breach(Breach::ChannelIdReused);
        }
        for id in channels {
            match connection.channels.get_mut(id) {
                Some(channel) => channel.group = group,
                None => connection.wrong_channel(*id),
            }
        }
        connection.check_groups();
    }

    fn acknowledged(&mut self, now: Instant, id: u32, last: u32, count: u32) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(channel) = connection.channels.get_mut(&id) else {
            return connection.wrong_channel(id);
        };
        let covered = channel.outstanding.range(..=last).map(|(seq, _)| *seq);
        let covered: Vec<u32> = covered.collect();
        let counted = covered.len() as u64;
        for sequence in covered.into_iter().take(count as usize) {
            if let Some(share) = channel.outstanding.remove(&sequence) {
                self.stats.accepted += 1;
                self.stats.accepted_hashes += share.weight;
                self.stats.latency.add(now.duration_since(share.at));
            }
        }
        if counted == 0 {
            connection.watch.report(Violation::ReplyUnasked);
        } else if counted != u64::from(count) {
            connection.watch.breach(Breach::AckMiscounted);
        }
    }

    fn share_refused(&mut self, now: Instant, id: u32, sequence: u32, code: &str) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(channel) = connection.channels.get_mut(&id) else {
            return connection.wrong_channel(id);
        };
        match channel.outstanding.remove(&sequence) {
            Some(share) => {
                self.stats.latency.add(now.duration_since(share.at));
                *self.stats.rejected.entry(v1_code(code)).or_default() += 1;
            }
            None => connection.watch.report(Violation::ReplyUnasked),
        }
    }

    fn refused(&mut self, why: &'static str) {
        if let Some(connection) = &mut self.connection {
            connection.watch.report(Violation::LoginRefused);
        }
        self.hang_up = Some(why);
    }

    fn hang_up_if_idle(&mut self, why: &'static str) {
        let idle = |c: &Connection| c.channels.is_empty() && c.opening.is_empty();
        if self.connection.as_ref().is_some_and(idle) {
            self.hang_up = Some(why);
        }
    }
}

impl Connection {
    /// Whether `SetupConnection.Success` came, as far as the order of answers can tell.
    fn set_up(&self) -> bool {
        !matches!(self.step, Step::Silent | Step::Setup)
    }

    /// The channels that a number means: one, or those of a group.
    pub(super) fn addressed(&self, named: u32) -> Vec<u32> {
        let open = self.channels.iter();
        let named = open.filter(|(id, c)| **id == named || c.group == named);
        named.map(|(id, _)| *id).collect()
    }

    /// Reports a number that means nothing, unless we closed that channel and the peer cannot know yet.
    pub(super) fn wrong_channel(&mut self, named: u32) {
        if !self.closed.contains(&named) {
            self.watch.breach(Breach::WrongChannel);
        }
    }

    /// 5.2.3: all of a group have the same full extranonce size.
    fn check_groups(&mut self) {
        let size = |c: &Channel| (c.group, c.prefix.len() + c.extranonce_size);
        let sizes: BTreeSet<(u32, usize)> = self.channels.values().map(size).collect();
        let groups: BTreeSet<u32> = sizes.iter().map(|(group, _)| *group).collect();
        if sizes.len() != groups.len() {
            self.watch.breach(Breach::UnevenGroup);
        }
    }
}

/// The V1 code of a refusal, for counters alone: nothing is decided by it (3.5).
fn v1_code(code: &str) -> i64 {
    match code {
        _ if code.contains("stale") || code.contains("job") => 21,
        _ if code.contains("duplicate") => 22,
        _ if code.contains("difficulty") => 23,
        _ if code.contains("user") => 24,
        _ if code.contains("channel") => 25,
        _ => 20,
    }
}
