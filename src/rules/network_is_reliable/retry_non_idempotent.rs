//! A write is sent again although it may have happened.
//!
//! ## What it detects
//! An operation that does more when it is done twice was sent again after an attempt that had taken effect or, for
//! all its caller could know, may have, and nothing shows that the server can tell the second from the first.
//! ## Why it matters
//! A timeout, a broken connection or an error of the server says that the answer is missing, not that the work is.
//! Whoever sends again then charges, books or ships twice. It happens rarely, under load, and is found in the books.
//! ## Example
//! The first charge was committed after its caller had stopped waiting; the second was committed too.
//! ```trace
//! |==============================| checkout  server  POST /order
//! | =========x                   |   checkout  client  POST pay/charge  {exception.type=ReadTimeout}  << attempt:1
//! |  ==============              |     pay  server  POST /charge  << server
//! |             ==               |       pay  db  INSERT INTO charges VALUES (?)  << write
//! |                 =====        |   checkout  client  POST pay/charge  {http.request.resend_count=1}  << attempt:2
//! |                  ===         |     pay  server  POST /charge  << server
//! |                  ==          |       pay  db  INSERT INTO charges VALUES (?)  << write
//! ```
//! A key that is made anew for each attempt protects nothing.
//! ```trace
//! |=====================| checkout  server  POST /order
//! | =====x              |   checkout  client  POST pay/charge  {exception.type=ReadTimeout, http.request.header.idempotency-key=[a-1]}  << attempt:1
//! |          =====      |   checkout  client  POST pay/charge  {http.request.resend_count=1, http.request.header.idempotency-key=[a-2]}  << attempt:2
//! ```
//! ## Not flagged
//! One key for all attempts lets the server recognise the repetition.
//! ```trace
//! |=====================| checkout  server  POST /order
//! | =====x              |   checkout  client  POST pay/charge  {exception.type=ReadTimeout, http.request.header.idempotency-key=[a-1]}
//! |          =====      |   checkout  client  POST pay/charge  {http.request.resend_count=1, http.request.header.idempotency-key=[a-1]}
//! ```
//! What was never sent, or refused before anything was done, may be sent again.
//! ```trace
//! |=====================| checkout  server  POST /order
//! | ==x                 |   checkout  client  POST pay/charge  {exception.type=ECONNREFUSED}
//! |       ==x           |   checkout  client  POST pay/charge  {http.request.resend_count=1, http.response.status_code=429}
//! |            =====    |   checkout  client  POST pay/charge  {http.request.resend_count=2}
//! ```
//! A loop over items of which one fails is no retry: after a success it goes on.
//! ```trace
//! |=====================| bus  server  POST /replay
//! | ===                 |   bus  client  POST sink/events
//! |    ===x             |   bus  client  POST sink/events  {http.response.status_code=500}
//! |       ===           |   bus  client  POST sink/events
//! |          ===        |   bus  client  POST sink/events
//! ```
//! Neither are redirects and challenges, requests that only read whatever their method, writes that only overwrite,
//! attempts that a condition guards (`If-Match`), and servers that are seen to skip the second write.
//! ## Remedy
//! Make one idempotency key per operation, before its first attempt, and send it with every attempt; let the server
//! store the key with the result in the transaction of the write. Until then send again only what provably was not
//! done: connection refused, 429, 503 with `Retry-After`. .NET: `options.Retry.DisableForUnsafeHttpMethods()`. Istio:
//! `retries.attempts: 0` for the route. gRPC: retry `UNAVAILABLE` only. Never hedge a write.
//! ## Blind spots
//! Bodies are invisible, so is a key in one. Most SDKs capture no headers unless told to. Retries inside a library
//! show only as several server spans below one client span, and only where the server is instrumented.

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, Effect, Protection, Repetition, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Duplicated, Evidence, Harm, Occurrence, told, whole_ms as ms};

/// Most writes that are shown.
const MOST_SHOWN: usize = 8;
const NO_HEADERS: &str = "whether an idempotency key was sent: no request header is captured; let the SDK of client \
    or server capture `Idempotency-Key`";
const OTHER_KEYS: &str = "a key in the body, or in a header that is not captured";

/// When a repeated write is worth telling.
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

/// A call that was sent again, and what its attempts show.
struct Retry<'t> {
    call: Call<'t>,
    /// Earlier attempts that took effect, or may have for all their caller knew.
    doubtful: Vec<Attempt<'t>>,
    protection: Protection,
    /// Writes that more than one attempt made.
    twice: Vec<Attempt<'t>>,
    /// How many attempts made the one that was made most often.
    times: usize,
}

