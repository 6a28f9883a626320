//! A share and its proof: the header a miner claims and the hash that header has.
//!
//! Not a verdict: ranges, targets and duplicates are checked by whoever asks. The invariant: [`prove`] allocates
//! nothing and hashes exactly what a full node would hash for this share, however many are hashed together.

use super::hash::{self, Plan};
use super::{Lane, Target, Work};

/// As many headers as the widest kernel takes.
const TOGETHER: usize = 16;

/// What a miner sends, in the terms of [`Work`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The miner's part of the extranonce; only the first `layout.rolled` bytes count.
    pub en2: [u8; 8],
    /// Block time.
    pub ntime: u32,
    /// Nonce.
    pub nonce: u32,
    /// The full version, bits already merged: `(work & !mask) | (bits & mask)` (BIP 310).
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
    /// Of nothing: what a place for a proof holds until there is one. Its hash meets no target.
    pub const NONE: Self = Self {
        hash: [0xff; 32],
        header: [0; 80],
    };

    /// Difficulty of the hash, correctly rounded.
    pub fn difficulty(&self) -> f64 {
        Target::from_le_bytes(&self.hash).difficulty()
    }
}

/// Hashes a share: coinbase, merkle fold, header. No allocation.
pub fn prove(work: &Work, lane: Lane, share: &Share) -> Proof {
    let mut proof = [Proof::NONE];
    prove_all(work, &[(lane, *share)], &mut proof);
    let [proof] = proof;
    proof
}

/// Hashes shares of one work, as many side by side as is best on this machine. No allocation.
///
/// # Panics
/// If there are fewer `proofs` than claims; those beyond stay as they are.
pub fn prove_all(work: &Work, claims: &[(Lane, Share)], proofs: &mut [Proof]) {
    prove_all_by(hash::plan(), work, claims, proofs);
}

/// [`prove_all`] by a plan of one's own: to measure and to test.
///
/// # Panics
/// As [`prove_all`].
pub fn prove_all_by(plan: Plan, work: &Work, claims: &[(Lane, Share)], proofs: &mut [Proof]) {
    let proofs = &mut proofs[..claims.len()];
    hash::prove(plan, &work.prepared, claims, |i, root, hash| {
        proofs[i] = Proof {
            hash: *hash,
            header: header(work, &claims[i].1, root),
        };
    });
}

/// Hashes shares whose merkle roots are known, of any works: the header alone. What a V2 standard channel's shares need,
/// since its miner rolls nothing of the coinbase. No allocation for up to sixteen.
///
/// # Panics
/// If there are fewer `proofs` than claims; those beyond stay as they are.
pub fn prove_rooted(claims: &[(&Work, &Share, &[u8; 32])], proofs: &mut [Proof]) {
    for (claims, proofs) in claims.chunks(TOGETHER).zip(proofs.chunks_mut(TOGETHER)) {
        match claims {
            // Most come alone: no room for sixteen is cleared for them.
            [_] => prove_headers::<1>(claims, proofs),
            _ => prove_headers::<TOGETHER>(claims, proofs),
        }
    }
}

/// At most N.
fn prove_headers<const N: usize>(claims: &[(&Work, &Share, &[u8; 32])], proofs: &mut [Proof]) {
    let mut headers = [[0; 80]; N];
    let mut hashes = [[0; 32]; N];
    for (to, (work, share, root)) in headers.iter_mut().zip(claims) {
        *to = header(work, share, root);
    }
    hash::headers(hash::plan(), &headers[..claims.len()], &mut hashes);
    for ((proof, header), hash) in proofs[..claims.len()].iter_mut().zip(headers).zip(hashes) {
        *proof = Proof { hash, header };
    }
}

/// Merkle roots of one work for many extranonces (lane, rolled bytes), digest byte order: what V2 standard channels need
/// at a new block. No allocation.
///
/// # Panics
/// If there are fewer `roots` than extranonces; those beyond stay as they are.
pub fn roots(work: &Work, extranonces: &[(Lane, [u8; 8])], roots: &mut [[u8; 32]]) {
    roots_by(hash::plan(), work, extranonces, roots);
}

/// [`roots`] by a plan of one's own: to measure and to test.
///
/// # Panics
/// As [`roots`].
pub fn roots_by(plan: Plan, work: &Work, extranonces: &[(Lane, [u8; 8])], roots: &mut [[u8; 32]]) {
    hash::roots(plan, &work.prepared, extranonces, roots);
}

/// The whole coinbase of a share, witness stripped (for the block log).
pub fn coinbase(work: &Work, lane: Lane, share: &Share) -> Vec<u8> {
    let layout = work.layout;
    [
        &work.coinbase_prefix[..],
        &lane.bytes(layout)[..usize::from(layout.lane)],
        &share.en2[..usize::from(layout.rolled)],
        &work.coinbase_suffix[..],
    ]
    .concat()
}

/// A block header:
///
/// | 0..4 | 4..36 | 36..68 | 68..72 | 72..76 | 76..80 |
/// |---|---|---|---|---|---|
/// | version | previous block | merkle root | ntime | nbits | nonce |
fn header(work: &Work, share: &Share, root: &[u8; 32]) -> [u8; 80] {
    let mut header = [0; 80];
    header[..4].copy_from_slice(&share.version.to_le_bytes());
    header[4..36].copy_from_slice(&work.prev_hash);
    header[36..68].copy_from_slice(root);
    header[68..72].copy_from_slice(&share.ntime.to_le_bytes());
    header[72..76].copy_from_slice(&work.nbits.to_le_bytes());
    header[76..].copy_from_slice(&share.nonce.to_le_bytes());
    header
}

#[cfg(test)]
mod tests;
