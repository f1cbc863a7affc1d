//! Protection against repetition, as far as a span shows it: keys in headers, metadata, queries and attributes,
//! and conditional requests. Request ids and trace contexts are none: proxies set them.

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::field;
use super::http::is_redacted;
use super::template::cut_to;
use crate::model::IdempotencyFacts;

const MOST_KEYS: usize = 16;
const LONGEST_KEY: usize = 256;

/// Headers that carry a key, beside any with `-idempotency-` in it.
const HEADERS: &[&str] = &[
    "idempotency-key",
    "x-idempotency-key",
    "paypal-request-id",
    "chargebee-idempotency-key",
    "x-payout-idempotency",
    "i-twilio-idempotency-token",
    "x-unique-transaction-id",
    "x-amz-client-token",
];

/// A captured header of the request; `name` is lower-case with hyphens.
pub(super) fn header(facts: &mut IdempotencyFacts, name: &str, value: &Value) {
    facts.headers_captured = true;
    let Some(text) = field::text(value) else { return };
    match name {
        "if-match" | "if-unmodified-since" => facts.conditional = true,
        "if-none-match" => facts.conditional |= text.trim() == "*",
        _ if HEADERS.contains(&name) || is_named_so(name) => keep(facts, name, &text),
        _ => {}
    }
}

/// Metadata of an RPC; `name` is lower-case with hyphens.
pub(super) fn metadata(facts: &mut IdempotencyFacts, name: &str, value: &Value) {
    if name == "request-id" {
        facts.headers_captured = true;
        if let Some(text) = field::text(value) {
            keep(facts, name, &text);
        }
    } else {
        header(facts, name, value);
    }
}

/// An argument of the query.
pub(super) fn argument(facts: &mut IdempotencyFacts, name: &str, value: &str) {
    let bare = bare(name);
    let names = [
        "idempotencykey",
        "clienttoken",
        "clientrequesttoken",
        "requestid",
        "dedupid",
        "deduplicationid",
        "txnid",
        "transactionid",
        "operationid",
    ];
    if names.contains(&bare.as_str()) {
        keep(facts, &name.to_ascii_lowercase(), value);
    }
}

/// Any attribute of the span whose name ends in an idempotency key's.
pub(super) fn attribute(facts: &mut IdempotencyFacts, key: &str, value: &Value) {
    let bare = bare(key);
    let endings = [
        "idempotencykey",
        "idempotencytoken",
        "idempotencyid",
        "dedupid",
        "deduplicationid",
        "clienttoken",
        "clientrequesttoken",
    ];
    let Some(ending) = endings.iter().find(|ending| bare.ends_with(*ending)) else { return };
    // What stands before must end at a separator: `xdedup_id` is another word.
    let before = bare.len() - ending.len();
    let at = key.char_indices().filter(|(_, c)| !is_separator(*c)).nth(before).map_or(0, |(at, _)| at);
    let separated = at == 0 || key[..at].ends_with(is_separator);
    if separated && let Some(text) = field::text(value) {
        keep(facts, &key.to_ascii_lowercase(), &text);
    }
}

fn keep(facts: &mut IdempotencyFacts, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    if is_redacted(value) {
        facts.redacted = true;
    } else if facts.keys.len() < MOST_KEYS {
        facts.keys.push((name.to_owned(), cut_to(value, LONGEST_KEY).to_owned()));
    }
}

fn is_named_so(name: &str) -> bool {
    name.contains("-idempotency-")
}

fn is_separator(c: char) -> bool {
    matches!(c, '.' | '_' | '-')
}

fn bare(name: &str) -> String {
    name.chars().filter(|c| !is_separator(*c)).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::StringValue(value.to_owned())
    }

    #[test]
    fn keys_are_known_by_name() {
        for name in ["idempotency-key", "paypal-request-id", "acme-idempotency-token"] {
            let mut facts = IdempotencyFacts::default();
            header(&mut facts, name, &text("k1"));
            assert_eq!(facts.keys, [(name.to_owned(), "k1".to_owned())]);
        }
        for name in ["x-request-id", "traceparent", "content-type"] {
            let mut facts = IdempotencyFacts::default();
            header(&mut facts, name, &text("k1"));
            assert!(facts.keys.is_empty() && facts.headers_captured, "{name}");
        }
    }

    #[test]
    fn attributes_count_where_a_word_begins() {
        for (key, counts) in [
            ("idempotency_key", true),
            ("app.payment.idempotency.key", true),
            ("aws.client_request_token", true),
            ("order.dedup-id", true),
            ("app.nonidempotencykey", false),
            ("app.order.id", false),
        ] {
            let mut facts = IdempotencyFacts::default();
            attribute(&mut facts, key, &text("k1"));
            assert_eq!(!facts.keys.is_empty(), counts, "{key}");
        }
    }

    #[test]
    fn conditions_and_removed_values_are_told_apart() {
        let mut facts = IdempotencyFacts::default();
        header(&mut facts, "if-none-match", &text("\"etag\""));
        assert!(!facts.conditional);
        header(&mut facts, "if-none-match", &text("*"));
        header(&mut facts, "idempotency-key", &text("[REDACTED]"));
        assert!(facts.conditional && facts.redacted && facts.keys.is_empty());
    }
}
