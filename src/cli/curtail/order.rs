//! An order from a wish: who and which site, the plan, then the order itself.
//!
//! Not how it is shown (`show.rs`). Invariant: the plan that is shown is a dry run of the very order that follows.

use super::client::{Answer, Client, Failed};
use super::{say, show, words};
use crate::api::power::Power;
use crate::curtail::signal::{
    self, Ask, Envelope, FOR_GOOD, Heartbeat, Scope, is_name, read::is_id,
};
use crate::curtail::view::{OrderState, OrderStatus, Preview, ReservationState, ReservationStatus};
use crate::curtail::{Wall, Watts};
use std::time::Duration;

/// The epoch of every order from here. It never changes: this command takes over from nobody, and `seq`, being
/// milliseconds of the clock, grows from one call to the next on any machine without a file to remember it. Two calls
/// within one millisecond are told apart by their bytes: the second is refused as a conflict, never acted on.
const EPOCH: u64 = 1;

/// An order as a person means it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) source: String,
    pub(super) ends_at: Option<Wall>,
    /// At `ends_at`, or for good, if absent.
    pub(super) expires_at: Option<Wall>,
    pub(super) starts_at: Option<Wall>,
    pub(super) class: u8,
    pub(super) ask: Ask,
    pub(super) ramp: Option<Watts>,
    pub(super) deadline: Option<Duration>,
    pub(super) scope: Scope,
}

impl Wish {
    /// The body to send now.
    fn body(&self, site: &str) -> Result<String, Failed> {
        let from = heartbeat(&self.source, site)?;
        let lease = self.expires_at.or(self.ends_at);
        let envelope = Envelope {
            source: from.source,
            audience: from.audience,
            epoch: from.epoch,
            seq: from.seq,
            issued_at: from.issued_at,
            ends_at: self.ends_at,
            expires_at: lease.unwrap_or(FOR_GOOD),
            starts_at: self.starts_at,
            class: self.class,
            ask: self.ask.clone(),
            ramp_watts_per_s: self.ramp,
            deadline: self.deadline,
            scope: self.scope.clone(),
        };
        let body = signal::to_json(&envelope);
        // The API's own reader: what it would refuse is said without asking it.
        match signal::read(body.as_bytes()) {
            Ok(_) => Ok(body),
            Err(wrong) => Err(Failed::Usage(format!(
                "such an order contradicts itself ({} at `{}`)",
                wrong.refusal, wrong.key
            ))),
        }
    }

    fn path(&self) -> &'static str {
        match self.ask {
            Ask::Reserve(_) => "/api/v1/reservations",
            _ => "/api/v1/orders",
        }
    }
}

fn heartbeat(source: &str, site: &str) -> Result<Heartbeat, Failed> {
    if !is_name(source) {
        return Err(Failed::Usage(format!(
            "--source '{source}' is not a name: 1 to 64 of A-Z a-z 0-9 . _ : -"
        )));
    }
    let now = words::now();
    Ok(Heartbeat {
        source: source.to_owned(),
        audience: site.to_owned(),
        epoch: EPOCH,
        seq: now.0.unsigned_abs(),
        issued_at: now,
    })
}

/// The name that orders for this site must carry.
pub(super) fn site(client: &Client) -> Result<String, Failed> {
    let power: Power = client.get("/api/v1/power")?.read(client)?;
    match is_name(&power.site) {
        true => Ok(power.site),
        false => Err(client.not_sluice("its site has no name")),
    }
}

/// Shows the plan; then, unless it is a dry run, sends the order and shows how it stands.
pub(super) fn plan_then_send(client: &Client, wish: &Wish, dry_run: bool) -> Result<(), Failed> {
    let site = site(client)?;
    let plan = plan(client, wish, &site)?;
    if dry_run {
        shows_plan(client, &plan);
        return Ok(());
    }
    if !client.json {
        shows_plan(client, &plan);
    }
    let answer = send(client, wish, &site)?;
    shows(client, &answer);
    Ok(())
}

