//! A change as a Standard Webhooks 1.0.0 message: its body, made once with the change, and its headers, made for
//! each try.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::sign::SigningKey;
use super::text::{finding_url, fit, remedy, trace_url};
use crate::findings::life::Status;
use crate::findings::shape::Finding;
use crate::rules::Severity;
use crate::store::Change;

/// Receivers may refuse bodies from 20 kB on.
const MAX_BODY_BYTES: usize = 20_000;

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    timestamp: OffsetDateTime,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    finding: Finding,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<Example<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Serialize)]
struct Previous {
    status: Status,
    severity: Severity,
}

#[derive(Serialize)]
struct Example<'a> {
    trace_id: String,
    why: &'a str,
    url: String,
}

/// The body, smaller than 20 kB. `site` is the address that links start with.
pub(super) fn body(change: &Change, site: &str) -> String {
    let url = finding_url(site, &change.finding.claim.id);
    let message = Message {
        r#type: change.event.id(),
        timestamp: change.at,
        data: Data {
            finding: Finding { url, ..change.finding.clone() },
            previous: change.previous.map(|(status, severity)| Previous { status, severity }),
            reason: change.event.reason(),
            example: change.example.as_ref().map(|example| Example {
                trace_id: example.trace_id.to_string(),
                why: &example.why,
                url: trace_url(site, example.trace_id),
            }),
            remedy: remedy(&change.finding.claim.rule),
        },
    };
    fit(&serde_json::to_value(message).expect("plain data serialises"), MAX_BODY_BYTES)
}

/// A message about nothing.
pub(super) fn test_body(now: OffsetDateTime) -> String {
    #[derive(Serialize)]
    struct Test {
        r#type: &'static str,
        #[serde(with = "time::serde::rfc3339")]
        timestamp: OffsetDateTime,
        data: serde_json::Map<String, Value>,
    }
    let test = Test { r#type: "test", timestamp: now, data: serde_json::Map::new() };
    serde_json::to_string(&test).expect("plain data serialises")
}

/// The headers of one try: the id stays, the time and therefore the signature change.
pub(super) fn headers(key: &SigningKey, id: Uuid, body: &str, now: OffsetDateTime) -> HeaderMap {
    let id = id.to_string();
    let seconds = now.unix_timestamp();
    [
        ("webhook-signature", key.sign(&id, seconds, body)),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-id", id),
    ]
    .into_iter()
    .map(|(name, value)| {
        let value = HeaderValue::try_from(value).expect("hexadecimal, digits and base64 are header text");
        (HeaderName::from_static(name), value)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn read(change: &Change) -> Value {
        serde_json::from_str(&body(change, "https://debunk.example/")).unwrap()
    }

    #[test]
    fn a_body_says_what_changed_from_what_and_where_to_look() {
        let change = fixture::opened();
        let told = read(&change);
        assert_eq!(told["type"], "finding.opened");
        assert_eq!(told["timestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(told["data"]["reason"], "gate");
        assert_eq!(
            told["data"]["previous"],
            serde_json::json!({"status": "candidate", "severity": "medium"})
        );
        let finding = &told["data"]["finding"];
        assert_eq!(finding["id"], "9f2c41d07a3be655");
        assert_eq!(finding["url"], "https://debunk.example/findings/9f2c41d07a3be655");
        assert_eq!(finding["cost"]["duplicate_effects"], 1);
        let trace = "0".repeat(31) + "7";
        assert_eq!(told["data"]["example"]["trace_id"], *trace);
        assert_eq!(told["data"]["example"]["url"], format!("https://debunk.example/traces/{trace}"));
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let told = read(&Change { previous: None, example: None, ..fixture::opened() });
        assert!(told["data"].get("previous").is_none());
        assert!(told["data"].get("example").is_none());
    }

    #[test]
    fn a_body_stays_under_20_kb_and_keeps_its_links() {
        for text in ["x".repeat(50_000), "\u{1}".repeat(50_000), "𝄞".repeat(50_000)] {
            let mut change = fixture::opened();
            change.finding.claim.headline.clone_from(&text);
            change.finding.claim.operation.clone_from(&text);
            change.finding.claim.service.clone_from(&text);
            change.finding.claim.callee = Some(text.clone());
            change.example.as_mut().unwrap().why = text;
            assert!(body(&change, "https://debunk.example").len() < MAX_BODY_BYTES);
            let told = read(&change);
            let headline = told["data"]["finding"]["headline"].as_str().unwrap();
            assert!(headline.ends_with('…'), "{headline}");
            assert_eq!(told["data"]["finding"]["url"], "https://debunk.example/findings/9f2c41d07a3be655");
        }
    }

    #[test]
    fn a_second_try_has_the_same_id_and_a_new_signature() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = Uuid::from_u128(7);
        let first = headers(&key, id, "{}", time::macros::datetime!(2026-01-02 03:04:05 UTC));
        let second = headers(&key, id, "{}", time::macros::datetime!(2026-01-02 03:04:10 UTC));
        assert_eq!(first["webhook-id"], second["webhook-id"]);
        assert_eq!(first["webhook-timestamp"], "1767323045");
        assert_ne!(first["webhook-signature"], second["webhook-signature"]);
    }
}
