//! The caller gave up, and the callee did it all the same.
//!
//! ## What it detects
//! A caller stopped waiting, or lost its connection, and took the call for failed; the callee finished and wrote.
//! Nothing later in the request undid the write, asked what had become of it, or sent it again with success.
//! ## Why it matters
//! The two sides now disagree: the user is told that the order failed, and the stock is reserved. A timeout is not a
//! failure but an unknown, and no protocol can make it known for certain (the two generals' problem).
//! ## Example
//! The write began 150 ms after its server did, when the caller had left after 100 ms: durations show it, whatever
//! the clocks say.
//! ```trace
//! |=====================| web  server  POST /order  {http.response.status_code=504}
//! | ==========x         |   web  client  POST inventory/reserve  {exception.type=ReadTimeout}  << call
//! |  ================== |     inventory  server  POST /reserve  << server
//! |                 ==  |       inventory  db  UPDATE stock SET qty = qty - ?  << write
//! ```
//! Only the answer was lost: the work was done before the connection broke.
//! ```trace
//! |=====================| web  server  POST /label  {http.response.status_code=502}
//! | ===============x    |   web  client  POST shipping/labels  {exception.type=ECONNRESET}  << call
//! |  ============       |     shipping  server  POST /labels  << server
//! |     ===             |       shipping  db  INSERT INTO labels VALUES (?)  << write
//! ```
//! ## Not flagged
//! A late refusal: nothing was done on either side.
//! ```trace
//! |=====================| web  server  POST /order  {http.response.status_code=504}
//! | ==========x         |   web  client  POST inventory/reserve  {exception.type=ReadTimeout}
//! |  ================== |     inventory  server  POST /reserve  {http.response.status_code=409}
//! ```
//! A caller that undoes what may have happened has taken the unknown for what it is.
//! ```trace
//! |========================| web  server  POST /order  {http.response.status_code=504}
//! | ==========x            |   web  client  POST inventory/reserve  {exception.type=ReadTimeout}
//! |  ==================    |     inventory  server  POST /reserve
//! |                 ==     |       inventory  db  UPDATE stock SET qty = qty - ?
//! |                     == |   web  client  POST inventory/release/42
//! ```
//! So has one that looks it up.
//! ```trace
//! |========================| web  server  POST /order
//! | ==========x            |   web  client  POST inventory/reserve  {exception.type=ReadTimeout}
//! |  ==================    |     inventory  server  POST /reserve
//! |                 ==     |       inventory  db  UPDATE stock SET qty = qty - ?
//! |                     == |   web  client  GET inventory/reservations/42
//! ```
//! A server that works on after its answer arrived hurts nobody.
//! ```trace
//! |=====================| web  server  POST /order
//! | ======              |   web  client  POST pay/charge
//! |  ================   |     pay  server  POST /charge
//! |                 =   |       pay  db  INSERT INTO receipts VALUES (?)
//! ```
//! Neither are streams, and writes that were rolled back.
//! ## Remedy
//! Carry an id of the operation; after a timeout look the result up by it, or send again with the same key. Pass the
//! deadline on, so that the callee stops before it writes (gRPC deadlines, a header with the time that is left,
//! cancellation checked before the commit). Give the callee less time than its caller has. Or accept the request at
//! once (202) and let its state be asked for.
//! ## Blind spots
//! What is undone in another trace, hours later, is not seen here. Where the callee's database has no spans, that it
//! wrote is an inference from the request's method or name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, Effect, EffectClass, Outcome, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Diverged, Evidence, Harm, Millis, Occurrence, told, whole_ms as ms};

/// Most writes that are shown.
const MOST_SHOWN: usize = 8;
/// The row of the outcome table for a failure without a word.
const SILENT_FAILURE: u8 = 8;

/// When a finished call that was given up is worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least time by which the server outlives its caller.
    pub min_outlived: Millis,
    /// The same as a share of the time that the caller waited; the larger one counts.
    pub min_outlived_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_outlived: Millis(2), min_outlived_share: 0.01 }
    }
}

