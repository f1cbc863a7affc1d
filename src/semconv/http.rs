//! HTTP: `http.*`, `url.*` and what Envoy, Brave and older SDKs call the same.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::field::{self, Field};
use super::template;
use super::url::{self, Url};
use crate::model::HttpFacts;

/// Most arguments of a query that are read.
const MOST_ARGUMENTS: usize = 64;
/// Most headers of one request that are kept.
const MOST_PREFERENCES: usize = 8;

/// What the attributes of one span say of HTTP.
#[derive(Default)]
pub(super) struct Names<'a> {
    method: Field<'a>,
    original_method: Field<'a>,
    status: Field<'a>,
    /// The whole URL of a client, or of a server that writes it.
    pub(super) url: Field<'a>,
    path: Field<'a>,
    query: Field<'a>,
    target: Field<'a>,
    scheme: Field<'a>,
    route: Field<'a>,
    /// `User-Agent` of the request.
    pub(super) user_agent: Field<'a>,
    /// `user_agent.synthetic.type`.
    pub(super) synthetic: Field<'a>,
    /// Size of the request's body.
    pub(super) request_size: Field<'a>,
    /// Size of the response's body.
    pub(super) response_size: Field<'a>,
    /// Ordinal of this attempt.
    pub(super) resend_count: Field<'a>,
    content_type: Field<'a>,
    retry_after: Field<'a>,
    /// Captured headers of the request that make answers differ.
    preferences: Vec<(String, &'a Value)>,
    /// Go: whether the connection was there already.
    pub(super) reused: Field<'a>,
    /// `Upgrade`-style switch of protocols, or a stream of events.
    pub(super) protocol: Field<'a>,
}

/// Reads the arguments of a query: decoded, sorted by name, then value.
pub(super) fn arguments(query: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(MOST_ARGUMENTS)
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (url::decode(name), url::decode(value)))
        .collect();
    pairs.sort();
    pairs
}

/// A method in a span's name: `GET /cart`, `HTTP GET`, `HTTP GET: /route`, `get`. What follows must look like a path or be nothing.
pub(super) fn method_in_name(name: &str) -> Option<&'static str> {
    let rest = name.strip_prefix("HTTP ").unwrap_or(name);
    let (first, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let method = known_method(first.trim_end_matches(':'))?;
    let tail = tail.trim_start();
    (tail.is_empty() || tail.starts_with('/') || tail.contains("://") || tail == "*").then_some(method)
}

fn known_method(word: &str) -> Option<&'static str> {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    known.into_iter().find(|method| method.eq_ignore_ascii_case(word))
}

/// The header says for whom, or in which form, an answer is asked for.
fn is_preference(header: &str) -> bool {
    matches!(header, "accept" | "accept-language" | "range" | "if-none-match")
        || ["tenant", "locale", "currency"].iter().any(|word| header.contains(word))
}

/// The value stands for one that the SDK removed.
pub(super) fn is_redacted(value: &str) -> bool {
    let bare = value.trim_matches(['[', ']', '<', '>', '?', '*']);
    (bare.is_empty() && value.contains('*')) || bare.eq_ignore_ascii_case("redacted")
}

impl<'a> Names<'a> {
    /// Takes an attribute of the namespaces `http`, `url` and `user_agent`, captured headers excepted.
    pub(super) fn take(&mut self, key: &str, value: &'a Value) {
        match key {
            "http.request.method" => self.method.current(value),
            "http.method" => self.method.former(value),
            "http.request.method_original" => self.original_method.current(value),
            "http.response.status_code" => self.status.current(value),
            "http.status_code" => self.status.former(value),
            "url.full" => self.url.current(value),
            "http.url" => self.url.former(value),
            "url.path" => self.path.current(value),
            "http.path" => self.path.ranked(3, value),
            "url.query" => self.query.current(value),
            "http.target" => self.target.current(value),
            "url.scheme" => self.scheme.current(value),
            "http.scheme" => self.scheme.former(value),
            "http.route" => self.route.current(value),
            "url.template" => self.route.ranked(1, value),
            "user_agent.original" => self.user_agent.current(value),
            "http.user_agent" => self.user_agent.former(value),
            "user_agent.synthetic.type" => self.synthetic.current(value),
            "http.request.resend_count" => self.resend_count.current(value),
            "http.resend_count" => self.resend_count.former(value),
            "http.retry_count" => self.resend_count.ranked(2, value),
            "http.request.body.size" => self.request_size.current(value),
            "http.request.size" => self.request_size.former(value),
            "http.request_content_length" => self.request_size.ranked(3, value),
            "http.request_content_length_uncompressed" => self.request_size.ranked(4, value),
            "http.response.body.size" => self.response_size.current(value),
            "http.response.size" => self.response_size.former(value),
            "http.response_content_length" => self.response_size.ranked(3, value),
            "http.response_content_length_uncompressed" => self.response_size.ranked(4, value),
            "http.protocol" => self.protocol.former(value),
            "http.conn.reused" => self.reused.current(value),
            _ => {}
        }
    }

