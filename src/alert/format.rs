//! The forms in which receivers understand a change, and what each needs to be told: a key, a token, or nothing.

use std::path::Path;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use time::OffsetDateTime;
use uuid::Uuid;

use super::sign::SigningKey;
use super::{alertmanager, pagerduty, slack, standard};
use crate::clock;
use crate::config::{self, ReceiverFormat, Secret};
use crate::store::Change;

/// Where Alertmanager takes alerts, below its address.
const PUSH_PATH: &str = "/api/v2/alerts";

/// How a receiver is told.
#[derive(Clone, Debug)]
pub(super) enum Format {
    Standard(SigningKey),
    Alertmanager(Option<Bearer>),
    AlertmanagerPush(Option<Bearer>),
    Slack,
    Pagerduty(Secret),
}

/// A token in the header `authorization`. It never prints.
#[derive(Clone, Debug)]
pub(super) struct Bearer(HeaderValue);

impl Format {
    /// Reads the files that the settings name. Also where to post.
    pub(super) fn open(settings: &config::Receiver) -> Result<(Self, String), String> {
        let url = url(settings)?;
        let secret = settings.secret_file.as_deref();
        Ok(match settings.format {
            ReceiverFormat::Standard => {
                let file = secret.ok_or("format standard signs its messages: give secret_file")?;
                let key = SigningKey::parse(&read("secret_file", file)?);
                (Self::Standard(key.map_err(|why| format!("{}: {why}", file.display()))?), url)
            }
            ReceiverFormat::Alertmanager => (Self::Alertmanager(bearer(secret)?), url),
            ReceiverFormat::AlertmanagerPush => (Self::AlertmanagerPush(bearer(secret)?), push_url(&url)),
            ReceiverFormat::Slack => (Self::Slack, url),
            ReceiverFormat::Pagerduty => {
                let file =
                    secret.ok_or("format pagerduty needs the key of an integration: give secret_file")?;
                let key = pagerduty::key(&read("secret_file", file)?);
                (Self::Pagerduty(key.map_err(|why| format!("{}: {why}", file.display()))?), url)
            }
        })
    }

    /// What is kept and sent at every try.
    pub(super) fn body(&self, change: &Change, site: &str, receiver: &str) -> String {
        match self {
            Self::Standard(_) => standard::body(change, site),
            Self::Alertmanager(_) => alertmanager::webhook(change, site, receiver),
            Self::AlertmanagerPush(_) => alertmanager::push([change], site),
            Self::Slack => slack::body(change, site),
            Self::Pagerduty(_) => pagerduty::body(change, site),
        }
    }

    /// A message that tells nothing.
    pub(super) fn test_body(&self, now: OffsetDateTime, site: &str, receiver: &str) -> String {
        match self {
            Self::Standard(_) => standard::test_body(now),
            Self::Alertmanager(_) => alertmanager::test_webhook(now, site, receiver),
            Self::AlertmanagerPush(_) => alertmanager::test_push(now, site),
            Self::Slack => slack::test_body(),
            Self::Pagerduty(_) => pagerduty::test_body(now, site),
        }
    }

    /// What goes over the wire at one try: headers, and the body with what may not be kept.
    pub(super) fn request(&self, id: Uuid, body: String) -> (HeaderMap, String) {
        match self {
            Self::Standard(key) => (standard::headers(key, id, &body, clock::now()), body),
            Self::Alertmanager(bearer) | Self::AlertmanagerPush(bearer) => {
                let token = bearer.as_ref().map(|Bearer(value)| (AUTHORIZATION, value.clone()));
                (token.into_iter().collect(), body)
            }
            Self::Slack => (HeaderMap::new(), body),
            Self::Pagerduty(key) => (HeaderMap::new(), pagerduty::keyed(key, &body)),
        }
    }
}

fn url(settings: &config::Receiver) -> Result<String, String> {
    match (&settings.url, &settings.url_file) {
        (Some(url), None) => Ok(url.clone()),
        (None, Some(file)) => read("url_file", file),
        (None, None) if settings.format == ReceiverFormat::Pagerduty => Ok(pagerduty::URL.to_owned()),
        _ => Err("give one of url and url_file".to_owned()),
    }
}

/// Alertmanager's address as Prometheus is told it, with the path that takes alerts.
fn push_url(address: &str) -> String {
    let address = address.trim().trim_end_matches('/');
    if address.ends_with(PUSH_PATH) { address.to_owned() } else { format!("{address}{PUSH_PATH}") }
}

fn bearer(file: Option<&Path>) -> Result<Option<Bearer>, String> {
    let Some(file) = file else { return Ok(None) };
    let token = read("secret_file", file)?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
        .map_err(|_| format!("{}: a token cannot hold such letters", file.display()))?;
    value.set_sensitive(true);
    Ok(Some(Bearer(value)))
}

fn read(setting: &str, file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{setting} {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alertmanager_is_named_by_its_address() {
        for address in ["http://am:9093", "http://am:9093/", "http://am:9093/api/v2/alerts"] {
            assert_eq!(push_url(address), "http://am:9093/api/v2/alerts");
        }
        assert_eq!(push_url("https://x.example/am\n"), "https://x.example/am/api/v2/alerts");
    }

    #[test]
    fn a_token_never_prints() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter22\n").unwrap();
        let format = Format::Alertmanager(bearer(Some(file.path())).unwrap());
        assert!(!format!("{format:?}").contains("hunter22"));
        let (headers, body) = format.request(Uuid::nil(), "{}".to_owned());
        assert_eq!((headers["authorization"].to_str().unwrap(), body.as_str()), ("Bearer hunter22", "{}"));
    }
}
