//! One direction's key and its counter: ChaCha20-Poly1305 (RFC 8439) as Noise numbers it (SV2 spec 4.4.1).
//!
//! Invariant: a nonce is used once. The counter moves before the cipher does, and the last value is never used.

use super::wipe;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fmt;

/// Bytes of a tag.
pub(super) const TAG: usize = 16;

/// Why a cipher did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CipherError {
    /// The bytes are not what was sealed.
    Tag,
    /// Every nonce of this key was used.
    Exhausted,
}

/// A key and the number of its next message. The 32 bytes are kept, not ring's expansion of them: that has 544 bytes,
/// is made in the time of a few blocks of the cipher, and would not be wiped.
pub(super) struct Cipher {
    key: [u8; 32],
    nonce: u64,
}

impl Cipher {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, nonce: 0 }
    }

    /// Messages that may still be sealed or opened. Noise keeps the last nonce for itself (its revision 34, 5.1).
    pub(super) fn left(&self) -> u64 {
        u64::MAX - self.nonce
    }

    /// The key as ring wants it.
    pub(super) fn ready(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.key);
        LessSafeKey::new(key.expect("a key of 32 bytes"))
    }

    /// Seals in place; the tag belongs behind. `ready` is this cipher's own.
    pub(super) fn seal(
        &mut self,
        ready: &LessSafeKey,
        ad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG], CipherError> {
        let nonce = self.next()?;
        let tag = ready.seal_in_place_separate_tag(nonce, Aad::from(ad), text);
        let tag = tag.expect("a block is far shorter than the cipher's limit of 256 GiB");
        Ok(tag.as_ref().try_into().expect("a tag has 16 bytes"))
    }

    /// Opens what stands before its tag, in place; the text is all but the last 16 bytes.
    pub(super) fn open(
        &mut self,
        ready: &LessSafeKey,
        ad: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, CipherError> {
        let nonce = self.next()?;
        let text = ready.open_in_place(nonce, Aad::from(ad), sealed);
        text.map(|text| text.len()).map_err(|_| CipherError::Tag)
    }

    /// 32 zero bits and the counter, little-endian.
    fn next(&mut self) -> Result<Nonce, CipherError> {
        if self.nonce == u64::MAX {
            return Err(CipherError::Exhausted);
        }
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.nonce.to_le_bytes());
        self.nonce += 1;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, nonce: u64) {
        self.nonce = nonce;
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        wipe(&mut self.key);
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cipher {{ nonce: {} }}", self.nonce)
    }
}
