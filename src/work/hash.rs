//! SHA-256 for shares: what is computed once per work, and the jobs that every kernel does.
//!
//! Not the share itself (that is `share`). The invariant: whatever depends only on the work (prefix midstate, schedules
//! of the blocks that are the same for every share, the branch as words) is laid out in [`Prepared`], nothing here
//! allocates per share, and every kernel gives the same bytes.
//!
//! The coinbase as blocks of 64 bytes:
//!
//! | whole blocks of the prefix | head: 1 or 2 blocks | rest |
//! |---|---|---|
//! | compressed once into `midstate` | end of the prefix, **lane, rolled**, start of the suffix | end of the suffix, padding |
//! | once per work | 64 schedule words per share | constants + schedule, once per work |
//!
//! Three jobs: *prove* (a share -> coinbase, merkle fold, header), and its halves for V2 standard channels: *roots* at a new
//! block (extranonce -> merkle root) and *headers* per share (80 bytes -> hash).

mod block;
mod kernel;
mod plan;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod vectors;
mod wide;

use super::{Lane, Layout, Share};
use block::{INITIAL, Schedule};
use sha2::block_api::compress256;
use std::sync::Arc;

pub use kernel::{Kernel, kernels};
pub use plan::{KernelError, Plan, Selected, plan, select};
pub use portable::sha256d;

/// The most shares that any kernel takes together.
pub const WIDEST: usize = 16;

/// Per-work precomputation; cheap to clone.
#[derive(Clone, Debug)]
pub struct Prepared(Arc<Constants>);

/// What is the same for all shares of a work.
#[derive(Debug)]
struct Constants {
    layout: Layout,
    /// State after the whole blocks of the prefix.
    midstate: [u32; 8],
    /// The word of the head in which the lane begins, 0..16.
    first: usize,
    /// How far up the lane and the rolled bytes go in the four words from there on.
    shift: u32,
    /// One or two blocks: those that the lane and the rolled bytes touch.
    heads: usize,
    /// The head as message words, zeros where the lane and the rolled bytes go (and in the second block, if unused).
    head: [u32; 32],
    /// The rest, scheduled.
    rest: Box<[Schedule]>,
    /// The rest as it is hashed, for a kernel that makes its own schedule.
    rest_bytes: Box<[[u8; 64]]>,
    /// The merkle branch as message words, leaf side first.
    branch: Box<[[u32; 8]]>,
    /// The same of the previous block's hash, and of nbits.
    prev_hash: [u32; 8],
    nbits: u32,
}

/// The four words of the head in which an extranonce stands, as they are hashed. Of one [`Prepared`] only.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Hole([u32; 4]);

/// What one share adds to a [`Prepared`], as message words.
#[derive(Clone, Copy, Default, Debug)]
struct Claim {
    hole: Hole,
    version: u32,
    ntime: u32,
    nonce: u32,
}

impl Prepared {
    /// From the coinbase halves, the layout, the merkle branch and what a header has besides.
    pub fn new(
        coinbase: (&[u8], &[u8]),
        layout: Layout,
        branch: &[[u8; 32]],
        (prev_hash, nbits): (&[u8; 32], u32),
    ) -> Self {
        let (prefix, suffix) = coinbase;
        let (whole, tail) = prefix.as_chunks::<64>();
        let mut midstate = INITIAL;
        compress256(&mut midstate, whole);
        let total = usize::from(layout.total());
        let bytes = prefix.len() + total + suffix.len();
        let mut blocks = [tail, &vec![0; total], suffix, &[0x80]].concat();
        blocks.resize((blocks.len() + 8).next_multiple_of(64) - 8, 0);
        blocks.extend_from_slice(&(8 * bytes as u64).to_be_bytes());
        let heads = (tail.len() + total).div_ceil(64);
        let (head_bytes, rest_bytes) = blocks.as_chunks::<64>().0.split_at(heads);
        let mut head = [0; 32];
        let head_words = head.as_chunks_mut::<16>().0.iter_mut();
        head_words
            .zip(head_bytes)
            .for_each(|(words, bytes)| *words = block::words(bytes));
        Self(Arc::new(Constants {
            layout,
            midstate,
            first: tail.len() / 4,
            // 12 bytes (Layout) from at most the third byte of a word on end within four words.
            shift: 8 * (16 - tail.len() % 4 - total) as u32,
            heads,
            head,
            rest: rest_bytes
                .iter()
                .map(|bytes| Schedule::of(&block::words(bytes)))
                .collect(),
            rest_bytes: rest_bytes.into(),
            branch: branch.iter().map(block::words_of_node).collect(),
            prev_hash: block::words_of_node(prev_hash),
            nbits: nbits.swap_bytes(),
        }))
    }

    fn claim(&self, lane: Lane, share: &Share) -> Claim {
        Claim {
            hole: self.hole(lane, &share.en2),
            version: share.version.swap_bytes(),
            ntime: share.ntime.swap_bytes(),
            nonce: share.nonce.swap_bytes(),
        }
    }

