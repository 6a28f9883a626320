//! `sluice sim pool | fleet | site`: simulated peers, usable alone against anything.
//!
//! What they have in common: when they end, how often they speak, what they exit with. Invariant: exit code 0 says
//! that shares were accepted and that nobody broke a rule.

mod fleet;
mod pool;
mod site;

use std::{
    future::Future,
    io::{IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// A simulated pool, V1 or V2, that judges every share itself
    ///
    /// Point any miner or proxy at it. It makes realistic jobs (coinbase, twelve branches), judges each share from the
    /// raw bytes, and can misbehave in the ways pools do. Nothing it hands out is valid on any chain.
    ///
    /// Exit code 0 only when shares were accepted and no bad one came (stale ones are not held against anyone).
    Pool(Box<pool::Args>),
    /// A simulated fleet, V1 or V2, that hashes for real, at lab difficulty
    ///
    /// Each miner has its own connection and the manners of a firmware family, and checks from the wire that the other
    /// side keeps the rules: replies in order, no push before subscribe, difficulty only with a new job, never silent.
    ///
    /// Exit code 0 only when shares were accepted and no rule was broken.
    Fleet(Box<fleet::Args>),
    /// A simulated site: machines that speak their firmware's protocol, mine and draw power
    ///
    /// Machine n lives at 127.10.x.y: LuxOS, WhatsMiner v3 and Bitaxe answer there on their real ports, and its miner comes
    /// from there. Told to sleep, it hangs up and its watts fall as published; some lie, stay silent or boot, if asked to.
    ///
    /// By hand: `sluice sim pool --listen 127.0.0.1:3334`, `sluice run -c config/site-lab.toml`, and
    /// `sluice sim site --machines 40 --mix luxos=1,whatsminer=1 --pool stratum+tcp://127.0.0.1:3333`.
    ///
    /// Exit code 0 unless it mined without success or a rule of the wire was broken.
    Site(Box<site::Args>),
}

/// What all of them take.
#[derive(Clone, Debug, clap::Args)]
struct Course {
    /// All chance comes from this number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after this; without it, at Ctrl-C
    #[arg(long = "for", value_parser = super::units::duration, value_name = "TIME")]
    span: Option<Duration>,
    /// The summary as one JSON object, and no lines before it
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(verb: Verb) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(super::exit::ENVIRONMENT, &format!("no runtime: {error}")),
    };
    runtime.block_on(async {
        match verb {
            Verb::Pool(args) => Box::pin(pool::run(&args)).await,
            Verb::Fleet(args) => Box::pin(fleet::run(&args)).await,
            Verb::Site(args) => Box::pin(site::run(&args)).await,
        }
    })
}

/// Says why on the error stream.
fn fail(code: u8, why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {why}");
    ExitCode::from(code)
}

/// A line for people; a closed pipe is quiet.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A status line: on the error stream, so that the output stays the summary alone.
fn status(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Speaks once a second on a terminal, every 10 s otherwise, until the time is over, Ctrl-C or SIGTERM.
async fn until_over(course: &Course, speak: impl FnMut(Duration)) {
    let terminal = std::io::stderr().is_terminal();
    let every = Duration::from_secs(if terminal { 1 } else { 10 });
    until_over_each(every, course, speak).await;
}

/// The same, speaking this often.
async fn until_over_each(every: Duration, course: &Course, mut speak: impl FnMut(Duration)) {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await; // the first comes at once, and there is nothing to say yet
    let over = async {
        match course.span {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    };
    let signal = signalled();
    tokio::pin!(over, signal);
    loop {
        tokio::select! {
            () = &mut over => return,
            () = &mut signal => return,
            _ = ticks.tick() => if !course.json {
                speak(begun.elapsed());
            },
        }
    }
}

pub(super) fn signalled() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    async move {
        match (interrupt, terminate) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            // Without handlers the signals end the process themselves.
            _ => std::future::pending().await,
        }
    }
}
