//! One call per item, where one call for all items would do.
//!
//! ## What it detects
//! The same operation of one callee at least five times in one unit of work, one after another, and long enough
//! to matter: 50 ms in all, a large share of a short request, or very many calls.
//! ## Why it matters
//! Each repeat pays a full round trip: what takes 50 ms with five items in a test takes seconds with five hundred.
//! ## Example
//! ```trace
//! |==============================| orders  server  GET /orders
//! | ===                          |   orders  db  SELECT * FROM orders WHERE account = ?  << source
//! |    ===                       |   orders  db  SELECT * FROM items WHERE order_id = ?  << first
//! |       ===                    |   orders  db  SELECT * FROM items WHERE order_id = ?
//! |          =====               |   orders  db  SELECT * FROM items WHERE order_id = ?  << slowest
//! |               ===            |   orders  db  SELECT * FROM items WHERE order_id = ?
//! |                  ===         |   orders  db  SELECT * FROM items WHERE order_id = ?
//! |                     ===      |   orders  db  SELECT * FROM items WHERE order_id = ?  << last
//! ```
//! ## Not flagged
//! Calls that overlap wait together, also through a small pool: only as far as they serialise do they count.
//! ```trace
//! |==============================| web  server  GET /dispatch
//! | =====                        |   web  client  GET route/between?to=101
//! | =====                        |   web  client  GET route/between?to=102
//! | =====                        |   web  client  GET route/between?to=103
//! |      =====                   |   web  client  GET route/between?to=104
//! |      =====                   |   web  client  GET route/between?to=105
//! |      =====                   |   web  client  GET route/between?to=106
//! ```
//! Asking again in even steps is polling, and equal visible arguments are no items.
//! ```trace
//! @ 100ms
//! |============================================| ci  server  POST /build
//! |=                                           |   ci  client  GET jobs/71423
//! |          =                                 |   ci  client  GET jobs/71423
//! |                    =                       |   ci  client  GET jobs/71423
//! |                              =             |   ci  client  GET jobs/71423
//! |                                        =   |   ci  client  GET jobs/71423
//! ```
//! Nor are retries, pages of one list, batches, and statements that check connections or bound transactions; rows of
//! a cursor and jobs of a queue are asked for one after another on purpose, and so are messages of a stream.
//! ```trace
//! |==============================| export  server  GET /export
//! | ===                          |   export  db  FETCH FORWARD 100 FROM rows
//! |    ===                       |   export  db  FETCH FORWARD 100 FROM rows
//! |       ===                    |   export  db  FETCH FORWARD 100 FROM rows
//! |          ===                 |   export  db  FETCH FORWARD 100 FROM rows
//! |             ===              |   export  db  FETCH FORWARD 100 FROM rows
//! ```
//! ## Remedy
//! Ask for the set. Database: a join, `WHERE id = ANY($1)`, eager loading, a batching loader; for writes many rows in
//! one statement. HTTP and RPC: an endpoint that takes a list of ids. Cache: `MGET` or a pipeline. Broker: the
//! producer's batch call.
//! ## Blind spots
//! Where arguments are hidden, repeats count as items unless their rhythm is that of polling. Batches that an SDK
//! records like single statements look like those: runs of `INSERT` are never more than likely.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Call, Items, Role, Run, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Millis, Occurrence, whole_ms as ms};

/// When repeats are worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Fewest calls, and fewest rounds that they make when only they are sorted.
    pub min_repeats: usize,
    /// Least time that the calls take in all.
    pub min_total: Millis,
    /// Fewest database calls that count whatever time they take.
    pub many_statements: usize,
    /// Fewest remote calls that count whatever time they take.
    pub many_requests: usize,
    /// Least time in all of a run of database calls in a short request.
    pub min_short_statements: Millis,
    /// Least share of the unit that such a run takes; cache and publish need this share, and `min_total`.
    pub min_short_share: f64,
    /// Fewest remote calls of a run in a short request.
    pub min_short_requests: usize,
    /// Least time in all of such a run.
    pub min_short_request_total: Millis,
    /// Least share of the unit that such a run takes.
    pub min_short_request_share: f64,
    /// Hidden arguments are taken for different items with high confidence from this many calls on.
    pub many_hidden: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            enabled: true,
            min_repeats: 5,
            min_total: Millis(50),
            many_statements: 50,
            many_requests: 20,
            min_short_statements: Millis(5),
            min_short_share: 0.3,
            min_short_requests: 8,
            min_short_request_total: Millis(20),
            min_short_request_share: 0.15,
            many_hidden: 10,
        }
    }
}

