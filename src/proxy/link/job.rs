//! A pool's job once its protocol is taken off: what work is made of, and what a share on it must meet.
//!
//! Not checked beyond what decoding it takes: the limits are those of `Work::new`. Invariant: nothing here knows whether
//! it came as a V1 line or a V2 frame.

use crate::work::{Difficulty, Target};

/// What a header and a coinbase are made of, less what miners and lanes fill in.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The pool's own id, as it goes back with a share (on V2 the decimal number).
    pub(super) id: Box<str>,
    /// Header byte order.
    pub(super) prev_hash: [u8; 32],
    /// The coinbase before the extranonce, witness stripped (BIP 141).
    pub(super) coinbase_prefix: Vec<u8>,
    /// And after it.
    pub(super) coinbase_suffix: Vec<u8>,
    /// Leaf side first.
    pub(super) branch: Vec<[u8; 32]>,
    pub(super) version: u32,
    pub(super) nbits: u32,
    pub(super) ntime: u32,
}

/// What the pool has fixed of the extranonce, and how many bytes it leaves to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extranonce {
    pub(super) prefix: Vec<u8>,
    pub(super) size: u8,
}

/// The hash bound that a pool credits by, with the difficulty that accounts are kept in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) target: Target,
    pub(super) difficulty: Difficulty,
}

impl Bound {
    /// From a difficulty, as V1 pools announce it.
    pub(super) fn of_difficulty(difficulty: Difficulty) -> Self {
        Self {
            target: Target::from_difficulty(difficulty),
            difficulty,
        }
    }

    /// From the 256-bit target itself, kept to the last bit, as V2 pools announce it; `None` for zero, which no hash is
    /// at or below. Its difficulty is rounded to an f64 and, at the two ends, into [`Difficulty`]'s range.
    pub(super) fn of_target(bytes: &[u8; 32]) -> Option<Self> {
        if *bytes == [0; 32] {
            return None;
        }
        let target = Target::from_le_bytes(bytes);
        let (least, most) = (Difficulty::MIN.value(), Difficulty::MAX.value());
        let difficulty = Difficulty::new(target.difficulty().clamp(least, most))?;
        Some(Self { target, difficulty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_kept_exactly_and_its_difficulty_stays_in_range() {
        let mut one = [0; 32];
        one[0] = 1;
        for (bytes, difficulty) in [([0xff; 32], Difficulty::MIN), (one, Difficulty::MAX)] {
            let bound = Bound::of_target(&bytes).unwrap();
            assert_eq!(bound.target, Target::from_le_bytes(&bytes));
            assert_eq!(bound.difficulty, difficulty);
        }
        assert_eq!(Bound::of_target(&[0; 32]), None);
    }

    #[test]
    fn the_target_of_a_difficulty_names_that_difficulty() {
        let mut bytes = [0; 32];
        bytes[26..28].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(
            Bound::of_target(&bytes),
            Some(Bound::of_difficulty(Difficulty::ONE))
        );
    }
}
