//! Requests that do something. A browser that shows somebody else's page must not be made to send one: it can neither
//! set `content-type: application/json` for another site without asking first, nor hide where the page came from.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value};

use super::error::{ApiError, problem};
use crate::view::{Failure, Parameters, Shown};

/// The wish of a program or of our own pages: the fields of a JSON object, each a text, to be taken like parameters. An
/// empty body is an empty object. Every handler that does something takes one.
pub(super) struct Command(pub(super) Parameters);

impl Command {
    /// For what takes no arguments.
    pub(super) fn nothing(self) -> Result<(), ApiError> {
        Ok(self.0.finish()?)
    }
}

impl FromRequest<Shown> for Command {
    type Rejection = Response;

    async fn from_request(request: Request, shown: &Shown) -> Result<Self, Response> {
        shown.refuse_foreign(request.headers()).map_err(|failure| ApiError(failure).into_response())?;
        if !is_json(request.headers()) {
            let detail = "say content-type: application/json";
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, None));
        }
        let body = Bytes::from_request(request, shown).await.map_err(|error| {
            let status = error.into_response().status();
            problem(status, "the body cannot be read", None)
        })?;
        fields(body.trim_ascii()).map(Self).map_err(|failure| ApiError(failure).into_response())
    }
}

/// The fields of an object whose values are texts; those that are null are left out.
fn fields(body: &[u8]) -> Result<Parameters, Failure> {
    let object: Map<String, Value> = if body.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(body).map_err(|_| Failure::parameter("", "the body is not a JSON object"))?
    };
    let fields = object.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        _ => Err(Failure::parameter(&name, "not a text")),
    });
    Parameters::new(fields.collect::<Result<_, _>>()?)
}

fn is_json(headers: &HeaderMap) -> bool {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
