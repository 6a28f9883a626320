//! The data types of SV2 specification 3.1, read from a payload and appended to a frame. All numbers are little-endian.
//!
//! Knows no message. Invariant: a length is believed only as far as there are bytes, and nothing is copied or allocated.

use super::frame::{HEADER, Header};
use super::message::Malformed;

/// A list of numbers of `N` bytes each, as they stand in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers<'a, const N: usize>(pub &'a [[u8; N]]);

/// `SEQ0_64K[U16]`.
pub type U16s<'a> = Numbers<'a, 2>;
/// `SEQ0_64K[U32]`.
pub type U32s<'a> = Numbers<'a, 4>;
/// `SEQ0_255[U256]`: hashes in wire order, so that they go into a hash function as they are.
pub type Hashes<'a> = &'a [[u8; 32]];

impl<const N: usize> Numbers<'_, N> {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> U16s<'a> {
    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.0.iter().map(|number| u16::from_le_bytes(*number))
    }
}

impl<'a> U32s<'a> {
    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().map(|number| u32::from_le_bytes(*number))
    }
}

/// What is unread of a payload.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u256(&mut self) -> Result<[u8; 32], Malformed> {
        self.array()
    }

    /// BOOL: only the lowest bit counts.
    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        self.u8().map(|byte| byte & 1 == 1)
    }

    /// F32 hashes per second: neither less than nothing nor endless.
    pub(super) fn hash_rate(&mut self) -> Result<f32, Malformed> {
        let rate = self.array().map(f32::from_le_bytes)?;
        if rate.is_finite() && rate >= 0.0 {
            Ok(rate)
        } else {
            Err(Malformed::Value)
        }
    }

    /// STR0_255.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u8()?;
        self.bytes(usize::from(length))
    }

    /// B0_32.
    pub(super) fn bytes_32(&mut self) -> Result<&'a [u8], Malformed> {
        match self.u8()? {
            length @ 0..=32 => self.bytes(usize::from(length)),
            _ => Err(Malformed::Length),
        }
    }

    /// B0_64K.
    pub(super) fn bytes_64k(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    /// `OPTION[U32]`.
    pub(super) fn option_u32(&mut self) -> Result<Option<u32>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.u32().map(Some),
            _ => Err(Malformed::Length),
        }
    }

    /// `SEQ0_255[U256]`.
    pub(super) fn hashes(&mut self) -> Result<Hashes<'a>, Malformed> {
        let count = self.u8()?;
        self.arrays(usize::from(count))
    }

    /// SEQ0_64K of numbers.
    pub(super) fn numbers<const N: usize>(&mut self) -> Result<Numbers<'a, N>, Malformed> {
        let count = self.u16()?;
        self.arrays(usize::from(count)).map(Numbers)
    }

    /// All that follows the last field: fields of extensions, see [`super::tlv`].
    pub(super) fn rest(&mut self) -> Result<&'a [u8], Malformed> {
        Ok(std::mem::take(&mut self.0))
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn arrays<const N: usize>(&mut self, count: usize) -> Result<&'a [[u8; N]], Malformed> {
        let (arrays, _) = self.bytes(count * N)?.as_chunks();
        Ok(arrays)
    }
}

/// Longer than any message that is written for a share.
const SHORT: usize = 64;

/// A frame that is being appended.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    header: Header,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, scope: Scope, kind: u8) -> Self {
        // One allocation for what most messages are, rather than one for each of the first fields.
        out.reserve(SHORT);
        let start = out.len();
        let header = Header {
            extension: u16::from(matches!(scope, Scope::Negotiation)),
            channel_message: matches!(scope, Scope::Channel),
            kind,
            length: 0,
        };
        header.write(out);
        Self { out, header, start }
    }

    /// The length is known now.
    pub(super) fn end(mut self) {
        let length = self.out.len() - self.start - HEADER;
        self.header.length = u32::try_from(length).expect("every field is below 64 KiB");
        self.out[self.start..self.start + HEADER].copy_from_slice(&self.header.bytes());
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u256(&mut self, value: [u8; 32]) {
        self.out.extend_from_slice(&value);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(super) fn hash_rate(&mut self, rate: f32) {
        debug_assert!(
            rate.is_finite() && rate >= 0.0,
            "{rate} is no rate of hashes"
        );
        self.out.extend_from_slice(&rate.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.u8(u8::try_from(text.len()).expect("a text was clipped to 255 bytes"));
        self.out.extend_from_slice(text);
    }

    pub(super) fn bytes_32(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= 32, "an extranonce is at most 32 bytes");
        self.text(bytes);
    }

    pub(super) fn bytes_64k(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).expect("a part of a coinbase is below 64 KiB"));
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn option_u32(&mut self, value: Option<u32>) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            self.u32(value);
        }
    }

    pub(super) fn hashes(&mut self, hashes: Hashes<'_>) {
        self.u8(u8::try_from(hashes.len()).expect("a merkle path is at most 255 hashes"));
        self.out.extend_from_slice(hashes.as_flattened());
    }

    pub(super) fn numbers<const N: usize>(&mut self, numbers: Numbers<'_, N>) {
        self.u16(u16::try_from(numbers.len()).expect("a list is at most 65,535 numbers"));
        self.out.extend_from_slice(numbers.0.as_flattened());
    }

    pub(super) fn rest(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

/// What `extension_type` a message is written with.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// The protocol itself, for whoever is at the other end.
    Connection,
    /// The protocol itself, for one channel.
    Channel,
    /// Extension 0x0001, for whoever is at the other end.
    Negotiation,
}

/// One message: its struct, its number, and both ways over the wire, from one table of its fields.
///
/// A field is `name: type = wire`, where `wire` is a method of [`Reader`] and of [`Writer`]. Fields are in wire order.
macro_rules! message {
    (
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? = $kind:literal in $scope:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub struct $name $(<$life>)? {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// Its `msg_type`.
            pub const KIND: u8 = $kind;

            /// Reads a payload; what follows the last field belongs to extensions.
            pub fn parse(payload: &$($life)? [u8]) -> Result<Self, $crate::stratum::v2::message::Malformed> {
                let mut payload = $crate::stratum::v2::wire::Reader::new(payload);
                Ok(Self { $($field: payload.$wire()?,)* })
            }

            /// Appends the whole frame.
            pub fn write(&self, out: &mut Vec<u8>) {
                let scope = $crate::stratum::v2::wire::Scope::$scope;
                let mut frame = $crate::stratum::v2::wire::Writer::begin(out, scope, Self::KIND);
                $(frame.$wire(self.$field);)*
                frame.end();
            }
        }
    };
}
pub(super) use message;
