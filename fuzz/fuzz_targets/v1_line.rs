//! Fuzzes Stratum V1: see `v1_line` in `checks/v1.rs`. Runs with `cargo fuzz run -s none v1_line`.
#![no_main]

#[path = "../checks/v1.rs"]
#[expect(dead_code, reason = "the other target's check is here too")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::v1_line(data));
