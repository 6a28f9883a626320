//! Channels: opened, changed, grouped, closed. SV2 specification 5.3.2 to 5.3.10, 5.3.21 and 5.3.22.
//!
//! Not what is mined on them. Invariant: [`super`]'s.

use super::U32s;
use crate::stratum::v2::wire::message;

message! {
    /// Asks for a channel whose jobs have their Merkle root fixed (5.3.2, client to server).
    OpenStandardMiningChannel<'a> = 0x10 in Connection {
        /// The client's, for the answer.
        request_id: u32 = u32,
        /// Who mines.
        user_identity: &'a [u8] = text,
        /// Expected hashes per second; 0 of a proxy with nobody below it.
        nominal_hash_rate: f32 = hash_rate,
        /// Easiest target that the client accepts.
        max_target: [u8; 32] = u256,
    }
}

message! {
    /// A standard channel is open (5.3.3, server to client).
    OpenStandardMiningChannelSuccess<'a> = 0x11 in Connection {
        /// The client's.
        request_id: u32 = u32,
        /// The channel, for the life of the connection.
        channel_id: u32 = u32,
        /// Its first target.
        target: [u8; 32] = u256,
        /// The whole extranonce of its coinbases.
        extranonce_prefix: &'a [u8] = bytes_32,
        /// The group that it is in.
        group_channel_id: u32 = u32,
    }
}

message! {
    /// Asks for a channel whose jobs have an extranonce to roll or to split (5.3.4, client to server).
    OpenExtendedMiningChannel<'a> = 0x13 in Connection {
        /// The client's, for the answer.
        request_id: u32 = u32,
        /// Who mines.
        user_identity: &'a [u8] = text,
        /// Expected hashes per second; 0 of a proxy with nobody below it.
        nominal_hash_rate: f32 = hash_rate,
        /// Easiest target that the client accepts.
        max_target: [u8; 32] = u256,
        /// Fewest bytes of extranonce that the client needs.
        min_extranonce_size: u16 = u16,
    }
}

message! {
    /// An extended channel is open (5.3.5, server to client).
    OpenExtendedMiningChannelSuccess<'a> = 0x14 in Connection {
        /// The client's.
        request_id: u32 = u32,
        /// The channel, for the life of the connection.
        channel_id: u32 = u32,
        /// Its first target.
        target: [u8; 32] = u256,
        /// Bytes of extranonce that are the client's.
        extranonce_size: u16 = u16,
        /// Bytes that stand before them.
        extranonce_prefix: &'a [u8] = bytes_32,
        /// The group that it is in.
        group_channel_id: u32 = u32,
    }
}

message! {
    /// No channel, of either kind, for that request (5.3.6, server to client).
    OpenMiningChannelError<'a> = 0x12 in Connection {
        /// The client's.
        request_id: u32 = u32,
        /// See [`crate::stratum::v2::code`].
        error_code: &'a [u8] = text,
    }
}

message! {
    /// What is below a channel has changed (5.3.7, client to server).
    UpdateChannel = 0x16 in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// Expected hashes per second.
        nominal_hash_rate: f32 = hash_rate,
        /// Easiest target that the client accepts from now on.
        maximum_target: [u8; 32] = u256,
    }
}

message! {
    /// A change that the server cannot follow (5.3.8, server to client).
    UpdateChannelError<'a> = 0x17 in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// See [`crate::stratum::v2::code`].
        error_code: &'a [u8] = text,
    }
}

message! {
    /// The end of a channel, or of all channels of a group (5.3.9, either way).
    CloseChannel<'a> = 0x18 in Channel {
        /// Which channel or group.
        channel_id: u32 = u32,
        /// Why.
        reason_code: &'a [u8] = text,
    }
}

message! {
    /// Another prefix, for jobs sent after it (5.3.10, server to client).
    SetExtranoncePrefix<'a> = 0x19 in Channel {
        /// Which channel; never a group.
        channel_id: u32 = u32,
        /// As long as the one before it.
        extranonce_prefix: &'a [u8] = bytes_32,
    }
}

message! {
    /// Another target, for jobs sent after it and for future jobs (5.3.21, server to client).
    SetTarget = 0x21 in Channel {
        /// Which channel or group.
        channel_id: u32 = u32,
        /// The largest hash that is a share.
        maximum_target: [u8; 32] = u256,
    }
}

message! {
    /// These channels are in that group from now on (5.3.22, server to client).
    SetGroupChannel<'a> = 0x25 in Connection {
        /// The group; numbered as channels are.
        group_channel_id: u32 = u32,
        /// Channels that are open.
        channel_ids: U32s<'a> = numbers,
    }
}
