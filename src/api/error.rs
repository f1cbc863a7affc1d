//! Failures as problem documents.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use super::openapi::Problem;
use crate::view::Failure;

/// A failure that a program reads.
#[derive(Debug)]
pub(super) struct ApiError(pub(super) Failure);

impl<E: Into<Failure>> From<E> for ApiError {
    fn from(failure: E) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let parameter = match &self.0 {
            Failure::Parameter { name, .. } => Some(name.as_str()),
            _ => None,
        };
        let mut response = problem(self.0.status(), &self.0.detail(), parameter);
        if self.0 == Failure::Unavailable {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// A problem document (RFC 9457).
pub(super) fn problem(status: StatusCode, detail: &str, parameter: Option<&str>) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), detail, parameter };
    let mut response = (status, axum::Json(problem)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
