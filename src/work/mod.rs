//! What mining is: the vocabulary both Stratum versions are turned into.
//!
//! Pure. Nothing here knows a protocol, a socket or a clock. The one invariant: a [`Work`] that exists is
//! within limits and ready to be judged; whatever a pool sent that is not never becomes one.
//!
//! The coinbase as the pool hashes it (BIP 141 witness stripped, as Stratum sends it):
//!
//! | `coinbase_prefix` | lane | rolled by the miner | `coinbase_suffix` |
//! |---|---|---|---|
//! | job prefix + pool's extranonce1 + zero pad | `layout.lane` bytes | `layout.rolled` bytes | from the job |

pub mod extranonce;
pub mod hash;
pub mod hashrate;
pub mod seen;
pub mod share;
pub mod target;
pub mod vardiff;

use std::fmt;

pub use extranonce::{Lane, Layout};
pub use hash::Prepared;
pub use share::{Proof, Share};
pub use target::{Difficulty, Target};

/// Most merkle branches a job may have: 2^32 transactions, far above what a block can hold.
pub const MAX_BRANCHES: usize = 32;
/// Most bytes of coinbase, both halves and the extranonce together (STRATUM.md section 2).
pub const MAX_COINBASE: usize = 32 * 1024;

/// Names one piece of work in this process; also the V1 job id (up to 8 hex digits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkId(pub u32);

impl fmt::Display for WorkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Names one configured pool connection; stable over its reconnects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u16);

/// Everything a share is judged against; immutable, shared by all miners of a link.
#[derive(Debug)]
pub struct Work {
    /// Process-global name.
    pub id: WorkId,
    /// The link it came from.
    pub link: LinkId,
    /// Which connection of that link; a share for an earlier one cannot be submitted any more.
    pub epoch: u32,
    /// The pool's own job id, to be echoed in the submit.
    pub pool_job: Box<str>,
    /// Grows with every clean job of the link; an older generation is stale.
    pub generation: u64,
    /// Hash of the previous block, in header byte order.
    pub prev_hash: [u8; 32],
    /// Block version before rolling.
    pub version: u32,
    /// Bits of the version this pool lets a miner roll (BIP 310); 0 for none.
    pub version_mask: u32,
    /// Compact network target.
    pub nbits: u32,
    /// The ntime given to miners: the pool's, advanced by refreshes.
    pub ntime: u32,
    /// The pool's ntime: upper limits count from here.
    pub pool_ntime: u32,
    /// How search space is cut.
    pub layout: Layout,
    /// Zero bytes between the pool's extranonce1 and the lane; the first bytes of the pool's extranonce2.
    pub pad: u8,
    /// Coinbase before the lane.
    pub coinbase_prefix: Box<[u8]>,
    /// Coinbase after the miner's bytes.
    pub coinbase_suffix: Box<[u8]>,
    /// Merkle branch, leaf side first, in the byte order that is hashed.
    pub branch: Box<[[u8; 32]]>,
    /// What the pool credits: hashes at or below are submitted.
    pub pool_target: Target,
    /// The same as the difficulty that the pool announced.
    pub pool_difficulty: Difficulty,
    /// A hash at or below is a block.
    pub network_target: Target,
    /// What can be computed once per work rather than per share.
    pub prepared: Prepared,
}
