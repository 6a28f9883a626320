//! Blocks that look like real ones: a coinbase of 200-300 bytes with its outputs, twelve merkle branches.
//!
//! Nothing in them is valid on any chain. Invariant: no two jobs of a template have the same coinbase bytes, so a
//! share of one is never a share of another.

use super::{rng::Rng, wire::Job};

/// Ends the script, as pools sign theirs.
const TAG: &[u8; 18] = b"/sluice simulated/";

/// Makes jobs, block after block.
#[derive(Clone, Debug)]
pub struct Template {
    rng: Rng,
    nbits: u32,
    extranonce_len: u8,
    height: u32,
    prev_hash: [u8; 32],
    made: u64,
}

impl Template {
    /// A chain that depends on the seed alone, for coinbases with this many bytes of extranonce.
    pub fn new(seed: u64, nbits: u32, extranonce_len: u8) -> Self {
        let mut template = Self {
            rng: Rng::new(seed ^ 0x7465_6d70_6c61_7465),
            nbits,
            extranonce_len,
            height: 900_000,
            prev_hash: [0; 32],
            made: 0,
        };
        template.next_block();
        template
    }

    /// A new prev-hash, one block higher.
    pub fn next_block(&mut self) {
        self.height += 1;
        let bytes = self.rng.bytes(32);
        self.prev_hash.copy_from_slice(&bytes);
        // As on mainnet, the hash of the block before ends in zeros.
        self.prev_hash[24..].fill(0);
    }

    /// A job on the present block.
    pub fn job(&mut self, id: u64, ntime: u32, clean: bool) -> Job {
        self.made += 1;
        let branches = (0..12).map(|_| {
            let mut branch = [0; 32];
            branch.copy_from_slice(&self.rng.bytes(32));
            branch
        });
        let branches = branches.collect();
        Job {
            id: format!("{id:x}"),
            prev_hash: self.prev_hash,
            coinb1: self.before_extranonce(),
            coinb2: self.after_extranonce(),
            branches,
            version: 0x2000_0000,
            nbits: self.nbits,
            ntime,
            clean,
        }
    }

    /// version, one input, null outpoint, script: height (BIP 34), time-like tag, our count.
    fn before_extranonce(&self) -> Vec<u8> {
        let height = self.height.to_le_bytes();
        let mut out = vec![2, 0, 0, 0, 1];
        out.extend([0; 32]);
        out.extend([0xff; 4]);
        let script_len = 13 + self.extranonce_len + TAG.len() as u8;
        out.extend([script_len, 3, height[0], height[1], height[2]]);
        out.extend([8]);
        out.extend(self.made.to_le_bytes());
        out
    }

    /// Rest of the script, sequence, four outputs (one the witness commitment), lock time.
    fn after_extranonce(&mut self) -> Vec<u8> {
        let mut out = TAG.to_vec();
        out.extend([0xff; 4]);
        out.push(4);
        for (value, lead, hash, tail) in [
            (312_500_000u64, &[0x16, 0x00, 0x14][..], 20, &[][..]),
            (1_234_567, &[0x19, 0x76, 0xa9, 0x14], 20, &[0x88, 0xac]),
            (42_000, &[0x22, 0x51, 0x20], 32, &[]),
            (0, &[0x26, 0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed], 32, &[]),
        ] {
            out.extend(value.to_le_bytes());
            out.extend(lead);
            out.extend(self.rng.bytes(hash));
            out.extend(tail);
        }
        out.extend([0; 4]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[test]
    fn a_coinbase_has_the_size_of_a_real_one() {
        let job = Template::new(1, 0x1703_4219, 12).job(10, 1_700_000_000, true);
        let size = job.coinb1.len() + 12 + job.coinb2.len();
        assert!((200..=300).contains(&size), "{size}");
        assert_eq!(job.branches.len(), 12);
    }

    #[test]
    fn two_jobs_on_one_block_differ_and_share_the_previous_hash() {
        let mut template = Template::new(1, 0x1703_4219, 12);
        let (a, b) = (template.job(1, 5, true), template.job(2, 5, false));
        assert_eq!(a.prev_hash, b.prev_hash);
        assert_ne!(a.coinb1, b.coinb1);
        template.next_block();
        assert_ne!(template.job(3, 5, true).prev_hash, a.prev_hash);
    }
}
