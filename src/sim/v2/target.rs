//! Targets as V2 writes them, against the bounds and difficulties of the V1 peers.
//!
//! Not the proxy's arithmetic. Invariant: a difficulty that is a power of two comes back exactly.

use super::super::wire::{Bound, hashes};
use std::cmp::Ordering;

/// The wire's little-endian bytes.
pub fn to_bytes(bound: Bound) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, limb) in bytes.chunks_mut(8).zip(bound.0) {
        chunk.copy_from_slice(&limb.to_le_bytes());
    }
    bytes
}

/// From the wire's little-endian bytes.
pub fn of_bytes(bytes: &[u8; 32]) -> Bound {
    let limb = |i: usize| u64::from_le_bytes(std::array::from_fn(|k| bytes[8 * i + k]));
    Bound(std::array::from_fn(limb))
}

/// By size.
pub fn compare(a: &Bound, b: &Bound) -> Ordering {
    a.0.iter().rev().cmp(b.0.iter().rev())
}

/// The harder of two.
pub fn harder(a: Bound, b: Bound) -> Bound {
    if compare(&a, &b) == Ordering::Less {
        a
    } else {
        b
    }
}

/// `65535 * 2^208 / bound`, to an f64's precision; a bound of nothing is infinitely hard.
pub fn difficulty(bound: &Bound) -> f64 {
    let parts = bound.0.iter().rev();
    let size = parts.fold(0.0, |sum, limb| sum * 2f64.powi(64) + *limb as f64);
    65535.0 * 2f64.powi(208) / size
}

/// Expected hashes of a share, by the rule of the V1 peers.
pub fn weight(bound: &Bound) -> u128 {
    hashes(difficulty(bound))
}

/// The bound at which `hashrate` finds `shares_per_s`, but none easier than `floor` (a difficulty).
pub fn for_hashrate(hashrate: f64, shares_per_s: f64, floor: f64) -> Bound {
    let wanted = hashrate / shares_per_s / 4_294_967_296.0;
    let wanted = if wanted.is_finite() { wanted } else { floor };
    let difficulty = wanted.max(floor).clamp(2f64.powi(-40), 2f64.powi(63));
    Bound::of_difficulty(difficulty).unwrap_or(Bound([u64::MAX; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_come_back_exactly_and_are_worth_what_v1_says() {
        for exponent in -31..40 {
            let wanted = 2f64.powi(exponent);
            let bound = of_bytes(&to_bytes(Bound::of_difficulty(wanted).unwrap()));
            assert_eq!(difficulty(&bound), wanted, "{exponent}");
            assert_eq!(weight(&bound), hashes(wanted));
        }
    }

    #[test]
    fn the_harder_of_two_is_the_smaller() {
        let [one, two] = [1.0, 2.0].map(|d| Bound::of_difficulty(d).unwrap());
        assert_eq!(harder(one, two), two);
        assert_eq!(harder(two, one), two);
        let nothing = difficulty(&Bound([0; 4]));
        assert!(nothing.is_infinite());
    }

    #[test]
    fn a_hashrate_gets_the_difficulty_of_its_shares_and_never_an_easier_one_than_the_floor() {
        let bound = for_hashrate(4_294_967_296.0, 0.5, 1.0 / 65536.0);
        assert_eq!(difficulty(&bound), 2.0);
        for hashrate in [0.0, -1.0, f64::NAN] {
            let bound = for_hashrate(hashrate, 1.0, 0.25);
            assert_eq!(difficulty(&bound), 0.25);
        }
    }
}
