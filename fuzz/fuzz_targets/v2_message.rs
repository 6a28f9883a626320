//! Fuzzes Stratum V2: see `v2_message` in `checks/v2.rs`. Runs with `cargo fuzz run -s none v2_message`.
#![no_main]

#[path = "../checks/v2.rs"]
#[expect(dead_code, reason = "the other target's check is here too")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::v2_message(data));
