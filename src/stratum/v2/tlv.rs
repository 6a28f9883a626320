//! Fields that extensions append to messages: SV2 specification 3.4.3.
//!
//! Meant only where an extension was agreed on. Invariant: a field is a view into the tail, and a tail is walked in time
//! linear in its length.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | extension |
//! | 2 | field, within the extension |
//! | 3..5 | length of the value |
//! | 5.. | value |
//!
//! The specification's example has both numbers big-endian, against its own rule (3.1); SRI writes and reads them
//! little-endian. We write little-endian and read either: big-endian if the tail comes out even only that way.

use super::message::{Malformed, WORKER_HASHRATE};

/// Longest name of a worker, in bytes (extension 0x0002, section 1.1).
pub const MAX_USER_IDENTITY: usize = 32;
/// The field of extension 0x0002 that names a worker.
const USER_IDENTITY: u8 = 0x01;
/// Bytes before a value.
const HEADER: usize = 5;

/// One field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Extension that it belongs to.
    pub extension: u16,
    /// Which of that extension's.
    pub kind: u8,
    /// What it says.
    pub value: &'a [u8],
}

/// The fields of a tail, up to the first that is longer than what is there.
pub fn iter(tail: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let order = if !is_even(tail, Order::Little) && is_even(tail, Order::Big) {
        Order::Big
    } else {
        Order::Little
    };
    let mut rest = tail;
    std::iter::from_fn(move || order.split(&mut rest))
}

/// The worker's name that extension 0x0002 appends to a share. A name too long is to be refused with its message (3.4.3).
pub fn user_identity(tail: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let is_identity =
        |field: &Field<'_>| field.extension == WORKER_HASHRATE && field.kind == USER_IDENTITY;
    match iter(tail).find(is_identity) {
        Some(field) if field.value.len() > MAX_USER_IDENTITY => Err(Malformed::Length),
        Some(field) => Ok(Some(field.value)),
        None => Ok(None),
    }
}

/// Appends a worker's name as a field, cut to its first 32 bytes.
pub fn write_user_identity(out: &mut Vec<u8>, name: &[u8]) {
    let name = &name[..name.len().min(MAX_USER_IDENTITY)];
    let length = u16::try_from(name.len()).expect("at most 32 bytes");
    out.extend_from_slice(&WORKER_HASHRATE.to_le_bytes());
    out.push(USER_IDENTITY);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(name);
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The first field; `None`, and `rest` as it was, if it is not whole.
    fn split<'a>(self, rest: &mut &'a [u8]) -> Option<Field<'a>> {
        let ([first, second, kind, third, fourth], after) = rest.split_first_chunk::<HEADER>()?;
        let length = self.u16([*third, *fourth]);
        let (value, after) = after.split_at_checked(usize::from(length))?;
        *rest = after;
        Some(Field {
            extension: self.u16([*first, *second]),
            kind: *kind,
            value,
        })
    }
}

/// Whether a tail is whole fields and nothing else.
fn is_even(tail: &[u8], order: Order) -> bool {
    let mut rest = tail;
    while order.split(&mut rest).is_some() {}
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    // sv2: 0x0002 1.1 a name is as long as it says and not padded
    #[test]
    fn the_specifications_own_example_is_read_and_so_is_the_same_as_sri_writes_it() {
        let big = b"\x00\x02\x01\x00\x0aWorker_001";
        let little = b"\x02\x00\x01\x0a\x00Worker_001";
        assert_eq!(user_identity(big), Ok(Some(&b"Worker_001"[..])));
        assert_eq!(user_identity(little), Ok(Some(&b"Worker_001"[..])));
        let mut out = Vec::new();
        write_user_identity(&mut out, b"Worker_001");
        assert_eq!(out, little);
    }

    // sv2: 3.4.3 a field longer than its extension allows refuses its message
    #[test]
    fn a_name_of_32_bytes_is_a_name_and_one_of_33_is_refused() {
        let mut longest = Vec::new();
        write_user_identity(&mut longest, &[b'x'; 99]);
        assert_eq!(user_identity(&longest), Ok(Some(&[b'x'; 32][..])));
        let longer = [&b"\x02\x00\x01\x21\x00"[..], &[b'x'; 33]].concat();
        assert_eq!(user_identity(&longer), Err(Malformed::Length));
    }

    // sv2: 3.4.3 known fields are found among others
    #[test]
    fn the_name_is_found_behind_other_fields_and_is_not_any_other_field() {
        let other = b"\x02\x00\x02\x01\x00z\x03\x00\x01\x00\x00";
        assert_eq!(user_identity(other), Ok(None));
        let mut tail = other.to_vec();
        write_user_identity(&mut tail, b"me");
        assert_eq!(user_identity(&tail), Ok(Some(&b"me"[..])));
        assert_eq!(iter(&tail).count(), 3);
    }

    #[test]
    fn a_field_longer_than_the_tail_ends_it() {
        assert_eq!(user_identity(b""), Ok(None));
        assert_eq!(user_identity(b"\x02\x00\x01\x03\x00me"), Ok(None));
        assert_eq!(
            user_identity(b"\x02\x00\x01\x02\x00me\x03"),
            Ok(Some(&b"me"[..]))
        );
        assert_eq!(user_identity(b"\x02\x00\x01\xff\xff"), Ok(None));
    }
}
