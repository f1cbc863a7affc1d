//! A write ended without anybody knowing whether it happened.
//!
//! ## What it detects
//! A request that changes something timed out, lost its connection or came back with an error that rules nothing out,
//! and its callee sends no spans that would tell more. Nothing later in the request asked what became of it, undid it,
//! or did it again with success.
//! ## Why it matters
//! The charge may have been made or not. Whoever reports failure makes people try again, and pay twice; whoever reports
//! success sells what was never paid for. Neither shows in any log as an error of its own.
//! ## Example
//! A failure is reported, though the bank may have charged.
//! ```trace
//! |====================| shop  server  POST /checkout  {http.response.status_code=500}
//! | =================x |   shop  client  POST /v1/charges  {url.full=https://api.globex-bank.com/v1/charges, exception.type=ReadTimeout}  << call
//! ```
//! A success is reported, though the bank may not have.
//! ```trace
//! |====================| shop  server  POST /checkout
//! | =======x           |   shop  client  POST /v1/charges  {url.full=https://api.globex-bank.com/v1/charges, exception.type=ECONNRESET}  << call
//! |          =====     |   shop  db  INSERT INTO orders VALUES (?)
//! ```
//! ## Not flagged
//! A caller that looks it up.
//! ```trace
//! |====================| shop  server  POST /settle
//! | ======x            |   shop  client  POST /v1/charges  {url.full=https://api.globex-bank.com/v1/charges, exception.type=RemoteDisconnected}
//! |         ====       |   shop  client  GET /v1/charges  {url.full=https://api.globex-bank.com/v1/charges?order=o-77421}
//! ```
//! One that was never sent, and one that was refused.
//! ```trace
//! |====================| shop  server  POST /checkout  {http.response.status_code=500}
//! | =x                 |   shop  client  POST /v1/charges  {url.full=https://api.globex-bank.com/v1/charges, exception.type=ECONNREFUSED}
//! |    ====x           |   shop  client  POST /v1/charges  {url.full=https://api.globex-bank.com/v1/charges, http.response.status_code=402}
//! ```
//! A caller that says itself that it does not know yet.
//! ```trace
//! |====================| shop  server  POST /checkout  {http.response.status_code=202}
//! | =======x           |   shop  client  POST /v1/charges  {url.full=https://api.globex-bank.com/v1/charges, exception.type=ReadTimeout}
//! ```
//! A client span that stands alone: what followed it is in other traces.
//! ```trace
//! |====================x| loadgen  client  POST shop/checkout  {exception.type=ReadTimeout}
//! ```
//! Where the callee's own spans tell what happened, other rules speak of it; writes to caches are nobody's concern.
//! ## Remedy
//! Give each operation an id before the first attempt, send it as the idempotency key, and after a failure send again
//! with the same key or ask by it before answering. Where that cannot be done in time, answer 202 and let a job settle
//! it. Publish through an outbox.
//! ## Blind spots
//! What is settled in another trace, by a job or by people, is not seen here. Statements of SQL databases are left out:
//! whether a transaction was open, which a lost connection rolls back, most drivers do not show. Instrument the callee,
//! and its spans say what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, Effect, EffectClass, Kind, Outcome, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Occurrence, Unresolved, told};

/// Whether it is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Finds writes of which nobody knows.
pub(crate) fn inspect(trace: &Trace, _: &Thresholds) -> Vec<Occurrence> {
    // Before a trace has settled, the span of a slow server is as good as expected.
    if !trace.is_settled() {
        return Vec::new();
    }
    trace.units().filter(|unit| can_be_judged(*unit)).flat_map(of_unit).collect()
}

/// All that its service did for someone is in the trace. What a lone client span was followed by is in others.
fn can_be_judged(unit: Unit<'_>) -> bool {
    !unit.is_self_defence() && unit.is_whole() && !matches!(unit.span().kind, Kind::Client | Kind::Producer)
}