    /// The header of a claim, whose table is at `share::header`.
    fn header(&self, claim: &Claim, root: &[u8; 32]) -> [u8; 80] {
        let Constants {
            prev_hash, nbits, ..
        } = &*self.0;
        let mut header = [0; 80];
        header[..4].copy_from_slice(&claim.version.to_be_bytes());
        header[4..36].copy_from_slice(&block::digest(prev_hash));
        header[36..68].copy_from_slice(root);
        let end = [claim.ntime, *nbits, claim.nonce].map(u32::to_be_bytes);
        header[68..].copy_from_slice(end.as_flattened());
        header
    }

    /// The words of the head with this lane and these rolled bytes in them.
    fn hole(&self, lane: Lane, en2: &[u8; 8]) -> Hole {
        let Layout { lane: k, rolled: m } = self.0.layout;
        let lane = u32::from_be_bytes(lane.bytes(self.0.layout)) >> (32 - 8 * u32::from(k));
        let rolled = u64::from_be_bytes(*en2) >> (64 - 8 * u32::from(m));
        let bits = (u128::from(lane) << (8 * m) | u128::from(rolled)) << self.0.shift;
        let at = self.0.first;
        let head = &self.0.head[at..at + 4];
        Hole(std::array::from_fn(|i| {
            head[i] | (bits >> (96 - 32 * i)) as u32
        }))
    }

    /// The head with a hole filled in.
    fn filled(&self, hole: &Hole) -> [u32; 32] {
        let mut words = self.0.head;
        words[self.0.first..self.0.first + 4].copy_from_slice(&hole.0);
        words
    }
}

/// Root and hash of shares of one work, in digest byte order, handed to `each` with their place among the claims. As many
/// are hashed side by side as the plan says.
pub(super) fn prove(
    plan: Plan,
    prepared: &Prepared,
    claims: &[(Lane, Share)],
    mut each: impl FnMut(usize, &[u8; 32], &[u8; 32]),
) {
    let mut done = 0;
    while done < claims.len() {
        let (kernel, taken) = plan.next(claims.len() - done);
        let now = &claims[done..done + taken];
        let each = |i, root: &_, hash: &_| each(done + i, root, hash);
        match taken {
            1 => run::<1>(kernel, prepared, now, each),
            _ => run::<WIDEST>(kernel, prepared, now, each),
        }
        done += taken;
    }
}

/// One run of a kernel, of at most `N` shares: one alone pays for no room on the stack that only sixteen need.
fn run<const N: usize>(
    kernel: Kernel,
    prepared: &Prepared,
    given: &[(Lane, Share)],
    mut each: impl FnMut(usize, &[u8; 32], &[u8; 32]),
) {
    let n = given.len();
    let mut claims = [Claim::default(); N];
    for (claim, (lane, share)) in claims.iter_mut().zip(given) {
        *claim = prepared.claim(*lane, share);
    }
    let (mut roots, mut hashes) = ([[0; 32]; N], [[0; 32]; N]);
    let (roots, hashes) = (&mut roots[..n], &mut hashes[..n]);
    kernel.prove(prepared, &claims[..n], roots, hashes);
    for (i, (root, hash)) in roots.iter().zip(hashes).enumerate() {
        each(i, root, hash);
    }
}

/// Merkle roots of one work, in the order of the extranonces (lane, rolled bytes): what V2 standard channels need at a
/// new block. Digest byte order.
///
/// # Panics
/// If there are fewer `roots` than extranonces; those beyond stay as they are.
pub fn roots(
    plan: Plan,
    prepared: &Prepared,
    extranonces: &[(Lane, [u8; 8])],
    roots: &mut [[u8; 32]],
) {
    let mut roots = &mut roots[..extranonces.len()];
    let mut left = extranonces;
    while !left.is_empty() {
        let (kernel, taken) = plan.next(left.len());
        let (now, later) = left.split_at(taken);
        let (out, rest) = roots.split_at_mut(taken);
        let mut holes = [Hole::default(); WIDEST];
        for (hole, (lane, en2)) in holes.iter_mut().zip(now) {
            *hole = prepared.hole(*lane, en2);
        }
        kernel.roots(prepared, &holes[..taken], out);
        (left, roots) = (later, rest);
    }
}

/// SHA-256d of headers, digest byte order.
///
/// # Panics
/// If there are fewer `hashes` than headers; those beyond stay as they are.
pub fn headers(plan: Plan, headers: &[[u8; 80]], hashes: &mut [[u8; 32]]) {
    let mut hashes = &mut hashes[..headers.len()];
    let mut left = headers;
    while !left.is_empty() {
        let (kernel, taken) = plan.next(left.len());
        let (now, later) = left.split_at(taken);
        let (out, rest) = hashes.split_at_mut(taken);
        kernel.headers(now, out);
        (left, hashes) = (later, rest);
    }
}

#[cfg(test)]
mod tests;
