//! A pool's authority key and how a URL writes it (SV2 spec 4.7): base58 of `[1, 0]`, 32 bytes, four of checksum.
//!
//! Not a place for secrets: a simulated pool's key comes from its seed. Invariant: what [`encode`] writes,
//! [`decode`] reads, and one changed character is an error.

use super::super::wire::sha256d;
use secp256k1::{Keypair, Secp256k1};
use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Version of the key format, little-endian.
const PREFIX: [u8; 2] = [1, 0];
/// Longest text looked at: a real one has 51 characters.
const LONGEST: usize = 64;

/// The key with which a simulated pool signs its certificates.
#[derive(Clone, Copy, Debug)]
pub struct Authority {
    keypair: Keypair,
}

impl Authority {
    /// The key of this seed.
    pub fn from_seed(seed: u64) -> Self {
        let secp = Secp256k1::new();
        // One hash in 2^128 is no key; the next one is.
        let candidates = (0u64..).map(|i| {
            let parts = [seed.to_le_bytes(), i.to_le_bytes()].concat();
            Keypair::from_seckey_slice(&secp, &Sha256::digest(parts))
        });
        let keypair = candidates.filter_map(Result::ok).next();
        Self {
            keypair: keypair.expect("almost every hash is a key"),
        }
    }

    /// For the handshake.
    pub fn keypair(&self) -> Keypair {
        self.keypair
    }

    /// As a miner's URL writes it.
    pub fn public(&self) -> String {
        encode(&self.keypair.x_only_public_key().0.serialize())
    }
}

/// Base58check of an x-only public key.
pub fn encode(key: &[u8; 32]) -> String {
    let mut bytes = [&PREFIX[..], key].concat();
    let check = sha256d(&bytes);
    bytes.extend(&check[..4]);
    let mut digits: Vec<u8> = Vec::new();
    for byte in &bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let digits = digits.iter().rev();
    digits
        .map(|d| char::from(ALPHABET[usize::from(*d)]))
        .collect()
}

/// The x-only public key of a base58check text; `None` when it is none.
pub fn decode(text: &str) -> Option<[u8; 32]> {
    // A leading 1 is a zero byte, and the first byte is not zero.
    let plausible = text.len() <= LONGEST && !text.starts_with('1');
    let mut bytes: Vec<u8> = Vec::new();
    for c in plausible.then(|| text.bytes())? {
        let mut carry = ALPHABET.iter().position(|a| *a == c)? as u32;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry as u8);
            carry >>= 8;
        }
    }
    bytes.reverse();
    let (payload, check) = bytes.split_last_chunk::<4>()?;
    let whole = sha256d(payload)[..4] == *check;
    payload
        .strip_prefix(&PREFIX[..])?
        .try_into()
        .ok()
        .filter(|_| whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SV2 spec 4.7.1.
    const RAW: [u8; 32] = [
        118, 99, 112, 0, 151, 156, 28, 17, 175, 12, 48, 11, 205, 140, 127, 228, 134, 16, 252, 233,
        185, 193, 30, 61, 174, 227, 90, 224, 176, 138, 116, 85,
    ];
    const TEXT: &str = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

    #[test]
    fn the_vector_of_the_spec_is_met_both_ways() {
        assert_eq!(encode(&RAW), TEXT);
        assert_eq!(decode(TEXT), Some(RAW));
    }

    #[test]
    fn a_changed_key_is_none() {
        assert_eq!(decode(&TEXT.replace("Yw6", "Yw7")), None);
        assert_eq!(decode(&format!("1{TEXT}")), None);
        assert_eq!(decode(""), None);
        assert_eq!(decode("0OIl"), None);
        assert_eq!(decode(&"z".repeat(65)), None);
    }

    #[test]
    fn a_seed_is_a_key_and_another_seed_another() {
        let [one, two] = [1, 2].map(|seed| Authority::from_seed(seed).public());
        assert_ne!(one, two);
        assert!(decode(&one).is_some());
    }
}
