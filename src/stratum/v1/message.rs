//! What both sides share: ids, the shape of a message, limits. Nothing here parses a line.
//!
//! Invariant: what is written here reads back as it was.

use super::hex;

/// A request id as it is echoed: the verbatim text of a JSON scalar of at most 64 bytes, else `null`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id<'a>(pub &'a str);

/// Why a line is not a message at all; the peer is closed and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not an object, or not UTF-8.
    #[error("not a JSON object")]
    NotAnObject,
    /// Deeper than 8.
    #[error("nested deeper than 8")]
    TooDeep,
    /// A key twice.
    #[error("a key appears twice")]
    DuplicateKey,
    /// Neither a method nor a result.
    #[error("neither a request nor a response")]
    NoMethod,
}

/// Deepest nesting of a message.
pub const MAX_DEPTH: usize = 8;
/// Most bytes of a miner's line, without its terminator; the longest honest one (a configure) is below 512.
pub const MAX_MINER_LINE: usize = 4096;
/// Most bytes of a pool's line: a coinbase of 32 KiB as hex, 32 branches, and room.
pub const MAX_POOL_LINE: usize = 128 * 1024;
/// Appends a JSON string with its quotes. Only what JSON demands is escaped.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex::pair(byte));
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends a decimal integer.
pub(super) fn push_u64(out: &mut Vec<u8>, mut value: u64) {
    // 20 digits hold u64::MAX.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Appends a decimal integer with its sign.
pub(super) fn push_i32(out: &mut Vec<u8>, value: i32) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, u64::from(value.unsigned_abs()));
}

/// Appends the shortest decimal that reads back equal; never an exponent (some firmware stops reading there), and no
/// `.0` behind an integer.
pub(super) fn push_f64(out: &mut Vec<u8>, value: f64) {
    // `Display` of f64 is exactly that form.
    out.extend_from_slice(value.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn difficulties_read_as_firmware_likes_them() {
        for (value, text) in [
            (1.0, "1"),
            (1024.0, "1024"),
            (0.000_976_562_5, "0.0009765625"),
            (0.5, "0.5"),
            (1.0 / 4_294_967_296.0, "0.00000000023283064365386963"),
            (549_755_813_888.0, "549755813888"),
        ] {
            let mut out = Vec::new();
            push_f64(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    proptest! {
        #[test]
        fn strings_and_numbers_read_back(text: String, unsigned: u64, signed: i32, exponent in -32_i32..=63, mantissa in 1.0_f64..2.0) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            out.clear();
            push_u64(&mut out, unsigned);
            prop_assert_eq!(serde_json::from_slice::<u64>(&out).unwrap(), unsigned);
            out.clear();
            push_i32(&mut out, signed);
            prop_assert_eq!(serde_json::from_slice::<i32>(&out).unwrap(), signed);
            out.clear();
            let value = mantissa * f64::powi(2.0, exponent);
            push_f64(&mut out, value);
            prop_assert!(out.iter().all(|b| b.is_ascii_digit() || *b == b'.'));
            prop_assert_eq!(std::str::from_utf8(&out).unwrap().parse::<f64>().unwrap(), value);
        }
    }
}
