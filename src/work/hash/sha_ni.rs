//! One, two or three shares at a time with the SHA instructions of x86-64.
//!
//! Not vectors: a register holds half the state of one share (or four words of its message); several shares are several
//! chains of instructions, interleaved because `sha256rnds2` has a latency that one chain cannot fill. The invariant:
//! functions here are compiled for SHA and SSE alone, since legacy SSE beside dirty upper halves of AVX registers costs
//! hundreds of cycles each time.
//!
//! | register | low word | | | high word |
//! |---|---|---|---|---|
//! | `abef` | f | e | b | a |
//! | `cdgh` | h | g | d | c |
//! | words of a digest or message | 0 | 1 | 2 | 3 |

#![expect(unsafe_code, reason = "loads and stores of vector registers")]

use super::block::{DIGEST_END, HEADER_END, INITIAL, PAIR_END, ROUND, Schedule};
use super::{Claim, Hole, Prepared};
use std::arch::x86_64::*;

/// `N` states.
#[derive(Clone, Copy)]
struct States<const N: usize> {
    abef: [__m128i; N],
    cdgh: [__m128i; N],
}

/// One quarter of `N` blocks, or half of `N` digests.
type Words<const N: usize> = [__m128i; N];

/// One root and one hash per claim, of which there are at most `N`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn prove<const N: usize>(
    job: &Prepared,
    claims: &[Claim],
    roots: &mut [[u8; 32]],
    hashes: &mut [[u8; 32]],
) {
    let mut heads = [[0; 32]; N];
    for (head, claim) in heads.iter_mut().zip(claims) {
        *head = job.filled(&claim.hole);
    }
    let root = fold(job, &heads);
    store(&root, roots);
    // Word by word: version, previous block (8), root (8), ntime, nbits, nonce.
    let mut words = [[_mm_setzero_si128(); N]; 5];
    let [p0, p1, p2, p3, p4, p5, p6, p7] = job.0.prev_hash.map(u32::cast_signed);
    for (n, claim) in claims.iter().enumerate().take(N) {
        let (low, high) = (root[0][n], root[1][n]);
        words[0][n] = _mm_set_epi32(p2, p1, p0, claim.version.cast_signed());
        words[1][n] = _mm_set_epi32(p6, p5, p4, p3);
        words[2][n] = _mm_insert_epi32::<0>(_mm_slli_si128::<4>(low), p7);
        words[3][n] = _mm_alignr_epi8::<12>(high, low);
        words[4][n] = _mm_set_epi32(
            claim.nonce.cast_signed(),
            job.0.nbits.cast_signed(),
            claim.ntime.cast_signed(),
            _mm_extract_epi32::<3>(high),
        );
    }
    store(&seal(words), hashes);
}

/// One root per hole, of which there are at most `N`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn roots<const N: usize>(job: &Prepared, holes: &[Hole], roots: &mut [[u8; 32]]) {
    let mut heads = [[0; 32]; N];
    for (head, hole) in heads.iter_mut().zip(holes) {
        *head = job.filled(hole);
    }
    store(&fold(job, &heads), roots);
}

/// One hash per header, of which there are at most `N`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn headers<const N: usize>(headers: &[[u8; 80]], hashes: &mut [[u8; 32]]) {
    let mut words = [[_mm_setzero_si128(); N]; 5];
    for (n, header) in headers.iter().enumerate().take(N) {
        for (words, bytes) in words.iter_mut().zip(header.as_chunks::<16>().0) {
            words[n] = swapped(load_bytes(bytes));
        }
    }
    store(&seal(words), hashes);
}

/// Coinbase and merkle fold; gives the words of the roots.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn fold<const N: usize>(job: &Prepared, heads: &[[u32; 32]; N]) -> [Words<N>; 2] {
    let mut states = same(&job.0.midstate);
    for block in 0..job.0.heads {
        states = compress(&states, quarters(heads, 16 * block));
    }
    for schedule in &job.0.rest {
        states = compress_scheduled(&states, schedule);
    }
    let initial = same(&INITIAL);
    for sibling in &job.0.branch {
        let [low, high] = halves(sibling);
        let [abcd, efgh] = again(&states);
        states = compress(&initial, [abcd, efgh, [low; N], [high; N]]);
        states = compress_scheduled(&states, &PAIR_END);
    }
    again(&states)
}

/// Headers of 20 words hashed twice; gives the words of the digests.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn seal<const N: usize>([a, b, c, d, e]: [Words<N>; 5]) -> [Words<N>; 2] {
    let states = compress(&same(&INITIAL), [a, b, c, d]);
    let [f, g, h] = [0, 1, 2].map(|i| HEADER_END.as_chunks::<4>().0[i]);
    let last = [e, [load(&f); N], [load(&g); N], [load(&h); N]];
    again(&compress(&states, last))
}

/// The second SHA-256, of finished first states; gives the words of the digests.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn again<const N: usize>(first: &States<N>) -> [Words<N>; 2] {
    let [abcd, efgh] = digests(first);
    let [low, high] = halves(&DIGEST_END);
    digests(&compress(
        &same(&INITIAL),
        [abcd, efgh, [low; N], [high; N]],
    ))
}

