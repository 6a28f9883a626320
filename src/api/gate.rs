//! What every request of the control channel passes before anything is done: a site, a bounded body, credentials, a
//! query that can be read. And the way of an answer back.
//!
//! Not the Host check (`guard.rs`, before this). Invariant: a request that would change something is counted once, with
//! how it ended, and changes nothing unless its sender is known and may.

use super::Api;
use super::auth::{self, Principal, Signed};
use super::control::{Accepted, Call, Control, Reply};
use super::problem::Problem;
use super::refused::Refused;
use crate::curtail::Watts;
use crate::curtail::signal::{LONGEST, Refusal};
use crate::curtail::view::{OrderState, ReservationState, ReservationStatus};
use crate::telemetry::orders::{OrderCounts, Outcome};
use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use std::sync::Arc;

/// The control channel of a site, for the handlers.
#[derive(Clone, Debug)]
pub struct Site {
    /// The port to the controller.
    pub control: Control,
    /// Who may what.
    pub auth: Arc<auth::Config>,
    /// What became of it.
    pub counts: Arc<OrderCounts>,
}

impl Site {
    /// With counters for the sources of `auth`.
    pub fn new(control: Control, auth: auth::Config) -> Self {
        let counts = OrderCounts::new(auth.sources.iter().map(|source| source.name.as_str()));
        Self {
            control,
            auth: Arc::new(auth),
            counts: Arc::new(counts),
        }
    }
}

/// A request that may change something: its sender is known, its body within its bound.
#[derive(Debug)]
pub(super) struct Asked {
    /// Who; has the scope `curtail` or `admin`.
    pub(super) who: Principal,
    /// All of it.
    pub(super) body: Vec<u8>,
    /// Plan only.
    pub(super) dry_run: bool,
}

/// A request on its way, so that its end is counted under the best name there is by then.
#[derive(Debug)]
pub(super) struct Errand<'a> {
    site: &'a Site,
    source: Option<String>,
    dry_run: bool,
}

impl<'a> Errand<'a> {
    /// Begins, where there is a site.
    pub(super) fn begin(api: &'a Api) -> Result<Self, Refused> {
        let site = api.site.as_ref().ok_or(Problem::NO_SITE)?;
        Ok(Self {
            site,
            source: None,
            dry_run: false,
        })
    }

    /// Lets it in.
    pub(super) async fn admit(&mut self, request: Request) -> Result<Asked, Refused> {
        if self.site.auth.is_empty() {
            return Err(Problem::NO_CREDENTIALS.into());
        }
        let (head, body) = request.into_parts();
        let body = read(body).await?;
        let who = identify(self.site, &head, &body)?;
        self.source.clone_from(&who.source);
        if !(who.scopes.curtail || who.scopes.admin) {
            return Err(Refusal::Forbidden.into());
        }
        let dry_run = dry_run(head.uri.query())?;
        self.dry_run = dry_run;
        Ok(Asked { who, body, dry_run })
    }

    /// Checks that it may speak for `source`, which is what it is counted under from here on.
    pub(super) fn speaks(&mut self, who: &Principal, source: &str) -> Result<(), Refused> {
        if who.may_speak_for(source) {
            self.source = Some(source.to_owned());
            return Ok(());
        }
        Err(match &who.source {
            Some(own) if own != source => Refused::Bound {
                name: who.name.clone(),
                source: own.clone(),
            },
            _ => Refusal::Forbidden.into(),
        })
    }

    /// Checks that it was written for this site. Of orders the controller checks it, which never sees a heartbeat's.
    pub(super) fn is_for_this_site(&self, audience: &str) -> Result<(), Refusal> {
        match *self.site.control.site == *audience {
            true => Ok(()),
            false => Err(Refusal::WrongAudience),
        }
    }

    /// What the controller would refuse of ending `id`: it plans nothing for it, and who tries must hear that.
    pub(super) fn could_end(&self, who: &Principal, id: &str) -> Result<(), Refusal> {
        let view = self.site.control.view();
        let mut orders = view
            .orders
            .iter()
            .filter(|order| order.state != OrderState::Ended);
        if let Some(order) = orders.find(|order| order.id == id) {
            let is_stop = order.class == 0 && order.kind == "cap" && order.watts == Watts::ZERO;
            return match who.may_end(&order.source, is_stop) {
                true => Ok(()),
                false if is_stop => Err(Refusal::Forbidden),
                false => Err(Refusal::UnknownOrder),
            };
        }
        use ReservationState::{Granted, Partial, Pending};
        let mut reservations = view.reservations.iter();
        let open = |one: &ReservationStatus| matches!(one.state, Pending | Granted | Partial);
        match reservations.any(|one| one.id == id && open(one) && who.may_end(&one.source, false)) {
            true => Ok(()),
            false => Err(Refusal::UnknownOrder),
        }
    }

