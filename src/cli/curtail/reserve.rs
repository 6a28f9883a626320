//! `sluice curtail reserve`: asks for watts and, with `--wait`, returns when they are proven free.
//!
//! Invariant: whoever waits and does not get a grant holds nothing afterwards. While it waits the lease is short and
//! renewed, so that a waiter that is killed outright is forgotten within [`LEASE`].

use super::client::{Client, Failed};
use super::order::{self, Wish};
use super::wait::{Step, step};
use super::{Access, Sender, end, room, show, words};
use crate::cli::{exit, units};
use crate::curtail::signal::{Ask, FOR_GOOD, Scope, rfc3339};
use crate::curtail::view::{Preview, ReservationStatus};
use crate::curtail::{Wall, Watts};
use jiff::tz::TimeZone;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The lease of a waiter.
const LEASE: Duration = Duration::from_secs(60);
/// Renewed when a third of it is gone, so that two renewals may fail.
const RENEW: Duration = Duration::from_secs(20);
/// Between two looks: the controller decides once a second.
const LOOK: Duration = Duration::from_secs(1);
/// 128 and SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Such as 800kW
    #[arg(value_name = "WATTS", value_parser = words::watts)]
    watts: Watts,
    /// When they are needed: 14:00 (this machine's clock), 14:00Z (UTC), 2026-11-22T14:00:00+01:00, or +10m; now, if not
    /// given
    #[arg(long, value_name = "TIME", value_parser = words::when)]
    at: Option<words::When>,
    /// How long they are needed; until released if not given
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    lasts: Option<Duration>,
    /// Return when they are proven free; give up what is not granted
    #[arg(long)]
    wait: bool,
    /// With --wait: be content with what can be had, once that is proven free
    #[arg(long, requires = "wait")]
    accept_partial: bool,
    /// With --wait: give up after this time (exit code 75)
    #[arg(long, requires = "wait", value_name = "DURATION", value_parser = units::duration)]
    within: Option<Duration>,
    /// How long the reservation outlives its last renewal; to its end if not given
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    lease: Option<Duration>,
    /// 0 emergency, 1 fast (15 s), 2 (60 s), 3 slow (5 min)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3))]
    class: u8,
    /// mining, site, feeder:NAME or group:NAME
    #[arg(long, default_value = "site", value_parser = words::scope)]
    scope: Scope,
    /// Show what it would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    sender: Sender,
    #[command(flatten)]
    access: Access,
}

/// Runs it.
pub(super) fn main(args: &Args) -> ExitCode {
    let client = Client::new(&args.access);
    let args = &args.settled(words::now(), &TimeZone::system());
    if !args.wait || args.dry_run {
        let wish = args.wish(words::now(), args.final_lease(words::now()));
        return end(order::plan_then_send(&client, &wish, args.dry_run));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(Waiter::run(&client, args)),
        Err(error) => {
            tell(&format!("error: no runtime: {error}"));
            ExitCode::from(exit::ENVIRONMENT)
        }
    }
}

impl Args {
    /// The same with its beginning as a moment, which is told: later, a time of day is another day's.
    fn settled(&self, now: Wall, zone: &TimeZone) -> Self {
        let at = self.at.map(|at| at.at(now, zone));
        if let Some(at) = at {
            tell(&format!("from      {}", words::moment(at, now, zone)));
        }
        Self {
            at: at.map(words::When::At),
            ..self.clone()
        }
    }

    /// Of arguments that are settled.
    fn starts_at(&self, now: Wall) -> Option<Wall> {
        self.at.map(|at| at.at(now, &TimeZone::UTC))
    }

    fn wish(&self, now: Wall, expires_at: Wall) -> Wish {
        Wish {
            source: self.sender.source.clone(),
            ends_at: self.ends_at(now),
            expires_at: Some(expires_at),
            starts_at: self.starts_at(now),
            class: self.class,
            ask: Ask::Reserve(self.watts),
            ramp: None,
            deadline: None,
            scope: self.scope.clone(),
        }
    }

    fn ends_at(&self, now: Wall) -> Option<Wall> {
        let starts_at = self.starts_at(now).unwrap_or(now);
        self.lasts.map(|lasts| words::after(starts_at, lasts))
    }

    /// Of a reservation that nobody here will renew again.
    fn final_lease(&self, now: Wall) -> Wall {
        match self.lease {
            Some(lease) => words::after(now, lease),
            None => self.ends_at(now).unwrap_or(FOR_GOOD),
        }
    }
}

/// Someone who waits for a grant.
struct Waiter<'a> {
    client: &'a Client,
    args: &'a Args,
    id: String,
    renewed: Instant,
    told: String,
}

/// How a wait ends.
enum End {
    Granted(Watts),
    /// Nothing is held any more; what to say, and the exit code.
    GaveUp(String, u8),
    /// There is nothing to give back.
    Over(String),
}

