//! A share and its verdict.

use super::{Lane, Work};

/// What a miner sends, in the terms of [`Work`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The miner's part of the extranonce; only the first `layout.rolled` bytes count.
    pub en2: [u8; 8],
    /// Block time.
    pub ntime: u32,
    /// Nonce.
    pub nonce: u32,
    /// The full version, bits already merged: `(work & !mask) | (bits & mask)`.
    pub version: u32,
}

/// The hash of a share and the header that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// SHA-256d of the header, digest byte order.
    pub hash: [u8; 32],
    /// The 80 bytes hashed.
    pub header: [u8; 80],
}

impl Proof {
    /// Difficulty of the hash.
    pub fn difficulty(&self) -> f64 {
        todo!()
    }
}

/// Hashes a share: coinbase, merkle fold, header. No allocation.
pub fn prove(_work: &Work, _lane: Lane, _share: &Share) -> Proof {
    todo!()
}

/// The whole coinbase of a share (for the block log).
pub fn coinbase(_work: &Work, _lane: Lane, _share: &Share) -> Vec<u8> {
    todo!()
}
