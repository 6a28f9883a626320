//! `sluice demo`: a simulated site round the real proxy, on loopback, until Ctrl-C or `--for`.
//!
//! Real are the proxy, its sockets, every hash and every verdict; simulated are miners and pools (crate::sim).
//! Invariant: exit code 0 only when every share can be accounted for and no miner saw a rule broken.
//!
//! ```text
//!   site (pools, proxy, fleet) -> Look -> story (what happens, and when) -> screen
//!                                      -> outcome (at the end: the accounts, and whether they are good)
//! ```

mod outcome;
mod screen;
mod site;
mod story;

use super::{exit, units};
use outcome::Outcome;
use screen::Screen;
use site::Site;
use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};
use story::{Order, Story};

/// How often the site is looked at: fine enough to time a failover.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Shortest time in which the story can be told.
const SHORTEST: Duration = Duration::from_secs(5);
/// Exit code of a fault inside the proxy (EX_SOFTWARE).
const FAULT: u8 = 70;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The live table goes to the error stream, the summary to the output. Exit code 0 only when shares \
flowed, every one is accounted for and no miner saw a rule broken; 1 otherwise, with the reason."
)]
pub struct Args {
    /// End after this, at least 5s; without it, at Ctrl-C
    #[arg(long = "for", value_parser = span, value_name = "TIME")]
    span: Option<Duration>,
    /// Simulated miners, each with its own connection
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2000))]
    miners: u16,
    /// The summary as one JSON object, and no table
    #[arg(long)]
    json: bool,
    /// What the proxy logs: error, warn, info, debug [default: error]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Runs it.
pub fn main(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let demonstrated = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(demonstrate(args))),
        Err(error) => Err((exit::ENVIRONMENT, format!("no runtime: {error}"))),
    };
    match demonstrated {
        Ok(outcome) => {
            let text = match args.json {
                true => outcome.as_json(),
                false => outcome.as_words(),
            };
            let _ = writeln!(std::io::stdout(), "{text}"); // a closed pipe is quiet
            ExitCode::from(u8::from(!outcome.wrong.is_empty()))
        }
        Err((code, why)) => {
            let _ = writeln!(std::io::stderr(), "error: {why}");
            ExitCode::from(code)
        }
    }
}

async fn demonstrate(args: &Args) -> Result<Outcome, (u8, String)> {
    let site = Site::open(args.miners, args.log.as_deref())?;
    let mut story = Story::new(args.miners.into(), args.span);
    let mut screen = Screen::new(&site, args.json);
    let signal = super::sim::signalled();
    let over = until(args.span);
    tokio::pin!(signal, over);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => turn(&site, &mut story, &mut screen).await?,
            () = &mut over => break,
            () = &mut signal => break,
            () = site.failed() => return Err((FAULT, "a part of the proxy has failed; this is a bug, please report it".to_owned())),
        }
    }
    screen.draw(&site.look(), &story);
    screen.say("ending: miners stop, the proxy drains, the pools count");
    let elapsed = site.elapsed();
    let accounts = site.close().await;
    Ok(Outcome::of(elapsed, args.miners.into(), &accounts, &story))
}

/// One look: what happened, what is shown, what is to be done now.
async fn turn(site: &Site, story: &mut Story, screen: &mut Screen) -> Result<(), (u8, String)> {
    let look = site.look();
    if let Some(event) = story.advance(&look) {
        screen.event(look.elapsed, &event);
    }
    screen.tick(&look, story);
    match story.order(look.elapsed) {
        Some(Order::Kill) => {
            screen.event(look.elapsed, &story.killed(look.elapsed));
            site.pools[0].kill().await;
        }
        Some(Order::Resume) => {
            site.pools[0].resume().map_err(|error| {
                let why = format!("pool A cannot listen again on its port: {error}");
                (exit::ENVIRONMENT, why)
            })?;
            screen.event(look.elapsed, &story.resumed());
        }
        None => {}
    }
    Ok(())
}

async fn until(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep_until((Instant::now() + span).into()).await,
        None => std::future::pending().await,
    }
}

fn span(text: &str) -> Result<Duration, units::Wrong> {
    let span = units::duration(text)?;
    match span >= SHORTEST {
        true => Ok(span),
        false => Err(format!(
            "{text} is too short to show a failover; at least 5s"
        )),
    }
}
