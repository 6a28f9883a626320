//! A pool that asks us to connect elsewhere: `client.reconnect` of V1, `Reconnect` of V2.
//!
//! Not the reconnecting itself, which is the link's back-off. Invariant: no pool leads us to a host that is neither its own
//! nor on its list.

use super::{Config, Event, Link, Output, Phase, Protocol};
use std::time::{Duration, Instant};

/// The waits of a reconnect that are honoured: no pool makes us hammer it, and the backup mines meanwhile.
const RECONNECT_WAIT_S: (u64, u64) = (1, 60);

impl Link {
    /// `None`, or an empty host: as configured.
    pub(super) fn reconnect(
        &mut self,
        now: Instant,
        host: Option<String>,
        port: Option<u16>,
        wait_s: u64,
    ) {
        let host = host.filter(|host| !host.is_empty());
        if let Some(host) = host
            .as_deref()
            .filter(|host| !reconnect_allowed(&self.config, host))
        {
            return self
                .outputs
                .push_back(Output::Event(Event::ReconnectRefused(host.to_owned())));
        }
        let redirect = match (host, port) {
            (None, None) => None,
            (host, port) => Some((
                host.unwrap_or_else(|| self.config.host.clone()),
                port.unwrap_or(0),
            )),
        };
        self.down(now, "it asked us to reconnect");
        self.redirect = redirect;
        if let Phase::Waiting(at) = &mut self.phase {
            let (least, most) = RECONNECT_WAIT_S;
            *at = now + Duration::from_secs(wait_s.clamp(least, most));
        }
    }
}

/// The host of a reconnect is allowed: our own, or on the list (`*.suffix` or exact); over plaintext V1 only our own. On V2
/// the certificate must be by the configured authority wherever it leads, so there the list is a second lock.
fn reconnect_allowed(config: &Config, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    if host == config.host.to_ascii_lowercase() {
        return true;
    }
    (config.tls || config.protocol == Protocol::V2)
        && config
            .reconnect_hosts
            .iter()
            .map(|allowed| allowed.to_ascii_lowercase())
            .any(|allowed| match allowed.strip_prefix("*.") {
                Some(suffix) => host
                    .strip_suffix(suffix)
                    .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
                None => allowed == host,
            })
}
