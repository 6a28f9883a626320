//! The duplicate window of one lane.
//!
//! Not keyed by job: job ids are not in the header, so a window per job would credit one proof twice. The invariant:
//! nothing is forgotten while its previous block is among the last four the lane was used with; when there is no room,
//! new shares are refused instead (STRATUM.md section 4).

/// Most shares per previous block. A miner that meets its target as fast as the submit bucket refills (20 a second)
/// fills it in 1.8 hours, eleven mean block intervals; at the wanted 12 a minute it would take a week. What is lost at
/// the limit: that miner's shares until the next block.
const MAX_PER_BLOCK: u32 = 131_072;

/// Previous blocks kept apart: a lane leased from one pool to another and back, with both changing block meanwhile.
const BLOCKS: usize = 4;

/// Slots of a first table: 128 bytes, enough for a miner's first minute.
const FIRST_SLOTS: usize = 16;

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
#[derive(Debug)]
pub struct Seen {
    /// Most recently used first.
    windows: Vec<Window>,
    limit: u32,
}

impl Seen {
    /// With another limit of shares per previous block than the default of 131,072.
    pub fn with_limit(limit: u32) -> Self {
        Self {
            windows: Vec::new(),
            limit,
        }
    }

    /// Remembers a share's own hash under the prev-hash it builds on. The first 8 bytes of the digest (uniform ones;
    /// the last ones are zero for good shares) are the key.
    pub fn insert(&mut self, prev_hash: &[u8; 32], hash: &[u8; 32]) -> Insert {
        let limit = self.limit;
        let (key, _) = hash.split_first_chunk().expect("a digest has 32 bytes");
        self.window(prev_hash)
            .insert(u64::from_le_bytes(*key), limit)
    }

    /// Shares remembered.
    pub fn len(&self) -> usize {
        let lengths = self.windows.iter().map(|window| window.len as usize);
        lengths.sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let tables = self
            .windows
            .iter()
            .map(|window| size_of_val(&*window.slots));
        self.windows.capacity() * size_of::<Window>() + tables.sum::<usize>()
    }

    /// The window of a previous block, moved to the front; the least recently used one makes room for a new one.
    fn window(&mut self, prev_hash: &[u8; 32]) -> &mut Window {
        let found = self.windows.iter().position(|w| w.prev_hash == *prev_hash);
        let at = found.unwrap_or_else(|| {
            if self.windows.len() == BLOCKS {
                self.windows.pop();
            }
            self.windows.reserve_exact(1);
            self.windows.push(Window::new(*prev_hash));
            self.windows.len() - 1
        });
        self.windows[..=at].rotate_right(1);
        &mut self.windows[0]
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self::with_limit(MAX_PER_BLOCK)
    }
}

/// One previous block: open addressing with linear probing, a power of two of slots, 0 for a free one.
#[derive(Debug)]
struct Window {
    prev_hash: [u8; 32],
    slots: Box<[u64]>,
    /// Keys held, the zero key included.
    len: u32,
    /// Whether the key 0 is held: in the slots it means "free".
    zero: bool,
}

impl Window {
    fn new(prev_hash: [u8; 32]) -> Self {
        Self {
            prev_hash,
            slots: Box::default(),
            len: 0,
            zero: false,
        }
    }

    fn insert(&mut self, key: u64, limit: u32) -> Insert {
        let held = if key == 0 {
            self.zero
        } else {
            !self.slots.is_empty() && self.slots[self.slot(key)] == key
        };
        if held {
            return Insert::Duplicate;
        }
        if self.len >= limit {
            return Insert::Full;
        }
        self.len += 1;
        if key == 0 {
            self.zero = true;
        } else {
            self.make_room();
            let slot = self.slot(key);
            self.slots[slot] = key;
        }
        Insert::New
    }

    /// Where the key is, or the free slot where it belongs. Ends: a quarter of the slots is always free.
    fn slot(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        // Keys are uniform, so their low bits need no further mixing.
        let mut at = key as usize & mask;
        while self.slots[at] != 0 && self.slots[at] != key {
            at = (at + 1) & mask;
        }
        at
    }

