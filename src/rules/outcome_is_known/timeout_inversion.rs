//! An inner call may take longer than the outer one is waited for.
//!
//! ## What it detects
//! A caller timed out while its server was itself waiting for a further call; that inner call went on for a good while
//! and then timed out too, or was answered well, when nobody could use the answer any more.
//! ## Why it matters
//! The outer caller always gives up first: it learns nothing of what went wrong below, and the inner timeout protects
//! nobody. Retries of the outer call start while the inner one still holds its connection.
//! ## Example
//! ```trace
//! |==================================================| web  server  GET /cart  {http.response.status_code=504}
//! | ==========x                                      |   web  client  GET api/cart  {exception.type=ReadTimeout}  << outer
//! |  ===============================                 |     api  server  GET /cart  {http.response.status_code=504}  << server
//! |   =============================x                 |       api  client  GET stock/items  {exception.type=ReadTimeout}  << inner
//! ```
//! ## Not flagged
//! An inner timeout shorter than the outer one.
//! ```trace
//! |==================================================| web  server  GET /cart  {http.response.status_code=504}
//! | =============================x                   |   web  client  GET api/cart  {exception.type=ReadTimeout}
//! |  ===================================             |     api  server  GET /cart
//! |   ====x                                          |       api  client  GET stock/items  {exception.type=ReadTimeout}
//! |         ==========================               |       api  local  compute
//! ```
//! A caller that was told to stop, as by a user who closed the page, had no timeout.
//! ```trace
//! |==================================================| web  server  GET /cart  {http.response.status_code=499}
//! | ==========x                                      |   web  client  GET api/cart  {exception.type=CancelledError}
//! |  ===============================                 |     api  server  GET /cart
//! |   =============================x                 |       api  client  GET stock/items  {exception.type=ReadTimeout}
//! ```
//! ## Remedy
//! Budgets shrink on the way in: pass on the time that is left (gRPC deadlines, a header), and wait inside for less than
//! that. Count all retries into one total.
//! ## Blind spots
//! What the timeouts are configured to is not in the spans; only a request that ran into both shows them. An inner
//! database call is left out: drivers rarely say that it was they who gave up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Outcome, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Held, Millis, Occurrence, told, whole_ms as ms};

/// When an inner call counts as longer than the outer one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least time by which an inner call that was answered outlives the outer one.
    pub min_outlived: Millis,
    /// The same as a share of the outer one's time; the larger one counts.
    pub min_outlived_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_outlived: Millis(100), min_outlived_share: 0.25 }
    }
}

/// Finds outer timeouts that an inner call outlived.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let attempts = trace.units().filter(|unit| !unit.is_self_defence()).flat_map(Unit::attempts);
    attempts.filter_map(|outer| of_outer(outer, limits)).collect()
}

fn of_outer(outer: Attempt<'_>, limits: &Thresholds) -> Option<Occurrence> {
    let server = outer.server_unit()?;
    if outer.outcome() != Outcome::Timeout
        || !outer.gave_up_explicitly()
        || !outer.is_sync()
        || outer.is_streaming()
    {
        return None;
    }
    let longest = server
        .attempts()
        .filter(|inner| outlives(*inner, outer, server, limits))
        .max_by_key(|inner| (inner.end_ns(), std::cmp::Reverse(inner.index())))?;
    Some(occurrence(outer, server, longest))
}

/// Was under way when the outer one gave up, and stayed so. Only durations and the server's own clock are compared.
fn outlives(inner: Attempt<'_>, outer: Attempt<'_>, server: Unit<'_>, limits: &Thresholds) -> bool {
    let remote = matches!(inner.role(), Role::Http | Role::Rpc | Role::Cloud | Role::Remote);
    let waited = outer.duration_ns();
    let (began, ended) = (since(server, inner.start_ns()), since(server, inner.end_ns()));
    let share = (waited as f64 * limits.min_outlived_share) as i64;
    let much = limits.min_outlived.ns().max(share) <= ended.saturating_sub(waited);
    let timed_out = inner.outcome() == Outcome::Timeout && inner.gave_up_explicitly();
    remote
        && inner.is_sync()
        && !inner.is_streaming()
        && began < waited
        && waited < ended
        && (timed_out || (much && inner.outcome() == Outcome::Ok))
}

