//! `sluice curtail`: what stands, and orders, over the API of a running proxy; and what happened, from its ledger.
//!
//! Decides nothing: every changing verb shows the plan that a dry run gave, then sends the order. Invariant: with
//! `--dry-run` nothing is changed.
//!
//! | exit code | says |
//! |---|---|
//! | 0 | done, or granted |
//! | 1 | refused, and why; or a replay that came out otherwise |
//! | 2 | the command line cannot be read |
//! | 69 | no Sluice answers, or no ledger can be read |
//! | 75 | not all of it can be had now (`reserve --wait`); nothing is held, or nothing was ordered |
//! | 78 | the configuration that is to name the ledger cannot be read |
//! | 130 | interrupted; what was reserved has been given back |

mod client;
mod log;
mod order;
mod reserve;
mod room;
mod show;
mod wait;
mod words;

use crate::api::power::Power;
use crate::curtail::Watts;
use crate::curtail::signal::{Ask, Scope};
use client::{Client, Failed};
use order::Wish;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Power, limit, machines, orders and reservations at one look
    Status(Access),
    /// What a cap would do, without doing it
    Preview {
        /// Such as 4.2MW
        #[arg(value_name = "WATTS", value_parser = words::watts)]
        watts: Watts,
        /// What else it says
        #[command(flatten)]
        order: OrderArgs,
    },
    /// At most so many watts at the meter
    Cap {
        /// Such as 4.2MW
        #[arg(value_name = "WATTS", value_parser = words::watts)]
        watts: Watts,
        /// What else it says
        #[command(flatten)]
        order: OrderArgs,
    },
    /// So many watts at the meter, as near as can be and never above a cap
    Setpoint {
        /// Such as 3MW
        #[arg(value_name = "WATTS", value_parser = words::watts)]
        watts: Watts,
        /// What else it says
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Watts for a job: granted once they are proven free. With --wait this is what a Slurm prolog runs
    Reserve(Box<reserve::Args>),
    /// Ends an order (o-17) or gives a reservation back (r-3); machines come back staggered
    ///
    /// What has ended already is said and is exit code 0, so that a job's epilog may run twice.
    Release {
        /// As `status` shows it
        id: String,
        /// Show what it would do, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// Where the proxy is
        #[command(flatten)]
        access: Access,
    },
    /// What was ordered, decided and told, from the ledger
    Log(log::LogArgs),
    /// Runs the audit of a ledger again: every decision must come out as it was recorded
    Replay(log::ReplayArgs),
    /// Emergency: all mining off, until an admin releases it
    Estop {
        /// Show what it would do, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// In whose name
        #[command(flatten)]
        sender: Sender,
        /// Where the proxy is
        #[command(flatten)]
        access: Access,
    },
}

/// Where the proxy is, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub struct Access {
    /// Where the proxy's API listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3380")]
    pub api: String,
    /// A `[[token]]` of the config; better in the variable SLUICE_TOKEN, where `ps` does not show it
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Print JSON, as the API gives it
    #[arg(long)]
    pub json: bool,
    /// Print the equivalent curl line of each call, without the token
    #[arg(long)]
    pub show_http: bool,
}

/// In whose name an order is sent.
#[derive(Clone, Debug, clap::Args)]
pub struct Sender {
    /// A `[[source]]` of the config that nobody else sends as: this command's sequence numbers are milliseconds of the
    /// clock, and would fence off a sender that counts from 1
    #[arg(long, value_name = "NAME", default_value = "operator")]
    pub source: String,
}

/// What every order may say.
#[derive(Clone, Debug, clap::Args)]
pub struct OrderArgs {
    /// How long; until released if not given
    #[arg(long = "for", value_name = "DURATION", value_parser = super::units::duration)]
    pub lasts: Option<Duration>,
    /// mining, site, feeder:NAME or group:NAME
    #[arg(long, default_value = "mining", value_parser = words::scope)]
    pub scope: Scope,
    /// 0 emergency, 1 fast (15 s), 2 (60 s), 3 slow (5 min)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub class: u8,
    /// When it must be kept, such as 30s; by class if not given
    #[arg(long, value_name = "DURATION", value_parser = words::deadline)]
    pub deadline: Option<Duration>,
    /// Fastest change a second, such as 100kW
    #[arg(long, value_name = "WATTS", value_parser = words::watts)]
    pub ramp: Option<Watts>,
    /// Show what it would do, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// In whose name
    #[command(flatten)]
    pub sender: Sender,
    /// Where the proxy is
    #[command(flatten)]
    pub access: Access,
}

/// Runs it.
pub fn main(verb: Verb) -> ExitCode {
    let done = match verb {
        Verb::Status(access) => status(&access),
        Verb::Preview { watts, mut order } => {
            order.dry_run = true;
            send(Ask::Cap(watts), &order)
        }
        Verb::Cap { watts, order } => send(Ask::Cap(watts), &order),
        Verb::Setpoint { watts, order } => send(Ask::Setpoint(watts), &order),
        Verb::Log(args) => return log::log(&args),
        Verb::Replay(args) => return log::replay(&args),
        Verb::Reserve(args) => return reserve::main(&args),
        Verb::Release {
            id,
            dry_run,
            access,
        } => order::release(&Client::new(&access), &id, dry_run),
        Verb::Estop {
            dry_run,
            sender,
            access,
        } => order::estop(&Client::new(&access), &sender.source, dry_run),
    };
    end(done)
}

/// Exit code 0, or the reason on the error stream.
fn end(done: Result<(), Failed>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let _ = writeln!(io::stderr(), "error: {failed}");
            ExitCode::from(failed.code())
        }
    }
}

fn status(access: &Access) -> Result<(), Failed> {
    let client = Client::new(access);
    let answer = client.get("/api/v1/power")?;
    let power: Power = answer.read(&client)?;
    match access.json {
        true => say(&answer.pretty()),
        false => say(&show::power(&power, words::now())),
    }
    Ok(())
}

fn send(ask: Ask, args: &OrderArgs) -> Result<(), Failed> {
    let now = words::now();
    let wish = Wish {
        source: args.sender.source.clone(),
        ends_at: args.lasts.map(|lasts| words::after(now, lasts)),
        expires_at: None,
        starts_at: None,
        class: args.class,
        ask,
        ramp: args.ramp,
        deadline: args.deadline,
        scope: args.scope.clone(),
    };
    order::plan_then_send(&Client::new(&args.access), &wish, args.dry_run)
}

/// Text for people or programs; a closed pipe (`| head`) is quiet.
fn say(text: &str) {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "error: cannot write: {error}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