/// An attempt that its caller took for failed, and its server for done.
struct Divergence<'t> {
    attempt: Attempt<'t>,
    server: Unit<'t>,
    variant: &'static str,
    writes: Vec<Attempt<'t>>,
}

/// Finds calls that were given up and took effect.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let calls = trace.units().filter(|unit| !unit.is_self_defence()).flat_map(Unit::calls);
    calls.filter_map(|call| of_call(call, limits)).map(|found| found.occurrence()).collect()
}

/// The first attempt of a call that shows it, where no later one was answered well.
fn of_call<'t>(call: Call<'t>, limits: &Thresholds) -> Option<Divergence<'t>> {
    if call.facts().self_defence || call.attempts().skip(1).any(|later| later.outcome() == Outcome::Ok) {
        return None;
    }
    let found = call.attempts().find_map(|attempt| Divergence::of(attempt, limits))?;
    let resolved = found.attempt.is_undone() || found.attempt.is_looked_up();
    (!resolved).then_some(found)
}

impl<'t> Divergence<'t> {
    fn of(attempt: Attempt<'t>, limits: &Thresholds) -> Option<Self> {
        let server = attempt.server_unit()?;
        // A late refusal did nothing.
        let finished =
            attempt.effect() == Effect::Applied && (server.outcome() == Outcome::Ok || attempt.is_aborted());
        if !attempt.is_sync() || !finished || attempt.is_streaming() || server.is_streaming() {
            return None;
        }
        let verdict = attempt.verdict();
        let left = attempt.gave_up() || attempt.is_reset();
        let failed = left || (verdict.row == SILENT_FAILURE && !verdict.answered);
        let writes: Vec<Attempt<'t>> = attempt.writes().collect();
        let assumed = matches!(attempt.class(), EffectClass::NonIdempotent | EffectClass::Idempotent)
            && !attempt.is_instrumented_below()
            && !attempt.is_aborted();
        // Who only asked misses nothing of what the answer left in a cache.
        let only_cached =
            attempt.class() == EffectClass::Safe && writes.iter().all(|write| write.role() == Role::Cache);
        if !failed || (writes.is_empty() && !assumed) || only_cached {
            return None;
        }
        let waited = attempt.duration_ns();
        let share = (waited as f64 * limits.min_outlived_share) as i64;
        let slack = limits.min_outlived.ns().max(share);
        let variant = if left && writes.iter().any(|write| attempt.had_left_before(*write)) {
            "late_write"
        } else if waited.saturating_add(slack) <= server.effective_duration_ns() {
            "outlived"
        } else if left {
            "ack_lost"
        } else {
            return None;
        };
        Some(Self { attempt, server, variant, writes })
    }

    fn occurrence(&self) -> Occurrence {
        let attempt = self.attempt;
        let after = self.server.effective_duration_ns().saturating_sub(attempt.duration_ns()).max(0);
        Occurrence {
            at: attempt.at(),
            variant: self.variant,
            family: if self.variant == "ack_lost" { "ack_lost" } else { "outlived" },
            group: String::new(),
            headline: format!("takes `{}` for failed although it was done", attempt.operation()),
            why: self.why(after),
            evidence: self.evidence(),
            cost: Cost { unknown_outcomes: 1, time: Duration::from_nanos(after as u64), ..Cost::default() },
            harm: Harm::Diverged(self.harm()),
            confidence: self.confidence(),
            not_visible: self.not_visible(),
        }
    }

    fn harm(&self) -> Diverged {
        let unit = self.attempt.unit();
        let left_first = unit.outcome() == Outcome::Cancelled || unit.span().end_ns() < self.attempt.end_ns();
        let classes = self.writes.iter().map(|write| write.class());
        let only_overwrites = if self.writes.is_empty() {
            self.attempt.class() == EffectClass::Idempotent
        } else {
            classes.into_iter().all(|class| class == EffectClass::Idempotent)
        };
        if left_first {
            Diverged::CallerLeft
        } else if only_overwrites {
            Diverged::Repeatable
        } else if unit.outcome() == Outcome::Ok {
            Diverged::Hidden
        } else {
            Diverged::Reported
        }
    }

