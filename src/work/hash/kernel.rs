//! The kernels this program knows, and those that the machine at hand has.
//!
//! Not a choice (that is `plan`). The invariant: a [`Kernel`] exists only if the machine has its instructions; that alone
//! makes the three calls here safe.

#![expect(unsafe_code, reason = "the one dispatcher; see the invariant")]

use super::{Claim, Hole, Prepared, portable};
#[cfg(target_arch = "x86_64")]
use super::{sha_ni, vectors};
use std::fmt;

/// A way to hash that this machine has.
#[derive(Clone, Copy)]
pub struct Kernel(&'static Code);

/// Where a kernel writes.
type Digests<'a> = &'a mut [[u8; 32]];

/// What is known of a kernel, on any machine.
pub(super) struct Code {
    /// As it is forced, shown and measured.
    pub(super) name: &'static str,
    /// How many shares it takes at once.
    width: usize,
    /// Cycles for a full batch (300-byte coinbase, 12 branches) where it was measured: stands in for a calibration.
    cycles: u32,
    /// The kernels that take what is left of a batch when this one is forced.
    kin: &'static [&'static str],
    /// Pointless where the machine has this one: never chosen by itself.
    superseded_by: Option<&'static str>,
    present: fn() -> bool,
    /// From at most `width` claims to as many roots and hashes. May be called only if present.
    prove: unsafe fn(&Prepared, &[Claim], roots: Digests<'_>, hashes: Digests<'_>),
    /// From at most `width` holes to as many roots. May be called only if present.
    roots: unsafe fn(&Prepared, &[Hole], roots: Digests<'_>),
    /// From at most `width` headers to as many hashes. May be called only if present.
    headers: unsafe fn(&[[u8; 80]], hashes: Digests<'_>),
}

/// All of them, narrow before wide. A [`super::Plan`] counts by place here.
pub(super) static KNOWN: &[Code] = &[
    Code {
        name: "portable",
        width: 1,
        cycles: 7_227,
        kin: &[],
        superseded_by: None,
        present: || true,
        prove: portable::prove,
        roots: portable::roots,
        headers: portable::headers,
    },
    #[cfg(target_arch = "x86_64")]
    Code {
        name: "sha-ni",
        width: 1,
        cycles: 6_221,
        kin: &[],
        superseded_by: None,
        present: sha_ni,
        prove: sha_ni::prove::<1>,
        roots: sha_ni::roots::<1>,
        headers: sha_ni::headers::<1>,
    },
    #[cfg(target_arch = "x86_64")]
    Code {
        name: "sha-ni-x2",
        width: 2,
        cycles: 9_400,
        kin: &["sha-ni"],
        superseded_by: None,
        present: sha_ni,
        prove: sha_ni::prove::<2>,
        roots: sha_ni::roots::<2>,
        headers: sha_ni::headers::<2>,
    },
    #[cfg(target_arch = "x86_64")]
    Code {
        name: "sha-ni-x3",
        width: 3,
        cycles: 14_100,
        kin: &["sha-ni-x2", "sha-ni"],
        superseded_by: None,
        present: sha_ni,
        prove: sha_ni::prove::<3>,
        roots: sha_ni::roots::<3>,
        headers: sha_ni::headers::<3>,
    },
    #[cfg(target_arch = "x86_64")]
    Code {
        name: "avx2-x8",
        width: 8,
        cycles: 44_000,
        kin: &["portable"],
        superseded_by: Some("sha-ni"),
        present: || is_x86_feature_detected!("avx2"),
        prove: vectors::prove_avx2,
        roots: vectors::roots_avx2,
        headers: vectors::headers_avx2,
    },
    #[cfg(target_arch = "x86_64")]
    Code {
        name: "avx512vl-x8",
        width: 8,
        cycles: 25_208,
        kin: &["sha-ni", "portable"],
        superseded_by: None,
        present: || avx512() && is_x86_feature_detected!("avx512vl"),
        prove: vectors::prove_avx512vl,
        roots: vectors::roots_avx512vl,
        headers: vectors::headers_avx512vl,
    },
    #[cfg(target_arch = "x86_64")]
    Code {
        name: "avx512-x16",
        width: 16,
        cycles: 33_136,
        kin: &["avx512vl-x8", "sha-ni", "portable"],
        superseded_by: None,
        present: avx512,
        prove: vectors::prove_avx512,
        roots: vectors::roots_avx512,
        headers: vectors::headers_avx512,
    },
];

#[cfg(target_arch = "x86_64")]
fn sha_ni() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

#[cfg(target_arch = "x86_64")]
fn avx512() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// The kernels this machine has, narrow before wide; the first is the portable one.
pub fn kernels() -> impl Iterator<Item = Kernel> {
    KNOWN.iter().filter(|code| (code.present)()).map(Kernel)
}

impl Kernel {
    /// As it is forced, shown and measured.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// How many shares it takes at once, 1..=[`super::WIDEST`]; fewer take the same time.
    pub fn width(self) -> usize {
        self.0.width
    }

    /// Expected cycles for a full batch, for want of a measurement.
    pub(super) fn cycles(self) -> u32 {
        self.0.cycles
    }

    /// Where it stands in [`KNOWN`].
    pub(super) fn place(self) -> usize {
        let known = KNOWN.iter().position(|code| code.name == self.0.name);
        known.expect("a kernel is one of those known")
    }

    /// The one that stands there, if this machine has it.
    pub(super) fn at(place: usize) -> Option<Self> {
        KNOWN.get(place).filter(|code| (code.present)()).map(Kernel)
    }

    /// Itself and those that take its remainders.
    pub(super) fn family(self) -> impl Iterator<Item = Kernel> {
        kernels().filter(move |other| *other == self || self.0.kin.contains(&other.name()))
    }

    /// Whether it can be the best of this machine.
    pub(super) fn worth_trying(self) -> bool {
        let better = self.0.superseded_by;
        !kernels().any(|other| Some(other.name()) == better)
    }

    /// Merkle roots and header hashes, digest byte order.
    ///
    /// # Panics
    /// If there are more claims than its width, or not as many roots and hashes.
    pub(super) fn prove(
        self,
        job: &Prepared,
        claims: &[Claim],
        roots: Digests<'_>,
        hashes: Digests<'_>,
    ) {
        assert!(claims.len() <= self.0.width);
        assert!(claims.len() == roots.len() && claims.len() == hashes.len());
        // SAFETY: a kernel exists only where its instructions are present.
        unsafe { (self.0.prove)(job, claims, roots, hashes) }
    }

    /// Merkle roots, digest byte order.
    ///
    /// # Panics
    /// If there are more holes than its width, or not as many roots.
    pub(super) fn roots(self, job: &Prepared, holes: &[Hole], roots: Digests<'_>) {
        assert!(holes.len() <= self.0.width && holes.len() == roots.len());
        // SAFETY: as above.
        unsafe { (self.0.roots)(job, holes, roots) }
    }

    /// SHA-256d of headers, digest byte order.
    ///
    /// # Panics
    /// If there are more headers than its width, or not as many hashes.
    pub(super) fn headers(self, headers: &[[u8; 80]], hashes: Digests<'_>) {
        assert!(headers.len() <= self.0.width && headers.len() == hashes.len());
        // SAFETY: as above.
        unsafe { (self.0.headers)(headers, hashes) }
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Kernel {}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
