//! Retries at several layers multiply, so that one request becomes many.
//!
//! ## What it detects
//! A call that was sent several times, in whose attempts another service sent one of its own calls several times too:
//! the service at the bottom got at least four times as many requests as were needed.
//! ## Why it matters
//! Three attempts at each of three layers are 27 requests. They come when the service at the bottom has trouble already,
//! and keep it down when the cause has long gone.
//! ## Example
//! ```trace
//! |======================================| gw  server  GET /offers/88417  {http.response.status_code=502}
//! | =================x                   |   gw  client  GET api/offers/88417  {http.response.status_code=503}  << attempt:1
//! |  ================                    |     api  server  GET /offers/{id}  {http.response.status_code=503}  << server
//! |   ===x                               |       api  client  GET prices/88417  {http.response.status_code=503}  << call
//! |            ===x                      |       api  client  GET prices/88417  {http.response.status_code=503, http.request.resend_count=1}
//! |                    =================x|   gw  client  GET api/offers/88417  {http.response.status_code=503, http.request.resend_count=1}  << attempt:2
//! |                     ================ |     api  server  GET /offers/{id}  {http.response.status_code=503}  << server
//! |                      ===x            |       api  client  GET prices/88417  {http.response.status_code=503}  << call
//! |                               ===x   |       api  client  GET prices/88417  {http.response.status_code=503, http.request.resend_count=1}
//! ```
//! ## Not flagged
//! Attempts that fail before they reach the next service: one layer retries, the other does not.
//! ```trace
//! |==============================| gw  server  GET /offers/88417  {http.response.status_code=502}
//! | ====x                        |   gw  client  GET api/offers/88417  {http.response.status_code=503}
//! |  ===                         |     api  server  GET /offers/{id}  {http.response.status_code=503}
//! |           ====x              |   gw  client  GET api/offers/88417  {http.response.status_code=503, http.request.resend_count=1}
//! |            ===               |     api  server  GET /offers/{id}  {http.response.status_code=503}
//! |                     ====x    |   gw  client  GET api/offers/88417  {http.response.status_code=503, http.request.resend_count=2}
//! |                      ===     |     api  server  GET /offers/{id}  {http.response.status_code=503}
//! ```
//! One of many calls side by side that is sent again: what is needed grows with them.
//! ```trace
//! |==============================| gw  server  GET /offers/88417
//! | =========x                   |   gw  client  GET api/offers/88417  {http.response.status_code=503}
//! |  ========                    |     api  server  GET /offers/{id}  {http.response.status_code=503}
//! |   ==x                        |       api  client  GET prices/10001  {http.response.status_code=503}
//! |      ===x                    |       api  client  GET prices/10001  {http.response.status_code=503, http.request.resend_count=1}
//! |   ==                         |       api  client  GET prices/10002
//! |   ==                         |       api  client  GET prices/10003
//! |               =========      |   gw  client  GET api/offers/88417  {http.request.resend_count=1}
//! |                ========      |     api  server  GET /offers/{id}
//! |                 ==           |       api  client  GET prices/10001
//! |                 ==           |       api  client  GET prices/10002
//! |                 ==           |       api  client  GET prices/10003
//! ```
//! A redirect that one client span follows is no retry, and neither is a second try at another place (two attempts at
//! two addresses), or one that never left its host.
//! ```trace
//! |==========================| web  server  GET /
//! | ======================== |   web  client  GET flags/api
//! |  ===                     |     flags  server  GET /api  {http.response.status_code=308}
//! |       ================   |     flags  server  GET /api
//! |        ==x               |       flags  client  GET store/api  {http.response.status_code=503}
//! |            ==x           |       flags  client  GET store/api  {http.response.status_code=503, http.request.resend_count=1}
//! |                ==        |       flags  client  GET store/api  {http.request.resend_count=2}
//! ```
//! ## Remedy
//! Retry at one layer, the one closest to the failure or the edge, and nowhere else. Give retries a budget (10 % of all
//! requests). Let an answer say that a retry is useless: 503 without `Retry-After`, `grpc-retry-pushback-ms`. Pass
//! deadlines on, and open a circuit breaker while the callee is down.
//! ## Blind spots
//! Retries inside a library show only as several server spans below one client span, and only where the server is
//! instrumented. A proxy that retries shows where it records spans, or a count in a header that is captured
//! (`x-envoy-attempt-count`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, Repetition, Trace};
use crate::rules::{Confidence, Cost, Evidence, Harm, Loaded, Occurrence, told, whole_ms as ms};

