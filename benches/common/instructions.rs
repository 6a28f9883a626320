//! A benchmark's instruction counts, under callgrind, held against a committed table: `tests/instructions`.
//!
//! Not a time: the same on a busy machine as on an idle one, so that a slow change is seen on any. valgrind shows a
//! program no SHA-NI and no AVX-512 whatever the machine has: what needs them is absent here, and timed elsewhere.
//!
//! Invariant: only what is counted differs between the two runs whose difference is a count. The table is of x86-64;
//! elsewhere counts are shown and nothing fails.

use std::env;
use std::process::{Command, ExitCode};

/// What each way took when it was last set, as `tests/instructions` compiles it.
const TABLE: &str = include_str!("../instructions.toml");
const TABLE_PATH: &str = "benches/instructions.toml";
/// Percent above the table that pass: a new compiler's mood, not a slow change.
const ABOVE: u64 = 5;
/// Percent below it from which the table should follow, or a slow change of as much would pass.
const BELOW: u64 = 10;
/// How a run says that there is no such way on this machine (EX_UNAVAILABLE).
const ABSENT: u8 = 69;

/// Something counted: the executable, run as `--count ARGUMENT TIMES`, does it so often.
pub(crate) struct Way {
    /// As in the table.
    pub(crate) name: &'static str,
    pub(crate) argument: &'static str,
    pub(crate) times: usize,
    /// Units of the count in each time: sessions of a pass, say.
    pub(crate) each: usize,
}

/// What running a way gave.
enum Count {
    Instructions(u64),
    Absent,
    NoValgrind,
}

/// Does what the arguments ask for if it is about counts; `None` if not. `perform` does a way so many times, or says
/// `false` if this machine, as valgrind shows it, lacks what the way needs.
pub(crate) fn asked(ways: &[Way], perform: impl FnOnce(&str, usize) -> bool) -> Option<ExitCode> {
    if env::args().any(|argument| argument == "--instructions") {
        return Some(check(ways));
    }
    let mut arguments = env::args().skip_while(|argument| argument != "--count");
    arguments.next()?;
    let way = arguments.next().expect("--count is our own argument");
    let times = arguments.next().and_then(|times| times.parse().ok());
    let done = perform(&way, times.expect("--count is our own argument"));
    Some(ExitCode::from(if done { 0 } else { ABSENT }))
}

/// Counts every way and prints it with its limit; fails if any is above its limit.
fn check(ways: &[Way]) -> ExitCode {
    let table: toml::Table = TABLE.parse().expect("the table is TOML");
    let mut good = true;
    for way in ways {
        let known = table.get(way.name).and_then(toml::Value::as_integer);
        let known = known.and_then(|count| u64::try_from(count).ok());
        match count(way) {
            Count::Instructions(count) => good &= passes(way.name, count, known),
            // A machine without AVX2, say, is not at fault.
            Count::Absent => println!("{:<32} cannot run under valgrind here", way.name),
            Count::NoValgrind => return without_valgrind(),
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Says how a count stands to the table; whether it may.
fn passes(name: &str, count: u64, known: Option<u64>) -> bool {
    let Some(known) = known else {
        // As when a later valgrind shows what this one hides.
        println!("{name:<32} {count:>8} instructions, NO LIMIT: it belongs in {TABLE_PATH}");
        return true;
    };
    let limit = known + known * ABOVE / 100;
    let ratio = count as f64 / limit as f64;
    println!("{name:<32} {count:>8} instructions, limit {limit:>8}, ratio {ratio:.3}");
    if count * 100 < known * (100 - BELOW) {
        println!("    well below: tighten the limit, \"{name}\" = {count} in {TABLE_PATH}");
    }
    if count <= limit {
        return true;
    }
    println!(
        "    TOO SLOW: {:.1} % above the {known} of {TABLE_PATH}. If it must be so, say why in the commit and set \
         \"{name}\" = {count}",
        100.0 * (count as f64 / known as f64 - 1.0)
    );
    !cfg!(target_arch = "x86_64")
}

/// A machine of one's own may do without; where a change is decided on, not to count is to fail.
fn without_valgrind() -> ExitCode {
    println!("INSTRUCTIONS NOT COUNTED: valgrind is missing (Debian's package `valgrind`)");
    if env::var_os("CI").is_some_and(|ci| ci == "true") {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The difference of a run with and one without, per unit.
fn count(way: &Way) -> Count {
    match (run(way.argument, 0), run(way.argument, way.times)) {
        (Count::Instructions(none), Count::Instructions(all)) => {
            Count::Instructions(all.saturating_sub(none) / (way.times * way.each) as u64)
        }
        (Count::Instructions(_), other) | (other, _) => other,
    }
}

fn run(argument: &str, times: usize) -> Count {
    let own = env::current_exe().expect("a running program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&own)
        .args(["--count", argument, &times.to_string()])
        .output();
    let Ok(output) = output else {
        return Count::NoValgrind;
    };
    if output.status.code() == Some(ABSENT.into()) {
        return Count::Absent;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{argument}: {text}");
    let line = text.lines().find(|line| line.contains("Collected"));
    let collected = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    Count::Instructions(collected.expect("callgrind ends with what it collected"))
}
