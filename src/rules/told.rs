//! What became of an attempt, in words: the same for every rule.

use super::{Evidence, whole_ms};
use crate::model::{Attempt, Call, Effect, Outcome, Repetition};

/// Most attempts of one call that are shown.
const MOST_ATTEMPTS: usize = 8;

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
    format!("{how} after {} ms", whole_ms(attempt.telling().duration_ns))
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
pub(super) fn code(attempt: Attempt<'_>) -> Option<String> {
    let status = attempt.status().map(|status| status.to_string());
    let rpc = || attempt.rpc_code().map(ToOwned::to_owned);
    status.or_else(rpc).or_else(|| attempt.facts().db.code.clone())
}

/// The attempts of a call in order, with the pauses between them, a remark on each, and the servers that they reached.
pub(super) fn attempts(call: Call<'_>, remark: impl Fn(Attempt<'_>) -> String) -> Vec<Evidence> {
    let shared = call.repetition() == Some(Repetition::SharedClient);
    let mut all = Vec::new();
    if shared {
        all.push(Evidence::new(call.at(), "call", "several attempts in one span"));
    }
    let mut before: Option<Attempt<'_>> = None;
    for (number, attempt) in call.attempts().enumerate().take(MOST_ATTEMPTS) {
        let pause = before.and_then(|before| before.pause_before(attempt));
        let pause =
            pause.map_or_else(String::new, |ns| format!("{} ms after the one before; ", whole_ms(ns.max(0))));
        before = Some(attempt);
        let role = format!("attempt:{}", number + 1);
        let note = format!("{pause}{}", remark(attempt));
        if shared {
            all.extend(attempt.servers().iter().map(|server| Evidence::new(*server, &role, note.clone())));
        } else {
            all.push(Evidence::new(attempt.at(), &role, note));
            all.extend(attempt.servers().iter().map(|server| Evidence::new(*server, "server", "")));
        }
    }
    all
}
