//! SHA-256 in words (FIPS 180-4): its constants, message blocks, and the schedules of blocks that never change.
//!
//! Not a hash: the kernels compress. The invariant: a [`Schedule`] is a block with everything done that does not need
//! the state.

/// The initial state (FIPS 180-4, 5.3.3).
pub(super) const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The round constants (FIPS 180-4, 4.2.2), aligned for kernels that read four or more at once.
pub(super) static ROUND: Schedule = Schedule(K);

#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The message schedule of a block with the round constants added, round by round.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Schedule(pub(super) [u32; 64]);

impl Schedule {
    pub(super) const fn of(block: &[u32; 16]) -> Self {
        let mut words = [0; 64];
        let mut i = 0;
        while i < 64 {
            words[i] = if i < 16 {
                block[i]
            } else {
                let (a, b) = (words[i - 15], words[i - 2]);
                let s0: u32 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
                let s1: u32 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
                s0.wrapping_add(s1)
                    .wrapping_add(words[i - 7])
                    .wrapping_add(words[i - 16])
            };
            i += 1;
        }
        while i > 0 {
            i -= 1;
            words[i] = K[i].wrapping_add(words[i]);
        }
        Self(words)
    }
}

/// The second block of a 64-byte message: a pair of nodes.
pub(super) static PAIR_END: Schedule = Schedule::of(&padding(0, 64));
/// The second half of the block of a 32-byte message: a digest hashed again.
pub(super) const DIGEST_END: [u32; 8] = end(&padding(8, 32));
/// What follows the last 16 bytes of a header.
pub(super) const HEADER_END: [u32; 12] = end(&padding(4, 80));

/// A last block (FIPS 180-4, 5.1.1) whose data are its first `at` words, of a message of `bytes` bytes.
const fn padding(at: usize, bytes: u32) -> [u32; 16] {
    let mut block = [0; 16];
    block[at] = 0x8000_0000;
    block[15] = 8 * bytes;
    block
}

/// The last `N` words.
const fn end<const N: usize>(block: &[u32; 16]) -> [u32; N] {
    let mut words = [0; N];
    let mut i = 0;
    while i < N {
        words[i] = block[16 - N + i];
        i += 1;
    }
    words
}

/// A block of a message as words.
pub(super) fn words(bytes: &[u8; 64]) -> [u32; 16] {
    std::array::from_fn(|i| word(bytes, i))
}

/// A digest as the words that the next hash takes.
pub(super) fn words_of_node(bytes: &[u8; 32]) -> [u32; 8] {
    std::array::from_fn(|i| word(bytes, i))
}

/// One word of a message, which must have it.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes.as_chunks().0[at])
}

/// A state as the digest that it is.
pub(super) fn digest(state: &[u32; 8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (chunk, word) in out.as_chunks_mut().0.iter_mut().zip(state) {
        *chunk = word.to_be_bytes();
    }
    out
}
