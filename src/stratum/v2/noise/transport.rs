//! Sealed frames, after the handshake (SV2 spec 4.6). Knows of a frame its length alone.
//!
//! | sealed | header, 6 + 16 | first block, 65,519 + 16 | ... | last block, 1..=65,519 + 16 |
//! |---|---|---|---|---|
//! | is | extension 2, type 1, length 3 (little-endian, of the payload as it was) | payload | | payload |
//!
//! An empty payload has no block. Invariants: the cap is checked before room for a payload is made; what is kept of a
//! frame that has not come whole is at most one block; nothing is kept between frames.

use super::cipher::{Cipher, CipherError, TAG};
use std::mem;

/// Bytes of a frame's header.
pub const FRAME_HEADER: usize = 6;
/// Bytes of a sealed header.
pub const SEALED_HEADER: usize = FRAME_HEADER + TAG;
/// Most payload bytes in a sealed block: a Noise message has 65,535 bytes with its tag.
pub const BLOCK: usize = 65_535 - TAG;
/// Most payload bytes of a frame before the connection is set up (STRATUM.md section 3); later [`Transport::set_max`].
pub const MAX_BEFORE_SETUP: usize = 2048;

/// Why nothing more can be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all 2^64 nonces of this connection are used; it must be made anew")]
pub struct SealError;

/// Why what came is not opened. Each ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Changed, lost, repeated, or never sealed for us.
    #[error("what it sent does not carry the right tag")]
    Tag,
    /// A frame beyond the cap.
    #[error("it announced a frame of {len} bytes, and {max} are allowed")]
    TooLong {
        /// The payload bytes it announced.
        len: usize,
        /// The cap.
        max: usize,
    },
    /// 2^64 - 1 blocks came.
    #[error("all 2^64 nonces of this connection are used")]
    Exhausted,
}

/// Both directions of a connection.
#[derive(Debug)]
pub struct Transport {
    ours: Cipher,
    theirs: Cipher,
    max: usize,
    /// The header that was opened, until its first block.
    header: Option<[u8; FRAME_HEADER]>,
    /// Payload bytes of the opened header that are still to come.
    missing: usize,
    /// Ciphertext of a header or block that has not come whole.
    held: Vec<u8>,
    failed: Option<OpenError>,
}

impl Transport {
    pub(super) fn new(ours: Cipher, theirs: Cipher) -> Self {
        Self {
            ours,
            theirs,
            max: MAX_BEFORE_SETUP,
            header: None,
            missing: 0,
            held: Vec::new(),
            failed: None,
        }
    }

    /// The most payload bytes of a frame that may come, from the next header on.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// What ended the opening, if something did.
    pub fn failed(&self) -> Option<OpenError> {
        self.failed
    }

    /// Whether nothing of an unfinished frame was taken in.
    pub fn is_between_frames(&self) -> bool {
        self.held.is_empty() && self.missing == 0
    }

    /// Bytes kept of what has not come whole.
    pub fn held_bytes(&self) -> usize {
        self.held.capacity()
    }

    /// Seals the whole frames that `frames` begins with and appends them to `out`; gives back their bytes. What is left
    /// over is the beginning of a frame.
    pub fn seal(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        let (mut whole, mut sealed, mut blocks) = (0, 0, 0);
        while let Some(len) = frame_len(&frames[whole..]) {
            if frames.len() - whole < len {
                break;
            }
            let payload_blocks = (len - FRAME_HEADER).div_ceil(BLOCK);
            sealed += len + TAG * (1 + payload_blocks);
            blocks += 1 + payload_blocks as u64;
            whole += len;
        }
        if self.ours.left() < blocks {
            return Err(SealError);
        }
        out.reserve(sealed);
        let ready = self.ours.ready();
        let mut rest = &frames[..whole];
        while let Some(len) = frame_len(rest) {
            let (frame, next) = rest.split_at(len);
            let (header, payload) = frame.split_at(FRAME_HEADER);
            for text in std::iter::once(header).chain(payload.chunks(BLOCK)) {
                let from = out.len();
                out.extend_from_slice(text);
                let tag = self.ours.seal(&ready, &[], &mut out[from..]);
                out.extend_from_slice(&tag.map_err(|_| SealError)?);
            }
            rest = next;
        }
        Ok(whole)
    }

