//! Words and sentences about what went wrong, from wherever SDKs put them. It collects; `outcome` judges.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1 as otlp;

use super::field::{self, Field};
use super::template::cut_to;

const MOST: usize = 24;
const LONGEST: usize = 1000;

/// Attributes of the span that speak of errors.
#[derive(Default)]
pub(super) struct Names<'a> {
    kind: Field<'a>,
    reason: Field<'a>,
    message: Field<'a>,
    flags: Field<'a>,
    status: Field<'a>,
}

/// What went wrong, in lower case.
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// Classes and codes: one word each, the whole name and its last part.
    pub(super) words: Vec<String>,
    /// Sentences.
    pub(super) texts: Vec<String>,
    /// Envoy's response flags, as written.
    pub(super) flags: Vec<String>,
}

/// An event of this name tells of an exception, whatever it was thrown at.
pub(super) fn is_exception(name: &str) -> bool {
    name == "exception" || name.ends_with(".exception")
}

impl<'a> Names<'a> {
    /// Takes an attribute about errors.
    pub(super) fn take(&mut self, key: &str, value: &'a Value) {
        match key {
            "error.type" => self.kind.current(value),
            "error.reason" => self.reason.current(value),
            "error.message" | "exception.message" => self.message.current(value),
            "error" => self.message.ranked(4, value),
            "exception.type" => self.kind.former(value),
            "response_flags" => self.flags.current(value),
            "status" => self.status.current(value),
            _ => {}
        }
    }

    /// Adds what the attributes say.
    pub(super) fn collect(&self, errors: &mut Errors) {
        for field in [self.kind, self.reason] {
            if let Some(text) = field.text() {
                errors.add_word(&text);
            }
        }
        if let Some(text) = self.message.text().filter(|text| text != "true" && text != "false") {
            errors.add_text(&text);
        }
        // Envoy's only word for a request that its client gave up.
        if self.status.text().is_some_and(|status| status == "canceled") {
            errors.add_word("canceled");
        }
        if let Some(text) = self.flags.text() {
            let flags = text.split(',').map(str::trim).filter(|flag| !flag.is_empty() && *flag != "-");
            errors.flags.extend(flags.take(MOST).map(|flag| cut_to(flag, 32).to_owned()));
        }
    }
}

impl Errors {
    /// Adds what events say: exceptions always, others where the span failed.
    pub(super) fn add_events(&mut self, events: &[otlp::span::Event], failed: bool) {
        for event in events {
            let is_exception = is_exception(&event.name);
            if !is_exception && !failed {
                continue;
            }
            for attribute in &event.attributes {
                self.add_attribute(attribute, is_exception);
            }
            if !is_exception {
                self.add_text(&event.name);
            }
        }
    }

    fn add_attribute(&mut self, attribute: &KeyValue, is_exception: bool) {
        let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
        let Some(text) = value.and_then(field::text) else { return };
        match attribute.key.as_str() {
            "exception.type" => self.add_word(&text),
            "exception.message" => self.add_text(&text),
            "error" | "message" | "error.object" | "error.kind" if !is_exception => self.add_text(&text),
            _ => {}
        }
    }

    /// A class or a code. Anything with a space in it is a sentence.
    pub(super) fn add_word(&mut self, word: &str) {
        if word.contains(char::is_whitespace) {
            return self.add_text(word);
        }
        let whole = cut_to(word, LONGEST).to_lowercase();
        let last = whole.rsplit(['.', ':', '/', '$', '\\']).next().unwrap_or_default().to_owned();
        add(&mut self.words, last);
        add(&mut self.words, whole);
    }

    /// A sentence; the class that stands before its first colon counts as a word too.
    pub(super) fn add_text(&mut self, text: &str) {
        let text = cut_to(text.trim(), LONGEST).to_lowercase();
        if let Some((class, _)) =
            text.split_once(": ").filter(|(class, _)| !class.contains(char::is_whitespace))
        {
            add(&mut self.words, class.rsplit('.').next().unwrap_or_default().to_owned());
        } else if !text.contains(char::is_whitespace) {
            add(&mut self.words, text.clone());
        }
        add(&mut self.texts, text);
    }

    /// Nothing informative was said.
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.texts.is_empty() && self.flags.is_empty()
    }

    /// All of it, for rules and people.
    pub(super) fn into_list(self) -> Vec<String> {
        let flags = self.flags.into_iter().map(|flag| flag.to_lowercase());
        let mut all: Vec<String> = Vec::new();
        for one in self.words.into_iter().chain(self.texts).chain(flags) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }
}

fn add(list: &mut Vec<String>, text: String) {
    let is_status = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let says_nothing = matches!(text.as_str(), "" | "error" | "exception" | "_other" | "other") || is_status;
    if !says_nothing && list.len() < MOST && !list.contains(&text) {
        list.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_dropped() {
        let mut errors = Errors::default();
        for word in ["Error", "_OTHER", "503", "", "java.lang.Exception"] {
            errors.add_word(word);
        }
        assert_eq!(errors.words, ["java.lang.exception"]);
    }

    #[test]
    fn classes_are_kept_whole_and_by_their_last_part() {
        let mut errors = Errors::default();
        errors.add_word("java.net.SocketTimeoutException");
        errors.add_text("ReadTimeout: HTTPConnectionPool: Read timed out.");
        assert_eq!(
            errors.words,
            ["sockettimeoutexception", "java.net.sockettimeoutexception", "readtimeout"]
        );
        assert_eq!(errors.texts, ["readtimeout: httpconnectionpool: read timed out."]);
    }
}
