//! What secures a Stratum V2 connection: the Noise_NX handshake and the sealed frames after it (SV2 spec 4).
//!
//! ```text
//!   initiator                                    responder (has an Identity, signed by its Authority)
//!   Initiator::new ── 64 bytes: e ────────────────────────────────────────────> respond
//!   finish <── 234 bytes: e, sealed static key, sealed certificate ──────────── (reply, Transport)
//!   Transport  <═══ sealed headers of 22 bytes, sealed payloads in blocks ═══>  Transport
//! ```
//! Neither sockets nor chance nor time: random bytes and the unix time are arguments, and every answer depends on them
//! and the peer's bytes alone. Invariant: no nonce is used twice under a key, and nothing that does not carry its right
//! tag leaves [`Transport::open`].
//!
//! Ours and not `noise_sv2`'s because of the cipher: ring seals a short frame several times as fast (`benches/noise.rs`).
//! `noise_sv2` is what the tests compare with.

mod base58;
mod certificate;
mod cipher;
mod handshake;
mod key;
mod symmetric;
#[cfg(test)]
mod tests;
mod transport;

pub use certificate::{CertificateError, Identity, LEEWAY_S, Validity};
pub use handshake::{HELLO, HandshakeError, Initiator, REPLY, respond};
pub use key::{Authority, AuthorityError, AuthorityPublic, KeyError};
pub use transport::{
    BLOCK, FRAME_HEADER, MAX_BEFORE_SETUP, OpenError, SEALED_HEADER, SealError, Transport,
    frame_len, whole_frames,
};

use secp256k1::{All, Secp256k1};
use std::sync::LazyLock;

/// The curve's precomputed tables; a constant, made once.
static CURVE: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// A secret key from random bytes. All but one of 2^127 values are one already; the rest is hashed until it is.
fn secret_key(chance: [u8; 32]) -> secp256k1::SecretKey {
    let mut bytes = chance;
    loop {
        if let Ok(key) = secp256k1::SecretKey::from_slice(&bytes) {
            wipe(&mut bytes);
            return key;
        }
        bytes = symmetric::sha256(&[&bytes]);
    }
}

/// Forgets a secret, as far as safe code can: the compiler is told that the zeros are looked at.
fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}
