//! The HTTP API: findings, occurrences, traces, rules, receivers and deliveries as JSON under `/api/v1`, and what keepers of the service ask of
//! it: `/livez`, `/readyz`, `/metrics`.
//!
//! Handlers parse, ask once and shape. Every answer that is not the asked-for one is a problem document
//! (RFC 9457), also for addresses that do not exist. What does something is asked for with POST, by programs and our own
//! pages only.

mod command;
mod decisions;
mod deliveries;
mod error;
mod findings;
mod health;
mod jaeger;
mod receivers;
mod rules;
mod services;
mod status;
mod traces;

use axum::Router;
use axum::extract::{FromRequestParts, Query, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use http::request::Parts;
use http::{HeaderName, Method};
use serde::Serialize;

use crate::view::{Failure, Parameters, Shown, Slice};
use command::Command;
use error::ApiError;

/// Everything that programs ask: `/api`, `/livez`, `/readyz`, `/metrics`.
pub fn router(shown: Shown) -> Router {
    let v1 = Router::new()
        .route("/findings", get(findings::list))
        .route("/findings/{id}", get(findings::show))
        .route("/findings/{id}/occurrences", get(findings::occurrences))
        .route("/findings/{id}/history", get(findings::history))
        .route("/findings/{id}/decisions", post(decisions::decide))
        .route("/fallacies", get(services::fallacies))
        .route("/services", get(services::list))
        .route("/services/{name}", get(services::show))
        .route("/map", get(services::map))
        .route("/traces", get(traces::list))
        .route("/traces/{id}", get(traces::show))
        .route("/receivers", get(receivers::list))
        .route("/receivers/{name}/test", post(receivers::test))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}/retry", post(deliveries::retry))
        .route("/status", get(status::show))
        .route("/rules", get(rules::list))
        .route("/rules/{id}", get(rules::show))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method);
    let health = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(other_method);
    Router::new()
        .nest("/api/v1", v1)
        .route("/api", axum::routing::any(nothing_here))
        .route("/api/", axum::routing::any(nothing_here))
        .route("/api/{*rest}", axum::routing::any(nothing_here))
        .merge(jaeger::router())
        .merge(health)
        .layer(middleware::from_fn(guard))
        .with_state(shown)
}

/// A page of a list as JSON.
#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    fn of<F>(slice: Slice<F>, shape: impl Fn(F) -> T) -> Self {
        Self { items: slice.items.into_iter().map(shape).collect(), next: slice.next }
    }
}

/// The query string, every parameter of it still to be taken.
struct Asked(Parameters);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::parameter("", "the query string cannot be read"))?;
        Ok(Self(Parameters::new(pairs)?))
    }
}

impl Asked {
    /// For addresses without parameters.
    fn nothing(self) -> Result<(), ApiError> {
        Ok(self.0.finish()?)
    }
}

async fn nothing_here() -> ApiError {
    ApiError(Failure::missing("such address"))
}

/// The header `allow`, which the router adds, says which are.
async fn other_method(method: Method) -> Response {
    let detail = format!("{method} is not answered here");
    error::problem(http::StatusCode::METHOD_NOT_ALLOWED, &detail, None)
}

/// Answers may hold anything a span held: a browser must take them for what they say they are, and keep none.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
