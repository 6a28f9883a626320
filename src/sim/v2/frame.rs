//! Frames as bytes (SV2 spec 3.2): a header of six bytes, then the payload. Not what they mean (message.rs).
//!
//! | bytes | 0..2 | 2 | 3..6 | 6.. |
//! |---|---|---|---|---|
//! | | extension, bit 15: for a channel | message | payload length | payload |
//!
//! Invariant: nothing longer than [`FRAME_CAP`] is ever waited for.

/// Bytes of a frame's header.
pub const HEADER: usize = 6;
/// Longest payload a simulated peer waits for, bytes: four times the longest job with two coinbase halves of 64 KiB.
pub const FRAME_CAP: usize = 512 * 1024;
/// Set in the extension field of messages that name a channel first.
pub const CHANNEL_BIT: u16 = 0x8000;

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Extension with its channel bit.
    pub extension: u16,
    /// Message within the extension.
    pub kind: u8,
    /// All behind the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// As it stands on the (plaintext) wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = header(self.extension, self.kind, self.payload.len()).to_vec();
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A header; the length may be a lie.
pub fn header(extension: u16, kind: u8, len: usize) -> [u8; HEADER] {
    let [e0, e1] = extension.to_le_bytes();
    let [l0, l1, l2, _] = (len as u32).to_le_bytes();
    [e0, e1, kind, l0, l1, l2]
}

/// The payload length that a header claims, bytes.
pub fn claimed_len(header: &[u8; HEADER]) -> usize {
    usize::from(header[3]) | usize::from(header[4]) << 8 | usize::from(header[5]) << 16
}

/// The peer announced a frame past [`FRAME_CAP`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

/// Cuts plaintext bytes into frames.
#[derive(Debug, Default)]
pub struct Cutter {
    kept: Vec<u8>,
    at: usize,
}

impl Cutter {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.kept.drain(..self.at);
        self.at = 0;
        self.kept.extend_from_slice(bytes);
    }

    /// The next whole frame; `None`: more bytes are needed.
    ///
    /// # Errors
    /// When the next one is announced as longer than [`FRAME_CAP`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, TooLong> {
        let rest = &self.kept[self.at..];
        let Some(header) = rest.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = claimed_len(header);
        if len > FRAME_CAP {
            return Err(TooLong);
        }
        let Some(payload) = rest.get(HEADER..HEADER + len) else {
            return Ok(None);
        };
        let frame = Frame {
            extension: u16::from_le_bytes([header[0], header[1]]),
            kind: header[2],
            payload: payload.to_vec(),
        };
        self.at += HEADER + len;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_segments_end() {
        let frame = Frame {
            extension: 0x8000,
            kind: 0x1a,
            payload: (0..200).collect(),
        };
        let wire = [frame.bytes(), frame.bytes()].concat();
        for size in [1, 7, 206, 300] {
            let (mut cutter, mut seen) = (Cutter::default(), Vec::new());
            for part in wire.chunks(size) {
                cutter.push(part);
                while let Some(frame) = cutter.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, [frame.clone(), frame.clone()]);
        }
    }

    #[test]
    fn a_frame_at_the_cap_is_waited_for_and_one_past_it_is_not() {
        let mut cutter = Cutter::default();
        cutter.push(&header(0, 0, FRAME_CAP));
        assert_eq!(cutter.next_frame(), Ok(None));
        let mut cutter = Cutter::default();
        cutter.push(&header(0, 0, FRAME_CAP + 1));
        assert_eq!(cutter.next_frame(), Err(TooLong));
    }
}
