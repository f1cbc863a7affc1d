//! Whether the process lives, whether it can serve, and its numbers.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use utoipa::ToSchema;

use crate::view::Shown;

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    live: bool,
}

/// What serving takes, each `ok` or what is wrong in a word.
#[derive(Serialize, ToSchema)]
struct Ready {
    ready: bool,
    checks: Checks,
}

#[derive(Serialize, ToSchema)]
struct Checks {
    database: &'static str,
    migrations: &'static str,
}

/// Answers `GET /livez`: says nothing of the database, whose outage a restart would not end.
#[utoipa::path(
    get, path = "/livez", tag = "service",
    responses((status = 200, description = "It lives", body = Live)),
)]
pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// Answers `GET /readyz`.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, description = "It can serve", body = Ready),
    (status = 503, description = "It cannot; `retry-after` says when to ask again", body = Ready),
))]
pub(super) async fn ready(State(shown): State<Shown>) -> Response {
    let database = shown.store.ping().await.is_ok();
    let migrations = shown.store.is_prepared();
    shown.metrics.database_up(database);
    let checks = Checks {
        database: if database { "ok" } else { "unreachable" },
        migrations: if migrations { "ok" } else { "waiting" },
    };
    let ready = database && migrations;
    let mut response = Json(Ready { ready, checks }).into_response();
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// Answers `GET /metrics` in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "OpenMetrics", content_type = "application/openmetrics-text", body = String),
))]
pub(super) async fn metrics(State(shown): State<Shown>) -> Response {
    let mut response = shown.metrics.expose().into_response();
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format));
    response
}