fn since(server: Unit<'_>, instant_ns: i64) -> i64 {
    instant_ns.saturating_sub(server.span().start_ns)
}

fn occurrence(outer: Attempt<'_>, server: Unit<'_>, inner: Attempt<'_>) -> Occurrence {
    let after = since(server, inner.end_ns()).saturating_sub(outer.duration_ns()).max(0);
    let read = inner.class() == crate::model::EffectClass::Safe;
    Occurrence {
        at: outer.at(),
        variant: "inverted",
        family: "inverted",
        group: format!("{} {}", inner.callee().unwrap_or_default(), inner.template()),
        headline: format!("waits for `{}` less than it waits for `{}`", outer.operation(), inner.operation()),
        why: format!(
            "`{}` {}, while `{}` inside it {}",
            outer.operation(),
            told::ending(outer),
            inner.operation(),
            told::ending(inner)
        ),
        evidence: vec![
            Evidence::new(outer.at(), "outer", told::ending(outer)),
            Evidence::new(
                server.owner(),
                "server",
                format!("worked {} ms", ms(server.effective_duration_ns())),
            ),
            Evidence::new(
                inner.at(),
                "inner",
                format!("{}, {} ms after the outer one", told::ending(inner), ms(after)),
            ),
        ],
        cost: Cost { time: Duration::from_nanos(after as u64), ..Cost::default() },
        harm: Harm::Held(if read { Held::Softly } else { Held::Hard }),
        confidence: Confidence::Medium,
        not_visible: vec![
            "the timeouts themselves: they stand in the configuration of both callers".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(outer: &str, inner: &str) -> Option<Harm> {
        let drawing = format!(
            "\
|==================================================| web  server  GET /cart
| ==========x                                      |   web  client  GET api/cart  {{{outer}}}
|  ===============================                 |     api  server  GET /cart
{inner}"
        );
        inspect(&sketch::parse(&drawing).unwrap().trace(), &Thresholds::default())
            .pop()
            .map(|found| found.harm)
    }

    const TIMEOUT: &str = "exception.type=ReadTimeout";

    #[test]
    fn the_inner_call_must_have_been_waited_for_all_along() {
        for (inner, expected) in [
            (
                "|   =============================x                 |       api  client  GET stock/items  {exception.type=ReadTimeout}\n",
                true,
            ),
            (
                "|   =============================                  |       api  client  GET stock/items\n",
                true,
            ),
            // Failed, but not by a timeout of its own.
            (
                "|   =============================x                 |       api  client  GET stock/items  {http.response.status_code=500}\n",
                false,
            ),
            // Begun when the outer one had gone.
            (
                "|                ================x                 |       api  client  GET stock/items  {exception.type=ReadTimeout}\n",
                false,
            ),
            // Hardly longer.
            (
                "|   =========                                      |       api  client  GET stock/items\n",
                false,
            ),
            (
                "|   =============================x                 |       api  db  SELECT items  {exception.type=ReadTimeout}\n",
                false,
            ),
        ] {
            assert_eq!(found(TIMEOUT, inner).is_some(), expected, "{inner}");
        }
    }

    #[test]
    fn a_write_that_nobody_waits_for_weighs_more() {
        let write = "|   =============================x                 |       api  client  POST stock/items  {exception.type=ReadTimeout}\n";
        assert_eq!(found(TIMEOUT, write), Some(Harm::Held(Held::Hard)));
        assert_eq!(found(TIMEOUT, &write.replace("POST", "GET")), Some(Harm::Held(Held::Softly)));
        assert_eq!(found("exception.type=CancelledError", write), None);
    }
}
