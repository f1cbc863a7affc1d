//! Retries that cannot help, or that hurt: without a pause, after a final answer, or without an end.
//!
//! ## What it detects
//! Per unit of work and operation, one of three. *Without a pause*: at least twice the next attempt began within 10 ms of a
//! timeout, a 429, a 503 or a failure to connect. *After a final answer*: the same request again although the answer was
//! one that asking again does not change (400, 403, 404, 405, 410, 413, 415, 422). *Without an end*: more than five attempts.
//! ## Why it matters
//! A callee that is slow or full needs less traffic, and gets more. What is refused for good stays refused.
//! ## Example
//! ```trace
//! @ 1ms
//! |====================================| web  server  GET /rates/88417  {http.response.status_code=502}
//! | =====x                             |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:1
//! |        =====x                      |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:2
//! |               =====x               |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:3
//! ```
//! ```trace
//! |===================================================| web  server  GET /items/88417  {http.response.status_code=404}
//! | ==x                                               |   web  client  GET stock/88417  {http.response.status_code=404}  << attempt:1
//! |          ==x                                      |   web  client  GET stock/88417  {http.response.status_code=404}  << attempt:2
//! |                   ==x                             |   web  client  GET stock/88417  {http.response.status_code=404}  << attempt:3
//! ```
//! ```trace
//! |===================================================| web  server  GET /rates/88417
//! | ==x                                               |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:1
//! |       ==x                                         |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:2
//! |             ==x                                   |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:3
//! |                   ==x                             |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:4
//! |                          ==x                      |   web  client  GET rates/88417  {http.response.status_code=503}  << attempt:5
//! |                                    ==             |   web  client  GET rates/88417  << attempt:6
//! ```
//! ## Not flagged
//! A few attempts with pauses that grow.
//! ```trace
//! |==================================================================| web  server  GET /rates/88417
//! | ==x                                                              |   web  client  GET rates/88417  {http.response.status_code=503}
//! |               ==x                                                |   web  client  GET rates/88417  {http.response.status_code=503}
//! |                                           ==                     |   web  client  GET rates/88417
//! ```
//! One immediate retry.
//! ```trace
//! @ 1ms
//! |====================================| web  server  GET /rates/88417
//! | =====x                             |   web  client  GET rates/88417  {http.response.status_code=503}
//! |        =====                       |   web  client  GET rates/88417
//! ```
//! Waiting for something that is being made: the answer does change.
//! ```trace
//! |=========================================| web  server  GET /items/88417
//! | ==x                                     |   web  client  GET stock/88417  {http.response.status_code=404}
//! |          ==x                            |   web  client  GET stock/88417  {http.response.status_code=404}
//! |                   ==x                   |   web  client  GET stock/88417  {http.response.status_code=404}
//! |                            ==           |   web  client  GET stock/88417
//! ```
//! Nor are attempts that go on to another address because the first could not be reached, and loops over items that all
//! fail.
//! ## Remedy
//! Wait longer before each attempt, by a random share, and at least as long as `Retry-After` says. Stop after three.
//! Decide by the kind of failure whether another attempt can help at all. Give retries a budget (10 % of all requests).
//! ## Blind spots
//! Where arguments are hidden and no count is recorded, a loop over items looks like retries, so nothing is said. Retries
//! inside a library show only as several server spans below one client span. A pause counts one millisecond more where
//! clocks count whole milliseconds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, Outcome, Repetition, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Loaded, Millis, Occurrence, told, whole_ms as ms};

/// Most attempts that are shown.
const MOST_SHOWN: usize = 12;
const MILLISECOND_NS: i64 = 1_000_000;

/// When retries are worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Shorter pauses than this are none.
    pub min_pause: Millis,
    /// Fewest attempts without a pause before them, in one unit.
    pub min_hasty: usize,
    /// Fewest attempts that follow the same final answer.
    pub min_useless: usize,
    /// Most attempts that a call may take.
    pub max_attempts: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_pause: Millis(10), min_hasty: 2, min_useless: 2, max_attempts: 5 }
    }
}

/// Attempts of one operation that should not have been made, and the calls that they belong to.
struct Undisciplined<'t> {
    variant: &'static str,
    calls: Vec<Call<'t>>,
    /// In order; the first one is where it begins.
    resent: Vec<Attempt<'t>>,
}

/// Finds retries without a pause, without a chance, and without an end.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let units = trace.units().filter(|unit| !unit.is_self_defence());
    units.flat_map(|unit| of_unit(unit, limits)).map(|one| one.occurrence(limits)).collect()
}