/// One for each operation of a callee: of several that were lost the last, which most could still have settled least.
fn of_unit(unit: Unit<'_>) -> Vec<Occurrence> {
    let mut lost: BTreeMap<(Option<&str>, &str), (Call<'_>, Attempt<'_>, u32)> = BTreeMap::new();
    for call in unit.calls().filter(|call| call.failed() && call.effect() == Effect::Unknown) {
        let unseen = call.attempts().rev().find(|attempt| is_unseen(*attempt));
        if let Some(attempt) = unseen.filter(|_| changes_something(call)) {
            let known = lost.entry((call.callee(), call.operation())).or_insert((call, attempt, 0));
            *known = (call, attempt, known.2 + 1);
        }
    }
    let is_open = |attempt: Attempt<'_>| {
        !(unit.leaves_open()
            || attempt.is_looked_up()
            || attempt.is_repeated_well()
            || attempt.is_retried_well()
            || attempt.is_undone())
    };
    let open = lost.into_values().filter(|(_, attempt, _)| is_open(*attempt));
    open.map(|(call, attempt, count)| occurrence(call, attempt, count)).collect()
}

/// No span of its server tells what became of it.
fn is_unseen(attempt: Attempt<'_>) -> bool {
    attempt.effect() == Effect::Unknown && attempt.servers().is_empty()
}

fn changes_something(call: Call<'_>) -> bool {
    let facts = call.facts();
    let lasting = match call.role() {
        Role::Http | Role::Rpc | Role::Cloud | Role::Remote => true,
        Role::Db => facts.is_own_transaction(),
        _ => call.is_publish(),
    };
    lasting
        && !facts.self_defence
        && !call.first().is_streaming()
        && matches!(call.class(), EffectClass::NonIdempotent | EffectClass::Idempotent)
}

fn occurrence(call: Call<'_>, attempt: Attempt<'_>, count: u32) -> Occurrence {
    let unit = call.unit();
    let variant = if unit.claims_success() { "reported_success" } else { "reported_failure" };
    let callee = call.callee().unwrap_or("the callee");
    let times = if count == 1 { String::new() } else { format!("; {count} such calls in this request") };
    Occurrence {
        at: call.at(),
        variant,
        family: variant,
        group: String::new(),
        headline: format!("does not find out whether `{}` happened", call.operation()),
        why: format!(
            "`{}` {}; nothing later asked what became of it, and the request ended {}{times}",
            call.operation(),
            told::ending(attempt),
            unit.outcome().id()
        ),
        evidence: vec![
            Evidence::new(unit.owner(), "unit", format!("ended {}", unit.outcome().id())),
            Evidence::new(attempt.at(), "call", told::ending(attempt)),
        ],
        cost: Cost { unknown_outcomes: count, ..Cost::default() },
        harm: Harm::Unresolved(harm(call)),
        confidence: confidence(attempt),
        not_visible: vec![
            format!("what `{callee}` did: no span of it came for this call"),
            "whether something settles it later, outside this request".to_owned(),
        ],
    }
}

fn harm(call: Call<'_>) -> Unresolved {
    if call.first().is_best_effort() || call.class() == EffectClass::Idempotent {
        Unresolved::Repeatable
    } else if call.is_publish() {
        Unresolved::Published
    } else {
        Unresolved::Adds
    }
}

