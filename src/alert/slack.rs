//! A change as a message for an incoming webhook of Slack.
//!
//! What spans said stands in plain text objects, where it is neither a link nor a mention nor emphasis.
//!
//! Limits: <https://docs.slack.dev/reference/block-kit/blocks/header-block> (150 characters),
//! <https://docs.slack.dev/reference/block-kit/blocks/section-block> (3,000; 10 fields of 2,000),
//! <https://docs.slack.dev/reference/block-kit/blocks> (50 blocks),
//! <https://docs.slack.dev/reference/methods/chat.postMessage> (text: 4,000 advised).
//! Pace: <https://docs.slack.dev/apis/web-api/rate-limits> (one message a second).

use serde_json::{Value, json};

use super::text::{finding_url, line, remedy, trace_url};
use crate::findings::life::Event;
use crate::store::Change;

const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3_000;
const MAX_FIELD: usize = 2_000;
/// What a phone shows of a message.
const MAX_FALLBACK: usize = 500;

/// The message.
pub(super) fn body(change: &Change, site: &str) -> String {
    let claim = &change.finding.claim;
    let what = happened(change.event);
    let title = format!("{what}: {}", claim.headline);
    let mut blocks = vec![json!({"type": "header", "text": plain(&title, MAX_HEADER)})];
    if let Some(example) = &change.example {
        blocks.push(section(&example.why));
    }
    let mut fields = vec![
        field("Severity", claim.severity.id()),
        field("Service", &claim.service),
        field("Operation", &claim.operation),
        field("Rule", &claim.rule),
    ];
    fields.extend(claim.callee.as_ref().map(|callee| field("Calls", callee)));
    if !claim.environment.is_empty() {
        fields.push(field("Environment", &claim.environment));
    }
    blocks.push(json!({"type": "section", "fields": fields}));
    if let Some(remedy) = remedy(&claim.rule).filter(|_| !change.event.is_end()) {
        blocks.push(section(&format!("What helps: {remedy}")));
    }
    let mut links = format!("<{}|Evidence and remedy>", finding_url(site, &claim.id));
    if let Some(example) = &change.example {
        links = format!("{links} · <{}|Trace>", trace_url(site, example.trace_id));
    }
    blocks
        .push(json!({"type": "context", "elements": [{"type": "mrkdwn", "verbatim": true, "text": links}]}));
    let fallback =
        line(&format!("{what} ({}): {} in {}", claim.severity, claim.headline, claim.service), MAX_FALLBACK);
    json!({"text": escaped(&fallback), "mrkdwn": false, "blocks": blocks}).to_string()
}

/// A message about nothing.
pub(super) fn test_body() -> String {
    json!({"text": "A test by Debunk: nothing is wrong."}).to_string()
}

fn happened(event: Event) -> &'static str {
    match event.id() {
        "finding.opened" => "New",
        "finding.escalated" => "Worse than before",
        "finding.reopened" => "Back again",
        "finding.resolved" => "Resolved",
        "finding.reminder" => "Still open",
        "finding.acknowledged" => "Acknowledged",
        "finding.muted" => "Muted",
        _ => "Changed",
    }
}

fn plain(text: &str, most: usize) -> Value {
    json!({"type": "plain_text", "emoji": false, "text": line(text, most)})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": plain(text, MAX_SECTION)})
}

fn field(name: &str, value: &str) -> Value {
    let mut field = plain(value, MAX_FIELD - name.len() - 2);
    field["text"] = format!("{name}\n{}", field["text"].as_str().unwrap_or_default()).into();
    field
}

/// The three letters that start something in Slack's text
/// (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_message_says_what_where_and_how_to_get_there() {
        let told: Value = serde_json::from_str(&body(&fixture::opened(), "https://debunk.example")).unwrap();
        assert_eq!(
            told["text"],
            "New (critical): POST /charge was sent twice and both attempts took effect in checkout"
        );
        let blocks = told["blocks"].as_array().unwrap();
        let kinds: Vec<_> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["header", "section", "section", "section", "context"]);
        assert_eq!(blocks[2]["fields"][1]["text"], "Service\ncheckout");
        let links = blocks[4]["elements"][0]["text"].as_str().unwrap();
        assert!(links.starts_with("<https://debunk.example/findings/9f2c41d07a3be655|"), "{links}");
    }

    /// The limits that the pages above publish.
    #[test]
    fn the_limits_of_slack_are_kept_whatever_spans_say() {
        for text in ["x".repeat(50_000), "\u{1}<!channel>".repeat(5_000), "𝄞".repeat(50_000)] {
            let change = fixture::with_text(&text);
            let told: Value = serde_json::from_str(&body(&change, "https://debunk.example")).unwrap();
            let characters = |value: &Value| value.as_str().unwrap().chars().count();
            assert!(characters(&told["text"]) <= 4_000, "advised for text");
            assert!(!told["text"].as_str().unwrap().contains("<!"), "a mention");
            let blocks = told["blocks"].as_array().unwrap();
            assert!(blocks.len() <= 50);
            for block in blocks {
                match block["type"].as_str().unwrap() {
                    "header" => assert!(characters(&block["text"]["text"]) <= 150),
                    "section" if block.get("fields").is_some() => {
                        let fields = block["fields"].as_array().unwrap();
                        assert!(fields.len() <= 10);
                        assert!(fields.iter().all(|field| characters(&field["text"]) <= 2_000));
                        assert!(fields.iter().all(|field| field["type"] == "plain_text"));
                    }
                    "section" => {
                        assert!(characters(&block["text"]["text"]) <= 3_000);
                        assert_eq!(block["text"]["type"], "plain_text");
                    }
                    kind => assert_eq!(kind, "context"),
                }
            }
        }
    }
}