/// Most layers above a call that are looked at.
const MOST_LAYERS: usize = 16;
/// Most groups of the lowest layer that are shown.
const MOST_SHOWN: usize = 8;
const NINEFOLD: f64 = 9.0;

/// When retries multiply too much.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least number of requests at the bottom for each that was needed.
    pub min_factor: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_factor: 4.0 }
    }
}

/// Who asks whom for what.
type Edge<'t> = (&'t str, Option<&'t str>, &'t str);

/// What was sent on one edge for all attempts of one call above it.
#[derive(Default)]
struct Load<'t> {
    /// Requests that left their host.
    sent: u32,
    /// How many calls each attempt above needed, by the attempt's position.
    needed: BTreeMap<usize, u32>,
    /// Calls that were sent again.
    groups: Vec<Call<'t>>,
    /// Some of them stand in an attempt after which the call above was sent again as well.
    multiplies: bool,
}

impl<'t> Load<'t> {
    fn add(&mut self, above: Attempt<'t>, call: Call<'t>) {
        let kept = call.attempts().filter(|attempt| attempt.verdict().never_sent).count() as u32;
        self.sent += call.tries().saturating_sub(kept);
        *self.needed.entry(above.index()).or_default() += 1;
        if is_repeated(call) {
            self.groups.push(call);
            self.multiplies |= above.index() != above.call().last().index();
        }
    }

    fn needed(&self) -> u32 {
        self.needed.values().copied().max().unwrap_or(1)
    }

    fn factor(&self) -> f64 {
        f64::from(self.sent) / f64::from(self.needed())
    }
}

/// Finds calls whose retries were multiplied by those of layers below.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    // One layer alone multiplies nothing.
    if trace.calls().filter(|call| is_repeated(*call)).nth(1).is_none() {
        return Vec::new();
    }
    let above = repeated_above(trace);
    let heavy: BTreeMap<usize, (Call<'_>, Load<'_>)> = loads(trace, &above)
        .into_iter()
        .filter_map(|(index, (outer, edges))| {
            let enough = |load: &Load<'_>| load.multiplies && limits.min_factor <= load.factor();
            let worst = edges
                .into_values()
                .filter(enough)
                .reduce(|worst, load| if worst.factor() < load.factor() { load } else { worst })?;
            Some((index, (outer, worst)))
        })
        .collect();
    let is_outermost = |call: Call<'_>| {
        layers_above(&above, call).all(|attempt| !heavy.contains_key(&attempt.call().index()))
    };
    let outermost = heavy.values().filter(|(call, _)| is_outermost(*call));
    outermost.map(|(call, load)| occurrence(*call, load, &above)).collect()
}

/// Sent more than once to the same place.
fn is_repeated(call: Call<'_>) -> bool {
    let fails_over = call.attempts().len() == 2 && call.first().has_target_of(call.last()) == Some(false);
    call.is_retried() && 2 <= call.tries() && !fails_over && !call.facts().self_defence
}

/// For each unit the nearest attempt above it that belongs to a repeated call.
fn repeated_above(trace: &Trace) -> Vec<Option<Attempt<'_>>> {
    let mut above: Vec<Option<Attempt<'_>>> = vec![None; trace.units().len()];
    for at in trace.depth_first() {
        let unit = trace.unit_of(*at);
        if unit.owner() != *at {
            continue;
        }
        above[unit.index()] = match (unit.caller(), trace.parent(*at)) {
            (Some(caller), _) if is_repeated(caller.call()) => Some(caller),
            (_, Some(parent)) => above[trace.unit_of(parent).index()],
            _ => None,
        };
    }
    above
}

fn layers_above<'a, 't>(
    above: &'a [Option<Attempt<'t>>],
    call: Call<'t>,
) -> impl Iterator<Item = Attempt<'t>> + use<'a, 't> {
    let next = move |attempt: &Attempt<'t>| above[attempt.unit().index()];
    std::iter::successors(above[call.unit().index()], next).take(MOST_LAYERS)
}

fn edge(call: Call<'_>) -> Edge<'_> {
    (call.unit().service(), call.callee(), call.operation())
}

type Loads<'t> = BTreeMap<usize, (Call<'t>, BTreeMap<Edge<'t>, Load<'t>>)>;