    fn confidence(&self) -> Confidence {
        let explicit = self.attempt.outcome() == Outcome::Timeout && self.attempt.gave_up_explicitly();
        let sure = match self.variant {
            _ if self.writes.is_empty() => Confidence::Medium,
            "late_write" => Confidence::Confirmed,
            "outlived" if explicit => Confidence::Confirmed,
            _ => Confidence::High,
        };
        // That nothing undid it is concluded from absence.
        let complete = self.attempt.trace().is_settled() && self.attempt.unit().is_whole();
        if complete { sure } else { sure.step_down() }
    }

    fn why(&self, after_ns: i64) -> String {
        let attempt = self.attempt;
        let call = format!("`{}` {}", attempt.operation(), told::ending(attempt));
        let wrote = self
            .writes
            .first()
            .map_or_else(|| "finished".to_owned(), |write| format!("wrote `{}`", write.operation()));
        match self.variant {
            "ack_lost" => format!("{call}; its server had {wrote}, and the answer was lost"),
            "late_write" => {
                let late = self.writes.iter().find(|write| attempt.had_left_before(**write));
                let offset =
                    late.map_or(0, |write| write.start_ns().saturating_sub(self.server.span().start_ns));
                format!("{call}; its server {wrote}, the last of it {} ms after it began", ms(offset))
            }
            _ => format!("{call}; its server {wrote} and worked {} ms longer", ms(after_ns)),
        }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let (attempt, unit, server) = (self.attempt, self.attempt.unit(), self.server);
        let ended = format!("ended {}", unit.outcome().id());
        let worked = format!("worked {} ms", ms(server.effective_duration_ns()));
        let writes = self.writes.iter().take(MOST_SHOWN).map(|write| {
            let offset = write.start_ns().saturating_sub(server.span().start_ns);
            let note = format!(
                "began {} ms after its server; the caller waited {} ms",
                ms(offset),
                ms(attempt.duration_ns())
            );
            Evidence::new(write.at(), "write", note)
        });
        [
            Evidence::new(unit.owner(), "unit", ended),
            Evidence::new(attempt.at(), "call", told::ending(attempt)),
            Evidence::new(server.owner(), "server", worked),
        ]
        .into_iter()
        .chain(writes)
        .collect()
    }

