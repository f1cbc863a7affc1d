//! Words in braces: `{http.response.status_code=503, span.message="timed out, gave up"}`.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

/// One attribute of the wire; whole numbers and `true`, `false` become what an SDK would send.
pub(super) fn attribute(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value(text)), ..Default::default() }
}

/// Lays one attribute over others: the last word wins, an empty one takes the attribute away.
pub(super) fn lay(attributes: &mut Vec<KeyValue>, key: &str, text: &str) {
    attributes.retain(|other| other.key != key);
    if !text.is_empty() {
        attributes.push(attribute(key, text));
    }
}

/// Splits the inside of a pair of braces into keys and texts.
pub(super) fn pairs(inside: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for item in items(inside) {
        let item = item.trim();
        if item.is_empty() {
            continue;
        }
        let (key, text) = item.split_once('=').ok_or_else(|| format!("`{item}` is no key=value"))?;
        pairs.push((key.trim().to_owned(), unquoted(text.trim()).to_owned()));
    }
    Ok(pairs)
}

fn value(text: &str) -> AnyValue {
    let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let value = match (list, text) {
        (Some(inside), _) => {
            let values = items(inside).iter().map(|item| string(unquoted(item.trim()))).collect();
            Value::ArrayValue(ArrayValue { values })
        }
        (None, "true") => Value::BoolValue(true),
        (None, "false") => Value::BoolValue(false),
        _ => match text.parse::<i64>() {
            // `007` and `+7` are names, not numbers: they would not read back alike.
            Ok(number) if number.to_string() == text => Value::IntValue(number),
            _ => return string(text),
        },
    };
    AnyValue { value: Some(value) }
}

fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// Splits at commas outside quotes and brackets.
fn items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut start, mut quoted, mut depth) = (0, false, 0_u32);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_braces_are_numbers_lists_or_texts() {
        let pairs = pairs("a=503, b=[x, \"y, z\"], c=\"no, {really}\", d=true, e=, f=007").unwrap();
        let keys: Vec<_> = pairs.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        assert_eq!(
            keys,
            [
                ("a", "503"),
                ("b", "[x, \"y, z\"]"),
                ("c", "no, {really}"),
                ("d", "true"),
                ("e", ""),
                ("f", "007")
            ]
        );
        assert_eq!(value("503").value, Some(Value::IntValue(503)));
        assert_eq!(value("007").value, Some(Value::StringValue("007".to_owned())));
        let Some(Value::ArrayValue(list)) = value("[x, \"y, z\"]").value else { panic!("no list") };
        assert_eq!(list.values, [string("x"), string("y, z")]);
    }

    #[test]
    fn a_word_without_a_value_is_refused() {
        assert_eq!(pairs("a=1, retry"), Err("`retry` is no key=value".to_owned()));
    }
}
