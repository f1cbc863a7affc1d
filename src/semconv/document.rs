//! Statements of document stores: JSON with a verb as its first key, or a verb and a collection.

use super::db::Reading;
use super::template;
use crate::model::{DbFacts, EffectClass};

const LONGEST_TEXT: usize = 16 * 1024;
const LONGEST_SHAPE: usize = 1000;
const MOST_ARGUMENTS: usize = 64;

/// Operations that only read.
const READS: &[&str] = &[
    "FIND",
    "FINDONE",
    "COUNT",
    "COUNTDOCUMENTS",
    "ESTIMATEDDOCUMENTCOUNT",
    "DISTINCT",
    "GETMORE",
    "HELLO",
    "ISMASTER",
    "PING",
    "LISTCOLLECTIONS",
    "LISTINDEXES",
    "SEARCH",
    "GET",
    "MGET",
    "MSEARCH",
    "SCROLL",
    "EXISTS",
    "GETITEM",
    "BATCHGETITEM",
    "QUERY",
    "SCAN",
    "DESCRIBETABLE",
    "TRANSACTGETITEMS",
    "LISTTABLES",
];
/// Operations after which twice is as once.
const OVERWRITES: &[&str] = &[
    "DELETE",
    "DELETEONE",
    "DELETEMANY",
    "FINDONEANDDELETE",
    "REMOVE",
    "DROP",
    "CREATEINDEXES",
    "CREATE",
    "REPLACEONE",
    "PUTITEM",
    "DELETEITEM",
    "BATCHWRITEITEM",
];
/// Operations whose operators decide.
const UPDATES: &[&str] =
    &["UPDATE", "UPDATEONE", "UPDATEMANY", "FINDANDMODIFY", "FINDONEANDUPDATE", "BULKWRITE"];

/// Reads `{"find": "orders", "filter": {"_id": 7}}`, `orders.find`, `find orders`, or a query body.
pub(super) fn read(text: &str) -> Reading {
    let within = template::cut_to(text, LONGEST_TEXT);
    let is_json = within.trim_start().starts_with(['{', '[']);
    let outline = if is_json { outline(within) } else { Outline::default() };
    let mut facts = DbFacts {
        shape: Some(template::cut_to(&outline.shape, LONGEST_SHAPE).to_owned())
            .filter(|shape| !shape.is_empty()),
        truncated: within.len() < text.len(),
        batch: 1,
        ..DbFacts::default()
    };
    let has_verb = |word: &str| class(&word.to_ascii_uppercase(), text) != EffectClass::Unknown;
    if let Some((key, value)) = outline.first.filter(|(key, _)| has_verb(key)) {
        facts.operation = Some(key.to_ascii_uppercase());
        facts.collection = value;
    } else if !is_json {
        let mut words = text.split(|c: char| c.is_whitespace() || c == '.').filter(|word| !word.is_empty());
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (verb, collection) = if has_verb(second) { (second, first) } else { (first, second) };
        facts.operation = Some(verb.to_ascii_uppercase()).filter(|_| has_verb(verb));
        facts.collection =
            Some(collection.to_owned()).filter(|name| !name.is_empty() && facts.operation.is_some());
    }
    let visible = !outline.arguments.is_empty() && !outline.arguments.iter().any(|value| value == "?");
    let class = facts.operation.as_deref().map_or(EffectClass::Unknown, |word| class(word, text));
    Reading {
        has_text: facts.operation.is_some(),
        facts: DbFacts { arguments: if visible { outline.arguments } else { Vec::new() }, ..facts },
        class,
        arguments_visible: visible,
    }
}

