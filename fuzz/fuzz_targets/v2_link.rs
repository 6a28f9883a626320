//! Fuzzes the link machine on V2: see `checks/v2_link.rs`. Runs with `cargo fuzz run -s none v2_link`.
#![no_main]

#[path = "../checks/program.rs"]
mod program;
#[path = "../checks/v2_link.rs"]
mod v2_link;
#[path = "../checks/v2_pool.rs"]
mod v2_pool;
#[path = "../checks/v2_says.rs"]
mod v2_says;
#[path = "../checks/volume.rs"]
mod volume;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    v2_link::v2_link(data);
    volume::count(data);
});