    /// Takes a captured header of the response; `name` is lower-case with hyphens.
    pub(super) fn take_response_header(&mut self, name: &str, value: &'a Value) {
        match name {
            "content-length" => self.response_size.ranked(2, value),
            "content-type" => self.content_type.current(value),
            "retry-after" => self.retry_after.current(value),
            _ => {}
        }
    }

    /// Takes a captured header of the request that says something of HTTP itself.
    pub(super) fn take_request_header(&mut self, name: &str, value: &'a Value) {
        match name {
            "content-length" => self.request_size.ranked(2, value),
            "user-agent" => self.user_agent.ranked(2, value),
            _ if self.preferences.len() < MOST_PREFERENCES && is_preference(name) => {
                self.preferences.push((name.to_owned(), value));
            }
            _ => {}
        }
    }

    /// Something here is said of HTTP. A route alone is not: frameworks write it on spans of their inner layers.
    pub(super) fn is_present(&self) -> bool {
        self.method.is_some()
            || self.status.is_some()
            || self.url.is_some()
            || self.target.is_some()
            || self.path.age() == Some(3)
    }

    /// `Content-Type` of the response, without parameters.
    pub(super) fn content_type(&self) -> Option<String> {
        let sent = self.content_type.text()?;
        Some(sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// The facts. `full` is the parsed `url.full`.
    pub(super) fn facts(&self, full: Option<&Url<'_>>, name: &str) -> HttpFacts {
        let target_text = self.target.text();
        let target = target_text.as_deref().map(Url::parse);
        let path = self.path(full, target.as_ref());
        let query_text = self.query.text().map(|query| query.trim_start_matches('?').to_owned());
        let query = [
            query_text.as_deref(),
            target.as_ref().and_then(|target| target.query),
            full.and_then(|url| url.query),
        ]
        .into_iter()
        .flatten()
        .find(|query| !query.is_empty())
        .unwrap_or_default();
        let arguments = arguments(query);
        let route = self.route.text().map(|route| template::route(&route));
        HttpFacts {
            method: self.method(name),
            status: self
                .status
                .count()
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| (100..600).contains(code)),
            // A catch-all names the framework's fallback, not what was asked.
            route: route.filter(|route| route != "/{}" || path.is_none()),
            query_redacted: is_redacted(query)
                || (!arguments.is_empty() && arguments.iter().all(|(_, value)| is_redacted(value))),
            query: if is_redacted(query) { Vec::new() } else { arguments },
            scheme: self
                .scheme
                .text()
                .or_else(|| full.and_then(|url| url.scheme).map(Cow::Borrowed))
                .map(|scheme| scheme.to_ascii_lowercase()),
            retry_after: self.retry_after.is_some(),
            preferences: self.preferences(),
            path,
        }
    }

    fn preferences(&self) -> Vec<(String, String)> {
        let said = self.preferences.iter();
        let mut said: Vec<(String, String)> =
            said.filter_map(|(name, value)| Some((name.clone(), field::text(value)?.into_owned()))).collect();
        said.sort();
        said
    }

    /// A bare `http.path` (Brave) says less than a URL: its query is missing.
    pub(super) fn path_is_bare(&self) -> bool {
        self.path.age() == Some(3) && !self.url.is_some() && !self.target.is_some()
    }

    fn path(&self, full: Option<&Url<'_>>, target: Option<&Url<'_>>) -> Option<String> {
        let own = |age: bool| self.path.text().filter(|_| (self.path.age() == Some(0)) == age);
        own(true)
            .or_else(|| target.and_then(|target| target.path).map(Cow::Borrowed))
            .or_else(|| full.and_then(|url| url.path).map(Cow::Borrowed))
            .or_else(|| own(false))
            .map(|path| path.split(['?', '#']).next().unwrap_or_default().to_owned())
            .filter(|path| !path.is_empty())
    }

    fn method(&self, name: &str) -> Option<String> {
        let sent = self.method.text().filter(|method| method != "_OTHER");
        sent.or_else(|| self.original_method.text())
            .map(|method| method.to_ascii_uppercase())
            .or_else(|| method_in_name(name).map(ToOwned::to_owned))
    }
}
