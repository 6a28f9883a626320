//! SHA-256 of several messages side by side: one vector per word, one lane of it per message.
//!
//! Not tied to a machine: [`Vector`] is the dozen operations that differ, `vectors` has them for x86-64. The invariant:
//! a lane never sees another's data, so that a lane left over by a short batch costs time and nothing else. No transposes:
//! the words of a digest are already the lanes of the next message.

use super::block::{DIGEST_END, HEADER_END, INITIAL, PAIR_END, ROUND, Schedule};
use super::{Claim, Hole, Prepared, WIDEST};

/// A vector of 32-bit words. Values exist only where the machine can compute with them: the first comes from code that
/// was entered after asking, all others come from that one (`self` in [`Vector::splat`] and [`Vector::load`] is but a witness).
pub(super) trait Vector: Copy {
    /// Lanes.
    const WIDTH: usize;
    /// The word in every lane.
    fn splat(self, word: u32) -> Self;
    /// The first [`Vector::WIDTH`] words.
    fn load(self, words: &[u32; WIDEST]) -> Self;
    /// Into the first [`Vector::WIDTH`] words.
    fn store(self, words: &mut [u32; WIDEST]);
    /// From the machine's byte order to big-endian, or back.
    fn big_endian(self) -> Self;
    /// Modulo 2^32.
    fn add(self, other: Self) -> Self;
    /// Ch(self, other, third), FIPS 180-4, 4.1.2.
    fn choose(self, yes: Self, no: Self) -> Self;
    /// Maj.
    fn majority(self, other: Self, third: Self) -> Self;
    /// Sigma 0, the upper-case one.
    fn big_sigma0(self) -> Self;
    /// Sigma 1, the upper-case one.
    fn big_sigma1(self) -> Self;
    /// sigma 0, the lower-case one.
    fn small_sigma0(self) -> Self;
    /// sigma 1, the lower-case one.
    fn small_sigma1(self) -> Self;
}

/// One root and one hash per claim; `any` is a witness.
#[inline(always)]
pub(super) fn prove<V: Vector>(
    any: V,
    job: &Prepared,
    claims: &[Claim],
    roots: &mut [[u8; 32]],
    hashes: &mut [[u8; 32]],
) {
    let mut columns = [[0; WIDEST]; 3];
    let mut holes = [Hole::default(); WIDEST];
    for (lane, claim) in claims.iter().enumerate().take(V::WIDTH) {
        holes[lane] = claim.hole;
        columns[0][lane] = claim.version;
        columns[1][lane] = claim.ntime;
        columns[2][lane] = claim.nonce;
    }
    let root = fold(any, job, &holes);
    digests(root, roots);
    let mut message = [any; 32];
    message[0] = any.load(&columns[0]);
    message[1..9].copy_from_slice(&splat(any, &job.0.prev_hash));
    message[9..17].copy_from_slice(&root);
    message[17] = any.load(&columns[1]);
    message[18] = any.splat(job.0.nbits);
    message[19] = any.load(&columns[2]);
    digests(seal(message), hashes);
}

/// One root per hole; `any` is a witness.
#[inline(always)]
pub(super) fn roots<V: Vector>(any: V, job: &Prepared, given: &[Hole], roots: &mut [[u8; 32]]) {
    let mut holes = [Hole::default(); WIDEST];
    for (hole, given) in holes.iter_mut().zip(given) {
        *hole = *given;
    }
    digests(fold(any, job, &holes), roots);
}

/// One hash per header; `any` is a witness.
#[inline(always)]
pub(super) fn headers<V: Vector>(any: V, headers: &[[u8; 80]], hashes: &mut [[u8; 32]]) {
    let mut columns = [[0; WIDEST]; 20];
    spread(headers, &mut columns);
    let mut message = [any; 32];
    for (vector, column) in message.iter_mut().zip(&columns) {
        *vector = any.load(column).big_endian();
    }
    digests(seal(message), hashes);
}

/// Coinbase and merkle fold.
#[inline(always)]
fn fold<V: Vector>(any: V, job: &Prepared, holes: &[Hole; WIDEST]) -> [V; 8] {
    let mut head = [any; 32];
    for (vector, word) in head.iter_mut().zip(job.0.head) {
        *vector = any.splat(word);
    }
    for (i, vector) in head[job.0.first..][..4].iter_mut().enumerate() {
        let mut column = [0; WIDEST];
        for (word, hole) in column.iter_mut().zip(holes) {
            *word = hole.0[i];
        }
        *vector = any.load(&column);
    }
    let mut state = splat(any, &job.0.midstate);
    for block in &head.as_chunks().0[..job.0.heads] {
        state = compress::<V, false>(state, *block);
    }
    for schedule in &job.0.rest {
        state = compress_scheduled(state, schedule);
    }
    for sibling in &job.0.branch {
        let pair = join(again(state), splat(any, sibling));
        state = compress::<V, false>(splat(any, &INITIAL), pair);
        state = compress_scheduled(state, &PAIR_END);
    }
    again(state)
}

