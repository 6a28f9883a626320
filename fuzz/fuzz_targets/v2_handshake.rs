//! Fuzzes what secures Stratum V2: see `checks/handshake.rs`. Runs with `cargo fuzz run -s none v2_handshake`.
#![no_main]

#[path = "../checks/handshake.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::v2_handshake(data));