/// Finds writes that were sent again.
pub(crate) fn inspect(trace: &Trace, _limits: &Thresholds) -> Vec<Occurrence> {
    let units = trace.units().filter(|unit| !unit.is_self_defence());
    let calls = units.flat_map(Unit::attempt_groups).filter(|call| !call.facts().self_defence);
    calls.filter_map(Retry::of).map(|retry| retry.occurrence()).collect()
}

impl<'t> Retry<'t> {
    fn of(call: Call<'t>) -> Option<Self> {
        let protection = call.protection();
        let counted = matches!(call.repetition(), Some(Repetition::Explicit | Repetition::SharedClient));
        let earlier = call.attempts().take(call.attempts().len() - 1);
        // Nothing happened, but its caller could not know that, and sent again by rule.
        let blindly = |attempt: &Attempt<'t>| {
            counted && attempt.effect_at_caller() == Effect::Unknown && attempt.is_observed_none()
        };
        let doubtful: Vec<Attempt<'t>> =
            earlier.filter(|attempt| attempt.effect() != Effect::None || blindly(attempt)).collect();
        let is_doubtful = !doubtful.is_empty() || 0 < call.facts().speculative;
        if protection.is_enough() || !call.adds_up() || !is_doubtful {
            return None;
        }
        let (twice, times) = call.written_twice();
        Some(Self { call, doubtful, protection, twice, times })
    }

    fn occurrence(&self) -> Occurrence {
        let variant = self.variant();
        let duplicates = self.times.saturating_sub(1) as u32;
        let unknown = self.doubtful.iter().filter(|attempt| attempt.effect() == Effect::Unknown).count();
        Occurrence {
            at: self.call.at(),
            variant,
            family: variant,
            group: String::new(),
            headline: format!("sends `{}` again although it may have happened", self.call.operation()),
            why: self.why(variant),
            evidence: self.evidence(),
            cost: Cost {
                duplicate_effects: duplicates,
                unknown_outcomes: if duplicates == 0 { unknown as u32 } else { 0 },
                ..Cost::default()
            },
            harm: Harm::Duplicated(self.harm(variant)),
            confidence: self.confidence(variant),
            not_visible: self.not_visible(),
        }
    }

    fn variant(&self) -> &'static str {
        // A new key each time is what to repair, whether or not the harm is seen.
        if self.protection == Protection::KeyedDifferent {
            "key_regenerated"
        } else if !self.twice.is_empty() {
            "confirmed_duplicate"
        } else if self.call.is_hedged() {
            "hedged"
        } else if self.call.role() == Role::Messaging {
            "republish"
        } else {
            "blind"
        }
    }

    /// Nothing happened twice this time: the spans of the servers show it.
    fn is_harmless(&self) -> bool {
        !self.doubtful.is_empty() && self.doubtful.iter().all(|attempt| attempt.effect() == Effect::None)
    }

    fn reached_server(&self) -> bool {
        self.doubtful.iter().any(|attempt| !attempt.servers().is_empty() && !attempt.is_observed_none())
    }

    fn harm(&self, variant: &str) -> Duplicated {
        match variant {
            "confirmed_duplicate" | "key_regenerated" => Duplicated::Confirmed,
            _ if self.is_harmless() => Duplicated::Harmless,
            "blind" if !self.reached_server() => Duplicated::Blind,
            _ => Duplicated::Likely,
        }
    }

    fn confidence(&self, variant: &str) -> Confidence {
        let absent = self.protection == Protection::AbsentObservable;
        let is_seen = match self.call.repetition() {
            Some(Repetition::Pause) => return Confidence::Medium,
            Some(Repetition::Explicit) => absent || self.reached_server(),
            Some(Repetition::SharedClient) => self.reached_server(),
            _ => false,
        };
        if !self.twice.is_empty() {
            Confidence::Confirmed
        } else if variant == "key_regenerated" || (is_seen && !self.is_harmless()) {
            Confidence::High
        } else {
            Confidence::Medium
        }
    }

    fn why(&self, variant: &str) -> String {
        let (operation, count) = (self.call.operation(), self.call.attempt_count());
        let sent = format!("`{operation}` was sent {count} times within {} ms", ms(self.call.duration_ns()));
        let first = self.doubtful.first().map_or_else(String::new, |attempt| {
            format!("; an attempt {} and {}", told::ending(*attempt), told::effect(*attempt))
        });
        let how = match variant {
            "key_regenerated" => "; each attempt carried an idempotency key of its own".to_owned(),
            "hedged" => "; the attempts overlapped, so several may take effect".to_owned(),
            "republish" => "; the broker may hold the message already".to_owned(),
            "confirmed_duplicate" => String::new(),
            _ if self.is_harmless() => " this time".to_owned(),
            _ if self.reached_server() => "; its server was at work (likelihood 0.7)".to_owned(),
            _ => "; no span shows its server (likelihood 0.3)".to_owned(),
        };
        let wrote = self.twice.first().map_or_else(String::new, |write| {
            format!("; {} attempts wrote `{}`", self.times, write.operation())
        });
        format!("{sent}{first}{how}{wrote}")
    }

    fn evidence(&self) -> Vec<Evidence> {
        let remark = |attempt: Attempt<'_>| format!("{}; {}", told::ending(attempt), told::effect(attempt));
        let mut all = told::attempts(self.call, remark);
        all.extend(self.twice.iter().take(MOST_SHOWN).map(|write| Evidence::new(write.at(), "write", "")));
        all
    }

    fn not_visible(&self) -> Vec<String> {
        let mut missing = Vec::new();
        match self.protection {
            Protection::NotObservable => missing.push(NO_HEADERS.to_owned()),
            Protection::AbsentObservable => missing.push(OTHER_KEYS.to_owned()),
            _ => {}
        }
        let callee = self.call.callee().unwrap_or("the callee");
        if self.doubtful.iter().any(|attempt| attempt.servers().is_empty()) {
            missing.push(format!("what became of an attempt at `{callee}`: no span of its server"));
        } else if self.twice.is_empty() && !self.call.attempts().any(Attempt::is_instrumented_below) {
            missing.push(format!("what `{callee}` wrote: no span of its database or broker"));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(drawing: &str) -> Vec<Occurrence> {
        inspect(&sketch::parse(drawing).unwrap().trace(), &Thresholds::default())
    }

    fn only(drawing: &str) -> Occurrence {
        let mut all = found(drawing);
        assert_eq!(all.len(), 1, "{drawing}");
        all.remove(0)
    }

    fn told(occurrence: &Occurrence) -> (&'static str, Confidence, Harm) {
        (occurrence.variant, occurrence.confidence, occurrence.harm)
    }

    #[test]
    fn one_span_with_a_server_error_after_a_write_hides_a_retry() {
        let shared = only(
            "\
|====================| web  server  POST /pay
| ================== |   web  client  POST pay/charges
|  ====x             |     pay  server  POST /charges  {http.response.status_code=503}
|   =                |       pay  db  INSERT INTO charges VALUES (?)
|         =====      |     pay  server  POST /charges
|          =         |       pay  db  INSERT INTO charges VALUES (?)
",
        );
        assert_eq!(told(&shared), ("blind", Confidence::High, Harm::Duplicated(Duplicated::Likely)));
        assert_eq!(shared.cost, Cost { unknown_outcomes: 1, ..Cost::default() });
        let roles: Vec<&str> = shared.evidence.iter().map(|evidence| evidence.role.as_str()).collect();
        assert_eq!(roles, ["call", "attempt:1", "attempt:2"]);
    }

    #[test]
    fn a_server_that_keeps_a_record_of_each_request_and_skips_the_second_write_is_safe() {
        let recorded = "INSERT INTO requests VALUES (?) ON CONFLICT DO NOTHING";
        let skipped = format!(
            "\
|==============================| web  server  POST /order
| =========x                   |   web  client  POST pay/charges  {{exception.type=ReadTimeout}}
|  ==============              |     pay  server  POST /charges
|   ==                         |       pay  db  {recorded}
|             ==               |       pay  db  INSERT INTO charges VALUES (?)
|                 =====        |   web  client  POST pay/charges  {{http.request.resend_count=1}}
|                  ===         |     pay  server  POST /charges
|                  ==          |       pay  db  {recorded}
"
        );
        assert!(found(&skipped).is_empty());
        let written = format!(
            "{skipped}|                    =         |       pay  db  INSERT INTO charges VALUES (?)\n"
        );
        assert_eq!(only(&written).variant, "confirmed_duplicate");
    }

    #[test]
    fn a_counter_in_a_cache_does_not_make_a_read_a_write() {
        let counted = |system: &str| {
            format!(
                "\
|====================| web  server  GET /item
| ====x              |   web  client  GET stock/items/88417  {{http.response.status_code=503}}
|  ==x               |     stock  server  GET /items/88417  {{http.response.status_code=503}}
|  =                 |       stock  db  INCR ?  {{db.system.name={system}}}
|         =====      |   web  client  GET stock/items/88417  {{http.request.resend_count=1}}
|          ==        |     stock  server  GET /items/88417
|          =         |       stock  db  INCR ?  {{db.system.name={system}}}
"
            )
        };
        assert!(found(&counted("redis")).is_empty());
    }

    #[test]
    fn a_policy_that_did_no_harm_this_time_is_still_one() {
        let harmless = only(
            "\
|====================| web  server  POST /pay
| ================== |   web  client  POST pay/charges
|  ====x             |     pay  server  POST /charges  {http.response.status_code=503}
|         =====      |     pay  server  POST /charges
|          =         |       pay  db  INSERT INTO charges VALUES (?)
",
        );
        assert_eq!(told(&harmless), ("blind", Confidence::Medium, Harm::Duplicated(Duplicated::Harmless)));
        assert_eq!(harmless.cost, Cost::default());
    }

    #[test]
    fn attempts_that_overlap_are_hedged() {
        let hedged = only(
            "\
|====================| web  server  POST /pay
| =========x         |   web  client  POST pay/charges  {exception.type=ReadTimeout}
|      =====         |   web  client  POST pay/charges  {http.request.resend_count=1}
",
        );
        assert_eq!(told(&hedged), ("hedged", Confidence::Medium, Harm::Duplicated(Duplicated::Likely)));
        assert!(hedged.not_visible.iter().any(|line| line.contains("no span of its server")));
    }

    #[test]
    fn a_driver_that_speculates_hedges_by_itself() {
        let speculative = only(
            "\
|====================| web  server  POST /pay
| =========          |   web  db  UPDATE t SET a = a + 1  {cassandra.speculative_execution.count=1}
",
        );
        assert_eq!(speculative.variant, "hedged");
        assert!(
            found(
                "\
|====================| web  server  POST /pay
| =========          |   web  db  SELECT a FROM t  {cassandra.speculative_execution.count=1}
"
            )
            .is_empty()
        );
    }

    #[test]
    fn a_message_sent_again_may_be_there_twice() {
        let again = only(
            "\
|====================| web  server  POST /pay
| ====x              |   web  producer  publish orders  {exception.type=TimeoutException}
|         ====       |   web  producer  publish orders  {http.request.resend_count=1}
",
        );
        assert_eq!(again.variant, "republish");
        assert_eq!(again.harm, Harm::Duplicated(Duplicated::Likely));
    }

    #[test]
    fn a_pause_shows_a_retry_with_less_certainty() {
        let paused = only(
            "\
|==============================| web  server  POST /order
| =========x                   |   web  client  POST pay/charge  {exception.type=ReadTimeout}
|  ==============              |     pay  server  POST /charge
|             ==               |       pay  db  INSERT INTO charges VALUES (?)
|                    =====     |   web  client  POST pay/charge
|                     ===      |     pay  server  POST /charge
|                     ==       |       pay  db  INSERT INTO charges VALUES (?)
",
        );
        assert_eq!(
            told(&paused),
            ("confirmed_duplicate", Confidence::Medium, Harm::Duplicated(Duplicated::Confirmed))
        );
        assert_eq!(paused.cost.duplicate_effects, 1);
    }

    #[test]
    fn servers_that_only_overwrite_or_skip_the_second_are_left_alone() {
        for write in ["UPDATE carts SET state = ?", "INSERT INTO charges VALUES (?) ON CONFLICT DO NOTHING"] {
            assert!(
                found(&format!(
                    "\
|==============================| web  server  POST /order
| =========x                   |   web  client  POST pay/charge  {{exception.type=ReadTimeout}}
|  ==============              |     pay  server  POST /charge
|             ==               |       pay  db  {write}
|                 =====        |   web  client  POST pay/charge  {{http.request.resend_count=1}}
"
                ))
                .is_empty(),
                "{write}"
            );
        }
        assert!(
            found(
                "\
|==============================| web  server  POST /order
| =========x                   |   web  client  POST pay/charge  {exception.type=ReadTimeout}
|  ==============              |     pay  server  POST /charge
|             ==               |       pay  db  INSERT INTO charges VALUES (?)
|                 =====        |   web  client  POST pay/charge  {http.request.resend_count=1}
|                  ===         |     pay  server  POST /charge
|                  ==          |       pay  db  SELECT a FROM charges
"
            )
            .is_empty()
        );
    }
}
