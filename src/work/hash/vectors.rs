//! The vectors of x86-64: AVX2 with 8 lanes, AVX-512VL with 8, AVX-512 with 16, and the kernels that `wide` makes of them.
//!
//! Not an algorithm. The invariant: the first vector of a kind is made in a function compiled for it, which only a
//! [`super::Kernel`] that this machine has reaches; so a vector at hand is the proof that its instructions exist.

#![expect(unsafe_code, reason = "vector instructions; see the invariant")]

use super::wide::{self, Vector};
use super::{Claim, Hole, Prepared, WIDEST};
use std::arch::x86_64::*;

/// A vector type and its kernel. Which instructions make a rotation, a shift and the three-way functions is up to
/// the macros named.
macro_rules! vector {
    ($(#[$doc:meta])* $name:ident, $register:ty, $width:literal, $features:literal,
     $zero:ident $splat:ident $load:ident $store:ident $add:ident,
     $ror:ident $shr:ident $xor3:ident $choose:ident $majority:ident,
     $prove:ident $roots:ident $headers:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(super) struct $name($register);

        impl Vector for $name {
            const WIDTH: usize = $width;

            #[inline(always)]
            fn splat(self, word: u32) -> Self {
                // SAFETY: `self` exists, so the machine has the instruction.
                Self(unsafe { $splat(word.cast_signed()) })
            }

            #[inline(always)]
            fn load(self, words: &[u32; WIDEST]) -> Self {
                const { assert!($width <= WIDEST) };
                // SAFETY: as above; the words are at least as many as are read, at any alignment.
                Self(unsafe { $load(words.as_ptr().cast()) })
            }

            #[inline(always)]
            fn store(self, words: &mut [u32; WIDEST]) {
                const { assert!($width <= WIDEST) };
                // SAFETY: as above; the words are at least as many as are written, at any alignment.
                unsafe { $store(words.as_mut_ptr().cast(), self.0) }
            }

            #[inline(always)]
            fn big_endian(self) -> Self {
                let (x, odd) = (self.0, self.splat(0xff00_ff00).0);
                // SAFETY: `self` exists, so the machine has the instructions.
                Self(unsafe { $choose!(odd, $ror!(x, 8), $ror!(x, 24)) })
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: `self` exists, so the machine has the instruction.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            fn choose(self, yes: Self, no: Self) -> Self {
                // SAFETY: `self` exists, so the machine has the instructions.
                Self(unsafe { $choose!(self.0, yes.0, no.0) })
            }

            #[inline(always)]
            fn majority(self, other: Self, third: Self) -> Self {
                // SAFETY: `self` exists, so the machine has the instructions.
                Self(unsafe { $majority!(self.0, other.0, third.0) })
            }

            #[inline(always)]
            fn big_sigma0(self) -> Self {
                let x = self.0;
                // SAFETY: `self` exists, so the machine has the instructions.
                Self(unsafe { $xor3!($ror!(x, 2), $ror!(x, 13), $ror!(x, 22)) })
            }

            #[inline(always)]
            fn big_sigma1(self) -> Self {
                let x = self.0;
                // SAFETY: `self` exists, so the machine has the instructions.
                Self(unsafe { $xor3!($ror!(x, 6), $ror!(x, 11), $ror!(x, 25)) })
            }

            #[inline(always)]
            fn small_sigma0(self) -> Self {
                let x = self.0;
                // SAFETY: `self` exists, so the machine has the instructions.
                Self(unsafe { $xor3!($ror!(x, 7), $ror!(x, 18), $shr!(x, 3)) })
            }

            #[inline(always)]
            fn small_sigma1(self) -> Self {
                let x = self.0;
                // SAFETY: `self` exists, so the machine has the instructions.
                Self(unsafe { $xor3!($ror!(x, 17), $ror!(x, 19), $shr!(x, 10)) })
            }
        }

        #[target_feature(enable = $features)]
        pub(super) fn $prove(
            job: &Prepared,
            claims: &[Claim],
            roots: &mut [[u8; 32]],
            hashes: &mut [[u8; 32]],
        ) {
            wide::prove($name($zero()), job, claims, roots, hashes);
        }

        #[target_feature(enable = $features)]
        pub(super) fn $roots(job: &Prepared, holes: &[Hole], roots: &mut [[u8; 32]]) {
            wide::roots($name($zero()), job, holes, roots);
        }

        #[target_feature(enable = $features)]
        pub(super) fn $headers(headers: &[[u8; 80]], hashes: &mut [[u8; 32]]) {
            wide::headers($name($zero()), headers, hashes);
        }
    };
}

macro_rules! ror512 {
    ($x:expr, $n:literal) => {
        _mm512_ror_epi32::<$n>($x)
    };
}
macro_rules! shr512 {
    ($x:expr, $n:literal) => {
        _mm512_srli_epi32::<$n>($x)
    };
}
// The last argument is the truth table, read from a = b = c = 1 down to 0.
macro_rules! xor512 {
    ($a:expr, $b:expr, $c:expr) => {
        _mm512_ternarylogic_epi32::<0b1001_0110>($a, $b, $c)
    };
}
macro_rules! choose512 {
    ($a:expr, $b:expr, $c:expr) => {
        _mm512_ternarylogic_epi32::<0b1100_1010>($a, $b, $c)
    };
}
macro_rules! majority512 {
    ($a:expr, $b:expr, $c:expr) => {
        _mm512_ternarylogic_epi32::<0b1110_1000>($a, $b, $c)
    };
}
macro_rules! ror_vl {
    ($x:expr, $n:literal) => {
        _mm256_ror_epi32::<$n>($x)
    };
}
macro_rules! xor_vl {
    ($a:expr, $b:expr, $c:expr) => {
        _mm256_ternarylogic_epi32::<0b1001_0110>($a, $b, $c)
    };
}
macro_rules! choose_vl {
    ($a:expr, $b:expr, $c:expr) => {
        _mm256_ternarylogic_epi32::<0b1100_1010>($a, $b, $c)
    };
}
macro_rules! majority_vl {
    ($a:expr, $b:expr, $c:expr) => {
        _mm256_ternarylogic_epi32::<0b1110_1000>($a, $b, $c)
    };
}
macro_rules! ror256 {
    ($x:expr, $n:literal) => {
        _mm256_or_si256(
            _mm256_srli_epi32::<$n>($x),
            _mm256_slli_epi32::<{ 32 - $n }>($x),
        )
    };
}
macro_rules! shr256 {
    ($x:expr, $n:literal) => {
        _mm256_srli_epi32::<$n>($x)
    };
}
macro_rules! xor256 {
    ($a:expr, $b:expr, $c:expr) => {
        _mm256_xor_si256(_mm256_xor_si256($a, $b), $c)
    };
}
macro_rules! choose256 {
    ($a:expr, $b:expr, $c:expr) => {
        _mm256_xor_si256($c, _mm256_and_si256($a, _mm256_xor_si256($b, $c)))
    };
}
macro_rules! majority256 {
    ($a:expr, $b:expr, $c:expr) => {
        _mm256_or_si256(
            _mm256_and_si256($a, $b),
            _mm256_and_si256($c, _mm256_or_si256($a, $b)),
        )
    };
}

vector!(
    /// 16 lanes of AVX-512.
    Zmm, __m512i, 16, "avx512f",
    _mm512_setzero_si512 _mm512_set1_epi32 _mm512_loadu_si512 _mm512_storeu_si512 _mm512_add_epi32,
    ror512 shr512 xor512 choose512 majority512,
    prove_avx512 roots_avx512 headers_avx512
);
vector!(
    /// 8 lanes with the rotations and three-way functions of AVX-512.
    YmmVl, __m256i, 8, "avx512f,avx512vl",
    _mm256_setzero_si256 _mm256_set1_epi32 _mm256_loadu_si256 _mm256_storeu_si256 _mm256_add_epi32,
    ror_vl shr256 xor_vl choose_vl majority_vl,
    prove_avx512vl roots_avx512vl headers_avx512vl
);
vector!(
    /// 8 lanes of AVX2.
    Ymm, __m256i, 8, "avx2",
    _mm256_setzero_si256 _mm256_set1_epi32 _mm256_loadu_si256 _mm256_storeu_si256 _mm256_add_epi32,
    ror256 shr256 xor256 choose256 majority256,
    prove_avx2 roots_avx2 headers_avx2
);
