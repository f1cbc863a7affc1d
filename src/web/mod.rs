//! The pages: rendered here, readable without script, every filter in the address.
//!
//! Nothing comes from elsewhere and nothing runs; what spans say is text, whatever it looks like. What people decide is
//! sent by forms of ours, and by no other page.

mod alerts;
mod chart;
mod decide;
mod error;
mod evidence;
mod finding;
mod findings;
mod home;
mod layout;
mod map;
mod markdown;
mod report;
mod rules;
mod services;
mod status;
mod trace;
mod traces;
mod waterfall;
mod words;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{HeaderMap, Method, StatusCode};
use maud::html;

use crate::view::{Failure, Shown, refuse_nameless, tagged};
use error::PageError;
use layout::{Page, Section};

pub use layout::POLICY;
pub use report::report;

const STYLE: &str = include_str!("assets/style.css");

/// Everything that people open. Answers every address that nobody else does.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/", get(home::show))
        .route("/findings", get(findings::show))
        .route("/findings/{id}", get(finding::show))
        .route("/findings/{id}/decisions", post(decide::decide))
        .route("/traces", get(traces::show))
        .route("/traces/{id}", get(trace::show))
        .route("/status", get(status::show))
        .route("/services", get(services::list))
        .route("/services/{name}", get(services::show))
        .route("/rules", get(rules::list))
        .route("/rules/{id}", get(rules::show))
        .route("/alerts", get(alerts::show))
        .route("/alerts/receivers/{name}/test", post(alerts::test))
        .route("/alerts/deliveries/{id}/retry", post(alerts::retry))
        .route("/assets/style.css", get(style))
        .route("/assets/icon.svg", get(icon))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(guard))
        .with_state(shown)
}

async fn style(headers: HeaderMap) -> Response {
    tagged(&headers, "text/css; charset=utf-8", STYLE)
}

async fn icon(headers: HeaderMap) -> Response {
    tagged(&headers, "image/svg+xml", include_str!("assets/icon.svg"))
}

async fn guard(
    names: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    match refuse_nameless(names) {
        Ok(()) => next.run(request).await,
        Err(failure) => PageError(failure).into_response(),
    }
}

async fn nothing_here() -> PageError {
    PageError(Failure::missing("such page"))
}

async fn other_method(method: Method) -> Page {
    let body = html! { h1 { "Pages are for reading" } p.lead { (method) " is not answered here." } };
    let mut page = Page::new("Pages are for reading", Section::Elsewhere, body);
    page.status = StatusCode::METHOD_NOT_ALLOWED;
    page
}