/// Compresses a block each.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress<const N: usize>(start: &States<N>, block: [Words<N>; 4]) -> States<N> {
    let [mut a, mut b, mut c, mut d] = block;
    let mut states = *start;
    let (quads, _) = ROUND.0.as_chunks::<4>();
    let (quads, _) = quads.as_chunks::<4>();
    for k in &quads[..3] {
        four_rounds(&mut states, &plus(&a, &k[0]));
        a = next(&a, &b, &c, &d);
        four_rounds(&mut states, &plus(&b, &k[1]));
        b = next(&b, &c, &d, &a);
        four_rounds(&mut states, &plus(&c, &k[2]));
        c = next(&c, &d, &a, &b);
        four_rounds(&mut states, &plus(&d, &k[3]));
        d = next(&d, &a, &b, &c);
    }
    let k = &quads[3];
    four_rounds(&mut states, &plus(&a, &k[0]));
    four_rounds(&mut states, &plus(&b, &k[1]));
    four_rounds(&mut states, &plus(&c, &k[2]));
    four_rounds(&mut states, &plus(&d, &k[3]));
    sums(start, states)
}

/// Compresses a block that is the same for all.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress_scheduled<const N: usize>(start: &States<N>, schedule: &Schedule) -> States<N> {
    let mut states = *start;
    let (quads, _) = schedule.0.as_chunks::<4>();
    let (quads, _) = quads.as_chunks::<4>();
    for words in quads {
        four_rounds(&mut states, &[load(&words[0]); N]);
        four_rounds(&mut states, &[load(&words[1]); N]);
        four_rounds(&mut states, &[load(&words[2]); N]);
        four_rounds(&mut states, &[load(&words[3]); N]);
    }
    sums(start, states)
}

/// Four rounds; `added` is the schedule plus the constants.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn four_rounds<const N: usize>(states: &mut States<N>, added: &Words<N>) {
    let States { abef, cdgh } = states;
    for ((cdgh, abef), added) in cdgh.iter_mut().zip(&*abef).zip(added) {
        *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, *added);
    }
    for ((abef, cdgh), added) in abef.iter_mut().zip(&*cdgh).zip(added) {
        *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0b1110>(*added));
    }
}

/// The four words of the schedule that follow sixteen.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn next<const N: usize>(a: &Words<N>, b: &Words<N>, c: &Words<N>, d: &Words<N>) -> Words<N> {
    let mut words = *a;
    for (i, word) in words.iter_mut().enumerate() {
        let shifted = _mm_alignr_epi8::<4>(d[i], c[i]);
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(*word, b[i]), shifted);
        *word = _mm_sha256msg2_epu32(sum, d[i]);
    }
    words
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn plus<const N: usize>(words: &Words<N>, constants: &[u32; 4]) -> Words<N> {
    let mut sums = *words;
    for sum in &mut sums {
        *sum = _mm_add_epi32(*sum, load(constants));
    }
    sums
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn sums<const N: usize>(start: &States<N>, mut end: States<N>) -> States<N> {
    for i in 0..N {
        end.abef[i] = _mm_add_epi32(end.abef[i], start.abef[i]);
        end.cdgh[i] = _mm_add_epi32(end.cdgh[i], start.cdgh[i]);
    }
    end
}

/// The same state for all.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn same<const N: usize>(state: &[u32; 8]) -> States<N> {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    States {
        abef: [_mm_set_epi32(a, b, e, f); N],
        cdgh: [_mm_set_epi32(c, d, g, h); N],
    }
}

/// States as the words of digests.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn digests<const N: usize>(states: &States<N>) -> [Words<N>; 2] {
    let [mut low, mut high] = [states.abef, states.cdgh];
    for (low, high) in low.iter_mut().zip(&mut high) {
        let abef = _mm_shuffle_epi32::<0b00_01_10_11>(*low);
        let cdgh = _mm_shuffle_epi32::<0b00_01_10_11>(*high);
        *low = _mm_unpacklo_epi64(abef, cdgh);
        *high = _mm_unpackhi_epi64(abef, cdgh);
    }
    [low, high]
}

/// The block that begins at a word of each head.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn quarters<const N: usize>(heads: &[[u32; 32]; N], at: usize) -> [Words<N>; 4] {
    let mut block = [[_mm_setzero_si128(); N]; 4];
    for (n, head) in heads.iter().enumerate() {
        let quads = head[at..].as_chunks::<4>().0;
        for (words, quad) in block.iter_mut().zip(quads) {
            words[n] = load(quad);
        }
    }
    block
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn halves(words: &[u32; 8]) -> [__m128i; 2] {
    let quads = words.as_chunks::<4>().0;
    [load(&quads[0]), load(&quads[1])]
}

/// As many digests as there is room for, at most `N`.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn store<const N: usize>(words: &[Words<N>; 2], digests: &mut [[u8; 32]]) {
    for (n, digest) in digests.iter_mut().enumerate().take(N) {
        let (halves, _) = digest.as_chunks_mut::<16>();
        store_bytes(swapped(words[0][n]), &mut halves[0]);
        store_bytes(swapped(words[1][n]), &mut halves[1]);
    }
}

/// Words in the machine's order from words in the message's, or back.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn swapped(words: __m128i) -> __m128i {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm_shuffle_epi8(words, order)
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(words: &[u32; 4]) -> __m128i {
    // SAFETY: four words are 16 bytes to read; any alignment will do.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load_bytes(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes to read; any alignment will do.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn store_bytes(words: __m128i, bytes: &mut [u8; 16]) {
    // SAFETY: 16 bytes to write; any alignment will do.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), words) }
}
