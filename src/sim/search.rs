//! Looks for a nonce: real hashing of real headers, in slices that the caller may interrupt.
//!
//! Owns all it needs, so that a driver can run it on another thread. Invariant: what it reports as found has been
//! hashed and meets the bound it was given.

use super::wire::{Bound, Job};
use sha2::block_api::compress256;

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

/// A share as the miner found it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which job of the miner, by its own count.
    pub job_seq: u64,
    /// Extranonce2 bytes.
    pub en2: Vec<u8>,
    /// Block time.
    pub ntime: u32,
    /// Nonce.
    pub nonce: u32,
    /// Version bits rolled, already inside the mask.
    pub version_bits: u32,
}

/// The search for one share over one header (4 billion nonces; a lab share needs thousands).
#[derive(Clone, Debug)]
pub struct Search {
    header: [u8; 80],
    bound: Bound,
    next_nonce: u64,
    found: Found,
}

impl Search {
    /// A search over `job` with these extranonces, from `start_nonce` on.
    pub fn new(job: &Job, en1: &[u8], bound: Bound, mask: u32, mut start: Found) -> Self {
        start.version_bits &= mask;
        let root = job.merkle_root(en1, &start.en2);
        let version = (job.version & !mask) | start.version_bits;
        Self::over_header(job.header(root, version, start.ntime, 0), bound, start)
    }

    /// A search over this header, whose nonce is zero, from `start.nonce` on; the rest of `start` is reported as given.
    pub fn over_header(header: [u8; 80], bound: Bound, start: Found) -> Self {
        Self {
            header,
            bound,
            next_nonce: u64::from(start.nonce),
            found: start,
        }
    }

    /// Tries at most `most` nonces. `None`: nothing yet, call again.
    pub fn run(&mut self, most: u64) -> Option<Found> {
        let mut first = [0; 64];
        first.copy_from_slice(&self.header[..64]);
        let mut midstate = INITIAL;
        compress256(&mut midstate, &[first]);
        let mut tail = padded(80);
        tail[..12].copy_from_slice(&self.header[64..76]);
        let top = self.bound.0[3];
        for _ in 0..most {
            let nonce = self.next_nonce as u32; // wraps: a lab share is found long before
            self.next_nonce += 1;
            tail[12..16].copy_from_slice(&nonce.to_le_bytes());
            let hash = finish(midstate, &tail);
            // The top limb alone throws out nearly all.
            let limb = u64::from_le_bytes(hash[24..].try_into().expect("eight bytes"));
            if limb <= top && self.bound.holds(&hash) {
                self.found.nonce = nonce;
                return Some(self.found.clone());
            }
        }
        None
    }

    /// Which job of the miner this looks at.
    pub fn job_seq(&self) -> u64 {
        self.found.job_seq
    }
}

/// The last block of a message of `len` bytes, all but its data.
fn padded(len: u64) -> [u8; 64] {
    let mut block = [0; 64];
    block[(len % 64) as usize] = 0x80;
    block[56..].copy_from_slice(&(8 * len).to_be_bytes());
    block
}

fn finish(mut state: [u32; 8], tail: &[u8; 64]) -> [u8; 32] {
    compress256(&mut state, std::slice::from_ref(tail));
    let mut second = padded(32);
    second[..32].copy_from_slice(&digest(&state));
    let mut state = INITIAL;
    compress256(&mut state, &[second]);
    digest(&state)
}

fn digest(state: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_mut(4).zip(state) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{template::Template, wire::sha256d};

    #[test]
    fn what_it_finds_hashes_below_the_bound_by_the_slow_way_too() {
        let job = Template::new(5, 0x1703_4219, 12).job(1, 1_700_000_000, true);
        let bound = Bound::of_difficulty(2f64.powi(-22)).unwrap();
        let start = Found {
            job_seq: 3,
            en2: vec![0, 1],
            ntime: job.ntime,
            nonce: u32::MAX - 5,
            version_bits: 0xffff_ffff,
        };
        let mut search = Search::new(&job, &[9; 4], bound, 0x1fff_e000, start);
        let found = std::iter::repeat_with(|| search.run(100)).flatten().next();
        let found = found.unwrap();
        assert_eq!(found.version_bits, 0x1fff_e000);
        let root = job.merkle_root(&[9; 4], &found.en2);
        let version = (job.version & !0x1fff_e000) | found.version_bits;
        let hash = sha256d(&job.header(root, version, found.ntime, found.nonce));
        assert!(bound.holds(&hash));
    }
}
