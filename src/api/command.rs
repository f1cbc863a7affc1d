//! Requests that do something. A browser that shows somebody else's page must not be made to send one: it can neither
//! set `content-type: application/json` for another site without asking first, nor hide where the page came from.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, ORIGIN};

use super::error::problem;
use crate::view::Shown;

/// The wish of a program or of our own pages, without arguments: an empty body, or `{}`. Every handler that does
/// something takes one.
pub(super) struct Command;

impl FromRequest<Shown> for Command {
    type Rejection = Response;

    async fn from_request(request: Request, shown: &Shown) -> Result<Self, Response> {
        if is_foreign(request.headers(), &shown.config.server.public_url) {
            return Err(problem(StatusCode::FORBIDDEN, "asked by a page of another site", None));
        }
        if !is_json(request.headers()) {
            let detail = "say content-type: application/json";
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, None));
        }
        let body = Bytes::from_request(request, shown).await.map_err(|error| {
            let status = error.into_response().status();
            problem(status, "the body cannot be read", None)
        })?;
        let text = body.trim_ascii();
        let empty = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text)
            .is_ok_and(|fields| fields.is_empty());
        if text.is_empty() || empty {
            return Ok(Self);
        }
        Err(problem(StatusCode::BAD_REQUEST, "nothing is expected in the body but {}", None))
    }
}

/// Browsers name the origin of the page with everything that does something; programs name none.
fn is_foreign(headers: &HeaderMap, public_url: &str) -> bool {
    let ours = origin(public_url);
    let foreign_origin = headers.get_all(ORIGIN).iter().any(|sent| sent.as_bytes() != ours.as_bytes());
    let foreign_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    foreign_origin || foreign_site
}

/// Scheme, host and port of an address, without what follows.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let default = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}", host.strip_suffix(default).unwrap_or(host)).to_ascii_lowercase()
}

fn is_json(headers: &HeaderMap) -> bool {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_before_the_path_and_leaves_default_ports_out() {
        for (url, expected) in [
            ("http://127.0.0.1:4320", "http://127.0.0.1:4320"),
            ("https://Debunk.example:443/x/", "https://debunk.example"),
            ("http://debunk.example:80", "http://debunk.example"),
            ("http://[::1]:4320/", "http://[::1]:4320"),
        ] {
            assert_eq!(origin(url), expected);
        }
    }
}
