//! One OTLP request over HTTP and what its answer means for a sender.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};

use super::{Usage, choose_cryptography};

const PROTOBUF: &str = "application/x-protobuf";
/// The longest that a server may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A client that waits for nobody for ever, and goes only where it was told to.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    choose_cryptography();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("cannot make an HTTP client")
}

/// Posts a request once. Spans are stored once however often they are sent, so an unknown outcome is one to try again.
pub(super) async fn post(client: &reqwest::Client, url: &reqwest::Url, body: Vec<u8>) -> Answer {
    let request = client.post(url.clone()).header(CONTENT_TYPE, PROTOBUF);
    let response = match request.body(body).send().await {
        Ok(response) => response,
        Err(error) => return Answer::Later { why: chain(&error), after: None },
    };
    let (status, after) = (response.status(), retry_after(response.headers()));
    let is_protobuf = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROTOBUF);
    match response.bytes().await {
        Ok(body) if status.is_success() => accepted(&body),
        Ok(body) => {
            let said = if is_protobuf { status_message(&body) } else { beginning(&body) };
            refused(status, after, &said)
        }
        Err(error) => Answer::Later { why: chain(&error), after },
    }
}

/// What the answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted {
        rejected: u64,
        message: String,
    },
    /// These spans, for good.
    Rejected(String),
    /// Whatever spans: it is the wrong address, or the wrong server.
    Lost(String),
    Later {
        why: String,
        after: Option<Duration>,
    },
}

fn accepted(body: &[u8]) -> Answer {
    let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    Answer::Accepted { rejected, message: partial.error_message }
}

/// Four statuses may be tried again, all others may not (OTLP/HTTP response).
fn refused(status: StatusCode, after: Option<Duration>, said: &str) -> Answer {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let why = format!("the server answered {status}{said}");
    match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Later { why, after },
        300..=399 | 401 | 403 | 404 | 405 | 415 => Answer::Lost(why),
        _ => Answer::Rejected(why),
    }
}

/// What an OTLP server says.
fn status_message(body: &[u8]) -> String {
    tonic_types::pb::Status::decode(body).map(|status| status.message).unwrap_or_default()
}

/// What any other server says, as far as one wants to read it in a terminal.
fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// An address for all signals gets the path of ours, as exporters do it.
pub(super) fn address(to: &str) -> anyhow::Result<reqwest::Url> {
    let wrong = || Usage(format!("{to:?} is no address such as http://127.0.0.1:4318"));
    let mut url = reqwest::Url::parse(to).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong().into());
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Ok(url)
}

pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_statuses_are_tried_again() {
        for status in 400..600 {
            let status = StatusCode::from_u16(status).unwrap();
            let again = matches!(refused(status, None, ""), Answer::Later { .. });
            assert_eq!(again, [429, 502, 503, 504].contains(&status.as_u16()), "{status}");
        }
        assert_eq!(
            refused(StatusCode::NOT_FOUND, None, "look elsewhere"),
            Answer::Lost("the server answered 404 Not Found: look elsewhere".to_owned())
        );
    }

    #[test]
    fn an_address_for_all_signals_gets_the_path() {
        assert_eq!(address("http://h:1").unwrap().as_str(), "http://h:1/v1/traces");
        assert_eq!(address("https://h/otlp/v1/traces").unwrap().as_str(), "https://h/otlp/v1/traces");
        for wrong in ["", "127.0.0.1:4318", "ftp://h", "localhost:4318"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
