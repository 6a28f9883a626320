//! Hash bounds: [`Target`] (256 bits, exact) and [`Difficulty`] (how pools and miners talk about it).
//!
//! Not a policy: who gets which difficulty is `vardiff`'s. The invariant: between the two nothing is rounded but once,
//! at the end; a share on the bound is on the same side here and at every pool that computes exactly.
//!
//! Difficulty 1 is the target 65535 * 2^208 (Bitcoin's nbits 1d00ffff); `target = floor(65535 * 2^208 / difficulty)`.

/// A 256-bit bound, little-endian limbs: `limbs[3]` is the most significant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Little-endian 64-bit limbs.
    pub limbs: [u64; 4],
}

impl Target {
    /// The whole hash space.
    pub const MAX: Self = Self {
        limbs: [u64::MAX; 4],
    };

    /// From the compact form of a block header (Bitcoin's `SetCompact`); `None` for negative, zero or overflowing ones.
    pub fn from_nbits(nbits: u32) -> Option<Self> {
        let size = (nbits >> 24) as usize;
        let word = nbits & 0x007f_ffff;
        let word = if size < 3 {
            word >> (8 * (3 - size))
        } else {
            word
        };
        if word == 0 || nbits & 0x0080_0000 != 0 {
            return None;
        }
        let start = size.saturating_sub(3);
        let mut bytes = [0u8; 32];
        for (i, byte) in word.to_le_bytes().into_iter().enumerate() {
            match bytes.get_mut(start + i) {
                Some(slot) => *slot = byte,
                None if byte != 0 => return None,
                None => {}
            }
        }
        Some(Self::from_le_bytes(&bytes))
    }

    /// The bound that a share of this difficulty must meet: floor(65535 * 2^208 / d), exact for every f64.
    pub fn from_difficulty(difficulty: Difficulty) -> Self {
        let (numerator, mantissa) = difficulty.as_ratio();
        let mut limbs = [0u64; 5];
        let mut remainder = 0u128;
        for i in (0..5).rev() {
            let part = (remainder << 64) | u128::from(numerator[i]);
            limbs[i] = (part / u128::from(mantissa)) as u64;
            remainder = part % u128::from(mantissa);
        }
        let [a, b, c, d, overflow] = limbs;
        if overflow != 0 {
            return Self::MAX;
        }
        Self {
            limbs: [a, b, c, d],
        }
    }

    /// 65535 * 2^208 / self, correctly rounded to the nearest f64 (ties to even). Zero, which no hash is, counts as one.
    pub fn difficulty(&self) -> f64 {
        let Some((divisor, shift)) = self.normalised() else {
            return Self {
                limbs: [1, 0, 0, 0],
            }
            .difficulty();
        };
        // One digit of Knuth's algorithm D in base 2^64: (65535 << 302) / divisor has 61 to 63 bits.
        let top = 65_535u64 << 46;
        let guess = ((u128::from(top) << 64) / u128::from(divisor[3])) as u64;
        let (quotient, exact) = corrected(guess, top, &divisor);
        // The sticky bit lies far below the 53rd, so the conversion rounds once and right.
        let rounded = (quotient | u64::from(!exact)) as f64;
        rounded * power_of_two(shift as i32 - 94)
    }

    /// From 64 hex digits, big-endian (`mining.suggest_target`).
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        if hex.len() != 64 {
            return None;
        }
        let mut limbs = [0u64; 4];
        for (i, digit) in hex.iter().enumerate() {
            let value = char::from(*digit).to_digit(16)?;
            let limb = &mut limbs[3 - i / 16];
            *limb = (*limb << 4) | u64::from(value);
        }
        Some(Self { limbs })
    }

    /// From the number's little-endian bytes: also how a digest is read as a number.
    pub fn from_le_bytes(bytes: &[u8; 32]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self {
            limbs: std::array::from_fn(|i| u64::from_le_bytes(words[i])),
        }
    }

    /// The reverse.
    pub fn to_le_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            to.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// Whether a hash (digest byte order, as SHA-256 emits it) meets this bound.
    pub fn is_met_by(&self, hash: &[u8; 32]) -> bool {
        Self::from_le_bytes(hash) <= *self
    }

    /// Shifted left until the top bit is set, and by how much; `None` for zero.
    fn normalised(&self) -> Option<([u64; 4], u32)> {
        let top = self.limbs.iter().rposition(|limb| *limb != 0)?;
        let bits = self.limbs[top].leading_zeros();
        let mut limbs = [0u64; 4];
        for i in 0..=top {
            let low = if i == 0 { 0 } else { self.limbs[i - 1] };
            let pair = (u128::from(self.limbs[i]) << 64) | u128::from(low);
            limbs[i + 3 - top] = ((pair << bits) >> 64) as u64;
        }
        Some((limbs, bits + 64 * (3 - top as u32)))
    }
}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Target {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.limbs.iter().rev().cmp(other.limbs.iter().rev())
    }
}

