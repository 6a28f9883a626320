//! SHA-256 for shares: what is computed once per work, and the hash of one share.

use super::Layout;

/// Per-work precomputation (prefix midstate).
#[derive(Debug)]
pub struct Prepared {
    _todo: (),
}

impl Prepared {
    /// From the coinbase halves and the layout.
    pub fn new(_prefix: &[u8], _suffix: &[u8], _layout: Layout) -> Self {
        todo!()
    }
}

/// SHA-256 twice.
pub fn sha256d(_data: &[u8]) -> [u8; 32] {
    todo!()
}
