//! Every message there and back, at its largest and cut short.

mod texts;

use super::*;
use crate::stratum::v2::frame::{Frames, Header};

const HASH: [u8; 32] = [0xab; 32];

/// Writes a message, reads it back as the given direction's, and cuts it short everywhere.
macro_rules! survives {
    ($from:ident::$name:ident { $($field:ident: $value:expr),* $(,)? }, $channel:literal) => {{
        let message = $name { $($field: $value),* };
        let mut out = vec![0xee];
        message.write(&mut out);
        let bytes = &out[1..];
        let mut chunk = bytes;
        let mut frames = Frames::new(1 << 24);
        let frame = frames.next(&mut chunk).expect("whole").expect("no cap");
        assert_eq!(frame.header.kind, $name::KIND);
        assert_eq!(frame.header.channel_message, $channel);
        assert_eq!($from::parse(&frame), Ok(Some($from::$name(message))));
        for end in 0..frame.payload.len() - ends_in_rest(stringify!($name)) {
            assert_eq!($name::parse(&frame.payload[..end]), Err(Malformed::Short));
        }
        let unknown = Frame { header: Header { extension: 0x4000, ..frame.header }, ..frame };
        assert_eq!($from::parse(&unknown), Ok(None));
    }};
}

#[test]
fn what_sets_a_connection_up_survives() {
    survives!(
        FromMiner::SetupConnection {
            protocol: MINING,
            min_version: 2,
            max_version: 3,
            flags: REQUIRES_VERSION_ROLLING,
            endpoint_host: b"localhost",
            endpoint_port: 3333,
            vendor: b"",
            hardware_version: &[b'x'; 255],
            firmware: b"f",
            device_id: b"\xff",
        },
        false
    );
    survives!(
        FromPool::SetupConnectionSuccess {
            used_version: 2,
            flags: 3
        },
        false
    );
    survives!(
        FromPool::SetupConnectionError {
            flags: 1,
            error_code: b"unsupported-feature-flags"
        },
        false
    );
    survives!(FromPool::ChannelEndpointChanged { channel_id: 7 }, true);
    survives!(
        FromPool::Reconnect {
            new_host: b"pool.example",
            new_port: 3334
        },
        false
    );
    let extensions = Numbers(&[[2, 0], [0, 0x40]]);
    survives!(
        FromMiner::RequestExtensions {
            request_id: 1,
            requested_extensions: extensions
        },
        false
    );
    survives!(
        FromPool::RequestExtensionsSuccess {
            request_id: 1,
            supported_extensions: extensions
        },
        false
    );
    survives!(
        FromPool::RequestExtensionsError {
            request_id: 1,
            unsupported_extensions: extensions,
            required_extensions: Numbers(&[]),
        },
        false
    );
}

#[test]
fn what_opens_and_changes_a_channel_survives() {
    survives!(
        FromMiner::OpenStandardMiningChannel {
            request_id: 1,
            user_identity: b"a.b",
            nominal_hash_rate: 1e14,
            max_target: HASH,
        },
        false
    );
    survives!(
        FromMiner::OpenExtendedMiningChannel {
            request_id: 1,
            user_identity: b"a.b",
            nominal_hash_rate: 0.0,
            max_target: HASH,
            min_extranonce_size: 8,
        },
        false
    );
    survives!(
        FromPool::OpenStandardMiningChannelSuccess {
            request_id: 1,
            channel_id: 2,
            target: HASH,
            extranonce_prefix: &[1; 32],
            group_channel_id: 3,
        },
        false
    );
    survives!(
        FromPool::OpenExtendedMiningChannelSuccess {
            request_id: 1,
            channel_id: 2,
            target: HASH,
            extranonce_size: 8,
            extranonce_prefix: b"",
            group_channel_id: 3,
        },
        false
    );
    survives!(
        FromPool::OpenMiningChannelError {
            request_id: 1,
            error_code: b"unknown-user"
        },
        false
    );
    survives!(
        FromMiner::UpdateChannel {
            channel_id: 1,
            nominal_hash_rate: f32::MAX,
            maximum_target: HASH
        },
        true
    );
    survives!(
        FromPool::UpdateChannelError {
            channel_id: 1,
            error_code: b""
        },
        true
    );
    survives!(
        FromMiner::CloseChannel {
            channel_id: 1,
            reason_code: b"bye"
        },
        true
    );
    survives!(
        FromPool::CloseChannel {
            channel_id: 1,
            reason_code: b"bye"
        },
        true
    );
    survives!(
        FromPool::SetExtranoncePrefix {
            channel_id: 1,
            extranonce_prefix: &[9; 20]
        },
        true
    );
    survives!(
        FromPool::SetTarget {
            channel_id: 1,
            maximum_target: HASH
        },
        true
    );
    let channel_ids = Numbers(&[[1, 0, 0, 0], [2, 0, 0, 0x80]]);
    survives!(
        FromPool::SetGroupChannel {
            group_channel_id: 1,
            channel_ids: channel_ids
        },
        false
    );
    assert_eq!(channel_ids.iter().collect::<Vec<_>>(), [1, 0x8000_0002]);
}

