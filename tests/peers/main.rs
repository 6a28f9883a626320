//! Stratum V2 against programs that others wrote: SRI's pool_sv2 and translator_sv2, as published, built by
//! `tests/peers/install`.
//!
//! Not the place for our own simulated peers alone (`tests/e2e`). Invariant: what is counted is what the far end says it
//! accepted; every share that is missing there has a name.
#![expect(
    unreachable_pub,
    reason = "a test binary has no public interface; `pub` marks what modules share"
)]

mod chain;

#[expect(dead_code, reason = "these tests need less of it than tests/e2e does")]
#[path = "../e2e/lab.rs"]
mod lab;
#[expect(dead_code, reason = "these tests need less of it than tests/e2e does")]
#[path = "../e2e/peer.rs"]
mod peer;
mod peers;
mod pool_habits;
mod program;
mod provider;
mod sim;
mod translator_habits;
mod v1;
mod v2;
#[path = "../common/wait.rs"]
mod wait;
mod wire;
