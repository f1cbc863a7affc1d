//! A database transaction stays open while the service waits for the network.
//!
//! ## What it detects
//! Between the statement that begins a transaction and the one that ends it the same service calls another and waits, for
//! 10 ms or more a call, and for a fifth or more of the transaction's time.
//! ## Why it matters
//! The transaction keeps its rows locked and its connection taken for as long as the other service likes. When that
//! service is slow, everybody who wants these rows waits too, and the pool of connections runs dry.
//! ## Example
//! ```trace
//! |==============================| bank  server  POST /transfer
//! | =                            |   bank  db  BEGIN  << begin
//! |  ==                          |   bank  db  UPDATE accounts SET held = held + ? WHERE id = ?
//! |     ==================       |   bank  client  POST rates/quote  << call
//! |                        ==    |   bank  db  UPDATE accounts SET amount = amount - ? WHERE id = ?
//! |                           =  |   bank  db  COMMIT  << end
//! ```
//! ## Not flagged
//! The call before the transaction, or behind it.
//! ```trace
//! |==============================| bank  server  POST /transfer
//! | ==================           |   bank  client  POST rates/quote
//! |                    =         |   bank  db  BEGIN
//! |                      ==      |   bank  db  UPDATE accounts SET amount = amount - ? WHERE id = ?
//! |                         =    |   bank  db  COMMIT
//! |                           == |   bank  client  POST mail/receipt
//! ```
//! A call beside the transaction, in a task of its own.
//! ```trace
//! |==============================| bank  server  POST /transfer
//! | =                            |   bank  db  BEGIN
//! | ======================       |   bank  local  fetch rates
//! |      ==============          |     bank  client  GET rates/today
//! |   ==                         |   bank  db  SELECT amount FROM accounts WHERE id = ? FOR UPDATE
//! |                          =   |   bank  db  COMMIT
//! ```
//! Two transactions of one database at once: nobody can tell whose statements are whose.
//! ```trace
//! |==============================| bank  server  POST /transfer
//! | =                            |   bank  db  BEGIN
//! |  =                           |   bank  db  BEGIN
//! |     ==================       |   bank  client  POST rates/quote
//! |                         =    |   bank  db  COMMIT
//! |                           =  |   bank  db  COMMIT
//! ```
//! ## Remedy
//! Ask before `BEGIN` or after `COMMIT`. Where the answer decides what is written: reserve in one short transaction and
//! confirm or cancel in another. What only has to be sent goes into an outbox table in the same transaction.
//! ## Blind spots
//! Most instrumentations record no span for a transaction that the driver or an ORM opens (`conn.transaction()`,
//! `engine.begin()`, JDBC); there the rule is silent. `BEGIN` and `COMMIT` sent as statements are seen. Java's agent can
//! be told to record the ends of transactions, but not where they begin.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Call, Role, Trace, Transaction, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Held, Millis, Occurrence, told, whole_ms as ms};

/// Most calls of one transaction that are shown.
const MOST_SHOWN: usize = 8;
const LONG_NS: i64 = 1_000_000_000;

/// When a call in a transaction is worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least time that a call takes.
    pub min_call: Millis,
    /// Least share of the transaction's time that its calls take.
    pub min_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_call: Millis(10), min_share: 0.2 }
    }
}

/// Finds transactions that waited for the network.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    trace.units().filter(|unit| !unit.is_self_defence()).flat_map(|unit| of_unit(unit, limits)).collect()
}

fn of_unit(unit: Unit<'_>, limits: &Thresholds) -> Vec<Occurrence> {
    let transactions = unit.transactions();
    if transactions.is_empty() {
        return Vec::new();
    }
    let waits: Vec<Call<'_>> = unit.calls().filter(|call| leaves_service(*call)).collect();
    transactions.iter().flat_map(|transaction| of_transaction(transaction, &waits, limits)).collect()
}

/// Somebody else answers, or a broker takes it.
fn leaves_service(call: Call<'_>) -> bool {
    let asks = matches!(call.role(), Role::Http | Role::Rpc | Role::Cloud) && call.is_sync();
    (asks || call.is_publish()) && !call.first().is_streaming() && !call.facts().self_defence
}

