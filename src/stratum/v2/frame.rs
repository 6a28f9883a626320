//! Cuts plaintext into frames; keeps only what is unfinished; no header is believed beyond a cap.
//!
//! Knows no message and no cipher. Invariant: the frames that come out do not depend on how the stream was cut into chunks.
//! SV2 specification, 3.2; all numbers are little-endian:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..2 | extension_type | bit 15 says that the payload begins with a channel id; the other 15 name the extension |
//! | 2 | msg_type | within the extension |
//! | 3..6 | msg_length | of the payload, without this header |
//! | 6.. | payload | |

use std::ops::Range;

/// Bytes of a header.
pub const HEADER: usize = 6;
/// Largest payload taken before `SetupConnection`, which is at most 1,291 bytes (five texts of 255): the rest is for what
/// extensions may append.
pub const MAX_BEFORE_SETUP: usize = 2 << 10;
/// Largest payload taken from a miner: an open is at most 298 bytes, a share 57 and its fields of extensions, a list of
/// extensions 4 and two each. What is lost: a `SetCustomMiningJob` with a coinbase of more than 3 KiB, refused anyhow.
pub const MAX_DOWN: usize = 4 << 10;
/// Largest payload taken from a pool: a `NewExtendedMiningJob` with every length at its largest is 139,253 bytes. What is
/// lost: a `SetGroupChannel` of more than 49,150 channels, which we never open.
pub const MAX_UP: usize = 192 << 10;

/// The bit of `extension_type` that marks a message of one channel.
const CHANNEL: u16 = 1 << 15;

/// What stands before every payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Extension that defined the message, without bit 15; 0 is the protocol itself.
    pub extension: u16,
    /// Whether the payload claims to begin with a channel id. Nobody is refused for it: the specification's table and SRI
    /// disagree on it for some messages.
    pub channel_message: bool,
    /// The message, within its extension.
    pub kind: u8,
    /// Bytes of payload, below 2^24.
    pub length: u32,
}

impl Header {
    /// Every six bytes are a header.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let [low, high, kind, a, b, c] = *bytes;
        let extension = u16::from_le_bytes([low, high]);
        Self {
            extension: extension & !CHANNEL,
            channel_message: extension & CHANNEL != 0,
            kind,
            length: u32::from_le_bytes([a, b, c, 0]),
        }
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> [u8; HEADER] {
        let bit = if self.channel_message { CHANNEL } else { 0 };
        let [low, high] = (self.extension | bit).to_le_bytes();
        let [a, b, c, over] = self.length.to_le_bytes();
        assert_eq!(over, 0, "every message we write is far below 2^24 bytes");
        [low, high, self.kind, a, b, c]
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }

    /// Bytes of the whole frame.
    fn frame_length(&self) -> usize {
        HEADER + self.length as usize
    }
}

/// One message, not read yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub header: Header,
    /// `header.length` bytes.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// `bytes` are one whole frame.
    fn of(header: Header, bytes: &'a [u8]) -> Self {
        Self {
            header,
            payload: &bytes[HEADER..],
        }
    }
}

/// A header announced more than the cap; the connection is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a frame is longer than it may be")]
pub struct TooLong;

/// What is left over between two reads. No heap while nothing is left over.
#[derive(Debug)]
pub struct Frames {
    max: usize,
    kept: Vec<u8>,
    /// Where the unread part of `kept` begins.
    start: usize,
    /// A header too long was reported: nothing comes out any more.
    ended: bool,
}

impl Frames {
    /// `max_payload`: most bytes of a frame without its header.
    pub fn new(max_payload: usize) -> Self {
        Self {
            max: max_payload,
            kept: Vec::new(),
            start: 0,
            ended: false,
        }
    }

    /// A new cap, for every frame that has not come out yet.
    pub fn set_max(&mut self, max_payload: usize) {
        self.max = max_payload;
    }