    /// Takes what came, however it was cut, and appends the frames it completes to `out`; one of more than a block comes
    /// block by block. After an error nothing more is opened.
    pub fn open(&mut self, mut came: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let ready = self.theirs.ready();
        while !came.is_empty() {
            let wanted = self.wanted();
            let whole;
            let block = if self.held.is_empty() && came.len() >= wanted {
                let (block, rest) = came.split_at(wanted);
                came = rest;
                block
            } else {
                self.held.reserve_exact(wanted - self.held.len());
                let (part, rest) = came.split_at(came.len().min(wanted - self.held.len()));
                self.held.extend_from_slice(part);
                came = rest;
                if self.held.len() < wanted {
                    return Ok(());
                }
                whole = mem::take(&mut self.held);
                &whole
            };
            let opened = if self.missing == 0 {
                self.open_header(&ready, block, out)
            } else {
                self.open_block(&ready, block, out)
            };
            if let Err(error) = opened {
                self.failed = Some(error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Bytes of the next header or block as it comes.
    fn wanted(&self) -> usize {
        match self.missing {
            0 => SEALED_HEADER,
            missing => missing.min(BLOCK) + TAG,
        }
    }

    fn open_header(
        &mut self,
        ready: &ring::aead::LessSafeKey,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let mut bytes: [u8; SEALED_HEADER] = sealed.try_into().expect("cut to its length");
        self.theirs.open(ready, &[], &mut bytes)?;
        let header: [u8; FRAME_HEADER] =
            bytes[..FRAME_HEADER].try_into().expect("cut to its length");
        let (len, max) = (payload_len(&header), self.max);
        if len > max {
            return Err(OpenError::TooLong { len, max });
        }
        if len == 0 {
            out.extend_from_slice(&header);
        } else {
            self.header = Some(header);
            self.missing = len;
        }
        Ok(())
    }

    fn open_block(
        &mut self,
        ready: &ring::aead::LessSafeKey,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let before = out.len();
        out.reserve(FRAME_HEADER + sealed.len());
        if let Some(header) = self.header.take() {
            out.extend_from_slice(&header);
        }
        let from = out.len();
        out.extend_from_slice(sealed);
        match self.theirs.open(ready, &[], &mut out[from..]) {
            Ok(len) => {
                out.truncate(from + len);
                self.missing -= len;
                Ok(())
            }
            Err(error) => {
                out.truncate(before);
                Err(error.into())
            }
        }
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, nonce: u64) {
        self.ours.skip_to(nonce);
        self.theirs.skip_to(nonce);
    }
}

impl From<CipherError> for OpenError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Tag => Self::Tag,
            CipherError::Exhausted => Self::Exhausted,
        }
    }
}

/// Bytes of the whole frames that `bytes` begins with: at most `most`, or one frame.
pub fn whole_frames(bytes: &[u8], most: usize) -> usize {
    let mut whole = 0;
    while let Some(len) = frame_len(&bytes[whole..]) {
        let end = whole + len;
        if end > bytes.len() || (whole > 0 && end > most) {
            break;
        }
        whole = end;
    }
    whole
}

/// Bytes of the frame that begins here, with its header; `None` before the header is whole.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<FRAME_HEADER>()?;
    Some(FRAME_HEADER + payload_len(header))
}

fn payload_len(header: &[u8; FRAME_HEADER]) -> usize {
    usize::from(header[3]) | usize::from(header[4]) << 8 | usize::from(header[5]) << 16
}