    /// Asks the controller.
    pub(super) async fn ask(&self, call: impl FnOnce(Reply) -> Call) -> Result<Accepted, Refused> {
        Ok(self.site.control.ask(call).await??)
    }

    /// Counts how it ended, and answers.
    pub(super) fn end(self, answer: Result<Accepted, Refused>) -> Response {
        let outcome = match &answer {
            Ok(_) if self.dry_run => Outcome::DryRun,
            Ok(Accepted::Order { repeated, .. } | Accepted::Reservation { repeated, .. }) => {
                match repeated {
                    true => Outcome::Repeated,
                    false => Outcome::Accepted,
                }
            }
            Ok(Accepted::Preview(_)) => Outcome::DryRun,
            Ok(Accepted::Done) => Outcome::Heartbeat,
            Err(refused) => refused.outcome(),
        };
        self.site.counts.count(self.source.as_deref(), outcome);
        match answer {
            Ok(accepted) => accepted.into_response(),
            Err(refused) => refused.into_response(),
        }
    }
}

/// Whether reading is allowed: on loopback as everywhere in this API, elsewhere with the scope.
pub(super) fn may_read<'a>(api: &'a Api, head: &Parts) -> Result<&'a Control, Refused> {
    let site = api.site.as_ref().ok_or(Problem::NO_SITE)?;
    if !api.bound.is_loopback() {
        let who = identify(site, head, &[])?;
        if !(who.scopes.read || who.scopes.admin) {
            return Err(Refusal::Forbidden.into());
        }
    }
    Ok(&site.control)
}

fn identify(site: &Site, head: &Parts, body: &[u8]) -> Result<Principal, Refusal> {
    let target = head.uri.path_and_query();
    let request = Signed {
        method: head.method.as_str(),
        path: target.map_or("/", |target| target.as_str()),
        body,
    };
    site.auth.identify(&head.headers, request)
}

/// At most [`LONGEST`] bytes: more are not read, whatever was announced.
async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    match Limited::new(body, LONGEST).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::Oversized),
        // It broke off; nobody will read the answer.
        Err(_) => Err(Refusal::Malformed),
    }
}

/// Nothing, `dry_run=true` or `dry_run=false`. What looks otherwise might have meant a dry run.
fn dry_run(query: Option<&str>) -> Result<bool, Problem> {
    match query {
        None | Some("" | "dry_run=false") => Ok(false),
        Some("dry_run=true") => Ok(true),
        Some(_) => Err(Problem::BAD_ORDER_QUERY),
    }
}

/// An order or a reservation with its plan beside its own members.
#[derive(Serialize)]
struct WithPlan<'a, T> {
    #[serde(flatten)]
    status: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a crate::curtail::view::Preview>,
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let status = |repeated: bool| match repeated {
            true => StatusCode::OK,
            false => StatusCode::ACCEPTED,
        };
        let at = |path: &str, id: &str| [(header::LOCATION, format!("/api/v1/{path}/{id}"))];
        match self {
            Self::Order {
                status: order,
                plan,
                repeated,
            } => {
                let body = WithPlan {
                    status: &*order,
                    plan: plan.as_ref(),
                };
                (status(repeated), at("orders", &order.id), Json(body)).into_response()
            }
            Self::Reservation {
                status: reservation,
                plan,
                repeated,
            } => {
                let body = WithPlan {
                    status: &*reservation,
                    plan: plan.as_ref(),
                };
                let place = at("reservations", &reservation.id);
                (status(repeated), place, Json(body)).into_response()
            }
            Self::Preview(plan) => {
                let body = serde_json::json!({ "dry_run": true, "plan": plan });
                Json(body).into_response()
            }
            Self::Done => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_a_dry_run_or_surely_none_is_taken() {
        assert_eq!(dry_run(Some("dry_run=true")), Ok(true));
        for none in [None, Some(""), Some("dry_run=false")] {
            assert_eq!(dry_run(none), Ok(false));
        }
        for unclear in [
            "dry_run",
            "dry_run=1",
            "dry_run=True",
            "dryrun=true",
            "dry_run=true&dry_run=false",
            "x",
        ] {
            assert_eq!(dry_run(Some(unclear)), Err(Problem::BAD_ORDER_QUERY));
        }
    }
}
