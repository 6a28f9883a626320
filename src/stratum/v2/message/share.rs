//! Shares and what becomes of them: SV2 specification 5.3.11 to 5.3.14.
//!
//! Invariant: [`super`]'s.

use crate::stratum::v2::wire::message;

message! {
    /// A share of a standard channel (5.3.11, client to server).
    SubmitSharesStandard = 0x1a in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// The client's, rising within the channel.
        sequence_number: u32 = u32,
        /// The server's number of the job.
        job_id: u32 = u32,
        /// Of the header.
        nonce: u32 = u32,
        /// Of the header, in seconds of Unix time.
        ntime: u32 = u32,
        /// Of the header, whole.
        version: u32 = u32,
    }
}

message! {
    /// A share of an extended channel (5.3.12, client to server).
    SubmitSharesExtended<'a> = 0x1b in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// The client's, rising within the channel.
        sequence_number: u32 = u32,
        /// The server's number of the job.
        job_id: u32 = u32,
        /// Of the header.
        nonce: u32 = u32,
        /// Of the header, in seconds of Unix time.
        ntime: u32 = u32,
        /// Of the header, whole.
        version: u32 = u32,
        /// The client's part, as long as the channel's `extranonce_size`.
        extranonce: &'a [u8] = bytes_32,
        /// Fields of extensions: see [`crate::stratum::v2::tlv`]. Empty where none was agreed on.
        tlv: &'a [u8] = rest,
    }
}

message! {
    /// Shares that were taken, several in one message (5.3.13, server to client).
    SubmitSharesSuccess = 0x1c in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// Newest of them.
        last_sequence_number: u32 = u32,
        /// How many since the last such message.
        new_submits_accepted_count: u32 = u32,
        /// Sum of their difficulties.
        new_shares_sum: u64 = u64,
    }
}

message! {
    /// A share that was not taken (5.3.14, server to client).
    SubmitSharesError<'a> = 0x1d in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// The client's.
        sequence_number: u32 = u32,
        /// See [`crate::stratum::v2::code`].
        error_code: &'a [u8] = text,
    }
}
