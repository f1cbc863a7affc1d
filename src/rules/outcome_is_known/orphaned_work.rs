//! A callee worked on for a caller that had stopped waiting.
//!
//! ## What it detects
//! A caller gave up, or lost its connection; the server went on for a good while, started or continued further work, and
//! wrote nothing. (Where it wrote, the two sides disagree: `timeout_partial_failure`.)
//! ## Why it matters
//! Nobody will read that answer, yet it takes threads, connections and queries from those who wait. Under overload most
//! of the work can be of this kind: each timeout is followed by a new request, while the old one still runs.
//! ## Example
//! ```trace
//! |========================================| web  server  GET /report  {http.response.status_code=504}
//! | ==========x                            |   web  client  GET stats/summary  {exception.type=ReadTimeout}  << call
//! |  ====================================  |     stats  server  GET /summary  << server
//! |   =====                                |       stats  db  SELECT a
//! |            =======                     |       stats  db  SELECT b  << late
//! |                     ================   |       stats  db  SELECT c  << late
//! ```
//! ## Not flagged
//! A caller that got its answer, however long its server tidied up.
//! ```trace
//! |========================================| web  server  GET /report
//! | ==========                             |   web  client  GET stats/summary
//! |  ====================================  |     stats  server  GET /summary
//! |                     ================   |       stats  db  SELECT c
//! ```
//! A server that only waited: nothing shows that it did anything.
//! ```trace
//! |========================================| web  server  GET /report  {http.response.status_code=504}
//! | ==========x                            |   web  client  GET stats/summary  {exception.type=ReadTimeout}
//! |  ====================================  |     stats  server  GET /summary
//! |                                     =  |       stats  local  GET /summary http send
//! ```
//! A server that ends soon after its caller left.
//! ```trace
//! |========================================| web  server  GET /report  {http.response.status_code=504}
//! | ==========x                            |   web  client  GET stats/summary  {exception.type=ReadTimeout}
//! |  ===========                           |     stats  server  GET /summary
//! |   ==========                           |       stats  db  SELECT c
//! ```
//! ## Remedy
//! Pass the deadline on with the request and look at it, or at cancellation, before each further step. Drop what has
//! waited in a queue for longer than its caller would.
//! ## Blind spots
//! Work without calls of its own (a computation, an uninstrumented driver) is not seen, so the server's own duration
//! alone never counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, SpanIdx, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Held, Millis, Occurrence, told, whole_ms as ms};

/// Most late spans that are shown.
const MOST_SHOWN: usize = 8;
/// The row of the outcome table for a failure without a word.
const SILENT_FAILURE: u8 = 8;

/// When work for nobody is worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least time that the server went on.
    pub min_orphaned: Millis,
    /// The same as a share of all its time; the larger one counts.
    pub min_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_orphaned: Millis(100), min_share: 0.25 }
    }
}

/// Finds servers that went on for nobody.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let attempts = trace.units().filter(|unit| !unit.is_self_defence()).flat_map(Unit::attempts);
    attempts.filter_map(|attempt| of_attempt(attempt, limits)).collect()
}

fn of_attempt(attempt: Attempt<'_>, limits: &Thresholds) -> Option<Occurrence> {
    let server = attempt.server_unit()?;
    let verdict = attempt.verdict();
    let left = attempt.gave_up_explicitly()
        || attempt.is_reset()
        || (attempt.failed() && verdict.row == SILENT_FAILURE && !verdict.answered);
    if !left
        || !attempt.is_sync()
        || attempt.is_streaming()
        || server.is_streaming()
        || attempt.writes().next().is_some()
    {
        return None;
    }
    let (waited, worked) = (attempt.duration_ns(), server.effective_duration_ns());
    let orphaned = worked.saturating_sub(waited);
    let share = (worked as f64 * limits.min_share) as i64;
    let late = late(attempt, server);
    (limits.min_orphaned.ns().max(share) <= orphaned && !late.is_empty())
        .then(|| occurrence(attempt, server, &late, orphaned))
}

