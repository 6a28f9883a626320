//! Fuzzes the short way to read a share: see `checks/submit.rs`. Runs with `cargo fuzz run -s none submit_fast`.
#![no_main]

#[path = "../checks/submit.rs"]
mod submit;

use std::sync::atomic::{AtomicU64, Ordering};

/// Between two lines of the count.
const STEP: u64 = 1_000_000;

static LINES: AtomicU64 = AtomicU64::new(0);
static SHORT: AtomicU64 = AtomicU64::new(0);

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let short = SHORT.fetch_add(submit::submit_fast(data), Ordering::Relaxed);
    let lines = LINES.fetch_add(1, Ordering::Relaxed);
    // A comparison that hardly ever compares shows nothing, so it is seen how often it does.
    if lines % STEP == STEP - 1 {
        eprintln!("of {} inputs, lines read the short way: {short}", lines + 1);
    }
});