/// By repeated call, what was sent below it on each edge on which something was repeated.
fn loads<'t>(trace: &'t Trace, above: &[Option<Attempt<'t>>]) -> Loads<'t> {
    let is_below = |call: &Call<'_>| above[call.unit().index()].is_some();
    let edges: BTreeSet<Edge<'_>> =
        trace.calls().filter(is_below).filter(|call| is_repeated(*call)).map(edge).collect();
    let mut loads = Loads::new();
    for call in trace.calls().filter(is_below).filter(|call| edges.contains(&edge(*call))) {
        for attempt in layers_above(above, call) {
            let outer = attempt.call();
            let (_, edges) = loads.entry(outer.index()).or_insert_with(|| (outer, BTreeMap::new()));
            edges.entry(edge(call)).or_default().add(attempt, call);
        }
    }
    loads
}

fn occurrence<'t>(outer: Call<'t>, load: &Load<'t>, above: &[Option<Attempt<'t>>]) -> Occurrence {
    let lowest = load.groups[0];
    let between =
        layers_above(above, lowest).map(Attempt::call).take_while(|call| call.index() != outer.index());
    let mut layers: Vec<Call<'t>> = std::iter::once(lowest).chain(between).collect();
    layers.reverse();
    let named = |call: &Call<'_>| format!("{} {}", call.callee().unwrap_or_default(), call.operation());
    let shown = load.groups.iter().take(MOST_SHOWN);
    let groups = shown.map(|call| Evidence::new(call.at(), "call", format!("sent {} times", call.tries())));
    let (tries, needed) = (outer.tries(), load.needed());
    Occurrence {
        at: outer.at(),
        variant: "multiplied",
        family: "multiplied",
        group: layers.iter().map(named).collect::<Vec<_>>().join(" > "),
        headline: format!("multiplies `{}` by retries at several layers", lowest.operation()),
        why: format!(
            "`{}` was sent {tries} times within {} ms, and `{}` below it {} times where {needed} would do: {:.1} for one",
            outer.operation(),
            ms(outer.duration_ns()),
            lowest.operation(),
            load.sent,
            load.factor()
        ),
        evidence: told::attempts(outer, told::ending).into_iter().chain(groups).collect(),
        cost: Cost { calls: load.sent - needed, ..Cost::default() },
        harm: Harm::Loaded(if NINEFOLD <= load.factor() { Loaded::Ninefold } else { Loaded::Heavily }),
        confidence: confidence(load.groups.iter().chain(&layers).chain([&outer])),
        not_visible: Vec::new(),
    }
}

/// As sure as the least sure of the groups.
fn confidence<'a, 't: 'a>(groups: impl Iterator<Item = &'a Call<'t>>) -> Confidence {
    let of_group = |call: &Call<'_>| match call.repetition() {
        Some(Repetition::Explicit | Repetition::SharedClient) => Confidence::Confirmed,
        Some(Repetition::Pause) => Confidence::Medium,
        _ => Confidence::High,
    };
    groups.map(of_group).min().unwrap_or(Confidence::Medium)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::sketch;

    /// Attempts of `gw` at `api`, which tries `prices` the given number of times in each.
    fn found(inner: &[usize], code: u16) -> Option<(Confidence, u32)> {
        let mut drawing = String::from("@ 1ms\n|====| gw  server  GET /offers/88417\n");
        let bar = |from: usize, long: usize| format!("|{}{}|", " ".repeat(from), "=".repeat(long));
        for (number, tries) in inner.iter().enumerate() {
            let from = number * 400;
            write!(
                drawing,
                "{}   gw  client  GET api/offers/88417  {{http.response.status_code={code}, http.request.resend_count={number}}}\n\
                 {}     api  server  GET /offers/{{id}}  {{http.response.status_code={code}}}\n",
                bar(from, 300),
                bar(from + 1, 298)
            )
            .unwrap();
            for again in 0..*tries {
                writeln!(
                drawing,
                    "{}       api  client  GET prices/88417  {{http.response.status_code={code}, http.request.resend_count={again}}}",
                    bar(from + 2 + again * 50, 20)
                )
                .unwrap();
            }
        }
        let trace = sketch::parse(&drawing).unwrap_or_else(|error| panic!("{error}\n{drawing}")).trace();
        inspect(&trace, &Thresholds::default()).pop().map(|found| (found.confidence, found.cost.calls))
    }

    #[test]
    fn both_layers_must_repeat_and_multiply() {
        for (inner, expected) in [
            (&[3, 3, 3][..], Some((Confidence::Confirmed, 8))),
            (&[2, 2], Some((Confidence::Confirmed, 3))),
            (&[3, 1], Some((Confidence::Confirmed, 3))),
            // What was tried at the end alone was tried once.
            (&[1, 4], None),
            (&[2, 1], None),
            (&[1, 1, 1, 1], None),
            (&[5], None),
        ] {
            assert_eq!(found(inner, 503), expected, "{inner:?}");
        }
    }
}
