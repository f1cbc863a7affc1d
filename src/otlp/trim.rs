//! Bounds within a span: how many attributes, events and links it keeps, and how long its texts are.
//!
//! What is left out is counted where OTLP counts it, so that whoever reads a span later knows that it is not whole.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::decode::plain::Limits;

/// Cuts everything to size.
pub(super) struct Trim(pub(super) Limits);

impl Trim {
    pub(super) fn resource(&self, resource: &mut Resource) {
        self.pairs(&mut resource.attributes, &mut resource.dropped_attributes_count);
        resource.entity_refs.truncate(self.0.count);
    }

    pub(super) fn scope(&self, scope: &mut InstrumentationScope) {
        self.text(&mut scope.name);
        self.text(&mut scope.version);
        self.pairs(&mut scope.attributes, &mut scope.dropped_attributes_count);
    }

    pub(super) fn span(&self, span: &mut Span) {
        self.text(&mut span.name);
        self.text(&mut span.trace_state);
        self.pairs(&mut span.attributes, &mut span.dropped_attributes_count);
        self.list(&mut span.events, &mut span.dropped_events_count);
        for event in &mut span.events {
            self.text(&mut event.name);
            self.pairs(&mut event.attributes, &mut event.dropped_attributes_count);
        }
        self.list(&mut span.links, &mut span.dropped_links_count);
        for link in &mut span.links {
            self.text(&mut link.trace_state);
            self.pairs(&mut link.attributes, &mut link.dropped_attributes_count);
        }
        if let Some(status) = &mut span.status {
            self.text(&mut status.message);
        }
    }

    fn list<T>(&self, list: &mut Vec<T>, dropped: &mut u32) {
        let over = list.len().saturating_sub(self.0.count);
        if over > 0 {
            list.truncate(self.0.count);
            *dropped = dropped.saturating_add(u32::try_from(over).unwrap_or(u32::MAX));
        }
    }

    fn pairs(&self, pairs: &mut Vec<KeyValue>, dropped: &mut u32) {
        self.list(pairs, dropped);
        for pair in pairs {
            self.text(&mut pair.key);
            if let Some(value) = &mut pair.value {
                cut(value, &mut self.0.length.clone());
            }
        }
    }

    fn text(&self, text: &mut String) {
        cut_text(text, self.0.length);
    }
}

/// Cuts a value to what is `left`. An element of a list costs a byte more than its texts: a list of a million
/// truth values is long too.
fn cut(value: &mut AnyValue, left: &mut usize) {
    match &mut value.value {
        Some(Value::StringValue(text)) => {
            cut_text(text, *left);
            *left -= text.len();
        }
        Some(Value::BytesValue(bytes)) => {
            bytes.truncate(*left);
            *left -= bytes.len();
        }
        Some(Value::ArrayValue(array)) => {
            array.values.retain_mut(|value| {
                spend(left, 1) && {
                    cut(value, left);
                    true
                }
            });
        }
        Some(Value::KvlistValue(map)) => {
            map.values.retain_mut(|pair| {
                spend(left, 1 + pair.key.len()) && {
                    if let Some(value) = &mut pair.value {
                        cut(value, left);
                    }
                    true
                }
            });
        }
        _ => {}
    }
}

fn spend(left: &mut usize, cost: usize) -> bool {
    match left.checked_sub(cost) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    }
}

fn cut_text(text: &mut String, length: usize) {
    if length < text.len() {
        text.truncate(text.floor_char_boundary(length));
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};

    use super::*;

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn text(length: usize) -> Value {
        Value::StringValue("é".repeat(length / 2))
    }

    fn trimmed(mut span: Span) -> Span {
        Trim(Limits { count: 3, length: 65 }).span(&mut span);
        span
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let attributes: Vec<_> = (0..10).map(|at| pair(&at.to_string(), Value::IntValue(at))).collect();
        let event = Event { attributes: attributes.clone(), ..Event::default() };
        let span = trimmed(Span {
            attributes,
            dropped_attributes_count: 1,
            events: vec![event; 5],
            links: vec![Link::default(); 4],
            ..Span::default()
        });
        let keys: Vec<_> = span.attributes.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(keys, ["0", "1", "2"]);
        assert_eq!(
            (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count),
            (8, 2, 1)
        );
        assert_eq!((span.events.len(), span.events[0].attributes.len(), span.links.len()), (3, 3, 3));
        assert_eq!(span.events[2].dropped_attributes_count, 7);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let span = trimmed(Span {
            name: "é".repeat(100),
            attributes: vec![pair("long", text(1_000)), pair("short", text(64))],
            ..Span::default()
        });
        assert_eq!(span.name, "é".repeat(32));
        assert_eq!(span.attributes, [pair("long", text(64)), pair("short", text(64))]);
    }

    #[test]
    fn lists_are_as_long_as_a_text_may_be() {
        let values = vec![AnyValue { value: Some(Value::BoolValue(true)) }; 1_000];
        let array = Value::ArrayValue(ArrayValue { values });
        let map = Value::KvlistValue(KeyValueList { values: vec![pair("kkkkk", text(20)); 9] });
        let bytes = Value::BytesValue(vec![7; 100]);
        let span = trimmed(Span {
            attributes: vec![pair("array", array), pair("map", map), pair("bytes", bytes)],
            ..Span::default()
        });
        let value = |at: usize| span.attributes[at].value.as_ref().unwrap().value.as_ref().unwrap();
        assert!(matches!(value(0), Value::ArrayValue(array) if array.values.len() == 65));
        // Two and a half pairs of 26 bytes.
        assert!(
            matches!(value(1), Value::KvlistValue(map) if map.values.len() == 3 && map.values[2] == pair("kkkkk", text(6)))
        );
        assert!(matches!(value(2), Value::BytesValue(bytes) if bytes.len() == 65));
    }
}
