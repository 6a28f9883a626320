//! The texts that say why: SV2 specification 3.5 and SRI's own.
//!
//! For sending only. Invariant: nothing branches on a text that a peer sent; its state decides.

/// To `SetupConnection`: a protocol other than mining.
pub const UNSUPPORTED_PROTOCOL: &str = "unsupported-protocol";
/// To `SetupConnection`: version 2 is not among the client's.
pub const PROTOCOL_VERSION_MISMATCH: &str = "protocol-version-mismatch";
/// To `SetupConnection`: a flag that we cannot serve; the message names them all.
pub const UNSUPPORTED_FEATURE_FLAGS: &str = "unsupported-feature-flags";

/// To a channel's opening: not a user of ours.
pub const UNKNOWN_USER: &str = "unknown-user";
/// To a channel's opening: the name of the user cannot be used.
pub const INVALID_USER_IDENTITY: &str = "invalid-user-identity";
/// To a channel's opening or update: a hash rate that cannot be.
pub const INVALID_NOMINAL_HASHRATE: &str = "invalid-nominal-hashrate";
/// To a channel's opening or update: a target harder than any that we give.
pub const MAX_TARGET_OUT_OF_RANGE: &str = "max-target-out-of-range";
/// To an extended channel's opening: more extranonce than there is.
pub const MIN_EXTRANONCE_SIZE_TOO_LARGE: &str = "min-extranonce-size-too-large";
/// To a channel's opening: no more channels on this connection, or no more lanes.
pub const CHANNEL_CAPACITY_EXHAUSTED: &str = "channel-capacity-exhausted";
/// To an extended channel's opening: the connection was set up for standard jobs alone.
pub const NO_EXTENDED_CHANNELS: &str = "extended-channels-not-supported-for-standard-jobs";

/// To all that names a channel: not one of this connection's.
pub const INVALID_CHANNEL_ID: &str = "invalid-channel-id";

/// To a share: its job was valid before the last block.
pub const STALE_SHARE: &str = "stale-share";
/// To a share: a job that was never given.
pub const INVALID_JOB_ID: &str = "invalid-job-id";
/// To a share: its hash is above the target.
pub const DIFFICULTY_TOO_LOW: &str = "difficulty-too-low";
/// To a share: it was here before.
pub const DUPLICATE_SHARE: &str = "duplicate-share";
/// To a share: its extranonce is not as long as the channel's.
pub const BAD_EXTRANONCE_SIZE: &str = "bad-extranonce-size";
/// To a share: its version is another than the job's, which does not allow it.
pub const VERSION_ROLLING_NOT_ALLOWED: &str = "version-rolling-not-allowed";
/// To a share: its version differs from the job's in a bit outside BIP 323.
pub const INVALID_VERSION_BIT: &str = "invalid-non-rollable-version-bit";
/// To a share: anything else, its time among it.
pub const INVALID_SHARE: &str = "invalid-share";

/// To `SetCustomMiningJob`: we do not take jobs from clients.
pub const JD_NOT_SUPPORTED: &str = "jd-not-supported";

#[cfg(test)]
mod tests {
    // sv2: 3.5 our error codes have no control characters
    #[test]
    fn every_code_is_of_small_letters_and_dashes() {
        let constants = include_str!("code.rs").lines();
        let constants = constants.filter_map(|line| line.strip_prefix("pub const "));
        let codes: Vec<_> = constants
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        assert!(codes.len() > 15, "{codes:?}");
        for code in codes {
            let small = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(!code.is_empty() && code.bytes().all(small), "{code:?}");
        }
    }
}
