//! A second opinion on the V2 wire: SRI's crates and we refuse the same payloads, read the same out of the others, and
//! write the same again.
//!
//! Not a conversation: messages alone. The invariant is in [`agree`]; where we differ on purpose, it says so:
//! * a hash rate that is negative, endless or no number is malformed for us, and a number for SRI;
//! * a protocol that does not exist is malformed for SRI, and for us one that we answer with `unsupported-protocol`.

use proptest::prelude::*;
use sluice::stratum::v2::frame::{HEADER, Header};
use sluice::stratum::v2::message::{self, Malformed};
use sluice::stratum::v2::tlv;
use stratum_core::binary_sv2::{self, GetSize, Serialize};
use stratum_core::extensions_sv2::{self, UserIdentity};
use stratum_core::parsers_sv2::{AnyMessage, IsSv2Message, Tlv, TlvField};
use stratum_core::{common_messages_sv2, framing_sv2, mining_sv2};

#[path = "oracle_v2_messages/plain.rs"]
mod plain;
#[path = "oracle_v2_messages/shape.rs"]
mod shape;

use plain::plain;
use shape::payload;

/// Reads a payload as both do and compares field by field, then what both write, header included.
macro_rules! agree {
    ($payload:expr, $crate_name:ident::$name:ident $(<$life:lifetime>)? { $($field:ident),* }) => {{
        let payload: &[u8] = $payload;
        let mut copy = payload.to_vec();
        let theirs = binary_sv2::from_bytes::<$crate_name::$name$(<$life>)?>(&mut copy);
        match (message::$name::parse(payload), theirs) {
            (Ok(ours), Ok(theirs)) => {
                $(assert_eq!(plain(&ours.$field), plain(&theirs.$field), stringify!($field));)*
                let mut out = Vec::new();
                ours.write(&mut out);
                written(stringify!($name), &out, theirs);
            }
            (Err(Malformed::Value), Ok(_)) => assert!(no_rate(stringify!($name), payload)),
            (Ok(_), Err(_)) => {
                assert!(stringify!($name) == "SetupConnection" && payload[0] > 2, "SRI refuses");
            }
            (Err(ours), theirs) => assert!(theirs.is_err(), "we refuse: {ours}"),
        }
    }};
}

/// The frame of ours is SRI's message, and SRI finds the same message in it.
fn written<T: Serialize + GetSize>(name: &str, out: &[u8], theirs: T) {
    let (header, payload) = out.split_at(HEADER);
    let theirs = binary_sv2::to_bytes(theirs).expect("SRI writes what it read");
    assert!(payload.starts_with(&theirs));
    let header = framing_sv2::header::Header::from_bytes(header).expect("a header");
    assert_eq!(header.payload_length(), payload.len());
    let mut copy = payload.to_vec();
    let message = AnyMessage::try_from((header, &mut copy[..])).expect("SRI knows our message");
    assert!(
        format!("{message:?}").contains(&format!("({name} {{")),
        "{message:?} is no {name}"
    );
    assert_eq!(message.channel_bit(), header.channel_msg());
    assert_eq!(
        message.extension_type(),
        header.ext_type_without_channel_msg()
    );
}