    fn not_visible(&self) -> Vec<String> {
        let callee = self.attempt.callee().unwrap_or("the callee");
        let mut missing = Vec::new();
        if self.writes.is_empty() {
            missing.push(format!("what `{callee}` wrote: instrument its database or broker client"));
        }
        if !self.attempt.unit().is_whole() {
            missing.push("whether it was undone later: spans of this request are missing".to_owned());
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Assembly;
    use crate::semconv;
    use crate::sketch;

    fn found(drawing: &str) -> Vec<Occurrence> {
        inspect(&sketch::parse(drawing).unwrap().trace(), &Thresholds::default())
    }

    /// One call that was given up; what its span says, when its server ended, and what it wrote when.
    fn of(owner: &str, failure: &str, below: &str) -> Option<(&'static str, Confidence, Harm)> {
        let drawing = format!(
            "\
|==============================| web  server  POST /order  {{{owner}}}
| ==========x                  |   web  client  POST stock/reserve  {{{failure}}}
{below}"
        );
        let occurrence = found(&drawing).pop()?;
        Some((occurrence.variant, occurrence.confidence, occurrence.harm))
    }

    const LATE: &str = "\
|  ====================        |     stock  server  POST /reserve
|                  ==          |       stock  db  UPDATE stock SET qty = qty - ?
";
    const EARLY: &str = "\
|  ====================        |     stock  server  POST /reserve
|   ==                         |       stock  db  UPDATE stock SET qty = qty - ?
";
    const GONE: &str = "http.response.status_code=504";
    const TIMEOUT: &str = "exception.type=ReadTimeout";

    #[test]
    fn how_sure_it_is_depends_on_what_the_caller_says() {
        let reported = Harm::Diverged(Diverged::Reported);
        for (failure, below, expected) in [
            (TIMEOUT, LATE, Some(("late_write", Confidence::Confirmed, reported))),
            (TIMEOUT, EARLY, Some(("outlived", Confidence::Confirmed, reported))),
            ("exception.type=CancelledError", EARLY, Some(("outlived", Confidence::High, reported))),
            ("exception.type=ECONNRESET", LATE, Some(("late_write", Confidence::Confirmed, reported))),
            // Failed without a word: the server's time alone tells.
            ("span.message=oh", LATE, Some(("outlived", Confidence::High, reported))),
            ("http.response.status_code=500", LATE, None),
        ] {
            assert_eq!(of(GONE, failure, below), expected, "{failure}");
        }
    }

    #[test]
    fn harm_is_what_was_written_and_who_was_told() {
        let harm = |owner, below| of(owner, TIMEOUT, below).map(|(_, _, harm)| harm);
        assert_eq!(harm("http.response.status_code=200", LATE), Some(Harm::Diverged(Diverged::Hidden)));
        let overwrite = LATE.replace("qty = qty - ?", "state = ?");
        assert_eq!(harm(GONE, &overwrite), Some(Harm::Diverged(Diverged::Repeatable)));
        assert_eq!(harm("http.response.status_code=499", LATE), Some(Harm::Diverged(Diverged::CallerLeft)));
    }

    #[test]
    fn what_nobody_saw_written_is_an_inference() {
        let unseen = "|  ====================        |     stock  server  POST /reserve\n";
        assert_eq!(of(GONE, TIMEOUT, unseen).map(|found| found.1), Some(Confidence::Medium));
        let read = LATE.replace("UPDATE stock SET qty = qty - ?", "SELECT qty FROM stock");
        assert_eq!(of(GONE, TIMEOUT, &read), None);
        let refused = "|  ====================        |     stock  server  POST /reserve  {http.response.status_code=409}\n";
        assert_eq!(of(GONE, TIMEOUT, refused), None);
    }

    #[test]
    fn an_answer_that_only_reached_a_cache_is_no_partial_failure() {
        let drawing = "\
|==============================| web  server  GET /item  {http.response.status_code=504}
| ==========x                  |   web  client  GET stock/items/88417  {exception.type=ReadTimeout}
|  ====================        |     stock  server  GET /items/88417
|                  ==          |       stock  db  SETEX item:88417 60 ?  {db.system.name=redis}
";
        assert!(found(drawing).is_empty());
        assert_eq!(
            found(
                &drawing
                    .replace("SETEX item:88417 60 ?", "INSERT INTO visits VALUES (?)")
                    .replace("redis", "postgresql")
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_trace_that_may_still_grow_proves_less() {
        let drawing = format!(
            "\
|==============================| web  server  POST /order  {{{GONE}}}
| ==========x                  |   web  client  POST stock/reserve  {{{TIMEOUT}}}
{LATE}"
        );
        let spans =
            semconv::spans(&sketch::parse(&drawing).unwrap().spans, &std::collections::BTreeMap::new());
        let trace = Trace::assemble(spans, Assembly { settled: false, ..Assembly::default() });
        assert_eq!(inspect(&trace, &Thresholds::default())[0].confidence, Confidence::High);
    }

    #[test]
    fn an_attempt_that_succeeded_later_is_anothers_affair() {
        assert!(
            found(&format!(
                "\
|==============================| web  server  POST /order
| ==========x                  |   web  client  POST stock/reserve  {{{TIMEOUT}}}
{LATE}|                       ===    |   web  client  POST stock/reserve  {{http.request.resend_count=1}}
"
            ))
            .is_empty()
        );
    }
}
