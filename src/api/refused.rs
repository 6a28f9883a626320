//! Why nothing was done, as a problem (RFC 9457): a status, a `type` that ends in the reason, and what to do about it.
//!
//! Decides nothing. Invariant: one [`Refusal`] is one `type` and one status, and what a peer sent is repeated nowhere
//! but for a key that is a plain name.

use super::control::Silence;
use super::problem::{self, Problem};
use crate::curtail::signal::{Refusal, Wrong};
use crate::telemetry::orders::Outcome;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// How a request that would change something, or read the control channel, ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// For a reason of the envelope's list.
    Order(Wrong),
    /// The token or key speaks for one source alone, and the order names another.
    Bound {
        /// As configured.
        name: String,
        /// The source it speaks for.
        source: String,
    },
    /// For want of an answer.
    Silent(Silence),
    /// For what no order can be blamed for: no site, no credentials, a query.
    Plain(Problem),
}

impl Refused {
    /// What to count; a plain problem is the nearest reason.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Order(wrong) => Outcome::Refused(wrong.refusal),
            Self::Bound { .. } => Outcome::Refused(Refusal::Forbidden),
            Self::Silent(Silence::Busy) => Outcome::Busy,
            Self::Silent(Silence::Late) => Outcome::Late,
            Self::Plain(problem) if *problem == Problem::BAD_ORDER_QUERY => {
                Outcome::Refused(Refusal::Malformed)
            }
            Self::Plain(_) => Outcome::Refused(Refusal::Forbidden),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Order(Wrong::new(refusal, ""))
    }
}

impl From<Wrong> for Refused {
    fn from(wrong: Wrong) -> Self {
        Self::Order(wrong)
    }
}

impl From<Silence> for Refused {
    fn from(silence: Silence) -> Self {
        Self::Silent(silence)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Plain(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Order(wrong) => order(&wrong),
            Self::Bound { name, source } => bound(&name, &source),
            Self::Silent(silence) => silent(silence),
            Self::Plain(problem) => problem.into_response(),
        }
    }
}

fn order(wrong: &Wrong) -> Response {
    let (status, title, detail) = words(wrong.refusal);
    let detail = match wrong.key.as_str() {
        "" => detail.to_owned(),
        key => format!("`{key}`: {detail}"),
    };
    let kind = format!("urn:sluice:problem:{}", wrong.refusal);
    let mut response =
        problem::response(status, &kind, title, &detail, Some(wrong.refusal.label()));
    match wrong.refusal {
        // RFC 9110, 11.6.1: a 401 names how to authenticate.
        Refusal::Unauthenticated => set(&mut response, header::WWW_AUTHENTICATE, "Bearer"),
        Refusal::TooMany => set(&mut response, header::RETRY_AFTER, "30"),
        Refusal::NotDurable => set(&mut response, header::RETRY_AFTER, "5"),
        _ => {}
    }
    response
}

/// To whoever holds the token: both names are the config's.
fn bound(name: &str, source: &str) -> Response {
    let refusal = Refusal::Forbidden;
    let (status, title, _) = words(refusal);
    let kind = format!("urn:sluice:problem:{refusal}");
    let detail = format!(
        "The token \"{name}\" speaks only for source \"{source}\": add --source {source} (over HTTP: \"source\": \"{source}\")."
    );
    problem::response(status, &kind, title, &detail, Some(refusal.label()))
}

fn silent(silence: Silence) -> Response {
    let (status, reason, title, detail) = match silence {
        Silence::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "The controller takes no more calls at the moment",
            "The order was not taken. Send it again, with the same epoch and seq.",
        ),
        Silence::Late => (
            StatusCode::GATEWAY_TIMEOUT,
            "late",
            "The controller has not answered within 5 s",
            "Whether the order was taken is not known. Send the same bytes again: the same epoch and seq are never acted on twice. Or read GET /api/v1/orders.",
        ),
    };
    let kind = format!("urn:sluice:problem:{reason}");
    let mut response = problem::response(status, &kind, title, detail, Some(reason));
    set(&mut response, header::RETRY_AFTER, "1");
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
}

