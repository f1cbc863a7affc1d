//! One fact that may stand under several names, and values as SDKs really write them: numbers as strings,
//! single values in arrays.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};

/// The value of the newest name seen so far, whatever the order of arrival. Empty values count as absent.
#[derive(Clone, Copy, Default)]
pub(super) struct Field<'a>(Option<(u8, &'a Value)>);

impl<'a> Field<'a> {
    /// Offers a value under the name that the conventions use today.
    pub(super) fn current(&mut self, value: &'a Value) {
        self.ranked(0, value);
    }

    /// Offers a value under the name before that.
    pub(super) fn former(&mut self, value: &'a Value) {
        self.ranked(1, value);
    }

    /// Offers a value under a name of the given age: the smallest wins.
    pub(super) fn ranked(&mut self, age: u8, value: &'a Value) {
        let newer = self.0.is_none_or(|(known, _)| age < known);
        if newer && !is_empty(value) {
            self.0 = Some((age, value));
        }
    }

    /// Somebody gave a value.
    pub(super) fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// The age of the name that gave the value.
    pub(super) fn age(self) -> Option<u8> {
        self.0.map(|(age, _)| age)
    }

    /// As text; a number in decimal, the first element of an array.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        self.0.and_then(|(_, value)| text(value))
    }

    /// As text of its own.
    pub(super) fn string(self) -> Option<String> {
        self.text().map(Cow::into_owned)
    }

    /// As a whole number; a text that is none is absent.
    pub(super) fn integer(self) -> Option<i64> {
        self.0.and_then(|(_, value)| integer(value))
    }

    /// As a count.
    pub(super) fn count(self) -> Option<u64> {
        self.integer().and_then(|number| u64::try_from(number).ok())
    }

    /// As a port; zero is none.
    pub(super) fn port(self) -> Option<u16> {
        self.integer().and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0)
    }

    /// As yes or no: `true`, `"true"`, 1.
    pub(super) fn is_true(self) -> bool {
        match self.0 {
            Some((_, Value::BoolValue(flag))) => *flag,
            Some((_, value)) => {
                text(value).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
            }
            None => false,
        }
    }

    /// Every element of an array, or the one value.
    pub(super) fn list(self) -> Vec<Cow<'a, str>> {
        match self.0 {
            Some((_, Value::ArrayValue(array))) => {
                array.values.iter().filter_map(|element| element.value.as_ref().and_then(text)).collect()
            }
            Some((_, value)) => text(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

/// A value as text; a number in decimal, the first element of an array.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::StringValue(text) => Some(Cow::Borrowed(text)),
        Value::IntValue(number) => Some(Cow::Owned(number.to_string())),
        Value::DoubleValue(number) => Some(Cow::Owned(number.to_string())),
        Value::BoolValue(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::ArrayValue(array) => match array.values.first()?.value.as_ref()? {
            Value::ArrayValue(_) => None,
            first => text(first),
        },
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::IntValue(number) => Some(*number),
        Value::DoubleValue(number) if number.fract() == 0.0 => Some(*number as i64),
        Value::StringValue(_) | Value::ArrayValue(_) => text(value)?.trim().parse().ok(),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::StringValue(text) => text.is_empty(),
        Value::BytesValue(bytes) => bytes.is_empty(),
        Value::ArrayValue(array) => array.values.iter().all(|element: &AnyValue| element.value.is_none()),
        Value::KvlistValue(list) => list.values.is_empty(),
        _ => false,
    }
}
