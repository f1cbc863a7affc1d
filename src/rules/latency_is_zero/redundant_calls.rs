//! The same is read several times to answer one request.
//!
//! ## What it detects
//! At least three reads of one callee with the same visible arguments, at or below one unit of work, by one service or by
//! several, with nothing written to that callee in between; and enough time in them: 20 ms beside the one that is needed,
//! or 5 ms that are a tenth of the request, or ten reads.
//! ## Why it matters
//! Each repetition waits for the network again and gets the answer that was there before. It happens where each layer
//! fetches for itself, and grows with every layer that is added.
//! ## Example
//! ```trace
//! |====================| web  server  GET /profile/{id}
//! | ====               |   web  client  GET users/88417  << call
//! |      ====          |   web  client  GET users/88417  << call
//! |           ====     |   web  client  GET users/88417  << call
//! ```
//! Three services ask for the same user, because nobody passes it on.
//! ```trace
//! |==============================| web  server  GET /home/{id}
//! | ========                     |   web  client  GET cart/88417
//! |  ======                      |     cart  server  GET /{id}
//! |   ===                        |       cart  client  GET users/88417  << call
//! |          ========            |   web  client  GET offers/88417
//! |           ======             |     offers  server  GET /{id}
//! |            ===               |       offers  client  GET users/88417  << call
//! |                   ===        |   web  client  GET users/88417  << call
//! ```
//! ## Not flagged
//! Reads whose arguments are hidden: they may be about different things.
//! ```trace
//! |========================================| frontend  server  GET /
//! | ====                                   |   frontend  client  shop.Catalog/GetProduct
//! |      ====                              |   frontend  client  shop.Catalog/GetProduct
//! |           ====                         |   frontend  client  shop.Catalog/GetProduct
//! |                ====                    |   frontend  db  SELECT * FROM prices WHERE product = ?
//! |                     ====               |   frontend  db  SELECT * FROM prices WHERE product = ?
//! |                          ====          |   frontend  db  SELECT * FROM prices WHERE product = ?
//! |                               ====     |   frontend  client  POST search/query
//! |                                   ==   |   frontend  client  POST search/query
//! |                                     == |   frontend  client  POST search/query
//! ```
//! Paths in which an SDK left the parameters' names instead of their values are no arguments either.
//! ```trace
//! |====================| seats  server  POST /left
//! | ====               |   seats  client  GET config/configs/{configName}
//! |      ====          |   seats  client  GET config/configs/{configName}
//! |           ====     |   seats  client  GET config/configs/{configName}
//! ```
//! Reading again after something was changed.
//! ```trace
//! |==============================| web  server  POST /profile/{id}
//! | ====                         |   web  client  GET users/88417
//! |      ====                    |   web  client  PUT users/88417/name
//! |           ====               |   web  client  GET users/88417
//! |                ====          |   web  client  GET users/88417
//! ```
//! Polling, attempts of one call, and reads in different attempts of a call above them.
//! ```trace
//! @ 100ms
//! |======================================| ci  server  POST /build
//! |=                                     |   ci  client  GET jobs/71423
//! |          =                           |   ci  client  GET jobs/71423
//! |                    =                 |   ci  client  GET jobs/71423
//! |                              =       |   ci  client  GET jobs/71423
//! ```
//! ## Remedy
//! Read it once and pass it on: a memo or a batching loader for the time of the request, a field in the call to the next
//! service, a short-lived cache, `ETag`.
//! ## Blind spots
//! Requests whose arguments stand in a body (gRPC, POST) or are replaced by placeholders are never compared; parameters
//! of statements show where the SDK is told to record them (`db.query.parameter.<key>`). Headers that make the answers differ
//! (language, tenant) are compared where the SDK captures them, which most do not unless told to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Call, Question, Role, Trace, Unit, Writes, are_polling};
use crate::rules::{Confidence, Cost, Evidence, Harm, Millis, Occurrence, whole_ms as ms};

/// Most reads that are shown.
const MOST_SHOWN: usize = 8;
/// Most units above a read among which the one that needs it once is sought.
const MOST_LEVELS: usize = 32;
const HEADERS: &str = "whether a header made the requests differ (language, tenant): none is captured";

/// When repeated reads are worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Fewest reads of the same.
    pub min_repeats: usize,
    /// Least time of all but the longest of them.
    pub min_saving: Millis,
    /// The same in a short request.
    pub min_short_saving: Millis,
    /// Least share of the unit that this is there.
    pub min_short_share: f64,
    /// Fewest reads that count whatever time they take.
    pub many: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            enabled: true,
            min_repeats: 3,
            min_saving: Millis(20),
            min_short_saving: Millis(5),
            min_short_share: 0.1,
            many: 10,
        }
    }
}

