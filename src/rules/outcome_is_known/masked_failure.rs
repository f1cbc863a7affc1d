//! A failed write was answered as success.
//!
//! ## What it detects
//! A request was answered well, although a write that it asked for was refused or never sent; nothing later in the request
//! did it again, elsewhere or by a message, and the answer does not say that something is missing (202, 207).
//! ## Why it matters
//! The caller believes what did not happen, and nobody else was told. The order is confirmed and no stock is reserved;
//! it is noticed when the parcel does not leave.
//! ## Example
//! ```trace
//! |====================| order  server  POST /order
//! | ======x            |   order  client  POST stock/reservations  {http.response.status_code=503}  << call
//! |  ====              |     stock  server  POST /reservations  {http.response.status_code=503}  << server
//! |          ====      |   order  db  INSERT INTO orders VALUES (?)
//! ```
//! ## Not flagged
//! Another place that did it instead.
//! ```trace
//! |====================| order  server  POST /order
//! | =====x             |   order  client  POST stock/reservations  {http.response.status_code=429}
//! |          ====      |   order  client  POST stock-b/reservations
//! ```
//! The same again that went well: a retry, or a later item of a loop, which look alike.
//! ```trace
//! |====================| shop  server  POST /pay  {http.response.status_code=201}
//! | ===x               |   shop  client  POST payments/charges  {http.response.status_code=429}
//! |  =                 |     payments  server  POST /charges  {http.response.status_code=429}
//! |          ====      |   shop  client  POST payments/charges  {http.response.status_code=201}
//! |           ==       |     payments  server  POST /charges  {http.response.status_code=201}
//! ```
//! A message or a row that lets it be done later.
//! ```trace
//! |====================| order  server  POST /order
//! | =====x             |   order  client  POST stock/reservations  {http.response.status_code=429}
//! |          =         |   order  producer  publish reservations
//! ```
//! Answers that were perhaps wanted: it is there already, or gone already.
//! ```trace
//! |====================| order  server  POST /order
//! | =====x             |   order  client  POST cart/merge  {http.response.status_code=409}
//! |         ====x      |   order  client  DELETE cart/drafts/41177  {http.response.status_code=404}
//! ```
//! What is done in passing: logs, measurements, messages to people.
//! ```trace
//! |====================| order  server  POST /order
//! | =====x             |   order  client  POST audit/log  {http.response.status_code=503}
//! |  ===               |     audit  server  POST /log  {http.response.status_code=503}
//! ```
//! Answers that say themselves that something is open, and protocols that answer 200 whatever happened.
//! ## Remedy
//! Answer what happened: fail the whole, or name the parts that failed (207). Or keep the write where a job finds it, and
//! answer 202.
//! ## Blind spots
//! What an answer's body says is not in the spans. Writes of which nobody knows whether they happened are
//! `unknown_outcome_write`'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, Effect, EffectClass, Kind, Outcome, Role, Trace, Unit, words};
use crate::rules::{Confidence, Cost, Evidence, Harm, Occurrence, told};

/// Most failed calls that are shown.
const MOST_SHOWN: usize = 8;
/// Tables from which a job takes what is left to do.
const LATER: &[&str] =
    &["outbox", "queue", "job", "task", "retry", "retries", "pending", "failed", "dead", "compensation"];

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

/// Finds requests that were answered better than they went.
pub(crate) fn inspect(trace: &Trace, _: &Thresholds) -> Vec<Occurrence> {
    trace.units().filter(|unit| answered_well(*unit)).flat_map(of_unit).collect()
}

fn answered_well(unit: Unit<'_>) -> bool {
    unit.span().kind == Kind::Server
        && unit.calls().any(Call::failed)
        && unit.claims_success()
        && !unit.leaves_open()
        && unit.is_whole()
        && !unit.is_self_defence()
        && !unit.is_streaming()
}

/// One for each operation of a callee.
fn of_unit(unit: Unit<'_>) -> Vec<Occurrence> {
    let mut failed: BTreeMap<(Option<&str>, &str), Vec<Call<'_>>> = BTreeMap::new();
    for call in unit.calls().filter(|call| is_lost_write(*call)) {
        failed.entry((call.callee(), call.operation())).or_default().push(call);
    }
    let unanswered = failed.into_values().filter(|calls| {
        // What made up for the last of them made up for all, for all that can be told.
        calls.last().is_some_and(|last| !is_made_up_for(*last))
    });
    unanswered.map(|calls| occurrence(unit, &calls)).collect()
}

