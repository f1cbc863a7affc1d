//! Rows of `spans` in the binary form of COPY, and the statement that takes them.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.55.9.4>. `query!` does not check it, so a test holds
//! `COLUMNS` against the table.

use sqlx::PgConnection;
use time::Date;

use super::spans::SpanRow;

/// The columns of a row in the order in which they are written, with their types.
pub const COLUMNS: [(&str, &str); 14] = [
    ("trace_id", "uuid"),
    ("span_id", "bigint"),
    ("parent_id", "bigint"),
    ("start_ns", "bigint"),
    ("duration_ns", "bigint"),
    ("resource_id", "bigint"),
    ("day", "date"),
    ("content", "integer"),
    ("scope_id", "integer"),
    ("kind", "smallint"),
    ("status", "smallint"),
    ("dictionary", "smallint"),
    ("name", "text"),
    ("rest", "bytea"),
];

/// Signature, flags and the length of an extension that there is not.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// Bytes of a row beside its name and its rest: their number, 14 lengths, and what has a fixed one.
const ROW_BYTES: usize = 2 + 14 * 4 + 16 + 5 * 8 + 3 * 4 + 3 * 2;
/// Julian day of 2000-01-01, where PostgreSQL's dates begin.
const EPOCH: i32 = 2_451_545;

/// Writes the rows into `spans`. Fails with 23505 where one of them is there already.
pub(super) async fn spans(connection: &mut PgConnection, rows: &[SpanRow<'_>]) -> Result<(), sqlx::Error> {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let statement = format!("copy spans ({}) from stdin (format binary)", names.join(", "));
    let mut copy = connection.copy_in_raw(&statement).await?;
    // At once: a message that waits for the answer to the one before it costs a round trip.
    copy.send(encode(rows)).await?;
    copy.finish().await?;
    Ok(())
}

/// Budget: 0.2 µs a row.
fn encode(rows: &[SpanRow<'_>]) -> Vec<u8> {
    let texts: usize = rows.iter().map(|row| row.name.len() + row.rest.len()).sum();
    let mut out = Vec::with_capacity(HEADER.len() + rows.len() * ROW_BYTES + texts + TRAILER.len());
    out.extend_from_slice(HEADER);
    for SpanRow { fixed, name, rest } in rows {
        out.extend_from_slice(&(COLUMNS.len() as i16).to_be_bytes());
        field(&mut out, fixed.trace_id.as_bytes());
        field(&mut out, &fixed.span_id.to_be_bytes());
        match fixed.parent_id {
            Some(parent) => field(&mut out, &parent.to_be_bytes()),
            None => out.extend_from_slice(&NULL),
        }
        field(&mut out, &fixed.start_ns.to_be_bytes());
        field(&mut out, &fixed.duration_ns.to_be_bytes());
        field(&mut out, &fixed.resource_id.to_be_bytes());
        field(&mut out, &date(fixed.day));
        field(&mut out, &fixed.content.to_be_bytes());
        field(&mut out, &fixed.scope_id.to_be_bytes());
        field(&mut out, &fixed.kind.to_be_bytes());
        field(&mut out, &fixed.status.to_be_bytes());
        field(&mut out, &fixed.dictionary.to_be_bytes());
        field(&mut out, name.as_bytes());
        field(&mut out, rest);
    }
    out.extend_from_slice(&TRAILER);
    out
}

fn field(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

fn date(day: Date) -> [u8; 4] {
    (day.to_julian_day() - EPOCH).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_from_the_year_2000() {
        use time::macros::date;
        assert_eq!(date(date!(2000 - 01 - 01)), [0; 4]);
        assert_eq!(date(date!(1999 - 12 - 31)), (-1_i32).to_be_bytes());
        assert_eq!(date(date!(2026 - 03 - 01)), 9_556_i32.to_be_bytes());
    }
}
