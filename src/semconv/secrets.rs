//! What must not be stored: passwords, tokens and keys in the values of attributes, and in names and messages.
//!
//! Each becomes a mark `[kind:hash]`: the value is gone, equality of two values stays. It does not look for personal
//! data, and idempotency keys are no secrets. Running it twice changes nothing more.
//!
//! Budget: one look at every byte of every text, and no allocation where nothing is found.

mod find;
mod marks;

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

pub(super) use marks::marks;

/// Replaces every secret in an export, in place, and counts the replacements.
pub fn redact(exports: &mut [ResourceSpans]) -> u64 {
    let mut replaced = 0;
    for of_resource in exports {
        replaced += of_resource.resource.as_mut().map_or(0, redact_resource);
        for of_scope in &mut of_resource.scope_spans {
            replaced += of_scope.scope.as_mut().map_or(0, redact_scope);
            replaced += of_scope.spans.iter_mut().map(redact_span).sum::<u64>();
        }
    }
    replaced
}

/// The same in a resource.
pub fn redact_resource(resource: &mut Resource) -> u64 {
    let mut redactor = Redactor { replaced: 0 };
    redactor.attributes(&mut resource.attributes);
    redactor.replaced
}

/// The same in a scope.
pub fn redact_scope(scope: &mut InstrumentationScope) -> u64 {
    let mut redactor = Redactor { replaced: 0 };
    redactor.attributes(&mut scope.attributes);
    redactor.replaced
}

/// The same in a span.
pub fn redact_span(span: &mut Span) -> u64 {
    let mut redactor = Redactor { replaced: 0 };
    redactor.text(&mut span.name);
    redactor.attributes(&mut span.attributes);
    if let Some(status) = &mut span.status {
        redactor.text(&mut status.message);
    }
    for event in &mut span.events {
        redactor.text(&mut event.name);
        redactor.attributes(&mut event.attributes);
    }
    for link in &mut span.links {
        redactor.attributes(&mut link.attributes);
    }
    redactor.replaced
}

/// Whether something in the text would be replaced.
pub fn is_in(text: &str) -> bool {
    !find::secrets(text).is_empty()
}

/// Whether values under this key may be replaced, whatever they are.
pub fn is_named_by(key: &str) -> bool {
    kind_of_key(key).is_some()
}

/// A value that is still to be looked at, and the kind of secret that its key makes it.
type Open<'a> = (&'a mut AnyValue, Option<&'static str>);

struct Redactor {
    replaced: u64,
}

impl Redactor {
    fn attributes(&mut self, attributes: &mut [KeyValue]) {
        for attribute in attributes {
            let whole = kind_of_key(&attribute.key);
            if let Some(value) = &mut attribute.value {
                self.value(value, whole);
            }
        }
    }

    /// Arrays and lists are walked with a stack of our own, for depth comes from the wire; one value alone needs none.
    fn value(&mut self, value: &mut AnyValue, whole: Option<&'static str>) {
        let mut open = Vec::new();
        self.step(value, whole, &mut open);
        while let Some((inner, whole)) = open.pop() {
            self.step(inner, whole, &mut open);
        }
    }

    fn step<'a>(&mut self, value: &'a mut AnyValue, whole: Option<&'static str>, open: &mut Vec<Open<'a>>) {
        match &mut value.value {
            Some(Value::StringValue(text)) => match whole {
                Some(kind) => self.whole(text, kind),
                None => self.text(text),
            },
            Some(Value::BytesValue(bytes)) => self.bytes(bytes, whole),
            Some(Value::ArrayValue(array)) => {
                open.extend(array.values.iter_mut().map(|element| (element, whole)));
            }
            Some(Value::KvlistValue(list)) => open.extend(list.values.iter_mut().filter_map(|pair| {
                let whole = whole.or_else(|| kind_of_key(&pair.key));
                Some((pair.value.as_mut()?, whole))
            })),
            _ => {}
        }
    }

    fn bytes(&mut self, bytes: &mut Vec<u8>, whole: Option<&'static str>) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let mut text = text.to_owned();
        match whole {
            Some(kind) => self.whole(&mut text, kind),
            None => self.text(&mut text),
        }
        if text.as_bytes() != bytes.as_slice() {
            *bytes = text.into_bytes();
        }
    }

    fn whole(&mut self, text: &mut String, kind: &'static str) {
        if !find::says_nothing(text) && find::mark_end(text, 0) != Some(text.len()) {
            *text = mark(kind, text);
            self.replaced += 1;
        }
    }

    fn text(&mut self, text: &mut String) {
        let found = find::secrets(text);
        if found.is_empty() {
            return;
        }
        let mut clean = String::with_capacity(text.len());
        let mut done = 0;
        for secret in &found {
            clean.push_str(&text[done..secret.start]);
            clean.push_str(&mark(secret.kind, &text[secret.start..secret.end]));
            done = secret.end;
        }
        clean.push_str(&text[done..]);
        *text = clean;
        self.replaced += found.len() as u64;
    }
}

/// Eight hexadecimal digits tell values of one kind apart and give nothing back.
fn mark(kind: &str, secret: &str) -> String {
    let hash = blake3::hash(secret.as_bytes()).to_hex();
    format!("[{kind}:{}]", &hash[..8])
}

/// The whole value of an attribute with this key is a secret: captured headers, and names that say so.
fn kind_of_key(key: &str) -> Option<&'static str> {
    const PAGING: &[&str] = &["page", "next", "continuation", "csrf", "xsrf", "usage"];
    if !find::ends_like_a_name(key.as_bytes()) {
        return None;
    }
    let last = key.rsplit('.').next().unwrap_or(key);
    let carried = key.contains(".header.") || key.contains(".metadata.");
    let of_header = if carried { find::kind_of_header(last) } else { None };
    of_header.or_else(|| {
        let kind = find::kind_of_name(last)?;
        (kind != "signature" && !PAGING.iter().any(|word| key.contains(word))).then_some(kind)
    })
}

#[cfg(test)]
mod tests;