fn is_lost_write(call: Call<'_>) -> bool {
    let attempt = call.last();
    call.failed()
        && matches!(call.role(), Role::Http | Role::Rpc | Role::Cloud | Role::Remote)
        && call.is_sync()
        && !attempt.is_streaming()
        && matches!(call.class(), EffectClass::NonIdempotent | EffectClass::Idempotent)
        && call.end_ns() <= call.unit().span().end_ns()
        && did_not_happen(call)
        && !call.facts().self_defence
        && !attempt.is_best_effort()
}

/// Never sent, refused in a way that nobody asks for, or seen to have written nothing.
fn did_not_happen(call: Call<'_>) -> bool {
    let attempt = call.last();
    let facts = attempt.facts();
    let overloaded =
        facts.http.status == Some(503) && is_seen_failing(attempt) && attempt.writes().next().is_none();
    let none = call.effect() == Effect::None;
    let refused = matches!(facts.http.status, Some(400 | 422 | 429 | 503))
        || matches!(facts.rpc.code.as_deref(), Some("INVALID_ARGUMENT" | "RESOURCE_EXHAUSTED"));
    overloaded || (none && (refused || attempt.verdict().never_sent || attempt.is_observed_none()))
}

/// Its server's own span says that it failed.
fn is_seen_failing(attempt: Attempt<'_>) -> bool {
    attempt.server_unit().is_some_and(|server| !server.claims_success())
}

/// Done again, elsewhere, by a message or by a job; or taken back on purpose.
fn is_made_up_for(call: Call<'_>) -> bool {
    let attempt = call.last();
    let is_for_later = |later: Call<'_>| {
        let is_queued = later.role() == Role::Db
            && later.class() != EffectClass::Safe
            && words(later.template()).any(|word| {
                let word = word.to_ascii_lowercase();
                LATER.contains(&word.as_str()) || LATER.contains(&word.trim_end_matches('s'))
            });
        call.start_ns() <= later.start_ns()
            && later.outcome() == Outcome::Ok
            && (is_queued || (later.is_publish() && !later.last().is_best_effort()))
    };
    attempt.is_repeated_well() || attempt.is_undone() || call.unit().calls().any(is_for_later)
}