/// What repeating an operation would do. The word is upper-case; `text` may show operators.
pub(super) fn class(word: &str, text: &str) -> EffectClass {
    let bare = word.rsplit('/').next().unwrap_or(word);
    let bare = bare.strip_suffix("OPERATION").unwrap_or(bare);
    let shows = |operators: &[&str]| operators.iter().any(|operator| text.contains(operator));
    if READS.contains(&bare) {
        return EffectClass::Safe;
    }
    if OVERWRITES.contains(&bare) {
        return EffectClass::Idempotent;
    }
    match bare {
        "AGGREGATE" if shows(&["$out", "$merge"]) => EffectClass::Unknown,
        "AGGREGATE" => EffectClass::Safe,
        "INSERT" | "INSERTONE" | "INSERTMANY" => EffectClass::NonIdempotent,
        _ if !UPDATES.contains(&bare) || text.is_empty() => EffectClass::Unknown,
        _ if shows(&["$inc", "$push", "$mul"]) => EffectClass::NonIdempotent,
        "BULKWRITE" => EffectClass::Unknown,
        _ => EffectClass::Idempotent,
    }
}

#[derive(Default)]
struct Outline {
    shape: String,
    /// The first key, and its value where that is a string.
    first: Option<(String, Option<String>)>,
    arguments: Vec<String>,
}

/// Keys stay, values become `?`. A loose reading of JSON: it needs no valid document.
fn outline(text: &str) -> Outline {
    let mut outline = Outline::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c {
            '"' => {
                let end = string_end(rest);
                let inner = rest[..end].trim_matches('"');
                let after = rest[end..].trim_start();
                if let Some(after) = after.strip_prefix(':') {
                    outline.shape.push_str(&rest[..end]);
                    if outline.first.is_none() {
                        let value = after.trim_start();
                        let value =
                            value.starts_with('"').then(|| value[..string_end(value)].trim_matches('"'));
                        outline.first = Some((inner.to_owned(), value.map(ToOwned::to_owned)));
                    }
                } else {
                    value(&mut outline, inner);
                }
                rest = &rest[end..];
            }
            '{' | '}' | '[' | ']' | ':' | ',' => {
                outline.shape.push(c);
                rest = &rest[1..];
            }
            _ if c.is_whitespace() => rest = &rest[c.len_utf8()..],
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || "{}[]:,\"".contains(c)).unwrap_or(rest.len());
                value(&mut outline, &rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    outline
}

fn value(outline: &mut Outline, text: &str) {
    // `[?,?]` and `[?]` are one shape.
    if outline.shape.ends_with("?,") {
        outline.shape.pop();
    } else {
        outline.shape.push('?');
    }
    if outline.arguments.len() < MOST_ARGUMENTS {
        outline.arguments.push(template::cut_to(text, 256).to_owned());
    }
}

/// One past the closing quote, or the end.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verb_collection_and_shape_are_found() {
        let read = read(r#"{"find": "orders", "filter": {"_id": 7, "in": [1, 2, 3]}}"#);
        assert_eq!(read.facts.operation.as_deref(), Some("FIND"));
        assert_eq!(read.facts.collection.as_deref(), Some("orders"));
        assert_eq!(read.facts.shape.as_deref(), Some(r#"{"find":?,"filter":{"_id":?,"in":[?]}}"#));
        assert_eq!(read.class, EffectClass::Safe);
        assert!(read.arguments_visible);
    }

    #[test]
    fn operators_decide_what_twice_would_do() {
        assert_eq!(read(r#"{"update": "t", "u": {"$inc": {"n": 1}}}"#).class, EffectClass::NonIdempotent);
        assert_eq!(read(r#"{"update": "t", "u": {"$set": {"n": 1}}}"#).class, EffectClass::Idempotent);
        assert_eq!(read(r#"{"insert": "t"}"#).class, EffectClass::NonIdempotent);
        assert_eq!(class("MONGODB/FINDOPERATION", ""), EffectClass::Safe);
        assert_eq!(class("UPDATE", ""), EffectClass::Unknown);
    }

    #[test]
    fn words_without_json_are_read_too() {
        for text in ["find orders", "orders.find"] {
            let read = read(text);
            assert_eq!(read.facts.operation.as_deref(), Some("FIND"), "{text}");
            assert_eq!(read.facts.collection.as_deref(), Some("orders"), "{text}");
        }
    }

    #[test]
    fn broken_json_is_read_as_far_as_it_goes() {
        for text in ["{\"a\": \"b", "{\"", "\"\\", "}{", "ü\"ü\":ü"] {
            assert!(!read(text).has_text, "{text}");
        }
    }
}
