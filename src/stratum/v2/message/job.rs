//! What is to be mined: SV2 specification 5.3.15 to 5.3.20.
//!
//! A job without `min_ntime` is a future job: it waits for the `SetNewPrevHash` that names it. Of custom jobs only as much
//! is read as refusing them takes. Invariant: [`super`]'s.

use super::Hashes;
use crate::stratum::v2::wire::message;

message! {
    /// Work with its Merkle root fixed, for a standard channel (5.3.15, server to client).
    NewMiningJob = 0x15 in Channel {
        /// Which channel; never a group.
        channel_id: u32 = u32,
        /// The server's number for it.
        job_id: u32 = u32,
        /// Smallest time to mine with, in seconds of Unix time; none for a future job.
        min_ntime: Option<u32> = option_u32,
        /// Of the header; the bits of BIP 323 may be rolled.
        version: u32 = u32,
        /// Of the header.
        merkle_root: [u8; 32] = u256,
    }
}

message! {
    /// Work with an extranonce to fill in, for an extended channel or a group (5.3.16, server to client).
    NewExtendedMiningJob<'a> = 0x1f in Channel {
        /// Which channel or group.
        channel_id: u32 = u32,
        /// The server's number for it.
        job_id: u32 = u32,
        /// Smallest time to mine with, in seconds of Unix time; none for a future job.
        min_ntime: Option<u32> = option_u32,
        /// Of the header.
        version: u32 = u32,
        /// Whether the bits of BIP 323 may be rolled.
        version_rolling_allowed: bool = bool,
        /// From the coinbase up.
        merkle_path: Hashes<'a> = hashes,
        /// The coinbase transaction, without witness, up to the extranonce prefix.
        coinbase_tx_prefix: &'a [u8] = bytes_64k,
        /// The coinbase transaction after the extranonce.
        coinbase_tx_suffix: &'a [u8] = bytes_64k,
    }
}

message! {
    /// A new block to mine on, with the only job that is valid for it so far (5.3.17, server to client).
    SetNewPrevHash = 0x20 in Channel {
        /// Which channel or group.
        channel_id: u32 = u32,
        /// The future job that is active from now on.
        job_id: u32 = u32,
        /// Of the header.
        prev_hash: [u8; 32] = u256,
        /// Smallest time to mine with, in seconds of Unix time.
        min_ntime: u32 = u32,
        /// Of the header.
        nbits: u32 = u32,
    }
}

message! {
    /// A client's own job, as far as an answer needs it (5.3.18, client to server).
    SetCustomMiningJob<'a> = 0x22 in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// The client's, for the answer.
        request_id: u32 = u32,
        /// The job itself, unread.
        job: &'a [u8] = rest,
    }
}

message! {
    /// Not that job (5.3.20, server to client).
    SetCustomMiningJobError<'a> = 0x24 in Channel {
        /// Which channel.
        channel_id: u32 = u32,
        /// The client's.
        request_id: u32 = u32,
        /// See [`crate::stratum::v2::code`].
        error_code: &'a [u8] = text,
    }
}
