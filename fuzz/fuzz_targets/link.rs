//! Fuzzes the link machine: see `checks/link.rs`. Runs with `cargo fuzz run -s none link`.
#![no_main]

#[path = "../checks/link.rs"]
mod link;
#[path = "../checks/pool.rs"]
mod pool;
#[path = "../checks/program.rs"]
mod program;
#[path = "../checks/volume.rs"]
mod volume;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    link::link(data);
    volume::count(data);
});