/// Headers of 20 words, with room for the padding, hashed twice.
#[inline(always)]
fn seal<V: Vector>(mut message: [V; 32]) -> [V; 8] {
    let any = message[0];
    for (vector, word) in message[20..].iter_mut().zip(HEADER_END) {
        *vector = any.splat(word);
    }
    let mut state = splat(any, &INITIAL);
    for block in message.as_chunks().0 {
        state = compress::<V, false>(state, *block);
    }
    again(state)
}

/// The second SHA-256, of finished first states.
#[inline(always)]
fn again<V: Vector>(first: [V; 8]) -> [V; 8] {
    let any = first[0];
    compress::<V, true>(splat(any, &INITIAL), join(first, splat(any, &DIGEST_END)))
}

#[inline(always)]
fn splat<V: Vector>(any: V, words: &[u32; 8]) -> [V; 8] {
    let mut vectors = [any; 8];
    for (vector, word) in vectors.iter_mut().zip(words) {
        *vector = any.splat(*word);
    }
    vectors
}

#[inline(always)]
fn join<V: Vector>(a: [V; 8], b: [V; 8]) -> [V; 16] {
    let mut block = [a[0]; 16];
    block[..8].copy_from_slice(&a);
    block[8..].copy_from_slice(&b);
    block
}

/// The states of as many lanes as there are digests to write.
#[inline(always)]
fn digests<V: Vector>(state: [V; 8], digests: &mut [[u8; 32]]) {
    let mut columns = [[0; WIDEST]; 8];
    for (column, vector) in columns.iter_mut().zip(state) {
        vector.big_endian().store(column);
    }
    gather(&columns, digests);
}

/// The words of headers, as they lie in memory, into the lanes that will hash them. Not inlined, as the next: compiled for
/// a vector machine this becomes gathers and scatters, which are no faster than plain moves and more code.
#[inline(never)]
fn spread(headers: &[[u8; 80]], columns: &mut [[u32; WIDEST]; 20]) {
    for (lane, header) in headers.iter().enumerate().take(WIDEST) {
        for (column, word) in columns.iter_mut().zip(header.as_chunks().0) {
            column[lane] = u32::from_ne_bytes(*word);
        }
    }
}

/// Lanes into digests.
#[inline(never)]
fn gather(columns: &[[u32; WIDEST]; 8], digests: &mut [[u8; 32]]) {
    for (lane, digest) in digests.iter_mut().enumerate().take(WIDEST) {
        let bytes = digest.as_chunks_mut().0.iter_mut();
        for (chunk, column) in bytes.zip(columns) {
            *chunk = column[lane].to_ne_bytes();
        }
    }
}

/// One round (FIPS 180-4, 6.2.2, step 3). The names turn instead of the values. A macro: a closure would not be compiled
/// for the machine that its caller is compiled for.
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident $added:expr) => {
        let t = $h.add($added).add($e.choose($f, $g)).add($e.big_sigma1());
        $d = $d.add(t);
        $h = t.add($a.majority($b, $c)).add($a.big_sigma0());
    };
}

/// Sixteen rounds; `$added!(i)` is the schedule word plus the constant of the i-th.
macro_rules! rounds {
    ($added:ident $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        rounds!($added $a $b $c $d $e $f $g $h: 0 1 2 3 4 5 6 7);
        rounds!($added $a $b $c $d $e $f $g $h: 8 9 10 11 12 13 14 15);
    };
    ($added:ident $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident:
     $i0:literal $i1:literal $i2:literal $i3:literal $i4:literal $i5:literal $i6:literal $i7:literal) => {
        round!($a $b $c $d $e $f $g $h $added!($i0));
        round!($h $a $b $c $d $e $f $g $added!($i1));
        round!($g $h $a $b $c $d $e $f $added!($i2));
        round!($f $g $h $a $b $c $d $e $added!($i3));
        round!($e $f $g $h $a $b $c $d $added!($i4));
        round!($d $e $f $g $h $a $b $c $added!($i5));
        round!($c $d $e $f $g $h $a $b $added!($i6));
        round!($b $c $d $e $f $g $h $a $added!($i7));
    };
}

