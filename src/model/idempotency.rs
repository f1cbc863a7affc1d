//! What protects a call against being carried out twice, as far as its attempts show it (RULES A8).
//!
//! Request ids and trace contexts never count: proxies set them, anew for each attempt or for reasons of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Attempt, Call, EffectClass, Outcome, Span};

/// What the attempts of a call show of protection, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// Every attempt carried the same key.
    KeyedSame,
    /// A key was sent, but its values cannot be compared.
    KeyedPresent,
    /// The request only holds under a condition (`If-Match`).
    Conditional,
    /// The server recognised the repetition.
    DedupObserved,
    /// Each attempt carried a key of its own: the key was made inside the retry.
    KeyedDifferent,
    /// Headers were recorded, and no key was among them.
    AbsentObservable,
    /// Nothing that could carry a key was recorded.
    NotObservable,
}

impl Protection {
    /// Sending it again does no harm.
    pub fn is_enough(self) -> bool {
        matches!(self, Self::KeyedSame | Self::KeyedPresent | Self::Conditional | Self::DedupObserved)
    }
}

/// What one attempt shows, on the caller's side or the server's.
struct Shown<'t> {
    keys: BTreeMap<String, &'t str>,
    redacted: bool,
    headers: bool,
}

impl Call<'_> {
    /// What its attempts show of protection against repetition.
    pub fn protection(self) -> Protection {
        let shown: Vec<Shown<'_>> = self.attempts().map(shown).collect();
        if let Some(keyed) = compare(&shown) {
            return keyed;
        }
        if sides(self).any(|span| span.facts.idempotency.conditional) {
            return Protection::Conditional;
        }
        if self.names_its_resource() || self.keeps_ledger() || self.skipped_repetition() {
            return Protection::DedupObserved;
        }
        if shown.iter().any(|shown| shown.headers) {
            Protection::AbsentObservable
        } else {
            Protection::NotObservable
        }
    }

    /// A PUT of an id that the client made: doing it twice leaves one resource.
    fn names_its_resource(self) -> bool {
        let facts = self.facts();
        let last = facts.http.path.as_deref().and_then(|path| path.trim_end_matches('/').rsplit('/').next());
        facts.http.method.as_deref() == Some("PUT") && last.is_some_and(is_made_id)
    }

    /// Below a server stands a table of requests that were already carried out.
    fn keeps_ledger(self) -> bool {
        let trace = self.trace();
        let mut below = self.attempts().flat_map(Attempt::servers).flat_map(|at| trace.subtree(*at));
        below.any(|at| {
            let db = &trace.span(*at).facts.db;
            db.system.is_some()
                && [&db.collection, &db.shape].into_iter().flatten().any(|name| is_ledger(name))
        })
    }

    /// A later attempt was answered well, and did not write what the first one wrote. What only overwrites, such as
    /// an upsert of the request's own record, may be written each time.
    fn skipped_repetition(self) -> bool {
        let adding = |write: &Attempt<'_>| write.class() != EffectClass::Idempotent;
        let adds = self.first().writes().any(|write| adding(&write));
        let first: BTreeSet<(Option<&str>, &str)> =
            self.first().writes().filter(|write| !adds || adding(write)).map(fingerprint).collect();
        !first.is_empty()
            && self.attempts().skip(1).any(|later| {
                let answered = later.server_unit().is_some_and(|unit| unit.outcome() == Outcome::Ok)
                    && !later.is_aborted();
                answered && !later.writes().any(|write| first.contains(&fingerprint(write)))
            })
    }
}

fn fingerprint(write: Attempt<'_>) -> (Option<&str>, &str) {
    (write.callee(), write.template())
}

fn sides(call: Call<'_>) -> impl Iterator<Item = &Span> {
    call.attempts().flat_map(sides_of)
}

fn sides_of(attempt: Attempt<'_>) -> impl Iterator<Item = &Span> {
    let trace = attempt.trace();
    // Parts of one client span share its attributes, but each has a server of its own.
    attempt.sides().chain(attempt.servers().iter().map(move |server| trace.span(*server)))
}

