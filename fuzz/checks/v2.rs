//! What must hold for any bytes within a Stratum V2 connection; used by the fuzz targets and by the replay of their corpora.
//!
//! Not tests of meaning (those stand beside the code, and SRI's opinion in `tests/oracle_v2_messages.rs`). Each check
//! panics when an invariant breaks.

use sluice::stratum::v2::frame::{Frame, Frames, HEADER, Header, TooLong};
use sluice::stratum::v2::message::{self, FromMiner, FromPool, Malformed};
use sluice::stratum::v2::tlv;

/// Frames are the same however the stream is cut. The first byte is the cap, the second and third seed the cuts.
pub(crate) fn v2_frame(data: &[u8]) {
    let [cap, step, budget, stream @ ..] = data else {
        return;
    };
    let cap = usize::from(*cap);
    let expected = reference(stream, cap);
    let mut reader = Frames::new(cap);
    let mut got = Vec::new();
    let mut rest = stream;
    let mut size = usize::from(*step);
    while !rest.is_empty() {
        // Not a fixed size, so that ends fall everywhere; never zero twice in a row.
        size = (size * 7 + 3) % 61;
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        read(&mut reader, chunk, usize::from(*budget) % 4 + 1, &mut got);
        assert!(reader.kept() < HEADER + cap.max(1), "a whole frame is kept");
        assert!(!reader.has_frame());
    }
    assert_eq!(got, expected);
}

/// A payload as from a miner and as from a pool: no panic, and what is read is written so that it is read the same. The
/// first byte is the kind, the second the extension.
pub(crate) fn v2_message(data: &[u8]) {
    let [kind, extension, payload @ ..] = data else {
        return;
    };
    let header = Header {
        extension: u16::from(*extension),
        channel_message: false,
        kind: *kind,
        length: u32::try_from(payload.len()).expect("a fuzzer's input is short"),
    };
    let frame = Frame { header, payload };
    from_miner(&frame);
    from_pool(&frame);
    fields(payload);
    assert!(is_plain(&message::text(payload)));
}

fn read(reader: &mut Frames, mut chunk: &[u8], budget: usize, got: &mut Vec<Option<Owned>>) {
    loop {
        for _ in 0..budget {
            match reader.next(&mut chunk) {
                Some(Ok(frame)) => got.push(Some((frame.header, frame.payload.to_vec()))),
                Some(Err(TooLong)) => got.push(None),
                None => return reader.keep(chunk),
            }
        }
        reader.keep(chunk);
        chunk = b"";
    }
}

type Owned = (Header, Vec<u8>);

/// The same in the plainest words: `None` for the frame too long that ends all.
fn reference(mut stream: &[u8], cap: usize) -> Vec<Option<Owned>> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk() {
        let header = Header::parse(header);
        let length = header.length as usize;
        if length > cap {
            frames.push(None);
            break;
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push(Some((header, payload.to_vec())));
        stream = rest;
    }
    frames
}

fn from_miner(frame: &Frame<'_>) {
    let mut out = Vec::new();
    let Ok(Some(message)) = FromMiner::parse(frame) else {
        return;
    };
    match message {
        FromMiner::SetupConnection(message) => message.write(&mut out),
        FromMiner::RequestExtensions(message) => message.write(&mut out),
        FromMiner::OpenStandardMiningChannel(message) => message.write(&mut out),
        FromMiner::OpenExtendedMiningChannel(message) => message.write(&mut out),
        FromMiner::UpdateChannel(message) => message.write(&mut out),
        FromMiner::CloseChannel(message) => message.write(&mut out),
        FromMiner::SubmitSharesStandard(message) => message.write(&mut out),
        FromMiner::SubmitSharesExtended(message) => {
            assert!(message.extranonce.len() <= 32);
            message.write(&mut out);
        }
        FromMiner::SetCustomMiningJob(message) => message.write(&mut out),
    }
    again(&out, frame, |frame| {
        assert_eq!(FromMiner::parse(frame), Ok(Some(message)));
    });
}

fn from_pool(frame: &Frame<'_>) {
    let mut out = Vec::new();
    let Ok(Some(message)) = FromPool::parse(frame) else {
        return;
    };
    match message {
        FromPool::SetupConnectionSuccess(message) => message.write(&mut out),
        FromPool::SetupConnectionError(message) => message.write(&mut out),
        FromPool::ChannelEndpointChanged(message) => message.write(&mut out),
        FromPool::Reconnect(message) => message.write(&mut out),
        FromPool::RequestExtensionsSuccess(message) => message.write(&mut out),
        FromPool::RequestExtensionsError(message) => message.write(&mut out),
        FromPool::OpenStandardMiningChannelSuccess(message) => message.write(&mut out),
        FromPool::OpenExtendedMiningChannelSuccess(message) => message.write(&mut out),
        FromPool::OpenMiningChannelError(message) => message.write(&mut out),
        FromPool::UpdateChannelError(message) => message.write(&mut out),
        FromPool::CloseChannel(message) => message.write(&mut out),
        FromPool::SetExtranoncePrefix(message) => message.write(&mut out),
        FromPool::SubmitSharesSuccess(message) => message.write(&mut out),
        FromPool::SubmitSharesError(message) => message.write(&mut out),
        FromPool::NewMiningJob(message) => message.write(&mut out),
        FromPool::NewExtendedMiningJob(message) => message.write(&mut out),
        FromPool::SetNewPrevHash(message) => message.write(&mut out),
        FromPool::SetTarget(message) => message.write(&mut out),
        FromPool::SetGroupChannel(message) => message.write(&mut out),
    }
    again(&out, frame, |frame| {
        assert_eq!(FromPool::parse(frame), Ok(Some(message)));
    });
}

/// What was written is one frame of the same kind, not longer than what was read.
fn again(out: &[u8], read: &Frame<'_>, check: impl Fn(&Frame<'_>)) {
    let mut frames = Frames::new(read.payload.len());
    let mut chunk = out;
    let frame = frames
        .next(&mut chunk)
        .expect("we write whole frames")
        .expect("no longer");
    assert!(chunk.is_empty(), "one frame");
    assert_eq!(frame.header.kind, read.header.kind);
    assert_eq!(frame.header.extension, read.header.extension);
    check(&frame);
}

fn fields(tail: &[u8]) {
    let fields: Vec<_> = tlv::iter(tail).collect();
    let bytes: usize = fields.iter().map(|field| 5 + field.value.len()).sum();
    assert!(bytes <= tail.len(), "no byte is in two fields");
    match tlv::user_identity(tail) {
        Ok(Some(name)) => {
            assert!(name.len() <= tlv::MAX_USER_IDENTITY);
            let mut out = Vec::new();
            tlv::write_user_identity(&mut out, name);
            assert_eq!(tlv::user_identity(&out), Ok(Some(name)));
        }
        Ok(None) => {}
        Err(malformed) => assert_eq!(malformed, Malformed::Length),
    }
}

fn is_plain(text: &str) -> bool {
    text.len() <= message::MAX_TEXT && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
