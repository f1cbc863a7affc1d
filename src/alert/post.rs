//! One request to one receiver, bounded in time, size and direction. It decides what an answer means and nothing
//! else: when to try again is the outbox's business.
//!
//! No redirects (they would carry the message to someone nobody named), no proxy from the environment, no
//! compression. Of a reply only the status is kept. Messages name the host alone: the rest of a URL may be a secret.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::address::{self, PublicOnly};
use crate::clock;

/// Most of a reply that is read, so that the connection can serve again.
const MAX_REPLY_BYTES: usize = 64 << 10;
/// A receiver may ask for a longer pause than the schedule's, but not for a longer one than this.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// Longest text kept of a failure.
const MAX_WHY_CHARS: usize = 300;

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx: the receiver has it.
    Delivered {
        /// HTTP status.
        status: u16,
    },
    /// No answer, or one that may be better next time. Whether the receiver has it is unknown.
    Later {
        /// HTTP status, where one came.
        status: Option<u16>,
        /// The pause that the receiver asked for, at most an hour.
        after: Option<Duration>,
        /// In words.
        why: String,
    },
    /// The receiver will never take it.
    Refused {
        /// HTTP status.
        status: u16,
        /// In words.
        why: String,
    },
}

impl Answer {
    /// HTTP status, where an answer came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Delivered { status } | Self::Refused { status, .. } => Some(*status),
            Self::Later { status, .. } => *status,
        }
    }
}

/// Where to post, checked; and the client that may go there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    url: Url,
    client: Client,
    timeout: Duration,
}

