//! What a request is about, as far as its spans show it (RULES A11 tokens, A15 visibility, discovered arguments).

use std::collections::{BTreeMap, BTreeSet};

use super::trace::Trace;
use super::{Attempt, Facts, Role};

/// Most pieces of data that one request is compared by.
const MOST_TOKENS: usize = 16;

/// For each attempt the positions of its custom attributes that act as arguments: among the attempts of one unit
/// on one operation of one callee their values differ. (Custom attributes that are no data are not read.)
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
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for index in &bucket {
            for (key, value) in &Attempt::new(trace, *index).facts().custom {
                values.entry(key).or_default().insert(value);
            }
        }
        for index in &bucket {
            for (position, (key, _)) in Attempt::new(trace, *index).facts().custom.iter().enumerate() {
                if values.get(key.as_str()).is_some_and(|distinct| 1 < distinct.len()) {
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
    preferences: &'t [(String, String)],
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
            preferences: &facts.http.preferences,
            values: &facts.db.arguments,
            message: facts.messaging.message_id.as_deref(),
            discovered: self.discovered().collect(),
        }
    }

    /// Whether equal arguments can be told from different ones (A15).
    pub fn arguments_visible(self) -> bool {
        let facts = self.facts();
        let summary = facts.db.arguments.is_empty() && facts.db.shape.as_deref().is_some_and(is_summary);
        (facts.arguments_visible && !summary) || !self.data().discovered.is_empty()
    }

    /// An HTTP request whose arguments may stand in its body, which no span shows.
    pub fn may_have_body(self) -> bool {
        matches!(self.facts().http.method.as_deref(), Some("POST" | "PUT" | "PATCH" | "QUERY"))
    }

    /// Pieces of data in the request, at most 16.
    pub fn tokens(self) -> impl Iterator<Item = &'t str> {
        let of_request = self.facts().tokens.iter().map(String::as_str);
        of_request.chain(self.discovered()).take(MOST_TOKENS)
    }
}

/// Verb and table only, where a statement would go on: what is missing are its arguments.
fn is_summary(shape: &str) -> bool {
    const VERBS: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];
    const PARTS: [&str; 4] = ["FROM", "SET", "VALUES", "USING"];
    let is_one_of = |word: &str, known: &[&str]| known.iter().any(|known| word.eq_ignore_ascii_case(known));
    let mut words = shape.split_whitespace();
    words.next().is_some_and(|first| is_one_of(first, &VERBS)) && !words.any(|word| is_one_of(word, &PARTS))
}
