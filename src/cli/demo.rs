//! `sluice demo`: a simulated site round the real proxy, on loopback, until Ctrl-C or `--for`.
//!
//! Real are the proxy, its sockets, every hash, every verdict and every command; simulated is the site round it
//! (crate::sim). Invariant: exit code 0 only when every share can be accounted for, no miner saw a rule broken, no breaker
//! tripped, and no watt was promised that was not there.
//!
//! ```text
//!   layout -> site (pools, machines, hall, proxy) -> Look -> power, story (what happens, and when) -> screen
//!                                                         -> outcome (at the end: the accounts, and are they good)
//! ```

mod layout;
mod outcome;
mod pool;
mod power;
mod screen;
mod site;
mod story;

use super::{exit, units};
use outcome::Outcome;
use pool::{Miners, Speech};
use power::PowerStory;
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
/// From here on there is time for the GPU job and what follows; below, only pool A dies.
const WHOLE: Duration = Duration::from_secs(60);
/// Between the restore and the death of pool A.
const PAUSE: Duration = Duration::from_secs(3);
/// Exit code of a fault inside the proxy (EX_SOFTWARE).
const FAULT: u8 = 70;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The live table goes to the error stream, the summary to the output. Exit code 0 only when shares \
flowed, every one is accounted for, no breaker tripped, no grant came before there was room, power was below its limit at \
every deadline and mining came back; 1 otherwise, with the reason. The whole story takes about a minute; with --for below \
60s it is only the failover of the pools. With --pool v2 pool A speaks Stratum V2 and pool B V1, so that the failover goes \
from one protocol to the other and back."
)]
pub struct Args {
    /// End after this, at least 5s; without it, at Ctrl-C
    #[arg(long = "for", value_parser = span, value_name = "TIME")]
    span: Option<Duration>,
    /// Simulated machines, each with its own address, firmware and connection: how many (1 to 2000), what they speak (v1,
    /// v2, mixed: half of each), or both
    #[arg(long, default_value = "200,v1", value_name = "N,PROTOCOL", value_parser = Miners::parse)]
    miners: Miners,
    /// What pool A speaks; pool B is V1
    #[arg(long, default_value = "v1", value_name = "PROTOCOL")]
    pool: Speech,
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
    let site = Site::open(args).await?;
    let mut told = Told::new(&site, args);
    let mut screen = Screen::new(&site, &told.power, args.json);
    let signal = super::sim::signalled();
    let over = until(args.span);
    tokio::pin!(signal, over);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let by_hand = loop {
        tokio::select! {
            _ = looks.tick() => told.turn(&site, &mut screen).await?,
            () = &mut over => break false,
            () = &mut signal => break true,
            () = site.failed() => return Err((FAULT, "a part of the proxy has failed; this is a bug, please report it".to_owned())),
        }
    };
    screen.draw(&site.look());
    screen.say("ending: miners stop, the proxy drains, the pools count");
    let elapsed = site.elapsed();
    told.power.end(elapsed, by_hand);
    let accounts = site.close().await;
    Ok(Outcome::of(
        elapsed,
        args.miners.count.into(),
        &accounts,
        &told.pools,
        &told.power,
    ))
}

/// Both halves of the story.
struct Told {
    power: PowerStory,
    pools: Story,
}

impl Told {
    fn new(site: &Site, args: &Args) -> Self {
        let whole = args.span.is_none_or(|span| span >= WHOLE);
        let job = site.layout.job.as_ref().filter(|_| whole);
        let job = job.map(|job| (job.nodes, job.watts));
        Self {
            power: PowerStory::new(args.miners.count.into(), site.layout.limit_watts, job),
            pools: Story::new(args.miners.count.into(), args.span),
        }
    }

    /// One look: what happened, what is shown, what is to be done now.
    async fn turn(&mut self, site: &Site, screen: &mut Screen) -> Result<(), (u8, String)> {
        let look = site.look();
        if let Some(words) = self.power.advance(&look) {
            screen.event(look.elapsed, &words);
        }
        if let Some(event) = self.pools.advance(&look) {
            screen.event(look.elapsed, &event);
        }
        screen.tick(&look);
        if self.power.is_due(look.elapsed) {
            site.start_job();
        }
        if !self.power.is_over() {
            return Ok(());
        }
        self.pools.wait_until(self.power.latest() + PAUSE);
        match self.pools.order(look.elapsed) {
            Some(Order::Kill) => {
                screen.event(look.elapsed, &self.pools.killed(look.elapsed));
                site.pools[0].kill().await;
            }
            Some(Order::Resume) => {
                site.pools[0].resume().map_err(|error| {
                    let why = format!("pool A cannot listen again on its port: {error}");
                    (exit::ENVIRONMENT, why)
                })?;
                screen.event(look.elapsed, &self.pools.resumed());
            }
            None => {}
        }
        Ok(())
    }
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
