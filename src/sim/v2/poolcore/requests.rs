//! What the pool does with each frame, all but opens and shares.
//!
//! Invariant: nothing is answered before `SetupConnection`; what is not known is ignored, what is wrong ends the
//! connection.

use super::{ConnectionId, Instant, Message, PoolOutput, SimPoolV2, target};
use crate::sim::v2::{
    decode::Odd,
    frame::Frame,
    message::{REQUIRES_STANDARD_JOBS, Setup, WORKER_TRACKING},
    poolconfig::Extensions,
};

/// The version of the protocol.
const VERSION: u16 = 2;

impl SimPoolV2 {
    pub(super) fn take_frame(&mut self, now: Instant, from: ConnectionId, frame: &Frame) {
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(Odd::Unknown) => {
                self.stats.unknown += 1;
                return;
            }
            Err(Odd::Malformed) => return self.give_up(from),
        };
        let known = self
            .connections
            .get(&from)
            .is_some_and(|c| c.setup.is_some());
        match message {
            Message::SetupConnection(setup) if !known => self.set_up(now, from, &setup),
            _ if !known => self.give_up(from),
            Message::RequestExtensions { request, wanted } => {
                self.negotiate(now, from, request, &wanted);
            }
            Message::OpenStandard(open) => self.open(now, from, &open, true),
            Message::OpenExtended(open) => self.open(now, from, &open, false),
            Message::UpdateChannel {
                channel,
                hashrate,
                max_target,
            } => self.update(now, from, channel, f64::from(hashrate), &max_target),
            Message::CloseChannel { channel, .. } => self.close(now, from, channel),
            Message::SubmitStandard(submit) => self.submit(now, from, &submit, true),
            Message::SubmitExtended(submit) => self.submit(now, from, &submit, false),
            // What only a server says, or a second setup.
            _ => self.give_up(from),
        }
    }

    fn set_up(&mut self, now: Instant, from: ConnectionId, setup: &Setup) {
        let unsupported = setup.flags & self.config.unsupported_flags;
        let speaks = (setup.min_version..=setup.max_version).contains(&VERSION);
        let code = match () {
            () if setup.protocol != 0 => Some("unsupported-protocol"),
            () if !speaks => Some("protocol-version-mismatch"),
            () if unsupported != 0 => Some("unsupported-feature-flags"),
            () if self.config.refuses_setup => Some("maintenance"),
            () => None,
        };
        if let Some(code) = code {
            let message = Message::SetupError {
                flags: unsupported,
                code: code.to_owned(),
            };
            self.send(now, from, &message);
            self.connections.remove(&from);
            return self.outputs.push_back(PoolOutput::Close(from));
        }
        if let Some(connection) = self.connections.get_mut(&from) {
            connection.setup = Some(setup.flags);
        }
        let flags = self.config.success_flags;
        let version = VERSION;
        self.send(now, from, &Message::SetupSuccess { version, flags });
    }

    fn negotiate(&mut self, now: Instant, from: ConnectionId, request: u16, wanted: &[u16]) {
        let granting = self.config.extensions == Extensions::Granted;
        let (granted, unsupported): (Vec<u16>, Vec<u16>) = wanted
            .iter()
            .partition(|e| granting && **e == WORKER_TRACKING);
        let message = match self.config.extensions {
            Extensions::Silent => return,
            _ if granted.is_empty() => Message::ExtensionsRefused {
                request,
                unsupported,
                required: Vec::new(),
            },
            _ => Message::ExtensionsGranted { request, granted },
        };
        if matches!(message, Message::ExtensionsGranted { .. })
            && let Some(connection) = self.connections.get_mut(&from)
        {
            connection.worker_tracking = true;
            self.stats.worker_tracking += 1;
        }
        self.send(now, from, &message);
    }

    fn update(
        &mut self,
        now: Instant,
        from: ConnectionId,
        channel: u32,
        hashrate: f64,
        max_target: &[u8; 32],
    ) {
        self.stats.updates += 1;
        let sane = hashrate.is_finite() && hashrate >= 0.0;
        let Some(open) = self.channel(from, channel).filter(|_| sane) else {
            let code = "invalid-channel-id".to_owned();
            return self.send(now, from, &Message::UpdateError { channel, code });
        };
        open.hashrate = hashrate;
        open.max_target = target::of_bytes(max_target);
        // Without a policy by hashrate only a harder maximum changes anything (5.3.7).
        self.retarget(now, from, channel);
    }

    /// Of one channel, or of a group with all in it (5.3.9).
    fn close(&mut self, now: Instant, from: ConnectionId, named: u32) {
        let Some(connection) = self.connections.get(&from) else {
            return;
        };
        let open = connection.channels.iter();
        let named = open.filter(|(id, channel)| **id == named || channel.group == named);
        let ids: Vec<u32> = named.map(|(id, _)| *id).collect();
        for channel in ids {
            self.flush(now, from, channel);
            if let Some(connection) = self.connections.get_mut(&from) {
                connection.channels.remove(&channel);
                self.stats.closed_by_client += 1;
            }
        }
    }

    /// Whether a connection said that it can take standard jobs alone.
    pub(super) fn standard_only(&self, from: ConnectionId) -> bool {
        let flags = self.connections.get(&from).and_then(|c| c.setup);
        flags.is_some_and(|flags| flags & REQUIRES_STANDARD_JOBS != 0)
    }
}