impl<'a> Waiter<'a> {
    async fn run(client: &'a Client, args: &'a Args) -> ExitCode {
        // Before anything is asked for: from here on an interruption must give back.
        let (int, term) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        );
        let (Ok(mut int), Ok(mut term)) = (int, term) else {
            tell("error: signals cannot be caught, so nothing is reserved");
            return ExitCode::from(exit::ENVIRONMENT);
        };
        let started = Instant::now();
        let mut waiter = match Self::begin(client, args) {
            Ok(waiter) => waiter,
            Err(failed) => return end(Err(failed)),
        };
        loop {
            if let Some(over) = waiter.look() {
                return waiter.finish(over);
            }
            if args
                .within
                .is_some_and(|within| started.elapsed() >= within)
            {
                let why = "not granted in time".to_owned();
                return waiter.finish(End::GaveUp(why, exit::LATER));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = int.recv() => return waiter.interrupted(),
                _ = term.recv() => return waiter.interrupted(),
            }
        }
    }

    /// Shows the plan and asks for the watts, on a short lease.
    fn begin(client: &'a Client, args: &'a Args) -> Result<Self, Failed> {
        let site = order::site(client)?;
        let wish = || args.wish(words::now(), words::after(words::now(), LEASE));
        let plan = order::plan(client, &wish(), &site)?;
        if let Some(plan) = plan.member::<Preview>("plan") {
            tell(show::plan(&plan).trim_end());
            // Of a later one it is not known: what is short now may be free by then.
            if !args.accept_partial && args.at.is_none() {
                room::all_can_be_had(client, &wish(), args.watts, &plan, &site)?;
            }
        }
        let answer = order::send(client, &wish(), &site)?;
        let reservation: ReservationStatus = answer.read(client)?;
        Ok(Self {
            client,
            args,
            id: reservation.id,
            renewed: Instant::now(),
            told: String::new(),
        })
    }

    /// One look; the end, if this is it.
    fn look(&mut self) -> Option<End> {
        let looked = self.renew_if_due().and_then(|()| self.read());
        match looked.map(|reservation| step(&reservation, self.args.accept_partial)) {
            Ok(Step::Wait(line)) => {
                self.tell_once(line);
                None
            }
            Ok(Step::Granted(watts)) => Some(self.keep(watts)),
            Ok(Step::Partial(why)) => Some(End::GaveUp(why, exit::LATER)),
            Ok(Step::Over(why)) => Some(End::Over(why)),
            // A proxy that restarts has the reservation in its ledger; after the lease it is gone all the same.
            Err(failed) if failed.may_pass() && self.renewed.elapsed() < LEASE => {
                self.tell_once(format!(
                    "no answer about {}; asking again: {failed}",
                    self.id
                ));
                None
            }
            Err(failed) => {
                let code = failed.code();
                Some(End::GaveUp(failed.to_string(), code))
            }
        }
    }

    fn read(&self) -> Result<ReservationStatus, Failed> {
        self.client
            .get(&order::path_of(&self.id))?
            .read(self.client)
    }

    fn renew_if_due(&mut self) -> Result<(), Failed> {
        if self.renewed.elapsed() < RENEW {
            return Ok(());
        }
        self.renew(words::after(words::now(), LEASE))?;
        self.renewed = Instant::now();
        Ok(())
    }

    fn renew(&self, expires_at: Wall) -> Result<(), Failed> {
        let path = format!("{}/renew", order::path_of(&self.id));
        let body = serde_json::json!({ "expires_at": rfc3339::write(expires_at) });
        self.client.post(&path, &body.to_string()).map(|_| ())
    }

    /// Makes a grant last beyond this process. A grant whose lease cannot be moved is none: it would end under the job.
    fn keep(&self, watts: Watts) -> End {
        match self.renew(self.args.final_lease(words::now())) {
            Ok(()) => End::Granted(watts),
            Err(failed) => End::GaveUp(
                format!("granted, but its lease cannot be moved: {failed}"),
                failed.code(),
            ),
        }
    }

    fn interrupted(&self) -> ExitCode {
        let why = "interrupted".to_owned();
        self.finish(End::GaveUp(why, INTERRUPTED))
    }

    fn finish(&self, over: End) -> ExitCode {
        match over {
            End::Granted(watts) => {
                tell(&format!("granted: {watts} are proven free"));
                self.print();
                ExitCode::SUCCESS
            }
            End::GaveUp(why, code) => {
                tell(&format!("error: {why}; {}", self.give_back()));
                ExitCode::from(code)
            }
            End::Over(why) => {
                tell(&format!("error: {why}"));
                ExitCode::from(1)
            }
        }
    }

    fn give_back(&self) -> String {
        match self.client.delete(&order::path_of(&self.id)) {
            Ok(_) => format!("{} has been given back", self.id),
            Err(failed) => format!(
                "{} could not be given back ({failed}) and is forgotten within {} s",
                self.id,
                LEASE.as_secs()
            ),
        }
    }

    /// On standard output, for scripts: the id alone, or all of it as JSON.
    fn print(&self) {
        match self
            .client
            .json
            .then(|| self.client.get(&order::path_of(&self.id)))
        {
            Some(Ok(answer)) => super::say(&answer.pretty()),
            _ => super::say(&format!("{}\n", self.id)),
        }
    }

    fn tell_once(&mut self, line: String) {
        if line != self.told {
            tell(&line);
            self.told = line;
        }
    }
}

/// Progress, which is not the answer.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
