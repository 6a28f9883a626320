//! Eight bytes of a line read as one number, so that eight are judged with a dozen instructions and no branch.
//!
//! Knows bytes, not messages. The first byte is the least significant: "how many lead" is a count of trailing zeros.
//! Invariant: no sum carries from one byte into the next, so every byte is judged alone.

/// The top bit of every byte; judgements are given in these bits.
const TOPS: u64 = each(0x80);

/// Eight bytes.
#[derive(Clone, Copy)]
pub(super) struct Word(u64);

impl Word {
    #[inline]
    pub(super) fn new(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// How many hex digits lead, up to eight, and their value.
    #[inline]
    pub(super) fn hex(self) -> (usize, u32) {
        let digits = leading(self.digits());
        // What does not lead is shifted out, before its values (up to 24) meet those of digits.
        let shift = 64 - 8 * digits as u32;
        let values = self.values().checked_shl(shift).unwrap_or(0);
        (digits, u32::from_be_bytes(packed(values)))
    }

    /// The four bytes that eight hex digits stand for, and zero; or anything, and not zero. In this form the compiler
    /// takes several words at once.
    #[inline]
    pub(super) fn bytes(self) -> ([u8; 4], u64) {
        (packed(self.values()), self.digits() ^ TOPS)
    }

    /// How many bytes lead, up to eight, that stand for themselves inside a JSON string: printable ASCII, no quote, no
    /// backslash.
    #[inline]
    pub(super) fn plain(self) -> usize {
        let low = self.0 & !TOPS;
        let special = equal(low, b'"') | equal(low, b'\\');
        leading(within(low, b' ', b'~') & !special & !self.0)
    }

    /// Which bytes are hex digits.
    #[inline]
    fn digits(self) -> u64 {
        let low = self.0 & !TOPS;
        let digit = within(low, b'0', b'9');
        // This bit alone tells `A` from `a`.
        let letter = within(low | each(0x20), b'a', b'f');
        (digit | letter) & !self.0
    }

    /// The values of digits; of other bytes anything up to 24.
    #[inline]
    fn values(self) -> u64 {
        // Letters have bit 6, digits have not; the low four bits of `a` are 1.
        let letters = self.0 >> 6 & each(1);
        (self.0 & each(0x0f)) + 9 * letters
    }
}

/// Eight values of four bits, two a byte, the earlier one in the upper half.
#[inline]
const fn packed(values: u64) -> [u8; 4] {
    let ones = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let twos = (ones | ones >> 8) & 0x0000_ffff_0000_ffff;
    ((twos | twos >> 16) as u32).to_le_bytes()
}

/// The same byte eight times.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The bytes of `low` in `first..=last`. No byte of `low` may have its top bit.
#[inline]
const fn within(low: u64, first: u8, last: u8) -> u64 {
    let from_first = low + each(0x80 - first);
    let past_last = low + each(0x7f - last);
    from_first & !past_last & TOPS
}

/// The bytes of `low` that equal `byte`. Neither may have a top bit.
#[inline]
const fn equal(low: u64, byte: u8) -> u64 {
    !((low ^ each(byte)) + each(0x7f)) & TOPS
}

/// How many bytes are good before the first that is not.
#[inline]
const fn leading(good: u64) -> usize {
    (!good & TOPS).trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_at_every_place_is_judged_as_alone() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut bytes = *b"f0A9f0A9";
                bytes[place] = byte;
                assert_eq!(Word::new(bytes).hex(), plainly(&bytes), "{bytes:?}");
                let (four, bad) = Word::new(bytes).bytes();
                assert_eq!(bad == 0, byte.is_ascii_hexdigit(), "{bytes:?}");
                assert!(bad != 0 || four == plainly(&bytes).1.to_be_bytes());
                let plain = (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
                let leads = if plain { 8 } else { place };
                assert_eq!(Word::new(bytes).plain(), leads, "{bytes:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn digits_have_their_value_whatever_stands_behind(bytes in prop::array::uniform8(prop_oneof![
            4 => prop::sample::select(b"0123456789abcdefABCDEF".to_vec()), 1 => any::<u8>(),
        ])) {
            prop_assert_eq!(Word::new(bytes).hex(), plainly(&bytes));
        }
    }

    /// Digit by digit.
    fn plainly(bytes: &[u8]) -> (usize, u32) {
        let digits = bytes
            .iter()
            .map_while(|byte| char::from(*byte).to_digit(16));
        let value = digits.clone().fold(0, |value, digit| value << 4 | digit);
        (digits.count(), value)
    }
}
