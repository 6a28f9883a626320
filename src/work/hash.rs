//! SHA-256 for shares: what is computed once per work, and the hashes of one share.
//!
//! Not the share itself (that is `share`). The invariant: nothing here allocates per share; whatever depends only on
//! the work (prefix midstate, padding, the blocks of the suffix) is laid out in [`Prepared`].
//!
//! The coinbase as blocks of 64 bytes:
//!
//! | whole blocks of the prefix | head: 1 or 2 blocks | rest |
//! |---|---|---|
//! | compressed once into `midstate` | end of the prefix, **lane, rolled**, start of the suffix | end of the suffix, padding |

use super::Layout;
use sha2::block_api::compress256;
use std::sync::Arc;

const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Per-work precomputation; cheap to clone.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// State after the whole blocks of the prefix.
    midstate: [u32; 8],
    /// Where the lane begins in the first block.
    hole: usize,
    /// Everything after the midstate, padded, zeros where the lane and the miner's bytes go.
    blocks: Arc<[[u8; 64]]>,
}

impl Prepared {
    /// From the coinbase halves and the layout.
    pub fn new(prefix: &[u8], suffix: &[u8], layout: Layout) -> Self {
        let (whole, tail) = prefix.as_chunks::<64>();
        let mut midstate = INITIAL;
        compress256(&mut midstate, whole);
        let bytes = prefix.len() + usize::from(layout.total()) + suffix.len();
        let mut rest = tail.to_vec();
        rest.resize(tail.len() + usize::from(layout.total()), 0);
        rest.extend_from_slice(suffix);
        rest.push(0x80);
        rest.resize((rest.len() + 8).next_multiple_of(64) - 8, 0);
        rest.extend_from_slice(&(8 * bytes as u64).to_be_bytes());
        Self {
            midstate,
            hole: tail.len(),
            blocks: rest.as_chunks().0.into(),
        }
    }

    /// SHA-256d of the coinbase with these bytes in the hole: the transaction id, digest byte order.
    pub(super) fn coinbase_hash(&self, lane: &[u8], en2: &[u8]) -> [u8; 32] {
        // The hole begins before byte 64 and has at most 12 bytes, so two blocks hold it.
        let head = self.blocks.len().min(2);
        let mut patched = [[0u8; 64]; 2];
        patched[..head].copy_from_slice(&self.blocks[..head]);
        let hole = &mut patched.as_flattened_mut()[self.hole..];
        hole[..lane.len()].copy_from_slice(lane);
        hole[lane.len()..lane.len() + en2.len()].copy_from_slice(en2);
        let mut state = self.midstate;
        compress256(&mut state, &patched[..head]);
        compress256(&mut state, &self.blocks[head..]);
        hash_again(&state)
    }
}

/// Folds a merkle branch, leaf side first, onto a leaf.
pub(super) fn merkle_root(leaf: [u8; 32], branch: &[[u8; 32]]) -> [u8; 32] {
    let mut pair = [[0u8; 64], padding(0, 64)];
    let mut node = leaf;
    for sibling in branch {
        pair[0][..32].copy_from_slice(&node);
        pair[0][32..].copy_from_slice(sibling);
        let mut state = INITIAL;
        compress256(&mut state, &pair);
        node = hash_again(&state);
    }
    node
}

/// SHA-256d of a block header.
pub(super) fn header_hash(header: &[u8; 80]) -> [u8; 32] {
    let mut blocks = [[0u8; 64], padding(16, 80)];
    blocks[0].copy_from_slice(&header[..64]);
    blocks[1][..16].copy_from_slice(&header[64..]);
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    hash_again(&state)
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
    hash_again(&state)
}

/// The second SHA-256, of a finished first state.
fn hash_again(first: &[u32; 8]) -> [u8; 32] {
    let mut block = padding(32, 32);
    block[..32].copy_from_slice(&bytes(first));
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    bytes(&state)
}

fn bytes(state: &[u32; 8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (chunk, word) in out.as_chunks_mut().0.iter_mut().zip(state) {
        *chunk = word.to_be_bytes();
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn naive(data: &[u8]) -> [u8; 32] {
        Sha256::digest(Sha256::digest(data)).into()
    }

    #[test]
    fn every_length_around_the_block_borders_pads_right() {
        for length in 0..=260 {
            let data: Vec<u8> = (0..length).map(|i| i as u8 ^ 0x5a).collect();
            assert_eq!(sha256d(&data), naive(&data), "{length} bytes");
        }
    }

    #[test]
    fn every_split_of_prefix_and_suffix_gives_the_hash_of_the_whole() {
        let data: Vec<u8> = (0..400).map(|i| (i * 7) as u8).collect();
        for prefix in 0..140 {
            for suffix in 0..140 {
                let (a, b) = (&data[..prefix], &data[200..200 + suffix]);
                let prepared = Prepared::new(a, b, Layout::WIDE);
                let whole = [a, b"lane", b"roll", b].concat();
                assert_eq!(prepared.coinbase_hash(b"lane", b"roll"), naive(&whole));
            }
        }
    }

    proptest! {
        #[test]
        fn a_merkle_fold_is_the_naive_one(leaf: [u8; 32], branch in prop::collection::vec(any::<[u8; 32]>(), 0..16)) {
            let expected = branch.iter().fold(leaf, |node, sibling| naive(&[node, *sibling].concat()));
            prop_assert_eq!(merkle_root(leaf, &branch), expected);
        }

        #[test]
        fn a_header_hash_is_the_naive_one(header: [[u8; 16]; 5]) {
            let header: [u8; 80] = header.concat().try_into().unwrap();
            prop_assert_eq!(header_hash(&header), naive(&header));
        }
    }
}