fn of_unit<'t>(unit: Unit<'t>, limits: &Thresholds) -> Vec<Undisciplined<'t>> {
    let mut groups: BTreeMap<(Option<&str>, &str), Vec<Call<'t>>> = BTreeMap::new();
    for call in unit.attempt_groups().filter(|call| !call.facts().self_defence) {
        groups.entry((call.callee(), call.operation())).or_default().push(call);
    }
    let of_groups = groups.into_values().filter_map(|calls| {
        hasty(&calls, limits).or_else(|| useless(&calls, limits)).or_else(|| endless(&calls, limits))
    });
    let mut found: Vec<Undisciplined<'t>> = of_groups.collect();
    // That no better answer came is concluded from absence.
    let in_vain = if unit.is_whole() { unit.asked_in_vain(limits.min_useless + 1) } else { Vec::new() };
    found.extend(in_vain.into_iter().map(|calls| {
        let resent: Vec<Attempt<'t>> = calls.iter().skip(1).map(|call| call.first()).collect();
        Undisciplined { variant: "permanent", calls, resent }
    }));
    found
}

/// Attempts that began at once after a failure that needs time to pass.
fn hasty<'t>(calls: &[Call<'t>], limits: &Thresholds) -> Option<Undisciplined<'t>> {
    let follows_at_once = |earlier: Attempt<'t>, later: Attempt<'t>| {
        // A clock of whole milliseconds may have cut almost one of them off.
        let coarse = later.telling().start_ns % MILLISECOND_NS == 0;
        let most = limits.min_pause.ns() - if coarse { MILLISECOND_NS } else { 0 };
        let at_once =
            earlier.pause_before(later).is_some_and(|pause| -MILLISECOND_NS <= pause && pause < most);
        at_once && needs_a_pause(earlier, later)
    };
    let mut found = Undisciplined { variant: "no_backoff", calls: Vec::new(), resent: Vec::new() };
    for call in calls {
        let before = found.resent.len();
        let pairs = call.attempts().zip(call.attempts().skip(1));
        found
            .resent
            .extend(pairs.filter(|(earlier, later)| follows_at_once(*earlier, *later)).map(|pair| pair.1));
        if before < found.resent.len() {
            found.calls.push(*call);
        }
    }
    (limits.min_hasty <= found.resent.len()).then_some(found)
}

/// The callee, or the way to it, was slow or full.
fn needs_a_pause(earlier: Attempt<'_>, later: Attempt<'_>) -> bool {
    let verdict = earlier.verdict();
    if verdict.never_sent {
        return earlier.has_target_of(later) == Some(true);
    }
    earlier.failed()
        && (verdict.outcome == Outcome::Timeout
            || matches!(earlier.status(), Some(429 | 503))
            || matches!(earlier.rpc_code(), Some("RESOURCE_EXHAUSTED" | "UNAVAILABLE")))
}

/// Attempts that an SDK counted, after an answer that stays what it is.
fn useless<'t>(calls: &[Call<'t>], limits: &Thresholds) -> Option<Undisciplined<'t>> {
    let of_call = |call: &Call<'t>| {
        let code = call.last().final_code().filter(|_| call.failed())?;
        let attempts: Vec<Attempt<'t>> = call.attempts().collect();
        let same = attempts.iter().rev().take_while(|attempt| attempt.final_code() == Some(code)).count();
        let resent: Vec<Attempt<'t>> = attempts[attempts.len() - same..].iter().skip(1).copied().collect();
        let enough = limits.min_useless <= resent.len();
        enough.then(|| Undisciplined { variant: "permanent", calls: vec![*call], resent })
    };
    calls.iter().find_map(of_call)
}

/// More attempts than can help.
fn endless<'t>(calls: &[Call<'t>], limits: &Thresholds) -> Option<Undisciplined<'t>> {
    let call = calls.iter().copied().max_by_key(|call| call.tries())?;
    if call.tries() <= limits.max_attempts {
        return None;
    }
    // Where the SDK only counted, one span stands for all.
    let allowed = (limits.max_attempts as usize).min(call.attempts().len() - 1);
    let resent = call.attempts().skip(allowed).collect();
    Some(Undisciplined { variant: "excessive", calls: vec![call], resent })
}

