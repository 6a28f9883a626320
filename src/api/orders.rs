//! Orders over HTTP: send, plan only, see, end; heartbeats; the emergency stop.
//!
//! | request | answers |
//! |---|---|
//! | `POST /api/v1/orders[?dry_run=true]` | 202 and the order; 200 and the first answer, if the same bytes came before |
//! | `GET /api/v1/orders`, `/api/v1/orders/{id}` | those in force and the latest that ended; one |
//! | `DELETE /api/v1/orders/{id}` | ends it: the release is staggered |
//! | `POST /api/v1/heartbeats` | 204; the source is alive |
//! | `POST /api/v1/estop` | as an order of class 0 that caps all mining at nothing until an admin ends it |
//!
//! Invariant: nothing here decides whether an order is believed, and nothing is sent on that was not read strictly.

use super::Api;
use super::control::{Accepted, Call};
use super::gate::{Errand, may_read};
use super::refused::Refused;
use crate::curtail::signal::{self, Ask, Envelope, Refusal, Wrong};
use crate::curtail::view::OrderStatus;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// `GET /api/v1/orders`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// In force, then the latest that ended.
    pub orders: Vec<OrderStatus>,
}

/// The routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/orders", get(list).post(send))
        .route("/api/v1/orders/{id}", get(one).delete(end))
        .route("/api/v1/heartbeats", post(heartbeat))
        .route("/api/v1/estop", post(estop))
}

async fn list(State(api): State<Api>, head: Parts) -> Result<Json<Orders>, Refused> {
    let orders = may_read(&api, &head)?.view().orders.clone();
    Ok(Json(Orders { orders }))
}

async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
    head: Parts,
) -> Result<Json<OrderStatus>, Refused> {
    let view = may_read(&api, &head)?.view();
    let order = view.orders.iter().find(|order| order.id == id);
    Ok(Json(order.ok_or(Refusal::UnknownOrder)?.clone()))
}

async fn send(State(api): State<Api>, request: Request) -> Response {
    let fits = |ask: &Ask| !matches!(ask, Ask::Reserve(_));
    signal(&api, request, fits).await
}

/// An envelope of a kind that `fits` the path it was sent to, on its way to the controller and back.
pub(super) async fn signal(api: &Api, request: Request, fits: fn(&Ask) -> bool) -> Response {
    let mut errand = match Errand::begin(api) {
        Ok(errand) => errand,
        Err(refused) => return refused.into_response(),
    };
    let answer = hand_over(&mut errand, request, |body| {
        let envelope = signal::read(body)?;
        match fits(&envelope.ask) {
            true => Ok(envelope),
            false => Err(Wrong::new(Refusal::Unsupported, "kind")),
        }
    });
    let answer = answer.await;
    errand.end(answer)
}

async fn hand_over(
    errand: &mut Errand<'_>,
    request: Request,
    read: impl FnOnce(&[u8]) -> Result<Envelope, Wrong>,
) -> Result<Accepted, Refused> {
    let asked = errand.admit(request).await?;
    let envelope = read(&asked.body)?;
    errand.speaks(&asked.who, &envelope.source)?;
    if envelope.is_estop() && !asked.who.scopes.admin {
        return Err(Refusal::Forbidden.into());
    }
    let call = |reply| Call::Signal {
        envelope: Box::new(envelope),
        raw: asked.body,
        who: asked.who,
        dry_run: asked.dry_run,
        reply,
    };
    errand.ask(call).await
}

async fn estop(State(api): State<Api>, request: Request) -> Response {
    let mut errand = match Errand::begin(&api) {
        Ok(errand) => errand,
        Err(refused) => return refused.into_response(),
    };
    let read = |body: &[u8]| signal::read_heartbeat(body).map(Envelope::estop);
    let answer = hand_over(&mut errand, request, read).await;
    errand.end(answer)
}

async fn heartbeat(State(api): State<Api>, request: Request) -> Response {
    let mut errand = match Errand::begin(&api) {
        Ok(errand) => errand,
        Err(refused) => return refused.into_response(),
    };
    let answer = beat(&mut errand, request).await;
    errand.end(answer)
}

async fn beat(errand: &mut Errand<'_>, request: Request) -> Result<Accepted, Refused> {
    let asked = errand.admit(request).await?;
    let heartbeat = signal::read_heartbeat(&asked.body)?;
    errand.speaks(&asked.who, &heartbeat.source)?;
    errand.is_for_this_site(&heartbeat.audience)?;
    let call = |reply| Call::Heartbeat {
        heartbeat,
        raw: asked.body,
        who: asked.who,
        reply,
    };
    errand.ask(call).await
}

async fn end(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Response {
    release(&api, &id, "o-", request).await
}

/// Ends an order or gives a reservation back, by its id, which begins with `prefix`.
pub(super) async fn release(api: &Api, id: &str, prefix: &str, request: Request) -> Response {
    let mut errand = match Errand::begin(api) {
        Ok(errand) => errand,
        Err(refused) => return refused.into_response(),
    };
    let answer = let_go(&mut errand, id, prefix, request).await;
    let mut response = errand.end(answer);
    // It is done, not merely taken.
    if response.status() == StatusCode::ACCEPTED {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

async fn let_go(
    errand: &mut Errand<'_>,
    id: &str,
    prefix: &str,
    request: Request,
) -> Result<Accepted, Refused> {
    let asked = errand.admit(request).await?;
    if !names(id, prefix) {
        return Err(Refusal::UnknownOrder.into());
    }
    if asked.dry_run {
        errand.could_end(&asked.who, id)?;
    }
    let call = |reply| Call::Release {
        id: id.to_owned(),
        who: asked.who,
        dry_run: asked.dry_run,
        reply,
    };
    errand.ask(call).await
}

/// Whether `id` can name one whose ids begin with `prefix`, as it was given out: `o-01` is not `o-1`.
pub(super) fn names(id: &str, prefix: &str) -> bool {
    let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    signal::read::is_id(id)
        && id
            .strip_prefix(prefix)
            .is_some_and(|digits| !padded(digits))
}