/// Status, title and what would be right.
fn words(refusal: Refusal) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match refusal {
        Refusal::Oversized => (
            S::PAYLOAD_TOO_LARGE,
            "The order is too long",
            "An order has at most 4096 bytes; the longest that says anything has under 1024.",
        ),
        Refusal::Malformed => (
            S::BAD_REQUEST,
            "This is not an order",
            "It is missing, there twice, or not of its type. An order is one JSON object; times are RFC 3339 with zone (2026-11-22T07:00:00Z), names are 1 to 64 of A-Z a-z 0-9 . _ : -, optional keys are left out rather than null.",
        ),
        Refusal::UnknownKey => (
            S::UNPROCESSABLE_ENTITY,
            "The order has a key that no order has",
            "Keys are source, audience, epoch, seq, issued_at, expires_at, ends_at, starts_at, class, kind, watts, order, ramp_watts_per_s, deadline_s, scope (a heartbeat and an estop have the first five, a renewal expires_at alone).",
        ),
        Refusal::WattsNotWhole => (
            S::UNPROCESSABLE_ENTITY,
            "Watts are whole numbers",
            "Write 4200000 for 4.2 MW: no text, no unit, no fraction, no exponent, nothing below zero.",
        ),
        Refusal::ImplausibleWatts => (
            S::UNPROCESSABLE_ENTITY,
            "No order for this site can mean so many watts",
            "Watts were expected: kilowatts or milliwatts may have been sent.",
        ),
        Refusal::Unauthenticated => (
            S::UNAUTHORIZED,
            "Credentials are missing or wrong",
            "Send Authorization: Bearer TOKEN, or Sluice-Key and Sluice-Signature; not both, and none of them twice.",
        ),
        Refusal::Forbidden => (
            S::FORBIDDEN,
            "These credentials are not for this",
            "Sending and ending orders takes the scope curtail and, where the token or key is bound to a source, that source; an emergency stop and the orders of others take admin; reading takes read.",
        ),
        Refusal::UnknownSource => (
            S::FORBIDDEN,
            "No such source is configured",
            "Name one of the [[source]] tables of the config.",
        ),
        Refusal::WrongAudience => (
            S::UNPROCESSABLE_ENTITY,
            "The order is for another site",
            "`audience` must be the site's name, [site] name in the config.",
        ),
        Refusal::FencedEpoch => (
            S::CONFLICT,
            "Another controller has taken over",
            "A higher epoch of this source has been heard; orders of lower ones are not taken any more.",
        ),
        Refusal::StaleSequence => (
            S::CONFLICT,
            "A later order has been taken already",
            "`seq` must be above the last one taken from this source in this epoch; heartbeats count too.",
        ),
        Refusal::SequenceConflict => (
            S::CONFLICT,
            "This seq has been used for another order",
            "The same epoch and seq came with other bytes before. Nothing was changed; an alarm was raised.",
        ),
        Refusal::Expired => (
            S::UNPROCESSABLE_ENTITY,
            "The order is over",
            "`expires_at` or `ends_at` has passed.",
        ),
        Refusal::ClockSkew => (
            S::UNPROCESSABLE_ENTITY,
            "The sender's clock and ours differ too much",
            "`issued_at` must be within 2 s of our clock (curtail.skew in the config); check NTP on both machines. Class 0 is exempt.",
        ),
        Refusal::ClassNotAllowed => (
            S::FORBIDDEN,
            "The source may not use this class, or it does not exist",
            "Classes are 0 (emergency), 1 (15 s), 2 (60 s), 3 (5 min); most_urgent in the config bounds those of a source.",
        ),
        Refusal::UnknownScope => (
            S::UNPROCESSABLE_ENTITY,
            "No such scope",
            "Scopes are mining, site, feeder:NAME, group:NAME, with names from the config; not every kind has each.",
        ),
        Refusal::UnknownOrder => (
            S::NOT_FOUND,
            "No such order or reservation",
            "GET /api/v1/orders and /api/v1/reservations list what is in force and the latest that ended.",
        ),
        Refusal::Unsupported => (
            S::UNPROCESSABLE_ENTITY,
            "This kind is not served here",
            "POST /api/v1/orders takes cap, setpoint, relative and release; POST /api/v1/reservations takes reserve.",
        ),
        Refusal::ContradictingTimes => (
            S::UNPROCESSABLE_ENTITY,
            "The times contradict each other",
            "expires_at and ends_at are after issued_at, ends_at after starts_at; starts_at is for reservations, and a release has no ends_at.",
        ),
        Refusal::TooMany => (
            S::SERVICE_UNAVAILABLE,
            "Too many orders or reservations are in force",
            "End some, then send it again.",
        ),
        Refusal::NotDurable => (
            S::SERVICE_UNAVAILABLE,
            "The ledger cannot be written",
            "What was asked may hold already, but would not survive a restart; nothing is raised until the ledger can be written. Look at its disk, then send the same bytes again: they are answered with what holds.",
        ),
    }
}