impl Target {
    /// Checks the URL and builds the client. Errors do not repeat the URL.
    pub(super) fn new(url: &str, timeout: Duration, allow_private: bool) -> Result<Self, String> {
        let url = Url::parse(url.trim()).map_err(|error| format!("the URL cannot be read: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the URL is {}, neither http nor https", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL holds credentials, which are not sent".to_owned());
        }
        let host = url.host_str().ok_or("the URL has no host")?;
        if !allow_private {
            address::check_literal(host).map_err(|error| error.to_string())?;
        }
        let client = client(&url, timeout, allow_private)
            .map_err(|error| format!("no HTTP client: {}", describe(error, timeout)))?;
        Ok(Self { url, client, timeout })
    }

    /// Posts `body` once.
    pub(super) async fn post(&self, headers: HeaderMap, body: String) -> Answer {
        let request = self
            .client
            .post(self.url.clone())
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send();
        match request.await {
            Ok(response) => {
                let answer = judge(response.status(), response.headers(), clock::now());
                drain(response).await;
                answer
            }
            Err(error) => Answer::Later {
                status: None,
                after: None,
                why: cut(&format!("{}: {}", self.host(), describe(error, self.timeout))),
            },
        }
    }

    /// The part of the URL that may be shown.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

fn client(url: &Url, timeout: Duration, allow_private: bool) -> reqwest::Result<Client> {
    // One provider for the whole process. Losing the race to another caller leaves the same one in place.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _same = rustls::crypto::ring::default_provider().install_default();
    }
    let mut builder = Client::builder()
        .user_agent(concat!("debunk/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(30));
    if !allow_private {
        builder = builder.dns_resolver(PublicOnly);
    }
    if url.scheme() == "http" {
        // Without certificates to trust, so that a machine that has none can still post in the clear.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// What a status means. 408 and 429 ask to come again; every other 4xx and all redirects are final.
fn judge(status: StatusCode, headers: &HeaderMap, now: OffsetDateTime) -> Answer {
    let code = status.as_u16();
    let why = || match status.canonical_reason() {
        Some(reason) => format!("answered {code} {reason}"),
        None => format!("answered {code}"),
    };
    match code {
        200..=299 => Answer::Delivered { status: code },
        408 | 429 | 500.. => {
            Answer::Later { status: Some(code), after: retry_after(headers, now), why: why() }
        }
        300..=399 => Answer::Refused { status: code, why: format!("{}; redirects are not followed", why()) },
        _ => Answer::Refused { status: code, why: why() },
    }
}

/// Seconds or a date (RFC 9110 §10.2.3), cut to what we are willing to wait.
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (OffsetDateTime::parse(text, &Rfc2822).ok()? - now).try_into().unwrap_or_default(),
    };
    Some(asked.min(MAX_RETRY_AFTER))
}

/// Reads the rest of a small reply and drops a large one. The status has decided: a reply that breaks off here
/// changes nothing.
async fn drain(mut response: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if MAX_REPLY_BYTES < read {
            return;
        }
    }
}

/// The causes of a failed request, without the URL.
fn describe(error: reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("no answer within {} ms", timeout.as_millis());
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_WHY_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    fn answer(code: u16, after: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert(RETRY_AFTER, after.parse().unwrap());
        }
        judge(StatusCode::from_u16(code).unwrap(), &headers, NOW)
    }

    fn pause(code: u16, after: &str) -> Option<Duration> {
        match answer(code, Some(after)) {
            Answer::Later { after, .. } => after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_two_hundreds_are_success() {
        for code in [200, 201, 202, 204, 299] {
            assert_eq!(answer(code, None), Answer::Delivered { status: code });
        }
    }

    #[test]
    fn redirects_and_client_errors_are_final() {
        for code in [301, 302, 304, 307, 308, 400, 401, 403, 404, 410, 413, 422, 499] {
            assert!(matches!(answer(code, None), Answer::Refused { .. }), "{code}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for code in [408, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(answer(code, None), Answer::Later { .. }), "{code}");
        }
    }

    #[test]
    fn a_pause_that_is_asked_for_is_honoured_up_to_an_hour() {
        assert_eq!(pause(429, "7"), Some(Duration::from_secs(7)));
        assert_eq!(pause(503, "86400"), Some(MAX_RETRY_AFTER));
        assert_eq!(pause(503, "Fri, 02 Jan 2026 03:05:05 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(pause(503, "Fri, 02 Jan 2026 03:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(pause(503, "soon"), None);
        assert_eq!(pause(503, "-1"), None);
    }

    #[test]
    fn a_target_is_checked_and_its_url_is_not_repeated() {
        for (url, says) in [
            ("ftp://example.com/s3cret", "neither http nor https"),
            ("https://bob:s3cret@example.com/", "credentials"),
            ("http://127.0.0.1/s3cret", "private address"),
            ("http://2130706433/s3cret", "private address"),
            ("http://0x7f.1/s3cret", "private address"),
            ("http://[::ffff:169.254.169.254]/s3cret", "private address"),
            ("s3cret", "cannot be read"),
        ] {
            let error = Target::new(url, Duration::from_secs(1), false).unwrap_err();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(Target::new("http://127.0.0.1/", Duration::from_secs(1), true).is_ok());
        assert!(Target::new("http://example.com/", Duration::from_secs(1), false).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_inwards_is_never_connected_to() {
        let target =
            Target::new("http://localhost:9/s3cret?token=s3cret", Duration::from_secs(5), false).unwrap();
        let Answer::Later { status: None, why, .. } = target.post(HeaderMap::new(), String::new()).await
        else {
            panic!("it must not have been answered");
        };
        assert!(why.contains("private address"), "{why}");
        assert!(!why.contains("s3cret"), "{why}");
    }

    #[tokio::test]
    async fn an_unreachable_receiver_is_named_by_its_host_alone() {
        let target =
            Target::new("http://127.0.0.1:1/s3cret?token=s3cret", Duration::from_secs(5), true).unwrap();
        let Answer::Later { status: None, why, .. } = target.post(HeaderMap::new(), String::new()).await
        else {
            panic!("nobody listens there");
        };
        assert!(why.starts_with("127.0.0.1: "), "{why}");
        assert!(!why.contains("s3cret"), "{why}");
    }
}
