//! OTLP values as JSON: attributes, events and links as they were sent (after redaction), each bounded in depth.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Sent;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::model::{SpanId, TraceId};

/// Deeper values are cut: nobody reads them, and depth costs stack.
const MAX_DEPTH: usize = 16;

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// As sent.
    pub name: String,
    /// Milliseconds since the start of the trace.
    pub offset_ms: f64,
    /// As sent.
    pub attributes: Map<String, Value>,
}

/// A pointer to another span.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Link {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// As sent.
    pub attributes: Map<String, Value>,
}

/// Attributes by name; of one name twice the last one stays, as the specification says.
pub fn attributes(sent: &[KeyValue]) -> Map<String, Value> {
    object(sent, 0)
}

/// Events, with times since `base`.
pub fn events(sent: &[span::Event], base: i64) -> Vec<Event> {
    let shown = sent.iter().map(|event| Event {
        name: event.name.clone(),
        offset_ms: (i128::from(event.time_unix_nano) - i128::from(base)) as f64 / 1e6,
        attributes: attributes(&event.attributes),
    });
    shown.collect()
}

/// Links; those without valid ids point nowhere and are left out.
pub fn links(sent: &[span::Link]) -> Vec<Link> {
    let shown = sent.iter().filter_map(|link| {
        Some(Link {
            trace_id: TraceId::from_bytes(&link.trace_id)?.to_string(),
            span_id: SpanId::from_bytes(&link.span_id)?.to_string(),
            attributes: attributes(&link.attributes),
        })
    });
    shown.collect()
}

fn object(sent: &[KeyValue], depth: usize) -> Map<String, Value> {
    sent.iter().map(|pair| (pair.key.clone(), value(pair.value.as_ref(), depth))).collect()
}

fn value(sent: Option<&AnyValue>, depth: usize) -> Value {
    let Some(sent) = sent.and_then(|sent| sent.value.as_ref()) else { return Value::Null };
    if depth == MAX_DEPTH {
        return Value::from("…");
    }
    match sent {
        Sent::StringValue(text) => Value::from(text.as_str()),
        Sent::BoolValue(yes) => Value::from(*yes),
        Sent::IntValue(number) => Value::from(*number),
        // JSON has no NaN and no infinity: their names remain.
        Sent::DoubleValue(number) if !number.is_finite() => Value::from(number.to_string()),
        Sent::DoubleValue(number) => Value::from(*number),
        Sent::ArrayValue(array) => array.values.iter().map(|item| value(Some(item), depth + 1)).collect(),
        Sent::KvlistValue(list) => Value::Object(object(&list.values, depth + 1)),
        Sent::BytesValue(bytes) => Value::from(STANDARD.encode(bytes)),
        // Belongs to profiles: the specification says to read it as no value.
        Sent::StringValueStrindex(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::ArrayValue;

    use super::*;

    fn pair(key: &str, value: Sent) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
    }

    #[test]
    fn values_keep_their_types() {
        let shown = attributes(&[
            pair("text", Sent::StringValue("x".to_owned())),
            pair("count", Sent::IntValue(503)),
            pair("share", Sent::DoubleValue(0.5)),
            pair("odd", Sent::DoubleValue(f64::NAN)),
            pair("yes", Sent::BoolValue(true)),
            pair("raw", Sent::BytesValue(vec![0, 255])),
            KeyValue { key: "empty".to_owned(), ..Default::default() },
        ]);
        assert_eq!(
            Value::Object(shown),
            serde_json::json!({
                "text": "x", "count": 503, "share": 0.5, "odd": "NaN", "yes": true, "raw": "AP8=", "empty": null
            })
        );
    }

    #[test]
    fn depth_is_cut() {
        let mut nested = Sent::IntValue(1);
        for _ in 0..100 {
            nested = Sent::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(nested) }] });
        }
        let text = Value::Object(attributes(&[pair("deep", nested)])).to_string();
        assert!(text.contains('…') && text.len() < 100, "{text}");
    }
}
