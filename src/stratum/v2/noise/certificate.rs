//! The certificate: an authority's word that a static key is its server's, and until when (SV2 spec 4.5.3).
//!
//! On the wire as SIGNATURE_NOISE_MESSAGE, little-endian; the static key itself travels before it:
//!
//! | bytes | 2 | 4 | 4 | 64 |
//! |---|---|---|---|---|
//! | is | version, 0 | valid from, unix s | not valid after, unix s | BIP 340 signature |
//!
//! Signed is the SHA-256 of the first ten bytes and the x of the static key. Invariant: a certificate is believed within
//! its times only.

use super::key::{Authority, AuthorityPublic};
use super::symmetric::sha256;
use super::{CURVE, secret_key};
use secp256k1::ellswift::ElligatorSwift;
use secp256k1::{Message, PublicKey, SecretKey, XOnlyPublicKey, schnorr};
use std::fmt;

/// Bytes of the message.
pub(super) const MESSAGE: usize = 74;
/// Bytes of it that are signed.
const SIGNED: usize = 10;
/// The only format there is.
const FORMAT: u16 = 0;
/// Seconds that a certificate is believed before and after its times: what clocks may be apart, as SRI has it.
pub const LEEWAY_S: u64 = 10;

/// From when to when, unix time in seconds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from_s: u32,
    /// The last second.
    pub until_s: u32,
}

/// Why a certificate is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A later format.
    #[error("the certificate is of format {0}, and only format 0 is known")]
    Format(u16),
    /// Another authority's, or nobody's.
    #[error(
        "the certificate is not signed by the key we were given: the wrong pool, the wrong key, or somebody in between"
    )]
    Signature,
    /// Its time has not come.
    #[error("the certificate is valid in {0} s only: one of the two clocks is wrong")]
    Early(u64),
    /// Its time is over.
    #[error(
        "the certificate expired {0} s ago: the pool must renew it, or one of the two clocks is wrong"
    )]
    Expired(u64),
}

/// What a server is on its connections: a static key and the certificate for it. May serve many handshakes: each has
/// its own ephemeral key, so what was said stays secret even if this one is lost later.
pub struct Identity {
    pub(super) key: SecretKey,
    pub(super) encoded: ElligatorSwift,
    pub(super) message: [u8; MESSAGE],
    validity: Validity,
}

impl Identity {
    /// A new static key, signed. `chance`: 32 bytes for the key, 32 for its encoding, 32 for the signature.
    pub fn new(authority: &Authority, validity: Validity, chance: &[u8; 96]) -> Self {
        let part = |at: usize| {
            let part = chance[32 * at..32 * (at + 1)].try_into();
            part.expect("a third of 96 bytes")
        };
        let key = secret_key(part(0));
        let encoded = ElligatorSwift::from_seckey(&CURVE, key, Some(part(1)));
        let mut message = [0; MESSAGE];
        message[..2].copy_from_slice(&FORMAT.to_le_bytes());
        message[2..6].copy_from_slice(&validity.from_s.to_le_bytes());
        message[6..SIGNED].copy_from_slice(&validity.until_s.to_le_bytes());
        let signed = digest(&message, &key.x_only_public_key(&CURVE).0);
        let signature = CURVE.sign_schnorr_with_aux_rand(&signed, &authority.0, &part(2));
        message[SIGNED..].copy_from_slice(signature.as_ref());
        Self {
            key,
            encoded,
            message,
            validity,
        }
    }

    /// When it is believed.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.validity)
    }
}

/// Whether the message makes the static key the authority's, at `now_s`.
pub(super) fn verify(
    message: &[u8; MESSAGE],
    encoded: ElligatorSwift,
    authority: &AuthorityPublic,
    now_s: u64,
) -> Result<(), CertificateError> {
    let format = u16::from_le_bytes([message[0], message[1]]);
    if format != FORMAT {
        return Err(CertificateError::Format(format));
    }
    let key = PublicKey::from_ellswift(encoded).x_only_public_key().0;
    let signature = schnorr::Signature::from_slice(&message[SIGNED..]);
    let signature = signature.expect("a signature has 64 bytes");
    // The signature first: what else it says is the authority's word only then.
    let signed = CURVE.verify_schnorr(&signature, &digest(message, &key), &authority.0);
    signed.map_err(|_| CertificateError::Signature)?;
    let seconds = |at: usize| {
        let bytes = message[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(bytes))
    };
    let (from_s, until_s) = (seconds(2), seconds(6));
    if now_s.saturating_add(LEEWAY_S) < from_s {
        return Err(CertificateError::Early(from_s - now_s));
    }
    if now_s > until_s + LEEWAY_S {
        return Err(CertificateError::Expired(now_s - until_s));
    }
    Ok(())
}

fn digest(message: &[u8; MESSAGE], key: &XOnlyPublicKey) -> Message {
    Message::from_digest(sha256(&[&message[..SIGNED], &key.serialize()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_a_later_format_is_refused_though_it_is_signed() {
        let authority = Authority::new([1; 32]);
        let validity = Validity {
            from_s: 0,
            until_s: 10,
        };
        let identity = Identity::new(&authority, validity, &[2; 96]);
        let verified = |message| verify(message, identity.encoded, &authority.public(), 5);
        assert_eq!(verified(&identity.message), Ok(()));

        let mut later = identity.message;
        later[0] = 1;
        let signed = digest(&later, &identity.key.x_only_public_key(&CURVE).0);
        let signature = CURVE.sign_schnorr_no_aux_rand(&signed, &authority.0);
        later[SIGNED..].copy_from_slice(signature.as_ref());
        assert_eq!(verified(&later), Err(CertificateError::Format(1)));
    }
}
