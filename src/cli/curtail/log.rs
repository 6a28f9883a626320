//! `sluice curtail log | replay`: the audit of a ledger, as lines for people, and run again.
//!
//! Reads the file, beside a running proxy too; whether the file can be believed is `sluice audit verify`. Invariant: a
//! replay ends well only if every recorded decision came out again.

mod tell;

use super::say;
use crate::cli::ask::printable;
use crate::cli::exit;
use crate::cli::ledger::{NoLedger, Which};
use crate::curtail::Wall;
use crate::curtail::controller::Output;
use crate::curtail::replay::{Begin, Replay, Turn};
use crate::curtail::signal::rfc3339;
use crate::ledger::{Ledger, LedgerError, Reader, Stored};
use crate::telemetry::units;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tell::Teller;

/// Between two looks of `log -f`: half a controller's tick.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `log`.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    #[command(flatten)]
    which: Which,
    /// Go on with what is written meanwhile
    #[arg(short, long)]
    follow: bool,
    /// Begin so many audit entries before the end; turns in which nothing happened are not shown
    #[arg(short = 'n', long, default_value_t = 1000)]
    entries: u64,
    /// Print the entries as they are, the bytes of orders too, one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Prints the audit's tail.
pub(super) fn log(args: &LogArgs) -> ExitCode {
    let printed = match args.which.path() {
        Ok(file) => print(&file, args, &mut io::stdout().lock()),
        Err(error) => return none(&error),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Ledger(error)) => unreadable(&error),
        // The reader has seen enough (`| head`).
        Err(Ended::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Ended::Output(error)) => {
            let _ = writeln!(io::stderr(), "error: cannot write: {error}");
            ExitCode::from(exit::ENVIRONMENT)
        }
    }
}

/// Why a log ends before its last entry.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Output(#[from] io::Error),
}

fn print(file: &Path, args: &LogArgs, to: &mut impl Write) -> Result<(), Ended> {
    let reader = Ledger::read_only(file)?;
    let mut next = reader.head()?.n.saturating_sub(args.entries) + 1;
    let mut teller = Teller::default();
    if !args.json {
        learn(&reader, next, &mut teller)?;
    }
    loop {
        for entry in reader.entries(next) {
            let entry = entry?;
            next = entry.n + 1;
            let line = match args.json {
                true => Some(as_json(&entry)),
                false => teller.line(&entry),
            };
            if let Some(line) = line {
                writeln!(to, "{line}")?;
            }
        }
        if !args.follow {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// Who arrived before the first entry that is shown.
fn learn(reader: &Reader, shown: u64, teller: &mut Teller) -> Result<(), LedgerError> {
    for entry in reader.entries(1) {
        let entry = entry?;
        if entry.n >= shown {
            break;
        }
        teller.learn(&entry);
    }
    Ok(())
}

fn none(error: &NoLedger) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(error.code())
}

fn unreadable(error: &LedgerError) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(exit::ENVIRONMENT)
}

fn as_json(entry: &Stored) -> String {
    let body = serde_json::from_str::<serde_json::Value>(&entry.body);
    let body = body.unwrap_or_else(|_| entry.body.as_str().into());
    let at = rfc3339::write(Wall(entry.at_ms));
    serde_json::json!({ "n": entry.n, "at": at, "kind": entry.kind, "body": body }).to_string()
}

/// Arguments of `replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    which: Which,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Replayed {
    runs: u64,
    turns: u64,
    decisions: u64,
    /// Turns before the first start: of a run whose beginning is not there.
    skipped: u64,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("entry {n} cannot be read as a {kind} by Sluice {}, the run is of Sluice {version}: {why}", env!("CARGO_PKG_VERSION"))]
    Unreadable {
        n: u64,
        kind: &'static str,
        version: String,
        why: String,
    },
    #[error(
        "entry {n}, {at_ms} ms into its run: decision {place} is not what came out again\n  recorded: {recorded}\n  replayed: {replayed}"
    )]
    Differs {
        n: u64,
        at_ms: u64,
        place: usize,
        recorded: String,
        replayed: String,
    },
}

/// Runs the audit again.
pub(super) fn replay(args: &ReplayArgs) -> ExitCode {
    let file = match args.which.path() {
        Ok(file) => file,
        Err(error) => return none(&error),
    };
    match run_again(&file, Instant::now()) {
        Ok(done) => {
            say(&text(&done));
            ExitCode::SUCCESS
        }
        Err(Stopped::Ledger(error)) => unreadable(&error),
        Err(stopped) => {
            let _ = writeln!(io::stderr(), "error: {stopped}");
            ExitCode::from(1)
        }
    }
}

fn text(done: &Replayed) -> String {
    let count = units::count;
    let mut text = format!(
        "{} decisions in {} turns of {} runs: all came out again\n",
        count(done.decisions),
        count(done.turns),
        count(done.runs)
    );
    if done.skipped > 0 {
        let skipped = count(done.skipped);
        text += &format!("{skipped} turns before the first start were not replayed\n");
    }
    text
}

fn run_again(file: &Path, base: Instant) -> Result<Replayed, Stopped> {
    let reader = Ledger::read_only(file)?;
    let mut done = Replayed::default();
    let mut running: Option<(Replay, String)> = None;
    for entry in reader.entries(1) {
        let entry = entry?;
        match (entry.kind.as_str(), &mut running) {
            ("start", _) => {
                let begin: Begin = body(&entry, "start", "unknown")?;
                running = Some((Replay::new(base, &begin), begin.version));
                done.runs += 1;
            }
            // Turns are missing here: what follows was decided on more than is known.
            ("lost", _) => running = None,
            ("turn", None) => done.skipped += 1,
            ("turn", Some((replay, version))) => {
                let turn: Turn = body(&entry, "turn", version)?;
                again(replay, &turn, entry.n)?;
                done.turns += 1;
                done.decisions += turn.outputs.len() as u64;
            }
            _ => {}
        }
    }
    Ok(done)
}

fn body<T: serde::de::DeserializeOwned>(
    entry: &Stored,
    kind: &'static str,
    version: &str,
) -> Result<T, Stopped> {
    serde_json::from_str(&entry.body).map_err(|why| Stopped::Unreadable {
        n: entry.n,
        kind,
        version: printable(version),
        why: printable(&why.to_string()),
    })
}

fn again(replay: &mut Replay, turn: &Turn, n: u64) -> Result<(), Stopped> {
    let json = |output: &Option<Output>| match output {
        Some(output) => {
            serde_json::to_string(output).map_or_else(|e| e.to_string(), |t| printable(&t))
        }
        None => "nothing".to_owned(),
    };
    replay.turn(turn).map_err(|differs| Stopped::Differs {
        n,
        at_ms: differs.at_ms,
        place: differs.place,
        recorded: json(&differs.recorded),
        replayed: json(&differs.replayed),
    })
}

#[cfg(test)]
mod tests;