/// Reads of one operation that one unit would need once each.
struct Redundant<'t> {
    unit: Unit<'t>,
    /// Reads of the same, in the order in which the trace shows them; each of them several.
    same: Vec<Vec<Call<'t>>>,
}

/// Finds reads that were made before.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let mut asked: BTreeMap<Question<'_>, Vec<Call<'_>>> = BTreeMap::new();
    for call in trace.calls().filter(|call| call.is_open_question()) {
        asked.entry(call.question()).or_default().push(call);
    }
    asked.retain(|_, calls| {
        limits.min_repeats <= calls.len()
            && !calls.iter().any(|call| call.failed())
            && !calls[0].is_asked_on_purpose()
    });
    if asked.is_empty() {
        return Vec::new();
    }
    let writes = Writes::of(trace);
    let mut by_operation: BTreeMap<(Option<&str>, &str), Vec<Vec<Call<'_>>>> = BTreeMap::new();
    for mut calls in asked.into_values() {
        calls.sort_by_key(|call| trace.depth_first_position(call.at()));
        by_operation.entry((calls[0].callee(), calls[0].template())).or_default().push(calls);
    }
    let found = by_operation.into_values().flat_map(|questions| of_operation(&questions, &writes, limits));
    found.map(|redundant| redundant.occurrence()).collect()
}

/// A unit, and what is asked at and below it, each with its question's number.
type Below<'t> = (Unit<'t>, Vec<(usize, Call<'t>)>);

/// The deepest unit that needs something once speaks for those above it.
fn of_operation<'t>(
    questions: &[Vec<Call<'t>>],
    writes: &Writes<'t>,
    limits: &Thresholds,
) -> Vec<Redundant<'t>> {
    let mut below: BTreeMap<Reverse<usize>, Below<'t>> = BTreeMap::new();
    for (number, call) in
        questions.iter().enumerate().flat_map(|(at, same)| same.iter().map(move |call| (at, *call)))
    {
        let waiting = std::iter::successors(Some(call.unit()), |unit| unit.waiting()).take(MOST_LEVELS);
        for unit in waiting.filter(|unit| unit.serves_one()) {
            let position = unit.trace().depth_first_position(unit.owner());
            let (_, asked) = below.entry(Reverse(position)).or_insert_with(|| (unit, Vec::new()));
            asked.push((number, call));
        }
    }
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for (unit, mut asked) in below.into_values() {
        asked.retain(|(_, call)| !told.contains(&call.index()));
        let same = asked.chunk_by(|a, b| a.0 == b.0).map(|same| same.iter().map(|(_, call)| *call).collect());
        let is_same = |calls: &Vec<Call<'t>>| {
            limits.min_repeats <= calls.len() && !writes.is_between(calls) && !are_polling(calls)
        };
        let redundant = Redundant { unit, same: same.filter(is_same).collect() };
        if redundant.is_worth_telling(limits) {
            told.extend(redundant.calls().map(Call::index));
            found.push(redundant);
        }
    }
    found
}

/// All but the most.
fn all_but_one<'a>(calls: &[Call<'a>], count: impl Fn(&Call<'a>) -> i64) -> i64 {
    let counts = calls.iter().map(count);
    let (sum, most) = counts.fold((0_i64, 0), |(sum, most), one| (sum.saturating_add(one), most.max(one)));
    sum - most
}