/// Compresses a block. The schedule is a ring of 16 vectors, which wants to stay in registers: hence a loop of sixteen
/// rounds and constant indices. A block that is half constant and mostly zero is `SPARSE`: then sixteen rounds more stand
/// apart from the loop, where the compiler sees what there is nothing to compute for (a twenty-fifth of the whole).
#[inline(always)]
fn compress<V: Vector, const SPARSE: bool>(start: [V; 8], mut w: [V; 16]) -> [V; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
    let [first, second, ..] = ROUND.0.as_chunks::<16>().0 else {
        unreachable!("there are 64 constants")
    };
    macro_rules! given {
        ($i:literal) => {
            w[$i].add(a.splat(first[$i]))
        };
    }
    rounds!(given a b c d e f g h);
    let mut state = [a, b, c, d, e, f, g, h];
    if SPARSE {
        state = scheduled_rounds(state, &mut w, second);
    }
    for k in &ROUND.0.as_chunks::<16>().0[if SPARSE { 2 } else { 1 }..] {
        state = scheduled_rounds(state, &mut w, k);
    }
    sums(start, state)
}

/// Sixteen rounds, each after its turn of the ring.
#[inline(always)]
fn scheduled_rounds<V: Vector>(state: [V; 8], w: &mut [V; 16], k: &[u32; 16]) -> [V; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    macro_rules! scheduled {
        ($i:literal) => {{
            w[$i] = w[$i]
                .add(w[($i + 1) % 16].small_sigma0())
                .add(w[($i + 9) % 16])
                .add(w[($i + 14) % 16].small_sigma1());
            w[$i].add(w[$i].splat(k[$i]))
        }};
    }
    rounds!(scheduled a b c d e f g h);
    [a, b, c, d, e, f, g, h]
}

/// Compresses a block that is the same in all lanes.
#[inline(always)]
fn compress_scheduled<V: Vector>(start: [V; 8], schedule: &Schedule) -> [V; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
    for words in schedule.0.as_chunks::<16>().0 {
        macro_rules! scheduled {
            ($i:literal) => {
                a.splat(words[$i])
            };
        }
        rounds!(scheduled a b c d e f g h);
    }
    sums(start, [a, b, c, d, e, f, g, h])
}

#[inline(always)]
fn sums<V: Vector>(mut start: [V; 8], end: [V; 8]) -> [V; 8] {
    for (sum, end) in start.iter_mut().zip(end) {
        *sum = sum.add(end);
    }
    start
}

#[cfg(test)]
pub(super) mod plain {
    //! The vector that any machine has, so that the algorithm is tested where there is no other.

    use super::{INITIAL, Schedule, Vector, WIDEST, compress, compress_scheduled, splat};
    use crate::work::hash::block;

    /// A whole message, every block both ways.
    pub(in super::super) fn sha256(message: &[u8]) -> [u8; 32] {
        let mut bytes = [message, &[0x80]].concat();
        bytes.resize((bytes.len() + 8).next_multiple_of(64) - 8, 0);
        bytes.extend((8 * message.len() as u64).to_be_bytes());
        let mut state = splat(Plain([0; 3]), &INITIAL);
        for block in bytes.as_chunks().0.iter().map(block::words) {
            let scheduled = compress_scheduled(state, &Schedule::of(&block));
            state = compress::<_, false>(state, block.map(|word| Plain([word; 3])));
            assert_eq!(scheduled.map(|v| v.0), state.map(|v| v.0));
        }
        block::digest(&state.map(|vector| vector.0[1]))
    }

    #[derive(Clone, Copy)]
    pub(in super::super) struct Plain(pub(in super::super) [u32; 3]);

    impl Vector for Plain {
        const WIDTH: usize = 3;
        fn splat(self, word: u32) -> Self {
            Self([word; 3])
        }
        fn load(self, words: &[u32; WIDEST]) -> Self {
            Self(std::array::from_fn(|i| words[i]))
        }
        fn store(self, words: &mut [u32; WIDEST]) {
            words[..3].copy_from_slice(&self.0);
        }
        fn big_endian(self) -> Self {
            Self(self.0.map(u32::to_be))
        }
        fn add(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i].wrapping_add(other.0[i])))
        }
        fn choose(self, yes: Self, no: Self) -> Self {
            Self(std::array::from_fn(|i| {
                self.0[i] & yes.0[i] | !self.0[i] & no.0[i]
            }))
        }
        fn majority(self, b: Self, c: Self) -> Self {
            Self(std::array::from_fn(|i| {
                self.0[i] & b.0[i] | self.0[i] & c.0[i] | b.0[i] & c.0[i]
            }))
        }
        fn big_sigma0(self) -> Self {
            Self(
                self.0
                    .map(|x| x.rotate_right(2) ^ x.rotate_right(13) ^ x.rotate_right(22)),
            )
        }
        fn big_sigma1(self) -> Self {
            Self(
                self.0
                    .map(|x| x.rotate_right(6) ^ x.rotate_right(11) ^ x.rotate_right(25)),
            )
        }
        fn small_sigma0(self) -> Self {
            Self(
                self.0
                    .map(|x| x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3)),
            )
        }
        fn small_sigma1(self) -> Self {
            Self(
                self.0
                    .map(|x| x.rotate_right(17) ^ x.rotate_right(19) ^ (x >> 10)),
            )
        }
    }
}
