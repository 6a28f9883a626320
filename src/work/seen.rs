//! The duplicate window of one lane.

/// What became of an insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Insert {
    /// Not seen before; now remembered.
    New,
    /// Seen before.
    Duplicate,
    /// No room: refuse the share, never forget an old one.
    Full,
}

/// Hashes of accepted shares, kept apart by prev-hash; no heap while empty.
#[derive(Debug, Default)]
pub struct Seen {
    _todo: (),
}

impl Seen {
    /// Remembers a share's own hash under the prev-hash it builds on. The first 8 bytes of the digest (uniform ones;
    /// the last ones are zero for good shares) are the key.
    pub fn insert(&mut self, _prev_hash: &[u8; 32], _hash: &[u8; 32]) -> Insert {
        todo!()
    }
    /// Shares remembered.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
