//! How the pool opens channels.
//!
//! Invariant: no two channels of the pool ever share a prefix, and all of one pool have the same full extranonce size.

use super::{
    BTreeMap, Batch, Channel, Connection, ConnectionId, Instant, Lie, Message, SimPoolV2, padded,
    target,
};
use crate::sim::v2::{
    message::{Open, Opened, REQUIRES_EXTENDED_CHANNELS},
    poolconfig::ExtranonceGrant,
};

impl SimPoolV2 {
    pub(super) fn open(&mut self, now: Instant, from: ConnectionId, open: &Open, standard: bool) {
        match self.admit(from, open, standard) {
            Ok(extranonce_size) => self.grant(now, from, open, standard, extranonce_size),
            Err(code) => {
                self.stats.opens_refused += 1;
                let (request, code) = (open.request, code.to_owned());
                self.send(now, from, &Message::OpenError { request, code });
            }
        }
    }

    /// The extranonce size granted, or the code of a refusal.
    fn admit(
        &self,
        from: ConnectionId,
        open: &Open,
        standard: bool,
    ) -> Result<usize, &'static str> {
        let barred = self.config.refuses_users.as_ref();
        let asked = usize::from(open.min_extranonce);
        let available = self.config.extranonce_size;
        let extended_only = self.config.success_flags & REQUIRES_EXTENDED_CHANNELS != 0;
        let channels = self.connections.get(&from).map_or(0, |c| c.channels.len());
        if barred.is_some_and(|part| open.user.contains(part.as_str())) {
            return Err("unknown-user");
        }
        if channels >= self.config.channels {
            return Err("too-many-channels");
        }
        if !(open.hashrate.is_finite() && open.hashrate >= 0.0) {
            return Err("invalid-nominal-hashrate");
        }
        if standard {
            return (!extended_only)
                .then_some(0)
                .ok_or("standard-channels-not-supported");
        }
        if self.standard_only(from) {
            return Err("extended-channels-not-supported-on-this-connection");
        }
        match self.config.grant {
            ExtranonceGrant::Fixed(size) => Ok(size.min(available)),
            _ if asked > available => Err("min-extranonce-size-too-large"),
            ExtranonceGrant::All => Ok(available),
            ExtranonceGrant::Asked => Ok(asked),
        }
    }

    fn grant(
        &mut self,
        now: Instant,
        from: ConnectionId,
        open: &Open,
        standard: bool,
        extranonce_size: usize,
    ) {
        let full = self.config.prefix_size + self.config.extranonce_size;
        let prefix = padded(&self.new_prefix(), full - extranonce_size);
        let hashrate = f64::from(open.hashrate);
        let max_target = target::of_bytes(&open.max_target);
        let target = self.policy(hashrate, max_target);
        let reused = self.lies(Lie::ChannelIdReused);
        let Some(connection) = self.connections.get_mut(&from) else {
            return;
        };
        let first = connection.channels.keys().next().copied();
        let id = first.filter(|_| reused);
        let id = id.unwrap_or_else(|| Connection::take_id(connection));
        let group = connection.group;
        let channel = Channel {
            standard,
            user: open.user.clone(),
            hashrate,
            group,
            prefix: prefix.clone(),
            extranonce_size,
            max_target,
            target,
            terms: BTreeMap::new(),
            shares: 0,
            batch: Batch::default(),
        };
        connection.channels.insert(id, channel);
        self.stats.channels_total += 1;
        self.stats.extended_total += u64::from(!standard);
        let opened = Opened {
            request: open.request,
            channel: id,
            target: target::to_bytes(target),
            extranonce_size: extranonce_size as u16,
            prefix,
            group,
        };
        let message = if standard {
            Message::OpenedStandard(opened)
        } else {
            Message::OpenedExtended(opened)
        };
        self.send(now, from, &message);
        self.welcome(now, from, id);
    }
}
