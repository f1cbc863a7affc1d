//! Answers that change only with the program or its settings: sent once, then confirmed by their tag.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use xxhash_rust::xxh3::xxh3_64;

/// `body`, or 304 where the reader has it already.
pub fn tagged(asked: &HeaderMap, content_type: &'static str, body: impl Into<String>) -> Response {
    let body = body.into();
    let tag = format!("\"{:016x}\"", xxh3_64(body.as_bytes()));
    let known = asked.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known =
        known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag));
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Kept, but asked for again each time: a new version shows at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_sent_again() {
        let first = tagged(&HeaderMap::new(), "text/css", "a{}");
        assert_eq!(first.status(), StatusCode::OK);
        let mut asked = HeaderMap::new();
        asked.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(tagged(&asked, "text/css", "a{}").status(), StatusCode::NOT_MODIFIED);
        assert_eq!(tagged(&asked, "text/css", "b{}").status(), StatusCode::OK);
    }
}
