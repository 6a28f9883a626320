//! The controller's task: everything that happens becomes its input, everything it wants is durable before it acts.
//!
//! Two steps, for ever: wait for something, then take all there is as one batch: feed it, drain the outputs, commit both
//! as one audit entry with the state that must survive, and only then act. Reports of machines are gathered for a moment
//! first: a turn costs a sync of the disk and a look at the whole site, whatever it holds. Invariants: no command, answer or change of
//! state leaves before its commit, but for commands that lower power when the journal itself has failed; every input is in
//! the audit with the moment it was given, so that a replay decides the same.
//!
//! ```text
//!   api calls ─┐                        ┌─> answers
//!   readings ──┤   ┌───────────────┐    ├─> desks ──> reconcilers ──> firmware
//!   reports ───┼──>│  Controller   │────┤
//!   machines ──┤   └───────────────┘    ├─> power (sessions watched, work withdrawn)
//!   a second ──┘      commit first      └─> view
//! ```

mod fleet;
mod journal;
mod waiting;

use super::power::{Power, Told};
use super::reconcile::{Command, Desk, Report, What};
use crate::actuators::Actuator;
use crate::api::control::{Accepted, Call, Reply};
use crate::config::site::{OnExit, SiteConfig};
use crate::curtail::controller::{Answer, Controller, Input, Output, Proof};
use crate::curtail::fleet::Receipt;
use crate::curtail::replay::Turn;
use crate::curtail::signal::Refusal;
use crate::curtail::view::{OrderState, ReservationState, View};
use crate::curtail::{MachineId, Setpoint, Wall};
use crate::ledger::{Recovered, WriterHandle};
use crate::machine::Machine;
use fleet::Fleet;
use journal::{Journal, OWN_ORDER};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Reports that may wait: one a machine of a large site, some 100 bytes each.
pub const REPORTS: usize = 16_384;
/// Readings that may wait: one a second from each of two feeds.
pub const READINGS: usize = 64;
/// How long the first reading of each feed is waited for. Without it GPUs count at their nameplate, and machines would
/// be put off in the first second of every start. A scrape takes milliseconds; one that fails is a reading too.
const FIRST: Duration = Duration::from_secs(2);
/// Inputs taken as one batch: a tenth of a second of a large site's reports.
const BATCH: usize = 8192;
/// How long reports and connections wait for more of them: ten thousand receipts come within a second, and a decision on
/// one is due in seconds. Calls, readings and the law do not wait.
const GATHER: Duration = Duration::from_millis(50);
/// With `on_exit = "safe"`: how long the end waits for proof that the watts have come down.
const GOING: Duration = Duration::from_secs(20);

/// What the controller's task is given.
pub struct Start {
    /// The site.
    pub config: SiteConfig,
    /// What the audit names: a hash of the configuration.
    pub config_hash: String,
    /// Sessions as machines.
    pub power: Arc<Power>,
    /// From the API.
    pub calls_rx: mpsc::Receiver<Call>,
    /// To the API.
    pub view_tx: watch::Sender<Arc<View>>,
    /// From the feeds.
    pub readings_rx: mpsc::Receiver<Input>,
    /// From the reconcilers.
    pub reports_rx: mpsc::Receiver<Report>,
    /// One per group, by position.
    pub desks: Vec<Arc<Desk>>,
    /// The drivers, by family.
    pub families: Vec<Arc<dyn Actuator>>,
    /// The journal.
    pub ledger: WriterHandle,
    /// What it held.
    pub recovered: Recovered,
    /// Why the journal could not be read, if so: mining goes to its lowest safe power.
    pub distrust: Option<String>,
    /// Resolves when what was in force before is in force again.
    pub ready: oneshot::Sender<()>,
    /// The end.
    pub cancel: CancellationToken,
}

struct Task {
    controller: Controller,
    fleet: Fleet,
    journal: Journal,
    base: Instant,
    power: Arc<Power>,
    desks: Vec<Arc<Desk>>,
    view_tx: watch::Sender<Arc<View>>,
    waiting: HashMap<u64, Reply>,
    calls: u64,
    batch: Vec<Input>,
}

