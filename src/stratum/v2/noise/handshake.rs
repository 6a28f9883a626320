//! The two sides of the handshake (SV2 spec 4.5): one message each, then both have the keys.
//!
//! | bytes | 64 | 64 + 16 | 74 + 16 |
//! |---|---|---|---|
//! | hello | initiator's ephemeral key | | |
//! | reply | responder's ephemeral key | its static key, sealed | its certificate, sealed |
//!
//! Keys are x-only points in the ElligatorSwift encoding of BIP 324: any 64 bytes are one, so a hello is never wrong, and
//! whoever said it shows in the first frame that it knows the key. Invariant: an initiator gets a [`Transport`] only from
//! a responder whose certificate it believes.

use super::certificate::{self, CertificateError, Identity, MESSAGE};
use super::cipher::TAG;
use super::key::AuthorityPublic;
use super::symmetric::Symmetric;
use super::transport::Transport;
use super::{CURVE, secret_key};
use secp256k1::SecretKey;
use secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use std::fmt;

/// Bytes of an encoded key.
const KEY: usize = 64;
/// Bytes of the initiator's message.
pub const HELLO: usize = KEY;
/// Bytes of the responder's message.
pub const REPLY: usize = CERTIFICATE + MESSAGE + TAG;
/// Where the sealed certificate begins.
const CERTIFICATE: usize = KEY + KEY + TAG;

/// Why a handshake came to nothing: always the peer, or who is in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The reply was not made for our hello.
    #[error("the answer is no Stratum V2 handshake, or was changed on its way")]
    Tag,
    /// The server is not who it should be.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The side that connects, until the reply has come.
pub struct Initiator {
    said: Symmetric,
    key: SecretKey,
    encoded: ElligatorSwift,
    authority: AuthorityPublic,
}

impl Initiator {
    /// With the authority that the server must have its key from. `chance`: 32 bytes for the key, 32 for its encoding.
    pub fn new(authority: AuthorityPublic, chance: &[u8; 64]) -> (Self, [u8; HELLO]) {
        let (key, encoded) = ephemeral(chance);
        let mut said = Symmetric::new();
        said.mix_hash(&encoded.to_array());
        said.mix_hash(&[]);
        let initiator = Self {
            said,
            key,
            encoded,
            authority,
        };
        (initiator, encoded.to_array())
    }

    /// The server's reply, at `now_s` (unix time).
    pub fn finish(mut self, reply: &[u8; REPLY], now_s: u64) -> Result<Transport, HandshakeError> {
        let mut said = std::mem::replace(&mut self.said, Symmetric::new());
        let mut reply = *reply;
        let (open, sealed) = reply.split_at_mut(KEY);
        let (sealed_key, sealed_certificate) = sealed.split_at_mut(KEY + TAG);

        said.mix_hash(open);
        said.mix_key(self.secret(encoded(open)));
        let opened = said.open_and_hash(sealed_key);
        opened.map_err(|_| HandshakeError::Tag)?;
        let server = encoded(&sealed_key[..KEY]);
        said.mix_key(self.secret(server));
        let opened = said.open_and_hash(sealed_certificate);
        opened.map_err(|_| HandshakeError::Tag)?;

        let message = sealed_certificate[..MESSAGE].try_into();
        let message = message.expect("cut to its length");
        certificate::verify(message, server, &self.authority, now_s)?;
        let (ours, theirs) = said.split();
        Ok(Transport::new(ours, theirs))
    }

    fn secret(&self, theirs: ElligatorSwift) -> [u8; 32] {
        let party = ElligatorSwiftParty::A;
        ElligatorSwift::shared_secret(self.encoded, theirs, self.key, party, None).to_secret_bytes()
    }
}

impl Drop for Initiator {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Initiator({})", self.authority)
    }
}

/// The side that listens: the reply to a hello, and the keys. `chance`: 32 bytes for the key, 32 for its encoding.
pub fn respond(
    identity: &Identity,
    hello: &[u8; HELLO],
    chance: &[u8; 64],
) -> ([u8; REPLY], Transport) {
    let theirs = ElligatorSwift::from_array(*hello);
    let (mut key, own) = ephemeral(chance);
    let mut said = Symmetric::new();
    said.mix_hash(hello);
    said.mix_hash(&[]);

    let mut reply = [0; REPLY];
    reply[..KEY].copy_from_slice(&own.to_array());
    said.mix_hash(&reply[..KEY]);
    said.mix_key(answering_secret(theirs, own, key));
    key.non_secure_erase();
    reply[KEY..2 * KEY].copy_from_slice(&identity.encoded.to_array());
    said.seal_and_hash(&mut reply[KEY..CERTIFICATE]);
    said.mix_key(answering_secret(theirs, identity.encoded, identity.key));
    reply[CERTIFICATE..REPLY - TAG].copy_from_slice(&identity.message);
    said.seal_and_hash(&mut reply[CERTIFICATE..]);

    let (theirs, ours) = said.split();
    (reply, Transport::new(ours, theirs))
}

fn answering_secret(theirs: ElligatorSwift, own: ElligatorSwift, key: SecretKey) -> [u8; 32] {
    ElligatorSwift::shared_secret(theirs, own, key, ElligatorSwiftParty::B, None).to_secret_bytes()
}

fn ephemeral(chance: &[u8; 64]) -> (SecretKey, ElligatorSwift) {
    let (key, encoding) = chance.split_at(32);
    let key = secret_key(key.try_into().expect("the first half"));
    let encoding = encoding.try_into().expect("the second half");
    let encoded = ElligatorSwift::from_seckey(&CURVE, key, Some(encoding));
    (key, encoded)
}

fn encoded(bytes: &[u8]) -> ElligatorSwift {
    ElligatorSwift::from_array(bytes.try_into().expect("cut to 64 bytes"))
}
