//! A request changed one system, failed at the next, and undid nothing.
//!
//! ## What it detects
//! A request ended in an error. Its last failed step came after another system had been changed for good: a server that
//! answered well and wrote, a transaction that was committed, a message that was published. Nothing later in the trace
//! undid that, told others of the failure, or wrote it down.
//! ## Why it matters
//! There is no transaction over two systems. The card is charged and nothing is reserved; the user is told that it
//! failed and orders again. Nobody looks for it, since the log holds an ordinary error.
//! ## Example
//! ```trace
//! |==============================| shop  server  POST /buy  {http.response.status_code=500}
//! | =============                |   shop  client  POST payments/charges  {http.response.status_code=201}  << left
//! |  ===========                 |     payments  server  POST /charges  {http.response.status_code=201}
//! |     ======                   |       payments  db  INSERT INTO charges VALUES (?)  << write
//! |               =====x         |   shop  client  POST stock/reservations  {http.response.status_code=409}  << failed
//! |                ===           |     stock  server  POST /reservations  {http.response.status_code=409}
//! ```
//! ## Not flagged
//! What is undone, here by a refund.
//! ```trace
//! |==============================| shop  server  POST /buy  {http.response.status_code=500}
//! | =========                    |   shop  client  POST payments/charges  {http.response.status_code=201}
//! |  =======                     |     payments  server  POST /charges  {http.response.status_code=201}
//! |     ===                      |       payments  db  INSERT INTO charges VALUES (?)
//! |           =====x             |   shop  client  POST stock/reservations  {http.response.status_code=409}
//! |                   =======    |   shop  client  POST payments/refunds
//! ```
//! What others are told of, so that they can undo it.
//! ```trace
//! |==============================| shop  server  POST /buy  {http.response.status_code=500}
//! | =========                    |   shop  client  POST payments/charges  {http.response.status_code=201}
//! |  =======                     |     payments  server  POST /charges  {http.response.status_code=201}
//! |     ===                      |       payments  db  INSERT INTO charges VALUES (?)
//! |           =====x             |   shop  client  POST shipping/shipments  {http.response.status_code=409}
//! |                   =          |   shop  producer  publish orders.cancelled
//! ```
//! A transaction that was rolled back, or never seen to be committed.
//! ```trace
//! |==============================| shop  server  POST /buy  {http.response.status_code=500}
//! | =                            |   shop  db  BEGIN
//! |   ==                         |   shop  db  INSERT INTO orders VALUES (?)
//! |      =======x                |   shop  client  POST stock/reservations  {http.response.status_code=409}
//! |               =              |   shop  db  ROLLBACK
//! ```
//! A request whose state the service keeps itself: writing the failure down is dealing with it.
//! ```trace
//! |==============================| shop  server  POST /buy  {http.response.status_code=500}
//! | =========                    |   shop  client  POST payments/charges  {http.response.status_code=201}
//! |  =======                     |     payments  server  POST /charges  {http.response.status_code=201}
//! |     ===                      |       payments  db  INSERT INTO charges VALUES (?)
//! |           =====x             |   shop  client  POST stock/reservations  {http.response.status_code=409}
//! |                   ===        |   shop  db  UPDATE orders SET state = ? WHERE id = ?
//! ```
//! ## Remedy
//! Keep the steps of a request in one place and undo the done ones when a later one fails (a saga); or reserve first and
//! confirm last; or do what cannot be undone as the last step; or write the intent with the request's own data in one
//! transaction and let a job do the rest (an outbox).
//! ## Blind spots
//! What is undone hours later, or by another trace, is not seen here. Drivers that show no BEGIN and COMMIT leave it
//! open whether a local row was kept, so such rows never count. A message to an exchange without a routing key may be
//! the compensation: the finding says so and is less sure.

use serde::{Deserialize, Serialize};

use crate::model::{Call, Effect, EffectClass, Kept, Kind, Outcome, Role, Trace, Unit, words};
use crate::rules::{Confidence, Cost, Evidence, HalfDone, Harm, Occurrence, told};

/// Most writes that are shown.
const MOST_SHOWN: usize = 8;
/// Most changes of one request of which it is asked whether they were undone.
const MOST_ASKED: usize = 32;
/// How messages begin that tell of a failure.
const TELLING: &[&str] = &[
    "compensat",
    "cancel",
    "rollback",
    "refund",
    "revert",
    "revers",
    "fail",
    "saga",
    "dead",
    "abort",
    "reject",
];
/// Tables that exist so that something is done later.
const LATER: &[&str] = &["outbox", "inbox", "saga"];

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

/// Finds requests that were done by half.
pub(crate) fn inspect(trace: &Trace, _: &Thresholds) -> Vec<Occurrence> {
    let found: Vec<_> = trace.units().filter(|unit| failed(*unit)).filter_map(of_unit).collect();
    // Somebody else may be told to undo it; asked last, since it takes a walk through the whole trace.
    let is_telling = |call: Call<'_>| call.is_publish() && is_about(call, TELLING);
    if found.is_empty() || trace.calls().any(is_telling) { Vec::new() } else { found }
}