#[test]
fn jobs_survive() {
    survives!(
        FromPool::NewMiningJob {
            channel_id: 1,
            job_id: 2,
            min_ntime: None,
            version: 0x2000_0000,
            merkle_root: HASH,
        },
        true
    );
    survives!(
        FromPool::NewMiningJob {
            channel_id: 1,
            job_id: 2,
            min_ntime: Some(u32::MAX),
            version: 0x2000_0000,
            merkle_root: HASH,
        },
        true
    );
    survives!(
        FromPool::NewExtendedMiningJob {
            channel_id: 1,
            job_id: 2,
            min_ntime: Some(0),
            version: 4,
            version_rolling_allowed: true,
            merkle_path: &[[1; 32], [2; 32]],
            coinbase_tx_prefix: b"left",
            coinbase_tx_suffix: b"",
        },
        true
    );
    survives!(
        FromPool::SetNewPrevHash {
            channel_id: 1,
            job_id: 2,
            prev_hash: HASH,
            min_ntime: 3,
            nbits: 0x1d00_ffff,
        },
        true
    );
    survives!(
        FromMiner::SetCustomMiningJob {
            channel_id: 1,
            request_id: 2,
            job: b"anything"
        },
        true
    );
}

#[test]
fn shares_survive() {
    survives!(
        FromMiner::SubmitSharesStandard {
            channel_id: 1,
            sequence_number: 2,
            job_id: 3,
            nonce: 4,
            ntime: 5,
            version: 6,
        },
        true
    );
    survives!(
        FromMiner::SubmitSharesExtended {
            channel_id: 1,
            sequence_number: 2,
            job_id: 3,
            nonce: 4,
            ntime: 5,
            version: 6,
            extranonce: &[7; 8],
            tlv: b"",
        },
        true
    );
    survives!(
        FromPool::SubmitSharesSuccess {
            channel_id: 1,
            last_sequence_number: 2,
            new_submits_accepted_count: 3,
            new_shares_sum: u64::MAX,
        },
        true
    );
    survives!(
        FromPool::SubmitSharesError {
            channel_id: 1,
            sequence_number: 2,
            error_code: b"stale-share"
        },
        true
    );
}

// sv2: 3.4.1 a message has the number of the extension that defined it, whatever it carries
#[test]
fn what_an_extension_appends_leaves_the_message_one_of_the_protocol_itself() {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        [out[0], out[1] & 0x7f, out[2]]
    };
    let share = |tlv| SubmitSharesExtended {
        channel_id: 1,
        sequence_number: 2,
        job_id: 3,
        nonce: 4,
        ntime: 5,
        version: 6,
        extranonce: b"",
        tlv,
    };
    assert_eq!(written(&|out| share(b"").write(out)), [0, 0, 0x1b]);
    let named = share(b"\x02\x00\x01\x01\x00a");
    assert_eq!(written(&|out| named.write(out)), [0, 0, 0x1b]);
    let wanted = RequestExtensions {
        request_id: 1,
        requested_extensions: Numbers(&[[2, 0]]),
    };
    assert_eq!(written(&|out| wanted.write(out)), [1, 0, 0]);
    let granted = RequestExtensionsSuccess {
        request_id: 1,
        supported_extensions: Numbers(&[[2, 0]]),
    };
    assert_eq!(written(&|out| granted.write(out)), [1, 0, 1]);
    let refused = RequestExtensionsError {
        request_id: 1,
        unsupported_extensions: Numbers(&[[2, 0]]),
        required_extensions: Numbers(&[]),
    };
    assert_eq!(written(&|out| refused.write(out)), [1, 0, 2]);
}

// sv2: 3.4.3 fields of extensions stand behind the message
// sv2: 3.4 fields that extensions append are not an error
#[test]
fn fields_of_extensions_stay_with_a_share_and_are_dropped_elsewhere() {
    let share = SubmitSharesExtended {
        channel_id: 1,
        sequence_number: 2,
        job_id: 3,
        nonce: 4,
        ntime: 5,
        version: 6,
        extranonce: b"12345678",
        tlv: b"tail",
    };
    let mut out = Vec::new();
    share.write(&mut out);
    assert_eq!(out.len(), 6 + 24 + 9 + 4);
    assert!(out.ends_with(b"12345678tail"));
    assert_eq!(SubmitSharesExtended::parse(&out[6..]), Ok(share));
    assert_eq!(
        SetupConnectionSuccess::parse(b"\x02\x00\0\0\0\0tail").map(|setup| setup.used_version),
        Ok(2)
    );
}

// sv2: 3.2 the channel bit is no part of an extension
#[test]
fn the_channel_bit_decides_nothing_when_a_message_is_read() {
    let mut out = Vec::new();
    let target = SetTarget {
        channel_id: 1,
        maximum_target: HASH,
    };
    target.write(&mut out);
    out[1] ^= 0x80;
    let mut frames = Frames::new(100);
    let frame = frames.next(&mut &out[..]).expect("whole").expect("short");
    assert_eq!(
        FromPool::parse(&frame),
        Ok(Some(FromPool::SetTarget(target)))
    );
    assert_eq!(FromMiner::parse(&frame), Ok(None), "no miner sets a target");
}

