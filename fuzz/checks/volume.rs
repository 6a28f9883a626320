//! How many bytes a fuzzer has put through a machine: libFuzzer counts executions only.

use std::sync::atomic::{AtomicU64, Ordering};

/// Between two lines of the count.
const STEP: u64 = 1_000_000;

static BYTES: AtomicU64 = AtomicU64::new(0);

/// Counts one input that was gone through whole.
pub(crate) fn count(data: &[u8]) {
    let bytes = data.len() as u64;
    let before = BYTES.fetch_add(bytes, Ordering::Relaxed);
    if before / STEP != (before + bytes) / STEP {
        eprintln!("input bytes: {}", before + bytes);
    }
}