/// Work below the server that ran when the caller had left: a server starts after its caller did, so what ends later
/// than the caller's whole wait after the server's start ended after the caller left, whatever their clocks say.
fn late(attempt: Attempt<'_>, server: Unit<'_>) -> Vec<SpanIdx> {
    let trace = attempt.trace();
    // Calls alone are work; what a framework records when it answers (`http send`) is not.
    let is_call = |at: &SpanIdx| trace.attempt_of(*at).is_some_and(|call| call.at() == *at);
    let below = trace.subtree(server.owner()).iter().copied().filter(|at| *at != server.owner());
    below
        .filter(is_call)
        .filter(|at| {
            let span = trace.span(*at);
            span.resource.clock_domain == server.resource().clock_domain
                && attempt.duration_ns() <= span.end_ns().saturating_sub(server.span().start_ns)
        })
        .collect()
}

fn occurrence(attempt: Attempt<'_>, server: Unit<'_>, late: &[SpanIdx], orphaned_ns: i64) -> Occurrence {
    let trace = attempt.trace();
    let begun_after = |at: &&SpanIdx| {
        attempt.duration_ns() <= trace.span(**at).start_ns.saturating_sub(server.span().start_ns)
    };
    let calls = late.iter().filter(begun_after).count() as u32;
    let worked = format!("worked {} ms", ms(server.effective_duration_ns()));
    let offset = |at: SpanIdx| {
        let span = trace.span(at);
        format!(
            "ended {} ms after its server began",
            ms(span.end_ns().saturating_sub(server.span().start_ns))
        )
    };
    let shown = late.iter().take(MOST_SHOWN).map(|at| Evidence::new(*at, "late", offset(*at)));
    let evidence = [
        Evidence::new(attempt.at(), "call", told::ending(attempt)),
        Evidence::new(server.owner(), "server", worked),
    ];
    Occurrence {
        at: attempt.at(),
        variant: "orphaned",
        family: "orphaned",
        group: String::new(),
        headline: format!("goes on with `{}` for nobody", attempt.operation()),
        why: format!(
            "`{}` {}; its server went on for {} ms, with {calls} further calls",
            attempt.operation(),
            told::ending(attempt),
            ms(orphaned_ns)
        ),
        evidence: evidence.into_iter().chain(shown).collect(),
        cost: Cost { time: Duration::from_nanos(orphaned_ns.max(0) as u64), calls, ..Cost::default() },
        harm: Harm::Held(Held::ForNobody),
        confidence: if attempt.gave_up_explicitly() { Confidence::Confirmed } else { Confidence::High },
        not_visible: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(failure: &str, below: &str) -> Option<(Confidence, u32)> {
        let drawing = format!(
            "\
|========================================| web  server  GET /report
| ==========x                            |   web  client  GET stats/summary  {{{failure}}}
|  ====================================  |     stats  server  GET /summary
{below}"
        );
        let trace = sketch::parse(&drawing).unwrap().trace();
        inspect(&trace, &Thresholds::default()).pop().map(|found| (found.confidence, found.cost.calls))
    }

    const LATE: &str = "|                     ================   |       stats  db  SELECT c\n";
    const EARLY: &str = "|   ====                                 |       stats  db  SELECT c\n";

    #[test]
    fn somebody_must_have_left_and_somebody_gone_on() {
        for (failure, below, expected) in [
            ("exception.type=ReadTimeout", LATE, Some((Confidence::Confirmed, 1))),
            ("exception.type=ECONNRESET", LATE, Some((Confidence::Confirmed, 1))),
            ("exception.type=ReadTimeout", EARLY, None),
            ("exception.type=ReadTimeout", "", None),
            ("http.response.status_code=500", LATE, None),
        ] {
            assert_eq!(found(failure, below), expected, "{failure} {below}");
        }
    }

    #[test]
    fn what_wrote_is_anothers_affair() {
        let wrote = LATE.replace("SELECT c", "INSERT INTO c VALUES (?)");
        assert_eq!(found("exception.type=ReadTimeout", &wrote), None);
    }
}