    /// Doubles the table if the keys counted by `len` would fill more than three quarters of it.
    fn make_room(&mut self) {
        if self.len as usize * 4 <= self.slots.len() * 3 {
            return;
        }
        let slots = (self.slots.len() * 2).max(FIRST_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![0; slots].into());
        for key in old.into_iter().filter(|key| *key != 0) {
            let slot = self.slot(key);
            self.slots[slot] = key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const A: [u8; 32] = [0xaa; 32];
    const B: [u8; 32] = [0xbb; 32];

    /// A digest whose first eight bytes are `key`.
    fn hash(key: u64) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&key.to_le_bytes());
        hash
    }

    #[test]
    fn the_same_hash_is_a_duplicate_under_the_same_block_only() {
        let mut seen = Seen::default();
        assert!(seen.is_empty());
        assert_eq!(seen.insert(&A, &hash(1)), Insert::New);
        assert_eq!(seen.insert(&A, &hash(1)), Insert::Duplicate);
        assert_eq!(seen.insert(&B, &hash(1)), Insert::New);
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_hash_that_begins_with_zeros_is_a_hash_like_any_other() {
        let mut seen = Seen::default();
        assert_eq!(seen.insert(&A, &hash(0)), Insert::New);
        assert_eq!(seen.insert(&A, &hash(0)), Insert::Duplicate);
        assert_eq!(seen.insert(&A, &hash(1)), Insert::New);
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_full_window_refuses_new_shares_and_forgets_no_old_one() {
        let mut seen = Seen::with_limit(100);
        for key in 0..100 {
            assert_eq!(seen.insert(&A, &hash(key)), Insert::New);
        }
        assert_eq!(seen.insert(&A, &hash(100)), Insert::Full);
        for key in 0..100 {
            assert_eq!(seen.insert(&A, &hash(key)), Insert::Duplicate);
        }
        assert_eq!(seen.insert(&B, &hash(100)), Insert::New);
    }

    #[test]
    fn the_default_limit_is_reached_and_then_holds() {
        let mut seen = Seen::default();
        let key = |i: u64| hash(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for i in 0..131_072 {
            assert_eq!(seen.insert(&A, &key(i)), Insert::New);
        }
        assert_eq!(seen.insert(&A, &key(131_072)), Insert::Full);
        assert_eq!(seen.heap_bytes(), 8 * 262_144 + size_of::<Window>());
    }

    #[test]
    fn four_blocks_are_remembered_and_the_least_recently_used_goes() {
        let mut seen = Seen::default();
        let blocks: Vec<[u8; 32]> = (1..=5).map(|i| [i; 32]).collect();
        for block in &blocks[..4] {
            assert_eq!(seen.insert(block, &hash(7)), Insert::New);
        }
        assert_eq!(seen.insert(&blocks[0], &hash(7)), Insert::Duplicate);
        assert_eq!(seen.insert(&blocks[4], &hash(7)), Insert::New);
        for kept in [0, 2, 3, 4] {
            assert_eq!(seen.insert(&blocks[kept], &hash(7)), Insert::Duplicate);
        }
        assert_eq!(seen.insert(&blocks[1], &hash(7)), Insert::New);
    }

    #[test]
    fn a_fresh_miner_costs_little_and_an_empty_one_nothing() {
        let mut seen = Seen::default();
        assert_eq!(seen.heap_bytes(), 0);
        assert!(size_of::<Seen>() <= 32);
        for key in 1..=10 {
            seen.insert(&A, &hash(key << 20));
        }
        assert!(seen.heap_bytes() <= 256, "{}", seen.heap_bytes());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(keys in prop::collection::vec((0u8..3, prop_oneof![0u64..40, any::<u64>()]), 0..600)) {
            let mut seen = Seen::default();
            let mut model = HashSet::new();
            for (block, key) in keys {
                let expected = if model.insert((block, key)) { Insert::New } else { Insert::Duplicate };
                prop_assert_eq!(seen.insert(&[block; 32], &hash(key)), expected);
            }
            prop_assert_eq!(seen.len(), model.len());
        }
    }
}
