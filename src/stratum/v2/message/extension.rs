//! Which extensions both sides speak: extension 0x0001, "Extensions Negotiation", section 2.
//!
//! Who does not know it stays silent, so the question needs a deadline. Invariant: [`super`]'s.

use super::U16s;
use crate::stratum::v2::wire::message;

/// Extension 0x0002, "Worker-Specific Hashrate Tracking": see [`crate::stratum::v2::tlv`].
pub const WORKER_HASHRATE: u16 = 0x0002;

message! {
    /// Asks for extensions, right after `SetupConnectionSuccess` (client to server).
    RequestExtensions<'a> = 0x00 in Negotiation {
        /// The client's, for the answer.
        request_id: u16 = u16,
        /// The extensions that the client wants.
        requested_extensions: U16s<'a> = numbers,
    }
}

message! {
    /// These of them (server to client).
    RequestExtensionsSuccess<'a> = 0x01 in Negotiation {
        /// The client's.
        request_id: u16 = u16,
        /// What may be used from now on.
        supported_extensions: U16s<'a> = numbers,
    }
}

message! {
    /// None of them, or not enough of them (server to client).
    RequestExtensionsError<'a> = 0x02 in Negotiation {
        /// The client's.
        request_id: u16 = u16,
        /// Asked for and not spoken.
        unsupported_extensions: U16s<'a> = numbers,
        /// Demanded and not asked for: the server closes the connection if they are not asked for next.
        required_extensions: U16s<'a> = numbers,
    }
}
