//! A link that speaks Stratum V2: what each frame of a pool does to its extended channels, the account's and those that workers
//! may have of their own.
//!
//! Not Noise (the driver hands over plaintext frames), and no other channel: frames for one are ignored.
//!
//! ```text
//!   SetupConnection ─> RequestExtensions ─> OpenExtendedMiningChannel ─> NewExtendedMiningJob, SetNewPrevHash ...
//!        `open`        (identity = worker)     (8, 7, 6, 5, 4 bytes)        `jobs`     shares: `shares`, frozen? `probe`
//!                       not granted: once a worker is heard of ─> `workers`: a channel of its own ─> `own`: its jobs
//! ```
//! Invariant: nothing a pool sends changes this link before its channel is open, except the answers that open it.

mod jobs;
mod open;
mod own;
mod probe;
mod shares;
#[cfg(test)]
mod tests;
mod workers;

use super::{Event, Link, Output, Phase, Protocol};
use crate::stratum::v2::frame::Frame;
use crate::stratum::v2::message::{self, CloseChannel, FromPool};
use jobs::Jobs;
use open::Stage;
use probe::Probe;
use std::time::Instant;
use workers::Workers;

/// The number of the account's channel; V1 has no other.
pub(super) const ACCOUNT: u32 = 0;

/// What a V2 connection knows beyond what every link does; idle on V1.
#[derive(Debug, Default)]
pub(super) struct Channel {
    stage: Stage,
    /// Ids of our requests on this connection; each is used once.
    requests: u32,
    /// Where this connection leads, if the pool sent us there.
    pub(super) endpoint: Option<(String, u16)>,
    /// The pool takes no version but the job's.
    fixed_version: bool,
    /// The pool takes a worker's name with each share (extension 0x0002).
    identities: bool,
    /// It has said, by words or by silence, that it does not.
    nameless: bool,
    /// Those of the account's channel.
    jobs: Jobs,
    pub(super) workers: Workers,
    /// Since when there is no work on the pool's newest block.
    pub(super) idle_since: Option<Instant>,
    probe: Probe,
}

impl Channel {
    /// The connection is gone, and its channels with it.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Setup;
        self.idle_since = None;
        self.workers.lost();
    }

    /// Our channel's id and its group's.
    fn ids(&self) -> Option<(u32, u32)> {
        match self.stage {
            Stage::Open { channel, group } => Some((channel, group)),
            _ => None,
        }
    }

    /// Whether a message for channel `id` is for ours alone.
    fn is_ours(&self, id: u32) -> bool {
        self.ids().is_some_and(|(channel, _)| channel == id)
    }

    /// Whether it is for ours, alone or with its group.
    fn reaches_us(&self, id: u32) -> bool {
        self.ids()
            .is_some_and(|(channel, group)| channel == id || group == id)
    }

    /// Our number of the channel that the pool calls so: 0 is the account's, the others are workers'.
    fn number(&self, id: u32) -> Option<u32> {
        if self.is_ours(id) {
            return Some(ACCOUNT);
        }
        self.workers.by_id(id).map(|own| own.number)
    }

    fn request(&mut self) -> u32 {
        self.requests = self.requests.wrapping_add(1);
        self.requests
    }
}

impl Link {
    pub(super) fn frame(&mut self, now: Instant, frame: &Frame<'_>) {
        if !self.is_open() {
            return;
        }
        match FromPool::parse(frame) {
            Ok(Some(message)) => self.told(now, message),
            // Extensions and messages we do not know are ignored (spec 3.4): we are the endpoint.
            Ok(None) => {}
            Err(_) => self.bad_notify(now, "a frame that is malformed"),
        }
    }

    fn told(&mut self, now: Instant, message: FromPool<'_>) {
        self.go_on_without_extensions(&message);
        match message {
            FromPool::SetupConnectionSuccess(told) => self.set_up(now, &told),
            FromPool::SetupConnectionError(told) => self.setup_refused(now, told.error_code),
            FromPool::RequestExtensionsSuccess(told) => self.extensions(&told),
            FromPool::RequestExtensionsError(_) => self.no_extensions(),
            FromPool::OpenExtendedMiningChannelSuccess(told) => self.opened(now, &told),
            FromPool::OpenMiningChannelError(told) => self.open_refused(now, &told),
            FromPool::NewExtendedMiningJob(told) => self.new_job(now, &told),
            FromPool::SetNewPrevHash(told) => self.new_prev_hash(now, &told),
            FromPool::SetTarget(told) => self.set_target(now, &told),
            FromPool::SetExtranoncePrefix(told) => self.set_extranonce_prefix(&told),
            FromPool::SetGroupChannel(told) => self.set_group(&told),
            FromPool::SubmitSharesSuccess(told) => self.shares_accepted(now, &told),
            FromPool::SubmitSharesError(told) => self.share_refused(now, &told),
            FromPool::UpdateChannelError(told)
                if self.channel.number(told.channel_id).is_some() =>
            {
                let text = message::text(told.error_code);
                let text = format!("it refused our UpdateChannel: {text}");
                self.outputs.push_back(Output::Event(Event::Message(text)));
            }
            FromPool::CloseChannel(told) if self.channel.reaches_us(told.channel_id) => {
                let text = message::text(told.reason_code);
                self.down(now, &format!("it closed our channel: {text}"));
            }
            FromPool::CloseChannel(told) => self.own_closed(told.channel_id, told.reason_code),
            FromPool::Reconnect(told) => {
                let host = message::text(told.new_host).into_owned();
                let port = (told.new_port != 0).then_some(told.new_port);
                self.reconnect(now, (!host.is_empty()).then_some(host), port, 0);
            }
            FromPool::ChannelEndpointChanged(told) => self.endpoint_changed(told.channel_id),
            // Standard channels are never opened; what is said of foreign channels is not for us.
            FromPool::OpenStandardMiningChannelSuccess(_)
            | FromPool::NewMiningJob(_)
            | FromPool::UpdateChannelError(_) => {}
        }
    }

    /// All of ours end: the pool is told (spec 5.3.9).
    fn close_channels(&mut self) {
        self.close_owns();
        if let Some((channel_id, _)) = self.channel.ids() {
            let close = CloseChannel {
                channel_id,
                reason_code: b"shutdown",
            };
            close.write(&mut self.out);
        }
    }

    /// When something of V2 alone is due: an answer waited for, or a probe.
    pub(super) fn v2_timer(&self) -> Option<(Instant, &'static str)> {
        if self.config.protocol == Protocol::V1 || !self.is_open() {
            return None;
        }
        let extensions = self.channel.stage.patience();
        let extensions = extensions.map(|until| (until, "extensions"));
        extensions.or_else(|| self.probe_due())
    }

    pub(super) fn v2_timeout(&mut self, now: Instant) {
        if self.v2_timer().is_none_or(|(due, _)| now < due) {
            return;
        }
        match self.phase {
            Phase::LoggingIn(_) => self.extensions_known(),
            Phase::Up(_) => self.send_probe(now),
            _ => {}
        }
    }
}