/// `waits` are in order of start.
fn of_transaction(transaction: &Transaction<'_>, waits: &[Call<'_>], limits: &Thresholds) -> Vec<Occurrence> {
    let (begin, end) = (transaction.begin(), transaction.end());
    let from = waits.partition_point(|call| call.start_ns() < begin.start_ns());
    let inside = waits[from..].iter().take_while(|call| call.start_ns() <= end.start_ns()).copied();
    let mut by_operation: BTreeMap<(Option<&str>, &str), Vec<Call<'_>>> = BTreeMap::new();
    let mut waited = 0;
    for call in inside.filter(|call| {
        limits.min_call.ns() <= call.duration_ns()
            && call.callee() != begin.callee()
            && transaction.encloses(*call)
    }) {
        waited += call.duration_ns();
        by_operation.entry((call.callee(), call.template())).or_default().push(call);
    }
    if (waited as f64) < limits.min_share * transaction.window_ns() as f64 {
        return Vec::new();
    }
    by_operation.into_values().map(|calls| occurrence(transaction, &calls)).collect()
}

fn occurrence(transaction: &Transaction<'_>, calls: &[Call<'_>]) -> Occurrence {
    let (first, begin, end) = (calls[0], transaction.begin(), transaction.end());
    let waited: i64 = calls.iter().map(|call| call.duration_ns()).sum();
    let database = begin.callee().unwrap_or("the database");
    let shown = calls.iter().take(MOST_SHOWN);
    let mut evidence = vec![Evidence::new(begin.at(), "begin", "")];
    evidence.extend(shown.map(|call| Evidence::new(call.at(), "call", told::ending(call.last()))));
    evidence.push(Evidence::new(end.at(), "end", ""));
    let times = if calls.len() == 1 { String::new() } else { format!(" {} times", calls.len()) };
    Occurrence {
        at: first.at(),
        variant: "waits",
        family: "waits",
        group: database.to_owned(),
        headline: format!("calls `{}` within a transaction", first.operation()),
        why: format!(
            "a transaction of {database} was open for {} ms, {} ms of them waiting for `{}`{times}",
            ms(transaction.window_ns()),
            ms(waited),
            first.operation()
        ),
        evidence,
        cost: Cost {
            time: Duration::from_nanos(waited.max(0) as u64),
            calls: calls.len() as u32,
            ..Cost::default()
        },
        harm: Harm::Held(held(transaction, calls)),
        confidence: Confidence::High,
        not_visible: Vec::new(),
    }
}

fn held(transaction: &Transaction<'_>, calls: &[Call<'_>]) -> Held {
    let gave_up = calls.iter().any(|call| call.gave_up());
    if LONG_NS <= transaction.window_ns() || gave_up || transaction.holds_rows_at(calls[0].start_ns()) {
        Held::Hard
    } else if transaction.holds_rows() {
        Held::Softly
    } else {
        Held::Lightly
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(before: &str, after: &str) -> Option<Harm> {
        let drawing = format!(
            "\
|==============================| bank  server  POST /transfer
| =                            |   bank  db  BEGIN
|  ==                          |   bank  db  {before}
|     ==================       |   bank  client  POST rates/quote
|                        ==    |   bank  db  {after}
|                           =  |   bank  db  ROLLBACK
"
        );
        let trace = sketch::parse(&drawing).unwrap().trace();
        inspect(&trace, &Thresholds::default()).pop().map(|found| found.harm)
    }

    #[test]
    fn what_is_locked_meanwhile_decides_how_bad_it_is() {
        let (read, write) = ("SELECT a FROM t WHERE id = ?", "UPDATE t SET a = ? WHERE id = ?");
        let locked = "SELECT a FROM t WHERE id = ? FOR UPDATE";
        for (before, after, expected) in [
            (write, read, Held::Hard),
            (locked, read, Held::Hard),
            (read, write, Held::Softly),
            (read, read, Held::Lightly),
        ] {
            assert_eq!(found(before, after), Some(Harm::Held(expected)), "{before}, {after}");
        }
        assert_eq!(found("COMMIT", "BEGIN"), None);
    }
}