/// Lowers a quotient digit that may be up to two too high; says too whether nothing remains.
/// The dividend is `top` followed by four zero limbs.
fn corrected(guess: u64, top: u64, divisor: &[u64; 4]) -> (u64, bool) {
    let mut quotient = guess;
    loop {
        let mut product = [0u64; 5];
        let mut carry = 0u128;
        for (slot, limb) in product.iter_mut().zip(divisor) {
            carry += u128::from(quotient) * u128::from(*limb);
            *slot = carry as u64;
            carry >>= 64;
        }
        product[4] = carry as u64;
        let low_is_zero = product[..4] == [0; 4];
        if product[4] < top || (product[4] == top && low_is_zero) {
            return (quotient, product[4] == top && low_is_zero);
        }
        quotient -= 1;
    }
}

/// 2^exponent for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// A difficulty that is finite and within 2^-32 ..= 2^63.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Difficulty(f64);

impl Difficulty {
    /// 1, the unit.
    pub const ONE: Self = Self(1.0);
    /// 2^-32: every hash but a few meets it.
    pub const MIN: Self = Self(1.0 / 4_294_967_296.0);
    /// 2^63.
    pub const MAX: Self = Self(9_223_372_036_854_775_808.0);

    /// Refuses NaN, infinities and what is out of range.
    pub fn new(value: f64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .contains(&value)
            .then_some(Self(value))
    }
    /// As a number.
    pub fn value(self) -> f64 {
        self.0
    }
    /// The largest power of two at or below.
    pub fn floor_to_power_of_two(self) -> Self {
        Self(f64::from_bits(self.0.to_bits() & (0x7ff << 52)))
    }
    /// The smallest power of two at or above.
    pub fn ceil_to_power_of_two(self) -> Self {
        let floor = self.floor_to_power_of_two();
        if floor == self {
            floor
        } else {
            floor.scaled(2.0)
        }
    }
    /// Expected hashes per share, floor(d * 2^32): the integer weight all accounting uses (I6). Never 0.
    pub fn hashes(self) -> u128 {
        // Scaling by a power of two is exact, and d >= 2^-32.
        (self.0 * 4_294_967_296.0) as u128
    }
    /// Whether a hash (digest byte order) meets the target of this difficulty, to the last bit: the same answer as of that
    /// target, without the division that makes one.
    pub fn is_met_by(self, hash: &[u8; 32]) -> bool {
        // hash <= floor(a / b) is hash * b <= a, for whole numbers.
        let (numerator, mantissa) = self.as_ratio();
        let mut product = [0u64; 5];
        let mut carry = 0u128;
        for (to, limb) in product.iter_mut().zip(Target::from_le_bytes(hash).limbs) {
            carry += u128::from(limb) * u128::from(mantissa);
            *to = carry as u64;
            carry >>= 64;
        }
        product[4] = carry as u64;
        product.iter().rev().le(numerator.iter().rev())
    }

    /// 65535 * 2^208 / difficulty as a numerator (little-endian limbs) and a 53-bit denominator.
    fn as_ratio(self) -> ([u64; 5], u64) {
        // d = mantissa * 2^exponent with a 53-bit mantissa; d is in 2^-32..=2^63, so the exponent is in -84..=11.
        let bits = self.0.to_bits();
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        let exponent = (bits >> 52) as i32 - 1075;
        let shift = (208 - exponent) as usize;
        // 65535 << shift: below 2^308, hence five limbs.
        let mut numerator = [0u64; 5];
        let (limb, bit) = (shift / 64, shift % 64);
        let wide = 65_535u128 << bit;
        numerator[limb] = wide as u64;
        if let Some(next) = numerator.get_mut(limb + 1) {
            *next = (wide >> 64) as u64;
        }
        (numerator, mantissa)
    }

