//! A change as an event of `PagerDuty`'s Events API v2. All events of a finding bear one key, so that they are one alert
//! there: what opens or becomes worse triggers it, what ends resolves it.
//!
//! The key of the integration is put in when the event is sent, so that it is stored nowhere.
//!
//! Limits: <https://developer.pagerduty.com/docs/send-alert-event> (summary 1,024 characters, `dedup_key` 255, the event
//! 512 KB).

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::text::{finding_url, fit, line, remedy, trace_url};
use crate::config::Secret;
use crate::findings::life::Event;
use crate::rules::Severity;
use crate::store::Change;

/// Where events go unless the settings say otherwise.
pub(super) const URL: &str = "https://events.pagerduty.com/v2/enqueue";

const MAX_SUMMARY: usize = 1_024;
/// Far below what is allowed: whoever is woken reads a screen, not a file.
const MAX_BODY_BYTES: usize = 20_000;

/// Checks the key of an integration: 32 letters and digits. The error does not repeat it.
pub(super) fn key(text: &str) -> Result<Secret, String> {
    let key = text.trim();
    if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!(
            "an integration key of PagerDuty has 32 letters and digits, this one {}",
            key.len()
        ));
    }
    Ok(Secret::new(key.to_owned()))
}

/// The event, without the key.
pub(super) fn body(change: &Change, site: &str) -> String {
    let finding = &change.finding;
    let claim = &finding.claim;
    let url = finding_url(site, &claim.id);
    let mut links = vec![json!({"href": url, "text": "Evidence and remedy"})];
    if let Some(example) = &change.example {
        links.push(json!({"href": trace_url(site, example.trace_id), "text": "Trace"}));
    }
    let summary = format!("{} in {} {}", claim.headline, claim.service, claim.operation);
    let event = json!({
        "event_action": action(change.event),
        "dedup_key": format!("debunk/{}", claim.id),
        "payload": {
            "summary": line(&summary, MAX_SUMMARY),
            "source": source(&claim.service),
            "severity": severity(change.told),
            "timestamp": change.at.format(&Rfc3339).expect("an instant of a database has a year of four digits"),
            "component": line(&claim.operation, MAX_SUMMARY),
            "group": line(&claim.environment, MAX_SUMMARY),
            "class": claim.rule,
            "custom_details": {
                "event": change.event.id(),
                "reason": change.event.reason(),
                "fallacy": claim.fallacy,
                "severity": claim.severity,
                "confidence": claim.confidence,
                "callee": claim.callee.as_ref().map(|callee| line(callee, MAX_SUMMARY)),
                "why": change.example.as_ref().map(|example| line(&example.why, MAX_SUMMARY)),
                "remedy": remedy(&claim.rule),
                "cost": claim.cost,
                "occurrences": finding.occurrences,
            },
        },
        "links": links,
        "client": "Debunk",
        "client_url": url,
    });
    fit(&event, MAX_BODY_BYTES)
}

/// An alert about nothing, with the least severity there is.
pub(super) fn test_body(now: OffsetDateTime, site: &str) -> String {
    json!({
        "event_action": "trigger",
        "dedup_key": "debunk/test",
        "payload": {
            "summary": "A test by Debunk: nothing is wrong",
            "source": "debunk",
            "severity": "info",
            "timestamp": now.format(&Rfc3339).unwrap_or_default(),
        },
        "client": "Debunk",
        "client_url": site,
    })
    .to_string()
}

/// The event with the key, which holds only letters and digits.
pub(super) fn keyed(key: &Secret, body: &str) -> String {
    let fields = body.strip_prefix('{').unwrap_or(body);
    format!("{{\"routing_key\":\"{}\",{fields}", key.expose())
}

fn action(event: Event) -> &'static str {
    match event {
        Event::Acknowledged => "acknowledge",
        _ if event.is_end() => "resolve",
        _ => "trigger",
    }
}

/// May not be empty.
fn source(service: &str) -> String {
    if service.is_empty() { "unknown".to_owned() } else { line(service, MAX_SUMMARY) }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "info",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixture;
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789ABCDEF";

    fn sent(change: &Change) -> Value {
        let body = body(change, "https://debunk.example");
        assert!(!body.contains("routing_key"), "it is stored nowhere");
        serde_json::from_str(&keyed(&key(KEY).unwrap(), &body)).unwrap()
    }

    #[test]
    fn an_event_has_the_fields_of_version_2() {
        let told = sent(&fixture::opened());
        assert_eq!((&told["routing_key"], &told["event_action"]), (&KEY.into(), &"trigger".into()));
        assert_eq!(told["dedup_key"], "debunk/9f2c41d07a3be655");
        let payload = &told["payload"];
        assert_eq!((&payload["severity"], &payload["source"]), (&"critical".into(), &"checkout".into()));
        assert_eq!(payload["timestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(told["links"][0]["href"], "https://debunk.example/findings/9f2c41d07a3be655");
    }

    #[test]
    fn what_ends_resolves_under_the_same_key() {
        let told = sent(&Change { event: Event::Quiet, ..fixture::opened() });
        assert_eq!(told["event_action"], "resolve");
        assert_eq!(told["dedup_key"], sent(&fixture::opened())["dedup_key"]);
    }

    /// The limits that the page above publishes.
    #[test]
    fn the_limits_of_pagerduty_are_kept_whatever_spans_say() {
        for text in ["x".repeat(600_000), "\u{1}".repeat(50_000), "𝄞".repeat(50_000), String::new()] {
            let change = fixture::with_text(&text);
            let told = sent(&change);
            assert!(told.to_string().len() < 512_000);
            assert!(told["payload"]["summary"].as_str().unwrap().chars().count() <= 1_024);
            assert!(told["dedup_key"].as_str().unwrap().len() <= 255);
            assert_ne!(told["payload"]["source"], "");
            assert_eq!(told["links"][0]["href"], "https://debunk.example/findings/9f2c41d07a3be655");
        }
    }

    #[test]
    fn a_key_that_is_none_is_described_and_not_repeated() {
        for text in ["", "s3cret", &"\"".repeat(32)] {
            let error = key(text).unwrap_err();
            assert!(error.contains("32") && !error.contains("s3cret") && !error.contains('"'), "{error}");
        }
        assert!(key(&format!("{KEY}\n")).is_ok());
    }
}
