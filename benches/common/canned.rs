//! The lines that the bare server and the simulated pool send from a template.
//!
//! Not a Stratum implementation: nothing here is parsed or judged. Both senders use the same
//! template, so a notify has the same length whichever server a miner hangs on.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Version bits a miner may roll (BIP 320).
pub(crate) const VERSION_MASK: &str = "1fffe000";
/// Branches of the merkle path, as in a block of 2,049 to 4,096 transactions.
const BRANCHES: u64 = 12;
/// Outputs that pay somebody; with the commitment they bring the coinbase to 300 bytes.
const PAYOUTS: u8 = 4;
/// Script bytes before the extranonce: block height, time, name of the pool.
const SCRIPT_PREFIX: usize = 66;
/// Bytes of extranonce1 and extranonce2 together.
const EXTRANONCE: usize = 12;

/// Nanoseconds since 1970: the one clock that all processes of the benchmark share.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("the clock is past 1970");
    u64::try_from(since.as_nanos()).expect("nanoseconds fit 64 bits until the year 2554")
}

/// `mining.notify` number `serial`, clean, with a previous hash of its own, ending in `\n`.
pub(crate) fn notify_line(serial: u64) -> Vec<u8> {
    let (prefix, suffix) = coinbase();
    let branches: Vec<String> = (0..BRANCHES)
        .map(|branch| format!("\"{}\"", hash_hex(branch + 1)))
        .collect();
    format!(
        concat!(
            r#"{{"id":null,"method":"mining.notify","params":["{job:x}","{prev}","#,
            r#""{prefix}","{suffix}",[{branches}],"20000000","170ed0eb","{ntime:08x}",true]}}"#,
            "\n"
        ),
        job = serial,
        prev = hash_hex(serial << 8),
        prefix = prefix,
        suffix = suffix,
        branches = branches.join(","),
        ntime = unix_ns() / 1_000_000_000,
    )
    .into_bytes()
}

/// `mining.set_difficulty`, ending in `\n`.
pub(crate) fn difficulty_line(difficulty: f64) -> String {
    format!("{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{difficulty:e}]}}\n")
}

/// The two halves of a 300-byte coinbase, in hex, as they stand around the extranonces.
fn coinbase() -> (String, String) {
    let script_len = SCRIPT_PREFIX + EXTRANONCE;
    let mut prefix = format!("0200000001{}ffffffff{script_len:02x}", "00".repeat(32));
    prefix += "03a0bb0d";
    prefix += &"5a".repeat(SCRIPT_PREFIX - 4);
    let mut suffix = format!("ffffffff{:02x}", PAYOUTS + 1);
    for payee in 0..PAYOUTS {
        let script = format!("160014{}", format!("{payee:02x}").repeat(20));
        suffix += &format!("0010a5d4e8000000{script}");
    }
    suffix += &format!("0000000000000000266a24aa21a9ed{}", "c3".repeat(32));
    suffix += "00000000";
    debug_assert_eq!((prefix.len() + suffix.len()) / 2 + EXTRANONCE, 300);
    (prefix, suffix)
}

/// 64 hex digits that differ for every seed (splitmix64, four times).
fn hash_hex(seed: u64) -> String {
    let mut digits = String::with_capacity(64);
    for word in 0..4_u64 {
        let mut mixed = (seed * 4 + word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        write!(digits, "{:016x}", mixed ^ (mixed >> 31)).expect("a String takes every write");
    }
    digits
}