impl Undisciplined<'_> {
    fn occurrence(&self, limits: &Thresholds) -> Occurrence {
        let first = self.resent[0];
        let failed = self.resent.iter().filter(|attempt| attempt.failed());
        let (headline, why) = self.words(limits);
        let wasted: i64 = failed.map(|attempt| attempt.telling().duration_ns).sum();
        Occurrence {
            at: first.at(),
            variant: self.variant,
            family: self.variant,
            group: String::new(),
            headline,
            why,
            evidence: self.evidence(),
            cost: Cost {
                time: Duration::from_nanos(wasted.max(0) as u64),
                calls: self.resent.len() as u32,
                ..Cost::default()
            },
            harm: Harm::Loaded(match self.variant {
                "permanent" => Loaded::Uselessly,
                _ => Loaded::Heavily,
            }),
            confidence: self.confidence(),
            not_visible: Vec::new(),
        }
    }

    /// Headline, and why.
    fn words(&self, limits: &Thresholds) -> (String, String) {
        let (first, count) = (self.resent[0], self.resent.len());
        let operation = first.operation();
        let (how, why) = match self.variant {
            "no_backoff" => {
                let pause = ms(limits.min_pause.ns());
                ("without a pause", format!("{count} times less than {pause} ms after it failed"))
            }
            "permanent" => {
                let code = told::code(first).unwrap_or_default();
                ("after a final answer", format!("{count} times although the answer was {code}"))
            }
            _ => {
                let (tries, took) = (self.calls[0].tries(), ms(self.calls[0].duration_ns()));
                ("without an end", format!("until it had been sent {tries} times, within {took} ms"))
            }
        };
        (format!("sends `{operation}` again {how}"), format!("`{operation}` was sent again {why}"))
    }

    fn evidence(&self) -> Vec<Evidence> {
        if self.variant == "permanent" && 1 < self.calls.len() {
            let shown = self.calls.iter().enumerate().take(MOST_SHOWN);
            let row = |(number, call): (usize, &Call<'_>)| {
                Evidence::new(call.at(), &format!("attempt:{}", number + 1), told::ending(call.first()))
            };
            return shown.map(row).collect();
        }
        let shown = self.calls.iter().flat_map(|call| told::attempts(*call, told::ending));
        shown.take(MOST_SHOWN).collect()
    }

    fn confidence(&self) -> Confidence {
        let is_counted = |attempt: &Attempt<'_>| {
            matches!(attempt.call().repetition(), Some(Repetition::Explicit | Repetition::SharedClient))
        };
        let sure = if self.resent.iter().all(is_counted) { Confidence::High } else { Confidence::Medium };
        let may_change = self.variant == "permanent" && !self.resent[0].trace().is_settled();
        if may_change { sure.step_down() } else { sure }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::sketch;

    fn found(failure: &str, pause: usize) -> Vec<(&'static str, Confidence, u32)> {
        let mut drawing = String::from("@ 1ms\n|====| web  server  GET /rates/88417\n");
        for number in 0..4 {
            let bar = " ".repeat(1 + number * (5 + pause));
            writeln!(drawing, "|{bar}====x|   web  client  GET rates/88417  {{{failure}}}").unwrap();
        }
        let trace = sketch::parse(&drawing).unwrap().trace();
        let all = inspect(&trace, &Thresholds::default()).into_iter();
        all.map(|found| (found.variant, found.confidence, found.cost.calls)).collect()
    }

    #[test]
    fn what_failed_decides_whether_a_pause_is_needed() {
        for (failure, pause, expected) in [
            ("http.response.status_code=503", 2, Some(("no_backoff", 3))),
            ("http.response.status_code=429", 2, Some(("no_backoff", 3))),
            ("exception.type=ReadTimeout", 2, Some(("no_backoff", 3))),
            ("exception.type=ECONNREFUSED", 2, Some(("no_backoff", 3))),
            // Almost ten, by a clock that may be off by one.
            ("http.response.status_code=503", 9, None),
            ("http.response.status_code=500", 2, None),
            ("http.response.status_code=404", 2, Some(("permanent", 3))),
            ("http.response.status_code=404", 60, Some(("permanent", 3))),
            ("http.response.status_code=401", 60, None),
        ] {
            let expected = expected.map(|(variant, calls)| (variant, Confidence::Medium, calls));
            assert_eq!(found(failure, pause), Vec::from_iter(expected), "{failure}, {pause} ms");
        }
    }

    #[test]
    fn another_address_may_be_tried_at_once() {
        let drawing = "\
@ 1ms
|====================| web  server  GET /rates/88417
| =x                 |   web  client  GET rates/88417  {exception.type=ECONNREFUSED, network.peer.address=10.0.0.1}
|    =x              |   web  client  GET rates/88417  {exception.type=ECONNREFUSED, network.peer.address=10.0.0.2}
|       =x           |   web  client  GET rates/88417  {exception.type=ECONNREFUSED, network.peer.address=10.0.0.3}
|          ====      |   web  client  GET rates/88417  {network.peer.address=10.0.0.4}
";
        let hasty =
            |drawing: &str| inspect(&sketch::parse(drawing).unwrap().trace(), &Thresholds::default()).len();
        assert_eq!(hasty(drawing), 0);
        assert_eq!(hasty(&drawing.replace("10.0.0.3", "10.0.0.1").replace("10.0.0.2", "10.0.0.1")), 1);
    }
}
