//! Reservations over HTTP: a scheduler asks for watts, sees when they are proven free, renews, gives back.
//!
//! | request | answers |
//! |---|---|
//! | `POST /api/v1/reservations[?dry_run=true]` | 202 and `pending`, `granted` or `partial`, an envelope of kind `reserve` |
//! | `GET /api/v1/reservations`, `/api/v1/reservations/{id}` | those in force and the latest that ended; one |
//! | `POST /api/v1/reservations/{id}/renew` | moves the lease: `{"expires_at": T}` |
//! | `DELETE /api/v1/reservations/{id}` | gives it back |
//!
//! Invariant: as `orders.rs`.

use super::Api;
use super::control::{Accepted, Call};
use super::gate::{Errand, may_read};
use super::orders;
use super::problem::Problem;
use super::refused::Refused;
use crate::curtail::signal::{self, Ask, Refusal};
use crate::curtail::view::ReservationStatus;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// `GET /api/v1/reservations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reservations {
    /// In force, then the latest that ended.
    pub reservations: Vec<ReservationStatus>,
}

/// The routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/reservations", get(list).post(send))
        .route("/api/v1/reservations/{id}", get(one).delete(end))
        .route("/api/v1/reservations/{id}/renew", post(renew))
}

async fn list(State(api): State<Api>, head: Parts) -> Result<Json<Reservations>, Refused> {
    let reservations = may_read(&api, &head)?.view().reservations.clone();
    Ok(Json(Reservations { reservations }))
}

async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
    head: Parts,
) -> Result<Json<ReservationStatus>, Refused> {
    let view = may_read(&api, &head)?.view();
    let mut all = view.reservations.iter();
    let one = all.find(|reservation| reservation.id == id);
    Ok(Json(one.ok_or(Refusal::UnknownOrder)?.clone()))
}

async fn send(State(api): State<Api>, request: Request) -> Response {
    orders::signal(&api, request, |ask| matches!(ask, Ask::Reserve(_))).await
}

async fn end(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Response {
    orders::release(&api, &id, "r-", request).await
}

async fn renew(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Response {
    let mut errand = match Errand::begin(&api) {
        Ok(errand) => errand,
        Err(refused) => return refused.into_response(),
    };
    let answer = prolong(&mut errand, &id, request).await;
    errand.end(answer)
}

async fn prolong(errand: &mut Errand<'_>, id: &str, request: Request) -> Result<Accepted, Refused> {
    let asked = errand.admit(request).await?;
    if asked.dry_run {
        // There is nothing to plan, and it must not renew.
        return Err(Problem::BAD_ORDER_QUERY.into());
    }
    let expires_at = signal::read_renewal(&asked.body)?;
    if !orders::names(id, "r-") {
        return Err(Refusal::UnknownOrder.into());
    }
    let call = |reply| Call::Renew {
        id: id.to_owned(),
        expires_at,
        who: asked.who,
        reply,
    };
    errand.ask(call).await
}
