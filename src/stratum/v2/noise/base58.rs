//! Base58check, for keys: base 58 without the letters that look alike, and four bytes of a double SHA-256 at the end.
//! Not for long data: the time it takes is the square of the length, so longer texts are refused unread.

use super::key::KeyError;
use super::symmetric::sha256;

const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Bytes of the sum at the end.
const SUM: usize = 4;
/// Longest text read. A public key has 51 letters, a secret one 50.
pub(super) const MAX_TEXT: usize = 64;

/// The text of `data` and its sum.
pub(super) fn encode(data: &[u8]) -> String {
    let mut bytes = data.to_vec();
    bytes.extend_from_slice(&sum(data));
    // Digits, the lowest first.
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
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let zeros = std::iter::repeat_n(&0, zeros);
    let digits = zeros.chain(digits.iter().rev());
    digits
        .map(|digit| char::from(DIGITS[usize::from(*digit)]))
        .collect()
}

/// The data of a text whose sum is right.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    if text.len() > MAX_TEXT {
        return Err(KeyError::Length(text.chars().count()));
    }
    // Bytes, the lowest first.
    let mut bytes: Vec<u8> = Vec::new();
    for (at, letter) in text.chars().enumerate() {
        let digit = DIGITS.iter().position(|digit| char::from(*digit) == letter);
        let Some(digit) = digit else {
            return Err(KeyError::Letter(letter, at + 1));
        };
        let mut carry = digit as u32;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    let zeros = text.bytes().take_while(|letter| *letter == b'1').count();
    bytes.extend(std::iter::repeat_n(0, zeros));
    bytes.reverse();
    let Some(len) = bytes.len().checked_sub(SUM) else {
        return Err(KeyError::Length(text.len()));
    };
    if sum(&bytes[..len])[..] != bytes[len..] {
        return Err(KeyError::Sum);
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn sum(data: &[u8]) -> [u8; SUM] {
    let twice = sha256(&[&sha256(&[data])]);
    [twice[0], twice[1], twice[2], twice[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(data in prop::collection::vec(any::<u8>(), 0..40), zeros in 0..3_usize) {
            let data = [vec![0; zeros], data].concat();
            prop_assume!(encode(&data).len() <= MAX_TEXT);
            prop_assert_eq!(decode(&encode(&data)), Ok(data));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(data) = decode(&text) {
                prop_assert_eq!(encode(&data), text);
            }
        }
    }

    #[test]
    fn a_text_is_read_up_to_its_longest_and_not_a_letter_longer() {
        assert_eq!(decode(&"2".repeat(MAX_TEXT)), Err(KeyError::Sum));
        let longer = "2".repeat(MAX_TEXT + 1);
        assert_eq!(decode(&longer), Err(KeyError::Length(MAX_TEXT + 1)));
    }

    #[test]
    fn each_letter_changed_is_noticed() {
        let text = encode(&[7; 34]);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'z' { b'y' } else { b'z' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(decode(&changed), Err(KeyError::Sum), "{changed}");
        }
    }
}
