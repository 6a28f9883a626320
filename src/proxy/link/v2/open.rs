//! From a fresh connection to an open channel, and how much hashrate the pool shall expect on it.
//!
//! Not the jobs. Every refusal is met by the state we are in, never by the text of its code (spec 3.5). Invariant: at most one
//! opening waits for its answer; a channel that is given to an older request is not ours.

use super::super::job::{Bound, Extranonce};
use super::super::{AGENT, Event, Identity, Link, Output, Phase, SUGGEST_AGAIN};
use super::Channel;
use super::jobs::Jobs;
use crate::stratum::v2::message::{
    self, FromPool, MINING, Numbers, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess,
    OpenMiningChannelError, REQUIRES_FIXED_VERSION, RequestExtensions, RequestExtensionsSuccess,
    SetupConnection, SetupConnectionSuccess, UpdateChannel, VERSION, WORKER_HASHRATE,
};
use crate::work::Target;
use std::time::{Duration, Instant};

/// How long a pool may take to say which extensions it has; peers without extension 0x0001 stay silent for ever.
const EXTENSIONS: Duration = Duration::from_secs(2);
/// Bytes of extranonce asked for first and last: the widest layout and the narrowest that can be shared.
const WANTED: u16 = 8;
const LEAST: u16 = 4;
/// The longest extranonce that a share can carry (B0_32).
pub(super) const LONGEST: u16 = 32;
/// Version bits that a job which allows rolling leaves to us (BIP 323, spec 5.1).
pub(super) const ROLLABLE: u32 = 0x1fff_ffe0;

/// How far the opening is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Stage {
    /// SetupConnection is not answered.
    #[default]
    Setup,
    /// RequestExtensions is not answered; this long it may stay so.
    Extensions { until: Instant },
    /// A channel with this much extranonce was asked for.
    Opening { request: u32, size: u16 },
    /// Ours, and the group it belongs to.
    Open { channel: u32, group: u32 },
}

impl Stage {
    pub(super) fn patience(self) -> Option<Instant> {
        match self {
            Self::Extensions { until } => Some(until),
            _ => None,
        }
    }
}

impl Link {
    /// The first words on a new connection. No flags: without them a pool may do as it likes, and we can do with all of it.
    pub(in super::super) fn open_v2(&mut self) {
        let old = std::mem::take(&mut self.channel);
        self.channel = Channel {
            endpoint: old.endpoint,
            probe: old.probe.on_a_new_connection(),
            workers: old.workers,
            ..Channel::default()
        };
        let (host, port) = match &self.channel.endpoint {
            Some((host, 0)) => (host, self.config.port),
            Some((host, port)) => (host, *port),
            None => (&self.config.host, self.config.port),
        };
        let setup = SetupConnection {
            protocol: MINING,
            min_version: VERSION,
            max_version: VERSION,
            flags: 0,
            endpoint_host: message::clip(host),
            endpoint_port: port,
            vendor: b"sluice",
            hardware_version: b"proxy",
            firmware: AGENT.as_bytes(),
            // No telemetry of ours (spec 3.6.1).
            device_id: b"",
        };
        setup.write(&mut self.out);
    }

    pub(super) fn set_up(&mut self, now: Instant, told: &SetupConnectionSuccess) {
        if !matches!(self.phase, Phase::Subscribing(_)) {
            return;
        }
        if told.used_version != VERSION {
            return self.down(now, "it wants a version of Stratum V2 that is not 2");
        }
        self.channel.fixed_version = told.flags & REQUIRES_FIXED_VERSION != 0;
        self.version_mask = Some(self.mask(true));
        self.phase = Phase::LoggingIn(now);
        if self.config.identity == Identity::Worker {
            self.request_extensions();
            let until = now + EXTENSIONS;
            self.channel.stage = Stage::Extensions { until };
        } else {
            self.open_channel();
        }
    }

    pub(super) fn setup_refused(&mut self, now: Instant, code: &[u8]) {
        if matches!(self.phase, Phase::Subscribing(_)) {
            self.refused(now, code, "it refused our SetupConnection");
        }
    }

    fn refused(&mut self, now: Instant, code: &[u8], reason: &str) {
        let text = message::text(code).into_owned();
        self.outputs
            .push_back(Output::Event(Event::LoginRefused(text)));
        self.down(now, reason);
    }

    /// The version bits we may roll in a job that does or does not allow it.
    pub(super) fn mask(&self, allowed: bool) -> u32 {
        if allowed && !self.channel.fixed_version {
            ROLLABLE & self.config.version_mask
        } else {
            0
        }
    }

    fn request_extensions(&mut self) {
        let [a, b, ..] = self.channel.request().to_le_bytes();
        let request = RequestExtensions {
            request_id: u16::from_le_bytes([a, b]),
            requested_extensions: Numbers(&[WORKER_HASHRATE.to_le_bytes()]),
        };
        request.write(&mut self.out);
    }

    pub(super) fn extensions(&mut self, told: &RequestExtensionsSuccess<'_>) {
        let granted = told.supported_extensions.iter();
        // Also when it comes late; never what we did not ask for.
        self.channel.identities = self.config.identity == Identity::Worker
            && granted
                .take(64)
                .any(|extension| extension == WORKER_HASHRATE);
        self.extensions_known();
    }

