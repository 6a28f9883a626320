//! The authority's key: what a miner is given to know a pool by, and its secret half (SV2 spec 4.7). Signs nothing
//! itself (`certificate.rs`). Invariant: a public key that exists is a point of the curve, and no secret is printed.

use super::{CURVE, base58, secret_key};
use secp256k1::{Keypair, XOnlyPublicKey};
use std::fmt;
use std::str::FromStr;

/// What stands before a public key in its text: version 1, little-endian.
const VERSION: [u8; 2] = [1, 0];

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base58.
    #[error("{0:?} at place {1} is no letter of base58 (which has no 0, O, I and l)")]
    Letter(char, usize),
    /// Too short or too long; with its letters.
    #[error(
        "{0} letters are too few or too many: a public key has about 51, a secret one about 50"
    )]
    Length(usize),
    /// A letter is wrong or missing.
    #[error("its check sum does not fit: a letter was lost or changed; copy it again")]
    Sum,
    /// A key of another kind; with its bytes.
    #[error("it holds {0} bytes, which is no key of this kind")]
    Kind(usize),
    /// A later format.
    #[error("it is of version {0}, and only version 1 is known")]
    Version(u16),
    /// A secret where a public one is wanted.
    #[error(
        "this looks like a SECRET key; give the public one (`sluice keys --show FILE` prints it)"
    )]
    IsSecret,
    /// A public key where the secret one is wanted.
    #[error("this is the public key; the file must hold the secret one")]
    IsPublic,
    /// 32 bytes that are no point, or no secret of one.
    #[error("its 32 bytes are no key of the curve secp256k1")]
    Curve,
}

/// Why a text is no authority's file; lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Nothing but comments.
    #[error("no key in it; `sluice keys --out FILE` makes one")]
    Empty,
    /// Two keys.
    #[error("line {0}: a second key; a file holds one")]
    Second(usize),
    /// Something else.
    #[error("line {line}: {why}")]
    Key {
        /// Where.
        line: usize,
        /// What is wrong with it.
        why: KeyError,
    },
}

/// An authority as its peers know it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorityPublic(pub(super) XOnlyPublicKey);

impl AuthorityPublic {
    /// From the 32 bytes of the point's x (BIP 340).
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let point = XOnlyPublicKey::from_slice(bytes);
        point.map(Self).map_err(|_| KeyError::Curve)
    }

    /// The 32 bytes of the point's x.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.serialize()
    }
}

impl fmt::Display for AuthorityPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base58::encode(
            &[&VERSION[..], &self.to_bytes()[..]].concat(),
        ))
    }
}

impl fmt::Debug for AuthorityPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuthorityPublic {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = base58::decode(text)?;
        let [low, high, point @ ..] = &bytes[..] else {
            return Err(KeyError::Kind(bytes.len()));
        };
        match (<&[u8; 32]>::try_from(point), [*low, *high]) {
            (Ok(point), VERSION) => Self::from_bytes(point),
            (Ok(_), version) => Err(KeyError::Version(u16::from_le_bytes(version))),
            (Err(_), _) if bytes.len() == 32 => Err(KeyError::IsSecret),
            (Err(_), _) => Err(KeyError::Kind(bytes.len())),
        }
    }
}

/// An authority with its secret: what a pool signs with. Prints as its public half.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority(pub(super) Keypair);

impl Authority {
    /// A new one, from 32 random bytes.
    pub fn new(chance: [u8; 32]) -> Self {
        Self(Keypair::from_secret_key(&*CURVE, &secret_key(chance)))
    }

    /// What its peers are given.
    pub fn public(&self) -> AuthorityPublic {
        AuthorityPublic(self.0.x_only_public_key().0)
    }

    /// The text that a file holds. It is the secret: for a file that only its owner may read, for nothing else.
    pub fn secret_text(&self) -> String {
        base58::encode(&self.0.secret_bytes())
    }

