//! The kernel for any machine: one share at a time through `sha2`, which finds out itself what the machine can.
//!
//! Not the fastest anywhere. The invariant: this is the plain algorithm on bytes, with nothing clever but the midstate.

use super::block::{self, INITIAL};
use super::{Claim, Hole, Prepared};
use sha2::block_api::compress256;

/// One root and one hash per claim.
pub(super) fn prove(
    job: &Prepared,
    claims: &[Claim],
    roots: &mut [[u8; 32]],
    hashes: &mut [[u8; 32]],
) {
    for ((claim, root), hash) in claims.iter().zip(roots).zip(hashes) {
        *root = merkle_root(job, &claim.hole);
        *hash = header_hash(&job.header(claim, root));
    }
}

/// One root per hole.
pub(super) fn roots(job: &Prepared, holes: &[Hole], roots: &mut [[u8; 32]]) {
    for (hole, root) in holes.iter().zip(roots) {
        *root = merkle_root(job, hole);
    }
}

/// One hash per header.
pub(super) fn headers(headers: &[[u8; 80]], hashes: &mut [[u8; 32]]) {
    for (header, hash) in headers.iter().zip(hashes) {
        *hash = header_hash(header);
    }
}

fn merkle_root(job: &Prepared, hole: &Hole) -> [u8; 32] {
    let mut node = coinbase_hash(job, hole);
    let mut pair = [[0u8; 64], padding(0, 64)];
    for sibling in &job.0.branch {
        pair[0][..32].copy_from_slice(&node);
        pair[0][32..].copy_from_slice(&block::digest(sibling));
        let mut state = INITIAL;
        compress256(&mut state, &pair);
        node = again(&state);
    }
    node
}

fn header_hash(header: &[u8; 80]) -> [u8; 32] {
    let mut blocks = [[0u8; 64], padding(16, 80)];
    blocks[0].copy_from_slice(&header[..64]);
    blocks[1][..16].copy_from_slice(&header[64..]);
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    again(&state)
}

/// SHA-256 twice, of anything; for what is not on the path of a share.
pub fn sha256d(data: &[u8]) -> [u8; 32] {
    let (whole, tail) = data.as_chunks::<64>();
    let mut state = INITIAL;
    compress256(&mut state, whole);
    let mut blocks = [[0u8; 64]; 2];
    let used = if tail.len() < 56 { 1 } else { 2 };
    let bytes = blocks.as_flattened_mut();
    bytes[..tail.len()].copy_from_slice(tail);
    bytes[tail.len()] = 0x80;
    bytes[64 * used - 8..64 * used].copy_from_slice(&(8 * data.len() as u64).to_be_bytes());
    compress256(&mut state, &blocks[..used]);
    again(&state)
}

/// The transaction id of the coinbase.
fn coinbase_hash(job: &Prepared, hole: &Hole) -> [u8; 32] {
    let mut blocks = [[0u8; 64]; 2];
    let bytes = blocks.as_flattened_mut().as_chunks_mut().0.iter_mut();
    for (chunk, word) in bytes.zip(job.filled(hole)) {
        *chunk = word.to_be_bytes();
    }
    let mut state = job.0.midstate;
    compress256(&mut state, &blocks[..job.0.heads]);
    compress256(&mut state, &job.0.rest_bytes);
    again(&state)
}

/// The second SHA-256, of a finished first state.
fn again(first: &[u32; 8]) -> [u8; 32] {
    let mut block = padding(32, 32);
    block[..32].copy_from_slice(&block::digest(first));
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    block::digest(&state)
}

/// A last block (FIPS 180-4, 5.1.1) whose data ends at `at` (<= 55), for a message of `length` bytes.
const fn padding(at: usize, length: u16) -> [u8; 64] {
    let mut block = [0; 64];
    block[at] = 0x80;
    let bits = (8 * length).to_be_bytes();
    block[62] = bits[0];
    block[63] = bits[1];
    block
}
