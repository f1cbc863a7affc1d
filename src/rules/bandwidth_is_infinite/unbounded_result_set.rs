//! A query returns everything there is.
//!
//! ## What it detects
//! A `SELECT` without a limit and without an aggregate that returned very many rows, while somebody waits.
//! ## Why it matters
//! The table grows; the request does not stay as it is. It holds the connection longer, fills the memory of the service,
//! and one day it is the request that takes the others down.
//! ## Example
//! ```trace
//! |====================| web  server  GET /admin
//! | ==================  |   web  db  SELECT * FROM events  {db.response.returned_rows=48211}  << call
//! ```
//! ## Not flagged
//! What is bounded or counted by the statement, and what returns little.
//! ```trace
//! |====================| web  server  GET /admin
//! | =====              |   web  db  SELECT * FROM events LIMIT 5000  {db.response.returned_rows=5000}
//! |       =====        |   web  db  SELECT kind, count(*) FROM events GROUP BY kind  {db.response.returned_rows=1200}
//! |              ===== |   web  db  SELECT * FROM kinds  {db.response.returned_rows=12}
//! ```
//! Exports and other work that nobody waits for.
//! ```trace
//! |====================| export  consumer  nightly-export
//! | ================== |   export  db  SELECT * FROM events  {db.response.returned_rows=48211}
//! ```
//! ## Remedy
//! Page by key (`WHERE id > $1 ORDER BY id LIMIT 100`), select the columns that are used, let the database count and sum,
//! or read through a cursor.
//! ## Blind spots
//! Few instrumentations say how many rows came back (`db.response.returned_rows`); without it the rule is silent. A limit
//! that the driver sets, outside the statement, is not seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Occurrence, whole_ms as ms};

/// Words of a statement that bound what it returns, or make one row of many.
const BOUNDS: &[&str] = &[
    "LIMIT",
    "TOP",
    "FETCH",
    "ROWNUM",
    "ROW_NUMBER",
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "GROUP",
    "DISTINCT",
    "EXISTS",
];

/// When a result is too large.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Fewest rows that count.
    pub min_rows: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_rows: 1_000 }
    }
}

/// Finds statements that returned very much while somebody waited.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let units = trace.units().filter(|unit| unit.is_interactive() && !unit.is_self_defence());
    units.flat_map(Unit::attempts).filter_map(|attempt| of_attempt(attempt, limits)).collect()
}

fn of_attempt(attempt: Attempt<'_>, limits: &Thresholds) -> Option<Occurrence> {
    let db = &attempt.facts().db;
    let rows = db.rows.filter(|rows| limits.min_rows <= *rows)?;
    let shape = db.shape.as_deref().filter(|_| !db.truncated)?;
    let words = |text: &str| text.to_ascii_uppercase();
    let upper = words(shape);
    let mut said = upper.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_plain_select =
        db.operation.as_deref() == Some("SELECT") && !said.any(|word| BOUNDS.contains(&word));
    (attempt.role() == Role::Db && is_plain_select).then(|| occurrence(attempt, rows))
}

fn occurrence(attempt: Attempt<'_>, rows: u64) -> Occurrence {
    const VERY_MANY: u64 = 10_000;
    let took = attempt.duration_ns();
    Occurrence {
        at: attempt.at(),
        variant: "rows",
        family: "rows",
        group: String::new(),
        headline: format!("reads all that `{}` finds", attempt.operation()),
        why: format!("`{}` returned {rows} rows in {} ms, without a limit", attempt.operation(), ms(took)),
        evidence: vec![Evidence::new(attempt.at(), "call", format!("{rows} rows"))],
        cost: Cost { calls: 1, time: Duration::from_nanos(took.max(0) as u64), ..Cost::default() },
        harm: Harm::Volume { large: VERY_MANY <= rows },
        confidence: Confidence::High,
        not_visible: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(statement: &str, rows: u64) -> Option<Harm> {
        let drawing = format!(
            "|====================| web  server  GET /admin\n| ================== |   web  db  {statement}  {{db.response.returned_rows={rows}}}\n"
        );
        let trace = sketch::parse(&drawing).unwrap().trace();
        inspect(&trace, &Thresholds::default()).pop().map(|found| found.harm)
    }

    #[test]
    fn a_bound_anywhere_in_the_statement_counts() {
        for (statement, rows, expected) in [
            ("SELECT * FROM events", 48_211, Some(Harm::Volume { large: true })),
            ("SELECT * FROM events WHERE kind = ?", 1_000, Some(Harm::Volume { large: false })),
            ("SELECT * FROM events", 999, None),
            ("select id from events order by id limit ?", 5_000, None),
            ("SELECT TOP 5000 id FROM events", 5_000, None),
            ("SELECT id FROM events FETCH FIRST 5000 ROWS ONLY", 5_000, None),
            ("SELECT max(id) FROM events", 5_000, None),
            ("UPDATE events SET kind = ?", 5_000, None),
        ] {
            assert_eq!(found(statement, rows), expected, "{statement}");
        }
    }
}
