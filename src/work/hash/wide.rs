//! SHA-256 of several messages side by side: one vector per word, one lane of it per message.
//!
//! Not tied to a machine: [`Vector`] is the dozen operations that differ, `vectors` has them for x86-64. The invariant:
//! a lane never sees another's data, so that a lane left over by a short batch costs time and nothing else. No transposes:
//! the words of a digest are already the lanes of the next message.

use super::block::{self, DIGEST_END, HEADER_END, INITIAL, PAIR_END, ROUND, Schedule};
use super::{Hole, Prepared, WIDEST};

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

/// One root per hole; `any` is a witness.
#[inline(always)]
pub(super) fn roots<V: Vector>(any: V, job: &Prepared, holes: &[Hole], roots: &mut [[u8; 32]]) {
    let mut head = [any; 32];
    for (vector, word) in head.iter_mut().zip(job.0.head) {
        *vector = any.splat(word);
    }
    for i in 0..4 {
        let mut words = [0; WIDEST];
        for (word, hole) in words.iter_mut().zip(holes) {
            *word = hole.0[i];
        }
        head[job.0.first + i] = any.load(&words);
    }
    let mut state = splat(any, &job.0.midstate);
    for block in &head.as_chunks().0[..job.0.heads] {
        state = compress(state, *block);
    }
    for schedule in &job.0.rest {
        state = compress_scheduled(state, schedule);
    }
    let mut node = again(state);
    for sibling in &job.0.branch {
        let pair = join(node, splat(any, sibling));
        node = again(compress_scheduled(
            compress(splat(any, &INITIAL), pair),
            &PAIR_END,
        ));
    }
    digests(node, roots);
}

/// One hash per header; `any` is a witness.
#[inline(always)]
pub(super) fn headers<V: Vector>(any: V, headers: &[[u8; 80]], hashes: &mut [[u8; 32]]) {
    let mut message = [any; 32];
    for (i, vector) in message.iter_mut().enumerate().take(20) {
        let mut words = [0; WIDEST];
        for (word, header) in words.iter_mut().zip(headers) {
            *word = block::word(header, i);
        }
        *vector = any.load(&words);
    }
    for (vector, word) in message[20..].iter_mut().zip(HEADER_END) {
        *vector = any.splat(word);
    }
    let mut state = splat(any, &INITIAL);
    for block in message.as_chunks().0 {
        state = compress(state, *block);
    }
    digests(again(state), hashes);
}

/// The second SHA-256, of finished first states.
#[inline(always)]
fn again<V: Vector>(first: [V; 8]) -> [V; 8] {
    let any = first[0];
    compress(splat(any, &INITIAL), join(first, splat(any, &DIGEST_END)))
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
    let mut words = [[0; WIDEST]; 8];
    for (words, vector) in words.iter_mut().zip(state) {
        vector.store(words);
    }
    for (lane, digest) in digests.iter_mut().enumerate().take(V::WIDTH) {
        let bytes = digest.as_chunks_mut().0.iter_mut();
        for (chunk, words) in bytes.zip(&words) {
            *chunk = words[lane].to_be_bytes();
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
/// rounds and constant indices.
#[inline(always)]
fn compress<V: Vector>(start: [V; 8], mut w: [V; 16]) -> [V; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
    let (first, later) = ROUND.0.as_chunks::<16>().0.split_at(1);
    macro_rules! given {
        ($i:literal) => {
            w[$i].add(a.splat(first[0][$i]))
        };
    }
    rounds!(given a b c d e f g h);
    for k in later {
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
    }
    sums(start, [a, b, c, d, e, f, g, h])
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

    use super::{Vector, WIDEST};

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
