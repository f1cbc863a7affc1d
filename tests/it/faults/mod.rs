//! The promise under faults: what was acknowledged is stored, once, and what could not be taken was refused in time.
//!
//! Each row of the matrix is one test or a few. The oracle is the set of acknowledged span ids against the rows
//! stored. `cargo test` runs short forms, `make faults` long ones; every row prints one line that `tools/faults.sh`
//! collects into `docs/faults.md`.

mod again;
mod crowd;
mod database;
mod days;
mod hostile;
mod judged;
mod kill;
mod load;
mod settings;
mod shapes;
mod size;
mod told;

use std::collections::BTreeSet;
use std::fmt;

use sqlx::{PgConnection, Row as _};

use crate::support::load::Tally;
use crate::support::process;
use crate::support::traffic::Key;

/// Number and fault of every row.
const ROWS: &[(u32, &str)] = &[
    (1, "Debunk killed under load"),
    (2, "PostgreSQL killed under load"),
    (3, "PostgreSQL restarted, then away"),
    (4, "disk full"),
    (5, "slow database"),
    (6, "connection cut during COMMIT"),
    (7, "the same spans again and again"),
    (8, "one span id, different content"),
    (9, "out of order, over many exports"),
    (10, "late spans"),
    (11, "clocks that are wrong"),
    (12, "damaged requests"),
    (13, "one bad span among good ones"),
    (14, "ids and values that are none"),
    (15, "decompression bombs"),
    (16, "small on the wire, large in memory"),
    (17, "traces of hostile size and shape"),
    (18, "one trace id for everything"),
    (19, "slow and idle connections"),
    (20, "a thousand exporters at once"),
    (22, "ten times more than there is room for"),
    (23, "memory while flooded"),
    (24, "webhooks that fail in every way"),
    (25, "killed between sending an alert and writing it down"),
    (26, "a judgement that panics"),
    (27, "a replica paused past its lease, one killed"),
    (28, "retention while ingesting"),
    (29, "told to stop under load"),
    (30, "strings that attack"),
    (33, "wrong settings, and secrets in them"),
    (36, "more than may be kept"),
];

/// Whether `make faults` asks for the long form.
pub(crate) fn long() -> bool {
    process::named().is_some()
}

/// Says what a row did and what came of it, in one line.
pub(crate) fn report(row: u32, text: &str) {
    let (_, fault) = ROWS.iter().find(|(number, _)| *number == row).expect("a row of the matrix");
    assert!(!text.contains('\n') && !text.contains('|'), "one cell of a table: {text}");
    // On a line of its own, whatever the test harness has begun.
    println!("\nfault | {row} | {fault} | {text}");
}

/// Says why a row cannot be shown here.
pub(crate) fn skip(row: u32, why: &str) {
    report(row, &format!("skipped: {why}"));
}

/// For people: whole mebibytes.
fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// What became of acknowledged spans.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) acknowledged: usize,
    pub(crate) missing: usize,
    pub(crate) duplicates: usize,
}

impl Kept {
    /// Compares what was acknowledged with the rows that are stored.
    pub(crate) async fn of(acknowledged: &BTreeSet<Key>, connection: &mut PgConnection) -> Self {
        let (stored, rows) = stored(connection).await;
        Self {
            acknowledged: acknowledged.len(),
            missing: acknowledged.difference(&stored).count(),
            duplicates: rows - stored.len(),
        }
    }

    /// Fails unless something was acknowledged and all of it is there, once.
    #[track_caller]
    pub(crate) fn hold(&self) {
        assert!(0 < self.acknowledged && self.missing == 0 && self.duplicates == 0, "{self}");
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, missing, duplicates } = self;
        write!(into, "acknowledged {acknowledged}, missing = {missing}, duplicate rows = {duplicates}")
    }
}

/// Every stored span, and how many rows they take.
pub(crate) async fn stored(connection: &mut PgConnection) -> (BTreeSet<Key>, usize) {
    let rows = sqlx::query("select trace_id, span_id from spans").fetch_all(connection).await.unwrap();
    let keys = rows.iter().map(|row| {
        let trace: uuid::Uuid = row.get(0);
        let span: i64 = row.get(1);
        (trace.as_u128(), span as u64)
    });
    (keys.collect(), rows.len())
}
