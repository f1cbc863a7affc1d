//! A change in the words of Prometheus' Alertmanager: the body that it posts to webhooks, for those who have such a
//! receiver, and the alerts that it takes itself.
//!
//! Alertmanager tells alerts apart by their labels, so labels hold only what stays: an escalated finding is another alert,
//! and the one before it ends. What is not sent again ends by itself (`resolve_timeout`, 5 minutes unless set).
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>,
//! <https://prometheus.io/docs/alerting/latest/alerts_api/>

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::text::{finding_url, fit, line, remedy};
use crate::findings::life::Status;
use crate::findings::shape::Finding;
use crate::rules::Severity;
use crate::store::Change;

/// How Alertmanager writes that an alert has no end yet.
const NO_END: &str = "0001-01-01T00:00:00Z";
/// Alerts are for people: nothing of this size was meant to be read. Neither format has a limit of its own.
const MAX_BODY_BYTES: usize = 64 << 10;
const MAX_LABEL: usize = 256;
const MAX_ANNOTATION: usize = 2_000;
/// Alerts of one request. Each is at most some kilobytes.
pub(super) const MAX_ALERTS: usize = 64;

/// The body of a webhook, version 4. `receiver` is our name for it.
pub(super) fn webhook(change: &Change, site: &str, receiver: &str) -> String {
    let finding = &change.finding;
    let status = if change.event.is_end() { "resolved" } else { "firing" };
    let labels = labels(finding, change.told);
    let annotations = annotations(change);
    let url = finding_url(site, &finding.claim.id);
    let alert = json!({
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": instant(since(finding)),
        "endsAt": if change.event.is_end() { instant(change.at) } else { NO_END.to_owned() },
        "generatorURL": url,
        "fingerprint": finding.claim.id,
    });
    fit(&body(receiver, status, &labels, &annotations, site, &alert), MAX_BODY_BYTES)
}

fn body(
    receiver: &str,
    status: &str,
    labels: &Value,
    annotations: &Value,
    site: &str,
    alert: &Value,
) -> Value {
    let name = &labels["alertname"];
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname={name}}}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": {"alertname": name},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": site,
        "alerts": [alert],
    })
}

/// The alerts of these changes, for `POST /api/v2/alerts`. Those that fire have no end: they are sent again.
pub(super) fn push<'a>(changes: impl IntoIterator<Item = &'a Change>, site: &str) -> String {
    let alerts: Vec<Value> = changes.into_iter().flat_map(|change| alerts(change, site)).collect();
    Value::Array(alerts).to_string()
}

fn alerts(change: &Change, site: &str) -> Vec<Value> {
    let end = change.event.is_end().then_some(change.at);
    let mut alerts = vec![alert(change, change.told, end, site)];
    // What fired under another severity is another alert.
    if let Some((Status::Open, before)) = change.previous
        && end.is_none()
        && before != change.told
    {
        alerts.push(alert(change, before, Some(change.at), site));
    }
    alerts
}

fn alert(change: &Change, severity: Severity, end: Option<OffsetDateTime>, site: &str) -> Value {
    let mut alert = json!({
        "labels": labels(&change.finding, severity),
        "annotations": annotations(change),
        "startsAt": instant(since(&change.finding)),
        "generatorURL": finding_url(site, &change.finding.claim.id),
    });
    if let Some(end) = end {
        alert["endsAt"] = instant(end).into();
    }
    alert
}

/// An alert about nothing, which ends after a minute.
pub(super) fn test_push(now: OffsetDateTime, site: &str) -> String {
    let end = now + time::Duration::minutes(1);
    json!([{
        "labels": test_labels(),
        "annotations": test_annotations(),
        "startsAt": instant(now),
        "endsAt": instant(end),
        "generatorURL": site,
    }])
    .to_string()
}

/// A webhook about nothing.
pub(super) fn test_webhook(now: OffsetDateTime, site: &str, receiver: &str) -> String {
    let alert = json!({
        "status": "firing",
        "labels": test_labels(),
        "annotations": test_annotations(),
        "startsAt": instant(now),
        "endsAt": NO_END,
        "generatorURL": site,
        "fingerprint": "0000000000000000",
    });
    body(receiver, "firing", &test_labels(), &test_annotations(), site, &alert).to_string()
}

fn test_labels() -> Value {
    json!({"alertname": "debunk_test", "severity": Severity::Low})
}

