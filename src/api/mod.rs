//! The HTTP API: findings, occurrences, traces, rules, receivers and deliveries as JSON under `/api/v1`, and what keepers
//! of the service ask of it: `/livez`, `/readyz`, `/metrics`.
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
mod openapi;
mod receivers;
mod rules;
mod services;
mod status;
mod traces;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use http::request::Parts;
use http::{HeaderName, Method};
use serde::Serialize;
use utoipa::{OpenApi as _, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::view::{Failure, Parameters, Shown, Slice, refuse_nameless};
use command::Command;
use error::ApiError;

/// Everything that programs ask: `/api`, `/livez`, `/readyz`, `/metrics`.
pub fn router(shown: Shown) -> Router {
    let (routes, _) = described().split_for_parts();
    routes
        .method_not_allowed_fallback(other_method)
        .route("/api", axum::routing::any(nothing_here))
        .route("/api/", axum::routing::any(nothing_here))
        .route("/api/{*rest}", axum::routing::any(nothing_here))
        .merge(jaeger::router())
        .layer(middleware::from_fn(guard))
        .with_state(shown)
}

/// The routes that the document describes.
fn described() -> OpenApiRouter<Shown> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(findings::list))
        .routes(routes!(findings::show))
        .routes(routes!(findings::occurrences))
        .routes(routes!(findings::history))
        .routes(routes!(decisions::decide))
        .routes(routes!(services::fallacies))
        .routes(routes!(services::list))
        .routes(routes!(services::show))
        .routes(routes!(services::map))
        .routes(routes!(traces::list))
        .routes(routes!(traces::show))
        .routes(routes!(traces::otlp))
        .routes(routes!(receivers::list))
        .routes(routes!(receivers::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::retry))
        .routes(routes!(status::show))
        .routes(routes!(rules::list))
        .routes(routes!(rules::show))
        .routes(routes!(openapi::show));
    OpenApiRouter::with_openapi(openapi::Head::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .nest("/api/v1", v1)
}

/// A page of a list as JSON.
#[derive(Serialize, ToSchema)]
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
async fn guard(
    names: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refuse_nameless(names) {
        Ok(()) => next.run(request).await,
        Err(failure) => ApiError(failure).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
