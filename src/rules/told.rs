//! What became of an attempt, in words: the same for every rule.

use super::whole_ms;
use crate::model::{Attempt, Effect, Outcome};

/// `timed out after 300 ms`, `answered 503 after 12 ms`.
pub(super) fn ending(attempt: Attempt<'_>) -> String {
    let how = match attempt.outcome() {
        Outcome::Timeout => "timed out".to_owned(),
        Outcome::Cancelled => "was cancelled".to_owned(),
        Outcome::Abandoned => "was abandoned".to_owned(),
        Outcome::Error if attempt.is_reset() => "lost its connection".to_owned(),
        outcome => match (code(attempt), outcome) {
            (Some(code), _) => format!("answered {code}"),
            (None, Outcome::Error) => "failed".to_owned(),
            (None, _) => "ended".to_owned(),
        },
    };
    format!("{how} after {} ms", whole_ms(attempt.duration_ns()))
}

/// `took effect`, `took no effect`, `may have taken effect`.
pub(super) fn effect(attempt: Attempt<'_>) -> &'static str {
    match attempt.effect() {
        Effect::Applied => "took effect",
        Effect::None => "took no effect",
        Effect::Unknown => "may have taken effect",
    }
}

/// The status as the protocol says it.
fn code(attempt: Attempt<'_>) -> Option<String> {
    let facts = attempt.facts();
    let status = facts.http.status.map(|status| status.to_string());
    status.or_else(|| facts.rpc.code.clone()).or_else(|| facts.db.code.clone())
}