fn occurrence(unit: Unit<'_>, failed: &[Call<'_>]) -> Occurrence {
    let first = failed[0];
    let is_write = |call: &Call<'_>| {
        call.is_sync() && call.class() != EffectClass::Safe && !call.facts().is_housekeeping()
    };
    let writes = unit.calls().filter(is_write).count();
    let wholly =
        writes <= failed.len() || failed.iter().any(|call| call.class() == EffectClass::NonIdempotent);
    let answer = unit.span().facts.http.status.map_or_else(|| "well".to_owned(), |status| status.to_string());
    let often = if failed.len() == 1 { String::new() } else { format!(" ({} times)", failed.len()) };
    let servers = failed.iter().take(MOST_SHOWN).filter(|call| is_seen_failing(call.last()));
    let seen = servers.clone().count() != 0;
    let sure = if is_seen_failing(first.last()) { Confidence::High } else { Confidence::Medium };
    let calls = failed
        .iter()
        .take(MOST_SHOWN)
        .map(|call| Evidence::new(call.last().at(), "call", told::ending(call.last())));
    let ends = servers
        .filter_map(|call| call.server())
        .map(|server| Evidence::new(server, "server", "failed by its own account"));
    Occurrence {
        at: first.at(),
        variant: "masked",
        family: "masked",
        group: String::new(),
        headline: format!("answers well although `{}` failed", first.operation()),
        why: format!(
            "`{}` {}{often}, {} of {writes} writes of the request; it was answered {answer} all the same",
            first.operation(),
            told::ending(first.last()),
            failed.len(),
        ),
        evidence: std::iter::once(Evidence::new(unit.owner(), "unit", format!("answered {answer}")))
            .chain(calls)
            .chain(ends)
            .collect(),
        cost: Cost { calls: failed.len() as u32, ..Cost::default() },
        harm: Harm::Masked { wholly },
        // That nothing made up for it is concluded from absence.
        confidence: if unit.trace().is_settled() { sure } else { sure.step_down() },
        not_visible: [
            Some("what the answer's body says of it".to_owned()),
            (!seen)
                .then(|| format!("the callee's side: `{}` sent no span", first.callee().unwrap_or_default())),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    type Told = (Confidence, Harm, u32);

    fn told(owner: &str, calls: &str) -> Option<Told> {
        let drawing = format!("|====================| order  server  POST /order  {{{owner}}}\n{calls}");
        let found = inspect(&sketch::parse(&drawing).unwrap().trace(), &Thresholds::default());
        found.into_iter().map(|found| (found.confidence, found.harm, found.cost.calls)).next()
    }

    fn reserve(failure: &str) -> String {
        format!("| ===x               |   order  client  POST stock/reservations  {{{failure}}}\n")
    }

    const WELL: &str = "http.response.status_code=200";
    const REFUSED: &str = "http.response.status_code=422";

    #[test]
    fn what_did_not_happen_is_told_by_codes_and_servers() {
        let lost = Some((Confidence::Medium, Harm::Masked { wholly: true }, 1));
        for (failure, expected) in [
            (REFUSED, lost),
            ("http.response.status_code=400", lost),
            ("http.response.status_code=429", lost),
            ("exception.type=ECONNREFUSED", lost),
            ("http.response.status_code=409", None),
            ("http.response.status_code=404", None),
            // Nobody knows.
            ("http.response.status_code=503", None),
            ("http.response.status_code=500", None),
            ("exception.type=ReadTimeout", None),
        ] {
            assert_eq!(told(WELL, &reserve(failure)), expected, "{failure}");
        }
        let seen =
            "|  =                 |     stock  server  POST /reservations  {http.response.status_code=503}\n";
        let overloaded = format!("{}{seen}", reserve("http.response.status_code=503"));
        assert_eq!(told(WELL, &overloaded), Some((Confidence::High, Harm::Masked { wholly: true }, 1)));
        let wrote =
            format!("{overloaded}|  =                 |       stock  db  INSERT INTO tries VALUES (?)\n");
        assert_eq!(told(WELL, &wrote), None);
    }

    #[test]
    fn only_a_plain_success_masks() {
        for (owner, masked) in [
            ("http.response.status_code=201", true),
            ("http.response.status_code=206", true),
            ("http.response.status_code=202", false),
            ("http.response.status_code=207", false),
            ("http.response.status_code=400", false),
            ("http.response.status_code=500", false),
            ("http.response.status_code=200, http.route=/graphql, url.path=/graphql", false),
        ] {
            assert_eq!(told(owner, &reserve(REFUSED)).is_some(), masked, "{owner}");
        }
    }

    #[test]
    fn items_of_a_loop_are_one_finding_unless_a_later_one_went_well() {
        let item = |from: usize, how: &str| {
            let bar = format!("{}=={}", " ".repeat(from), if how == REFUSED { "x" } else { " " });
            format!("|{bar:<20}|   order  client  POST items/items  {{{how}}}\n")
        };
        let all: String = [1, 6, 11].iter().map(|from| item(*from, REFUSED)).collect();
        assert_eq!(told(WELL, &all), Some((Confidence::Medium, Harm::Masked { wholly: true }, 3)));
        assert_eq!(told(WELL, &format!("{all}{}", item(16, WELL))), None);
    }

    #[test]
    fn what_is_left_to_a_job_is_not_lost() {
        let after = |what: &str| format!("{}|         ===        |   order  {what}\n", reserve(REFUSED));
        for (what, lost) in [
            ("db  INSERT INTO outbox VALUES (?)", false),
            ("db  INSERT INTO pending_reservations VALUES (?)", false),
            ("producer  publish reservations", false),
            ("client  POST stock/cancellations", false),
            ("db  INSERT INTO orders VALUES (?)", true),
            ("client  GET stock/items", true),
        ] {
            assert_eq!(told(WELL, &after(what)).is_some(), lost, "{what}");
        }
    }
}
