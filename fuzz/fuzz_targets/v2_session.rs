//! Fuzzes the V2 session machine: see `checks/v2_session.rs`. Runs with `cargo fuzz run -s none v2_session`.
#![no_main]

#[path = "../checks/program.rs"]
mod program;
#[path = "../checks/v2_miner.rs"]
mod v2_miner;
#[path = "../checks/v2_session.rs"]
mod v2_session;
#[path = "../checks/v2_talk.rs"]
mod v2_talk;
#[path = "../checks/volume.rs"]
mod volume;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    v2_session::v2_session(data);
    volume::count(data);
});
