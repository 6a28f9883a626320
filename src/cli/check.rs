//! `sluice check`: every finding about a file, and about the machine and pools that it needs, at once.
//!
//! It changes nothing: ports are bound and given back, pools are left as soon as they have answered. Invariant: exit code
//! 78 says that the file is wrong, 69 that only its surroundings are.

mod environment;
mod pool;

use super::exit;
use crate::config::{Config, Finding, Findings, Severity};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file
    #[arg(default_value = "sluice.toml")]
    file: PathBuf,
    /// Do not connect to the pools
    #[arg(long)]
    offline: bool,
    /// Log in at each pool (at a V2 pool: open a channel) and tell what it gives
    #[arg(long, conflicts_with = "offline")]
    pool_login: bool,
    /// Findings as a JSON array
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: &Args) -> ExitCode {
    let (config, mut findings) = Config::inspect(&args.file);
    let site = config.as_ref().and_then(|config| config.site.as_ref());
    let summary = site.map(|site| site.summary());
    let mut code = match config {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(exit::CONFIG),
    };
    if let Some(config) = config {
        let around = surroundings(&config, args);
        if around.has_errors() {
            code = ExitCode::from(exit::ENVIRONMENT);
        }
        findings.append(around.in_file(&args.file.display().to_string()));
    }
    print(summary, &findings, args.json);
    code
}

fn surroundings(config: &Config, args: &Args) -> Findings {
    let mut findings = environment::check(config);
    if args.offline {
        return findings;
    }
    // Together, so that one dead pool does not delay the answer of the others.
    let answers: Vec<Findings> = std::thread::scope(|scope| {
        let check = |pool| scope.spawn(move || pool::check(pool, args.pool_login));
        let threads: Vec<_> = config.pools.iter().map(check).collect();
        threads
            .into_iter()
            .zip(&config.pools)
            .map(|(thread, pool)| thread.join().unwrap_or_else(|_| broken(&pool.link.name)))
            .collect()
    });
    answers
        .into_iter()
        .for_each(|answer| findings.append(answer));
    findings
}

/// A bug of ours while talking to one pool must not hide what was found about the others.
fn broken(pool: &str) -> Findings {
    let mut findings = Findings::default();
    let key = format!("pool.{pool}");
    let message = "the check itself failed; please report this";
    findings.push(Finding::said(Severity::Error, &key, message));
    findings
}

/// A closed pipe is no error: whoever reads has seen enough.
fn print(summary: Option<String>, findings: &Findings, json: bool) {
    let text = text(summary, findings, json);
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// For programs the findings alone; for people what the site is, then the findings.
fn text(summary: Option<String>, findings: &Findings, json: bool) -> String {
    match (json, summary) {
        (true, _) => serde_json::to_string_pretty(findings).expect("findings are plain data"),
        (false, Some(summary)) => format!("{summary}\n{findings}"),
        (false, None) => findings.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_what_the_site_is_and_programs_get_findings_alone() {
        let site = || Some("site north: 5.00 MW".to_owned());
        let none = Findings::default();
        let people = "site north: 5.00 MW\nnothing to complain about";
        assert_eq!(text(site(), &none, false), people);
        assert_eq!(text(None, &none, false), "nothing to complain about");
        assert_eq!(text(site(), &none, true), "[]");
    }
}
