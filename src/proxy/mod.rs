//! The mining machines: [`session`] (one miner connection), [`link`] (one pool connection), [`router`] (who mines for whom).
//!
//! Pure. They meet only in plain values: [`lease`] (what falls) and [`tally`] (what is counted).

pub mod lease;
pub mod link;
pub mod router;
pub mod session;
pub mod tally;
