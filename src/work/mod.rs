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
use std::sync::Arc;

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

/// The longest extranonce2 a pool may ask for, in bytes: 255 is refused (STRATUM.md section 2).
pub const MAX_EXTRANONCE2: u8 = 254;

/// What a link knows about a piece of work, before it is checked; the fields are those of [`Work`].
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each field is documented where it ends up, on Work"
)]
pub struct Parts {
    pub id: WorkId,
    pub link: LinkId,
    pub channel: u32,
    pub epoch: u32,
    pub pool_job: Box<str>,
    pub generation: u64,
    pub prev_hash: [u8; 32],
    pub version: u32,
    pub version_mask: u32,
    pub nbits: u32,
    pub ntime: u32,
    pub pool_ntime: u32,
    pub layout: Layout,
    pub pad: u8,
    pub coinbase_prefix: Box<[u8]>,
    pub coinbase_suffix: Box<[u8]>,
    pub branch: Box<[[u8; 32]]>,
    pub pool_target: Target,
    pub pool_difficulty: Difficulty,
}

/// A job that nothing is known of: no coinbase, no branch, the lowest difficulty, no version rolling. Where only some
/// fields matter, the rest comes from here; a link fills in all of them.
impl Default for Parts {
    fn default() -> Self {
        Self {
            id: WorkId(1),
            link: LinkId(0),
            channel: 0,
            epoch: 0,
            pool_job: "1".into(),
            generation: 0,
            prev_hash: [0; 32],
            version: 0x2000_0000,
            version_mask: 0,
            nbits: 0x1705_1234,
            ntime: 1_700_000_000,
            pool_ntime: 1_700_000_000,
            layout: Layout::WIDE,
            pad: 0,
            coinbase_prefix: Box::default(),
            coinbase_suffix: Box::default(),
            branch: Box::default(),
            pool_target: Target::MAX,
            pool_difficulty: Difficulty::MIN,
        }
    }
}

/// Why a pool's job cannot become work: the pool's fault, or the layout's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WorkError {
    /// More branches than [`MAX_BRANCHES`].
    #[error("the merkle branch is longer than {MAX_BRANCHES}")]
    Branches,
    /// More bytes than [`MAX_COINBASE`].
    #[error("the coinbase is longer than {MAX_COINBASE} bytes")]
    Coinbase,
    /// Negative, zero or overflowing nbits.
    #[error("nbits name no target")]
    Nbits,
    /// Lane or rolled bytes out of range, a pad that is not at the end of the prefix, or too long an extranonce2.
    #[error("the extranonce does not fit its layout")]
    Layout,
}

/// Everything a share is judged against; immutable, shared by all miners of a link. Made by [`Work::new`] alone.
#[derive(Debug)]
pub struct Work {
    /// Process-global name.
    pub id: WorkId,
    /// The link it came from.
    pub link: LinkId,
    /// Which of the link's channels, by its own count: a share goes up on this one alone. 0: the one of the account, which
    /// is all there is on most links.
    pub channel: u32,
    /// Which connection of that link; a share for an earlier one cannot be submitted any more.
    pub epoch: u32,
    /// The pool's own job id, to be echoed in the submit.
    pub pool_job: Box<str>,
    /// Grows with every clean job of the link; an older generation of its channel is stale. Works of one generation are on one
    /// block, whatever channel they came from.
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
    pub coinbase_prefix: Arc<[u8]>,
    /// Coinbase after the miner's bytes.
    pub coinbase_suffix: Arc<[u8]>,
    /// Merkle branch, leaf side first, in the byte order that is hashed.
    pub branch: Arc<[[u8; 32]]>,
    /// What the pool credits: hashes at or below are submitted.
    pub pool_target: Target,
    /// The same as the difficulty that the pool announced.
    pub pool_difficulty: Difficulty,
    /// A hash at or below is a block.
    pub network_target: Target,
    /// What can be computed once per work rather than per share; private, so that no work exists without it.
    prepared: Prepared,
}

impl Work {
    /// Checks the limits and prepares the hashing.
    pub fn new(parts: Parts) -> Result<Self, WorkError> {
        let network_target = check(&parts)?;
        let prepared = Prepared::new(
            (&parts.coinbase_prefix, &parts.coinbase_suffix),
            parts.layout,
            &parts.branch,
            (&parts.prev_hash, parts.nbits),
        );
        Ok(Self {
            id: parts.id,
            link: parts.link,
            channel: parts.channel,
            epoch: parts.epoch,
            pool_job: parts.pool_job,
            generation: parts.generation,
            prev_hash: parts.prev_hash,
            version: parts.version,
            version_mask: parts.version_mask,
            nbits: parts.nbits,
            ntime: parts.ntime,
            pool_ntime: parts.pool_ntime,
            layout: parts.layout,
            pad: parts.pad,
            coinbase_prefix: parts.coinbase_prefix.into(),
            coinbase_suffix: parts.coinbase_suffix.into(),
            branch: parts.branch.into(),
            pool_target: parts.pool_target,
            pool_difficulty: parts.pool_difficulty,
            network_target,
            prepared,
        })
    }

    /// The same work under a new id and ntime; what is large is shared.
    pub fn refreshed(&self, id: WorkId, ntime: u32) -> Self {
        Self {
            id,
            ntime,
            pool_job: self.pool_job.clone(),
            coinbase_prefix: self.coinbase_prefix.clone(),
            coinbase_suffix: self.coinbase_suffix.clone(),
            branch: self.branch.clone(),
            prepared: self.prepared.clone(),
            ..*self
        }
    }

    /// The extranonce2 to submit to the pool, in the first `len` bytes: pad, lane, the miner's bytes (I2).
    pub fn pool_extranonce2(&self, lane: Lane, share: &Share) -> ([u8; 255], usize) {
        let (pad, k) = (usize::from(self.pad), usize::from(self.layout.lane));
        let end = pad + usize::from(self.layout.total());
        let mut bytes = [0; 255];
        bytes[pad..pad + k].copy_from_slice(&lane.bytes(self.layout)[..k]);
        bytes[pad + k..end].copy_from_slice(&share.en2[..end - pad - k]);
        (bytes, end)
    }
}

/// The limits of [`Work`]; gives the network target.
fn check(parts: &Parts) -> Result<Target, WorkError> {
    let Layout { lane, rolled } = parts.layout;
    let fits = (2..=4).contains(&lane) && (2..=8).contains(&rolled);
    let pad = usize::from(parts.pad);
    if !fits
        || pad > parts.coinbase_prefix.len()
        || pad + usize::from(lane + rolled) > usize::from(MAX_EXTRANONCE2)
    {
        return Err(WorkError::Layout);
    }
    if parts.branch.len() > MAX_BRANCHES {
        return Err(WorkError::Branches);
    }
    let halves = parts.coinbase_prefix.len() + parts.coinbase_suffix.len();
    if halves + usize::from(lane + rolled) > MAX_COINBASE {
        return Err(WorkError::Coinbase);
    }
    Target::from_nbits(parts.nbits).ok_or(WorkError::Nbits)
}