/// What the wish would do.
pub(super) fn plan(client: &Client, wish: &Wish, site: &str) -> Result<Answer, Failed> {
    client.post(&format!("{}?dry_run=true", wish.path()), &wish.body(site)?)
}

/// The wish, for real.
pub(super) fn send(client: &Client, wish: &Wish, site: &str) -> Result<Answer, Failed> {
    client.post(wish.path(), &wish.body(site)?)
}

/// Ends an order or a reservation. One that has ended already is well: an epilog may run twice.
pub(super) fn release(client: &Client, id: &str, dry_run: bool) -> Result<(), Failed> {
    if !is_id(id) {
        return Err(Failed::Usage(format!(
            "'{id}' is not an order (o-17) or a reservation (r-3); `sluice curtail status` lists them"
        )));
    }
    let path = path_of(id);
    let power: Power = client.get("/api/v1/power")?.read(client)?;
    let plan = match client.delete(&format!("{path}?dry_run=true")) {
        Err(failed) if failed.is_unknown() => return over_already(client, id, failed),
        plan => plan?,
    };
    if client.json {
        let answer = match dry_run {
            true => plan,
            false => client.delete(&path)?,
        };
        say(&answer.pretty());
        return Ok(());
    }
    if !dry_run {
        client.delete(&path)?;
    }
    say(&show::ends(id, &power, dry_run));
    Ok(())
}

/// Of what cannot be ended: well, if it has ended; refused otherwise.
fn over_already(client: &Client, id: &str, refused: Failed) -> Result<(), Failed> {
    let answer = client.get(&path_of(id))?;
    let is = match id.starts_with("r-") {
        true => answer
            .member::<ReservationState>("state")
            .filter(|is| matches!(is, ReservationState::Released | ReservationState::Expired))
            .map(|is| show::word(&is)),
        false => answer
            .member::<OrderState>("state")
            .filter(|is| matches!(is, OrderState::Ended | OrderState::Expired))
            .map(|is| show::word(&is)),
    };
    match (is, client.json) {
        (None, _) => Err(refused),
        (Some(_), true) => {
            say(&answer.pretty());
            Ok(())
        }
        (Some(is), false) => {
            say(&format!("{id} is {is} already: nothing to release\n"));
            Ok(())
        }
    }
}

/// Where an id is found.
pub(super) fn path_of(id: &str) -> String {
    match id.starts_with("r-") {
        true => format!("/api/v1/reservations/{id}"),
        false => format!("/api/v1/orders/{id}"),
    }
}

/// Everything off. No plan first: a second counts.
pub(super) fn estop(client: &Client, source: &str, dry_run: bool) -> Result<(), Failed> {
    let body = signal::heartbeat_to_json(&heartbeat(source, &site(client)?)?);
    if dry_run {
        let plan = client.post("/api/v1/estop?dry_run=true", &body)?;
        shows_plan(client, &plan);
        return Ok(());
    }
    shows(client, &client.post("/api/v1/estop", &body)?);
    Ok(())
}

/// What a dry run answered.
pub(super) fn shows_plan(client: &Client, answer: &Answer) {
    match (client.json, answer.member::<Preview>("plan")) {
        (false, Some(plan)) => say(&show::plan(&plan)),
        (false, None) => {
            say("plan      taken as it is written; the proxy foresees no more of it\n");
        }
        (true, _) => say(&answer.pretty()),
    }
}

fn shows(client: &Client, answer: &Answer) {
    if client.json {
        return say(&answer.pretty());
    }
    if let Ok(order) = answer.read::<OrderStatus>(client) {
        say(&show::order(&order, words::now()));
    } else if let Ok(reservation) = answer.read::<ReservationStatus>(client) {
        say(&show::reservation(&reservation, words::now()));
    } else {
        say("done\n");
    }
}