/// Whether a payload has a hash rate that only SRI takes.
fn no_rate(name: &str, payload: &[u8]) -> bool {
    let at = match name {
        "UpdateChannel" => 4,
        "OpenStandardMiningChannel" | "OpenExtendedMiningChannel" => 5 + usize::from(payload[4]),
        _ => panic!("{name} has no hash rate"),
    };
    let rate = f32::from_le_bytes(payload[at..at + 4].try_into().expect("four bytes"));
    !rate.is_finite() || rate < 0.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn headers_agree(bytes: [u8; HEADER]) {
        let (ours, theirs) = (Header::parse(&bytes), framing_sv2::header::Header::from_bytes(&bytes).unwrap());
        prop_assert_eq!(ours.kind, theirs.msg_type());
        prop_assert_eq!(ours.extension, theirs.ext_type_without_channel_msg());
        prop_assert_eq!(ours.channel_message, theirs.channel_msg());
        prop_assert_eq!(ours.length as usize, theirs.payload_length());
        prop_assert_eq!(ours.bytes(), bytes);
    }

    #[test]
    fn setups_agree(
        setup in payload("p224t2tttt"), success in payload("24"), error in payload("4t"), changed in payload("4"),
        reconnect in payload("t2"),
    ) {
        agree!(&setup, common_messages_sv2::SetupConnection<'_> {
            protocol, min_version, max_version, flags, endpoint_host, endpoint_port, vendor, hardware_version, firmware,
            device_id
        });
        agree!(&success, common_messages_sv2::SetupConnectionSuccess { used_version, flags });
        agree!(&error, common_messages_sv2::SetupConnectionError<'_> { flags, error_code });
        agree!(&changed, common_messages_sv2::ChannelEndpointChanged { channel_id });
        agree!(&reconnect, common_messages_sv2::Reconnect<'_> { new_host, new_port });
    }

    #[test]
    fn openings_agree(
        standard in payload("4tfH"), opened in payload("44Hx4"), extended in payload("4tfH2"),
        opened_extended in payload("44H2x4"), error in payload("4t"),
    ) {
        agree!(&standard, mining_sv2::OpenStandardMiningChannel<'_> {
            request_id, user_identity, nominal_hash_rate, max_target
        });
        agree!(&opened, mining_sv2::OpenStandardMiningChannelSuccess<'_> {
            request_id, channel_id, target, extranonce_prefix, group_channel_id
        });
        agree!(&extended, mining_sv2::OpenExtendedMiningChannel<'_> {
            request_id, user_identity, nominal_hash_rate, max_target, min_extranonce_size
        });
        agree!(&opened_extended, mining_sv2::OpenExtendedMiningChannelSuccess<'_> {
            request_id, channel_id, target, extranonce_size, extranonce_prefix, group_channel_id
        });
        agree!(&error, mining_sv2::OpenMiningChannelError<'_> { request_id, error_code });
    }

    #[test]
    fn changes_of_channels_agree(
        update in payload("4fH"), error in payload("4t"), prefix in payload("4x"), target in payload("4H"),
        group in payload("4S"),
    ) {
        agree!(&update, mining_sv2::UpdateChannel<'_> { channel_id, nominal_hash_rate, maximum_target });
        agree!(&error, mining_sv2::UpdateChannelError<'_> { channel_id, error_code });
        agree!(&error, mining_sv2::CloseChannel<'_> { channel_id, reason_code });
        agree!(&prefix, mining_sv2::SetExtranoncePrefix<'_> { channel_id, extranonce_prefix });
        agree!(&target, mining_sv2::SetTarget<'_> { channel_id, maximum_target });
        agree!(&group, mining_sv2::SetGroupChannel<'_> { group_channel_id, channel_ids });
    }

    #[test]
    fn jobs_agree(job in payload("44o4H"), extended in payload("44o4bmkk"), block in payload("44H44")) {
        agree!(&job, mining_sv2::NewMiningJob<'_> { channel_id, job_id, min_ntime, version, merkle_root });
        agree!(&extended, mining_sv2::NewExtendedMiningJob<'_> {
            channel_id, job_id, min_ntime, version, version_rolling_allowed, merkle_path, coinbase_tx_prefix,
            coinbase_tx_suffix
        });
        agree!(&block, mining_sv2::SetNewPrevHash<'_> { channel_id, job_id, prev_hash, min_ntime, nbits });
    }

    #[test]
    fn shares_agree(
        standard in payload("444444"), extended in payload("444444x"), success in payload("4448"),
        error in payload("44t"),
    ) {
        agree!(&standard, mining_sv2::SubmitSharesStandard {
            channel_id, sequence_number, job_id, nonce, ntime, version
        });
        agree!(&extended, mining_sv2::SubmitSharesExtended<'_> {
            channel_id, sequence_number, job_id, nonce, ntime, version, extranonce
        });
        agree!(&success, mining_sv2::SubmitSharesSuccess {
            channel_id, last_sequence_number, new_submits_accepted_count, new_shares_sum
        });
        agree!(&error, mining_sv2::SubmitSharesError<'_> { channel_id, sequence_number, error_code });
        agree!(&error, mining_sv2::SetCustomMiningJobError<'_> { channel_id, request_id, error_code });
    }

    #[test]
    fn agreements_on_extensions_agree(asked in payload("2s"), refused in payload("2ss")) {
        agree!(&asked, extensions_sv2::RequestExtensions<'_> { request_id, requested_extensions });
        agree!(&asked, extensions_sv2::RequestExtensionsSuccess<'_> { request_id, supported_extensions });
        agree!(&refused, extensions_sv2::RequestExtensionsError<'_> {
            request_id, unsupported_extensions, required_extensions
        });
    }

    /// Ours is read only as far as an answer takes it, so it takes more than SRI does.
    #[test]
    fn a_custom_job_of_sri_is_read_as_far_as_an_answer_takes_it(bytes in payload("44tH444ktkm")) {
        let mut copy = bytes.clone();
        if let Ok(theirs) = binary_sv2::from_bytes::<mining_sv2::SetCustomMiningJob<'_>>(&mut copy) {
            let ours = message::SetCustomMiningJob::parse(&bytes).unwrap();
            prop_assert_eq!((ours.channel_id, ours.request_id), (theirs.channel_id, theirs.request_id));
        }
    }

    #[test]
    fn fields_of_extensions_agree(
        fields in prop::collection::vec((any::<u16>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..5),
        name in prop::collection::vec(any::<u8>(), 0..=32),
    ) {
        let mut tail = Vec::new();
        for (extension, kind, value) in &fields {
            tail.extend(Tlv::new(*extension, *kind, value.clone()).encode().unwrap());
        }
        let read: Vec<_> = tlv::iter(&tail).map(|field| (field.extension, field.kind, field.value.to_vec())).collect();
        prop_assert_eq!(read, fields);

        let mut ours = Vec::new();
        tlv::write_user_identity(&mut ours, &name);
        let theirs = UserIdentity::from_bytes(&name).unwrap().to_tlv().unwrap();
        prop_assert_eq!(&ours, &theirs.encode().unwrap());
        prop_assert_eq!(tlv::user_identity(&ours), Ok(Some(&name[..])));
    }
}
