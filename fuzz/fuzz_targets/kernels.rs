//! Fuzzes the hash kernels: see `checks/kernels.rs`. Runs with `cargo fuzz run -s none kernels`.
#![no_main]

#[path = "../checks/kernels.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::kernels(data));