/// Finds operations that were called once per item.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    trace.units().flat_map(|unit| of_unit(unit, limits)).collect()
}

fn of_unit(unit: Unit<'_>, limits: &Thresholds) -> Vec<Occurrence> {
    // In an open-ended exchange each message is work of its own.
    if unit.is_streaming() {
        return Vec::new();
    }
    let runs = unit.runs(|call| variant(call).is_some() && is_single(call));
    let worth =
        runs.into_iter().filter(|run| limits.min_repeats <= run.rounds() && is_long_enough(run, limits));
    worth
        .filter(|run| !run.is_pagination() && !run.is_polling() && !run.is_bulk())
        .filter_map(|run| occurrence(&run, limits))
        .collect()
}

/// The form of the claim, by the kind of interaction.
fn variant(call: &Call<'_>) -> Option<&'static str> {
    match call.role() {
        Role::Db => Some("db"),
        Role::Cache => Some("cache"),
        Role::Http if call.is_sync() => Some("http"),
        Role::Rpc if call.is_sync() => Some("rpc"),
        Role::Cloud if call.is_sync() => Some("cloud"),
        Role::Remote if call.is_sync() => Some("remote"),
        Role::Messaging if call.is_publish() => Some("publish"),
        _ => None,
    }
}

/// One item at a time, and known well enough to be compared.
fn is_single(call: &Call<'_>) -> bool {
    let facts = call.facts();
    facts.db.batch < 2 && !facts.db.truncated && !facts.is_housekeeping() && !facts.hides_operation()
}

fn is_long_enough(run: &Run<'_>, limits: &Thresholds) -> bool {
    let (n, total) = (run.calls().len(), run.total_ns());
    let share = total as f64 / run.unit().duration_ns().max(1) as f64;
    let usual = limits.min_total.ns() <= total;
    match run.first().role() {
        Role::Cache | Role::Messaging => usual && limits.min_short_share <= share,
        Role::Db => {
            let short = limits.min_short_statements.ns() <= total && limits.min_short_share <= share;
            usual || limits.many_statements <= n || short
        }
        _ => {
            let short = limits.min_short_requests <= n
                && limits.min_short_request_total.ns() <= total
                && limits.min_short_request_share <= share;
            usual || limits.many_requests <= n || short
        }
    }
}

fn occurrence(run: &Run<'_>, limits: &Thresholds) -> Option<Occurrence> {
    let (first, n, items, saved) = (run.first(), run.calls().len(), run.items(), run.saved_ns());
    let variant = variant(&first)?;
    let (sure, about) = match items {
        Items::Repeated => return None,
        Items::Different => (run.source().is_some(), "arguments differ"),
        Items::Hidden => (limits.many_hidden <= n, "arguments are hidden"),
    };
    // Many rows in one statement are often recorded like one row.
    let is_insert = first.facts().db.operation.as_deref() == Some("INSERT");
    let high = (sure || first.facts().orm) && !is_insert;
    let hidden = "which item each call was for: arguments are not recorded";
    Some(Occurrence {
        at: first.at(),
        variant,
        family: variant,
        group: String::new(),
        headline: format!("calls `{}` once per item", first.operation()),
        why: format!(
            "{n} calls of `{}` one after another took {} ms of {} ms; {about}",
            first.operation(),
            ms(run.total_ns()),
            ms(run.unit().duration_ns())
        ),
        evidence: evidence(run),
        cost: Cost { time: Duration::from_nanos(saved as u64), calls: n as u32 - 1, ..Cost::default() },
        harm: Harm::Time { share: saved as f64 / run.unit().duration_ns().max(1) as f64 },
        confidence: if high { Confidence::High } else { Confidence::Medium },
        not_visible: if items == Items::Hidden { vec![hidden.to_owned()] } else { Vec::new() },
    })
}

/// What came before, the first, the slowest and the last.
fn evidence(run: &Run<'_>) -> Vec<Evidence> {
    let (first, slowest, last, count) = (run.first(), run.slowest(), run.last(), run.calls().len());
    let mut all = vec![Evidence::new(run.unit().owner(), "unit", "")];
    all.extend(run.source().map(|call| Evidence::new(call.at(), "source", "")));
    all.push(Evidence::new(first.at(), "call", format!("first of {count}")));
    if slowest.at() != first.at() && slowest.at() != last.at() {
        all.push(Evidence::new(slowest.at(), "call", "slowest"));
    }
    all.push(Evidence::new(last.at(), "call", format!("last of {count}")));
    all
}