fn shown(attempt: Attempt<'_>) -> Shown<'_> {
    let mut shown = Shown { keys: BTreeMap::new(), redacted: false, headers: false };
    for span in sides_of(attempt) {
        let facts = &span.facts;
        for (name, value) in &facts.idempotency.keys {
            shown.keys.insert(name.replace('_', "-"), value);
        }
        if let Some(id) = &facts.messaging.message_id {
            shown.keys.insert("message id".into(), id);
        }
        shown.redacted |= facts.idempotency.redacted;
        shown.headers |= facts.idempotency.headers_captured;
    }
    shown
}

/// The verdict of the keys alone; `None` where there is none. Attempts that show nothing at all say nothing.
fn compare(shown: &[Shown<'_>]) -> Option<Protection> {
    let visible = || shown.iter().filter(|one| !one.keys.is_empty() || one.redacted || one.headers);
    let keyed = visible().filter(|one| !one.keys.is_empty()).count();
    if keyed == 0 {
        return visible().any(|one| one.redacted).then_some(Protection::KeyedPresent);
    }
    let names: BTreeSet<&str> = visible().flat_map(|one| one.keys.keys().map(String::as_str)).collect();
    let mut differs = false;
    for name in names {
        let values: Vec<&str> = visible().filter_map(|one| one.keys.get(name).copied()).collect();
        let same = values.iter().all(|value| *value == values[0]);
        if same && 1 < values.len() && values.len() == visible().count() {
            return Some(Protection::KeyedSame);
        }
        differs |= !same;
    }
    if differs {
        Some(Protection::KeyedDifferent)
    } else if keyed == visible().count() || visible().any(|one| one.redacted) {
        Some(Protection::KeyedPresent)
    } else {
        None
    }
}

/// UUID or ULID: made by whoever sends it, not counted by a server.
fn is_made_id(segment: &str) -> bool {
    let uuid = segment.len() == 36
        && segment.bytes().enumerate().all(|(at, byte)| {
            if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
        });
    let ulid = segment.len() == 26
        && segment.starts_with(|first: char| ('0'..='7').contains(&first))
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric());
    uuid || ulid
}

fn is_ledger(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["idempoten", "dedup", "processed_events", "processed_messages", "processed_requests"]
        .iter()
        .any(|part| name.contains(part))
        || name.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == "inbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<'t>(keys: &[(&str, &'t str)], redacted: bool, headers: bool) -> Shown<'t> {
        let keys = keys.iter().map(|(name, value)| ((*name).to_string(), *value)).collect();
        Shown { keys, redacted, headers }
    }

    #[test]
    fn keys_are_compared_where_they_are_visible() {
        let (a, b) = ([("idempotency-key", "a")], [("idempotency-key", "b")]);
        let silent = || one(&[], false, false);
        let cases = [
            (vec![one(&a, false, true), one(&a, false, true)], Some(Protection::KeyedSame)),
            (vec![one(&a, false, true), one(&b, false, true)], Some(Protection::KeyedDifferent)),
            (vec![one(&a, false, true), silent()], Some(Protection::KeyedPresent)),
            (vec![one(&a, false, true), silent(), one(&a, false, true)], Some(Protection::KeyedSame)),
            (vec![one(&[], true, true), one(&[], true, true)], Some(Protection::KeyedPresent)),
            (vec![one(&a, false, true), one(&[], false, true)], None),
            (vec![silent(), silent()], None),
        ];
        for (shown, expected) in cases {
            assert_eq!(compare(&shown), expected);
        }
    }

    #[test]
    fn a_key_that_stays_the_same_outweighs_one_that_changes() {
        let attempt = |id| one(&[("idempotency-key", "a"), ("request-id", id)], false, true);
        assert_eq!(compare(&[attempt("1"), attempt("2")]), Some(Protection::KeyedSame));
    }

    #[test]
    fn ledgers_are_known_by_name() {
        assert!(is_ledger("idempotency_keys") && is_ledger("processed_events") && is_ledger("order.inbox"));
        assert!(!is_ledger("orders") && !is_ledger("mailinboxes"));
    }

    #[test]
    fn only_made_ids_name_a_resource() {
        assert!(
            is_made_id("0f8fad5b-d9cb-469f-a165-70867728950e") && is_made_id("01ARZ3NDEKTSV4RRFFQ69G5FAV")
        );
        assert!(!is_made_id("88417") && !is_made_id("0f8fad5b"));
    }
}