    /// The smaller.
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }
    /// The larger.
    pub fn max(self, other: Self) -> Self {
        if other.0 > self.0 { other } else { self }
    }
    /// Multiplied and clamped into range; a factor that is not a number changes nothing.
    pub fn scaled(self, factor: f64) -> Self {
        let product = self.0 * factor;
        if product.is_nan() {
            return self;
        }
        Self(product.clamp(Self::MIN.0, Self::MAX.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: Target = Target {
        limbs: [0, 0, 0, 0xffff_0000],
    };

    fn difficulty(value: f64) -> Difficulty {
        Difficulty::new(value).unwrap()
    }

    fn digest(target: &Target) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_mut(8).zip(target.limbs) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn difficulty_one_is_the_target_of_1d00ffff() {
        assert_eq!(Target::from_difficulty(Difficulty::ONE), UNIT);
        assert_eq!(Target::from_nbits(0x1d00_ffff), Some(UNIT));
        assert_eq!(UNIT.difficulty(), 1.0);
    }

    #[test]
    fn a_hash_on_the_bound_meets_it_and_one_above_does_not() {
        // A bound whose lower limbs are zero and one whose are not: borrows and carries cross limbs.
        for bound in [UNIT, Target::from_difficulty(difficulty(3.0))] {
            let (mut above, mut below) = (bound, bound);
            above.limbs[0] = above.limbs[0].wrapping_add(1);
            let mut i = 0;
            while below.limbs[i] == 0 {
                below.limbs[i] = u64::MAX;
                i += 1;
            }
            below.limbs[i] -= 1;
            assert!(bound.is_met_by(&digest(&bound)));
            assert!(bound.is_met_by(&digest(&below)));
            assert!(!bound.is_met_by(&digest(&above)));
        }
    }

    #[test]
    fn the_network_difficulties_of_real_blocks_are_reproduced_to_the_last_bit() {
        for (nbits, expected) in [
            (0x1805_8436, 199_312_067_531.243),
            (0x170e_d0eb, 18_997_641_161_758.953),
            (0x1a06_d450, 2_456_598.439_924_212_6),
        ] {
            assert_eq!(Target::from_nbits(nbits).unwrap().difficulty(), expected);
        }
    }

    #[test]
    fn compact_forms_that_are_negative_zero_or_too_large_are_refused() {
        for bad in [
            0,
            0x0000_0001,
            0x0100_0001,
            0x0200_00ff,
            0x1d80_ffff,
            0x0480_0001,
            0x2101_0000,
            0x2200_0100,
            0x2300_0001,
            0xff12_3456,
        ] {
            assert_eq!(Target::from_nbits(bad), None, "{bad:08x}");
        }
        let small = |value: u64| Target {
            limbs: [value, 0, 0, 0],
        };
        assert_eq!(Target::from_nbits(0x0101_0000), Some(small(1)));
        assert_eq!(Target::from_nbits(0x0200_8000), Some(small(0x80)));
        assert_eq!(Target::from_nbits(0x0312_3456), Some(small(0x12_3456)));
        let top = Target {
            limbs: [0, 0, 0, 0xff << 56],
        };
        assert_eq!(Target::from_nbits(0x2200_00ff), Some(top));
        assert_eq!(Target::from_nbits(0x2100_ff00), Some(top));
    }

    #[test]
    fn difficulties_outside_their_range_are_refused() {
        for good in [Difficulty::MIN, Difficulty::ONE, Difficulty::MAX] {
            assert_eq!(Difficulty::new(good.value()), Some(good));
        }
        let below = f64::from_bits(Difficulty::MIN.0.to_bits() - 1);
        let above = f64::from_bits(Difficulty::MAX.0.to_bits() + 1);
        for bad in [below, above, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Difficulty::new(bad), None);
        }
    }

    #[test]
    fn the_ends_of_the_range_keep_their_exact_targets() {
        let shifted = |limb: usize, bits: u32| {
            let mut limbs = [0; 4];
            limbs[limb] = 65_535u64 << bits;
            Target { limbs }
        };
        assert_eq!(Target::from_difficulty(Difficulty::MIN), shifted(3, 48));
        assert_eq!(Target::from_difficulty(Difficulty::MAX), shifted(2, 17));
        assert_eq!(Difficulty::MIN.hashes(), 1);
        assert_eq!(Difficulty::MAX.hashes(), 1 << 95);
        assert_eq!(difficulty(1.5).hashes(), 3 << 31);
    }

    #[test]
    fn powers_of_two_are_found_on_both_sides() {
        for (value, floor, ceil) in [(1.0, 1.0, 1.0), (1000.0, 512.0, 1024.0), (0.3, 0.25, 0.5)] {
            assert_eq!(difficulty(value).floor_to_power_of_two(), difficulty(floor));
            assert_eq!(difficulty(value).ceil_to_power_of_two(), difficulty(ceil));
        }
        assert_eq!(Difficulty::ONE.scaled(f64::NAN), Difficulty::ONE);
        assert_eq!(Difficulty::ONE.scaled(-1.0), Difficulty::MIN);
        assert_eq!(Difficulty::MAX.scaled(2.0), Difficulty::MAX);
    }

    #[test]
    fn hex_targets_need_exactly_64_digits() {
        let text = "00000000ffff0000000000000000000000000000000000000000000000000000";
        assert_eq!(Target::from_hex(text.as_bytes()), Some(UNIT));
        assert_eq!(Target::from_hex(&text.as_bytes()[1..]), None);
        assert_eq!(Target::from_hex(format!("{text}0").as_bytes()), None);
        assert_eq!(Target::from_hex(text.replace('f', "g").as_bytes()), None);
    }

    fn any_difficulty() -> impl Strategy<Value = Difficulty> {
        (-32i32..63, 1.0f64..2.0)
            .prop_map(|(exponent, mantissa)| difficulty(mantissa * power_of_two(exponent)))
    }

    proptest! {
        #[test]
        fn a_target_times_its_difficulty_is_the_unit_by_wide_multiplication(d in any_difficulty()) {
            // target * m <= 65535 << shift < (target + 1) * m, by the schoolbook, in bits rather than limbs.
            let target = Target::from_difficulty(d);
            let bits = d.0.to_bits();
            let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
            let shift = (208 + 1075 - (bits >> 52) as i64) as usize;
            let mut product = [0u128; 6];
            for (i, limb) in target.limbs.iter().enumerate() {
                let part = u128::from(*limb) * u128::from(mantissa);
                product[i] += part & u128::from(u64::MAX);
                product[i + 1] += part >> 64;
            }
            let mut borrow = 0i128;
            let mut difference = Vec::new();
            for (i, part) in product.iter().enumerate() {
                let unit = (0..64).filter(|b| (shift..shift + 16).contains(&(64 * i + b)))
                    .map(|b| 1i128 << b).sum::<i128>();
                let sum = unit - *part as i128 + borrow;
                difference.push(sum & i128::from(u64::MAX));
                borrow = sum >> 64;
            }
            prop_assert_eq!(borrow, 0, "target too large");
            prop_assert!(difference[0] < i128::from(mantissa), "target too small");
            prop_assert!(difference[1..].iter().all(|limb| *limb == 0));
        }

        #[test]
        fn difficulty_to_target_and_back_is_the_same_number(d in any_difficulty()) {
            prop_assert_eq!(Target::from_difficulty(d).difficulty(), d.value());
        }

        #[test]
        fn a_higher_difficulty_is_a_lower_target(a in any_difficulty(), b in any_difficulty()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(Target::from_difficulty(high) <= Target::from_difficulty(low));
        }

        #[test]
        fn a_hash_meets_a_difficulty_exactly_if_it_meets_its_target(d in any_difficulty(), far: [u64; 4], near in -2i64..=2) {
            let target = Target::from_difficulty(d);
            let mut beside = target;
            beside.limbs[0] = beside.limbs[0].wrapping_add_signed(near);
            for hash in [target, beside, Target { limbs: far }, Target::MAX, Target { limbs: [0; 4] }] {
                prop_assert_eq!(d.is_met_by(&digest(&hash)), target.is_met_by(&digest(&hash)));
            }
        }

        #[test]
        fn a_lower_hash_is_never_less_difficult(a: [u64; 4], b: [u64; 4], zeros in 0usize..4) {
            let cut = |mut limbs: [u64; 4]| {
                limbs[4 - zeros..].fill(0);
                Target { limbs }
            };
            let (a, b) = (cut(a), cut(b));
            prop_assert!(a.min(b).difficulty() >= a.max(b).difficulty());
        }

    }

    proptest! {
        // The sticky bit decides once in a thousand.
        #![proptest_config(ProptestConfig::with_cases(8192))]
        #[test]
        fn difficulty_is_within_half_a_unit_in_the_last_place(limbs: [u64; 4]) {
            // Second opinion: the same quotient by shift and subtract.
            let value = Target { limbs };
            prop_assume!(limbs[3] != 0);
            let mut remainder = [0u64; 5];
            let mut quotient = 0u128;
            for bit in (0..316).rev() {
                for i in (1..5).rev() {
                    remainder[i] = (remainder[i] << 1) | (remainder[i - 1] >> 63);
                }
                remainder[0] <<= 1;
                if (300..316).contains(&bit) {
                    remainder[0] |= 1;
                }
                quotient <<= 1;
                let wide = [limbs[0], limbs[1], limbs[2], limbs[3], 0];
                if !remainder.iter().rev().lt(wide.iter().rev()) {
                    let mut borrow = false;
                    for i in 0..5 {
                        let (x, a) = remainder[i].overflowing_sub(wide[i]);
                        let (y, b) = x.overflowing_sub(u64::from(borrow));
                        remainder[i] = y;
                        borrow = a || b;
                    }
                    quotient |= 1;
                }
            }
            let sticky = u128::from(remainder != [0; 5]);
            // quotient = floor(65535 * 2^300 / value), at least 60 bits.
            let expected = ((quotient << 1) | sticky) as f64 * power_of_two(-93);
            prop_assert_eq!(value.difficulty(), expected);
        }
    }
}
