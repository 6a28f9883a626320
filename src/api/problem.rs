//! What went wrong, for machines: RFC 9457. Invariant: a `type` never changes its meaning; new ones may come.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One kind of problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: &'static str,
}

impl Problem {
    /// Another path than those of [`super`].
    pub const NOT_FOUND: Self = Self {
        status: StatusCode::NOT_FOUND,
        kind: "urn:sluice:problem:not-found",
        title: "There is nothing here",
        detail: "Try /api/v1/summary, /api/v1/miners, /api/v1/pools, /metrics, /livez or /readyz.",
    };
    /// `/metrics/workers` while it is off.
    pub const WORKER_METRICS_OFF: Self = Self {
        status: StatusCode::NOT_FOUND,
        kind: "urn:sluice:problem:worker-metrics-off",
        title: "Metrics per worker are off",
        detail: "They can be up to 20,000 series each; set worker_metrics = true under [api] to have them.",
    };
    /// A query that cannot be read.
    pub const BAD_QUERY: Self = Self {
        status: StatusCode::BAD_REQUEST,
        kind: "urn:sluice:problem:bad-query",
        title: "The query cannot be read",
        detail: "limit and offset are whole numbers (limit at most 1000), worker is a part of a name.",
    };
    /// A method that is neither GET nor HEAD.
    pub const METHOD: Self = Self {
        status: StatusCode::METHOD_NOT_ALLOWED,
        kind: "urn:sluice:problem:method-not-allowed",
        title: "This API only reads",
        detail: "Use GET or HEAD.",
    };
    /// A Host that is not this machine (DNS rebinding).
    pub const HOST: Self = Self {
        status: StatusCode::FORBIDDEN,
        kind: "urn:sluice:problem:host-not-allowed",
        title: "This Host is not served",
        detail: "Name the API by the address it listens on, or localhost; other names are refused so that no web page can read it (DNS rebinding).",
    };
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "type": self.kind,
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = header::HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}
