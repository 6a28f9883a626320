//! What a simulated V2 miner finds wrong with its peer, beyond what V1 miners know (sim/watch.rs).
//!
//! Invariant: one connection, one `WatchV2`; silence is told once for each time it happens.

use super::super::watch::Violation;
use std::time::{Duration, Instant};

/// A pool that says nothing for so long is silent: three times the longest usual pause between jobs.
const SILENCE: Duration = Duration::from_secs(90);

/// A rule of V2 broken by the peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Breach {
    /// An active job without a prev-hash, or a prev-hash for a job never sent (5.3.15, 5.3.17).
    UnknownPrevHash,
    /// The first job of a channel was not a future one (5.3.15).
    FirstJobNotFuture,
    /// A target easier than the channel's maximum (5.3.2).
    TargetAboveMax,
    /// A message for a channel that was not opened, or was closed by the peer.
    WrongChannel,
    /// A job that this channel cannot take (5.3.15, 5.3.16).
    WrongKindOfJob,
    /// A channel or group number used before on this connection (5.2).
    ChannelIdReused,
    /// Less extranonce than asked for (5.3.4).
    ExtranonceTooSmall,
    /// Channels of one group with different full extranonce sizes (5.2.3).
    UnevenGroup,
    /// A mining message before `SetupConnection.Success`.
    MessageBeforeSetup,
    /// An acknowledgement that counts other than what it covers (5.3.13).
    AckMiscounted,
    /// A message of an extension that was not negotiated, or one that only a client sends.
    UnknownMessage,
    /// The peer closed a channel.
    ChannelClosed,
    /// `UpdateChannel.Error`.
    UpdateRefused,
    /// A frame past the cap.
    FrameTooLong,
    /// The handshake failed, or its certificate is not of the key expected (section 4).
    Handshake,
}

impl Breach {
    /// In an operator's words.
    pub fn words(self) -> &'static str {
        match self {
            Self::UnknownPrevHash => "job and prev-hash do not belong together",
            Self::FirstJobNotFuture => "first job of a channel not a future one",
            Self::TargetAboveMax => "target easier than the channel's maximum",
            Self::WrongChannel => "message for a channel that is not open",
            Self::WrongKindOfJob => "job of a kind the channel cannot take",
            Self::ChannelIdReused => "channel number reused",
            Self::ExtranonceTooSmall => "less extranonce than asked for",
            Self::UnevenGroup => "group with different extranonce sizes",
            Self::MessageBeforeSetup => "mining message before the setup",
            Self::AckMiscounted => "shares miscounted in an acknowledgement",
            Self::UnknownMessage => "message that was not agreed on",
            Self::ChannelClosed => "channel closed by the peer",
            Self::UpdateRefused => "update of a channel refused",
            Self::FrameTooLong => "frame without end",
            Self::Handshake => "handshake failed",
        }
    }
}

/// What a connection has shown so far.
#[derive(Debug)]
pub(super) struct WatchV2 {
    last_frame: Instant,
    /// Silence is promised not to happen only once a channel is open.
    open: bool,
    silence_told: bool,
    broken: Vec<Violation>,
}

impl WatchV2 {
    /// A new connection.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_frame: now,
            open: false,
            silence_told: false,
            broken: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, violation: Violation) {
        self.broken.push(violation);
    }

    pub(super) fn breach(&mut self, breach: Breach) {
        self.broken.push(Violation::V2(breach));
    }

    pub(super) fn take_broken(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.broken)
    }

    pub(super) fn frame(&mut self, now: Instant) {
        self.timeout(now);
        self.last_frame = now;
        self.silence_told = false;
    }

    pub(super) fn opened(&mut self) {
        self.open = true;
    }

    pub(super) fn last_frame(&self) -> Instant {
        self.last_frame
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| now >= at) {
            self.silence_told = true;
            self.broken.push(Violation::Silence);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        (self.open && !self.silence_told).then(|| self.last_frame + SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_at_its_limit_and_not_before() {
        let now = Instant::now();
        let mut watch = WatchV2::new(now);
        watch.timeout(now + 2 * SILENCE);
        watch.opened();
        watch.timeout(now + Duration::from_secs(89));
        assert!(watch.take_broken().is_empty());
        watch.timeout(now + SILENCE);
        watch.timeout(now + 2 * SILENCE);
        assert_eq!(watch.take_broken(), [Violation::Silence]);
    }
}