fn test_annotations() -> Value {
    json!({"summary": "A test by Debunk: nothing is wrong"})
}

/// What the finding is. Alertmanager takes an empty label for an absent one.
fn labels(finding: &Finding, severity: Severity) -> Value {
    let claim = &finding.claim;
    let labels: BTreeMap<&str, String> = [
        ("alertname", claim.rule.as_str()),
        ("callee", claim.callee.as_deref().unwrap_or_default()),
        ("environment", &claim.environment),
        ("fallacy", claim.fallacy.id()),
        ("finding", &claim.id),
        ("operation", &claim.operation),
        ("rule", &claim.rule),
        ("service", &claim.service),
        ("severity", severity.id()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name, line(value, MAX_LABEL)))
    .collect();
    json!(labels)
}

fn annotations(change: &Change) -> Value {
    let claim = &change.finding.claim;
    let mut annotations = BTreeMap::from([("summary", line(&claim.headline, MAX_ANNOTATION))]);
    if let Some(example) = &change.example {
        annotations.insert("description", line(&example.why, MAX_ANNOTATION));
    }
    if let Some(remedy) = remedy(&claim.rule) {
        annotations.insert("remedy", line(&remedy, MAX_ANNOTATION));
    }
    json!(annotations)
}

/// When it opened. What was taken back never did.
fn since(finding: &Finding) -> OffsetDateTime {
    finding.opened_at.unwrap_or(finding.first_seen)
}

fn instant(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("an instant of a database has a year of four digits")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::findings::life::Event;

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_webhook_has_the_fields_of_version_4() {
        let told = read(&webhook(&fixture::opened(), "https://debunk.example", "ops"));
        assert_eq!(
            (&told["version"], &told["status"], &told["receiver"]),
            (&"4".into(), &"firing".into(), &"ops".into())
        );
        assert_eq!(told["groupKey"], "{}:{alertname=\"retry_non_idempotent\"}");
        let [alert] = told["alerts"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!(
            alert["labels"],
            json!({
                "alertname": "retry_non_idempotent", "rule": "retry_non_idempotent", "fallacy": "network_is_reliable",
                "severity": "critical", "service": "checkout", "operation": "POST /checkout",
                "environment": "production", "callee": "payment", "finding": "9f2c41d07a3be655",
            })
        );
        assert_eq!(alert["annotations"]["description"], "2 attempts, both committed");
        assert_eq!((&alert["startsAt"], &alert["endsAt"]), (&"2026-01-02T03:04:05Z".into(), &NO_END.into()));
        assert_eq!(alert["generatorURL"], "https://debunk.example/findings/9f2c41d07a3be655");
        assert_eq!(alert["fingerprint"], "9f2c41d07a3be655");
    }

    #[test]
    fn what_ended_is_resolved_and_says_when() {
        let change = Change { event: Event::Quiet, ..fixture::opened() };
        let told = read(&webhook(&change, "https://debunk.example", "ops"));
        assert_eq!(
            (&told["status"], &told["alerts"][0]["endsAt"]),
            (&"resolved".into(), &"2026-01-02T03:04:05Z".into())
        );
        assert_eq!(read(&push([&change], "https://debunk.example"))[0]["endsAt"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_fires_has_no_end_and_nothing_that_could_be_absent_is_empty() {
        let mut change = fixture::opened();
        change.finding.claim.callee = None;
        change.finding.claim.environment = String::new();
        let pushed = read(&push([&change], "https://debunk.example"));
        assert!(pushed[0].get("endsAt").is_none());
        let labels = pushed[0]["labels"].as_object().unwrap();
        assert!(!labels.contains_key("callee") && !labels.contains_key("environment"), "{labels:?}");
        for (name, value) in labels {
            // Other names would cost the whole request.
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_ne!(value, "");
        }
    }

    #[test]
    fn what_became_worse_ends_under_its_old_severity() {
        let previous = Some((Status::Open, Severity::Medium));
        let change = Change { event: Event::Escalated, previous, ..fixture::opened() };
        let pushed = read(&push([&change], "https://debunk.example"));
        let [now, before] = pushed.as_array().unwrap().as_slice() else { panic!("{pushed}") };
        assert_eq!((&now["labels"]["severity"], now.get("endsAt")), (&"critical".into(), None));
        assert_eq!(before["labels"]["severity"], "medium");
        assert_eq!(before["endsAt"], "2026-01-02T03:04:05Z");
    }
}