    /// A pool that requires what we do not have closes; we need nothing of it.
    pub(super) fn no_extensions(&mut self) {
        self.channel.identities = false;
        self.extensions_known();
    }

    pub(super) fn extensions_known(&mut self) {
        self.channel.nameless = !self.channel.identities;
        if matches!(self.channel.stage, Stage::Extensions { .. }) {
            self.open_channel();
        }
    }

    /// A pool that talks of other things has no answer for us.
    pub(super) fn go_on_without_extensions(&mut self, message: &FromPool<'_>) {
        let is_answer = matches!(
            message,
            FromPool::RequestExtensionsSuccess(_) | FromPool::RequestExtensionsError(_)
        );
        if !is_answer && matches!(self.channel.stage, Stage::Extensions { .. }) {
            self.extensions_known();
        }
    }

    /// Whoever is behind the channel now has agreed to nothing yet (spec 3.6.4).
    pub(super) fn endpoint_changed(&mut self, channel: u32) {
        if self.channel.reaches_us(channel) && std::mem::take(&mut self.channel.identities) {
            self.request_extensions();
        }
    }

    fn open_channel(&mut self) {
        self.ask_for(WANTED);
    }

    fn ask_for(&mut self, size: u16) {
        let request = self.channel.request();
        self.channel.stage = Stage::Opening { request, size };
        self.suggested_for = self.fleet;
        self.write_open(request, size);
    }

    /// Also how a probe is written, with a size that nobody can give.
    pub(super) fn write_open(&mut self, request_id: u32, min_extranonce_size: u16) {
        let account = self.names.account();
        let open = OpenExtendedMiningChannel {
            request_id,
            user_identity: message::clip(&account),
            nominal_hash_rate: nominal(self.fleet),
            max_target: self.easiest_target(self.fleet),
            min_extranonce_size,
        };
        open.write(&mut self.out);
    }

    /// A pool that gives less than asked gives what it has: it is taken, and excluded if no layout fits.
    pub(super) fn opened(&mut self, now: Instant, told: &OpenExtendedMiningChannelSuccess<'_>) {
        if self.probe_answered(now, told.request_id, Some(told.channel_id))
            || self.own_opened(now, told)
        {
            return;
        }
        match self.channel.stage {
            Stage::Opening { request, .. } if request == told.request_id => {}
            _ => return,
        }
        let usable = (1..=LONGEST).contains(&told.extranonce_size);
        let size = u8::try_from(told.extranonce_size).ok().filter(|_| usable);
        let (Some(size), Some(bound)) = (size, Bound::of_target(&told.target)) else {
            return self.down(
                now,
                "the channel it opened has no usable extranonce or target",
            );
        };
        let extranonce = Extranonce {
            prefix: told.extranonce_prefix.to_vec(),
            size,
        };
        self.channel.stage = Stage::Open {
            channel: told.channel_id,
            group: told.group_channel_id,
        };
        self.channel.jobs = Jobs::under(extranonce.clone());
        self.extranonce = Some(extranonce);
        self.set_bound(bound);
        self.phase = Phase::Jobless(now);
        // It may have changed since we asked.
        self.update_channel();
    }

    pub(super) fn open_refused(&mut self, now: Instant, told: &OpenMiningChannelError<'_>) {
        if self.probe_answered(now, told.request_id, None) || self.own_refused(now, told) {
            return;
        }
        match self.channel.stage {
            Stage::Opening { request, size } if request == told.request_id => {
                if size > LEAST {
                    self.ask_for(size - 1);
                } else {
                    self.refused(now, told.error_code, "it refused us a channel");
                }
            }
            _ => {}
        }
    }

    /// No share need be easier than the easiest of our listeners' or than what a fleet of this hashrate needs for the wanted
    /// number of shares: SRI's pool answers an idle channel with a target that every hash meets, and to a miner nothing is
    /// told above its link's difficulty.
    pub(super) fn easiest_target(&self, rate: f64) -> [u8; 32] {
        let wanted = self.wanted_difficulty(rate);
        Target::from_difficulty(wanted.max(self.config.easiest)).to_le_bytes()
    }

    /// Tells the pool how much to expect: when it has changed much, and when it became nothing or something (spec 5.3.7).
    pub(in super::super) fn update_channel(&mut self) {
        let Some((channel_id, _)) = self.channel.ids() else {
            return;
        };
        let rate = self.account_rate();
        if !changed_much(self.suggested_for, rate) {
            return;
        }
        self.suggested_for = rate;
        let update = UpdateChannel {
            channel_id,
            nominal_hash_rate: nominal(rate),
            maximum_target: self.easiest_target(rate),
        };
        update.write(&mut self.out);
    }
}

/// Hashes per second as a V2 message carries them; 0 when nothing is below (spec 5.3.2).
pub(super) fn nominal(fleet: f64) -> f32 {
    if fleet > 0.0 {
        fleet.min(f64::from(f32::MAX)) as f32
    } else {
        0.0
    }
}

/// Whether a hash rate is another than the one that a pool was told, so that it is worth a word.
pub(super) fn changed_much(told: f64, now: f64) -> bool {
    let (told, now) = (nominal(told), nominal(now));
    let factor = SUGGEST_AGAIN as f32;
    if now == 0.0 || told == 0.0 {
        now != told
    } else {
        now >= told * factor || now <= told / factor
    }
}
