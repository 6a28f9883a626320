//! Fuzzes the session machine: see `checks/session.rs`. Runs with `cargo fuzz run -s none session`.
#![no_main]

#[path = "../checks/miner.rs"]
mod miner;
#[path = "../checks/program.rs"]
mod program;
#[path = "../checks/session.rs"]
mod session;
#[path = "../checks/volume.rs"]
mod volume;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    session::session(data);
    volume::count(data);
});
