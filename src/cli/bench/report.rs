//! What `bench` says: a page for a person, an object for machines.
//!
//! Nothing is measured here. Invariant: a line has at most 79 columns, but for what the machine and its plan are called.

use super::verdicts::{BATCHES, Figure, Verdicts};
use super::{connections, fan_out, lines};
use crate::telemetry::units::count;
use crate::work::hash::Selected;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    /// A build whose figures mean something.
    pub(super) optimised: bool,
    /// Milliseconds a figure.
    pub(super) quick: bool,
    pub(super) cores: usize,
    pub(super) processor: Option<String>,
    pub(super) selection: Selection,
    pub(super) verdicts: Verdicts,
    pub(super) lines: Vec<lines::Figure>,
    pub(super) fan_out: fan_out::Figure,
    /// Or why not, as `{"error": WHY}`.
    #[serde(serialize_with = "figures_or_why")]
    pub(super) connections: Result<connections::Figures, String>,
    pub(super) seconds: f64,
}

/// The kernel in force and how it came to be.
#[derive(Debug, Serialize)]
pub(super) struct Selection {
    /// As on the command line.
    pub(super) asked: String,
    /// Which kernel comes first for how many shares.
    pub(super) plan: String,
    /// A full batch of each, where that was measured to choose.
    pub(super) calibration: Vec<Calibrated>,
}

/// One kernel in the calibration.
#[derive(Debug, Serialize)]
pub(super) struct Calibrated {
    kernel: &'static str,
    width: usize,
    ns_per_batch: f64,
}

impl Selection {
    pub(super) fn of(asked: &str, selected: &Selected) -> Self {
        let calibrated = selected.measured.iter().map(|(kernel, took)| Calibrated {
            kernel: kernel.name(),
            width: kernel.width(),
            ns_per_batch: took.as_nanos() as f64,
        });
        Self {
            asked: asked.to_owned(),
            plan: selected.plan.to_string(),
            calibration: calibrated.collect(),
        }
    }
}

impl Report {
    pub(super) fn as_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("figures are plain data")
    }

    pub(super) fn as_words(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes every write");
        text.trim_end().to_owned()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        self.write_head(out)?;
        self.write_verdicts(out)?;
        self.write_lines(out)?;
        self.write_fan_out(out)?;
        self.write_connections(out)?;
        let quick = match self.quick {
            true => " --quick: far too short to say anything about speed.",
            false => "",
        };
        writeln!(
            out,
            "Took {:.0} s. Nanoseconds are this machine's and this hour's; compare the ratios.{quick}",
            self.seconds
        )
    }

    fn write_head(&self, out: &mut String) -> std::fmt::Result {
        let processor = self.processor.as_deref().unwrap_or("processor unknown");
        writeln!(out, "sluice {}: {processor}", self.version)?;
        if !self.optimised {
            writeln!(
                out,
                "This is a debug build, whose figures mean nothing: cargo run --release -- bench"
            )?;
        }
        let how = match self.selection.calibration.is_empty() {
            true => "as asked",
            false => "by calibration",
        };
        writeln!(out, "kernels in force, {how}: {}\n", self.selection.plan)
    }

    fn write_verdicts(&self, out: &mut String) -> std::fmt::Result {
        let bulk = self.verdicts.bulk_ns_per_share;
        writeln!(
            out,
            "VERDICTS a second on one core, thousands, by shares judged together"
        )?;
        writeln!(out, "(coinbase of 300 bytes, 12 branches)")?;
        self.write_kernels(out, |figure| format!("{:.0}", figure.verdicts_per_s / 1e3))?;
        writeln!(
            out,
            "\nHASH EFFICIENCY: 1 is 44 compressions by sha2 in bulk, {bulk:.0} ns here"
        )?;
        self.write_kernels(out, |figure| format!("{:.2}", figure.hash_efficiency))?;
        writeln!(out)
    }

    /// A row per kernel, a column per batch size.
    fn write_kernels(
        &self,
        out: &mut String,
        cell: impl Fn(&Figure) -> String,
    ) -> std::fmt::Result {
        write!(out, "{:14}", "")?;
        for batch in BATCHES {
            write!(out, "{batch:>8}")?;
        }
        writeln!(out)?;
        for row in self.verdicts.figures.chunks(BATCHES.len()) {
            write!(out, "{:14}", row[0].kernel)?;
            for figure in row {
                write!(out, "{:>8}", cell(figure))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_lines(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "LINE IN -> VERDICT LINE OUT, no network     ns/share     x the hashes alone"
        )?;
        for line in &self.lines {
            let together = match line.batch {
                1 => "alone".to_owned(),
                batch => format!("{batch} together"),
            };
            for (how, ns, ratio) in [
                ("the hashes alone", line.hashes_ns_per_share, 1.0),
                ("as it runs", line.ns_per_share, line.ratio),
                (
                    "fast_lines = false",
                    line.long_way_ns_per_share,
                    line.long_way_ratio,
                ),
            ] {
                writeln!(out, "{together:14}{how:30}{ns:>8.0}{ratio:>10.2}")?;
            }
        }
        writeln!(out)
    }

    fn write_fan_out(&self, out: &mut String) -> std::fmt::Result {
        let fan_out = &self.fan_out;
        let sessions = count(fan_out.sessions as u64);
        writeln!(
            out,
            "ONE NEW JOB TO {sessions} SESSIONS, no network     ms     x copying"
        )?;
        let copied = format!(
            "copying its {} bytes as often",
            count(fan_out.line_bytes as u64)
        );
        for (what, ms, ratio) in [
            (copied, fan_out.copy_ms, 1.0),
            ("as it runs".to_owned(), fan_out.ms, fan_out.ratio),
        ] {
            writeln!(out, "{what:44}{ms:>8.3}{ratio:>10.2}")?;
        }
        writeln!(out)
    }

    fn write_connections(&self, out: &mut String) -> std::fmt::Result {
        let figures = match &self.connections {
            Ok(figures) => figures,
            Err(why) => return writeln!(out, "CONNECTIONS: not measured: {why}\n"),
        };
        let connections = count(figures.connections as u64);
        writeln!(
            out,
            "{connections} CONNECTIONS OVER LOOPBACK, each with one share under way"
        )?;
        writeln!(
            out,
            "{:14}{:>38}{:>10}{:>12}",
            "", "CPU us/share", "x bare", "shares/s"
        )?;
        for (who, figure, ratio) in [
            ("a bare server, canned answers", figures.bare, 1.0),
            ("the proxy, one shard", figures.proxy, figures.ratio),
        ] {
            writeln!(
                out,
                "{who:40}{:>12.2}{ratio:>10.2}{:>12}",
                figure.cpu_us_per_share,
                count(figure.shares_per_s as u64)
            )?;
        }
        writeln!(out)
    }
}

fn figures_or_why<S: Serializer>(
    connections: &Result<connections::Figures, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Why<'a> {
        error: &'a str,
    }
    match connections {
        Ok(figures) => figures.serialize(serializer),
        Err(error) => Why { error }.serialize(serializer),
    }
}
