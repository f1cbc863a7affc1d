//! A caller waits for longer than anybody upstream would.
//!
//! ## What it detects
//! A synchronous call, made while serving a request, that took a minute or more and was not ended by a timeout; of a
//! chain of such calls the deepest one.
//! ## Why it matters
//! A call without a timeout holds a thread and a connection for as long as the other side likes. When the other side
//! hangs, all threads do, and the failure of one service becomes the failure of every service that calls it.
//! ## Example
//! ```trace
//! @ 1s
//! |================================================================================| api  server  GET /report
//! | ============================================================================== |   api  client  GET legacy/report  << call
//! ```
//! ## Not flagged
//! Calls that are meant to wait.
//! ```trace
//! @ 1s
//! |================================================================================| api  server  GET /next
//! | ============================================================================== |   api  client  GET queue/poll
//! ```
//! Work that nobody waits for, and a wait that a timeout ended.
//! ```trace
//! @ 1s
//! |================================================================================| job  consumer  rebuild
//! | ============================================================================== |   job  client  GET legacy/report
//! ```
//! ## Remedy
//! Set a timeout for connecting and one for answering, a little above what the callee needs in 999 of 1000 cases; pass the
//! time that is left on; bound how many calls to one callee may wait at once.
//! ## Blind spots
//! A missing timeout shows only when the other side is slow. A span that never ended is never sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Kind, Outcome, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Held, Millis, Occurrence, told, whole_ms as ms};

/// When a wait is too long.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least time that the call takes.
    pub min_wait: Millis,
    /// Environments in which somebody may sit at a debugger.
    pub ignored_environments: Vec<String>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_wait: Millis(60_000), ignored_environments: vec!["development".to_owned()] }
    }
}

/// Finds very long calls of units that somebody waits for.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let served = trace.units().filter(|unit| unit.span().kind == Kind::Server && !unit.is_self_defence());
    let known = served.filter(|unit| !limits.ignored_environments.contains(&unit.resource().environment));
    let long = |attempt: &Attempt<'_>| is_unbounded(*attempt, limits);
    // The one at the bottom makes the others wait.
    let is_deepest = |attempt: &Attempt<'_>| {
        let below = attempt.server_unit().into_iter().flat_map(Unit::attempts);
        below.into_iter().all(|inner| !is_unbounded(inner, limits))
    };
    known.flat_map(Unit::attempts).filter(long).filter(is_deepest).map(occurrence).collect()
}

fn is_unbounded(attempt: Attempt<'_>, limits: &Thresholds) -> bool {
    let facts = attempt.facts();
    let ended_it = attempt.gave_up() || matches!(attempt.outcome(), Outcome::Timeout | Outcome::Cancelled);
    limits.min_wait.ns() <= attempt.duration_ns()
        && attempt.is_sync()
        && !attempt.is_streaming()
        && !ended_it
        && !facts.is_patient()
        && !facts.self_defence
        && !matches!(facts.role, Role::GenAi | Role::ConnectionPhase)
}

fn occurrence(attempt: Attempt<'_>) -> Occurrence {
    let unit = attempt.unit();
    let caller_left = unit.caller().is_some_and(Attempt::gave_up);
    let waited = attempt.duration_ns();
    let left = if caller_left { "; whoever asked had left by then" } else { "" };
    Occurrence {
        at: attempt.at(),
        variant: "wait",
        family: "wait",
        group: String::new(),
        headline: format!("waits for `{}` without an end", attempt.operation()),
        why: format!("`{}` took {} ms and no timeout ended it{left}", attempt.operation(), ms(waited)),
        evidence: vec![
            Evidence::new(unit.owner(), "unit", format!("ended {}", unit.outcome().id())),
            Evidence::new(attempt.at(), "call", told::ending(attempt)),
        ],
        cost: Cost { time: Duration::from_nanos(waited.max(0) as u64), ..Cost::default() },
        harm: Harm::Held(if caller_left { Held::Hard } else { Held::Softly }),
        confidence: if caller_left { Confidence::High } else { Confidence::Medium },
        not_visible: vec!["whether a timeout is set at all: only that none ended this call".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(drawing: &str) -> Vec<(String, Confidence)> {
        let trace = sketch::parse(&format!("@ 1s\n{drawing}")).unwrap().trace();
        let found = inspect(&trace, &Thresholds::default());
        found.into_iter().map(|found| (found.headline, found.confidence)).collect()
    }

    const LONG: &str = "================================================================";

    #[test]
    fn the_deepest_of_a_chain_is_told() {
        let chain = format!(
            "|{LONG}| web  server  GET /a\n|{LONG}|   web  client  GET api/b\n|{LONG}|     api  server  GET /b\n|{LONG}|       api  client  GET legacy/c\n"
        );
        assert_eq!(found(&chain), [("waits for `GET /c` without an end".to_owned(), Confidence::Medium)]);
        let left = chain.replacen(
            &format!("|{LONG}|   web  client  GET api/b"),
            &format!(
                "|=========x{}|   web  client  GET api/b  {{exception.type=ReadTimeout}}",
                " ".repeat(LONG.len() - 10)
            ),
            1,
        );
        assert_eq!(found(&left)[0].1, Confidence::High);
    }

    #[test]
    fn what_is_meant_to_wait_or_was_ended_is_no_finding() {
        for call in [
            "GET queue/wait",
            "GET queue/next  {url.full=http://queue/next?timeout=90}",
            "GET legacy/c  {exception.type=ReadTimeout}",
        ] {
            let bar = if call.contains("exception") { format!("{}x", &LONG[1..]) } else { LONG.to_owned() };
            let drawing = format!("|{LONG}| api  server  GET /b\n|{bar}|   api  client  {call}\n");
            assert!(found(&drawing).is_empty(), "{call}");
        }
        let debugged = format!(
            "|{LONG}| api  server  GET /b  {{resource.deployment.environment.name=dev}}\n|{LONG}|   api  client  GET legacy/c\n"
        );
        assert!(found(&debugged).is_empty());
        let short = &LONG[..59];
        assert!(
            found(&format!("|{LONG}| api  server  GET /b\n|{short}     |   api  client  GET legacy/c\n"))
                .is_empty()
        );
    }
}
