//! Hex digits to bytes and back. Lower case out, either case in; never a `0x`, a sign or a blank.
//!
//! Invariant: `decode(encode(x)) == x`, and nothing of odd length or with a foreign byte decodes.

use super::word::Word;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// No value of a digit.
const NONE: u8 = 0xff;
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        let digit = DIGITS[value];
        table[digit as usize] = value as u8;
        table[digit.to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    table
}

/// Appends `bytes` as lower-case digits.
pub fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.extend_from_slice(&pair(*byte));
    }
}

/// Appends eight digits, most significant first.
pub fn push_u32(out: &mut Vec<u8>, value: u32) {
    push(out, &value.to_be_bytes());
}

/// Appends as few digits as the value needs, at least one (job ids).
pub fn push_u32_short(out: &mut Vec<u8>, value: u32) {
    let digits = (8 - value.leading_zeros() / 4).max(1);
    for place in (0..digits).rev() {
        out.push(DIGITS[(value >> (4 * place)) as usize & 15]);
    }
}

/// The two digits of a byte.
pub fn pair(byte: u8) -> [u8; 2] {
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// Fills `out` exactly; false (and `out` undefined) if the digits are not `2 * out.len()` good ones.
#[must_use]
pub fn decode_into(digits: &[u8], out: &mut [u8]) -> bool {
    if digits.len() != 2 * out.len() {
        return false;
    }
    let (words, pairs) = digits.as_chunks::<8>();
    let (fours, ones) = out.as_chunks_mut::<4>();
    let mut bad_words = 0;
    for (four, word) in fours.iter_mut().zip(words) {
        let (bytes, bad) = Word::new(*word).bytes();
        bad_words |= bad;
        *four = bytes;
    }
    // A bad digit has its high bits set and the values of good ones never do: one test at the end.
    let mut bad = 0;
    for (byte, [high, low]) in ones.iter_mut().zip(pairs.as_chunks().0) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        bad |= high | low;
        *byte = high << 4 | low & 15;
    }
    bad_words == 0 && bad < 16
}

/// All bytes, if there are at most `most` of them.
pub fn decode(digits: &[u8], most: usize) -> Option<Vec<u8>> {
    if digits.len() / 2 > most {
        return None;
    }
    let mut out = vec![0; digits.len() / 2];
    decode_into(digits, &mut out).then_some(out)
}

/// Exactly eight digits, most significant first.
pub fn u32_exact(digits: &[u8]) -> Option<u32> {
    let mut bytes = [0; 4];
    decode_into(digits, &mut bytes).then(|| u32::from_be_bytes(bytes))
}

/// One to eight digits.
pub fn u32_short(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        let digit = VALUES[usize::from(*digit)];
        (digit != NONE).then(|| value << 4 | u32::from(digit))
    })
}

/// Whether every byte is a digit.
pub fn is_hex(digits: &[u8]) -> bool {
    digits
        .iter()
        .all(|digit| VALUES[usize::from(*digit)] != NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn eight_digits_are_a_u32_and_seven_or_nine_are_not() {
        assert_eq!(u32_exact(b"00fFaB10"), Some(0x00ff_ab10));
        assert_eq!(u32_exact(b"0ffab10"), None);
        assert_eq!(u32_exact(b"000ffab10"), None);
    }

    #[test]
    fn a_job_id_has_one_to_eight_digits() {
        assert_eq!(u32_short(b""), None);
        assert_eq!(u32_short(b"F"), Some(15));
        assert_eq!(u32_short(b"ffffffff"), Some(u32::MAX));
        assert_eq!(u32_short(b"0ffffffff"), None);
    }

    #[test]
    fn prefixes_signs_and_blanks_are_not_digits() {
        for bad in ["0x000001", "+0000001", " 0000001", "0000000g"] {
            assert_eq!(u32_exact(bad.as_bytes()), None, "{bad}");
            assert_eq!(u32_short(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_cap_has_two_sides() {
        assert_eq!(decode(b"0102", 2), Some(vec![1, 2]));
        assert_eq!(decode(b"010203", 2), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: Vec<u8>, value: u32) {
            let mut out = Vec::new();
            push(&mut out, &bytes);
            prop_assert_eq!(decode(&out, bytes.len()), Some(bytes));
            out.clear();
            push_u32_short(&mut out, value);
            prop_assert_eq!(String::from_utf8_lossy(&out), format!("{value:x}"));
            prop_assert_eq!(u32_short(&out), Some(value));
        }

        #[test]
        fn one_bad_digit_spoils_all(mut digits in prop::collection::vec(b'0'..=b'9', 22), at in 0_usize..22, bad: u8) {
            prop_assume!(!bad.is_ascii_hexdigit());
            digits[at] = bad;
            prop_assert_eq!(decode(&digits, 11), None);
            prop_assert!(!is_hex(&digits));
        }
    }
}