fn failed(unit: Unit<'_>) -> bool {
    unit.span().kind == Kind::Server
        && matches!(unit.outcome(), Outcome::Error | Outcome::Timeout | Outcome::Abandoned)
        && unit.is_whole()
        && !unit.is_self_defence()
        && !unit.is_streaming()
}

fn of_unit(unit: Unit<'_>) -> Option<Occurrence> {
    let failures = unit.calls().rev().filter(|call| is_failed_step(*call));
    // Undoing that failed in its turn is not what was to be done.
    let step = failures.clone().find(|call| !call.is_undoing()).or_else(|| failures.clone().next())?;
    if unit.calls().any(|later| deals_with(later, step)) || step.last().is_retried_well() {
        return None;
    }
    let done = unit.calls().filter(|call| stays(*call, step));
    let left: Vec<(Call<'_>, Kept)> = done
        .filter_map(|call| Some((call, kept(call, step)?)))
        .take(MOST_ASKED)
        .filter(|(call, _)| !call.last().is_undone())
        .collect();
    let (first, kept) = *left.first()?;
    Some(occurrence(unit, first, kept, step, left.len() - 1))
}

/// It went wrong, and what went wrong is not that the asked-for thing is missing.
fn is_failed_step(call: Call<'_>) -> bool {
    let only_missing = call.class() == EffectClass::Safe && call.last().verdict().row == 6;
    call.failed()
        && (call.is_sync() || call.is_publish())
        && call.role() != Role::Cache
        && call.effect() != Effect::Applied
        && call.end_ns() <= call.unit().span().end_ns()
        && !only_missing
        && !call.facts().self_defence
        && !call.last().is_best_effort()
}

/// Something that the request did when the step had failed: it went on, undid, looked, or wrote it down.
fn deals_with(later: Call<'_>, step: Call<'_>) -> bool {
    step.end_ns() <= later.start_ns()
        && !later.failed()
        && !later.is_publish()
        && later.role() != Role::Cache
        && !later.facts().is_housekeeping()
        && !later.last().is_best_effort()
}

/// It adds or overwrites something, elsewhere than the failed step.
fn stays(call: Call<'_>, step: Call<'_>) -> bool {
    matches!(call.class(), EffectClass::NonIdempotent | EffectClass::Idempotent)
        && call.callee().is_some()
        && step.callee().is_some()
        && call.callee() != step.callee()
        && !call.last().is_best_effort()
        && !is_about(call, LATER)
}

/// A row of its own must have been committed before the step began; another's is kept once it has answered.
fn kept(call: Call<'_>, step: Call<'_>) -> Option<Kept> {
    call.kept_before(if call.role() == Role::Db { step.start_ns() } else { step.end_ns() })
}

fn is_about(call: Call<'_>, stems: &[&str]) -> bool {
    let is_one = |word: &str| stems.iter().any(|stem| word.to_ascii_lowercase().starts_with(stem));
    let destination = call.facts().messaging.destination.as_deref().unwrap_or_default();
    words(call.template()).chain(words(destination)).any(is_one)
}

/// A message after the failure, of which nothing says that it is no compensation.
fn message_after<'t>(unit: Unit<'t>, step: Call<'_>) -> Option<Call<'t>> {
    unit.calls().find(|call| {
        call.is_publish()
            && step.end_ns() <= call.start_ns()
            && !call.failed()
            && !call.last().is_best_effort()
    })
}

fn occurrence(unit: Unit<'_>, first: Call<'_>, kept: Kept, step: Call<'_>, others: usize) -> Occurrence {
    let message = message_after(unit, step);
    let (left, failed) = (first.operation(), step.operation());
    let also = if others == 0 { String::new() } else { format!(" and {others} more") };
    let undone_by = "whether something undoes it later, outside this trace".to_owned();
    let wrote = format!("what `{}` wrote: no span of its database came", first.callee().unwrap_or_default());
    let may_tell = message.map(|call| format!("what `{}` tells others: it may undo it", call.operation()));
    let unseen = (kept == Kept::Assumed).then_some(wrote);
    Occurrence {
        at: first.at(),
        variant: "left",
        family: "left",
        group: format!("{} {}", step.callee().unwrap_or_default(), step.template()),
        headline: format!("keeps `{left}` when `{failed}` fails"),
        why: format!(
            "`{left}`{also} was done; then `{failed}` {}, the request ended {}, and nothing undid it",
            told::ending(step.last()),
            unit.outcome().id()
        ),
        evidence: evidence(unit, first, step),
        cost: Cost {
            calls: 1 + others as u32,
            unknown_outcomes: u32::from(step.effect() == Effect::Unknown),
            ..Cost::default()
        },
        harm: Harm::HalfDone(harm(first, step)),
        confidence: confidence(unit, kept, message.is_some()),
        not_visible: [Some(undone_by), may_tell, unseen].into_iter().flatten().collect(),
    }
}

fn evidence(unit: Unit<'_>, first: Call<'_>, step: Call<'_>) -> Vec<Evidence> {
    let ended = format!("ended {}", unit.outcome().id());
    let writes = first
        .last()
        .lasting_writes()
        .take(MOST_SHOWN)
        .map(|write| Evidence::new(write.at(), "write", format!("of `{}`", write.unit().service())));
    [
        Evidence::new(unit.owner(), "unit", ended),
        Evidence::new(first.last().at(), "left", told::ending(first.last())),
    ]
    .into_iter()
    .chain(writes)
    .chain([Evidence::new(step.last().at(), "failed", told::ending(step.last()))])
    .collect()
}

fn harm(first: Call<'_>, step: Call<'_>) -> HalfDone {
    let is_own = |call: Call<'_>| call.role() == Role::Db || call.is_publish();
    if is_own(first) && is_own(step) {
        HalfDone::Own
    } else if !is_own(first) && first.adds_up() {
        HalfDone::Elsewhere
    } else {
        HalfDone::Partly
    }
}

fn confidence(unit: Unit<'_>, kept: Kept, may_be_told: bool) -> Confidence {
    let sure = match kept {
        Kept::Written | Kept::Committed => Confidence::High,
        Kept::Published | Kept::Assumed => Confidence::Medium,
    };
    let told = if may_be_told { sure.step_down() } else { sure };
    // That nothing undid it is concluded from absence.
    if unit.trace().is_settled() { told } else { told.step_down() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    /// A charge below which `below` stands, a failed reservation, and what came after.
    fn told(owner: &str, below: &str, failure: &str, after: &str) -> Option<(Confidence, Harm)> {
        let drawing = format!(
            "\
|==============================| shop  server  POST /buy  {{{owner}}}
| =========                    |   shop  client  POST payments/charges
{below}|           =====x             |   shop  client  POST stock/reservations  {{{failure}}}
{after}"
        );
        let found = inspect(&sketch::parse(&drawing).unwrap().trace(), &Thresholds::default());
        found.into_iter().map(|found| (found.confidence, found.harm)).next()
    }

    const FAILED: &str = "http.response.status_code=500";
    const REFUSED: &str = "http.response.status_code=409";
    const WROTE: &str = "\
|  =======                     |     payments  server  POST /charges
|    ===                       |       payments  db  INSERT INTO charges VALUES (?)
";

    const ELSEWHERE: Harm = Harm::HalfDone(HalfDone::Elsewhere);

    #[test]
    fn what_was_seen_to_be_written_is_surer_than_what_the_method_says() {
        let read = WROTE.replace("INSERT INTO charges VALUES (?)", "SELECT id FROM charges");
        let overwritten = WROTE.replace("INSERT INTO charges VALUES (?)", "UPDATE carts SET state = ?");
        for (below, expected) in [
            (WROTE, Some((Confidence::High, ELSEWHERE))),
            ("", Some((Confidence::Medium, ELSEWHERE))),
            (read.as_str(), None),
            (overwritten.as_str(), Some((Confidence::High, Harm::HalfDone(HalfDone::Partly)))),
        ] {
            assert_eq!(told(FAILED, below, REFUSED, ""), expected, "{below}");
        }
    }

    #[test]
    fn the_request_must_have_failed_and_the_step_too() {
        assert_eq!(told("http.response.status_code=409", WROTE, REFUSED, ""), None);
        assert_eq!(told("http.response.status_code=200", WROTE, REFUSED, ""), None);
        assert_eq!(told(FAILED, WROTE, "http.response.status_code=200, span.status=unset", ""), None);
        assert!(told(FAILED, WROTE, "exception.type=ReadTimeout", "").is_some());
    }

    #[test]
    fn whatever_the_request_did_about_it_counts() {
        let after = |what: &str| format!("|                   =====      |   shop  {what}\n");
        for (what, expected) in [
            ("client  POST payments/refunds", None),
            ("client  POST stock-b/reservations", None),
            ("client  GET payments/charges", None),
            ("db  UPDATE orders SET state = ? WHERE id = ?", None),
            ("producer  publish order.failed", None),
            ("producer  publish orders", Some((Confidence::Medium, ELSEWHERE))),
            ("client  POST logs/audit", Some((Confidence::High, ELSEWHERE))),
            ("db  ROLLBACK", Some((Confidence::High, ELSEWHERE))),
        ] {
            assert_eq!(told(FAILED, WROTE, REFUSED, &after(what)), expected, "{what}");
        }
    }

    #[test]
    fn own_rows_count_once_they_are_committed() {
        let found = |end: &str, at: &str| {
            let drawing = format!(
                "\
|==============================| shop  server  POST /buy  {{{FAILED}}}
| =                            |   shop  db  BEGIN
|   ==                         |   shop  db  INSERT INTO orders VALUES (?)
{at}   shop  db  {end}
|           =====x             |   shop  client  POST payments/charges  {{{REFUSED}}}
"
            );
            let found = inspect(&sketch::parse(&drawing).unwrap().trace(), &Thresholds::default());
            found.first().map(|found| found.confidence)
        };
        let (before, after) = ("|       =                      |", "|                   =          |");
        assert_eq!(found("COMMIT", before), Some(Confidence::High));
        assert_eq!(found("COMMIT", after), None);
        assert_eq!(found("ROLLBACK", before), None);
    }
}
