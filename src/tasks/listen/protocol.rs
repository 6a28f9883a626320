//! What a connection speaks, by its first bytes: V1, TLS, Stratum V2, or nothing of ours.
//!
//! | first bytes | it is |
//! |---|---|
//! | `{` or white space, then text | V1 |
//! | 16 03 and a client hello | TLS; the same again inside |
//! | a web, remote desktop or shell client's greeting | a scanner |
//! | any other text | V1, whose parser refuses it |
//! | anything else | Noise: 64 bytes that look random |
//!
//! Invariant: a Noise hello, 64 random bytes of which at least sixteen came together, is taken for something else less
//! often than once in 2^22.

/// So many bytes always decide.
pub(super) const ENOUGH: usize = 64;
/// Text for so long is no key: of 95 printable ones in 256, sixteen in a row are one case in 8 million, and a key that
/// also begins with a brace or a blank is one in a billion.
const TEXT: usize = 16;
/// How those begin who look for other services.
const SCANNERS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"OPTIONS ",
    b"CONNECT ",
    b"PRI * HTTP",
    b"SSH-",
    b"RFB ",
    // Remote desktop: TPKT, version 3, a length below 256.
    b"\x03\x00\x00",
];

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    V1,
    V2,
    Tls,
    Foreign,
}

impl Protocol {
    /// `None`: more bytes are needed.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (&first, _) = bytes.split_first()?;
        if SCANNERS.iter().any(|greeting| bytes.starts_with(greeting)) {
            return Some(Self::Foreign);
        }
        if first == 0x16 {
            // A record of TLS 1.x that holds a client hello.
            return match bytes {
                [_, 0x03, 0..=4, _, _, 0x01, ..] => Some(Self::Tls),
                [_]
                | [_, 0x03]
                | [_, 0x03, 0..=4]
                | [_, 0x03, 0..=4, _]
                | [_, 0x03, 0..=4, _, _] => None,
                _ => Self::key(bytes),
            };
        }
        let text = bytes
            .iter()
            .take_while(|b| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
            .count();
        if text < bytes.len().min(TEXT) {
            return Self::key(bytes);
        }
        let is_whole = text >= TEXT || bytes[..text].contains(&b'\n');
        is_whole.then_some(Self::V1)
    }

    /// Bytes that are no text: a key, however little of it has come.
    fn key(_: &[u8]) -> Option<Self> {
        Some(Self::V2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_its_first_bytes_and_not_before_they_are_enough() {
        let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01];
        for (bytes, is) in [
            (
                &b"{\"id\":1,\"method\":\"mining.subscribe\""[..],
                Some(Protocol::V1),
            ),
            (b"\r\n", Some(Protocol::V1)),
            (b"  {\"id\": 1, \"meth", Some(Protocol::V1)),
            (b"{}\n", Some(Protocol::V1)),
            (b"{\"id\":", None),
            (b"", None),
            (&hello, Some(Protocol::Tls)),
            (&hello[..5], None),
            (&hello[..1], None),
            (&[0x16, 0x04], Some(Protocol::V2)),
            (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x02], Some(Protocol::V2)),
            (b"GET / HTTP/1.1\r\n", Some(Protocol::Foreign)),
            (b"GET", None),
            (b"SSH-2.0-Go", Some(Protocol::Foreign)),
            (&[0x03, 0x00, 0x00, 0x13], Some(Protocol::Foreign)),
            (&[0x7b, 0x91], Some(Protocol::V2)),
            (&[0xff], Some(Protocol::V2)),
        ] {
            assert_eq!(
                Protocol::of(bytes),
                is,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_million_random_keys_are_keys_wherever_they_are_cut_behind_sixteen_bytes() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..1_000_000 {
            let mut key = [0; ENOUGH];
            for word in key.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            let decided = (TEXT..=ENOUGH).find_map(|len| Protocol::of(&key[..len]));
            assert_eq!(decided, Some(Protocol::V2), "{key:x?}");
        }
    }
}
