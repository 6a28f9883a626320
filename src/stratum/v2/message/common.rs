//! How a connection begins and moves: SV2 specification 3.6.
//!
//! Not what it is for: channels, jobs and shares are the mining protocol's. Invariant: [`super`]'s.

use crate::stratum::v2::wire::message;

/// `SetupConnection.protocol`: the mining protocol, the only one we speak.
pub const MINING: u8 = 0;
/// The version of the protocol, the only one there is.
pub const VERSION: u16 = 2;

/// `SetupConnection.flags`, 5.3.1: the client cannot work on extended jobs.
pub const REQUIRES_STANDARD_JOBS: u32 = 1 << 0;
/// `SetupConnection.flags`: the client will send `SetCustomMiningJob`.
pub const REQUIRES_WORK_SELECTION: u32 = 1 << 1;
/// `SetupConnection.flags`: jobs must let the client roll the version.
pub const REQUIRES_VERSION_ROLLING: u32 = 1 << 2;

/// `SetupConnectionSuccess.flags`, 5.3.1: the server takes no change of a job's version.
pub const REQUIRES_FIXED_VERSION: u32 = 1 << 0;
/// `SetupConnectionSuccess.flags`: the server opens no standard channel.
pub const REQUIRES_EXTENDED_CHANNELS: u32 = 1 << 1;

message! {
    /// The first message on every connection (3.6.1, client to server).
    SetupConnection<'a> = 0x00 in Connection {
        /// [`MINING`], or another that we do not speak.
        protocol: u8 = u8,
        /// Oldest version that the client speaks.
        min_version: u16 = u16,
        /// Newest version that the client speaks.
        max_version: u16 = u16,
        /// What the client cannot do without: `REQUIRES_STANDARD_JOBS` and so on.
        flags: u32 = u32,
        /// Name or address that the client connected to.
        endpoint_host: &'a [u8] = text,
        /// Port that the client connected to.
        endpoint_port: u16 = u16,
        /// Who made the client.
        vendor: &'a [u8] = text,
        /// What hardware it is.
        hardware_version: &'a [u8] = text,
        /// What firmware it runs.
        firmware: &'a [u8] = text,
        /// Which one it is; empty if it does not want to say.
        device_id: &'a [u8] = text,
    }
}

message! {
    /// The connection is set up (3.6.2, server to client).
    SetupConnectionSuccess = 0x01 in Connection {
        /// Version spoken from here on.
        used_version: u16 = u16,
        /// What the server demands: `REQUIRES_FIXED_VERSION`, `REQUIRES_EXTENDED_CHANNELS`.
        flags: u32 = u32,
    }
}

message! {
    /// The connection is not set up and will be closed (3.6.3, server to client).
    SetupConnectionError<'a> = 0x02 in Connection {
        /// All flags that the server cannot serve; 0 if they are not the reason.
        flags: u32 = u32,
        /// See [`crate::stratum::v2::code`].
        error_code: &'a [u8] = text,
    }
}

message! {
    /// Somebody else is at the end of a channel: what was agreed on extensions is void (3.6.4, server to client).
    ChannelEndpointChanged = 0x03 in Channel {
        /// Which channel.
        channel_id: u32 = u32,
    }
}

message! {
    /// Connect elsewhere, where the same authority's certificate is shown (3.6.5, server to client).
    Reconnect<'a> = 0x04 in Connection {
        /// Where to; empty for the same host.
        new_host: &'a [u8] = text,
        /// 0 for the same port.
        new_port: u16 = u16,
    }
}
