//! `SetupConnection` and extensions: what this connection may do. No channels.
//!
//! Invariant: nothing is granted that every job could not keep.

use super::Session;
use crate::proxy::session::Close;
use crate::stratum::label::worker_label;
use crate::stratum::v2::code;
use crate::stratum::v2::message::{
    MINING, Numbers, REQUIRES_FIXED_VERSION, REQUIRES_STANDARD_JOBS, REQUIRES_VERSION_ROLLING,
    RequestExtensions, RequestExtensionsError, RequestExtensionsSuccess, SetupConnection,
    SetupConnectionError, SetupConnectionSuccess, VERSION, WORKER_HASHRATE, clip,
};
use std::sync::Arc;
use std::time::Instant;

/// The version bits that "version rolling allowed" promises to a client at least (BIP 320).
pub(super) const ROLLED: u32 = 0x1fff_e000;

/// Who is there and what was agreed.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Vendor, hardware and firmware, as a label.
    pub(super) agent: Arc<str>,
    /// It cannot process extended jobs.
    pub(super) standard_jobs: bool,
    /// It must be able to roll the version.
    pub(super) requires_rolling: bool,
    /// It was told that it may not.
    pub(super) fixed_version: bool,
    /// Shares may carry the name of their worker (extension 0x0002).
    pub(super) names_workers: bool,
}

impl Session {
    pub(super) fn set_up(&mut self, now: Instant, setup: &SetupConnection<'_>) {
        let can_roll = self.version_mask & ROLLED == ROLLED;
        if setup.protocol != MINING {
            return self.refuse_setup(0, code::UNSUPPORTED_PROTOCOL);
        }
        if !(setup.min_version..=setup.max_version).contains(&VERSION) {
            return self.refuse_setup(0, code::PROTOCOL_VERSION_MISMATCH);
        }
        let servable = if can_roll {
            REQUIRES_STANDARD_JOBS | REQUIRES_VERSION_ROLLING
        } else {
            REQUIRES_STANDARD_JOBS
        };
        if setup.flags & !servable != 0 {
            return self.refuse_setup(setup.flags & !servable, code::UNSUPPORTED_FEATURE_FLAGS);
        }
        let agent = [setup.vendor, setup.hardware_version, setup.firmware].join(&b'/');
        self.client = Some(Client {
            agent: worker_label(agent.trim_ascii()).into(),
            standard_jobs: setup.flags & REQUIRES_STANDARD_JOBS != 0,
            requires_rolling: setup.flags & REQUIRES_VERSION_ROLLING != 0,
            fixed_version: !can_roll,
            names_workers: false,
        });
        self.channelless_since = now;
        SetupConnectionSuccess {
            used_version: VERSION,
            flags: if can_roll { 0 } else { REQUIRES_FIXED_VERSION },
        }
        .write(&mut self.out);
    }

    fn refuse_setup(&mut self, flags: u32, why: &str) {
        SetupConnectionError {
            flags,
            error_code: clip(why),
        }
        .write(&mut self.out);
        self.close(Close::Misbehaved);
    }

    /// Extension 0x0001: of what is asked we know worker names in shares, 0x0002.
    pub(super) fn negotiate(&mut self, request: &RequestExtensions<'_>) {
        let known = request
            .requested_extensions
            .iter()
            .any(|extension| extension == WORKER_HASHRATE);
        if known {
            if let Some(client) = &mut self.client {
                client.names_workers = true;
            }
            RequestExtensionsSuccess {
                request_id: request.request_id,
                supported_extensions: Numbers(&[WORKER_HASHRATE.to_le_bytes()]),
            }
            .write(&mut self.out);
        } else {
            RequestExtensionsError {
                request_id: request.request_id,
                unsupported_extensions: request.requested_extensions,
                required_extensions: Numbers(&[]),
            }
            .write(&mut self.out);
        }
    }
}