/// Runs until cancelled.
pub async fn run(start: Start) {
    let Start {
        config,
        config_hash,
        power,
        mut calls_rx,
        view_tx,
        mut readings_rx,
        mut reports_rx,
        desks,
        families,
        ledger,
        recovered,
        distrust,
        ready,
        cancel,
    } = start;
    let feeds = usize::from(config.meter.is_some()) + usize::from(config.gpu.is_some());
    let first = first_readings(&mut readings_rx, feeds).await;
    let base = Instant::now();
    let on_exit = config.on_exit;
    let mut task = Task {
        controller: Controller::new(base, config.site.clone()),
        journal: Journal::new(ledger),
        fleet: Fleet::new(config, families),
        base,
        power,
        desks,
        view_tx,
        waiting: HashMap::new(),
        calls: 0,
        batch: Vec::new(),
    };
    task.begin(&config_hash, recovered, distrust.as_deref(), first)
        .await;
    let _ = ready.send(());
    let power = task.power.clone();
    let mut ending: Option<Instant> = None;
    let mut gathered: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let law = task.controller.poll_timeout().map_or(now, |(at, _)| at);
        let next = gathered.map_or(law, |at| at.min(law)).max(now);
        let resting = gathered.is_none();
        tokio::select! {
            biased;
            () = cancel.cancelled(), if ending.is_none() => {
                if on_exit == OnExit::Leave {
                    task.say_what_stays(now);
                    break;
                }
                ending = Some(now + GOING);
                let safe = journal::safe_order(task.controller.site(), wall(), "the proxy ends");
                task.batch.push(Input::Restore(Box::new(safe)));
                task.journal.forget_own();
            }
            Some(call) = calls_rx.recv() => task.call(call),
            Some(reading) = readings_rx.recv() => task.batch.push(reading),
            Some(report) = reports_rx.recv(), if resting => {
                task.report(report);
                gathered = Some(now + GATHER);
                continue;
            }
            () = power.bell.notified(), if resting => {
                gathered = Some(now + GATHER);
                continue;
            }
            () = tokio::time::sleep_until(next.into()) => {}
        }
        gathered = None;
        while task.batch.len() < BATCH {
            if let Ok(call) = calls_rx.try_recv() {
                task.call(call);
            } else if let Ok(report) = reports_rx.try_recv() {
                task.report(report);
            } else {
                break;
            }
        }
        task.turn().await;
        if ending.is_some_and(|at| Instant::now() >= at || task.is_safe()) {
            break;
        }
    }
    task.journal.close().await;
}

/// The first reading of each of so many feeds, or what there is of them in time.
async fn first_readings(readings_rx: &mut mpsc::Receiver<Input>, feeds: usize) -> Vec<Input> {
    let mut first = Vec::new();
    let mut kinds = Vec::new();
    let until = tokio::time::Instant::now() + FIRST;
    while kinds.len() < feeds {
        let Ok(Some(reading)) = tokio::time::timeout_at(until, readings_rx.recv()).await else {
            break;
        };
        let kind = std::mem::discriminant(&reading);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
        first.push(reading);
    }
    first
}

impl Task {
    /// Puts back what was in force, before anything else happens.
    async fn begin(
        &mut self,
        config_hash: &str,
        recovered: Recovered,
        distrust: Option<&str>,
        first: Vec<Input>,
    ) {
        let site = self.controller.site().clone();
        self.journal.open(wall(), &site, config_hash);
        self.batch.push(Input::Clock(wall()));
        self.fleet
            .recover(&mut self.batch, &self.desks, &recovered, wall());
        self.journal.restore(&mut self.batch, &recovered);
        if let Some(why) = distrust {
            warn!(
                why,
                "the journal cannot be read: mining is held at its safe watts until an operator releases it"
            );
            let safe = journal::safe_order(&site, wall(), "the journal could not be read");
            self.batch.push(Input::Restore(Box::new(safe)));
        }
        // After the reservations: what a job draws already is none of what GPUs draw without one.
        self.batch.extend(first);
        self.turn().await;
    }

    /// What the end of the proxy leaves as it is; nothing where nothing gives way.
    fn say_what_stays(&self, now: Instant) {
        let machines = self.controller.machines().iter();
        let off = machines.filter(|machine| machine.setpoint == Setpoint::Off);
        let off = off.count();
        let view = self.controller.view(now);
        let open = |is| is != ReservationState::Released && is != ReservationState::Expired;
        let reservations = view.reservations.iter().filter(|one| open(one.state));
        let reservations = reservations.count();
        if off + reservations > 0 {
            let plural = |n| if n == 1 { "" } else { "s" };
            info!(
                "{off} machine{} off (curtail.on_exit = \"leave\"); {reservations} reservation{} in force",
                if off == 1 { " stays" } else { "s stay" },
                plural(reservations)
            );
        }
    }

