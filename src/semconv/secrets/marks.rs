//! The marks that stand where secrets stood.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::find;
use crate::model::Leak;

/// Most marks kept of one span.
const MOST: usize = 16;

/// What a span held that had to be replaced: of its attributes, and of its events'. One look for a bracket in each text,
/// and no allocation where there is no mark.
pub(in crate::semconv) fn marks(sent: &Span) -> Vec<Leak> {
    let mut leaks = Vec::new();
    let of_events = sent.events.iter().flat_map(|event| &event.attributes);
    for KeyValue { key, value, .. } in sent.attributes.iter().chain(of_events) {
        match value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => of_text(key, text, &mut leaks),
            // Captured headers.
            Some(Value::ArrayValue(array)) => {
                for AnyValue { value } in &array.values {
                    if let Some(Value::StringValue(text)) = value {
                        of_text(key, text, &mut leaks);
                    }
                }
            }
            _ => {}
        }
    }
    leaks.sort_unstable();
    leaks.dedup();
    leaks
}

fn of_text(key: &str, text: &str, leaks: &mut Vec<Leak>) {
    let mut from = 0;
    while leaks.len() < MOST
        && let Some(start) = text[from..].find('[').map(|at| from + at)
    {
        let Some(end) = find::mark_end(text, start) else {
            from = start + 1;
            continue;
        };
        let inside = &text[start + 1..end - 1];
        if let Some((kind, hash)) = inside.split_once(':') {
            leaks.push(Leak { key: key.to_owned(), kind: kind.to_owned(), hash: hash.to_owned() });
        }
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_they_stand() {
        let attribute = |key: &str, value: Value| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        };
        let text = |text: &str| Value::StringValue(text.to_owned());
        let array = Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue {
            values: vec![AnyValue { value: Some(text("[authorization:0123abcd]")) }],
        });
        let span = Span {
            attributes: vec![
                attribute("url.full", text("https://bob:[password:89abcdef]@h/[x]?k=[token:01234567]")),
                attribute("http.request.header.authorization", array),
                attribute("note", text("[token:no] [password]")),
            ],
            ..Span::default()
        };
        let found: Vec<String> =
            marks(&span).iter().map(|leak| format!("{} {} {}", leak.key, leak.kind, leak.hash)).collect();
        assert_eq!(
            found,
            [
                "http.request.header.authorization authorization 0123abcd",
                "url.full password 89abcdef",
                "url.full token 01234567"
            ]
        );
    }
}