    /// The next whole frame, first from what was kept, then from `chunk`, which is advanced past what was used. `None`: no
    /// whole frame is there (then call [`Frames::keep`]). After [`TooLong`] everything is swallowed.
    pub fn next<'a, 'c: 'a>(
        &'a mut self,
        chunk: &mut &'c [u8],
    ) -> Option<Result<Frame<'a>, TooLong>> {
        if self.ended {
            *chunk = &[];
            return None;
        }
        if self.kept() == 0 {
            self.forget();
        }
        let header = self.header(chunk)?;
        if header.length as usize > self.max {
            self.ended = true;
            self.forget();
            *chunk = &[];
            return Some(Err(TooLong));
        }
        if self.kept.is_empty() {
            let (bytes, rest) = chunk.split_at_checked(header.frame_length())?;
            *chunk = rest;
            return Some(Ok(Frame::of(header, bytes)));
        }
        let bytes = self.kept_frame(header.frame_length(), chunk)?;
        Some(Ok(Frame::of(header, &self.kept[bytes])))
    }

    /// Keeps the rest of a chunk for later (an unfinished frame, or whole frames that a turn's budget left over).
    /// `chunk` is what the last [`Frames::next`] left of its own.
    pub fn keep(&mut self, chunk: &[u8]) {
        if chunk.is_empty() || self.ended {
            return;
        }
        self.kept.drain(..self.start);
        self.start = 0;
        self.kept.extend_from_slice(chunk);
    }

    /// Bytes kept.
    pub fn kept(&self) -> usize {
        self.kept.len() - self.start
    }

    /// Whether [`Frames::next`] has something to say without another byte.
    pub fn has_frame(&self) -> bool {
        self.header(&[]).is_some_and(|header| {
            header.length as usize > self.max || header.frame_length() <= self.kept()
        })
    }

    /// The next frame's header; it may begin in what was kept and end in the chunk.
    fn header(&self, chunk: &[u8]) -> Option<Header> {
        let kept = &self.kept[self.start..];
        if let Some(bytes) = kept.first_chunk() {
            return Some(Header::parse(bytes));
        }
        let mut bytes = [0; HEADER];
        let (from_kept, from_chunk) = bytes.split_at_mut(kept.len());
        from_kept.copy_from_slice(kept);
        from_chunk.copy_from_slice(chunk.get(..from_chunk.len())?);
        Some(Header::parse(&bytes))
    }

    /// A frame that begins in what was kept, as a range of it; it may end in the chunk.
    fn kept_frame(&mut self, length: usize, chunk: &mut &[u8]) -> Option<Range<usize>> {
        let missing = length.saturating_sub(self.kept());
        let (bytes, rest) = chunk.split_at_checked(missing)?;
        self.kept.extend_from_slice(bytes);
        *chunk = rest;
        let start = self.start;
        self.start += length;
        Some(start..start + length)
    }

    fn forget(&mut self) {
        self.kept = Vec::new();
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // sv2: 3.2 a message begins with six bytes of header
    #[test]
    fn a_header_is_read_and_written_the_same() {
        let header = Header {
            extension: 0x0abc,
            channel_message: true,
            kind: 0x1f,
            length: 0x01_02_03,
        };
        assert_eq!(header.bytes(), [0xbc, 0x8a, 0x1f, 0x03, 0x02, 0x01]);
        assert_eq!(Header::parse(&header.bytes()), header);
        let plain = Header {
            channel_message: false,
            ..header
        };
        assert_eq!(Header::parse(&plain.bytes()), plain);
        assert_ne!(plain.bytes(), header.bytes());
    }

    #[test]
    fn frames_come_out_of_one_chunk_and_of_single_bytes_alike() {
        let stream = [frame(1, b""), frame(2, b"abc"), frame(3, &[7; 300])].concat();
        let expected = [ok(1, b""), ok(2, b"abc"), ok(3, &[7; 300])];
        let mut frames = Frames::new(300);
        assert_eq!(drain(&mut frames, &stream, usize::MAX), expected);
        let single = stream
            .iter()
            .flat_map(|byte| drain(&mut frames, &[*byte], 1));
        assert_eq!(single.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_payload_of_the_cap_passes_and_one_byte_more_is_too_long() {
        let mut frames = Frames::new(4);
        assert_eq!(drain(&mut frames, &frame(9, b"abcd"), 1), [ok(9, b"abcd")]);
        assert_eq!(drain(&mut frames, &frame(9, b"abcde"), 1), [None]);
    }

    #[test]
    fn a_frame_too_long_is_known_by_its_header_alone_and_nothing_comes_after_it() {
        let mut frames = Frames::new(4);
        let header = &frame(9, b"abcde")[..HEADER];
        assert_eq!(drain(&mut frames, &header[..5], 1), []);
        assert_eq!(drain(&mut frames, &header[5..], 1), [None]);
        assert_eq!(drain(&mut frames, &frame(1, b""), 1), []);
        assert_eq!((frames.kept(), frames.kept.capacity()), (0, 0));
    }

    #[test]
    fn a_new_cap_holds_for_what_is_not_out_yet() {
        let mut frames = Frames::new(2);
        let four = frame(9, b"abcd");
        assert_eq!(drain(&mut frames, &four[..3], 1), []);
        frames.set_max(4);
        assert_eq!(drain(&mut frames, &four[3..], 1), [ok(9, b"abcd")]);
        frames.set_max(3);
        assert_eq!(drain(&mut frames, &four, 1), [None]);
    }

    #[test]
    fn what_a_turn_leaves_over_is_kept_and_said_to_be_there() {
        let stream = [frame(1, b"a"), frame(2, b"b"), frame(3, b"c")].concat();
        let (whole, half) = stream.split_at(stream.len() - 1);
        let mut frames = Frames::new(4);
        let mut chunk = whole;
        assert_eq!(frames.next(&mut chunk).map(owned), Some(ok(1, b"a")));
        frames.keep(chunk);
        assert!(frames.has_frame());
        assert_eq!(frames.next(&mut &b""[..]).map(owned), Some(ok(2, b"b")));
        assert!(!frames.has_frame());
        let mut chunk = half;
        assert_eq!(frames.next(&mut chunk).map(owned), Some(ok(3, b"c")));
        frames.keep(&frame(4, b"abcde")[..HEADER]);
        assert!(
            frames.has_frame(),
            "that it is too long is something to say"
        );
    }

    #[test]
    fn nothing_is_on_the_heap_while_nothing_is_left_over() {
        let mut frames = Frames::new(64);
        assert_eq!(
            drain(&mut frames, &frame(1, b"whole"), 9),
            [ok(1, b"whole")]
        );
        assert_eq!(frames.kept.capacity(), 0);
        let (half, rest) = (&frame(1, b"half")[..7], &frame(1, b"half")[7..]);
        assert_eq!(drain(&mut frames, half, 9), []);
        assert_eq!(drain(&mut frames, rest, 9), [ok(1, b"half")]);
        assert_eq!(frames.kept.capacity(), 0);
    }

    proptest! {
        #[test]
        fn the_cut_into_chunks_does_not_matter(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in prop::collection::vec(0_usize..23, 1..50),
            max in 20_usize..44,
            budget in 1_usize..4,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(5, payload)).collect();
            let expected: Vec<_> = payloads
                .iter()
                .map(|payload| (payload.len() <= max).then(|| (5, payload.clone())))
                .collect();
            let end = expected.iter().position(Option::is_none).map_or(expected.len(), |at| at + 1);
            let mut frames = Frames::new(max);
            let mut got = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle().take(1000) {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                got.extend(drain(&mut frames, piece, budget));
                prop_assert!(frames.kept() < HEADER + max);
            }
            got.extend(drain(&mut frames, rest, budget));
            prop_assert_eq!(&got[..], &expected[..end]);
        }
    }

    /// Kind and payload; `None` stands for a frame too long.
    type Owned = Option<(u8, Vec<u8>)>;

    fn ok(kind: u8, payload: &[u8]) -> Owned {
        Some((kind, payload.to_vec()))
    }

    fn owned(frame: Result<Frame<'_>, TooLong>) -> Owned {
        frame
            .ok()
            .and_then(|frame| ok(frame.header.kind, frame.payload))
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            extension: 0,
            channel_message: false,
            kind,
            length: u32::try_from(payload.len()).expect("short"),
        };
        [&header.bytes(), payload].concat()
    }

    /// All frames of a chunk, `budget` a turn.
    fn drain(frames: &mut Frames, mut chunk: &[u8], budget: usize) -> Vec<Owned> {
        let mut out = Vec::new();
        loop {
            for _ in 0..budget {
                match frames.next(&mut chunk) {
                    Some(frame) => out.push(owned(frame)),
                    None => {
                        frames.keep(chunk);
                        return out;
                    }
                }
            }
            frames.keep(chunk);
            chunk = b"";
        }
    }
}