impl<'t> Redundant<'t> {
    fn calls(&self) -> impl Iterator<Item = Call<'t>> {
        self.same.iter().flatten().copied()
    }

    fn saved(&self, count: impl Fn(&Call<'t>) -> i64) -> i64 {
        self.same.iter().map(|calls| all_but_one(calls, &count)).sum()
    }

    fn is_worth_telling(&self, limits: &Thresholds) -> bool {
        let saved = self.saved(|call| call.duration_ns());
        let share = saved as f64 / self.unit.duration_ns().max(1) as f64;
        limits.min_saving.ns() <= saved && !self.same.is_empty()
            || limits.min_short_saving.ns() <= saved && limits.min_short_share <= share
            || self.same.iter().any(|calls| limits.many <= calls.len())
    }

    fn occurrence(&self) -> Occurrence {
        let callers: BTreeSet<&str> = self.calls().map(|call| call.unit().service()).collect();
        let (first, count) = (self.same[0][0], self.calls().count());
        let operation = first.operation();
        let across = 1 < callers.len();
        let variant = if across { "cross_service" } else { "same_service" };
        let saved = self.saved(|call| call.on_path_ns());
        let bytes = self.saved(|call| call.facts().response_bytes.map_or(0, |bytes| bytes as i64));
        let is_above = self.unit.index() != first.unit().index();
        let who = if across { format!(" by {} services", callers.len()) } else { String::new() };
        Occurrence {
            at: first.at(),
            variant,
            family: variant,
            group: if is_above {
                format!("{} {}", self.unit.service(), self.unit.operation())
            } else {
                String::new()
            },
            headline: format!("reads `{operation}` several times for one request"),
            why: format!(
                "`{operation}` was read {count} times{who} where {} would do; the others took {} ms of {} ms",
                self.same.len(),
                ms(self.saved(|call| call.duration_ns())),
                ms(self.unit.duration_ns())
            ),
            evidence: self.evidence(),
            cost: Cost {
                time: Duration::from_nanos(saved.max(0) as u64),
                calls: (count - self.same.len()) as u32,
                bytes: bytes.max(0) as u64,
                ..Cost::default()
            },
            harm: Harm::Time { share: saved as f64 / self.unit.duration_ns().max(1) as f64 },
            confidence: match first.role() {
                Role::Db | Role::Cache => Confidence::Medium,
                _ => Confidence::High,
            },
            not_visible: self.not_visible(),
        }
    }

    fn not_visible(&self) -> Vec<String> {
        let first = self.same[0][0];
        let hidden = first.role() == Role::Http && first.facts().http.preferences.is_empty();
        if hidden { vec![HEADERS.to_owned()] } else { Vec::new() }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let unit = Evidence::new(self.unit.owner(), "unit", "");
        let shown = self.calls().take(MOST_SHOWN);
        let calls =
            shown.map(|call| Evidence::new(call.at(), "call", format!("by {}", call.unit().service())));
        std::iter::once(unit).chain(calls).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(drawing: &str) -> Vec<(&'static str, Confidence, u32)> {
        let trace = sketch::parse(drawing).unwrap().trace();
        let all = inspect(&trace, &Thresholds::default()).into_iter();
        all.map(|found| (found.variant, found.confidence, found.cost.calls)).collect()
    }

    fn reads(requests: [&str; 3]) -> Vec<(&'static str, Confidence, u32)> {
        let [first, second, third] = requests;
        found(&format!(
            "\
|====================| web  server  GET /page
| ====               |   web  {first}
|      ====          |   web  {second}
|           ====     |   web  {third}
"
        ))
    }

    #[test]
    fn only_what_is_seen_to_be_the_same_is_the_same() {
        let high = ("same_service", Confidence::High, 2);
        let of_statement = ("same_service", Confidence::Medium, 2);
        for (request, expected) in [
            ("client  GET users/88417?fields=name", Some(high)),
            ("db  SELECT * FROM users WHERE id = 88417", Some(of_statement)),
            ("db  SELECT * FROM users WHERE id = 88417 FOR UPDATE", None),
            ("db  SELECT * FROM users WHERE id = ?", None),
            ("client  POST users/search", None),
            ("client  GET events/poll", None),
            ("client  shop.Users/Get", None),
        ] {
            assert_eq!(reads([request; 3]), Vec::from_iter(expected), "{request}");
        }
        assert!(
            reads(["client  GET users/88417", "client  GET users/88418", "client  GET users/88417"])
                .is_empty()
        );
        let failed = "client  GET users/88417  {http.response.status_code=404}";
        assert!(reads(["client  GET users/88417", failed, "client  GET users/88417"]).is_empty());
    }

    #[test]
    fn what_the_attempts_of_one_call_read_is_not_read_several_times() {
        let drawing = "\
|==============================| web  server  GET /page
| ======x                      |   web  client  GET api/page  {http.response.status_code=503}
|  ====                        |     api  server  GET /page  {http.response.status_code=503}
|  ===                         |       api  client  GET users/88417
|         ======x              |   web  client  GET api/page  {http.response.status_code=503, http.request.resend_count=1}
|          ====                |     api  server  GET /page  {http.response.status_code=503}
|          ===                 |       api  client  GET users/88417
|                 ======       |   web  client  GET api/page  {http.request.resend_count=2}
|                  ====        |     api  server  GET /page
|                  ===         |       api  client  GET users/88417
";
        assert!(found(drawing).is_empty());
        let apart = drawing.replace("GET api/page", "GET api/a").replace(", http.request.resend_count=1", "");
        let apart = apart.replacen("api/a", "api/b", 1).replace("http.request.resend_count=2", "");
        assert_eq!(found(&apart.replacen("api/a", "api/c", 1)), [("same_service", Confidence::High, 2)]);
    }
}