fn confidence(attempt: Attempt<'_>) -> Confidence {
    const FROM_GATEWAYS: [Option<u16>; 2] = [Some(502), Some(504)];
    let explicit = (attempt.outcome() == Outcome::Timeout && attempt.gave_up_explicitly())
        || attempt.is_reset()
        || FROM_GATEWAYS.contains(&attempt.facts().http.status);
    if explicit { Confidence::High } else { Confidence::Medium }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    type Told = (&'static str, Confidence, Harm);

    fn told(owner: &str, call: &str, after: &str) -> Vec<Told> {
        let drawing = format!(
            "\
|====================| shop  server  POST /checkout  {{{owner}}}
| ======x            |   shop  client  {call}
{after}"
        );
        let found = inspect(&sketch::parse(&drawing).unwrap().trace(), &Thresholds::default());
        found.into_iter().map(|found| (found.variant, found.confidence, found.harm)).collect()
    }

    fn charge(failure: &str) -> String {
        format!("POST /v1/charges  {{url.full=https://bank.com/v1/charges, {failure}}}")
    }

    const FAILED: &str = "http.response.status_code=500";
    const TIMEOUT: &str = "exception.type=ReadTimeout";

    #[test]
    fn how_sure_it_is_depends_on_how_it_was_lost() {
        let adds = Harm::Unresolved(Unresolved::Adds);
        for (failure, expected) in [
            (TIMEOUT, Some(Confidence::High)),
            ("exception.type=ECONNRESET", Some(Confidence::High)),
            ("http.response.status_code=502", Some(Confidence::High)),
            ("http.response.status_code=504", Some(Confidence::High)),
            ("http.response.status_code=500", Some(Confidence::Medium)),
            ("span.message=oh", Some(Confidence::Medium)),
            ("http.response.status_code=409", None),
            ("exception.type=ECONNREFUSED", None),
            ("exception.type=ConnectTimeout", None),
        ] {
            let expected: Vec<Told> =
                expected.into_iter().map(|sure| ("reported_failure", sure, adds)).collect();
            assert_eq!(told(FAILED, &charge(failure), ""), expected, "{failure}");
        }
    }

    #[test]
    fn what_the_request_was_answered_is_the_form() {
        for (owner, expected) in [
            (FAILED, Some("reported_failure")),
            ("http.response.status_code=409", Some("reported_failure")),
            ("http.response.status_code=200", Some("reported_success")),
            ("http.response.status_code=202", None),
        ] {
            let found = told(owner, &charge(TIMEOUT), "");
            assert_eq!(found.first().map(|found| found.0), expected, "{owner}");
        }
    }

    #[test]
    fn only_what_adds_up_weighs_heavily() {
        for (call, expected) in [
            ("POST bank.com/audit  {exception.type=ReadTimeout}", Some(Unresolved::Repeatable)),
            ("PUT bank.com/limits  {exception.type=ReadTimeout}", Some(Unresolved::Repeatable)),
            (
                "bank.v1.Charges/CreateCharge  {rpc.response.status_code=DEADLINE_EXCEEDED}",
                Some(Unresolved::Adds),
            ),
            ("GET bank.com/limits  {exception.type=ReadTimeout}", None),
            ("POST bank.com/limits/search  {exception.type=ReadTimeout}", None),
        ] {
            let found = told(FAILED, call, "");
            assert_eq!(found.first().map(|found| found.2), expected.map(Harm::Unresolved), "{call}");
        }
    }

    #[test]
    fn what_settles_it_later_ends_it() {
        for (after, settled) in [
            ("GET bank.com/v1/charges", true),
            ("POST bank.com/v1/refunds", true),
            ("POST bank.com/v1/charges", true),
            ("GET shop.com/stock", false),
            ("POST mail.com/letters", false),
        ] {
            let after = format!("|          ====      |   shop  client  {after}\n");
            let found = told(FAILED, "POST bank.com/v1/charges  {exception.type=ReadTimeout}", &after);
            assert_eq!(found.is_empty(), settled, "{after}");
        }
    }

    #[test]
    fn statements_are_left_out() {
        let sql =
            "|  ====x             |   shop  db  INSERT INTO orders VALUES (?)  {exception.type=ECONNRESET}\n";
        assert!(told(FAILED, "GET bank.com/limits", sql).is_empty());
        let document = sql.replace("exception", "db.system.name=mongodb, exception");
        assert_eq!(told(FAILED, "GET bank.com/limits", &document).len(), 1);
    }
}
