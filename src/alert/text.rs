//! Texts of messages: links, remedies, and how long texts become short enough for whoever receives them.

use serde_json::Value;

use crate::rules;
use crate::sketch::visible;

/// Longest text of any field in characters: the first of these with which a body is small enough.
const TEXT_LIMITS: [usize; 5] = [2_000, 1_000, 500, 250, 100];

/// Address of a finding's page.
pub(super) fn finding_url(site: &str, id: &str) -> String {
    format!("{}/findings/{id}", site.trim_end_matches('/'))
}

/// Address of a trace's page.
pub(super) fn trace_url(site: &str, id: impl std::fmt::Display) -> String {
    format!("{}/traces/{id}", site.trim_end_matches('/'))
}

/// What the rule's page advises first; `None` for a rule that this version no longer has.
pub(super) fn remedy(rule: &str) -> Option<String> {
    let section = rules::find(rule)?.section("Remedy");
    Some(first_paragraph(&section))
}

/// In one line, as a message shows it.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// One line for people, at most `most` characters: what would act is written out, and the marks of code are left out.
pub(super) fn line(text: &str, most: usize) -> String {
    cut(&visible(&text.replace('`', "")), most)
}

/// At most `most` characters, the last of them a mark where something was cut.
fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "…"
}

/// JSON of less than `most` bytes: long texts are cut, all to one length, and links stay whole.
pub(super) fn fit(whole: &Value, most: usize) -> String {
    let mut text = String::new();
    for limit in TEXT_LIMITS {
        let mut short = whole.clone();
        shorten(&mut short, limit);
        text = short.to_string();
        if text.len() < most {
            break;
        }
    }
    text
}

/// Cuts long texts, marks the cut, and leaves links whole.
fn shorten(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) => {
            if let Some((cut, _)) = text.char_indices().nth(limit) {
                text.truncate(cut);
                text.push('…');
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, limit)),
        Value::Object(fields) => {
            let cuttable = fields.iter_mut().filter(|(name, _)| !LINKS.contains(&name.as_str()));
            cuttable.for_each(|(_, field)| shorten(field, limit));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Fields that hold an address.
const LINKS: [&str; 5] = ["url", "href", "generatorURL", "externalURL", "client_url"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_advises_something() {
        for rule in rules::RULES {
            assert_ne!(remedy(rule.id).as_deref(), Some(""), "{}", rule.id);
        }
        assert_eq!(remedy("of_another_version"), None);
    }

    #[test]
    fn the_first_paragraph_is_one_line() {
        assert_eq!(
            first_paragraph("\nAsk for the set:\n`any($1)`.\n\nOr a join.\n"),
            "Ask for the set: `any($1)`."
        );
        assert_eq!(first_paragraph(""), "");
    }

    #[test]
    fn a_line_is_as_long_as_it_may_be_and_does_nothing() {
        assert_eq!(line("calls `GET`\n\u{202e}", 100), "calls GET\\n\\u{202e}");
        assert_eq!(line("äöü", 3), "äöü");
        assert_eq!(line("äöüß", 3), "äö…");
        assert_eq!(line(&"𝄞".repeat(5000), 1024).chars().count(), 1024);
    }
}
