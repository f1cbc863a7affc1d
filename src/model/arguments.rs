//! What a request is about, as far as its spans show it (RULES A11 tokens, A15 visibility, discovered arguments).

use std::collections::{BTreeMap, BTreeSet};

use super::trace::Trace;
use super::{Attempt, Facts, HostSource, Role};

/// Most pieces of data that one request is compared by.
const MOST_TOKENS: usize = 16;

/// Whether a text looks like data rather than like a name: an id, a number of three digits or more, an address.
///
/// ```
/// use debunk::model::looks_like_data;
/// assert!(looks_like_data("88417") && looks_like_data("T757183C") && looks_like_data("0f8fad5b"));
/// assert!(!looks_like_data("checkout") && !looks_like_data("v2") && !looks_like_data("12"));
/// ```
pub fn looks_like_data(text: &str) -> bool {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let all = |is: fn(&u8) -> bool| text.bytes().all(|byte| is(&byte));
    let digits = 3 <= text.len() && all(u8::is_ascii_digit);
    let hex = 6 <= text.len() && has_digit && all(u8::is_ascii_hexdigit);
    let base64 =
        8 <= text.len() && has_digit && all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    digits || hex || base64 || is_address(text)
}

fn is_address(text: &str) -> bool {
    text.split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'))
}

/// A parameter whose every value identifies something.
fn names_an_id(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["id", "key", "code"].iter().any(|end| key.ends_with(end))
}

/// For each attempt the positions of its custom attributes that act as arguments: among the attempts of one unit
/// on one operation of one callee their values differ, and all look like data.
pub(super) fn discover(trace: &mut Trace) {
    let mut buckets: BTreeMap<(u32, u32, &str), Vec<u32>> = BTreeMap::new();
    for index in 0..trace.attempts.len() as u32 {
        let attempt = Attempt::new(trace, index);
        if !attempt.facts().custom.is_empty() {
            let key = (attempt.unit().index() as u32, attempt.data().callee, attempt.operation());
            buckets.entry(key).or_default().push(index);
        }
    }
    let mut found: Vec<(u32, u32)> = Vec::new();
    for bucket in buckets.into_values().filter(|bucket| bucket.len() > 1) {
        let mut values: BTreeMap<&str, (BTreeSet<&str>, bool)> = BTreeMap::new();
        for index in &bucket {
            for (key, value) in &Attempt::new(trace, *index).facts().custom {
                let (distinct, all_data) = values.entry(key).or_insert((BTreeSet::new(), true));
                *all_data &= looks_like_data(value) || names_an_id(key);
                distinct.insert(value);
            }
        }
        for index in &bucket {
            for (position, (key, _)) in Attempt::new(trace, *index).facts().custom.iter().enumerate() {
                if values
                    .get(key.as_str())
                    .is_some_and(|(distinct, all_data)| *all_data && distinct.len() > 1)
                {
                    found.push((*index, position as u32));
                }
            }
        }
    }
    for (index, position) in found {
        trace.attempts[index as usize].discovered.push(position);
    }
}

/// All that is visible of a request's arguments; equal for two requests only if all of it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arguments<'t> {
    path: Option<&'t str>,
    query: &'t [(String, String)],
    values: &'t [String],
    message: Option<&'t str>,
    discovered: Vec<&'t str>,
}

impl Arguments<'_> {
    /// They tell one item from another: an id in path or query, a message's id, or discovered attributes.
    pub(super) fn identify(&self, facts: &Facts) -> bool {
        let of_request = !matches!(facts.role, Role::Db | Role::Cache) && !facts.http.query_redacted;
        (of_request && !facts.tokens.is_empty()) || !self.discovered.is_empty() || self.message.is_some()
    }

    /// Values of a statement are visible.
    pub(super) fn has_values(&self) -> bool {
        !self.values.is_empty()
    }
}

impl<'t> Attempt<'t> {
    /// Values of custom attributes that act as arguments among attempts of the same operation.
    pub fn discovered(self) -> impl Iterator<Item = &'t str> {
        let custom = &self.facts().custom;
        self.data().discovered.iter().map(move |position| custom[*position as usize].1.as_str())
    }

    /// What can be seen of its arguments.
    pub fn arguments(self) -> Arguments<'t> {
        let facts = self.facts();
        Arguments {
            path: facts.http.path.as_deref(),
            query: &facts.http.query,
            values: &facts.db.arguments,
            message: facts.messaging.message_id.as_deref(),
            discovered: self.discovered().collect(),
        }
    }

    /// Whether equal arguments can be told from different ones (A15).
    pub fn arguments_visible(self) -> bool {
        if !self.data().discovered.is_empty() {
            return true;
        }
        let facts = self.facts();
        match facts.role {
            Role::Db | Role::Cache => {
                let holes = facts.db.shape.as_deref().map_or(0, |shape| shape.matches('?').count());
                let spelled = facts.db.shape.as_deref().is_some_and(is_statement);
                holes <= facts.db.arguments.len() && (spelled || !facts.db.arguments.is_empty())
            }
            Role::Http | Role::Cloud | Role::Remote => {
                let whole = facts.host_source == HostSource::Url || !facts.http.query.is_empty();
                facts.http.path.is_some() && !facts.http.query_redacted && (whole || !facts.tokens.is_empty())
            }
            _ => false,
        }
    }

    /// Pieces of data in the request, at most 16.
    pub fn tokens(self) -> impl Iterator<Item = &'t str> {
        let of_request = self.facts().tokens.iter().map(String::as_str);
        of_request.chain(self.discovered()).take(MOST_TOKENS)
    }
}

/// A statement's text, of which a summary would only keep verb and table.
fn is_statement(shape: &str) -> bool {
    let upper = shape.to_ascii_uppercase();
    [" FROM ", " SET ", " VALUES"].iter().any(|word| upper.contains(word))
}
