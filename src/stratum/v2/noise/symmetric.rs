//! What both sides of a handshake keep the same: the hash of all that was said, the chaining key, and the cipher that
//! came of it so far (SV2 spec 4.4.2). Knows no curve and no message.

use super::cipher::{Cipher, CipherError, TAG};
use super::wipe;
use ring::{digest, hmac};

/// Noise's name of this handshake (SV2 spec 4.5.1).
const PROTOCOL: &[u8] = b"Noise_NX_Secp256k1+EllSwift_ChaChaPoly_SHA256";

/// The state of a handshake.
pub(super) struct Symmetric {
    hash: [u8; 32],
    chain: [u8; 32],
    cipher: Option<Cipher>,
}

impl Symmetric {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        let chain = sha256(&[PROTOCOL]);
        Self {
            hash: sha256(&[&chain]),
            chain,
            cipher: None,
        }
    }

    /// Something was said in the open. The payload beside the first `e` is empty, which is a hash of nothing more.
    pub(super) fn mix_hash(&mut self, said: &[u8]) {
        self.hash = sha256(&[&self.hash, said]);
    }

    /// Both know a secret more.
    pub(super) fn mix_key(&mut self, mut secret: [u8; 32]) {
        let (chain, key) = hkdf(&self.chain, &secret);
        wipe(&mut secret);
        self.chain = chain;
        self.cipher = Some(Cipher::new(key));
    }

    /// Seals what stands before the room for its tag, at the end of `message`.
    pub(super) fn seal_and_hash(&mut self, message: &mut [u8]) {
        let cipher = self.cipher.as_mut().expect("sealed after the first key");
        let (text, tag) = message.split_at_mut(message.len() - TAG);
        let ready = cipher.ready();
        let sealed = cipher.seal(&ready, &self.hash, text);
        tag.copy_from_slice(&sealed.expect("the first message of this key"));
        self.mix_hash(message);
    }

    /// Opens in place; the text is all but the last 16 bytes.
    pub(super) fn open_and_hash(&mut self, message: &mut [u8]) -> Result<(), CipherError> {
        let said = sha256(&[&self.hash, message]);
        let cipher = self.cipher.as_mut().expect("opened after the first key");
        let ready = cipher.ready();
        cipher.open(&ready, &self.hash, message)?;
        self.hash = said;
        Ok(())
    }

    /// The keys of the connection: the initiator's to seal with, then the responder's.
    pub(super) fn split(self) -> (Cipher, Cipher) {
        let (initiator, responder) = hkdf(&self.chain, &[]);
        (Cipher::new(initiator), Cipher::new(responder))
    }
}

impl Drop for Symmetric {
    fn drop(&mut self) {
        wipe(&mut self.chain);
        wipe(&mut self.hash);
    }
}

/// SHA-256 of the parts one after the other.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let hash = context.finish();
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Two keys of HKDF (RFC 5869) without info.
fn hkdf(chain: &[u8; 32], secret: &[u8]) -> ([u8; 32], [u8; 32]) {
    let mut temporary = hmac_sha256(chain, &[secret]);
    let first = hmac_sha256(&temporary, &[&[1]]);
    let second = hmac_sha256(&temporary, &[&first, &[2]]);
    wipe(&mut temporary);
    (first, second)
}

fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let tag = context.sign();
    tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
