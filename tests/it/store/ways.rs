//! Two ways into one table: what they leave is the same.

use std::collections::BTreeSet;

use debunk::clock;
use debunk::store::{SPAN_COLUMNS, Writer, Written, encode};
use debunk::telemetry::Metrics;
use opentelemetry_proto::tonic::trace::v1::Span;
use sqlx::Row as _;

use super::{Writing, days, export, span};
use crate::support::database::Database;

/// Notes for each row which statement brought it.
const WATCH: &str = "create table ways (way text); \
    create function note() returns trigger language plpgsql as $$ begin \
        insert into ways values (split_part(ltrim(current_query(), E' \\n'), ' ', 1)); return new; \
    end $$; \
    create trigger note before insert on spans for each row execute function note()";

async fn watched() -> Database {
    let database = Database::fresh().await;
    sqlx::raw_sql(WATCH).execute(&database.pool).await.unwrap();
    database
}

async fn texts(database: &Database, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(&database.pool).await.unwrap()
}

/// Every column of every row, as text.
async fn rows(database: &Database) -> Vec<String> {
    texts(database, "select s::text from spans s order by trace_id, span_id, content").await
}

/// Spans that differ in all that has a column, the odd ones too.
fn sent() -> Vec<Span> {
    let mut nul = span(2, 1, "nul \0 in the name");
    nul.parent_span_id = vec![9; 8];
    nul.kind = 0;
    let mut backwards = span(2, 2, "");
    backwards.end_time_unix_nano = backwards.start_time_unix_nano - 5;
    backwards.kind = i32::MAX;
    let mut yesterday = span(3, 1, "grüße");
    yesterday.start_time_unix_nano -= 86_400 * 1_000_000_000;
    yesterday.dropped_links_count = 3;
    let mut ancient = span(3, 2, "no such day");
    ancient.start_time_unix_nano = 7;
    vec![nul, backwards, yesterday, ancient]
}

#[tokio::test]
async fn copied_and_inserted_rows_are_the_same() {
    let (copied, inserted) = (watched().await, watched().await);
    for database in [&copied, &inserted] {
        let writing = Writing::start(database);
        let first = writing.writer.write(encode(export(vec![span(1, 1, "first")]), &days())).await;
        assert_eq!(first, Ok(Written { stored: 1, duplicates: 0 }));
    }
    let written = Writing::start(&copied).writer.write(encode(export(sent()), &days())).await;
    assert_eq!(written, Ok(Written { stored: 4, duplicates: 0 }));
    // One span that is there already, and the commit has to go the other way.
    let mut and_the_first = sent();
    and_the_first.push(span(1, 1, "first"));
    let written = Writing::start(&inserted).writer.write(encode(export(and_the_first), &days())).await;
    assert_eq!(written, Ok(Written { stored: 4, duplicates: 1 }));

    assert_eq!(texts(&copied, "select distinct way from ways").await, ["copy"]);
    assert_eq!(texts(&inserted, "select distinct way from ways order by way").await, ["copy", "insert"]);
    assert_eq!(rows(&copied).await, rows(&inserted).await);
    let pending = "select concat_ws(' ', trace_id, first_day, last_day, claim, attempts, leased_until, not_before) \
        from pending order by trace_id";
    assert_eq!(texts(&copied, pending).await, texts(&inserted, pending).await);
    assert_eq!(texts(&copied, pending).await.len(), 3);
}

#[tokio::test]
async fn after_a_repeat_rows_are_inserted_for_a_while() {
    let database = watched().await;
    let writing = Writing::start(&database);
    let write = async |spans| writing.writer.write(encode(export(spans), &days())).await.unwrap();
    write(vec![span(1, 1, "a")]).await;
    // Two writers: each learns of it by itself.
    for _ in 0..4 {
        assert_eq!(write(vec![span(1, 1, "a")]).await, Written { stored: 0, duplicates: 1 });
    }
    sqlx::query("truncate ways").execute(&database.pool).await.unwrap();
    write(vec![span(2, 1, "b")]).await;
    assert_eq!(texts(&database, "select way from ways").await, ["insert"]);
}

#[tokio::test]
async fn what_is_written_is_the_whole_table() {
    let database = Database::fresh().await;
    let columns = sqlx::query(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute \
         where attrelid = 'spans'::regclass and attnum > 0 and not attisdropped",
    );
    let columns = columns.fetch_all(&database.pool).await.unwrap();
    let found: BTreeSet<(String, String)> = columns.iter().map(|row| (row.get(0), row.get(1))).collect();
    let written = SPAN_COLUMNS.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    assert_eq!(found, BTreeSet::from(written));
}

#[tokio::test]
async fn what_two_exports_of_one_commit_share_is_told_to_the_first() {
    let database = watched().await;
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 1 << 20);
    let spans =
        |ids: std::ops::RangeInclusive<u8>| encode(export(ids.map(|id| span(1, id, "a")).collect()), &days());
    let mut first = Box::pin(writer.write(spans(1..=3)));
    let mut second = Box::pin(writer.write(spans(2..=4)));
    // Nobody takes from the queue yet, so both go at once.
    assert!(futures::poll!(&mut first).is_pending());
    assert!(futures::poll!(&mut second).is_pending());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(work);
    assert_eq!(first.await, Ok(Written { stored: 3, duplicates: 0 }));
    assert_eq!(second.await, Ok(Written { stored: 1, duplicates: 2 }));
    // A repeat within a commit is no reason to go the slower way.
    assert_eq!(texts(&database, "select way from ways").await, ["copy"; 4]);
}

#[tokio::test]
async fn a_commit_may_need_days_that_nobody_made() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let written = writing.writer.write(encode(export(sent()), &days())).await;
    assert_eq!(written, Ok(Written { stored: 4, duplicates: 0 }));
    let days = texts(&database, "select distinct day::text from spans").await;
    // Today and the day before; just after midnight spans of an hour ago lie on two days before today.
    let sent_today = span(1, 1, "").start_time_unix_nano / 86_400_000_000_000
        == clock::now().unix_timestamp() as u64 / 86_400;
    assert_eq!(days.len(), if sent_today { 2 } else { 3 }, "{days:?}");
    assert_eq!(rows(&database).await.len(), 4);
}
