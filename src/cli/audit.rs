//! `sluice audit verify`: is the ledger's audit as it was written?
//!
//! It only reads, a running proxy's ledger too. Invariant: exit code 0 says that every entry was looked at and fits, 1
//! that one does not, 69 that the file could not be read.

use super::{exit, ledger::Which};
use crate::ledger::{self, LedgerError, Verified, VerifyError};
use crate::telemetry::units;
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The audit was changed after it was written.
const BROKEN: u8 = 1;
/// How often a person is told how far it got: seldom enough to read.
const PROGRESS: Duration = Duration::from_secs(1);

/// Verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Check the hash chain of a ledger's audit, from the first entry to the newest
    ///
    /// It may run beside the proxy. Note the head that it prints somewhere else: who can write the file could write it
    /// anew as a whole, or put an old copy in its place, and only a head from elsewhere shows that.
    ///
    /// Exit code 0 only when every entry is as it was written; 1 names the first that is not; 69 when the file cannot be
    /// read.
    Verify(Args),
}

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The outcome as JSON
    #[arg(long)]
    json: bool,
}

/// The outcome, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Outcome {
    file: PathBuf,
    intact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_entry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Runs it.
pub fn main(verb: &Verb) -> ExitCode {
    let Verb::Verify(args) = verb;
    let progress = Progress::new(io::stderr().is_terminal());
    let (text, code) = match args.which.path() {
        Ok(file) => verify(&file, args.json, progress),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            return ExitCode::from(error.code());
        }
    };
    // A closed pipe is no error: whoever reads has seen enough, and the exit code says the rest.
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::from(code)
}

fn verify(file: &Path, json: bool, mut progress: Progress) -> (String, u8) {
    let result = ledger::verify(file, |done, all| progress.tell(done, all));
    progress.end();
    let code = match &result {
        Ok(_) => 0,
        Err(VerifyError::Broken(_)) => BROKEN,
        // That nothing can be read of it may be the worst change of all, but it is no verdict on an entry.
        Err(VerifyError::Ledger(_)) => exit::ENVIRONMENT,
    };
    let text = match json {
        true => serde_json::to_string_pretty(&Outcome::new(file, &result))
            .expect("plain values are JSON"),
        false => text(file, &result),
    };
    (text, code)
}

fn text(file: &Path, result: &Result<Verified, VerifyError>) -> String {
    let file = file.display();
    match result {
        Ok(Verified { head, span_ms }) => {
            let span = match span_ms {
                Some((first, last)) => format!("{} to {}", time(*first), time(*last)),
                None => "none yet".into(),
            };
            let entries = units::count(head.n);
            format!(
                "{file}: intact\nentries  {entries}\ntimes    {span}\nhead     {}",
                head.hash
            )
        }
        Err(VerifyError::Broken(broken)) => format!(
            "{file}: NOT as it was written\n{broken}\nEntries before {} are in order. Keep the file and its copies as they are.",
            broken.n
        ),
        Err(VerifyError::Ledger(error)) => format!("error: {}", advice(error)),
    }
}

/// What damage means to who is verifying already.
fn advice(error: &LedgerError) -> String {
    match error {
        LedgerError::Damaged { path, what } => {
            format!("{} cannot be read as a ledger ({what})", path.display())
        }
        other => other.to_string(),
    }
}

/// As ISO 8601 in UTC; a time outside the calendar as it stands.
fn time(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{at_ms} ms"),
    }
}

impl Outcome {
    fn new(file: &Path, result: &Result<Verified, VerifyError>) -> Self {
        let verified = result.as_ref().ok();
        let span_ms = verified.and_then(|verified| verified.span_ms);
        let (broken_entry, why) = match result {
            Ok(_) => (None, None),
            Err(VerifyError::Broken(broken)) => (Some(broken.n), Some(broken.why.to_string())),
            Err(VerifyError::Ledger(error)) => (None, Some(advice(error))),
        };
        Self {
            file: file.to_owned(),
            intact: verified.is_some(),
            entries: verified.map(|verified| verified.head.n),
            first_ms: span_ms.map(|(first, _)| first),
            last_ms: span_ms.map(|(_, last)| last),
            head: verified.map(|verified| verified.head.hash.to_string()),
            broken_entry,
            why,
        }
    }
}

/// One line on a terminal, told anew now and then; nothing elsewhere.
struct Progress {
    shown: bool,
    last: Option<Instant>,
}

impl Progress {
    fn new(shown: bool) -> Self {
        let last = shown.then(Instant::now);
        Self { shown: false, last }
    }

    fn tell(&mut self, done: u64, all: u64) {
        if self.last.is_some_and(|last| last.elapsed() >= PROGRESS) {
            self.last = Some(Instant::now());
            self.shown = true;
            let percent = units::percent(done, all.max(1));
            let (done, all) = (units::count(done), units::count(all));
            let _ = write!(io::stderr(), "\r{done} of {all} entries, {percent}   ");
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Batch, Entry, Ledger};
    use tempfile::TempDir;

    #[test]
    fn an_intact_ledger_shows_its_entries_its_times_and_its_head_and_exits_with_0() {
        let (_folder, file) = written();
        let (text, code) = verify(&file, false, Progress::new(false));
        assert_eq!(code, 0);
        assert!(
            text.contains(
                "entries  3\ntimes    2026-11-22T07:00:00Z to 2026-11-22T07:00:02Z\nhead     "
            ),
            "{text}"
        );
        let (text, code) = verify(&file, true, Progress::new(false));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (code, &json["intact"], &json["entries"]),
            (0, &true.into(), &3.into())
        );
        assert_eq!(
            json["last_ms"].as_i64().expect("a time") - 2000,
            json["first_ms"]
        );
        assert_eq!(json["head"].as_str().expect("a hash").len(), 64);
    }

    #[test]
    fn a_changed_entry_is_named_with_what_differs_and_the_exit_code_is_1() {
        let (_folder, file) = written();
        let tool = rusqlite::Connection::open(&file).expect("opened");
        tool.execute("UPDATE audit SET body = '{}' WHERE n = 2", [])
            .expect("changed");
        drop(tool);
        let (text, code) = verify(&file, false, Progress::new(false));
        assert_eq!(code, 1);
        assert!(
            text.contains("entry 2 was changed (its time, kind or body)"),
            "{text}"
        );
        let (text, code) = verify(&file, true, Progress::new(false));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (code, &json["intact"], &json["broken_entry"]),
            (1, &false.into(), &2.into())
        );
    }

    #[test]
    fn a_file_that_is_no_ledger_exits_with_69_and_says_so() {
        let (folder, _) = written();
        let absent = folder.path().join("absent.db");
        let (text, code) = verify(&absent, false, Progress::new(false));
        assert_eq!(code, exit::ENVIRONMENT);
        assert!(text.contains("absent.db"), "{text}");
    }

    fn written() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ledger.db");
        let (mut ledger, _) = Ledger::open(&file).expect("new");
        let first: jiff::Timestamp = "2026-11-22T07:00:00Z".parse().expect("a time");
        let entry = |i: i64| Entry {
            at_ms: first.as_millisecond() + i * 1000,
            kind: "note".into(),
            body: format!("{i}"),
        };
        let audit = (0..3).map(entry).collect();
        ledger
            .commit(&Batch {
                audit,
                ..Batch::default()
            })
            .expect("written");
        (folder, file)
    }
}