    /// From a file: one line with the secret in base58check (as SRI's tools write it) or as 64 hex digits, blank lines,
    /// and lines that begin with `#`.
    pub fn from_file_text(text: &str) -> Result<Self, AuthorityError> {
        let mut found = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if found.is_some() {
                return Err(AuthorityError::Second(at + 1));
            }
            let key = secret(line).map_err(|why| AuthorityError::Key { line: at + 1, why })?;
            found = Some(key);
        }
        found.ok_or(AuthorityError::Empty)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.public())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

fn secret(text: &str) -> Result<Authority, KeyError> {
    let bytes = match hex(text) {
        Some(bytes) => bytes.to_vec(),
        None => base58::decode(text)?,
    };
    match bytes.len() {
        32 => {
            let key = Keypair::from_seckey_slice(&CURVE, &bytes);
            key.map(Authority).map_err(|_| KeyError::Curve)
        }
        34 if bytes.starts_with(&VERSION) => Err(KeyError::IsPublic),
        len => Err(KeyError::Kind(len)),
    }
}

/// 64 hex digits.
fn hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SV2 spec 4.7.1.
    const SPEC: [u8; 32] = [
        118, 99, 112, 0, 151, 156, 28, 17, 175, 12, 48, 11, 205, 140, 127, 228, 134, 16, 252, 233,
        185, 193, 30, 61, 174, 227, 90, 224, 176, 138, 116, 85,
    ];
    const SPEC_TEXT: &str = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
    /// The pair in SRI's example configurations: anybody's, for trying.
    const SRI_SECRET: &str = "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n";
    const SRI_PUBLIC: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";

    // sv2: 4.7 an authority's key is base58-check behind [1, 0]
    #[test]
    fn the_vector_of_the_specification_holds_both_ways() {
        let key = AuthorityPublic::from_bytes(&SPEC).expect("a point");
        assert_eq!(key.to_string(), SPEC_TEXT);
        assert_eq!(SPEC_TEXT.parse(), Ok(key));
    }

    #[test]
    fn the_example_pair_of_sri_belongs_together() {
        let authority = Authority::from_file_text(SRI_SECRET).expect("a key");
        assert_eq!(authority.public().to_string(), SRI_PUBLIC);
        assert_eq!(authority.secret_text(), SRI_SECRET);
    }

    #[test]
    fn a_file_may_hold_comments_blank_lines_and_hex() {
        let authority = Authority::new([7; 32]);
        let hex = "07".repeat(32);
        let text = format!("# mine\n\n  {hex} \r\n# end\n");
        assert_eq!(Authority::from_file_text(&text), Ok(authority));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let error = |text: &str| Authority::from_file_text(text).expect_err("refused");
        assert_eq!(error("# nothing\n"), AuthorityError::Empty);
        let two = format!("{SRI_SECRET}\n\n{SRI_SECRET}");
        assert_eq!(error(&two), AuthorityError::Second(3));
        let text = error(&format!("#\n{SRI_PUBLIC}")).to_string();
        assert!(text.starts_with("line 2: this is the public key"), "{text}");
        let zero = error(&"0".repeat(64));
        let why = KeyError::Curve;
        assert_eq!(zero, AuthorityError::Key { line: 1, why });
    }

    #[test]
    fn what_is_wrong_with_a_public_key_is_said() {
        let error = |text: &str| text.parse::<AuthorityPublic>().expect_err("refused");
        assert_eq!(error(""), KeyError::Length(0));
        assert_eq!(error("9bXi0"), KeyError::Letter('0', 5));
        assert_eq!(error(&SPEC_TEXT[1..]), KeyError::Sum);
        assert_eq!(error(SRI_SECRET), KeyError::IsSecret);
        let later = base58::encode(&[&[2, 0][..], &SPEC[..]].concat());
        assert_eq!(error(&later), KeyError::Version(2));
        let short = base58::encode(&[1, 0, 5]);
        assert_eq!(error(&short), KeyError::Kind(3));
        let no_point = base58::encode(&[&[1, 0][..], &[0xff; 32][..]].concat());
        assert_eq!(error(&no_point), KeyError::Curve);
    }

    #[test]
    fn no_secret_is_printed() {
        let authority = Authority::from_file_text(SRI_SECRET).expect("a key");
        assert_eq!(format!("{authority:?}"), format!("Authority({SRI_PUBLIC})"));
    }
}