    /// One batch: feed, commit, act.
    async fn turn(&mut self) {
        // Whole milliseconds since the beginning, so that a replay can give the very same moments; rounded up, for a turn
        // that is due now is not due a millisecond ago.
        let gone = self.base.elapsed().as_nanos();
        let at_ms = u64::try_from(gone.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let now = self.base + Duration::from_millis(at_ms);
        for group in self.power.full() {
            self.fleet.full(group);
        }
        for seen in self.power.changes() {
            self.fleet
                .seen(&mut self.batch, &self.desks, &self.controller, &seen);
        }
        let due = self
            .controller
            .poll_timeout()
            .is_none_or(|(at, _)| at <= now);
        if due {
            self.batch.push(Input::Clock(wall()));
            for (name, mined, told) in self.power.mined() {
                self.fleet.hashed(&self.controller, &name, mined);
                if told {
                    self.fleet
                        .mined(&mut self.batch, &self.controller, &name, mined, now);
                }
            }
            self.batch.extend(self.fleet.hashing(now));
        }
        self.batch.extend(self.fleet.strangers());
        let inputs = std::mem::take(&mut self.batch);
        let record = Turn {
            at_ms,
            inputs: inputs.clone(),
            outputs: Vec::new(),
        };
        for input in inputs {
            self.controller.handle_input(now, input);
        }
        self.controller.handle_timeout(now);
        let mut outputs = Vec::new();
        while let Some(output) = self.controller.poll_output() {
            outputs.push(output);
        }
        let record = Turn { outputs, ..record };
        let durable = self
            .journal
            .keep(wall(), &self.controller, &mut self.fleet, &record)
            .await;
        // First of all: whoever is answered may look at once.
        let view = self.controller.view(now);
        self.view_tx.send_replace(Arc::new(view));
        for output in record.outputs {
            self.act(output, durable);
        }
    }

    fn act(&mut self, output: Output, durable: bool) {
        match output {
            Output::Save(_) => {}
            Output::Answer { call, answer } => {
                if let Some(reply) = self.waiting.remove(&call) {
                    let answer = match durable {
                        true => answer.map(accepted),
                        false => Err(Refusal::NotDurable),
                    };
                    // Who asked may have gone; what it asked is done all the same.
                    let _ = reply.send(answer);
                }
            }
            Output::Command {
                machine,
                setpoint,
                attempt,
            } => {
                if durable || setpoint != Setpoint::Run {
                    self.command(machine, setpoint, attempt);
                }
            }
            Output::Standing { machine, is } => self.standing(machine, is),
            Output::Alarm(text) => warn!("{text}"),
        }
    }

    fn command(&mut self, id: MachineId, setpoint: Setpoint, attempt: u32) {
        let machine = &self.controller.machines()[id.0 as usize];
        let name = self.fleet.name(&machine.facts.name);
        let told = match setpoint {
            Setpoint::Run => Told::Mine,
            Setpoint::Percent(_) | Setpoint::Off => Told::Watched,
            Setpoint::Withdrawn => Told::Withdrawn,
        };
        self.power.tell(&name, told);
        let kind = self.controller.kind(machine);
        if setpoint == Setpoint::Withdrawn || kind.can.off.is_none() {
            return;
        }
        let settles = match setpoint {
            Setpoint::Percent(_) => kind.can.trim.map(|trim| trim.settles),
            Setpoint::Off => kind.can.off.map(|off| off.down),
            Setpoint::Run | Setpoint::Withdrawn => kind.can.off.map(|off| off.up),
        };
        let command = Command {
            setpoint,
            attempt,
            settles: settles.unwrap_or_default(),
        };
        self.desks[usize::from(machine.facts.group.0)].command(&name, command);
    }

    fn standing(&mut self, id: MachineId, is: Proof) {
        let facts = &self.controller.machines()[id.0 as usize].facts;
        let name = self.fleet.name(&facts.name);
        self.desks[usize::from(facts.group.0)].calm(&name);
        match is {
            Proof::Proven => {}
            Proof::Failed => info!(machine = %name, "does not give way; others do in its place"),
            Proof::Liar => {
                warn!(machine = %name, "says it gives way and does not: quarantined, counted as load");
            }
            Proof::Fought => {
                warn!(machine = %name, "is commanded by something else too: left alone, counted as load");
            }
        }
    }

    fn call(&mut self, call: Call) {
        self.calls += 1;
        let number = self.calls;
        let (input, reply) = match call {
            Call::Signal {
                envelope,
                raw,
                who,
                dry_run,
                reply,
            } => {
                if !dry_run {
                    self.journal.raw(wall(), &who.name, &raw);
                }
                let input = Input::Signal {
                    call: number,
                    envelope,
                    digest: Sha256::digest(&raw).into(),
                    admin: who.scopes.admin,
                    dry_run,
                };
                (input, reply)
            }
            Call::Release {
                dry_run: true,
                reply,
                ..
            } => {
                let _ = reply.send(Ok(Accepted::Done));
                return;
            }
            Call::Release { id, who, reply, .. } => {
                self.journal
                    .raw(wall(), &who.name, format!("release {id}").as_bytes());
                let admin = who.scopes.admin;
                let by = who.source.filter(|_| !admin);
                (
                    Input::Release {
                        call: number,
                        id,
                        by,
                        admin,
                    },
                    reply,
                )
            }
            Call::Renew {
                id,
                expires_at,
                who,
                reply,
            } => {
                let by = who.source.filter(|_| !who.scopes.admin);
                (
                    Input::Renew {
                        call: number,
                        id,
                        expires_at,
                        by,
                    },
                    reply,
                )
            }
            Call::Heartbeat {
                heartbeat,
                raw,
                reply,
                ..
            } => {
                let input = Input::Heartbeat {
                    call: number,
                    source: heartbeat.source,
                    epoch: heartbeat.epoch,
                    seq: heartbeat.seq,
                    issued_at: heartbeat.issued_at,
                    digest: Sha256::digest(&raw).into(),
                };
                (input, reply)
            }
        };
        self.waiting.insert(number, reply);
        self.batch.push(input);
    }

    fn report(&mut self, report: Report) {
        let Report { name, what } = report;
        let id = self.controller.find(&name);
        match (what, id) {
            (What::Identified(identity, driver), _) => {
                self.fleet
                    .identified(&mut self.batch, &name, identity, &driver);
            }
            (What::Unidentified(why), _) => self.fleet.unidentified(&name, &why),
            (What::Receipt(attempt, receipt, failure), Some(machine)) => {
                if let Some(failure) = failure {
                    tracing::debug!(machine = %name, %failure, "command");
                }
                if receipt == Receipt::WrongIdentity {
                    warn!(machine = %name, "another machine answers at this address: nothing was written to it");
                }
                self.batch.push(Input::Receipt {
                    machine,
                    attempt,
                    receipt,
                });
            }
            (What::Observed(seen), Some(machine)) => {
                if self
                    .fleet
                    .is_news(&self.controller, machine, &seen, Instant::now())
                {
                    self.batch.push(Input::Observed { machine, seen });
                }
            }
            (What::Receipt(..) | What::Observed(_), None) => {}
        }
    }

    /// Whether the safe watts are proven, or as much of them as can be had.
    fn is_safe(&self) -> bool {
        let view = self.view_tx.borrow();
        let own = view.orders.iter().find(|order| order.id == OWN_ORDER);
        let is_judged = own.is_some_and(|own| {
            use OrderState::{Failed, Partial, Proven};
            matches!(own.state, Proven | Partial | Failed)
        });
        let mut machines = self.controller.machines().iter();
        is_judged && !machines.any(|machine| machine.moving())
    }
}

fn accepted(answer: Answer) -> Accepted {
    match answer {
        Answer::Order { status, repeated } => Accepted::Order {
            status,
            plan: None,
            repeated,
        },
        Answer::Reservation { status, repeated } => Accepted::Reservation {
            status,
            plan: None,
            repeated,
        },
        Answer::Preview(preview) => Accepted::Preview(*preview),
        Answer::Done => Accepted::Done,
    }
}

/// What the outside calls this moment.
fn wall() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
