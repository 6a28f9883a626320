//! One miner connection as a pure machine, by protocol: [`Session`] speaks V1, [`v2::Session`] Stratum V2. What goes in and
//! out is the same for both (`io`), and so is what a seat mines: its jobs, its difficulty, its verdicts.
//!
//! ```text
//!   v1::Session ── one seat ──────┐
//!                                 ├──> mining, shares, jobs: Attach, Judge, Submit, Refresh, Observe
//!   v2::Session ── per channel ───┘
//! ```
//! Invariant: a verdict does not depend on the protocol a share came by.

mod io;
mod jobs;
mod limits;
mod mining;
mod shares;
mod v1;
pub mod v2;

pub use io::*;
pub use v1::Session;
