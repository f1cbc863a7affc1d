//! Secrets are copied into telemetry.
//!
//! ## What it detects
//! A mark that this service left in place of a secret when it stored the span: credentials in a URL, a captured
//! `authorization` or `cookie` header, a password in a connection string, a token or private key anywhere.
//! ## Why it matters
//! Telemetry is read by many, kept for long, copied to vendors and searched. Whoever may look at a trace may then act as
//! its user. What is stored here holds the mark alone; every other place that got the span holds the secret.
//! ## Example
//! ```trace
//! |==========| web  server  POST /login
//! | ======   |   web  client  GET /profile  {http.request.header.authorization="Bearer [authorization:0a1b2c3d]"}  << call
//! ```
//! ## Not flagged
//! Values that the SDK had already replaced, and tokens that page through a list.
//! ```trace
//! |==========| web  server  GET /files
//! | ====     |   web  client  GET /files  {url.full=https://h.example.com/files?sig=REDACTED}
//! |     ==== |   web  client  GET /files  {url.full=https://h.example.com/files?next_token=Q1JFRA}
//! ```
//! ## Remedy
//! Send secrets in headers, never in URLs. Do not capture those headers, or replace them in the SDK or in a Collector
//! (`redaction` processor). Change what was written down: it must count as known.
//! ## Blind spots
//! Secrets without a form of their own look like any other value. Bodies are not in spans. Which secret it was is told
//! only by its kind and a short hash; equal hashes are equal values.

use serde::{Deserialize, Serialize};

use crate::model::{Leak, SpanIdx, Trace};
use crate::rules::{Confidence, Cost, Evidence, Exposed, Harm, Occurrence};

/// Kinds that are secrets by their form alone.
const BY_FORM: &[&str] = &[
    "authorization",
    "aws_key",
    "cookie",
    "github_token",
    "google_key",
    "jwt",
    "password",
    "private_key",
    "slack_token",
    "stripe_key",
];
/// Kinds of which a header alone makes a secret: a parameter of such a name may hold anything.
const IN_HEADERS: &[&str] = &["api_key", "secret", "token"];
/// Keys to whole accounts.
const GRAVE: &[&str] = &["aws_key", "private_key", "stripe_key"];

/// Where secrets are worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Environments whose secrets open nothing.
    pub lesser_environments: Vec<String>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, lesser_environments: vec!["development".to_owned(), "test".to_owned()] }
    }
}

/// Finds spans that held a secret.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let leaks = trace.indices().flat_map(|at| trace.span(at).facts.leaks.iter().map(move |leak| (at, leak)));
    leaks.filter(|(_, leak)| is_secret(leak)).map(|(at, leak)| occurrence(trace, at, leak, limits)).collect()
}

fn is_secret(leak: &Leak) -> bool {
    BY_FORM.contains(&leak.kind.as_str()) || (IN_HEADERS.contains(&leak.kind.as_str()) && leak.is_in_header())
}

fn occurrence(trace: &Trace, span: SpanIdx, leak: &Leak, limits: &Thresholds) -> Occurrence {
    let at = trace.attempt_of(span).map_or_else(|| trace.unit_of(span).owner(), crate::model::Attempt::at);
    let Leak { key, kind, hash } = leak;
    let lesser = limits.lesser_environments.contains(&trace.span(span).resource.environment);
    let exposed = match () {
        () if lesser => Exposed::Lesser,
        () if GRAVE.contains(&kind.as_str()) => Exposed::Account,
        () => Exposed::Plain,
    };
    let words = kind.replace('_', " ");
    Occurrence {
        at,
        variant: "written_down",
        family: "written_down",
        group: format!("{key} {kind}"),
        headline: format!("writes a secret ({words}) into `{key}`"),
        why: format!("`{key}` of `{}` held a secret: {words}, hash {hash}", trace.span(span).facts.operation),
        evidence: vec![Evidence::new(
            span,
            "call",
            format!("{key} held a secret of kind {kind}, hash {hash}"),
        )],
        cost: Cost { exposed_calls: 1, ..Cost::default() },
        harm: Harm::Exposed(exposed),
        confidence: Confidence::Confirmed,
        not_visible: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(words: &str) -> Vec<(String, Harm)> {
        let drawing = format!(
            "|==========| web  server  POST /login\n| ======   |   web  client  GET /profile  {{{words}}}\n"
        );
        let trace = sketch::parse(&drawing).unwrap().trace();
        let found = inspect(&trace, &Thresholds::default());
        found.into_iter().map(|found| (found.group, found.harm)).collect()
    }

    #[test]
    fn the_kind_of_secret_decides() {
        let exposed = |group: &str, how| vec![(group.to_owned(), Harm::Exposed(how))];
        for (words, expected) in [
            (
                r#"url.full="https://bob:[password:01234567]@h.example.com/""#,
                exposed("url.full password", Exposed::Plain),
            ),
            (r#"note="key [aws_key:01234567]""#, exposed("note aws_key", Exposed::Account)),
            (
                r#"http.request.header.x-api-key="key [api_key:01234567]""#,
                exposed("http.request.header.x-api-key api_key", Exposed::Plain),
            ),
            (r#"app.token="key [token:01234567]""#, Vec::new()),
            (r#"url.full="https://h.example.com/?sig=[signature:01234567]""#, Vec::new()),
            (
                r#"resource.deployment.environment.name=dev, note="key [jwt:01234567]""#,
                exposed("note jwt", Exposed::Lesser),
            ),
        ] {
            assert_eq!(found(words), expected, "{words}");
        }
    }
}
