//! The table and the JSON: median and best of the passes, side by side, with the bounds.
//!
//! Ratios are taken within each pass, between neighbours in time, before the median: machines
//! are shared and noisy, and a pass is disturbed as a whole. Nothing is measured here.

use crate::common::median;
use crate::scenario::Figures;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What a figure must reach (PERFORMANCE.md, section 3).
#[derive(Clone, Copy)]
enum Must {
    Nothing,
    /// The proxy's own figure, at most.
    AtMost(f64),
    /// Times the bare server's, at most.
    Ratio(f64),
}

struct Row {
    key: &'static str,
    title: &'static str,
    must: Must,
    /// The bare server's key it is compared with.
    against: &'static str,
    /// Higher is better.
    rate: bool,
}

const ROWS: [Row; 18] = [
    row("idle_kib", "KiB per idle miner", Must::AtMost(6.0)),
    row("login_cpu_s", "login of all, CPU s", Must::Ratio(3.0)),
    row("login_wall_s", "login of all, wall s", Must::Nothing),
    row(
        "paced_cpu_s",
        "CPU s per 100 k shares, 2,000/s",
        Must::Ratio(1.5),
    ),
    row(
        "closed_cpu_s",
        "CPU s per 100 k shares, saturated",
        Must::Ratio(1.6),
    ),
    rate("closed_per_s", "shares per s, saturated", "closed_per_s"),
    row(
        "forwarded_percent",
        "forwarded to the pool, %",
        Must::Nothing,
    ),
    against(
        "all_forwarded_cpu_s",
        "the same CPU s, all forwarded",
        "closed_cpu_s",
    ),
    rate(
        "all_forwarded_per_s",
        "shares per s, all forwarded",
        "closed_per_s",
    ),
    row(
        "all_forwarded_percent",
        "forwarded to the pool, %",
        Must::Nothing,
    ),
    row(
        "notify_cpu_ms",
        "CPU ms per clean notify to all",
        Must::Ratio(1.4),
    ),
    row(
        "notify_first_ms",
        "first miner has it after, ms",
        Must::Nothing,
    ),
    row(
        "notify_last_ms",
        "last miner has it after, ms",
        Must::Ratio(1.4),
    ),
    row(
        "paced_calls",
        "system calls per share, 2,000/s",
        Must::Nothing,
    ),
    row(
        "closed_calls",
        "system calls per share, saturated",
        Must::Nothing,
    ),
    row(
        "low",
        "refused as of low difficulty (chance)",
        Must::Nothing,
    ),
    row(
        "discarded",
        "windows discarded: a fan-out in them",
        Must::Nothing,
    ),
    row("errors", "other error answers", Must::AtMost(0.0)),
];

const fn row(key: &'static str, title: &'static str, must: Must) -> Row {
    Row {
        key,
        title,
        must,
        against: key,
        rate: false,
    }
}

const fn against(key: &'static str, title: &'static str, against: &'static str) -> Row {
    Row {
        against,
        ..row(key, title, Must::Nothing)
    }
}

const fn rate(key: &'static str, title: &'static str, other: &'static str) -> Row {
    Row {
        rate: true,
        ..against(key, title, other)
    }
}

/// The figures of one pass.
pub(crate) struct Pass {
    pub(crate) bare: Figures,
    pub(crate) proxy: Figures,
}

/// Median and best of one server's figure.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    best: f64,
}

/// The table a person reads; columns are median (best).
pub(crate) fn table(passes: &[Pass]) -> String {
    let mut text = format!(
        "{:40} {:>22} {:>22} {:>7}  {}\n",
        "median (best)", "bare server", "under test", "ratio", "must"
    );
    for row in &ROWS {
        let (bare, proxy) = row.spreads(passes);
        if bare.is_none() && proxy.is_none() {
            continue;
        }
        let ratio = row.ratio(passes);
        let shown = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        writeln!(
            text,
            "{:40} {:>22} {:>22} {shown:>7}  {}",
            row.title,
            cell(bare),
            cell(proxy),
            row.verdict(proxy, ratio)
        )
        .expect("a String takes every write");
    }
    text
}

/// The same for machines, with every pass.
pub(crate) fn json(passes: &[Pass], miners: u32, seconds: f64) -> Value {
    let spread = |spread: Option<Spread>| {
        spread.map(|spread| json!({ "median": spread.median, "best": spread.best }))
    };
    let rows: Vec<Value> = ROWS
        .iter()
        .map(|row| {
            let (bare, proxy) = row.spreads(passes);
            json!({
                "key": row.key,
                "bare": spread(bare),
                "proxy": spread(proxy),
                "ratio": row.ratio(passes),
            })
        })
        .collect();
    let passes: Vec<Value> = passes
        .iter()
        .map(|pass| json!({ "bare": pass.bare, "proxy": pass.proxy }))
        .collect();
    json!({ "miners": miners, "seconds": seconds, "rows": rows, "passes": passes })
}

impl Row {
    fn spreads(&self, passes: &[Pass]) -> (Option<Spread>, Option<Spread>) {
        let values = |side: fn(&Pass) -> &Figures| {
            let values = passes.iter().filter_map(|pass| side(pass).get(self.key));
            self.spread(values.copied().collect())
        };
        (values(|pass| &pass.bare), values(|pass| &pass.proxy))
    }

    fn spread(&self, values: Vec<f64>) -> Option<Spread> {
        let best = if self.rate { f64::max } else { f64::min };
        Some(Spread {
            best: values.iter().copied().reduce(best)?,
            median: median(values)?,
        })
    }

    /// The median of the passes' own ratios; `None` where a side is missing or zero.
    fn ratio(&self, passes: &[Pass]) -> Option<f64> {
        let ratios = passes.iter().filter_map(|pass| {
            let bare = *pass.bare.get(self.against)?;
            Some(*pass.proxy.get(self.key)? / bare).filter(|ratio| ratio.is_finite())
        });
        median(ratios.collect())
    }

    fn verdict(&self, proxy: Option<Spread>, ratio: Option<f64>) -> String {
        let (value, bound, unit) = match self.must {
            Must::Nothing => return String::new(),
            Must::AtMost(bound) => (proxy.map(|spread| spread.median), bound, ""),
            Must::Ratio(bound) => (ratio, bound, "x"),
        };
        match value {
            None => format!("<= {bound}{unit}"),
            Some(value) if value <= bound => format!("<= {bound}{unit} met"),
            Some(_) => format!("<= {bound}{unit} MISSED"),
        }
    }
}

fn cell(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread { median, best }| format!("{} ({})", short(median), short(best)),
    )
}

/// Three significant digits are more than the noise leaves.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
