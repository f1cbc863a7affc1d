//! Failures as pages.

use axum::response::{IntoResponse, Response};
use http::header::{HeaderValue, RETRY_AFTER};
use maud::html;

use super::layout::{Page, Section};
use super::words::capital;
use crate::view::Failure;

/// A failure that a person reads.
#[derive(Debug)]
pub(super) struct PageError(pub(super) Failure);

impl<E: Into<Failure>> From<E> for PageError {
    fn from(failure: E) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (title, advice) = match &self.0 {
            Failure::Parameter { .. } => {
                ("That address asks for something unknown", "Change the address, or start from the list.")
            }
            Failure::Missing { .. } => (
                "Not here",
                "Traces and what was judged from them are kept for a while only; it may have been dropped.",
            ),
            Failure::Conflict { .. } => ("Not as things are", "Nothing was changed."),
            Failure::Foreign => {
                ("Not from there", "Nothing was changed. Do it on our own pages, at the configured address.")
            }
            Failure::Unavailable => ("The database is away", "This page asks again by itself."),
            Failure::Broken => ("Something went wrong here", "Nothing was changed."),
        };
        // A parameter is named as it is written.
        let is_named = matches!(&self.0, Failure::Parameter { .. });
        let detail = if is_named { self.0.detail() } else { capital(&self.0.detail()) };
        let body = html! {
            h1 { (title) }
            p.lead { (detail) "." }
            p { (advice) }
            p { a href="/" { "All fallacies" } " · " a href="/findings" { "All findings" } }
        };
        let mut page = Page::new(title, Section::Elsewhere, body);
        page.status = self.0.status();
        page.refresh = (self.0 == Failure::Unavailable).then_some(5);
        let mut response = page.into_response();
        if self.0 == Failure::Unavailable {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