#[test]
fn an_extranonce_of_32_bytes_is_read_and_one_of_33_is_not() {
    let prefix = |length: u8| [&[1, 0, 0, 0, length][..], &[5; 40]].concat();
    let longest = SetExtranoncePrefix {
        channel_id: 1,
        extranonce_prefix: &[5; 32],
    };
    assert_eq!(SetExtranoncePrefix::parse(&prefix(32)), Ok(longest));
    assert_eq!(
        SetExtranoncePrefix::parse(&prefix(33)),
        Err(Malformed::Length)
    );
}

// sv2: 3.1 an OPTION holds one or none
#[test]
fn an_option_is_one_or_none_and_not_two() {
    let job = |count: u8| [&[0; 8][..], &[count], &[0; 60]].concat();
    assert_eq!(
        NewMiningJob::parse(&job(0)).map(|job| job.min_ntime),
        Ok(None)
    );
    assert_eq!(
        NewMiningJob::parse(&job(1)).map(|job| job.min_ntime),
        Ok(Some(0))
    );
    assert_eq!(NewMiningJob::parse(&job(2)), Err(Malformed::Length));
}

#[test]
fn a_hash_rate_is_a_number_from_nothing_up() {
    let update = |rate: f32| [&[1, 0, 0, 0][..], &rate.to_le_bytes(), &HASH].concat();
    for rate in [0.0, -0.0, f32::MIN_POSITIVE, f32::MAX] {
        assert_eq!(
            UpdateChannel::parse(&update(rate)).map(|update| update.nominal_hash_rate),
            Ok(rate)
        );
    }
    for rate in [
        -f32::MIN_POSITIVE,
        -1.0,
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ] {
        assert_eq!(UpdateChannel::parse(&update(rate)), Err(Malformed::Value));
    }
}

// sv2: 3.1 only the lowest bit of a BOOL counts
#[test]
fn only_the_lowest_bit_of_a_truth_counts() {
    let job = |rolling: u8| [&[0; 13][..], &[rolling], &[0; 5]].concat();
    for (byte, allowed) in [(0, false), (1, true), (0xfe, false), (0xff, true)] {
        let bytes = job(byte);
        let read = NewExtendedMiningJob::parse(&bytes).expect("a job");
        assert_eq!(read.version_rolling_allowed, allowed);
    }
}

#[test]
fn the_largest_job_of_a_pool_is_within_the_cap_and_so_is_the_largest_setup_of_a_miner() {
    use crate::stratum::v2::frame::{HEADER, MAX_BEFORE_SETUP, MAX_UP};
    let part = vec![1; 65_535];
    let path = vec![HASH; 255];
    let mut out = Vec::new();
    let job = NewExtendedMiningJob {
        channel_id: 1,
        job_id: 2,
        min_ntime: Some(3),
        version: 4,
        version_rolling_allowed: true,
        merkle_path: &path,
        coinbase_tx_prefix: &part,
        coinbase_tx_suffix: &part,
    };
    job.write(&mut out);
    assert_eq!(out.len() - HEADER, 139_253);
    assert!(out.len() - HEADER <= MAX_UP);
    assert_eq!(NewExtendedMiningJob::parse(&out[HEADER..]), Ok(job));
    out.clear();
    let text = &[b'x'; 255];
    SetupConnection {
        protocol: 0,
        min_version: 2,
        max_version: 2,
        flags: 0,
        endpoint_host: text,
        endpoint_port: 1,
        vendor: text,
        hardware_version: text,
        firmware: text,
        device_id: text,
    }
    .write(&mut out);
    assert_eq!(out.len() - HEADER, 1291);
    assert!(out.len() - HEADER <= MAX_BEFORE_SETUP);
}

#[test]
fn lying_lengths_are_refused_before_anything_is_copied() {
    let setup = [&[0; 9][..], &[255], b"short"].concat();
    assert_eq!(SetupConnection::parse(&setup), Err(Malformed::Short));
    let path = [&[0; 14][..], &[255], &[1; 64]].concat();
    assert_eq!(NewExtendedMiningJob::parse(&path), Err(Malformed::Short));
    let coinbase = [&[0; 15][..], &[0xff, 0xff], &[1; 64]].concat();
    assert_eq!(
        NewExtendedMiningJob::parse(&coinbase),
        Err(Malformed::Short)
    );
    let group = [1, 0, 0, 0, 0xff, 0xff, 1, 0, 0, 0];
    assert_eq!(SetGroupChannel::parse(&group), Err(Malformed::Short));
    assert_eq!(
        RequestExtensions::parse(&[1, 0, 2, 0, 1, 0, 2]),
        Err(Malformed::Short)
    );
}

/// Bytes at the end of the message above that may be missing: a tail of its own.
fn ends_in_rest(name: &str) -> usize {
    if name == "SetCustomMiningJob" {
        b"anything".len()
    } else {
        0
    }
}
