//! What is written stays, once, and is answered only then.

use std::time::Duration;

use debunk::model::TraceId;
use debunk::store::{Batch, Loaded, TraceDays, WriteError, Writer, Written, encode};
use debunk::telemetry::Metrics;

use super::{Writing, days, export, span};
use crate::support::database::Database;

async fn count(database: &Database, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&database.pool).await.unwrap()
}

fn batch(spans: &[(u8, u8, &str)]) -> Batch {
    encode(export(spans.iter().map(|(trace, id, name)| span(*trace, *id, name)).collect()), &days())
}

async fn load_all(database: &Database, trace: u8) -> Loaded {
    let trace_id = TraceId::from_bytes(&[trace; 16]).unwrap();
    let wanted = TraceDays { trace_id, first_day: days().first(), last_day: days().last() };
    database.store.load(&[wanted], 100).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_redelivery_adds_no_row_and_wakes_no_trace() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let first = writing.writer.write(batch(&[(1, 1, "a"), (1, 2, "b")])).await;
    assert_eq!(first, Ok(Written { stored: 2, duplicates: 0 }));
    sqlx::query("delete from pending").execute(&database.pool).await.unwrap();
    let again = writing.writer.write(batch(&[(1, 1, "a"), (1, 2, "b")])).await;
    assert_eq!(again, Ok(Written { stored: 0, duplicates: 2 }));
    assert_eq!(count(&database, "select count(*) from spans").await, 2);
    assert_eq!(count(&database, "select count(*) from pending").await, 0);
}

#[tokio::test]
async fn one_id_with_two_contents_makes_two_rows() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    writing.writer.write(batch(&[(1, 1, "first try")])).await.unwrap();
    let second = writing.writer.write(batch(&[(1, 1, "second try"), (1, 1, "first try")])).await;
    assert_eq!(second, Ok(Written { stored: 1, duplicates: 1 }));
    let mut names: Vec<String> =
        load_all(&database, 1).await.spans.into_iter().map(|received| received.span.name).collect();
    names.sort();
    assert_eq!(names, ["first try", "second try"]);
}

#[tokio::test]
async fn repeats_inside_one_export_are_duplicates() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let written = writing.writer.write(batch(&[(1, 1, "a"), (1, 1, "a"), (2, 1, "a"), (1, 1, "a")])).await;
    assert_eq!(written, Ok(Written { stored: 2, duplicates: 2 }));
}

#[tokio::test]
async fn writers_at_once_with_the_same_spans_leave_one_row_each() {
    let database = Database::fresh().await;
    let writings = [Writing::start(&database), Writing::start(&database)];
    let mut forth: Vec<(u8, u8, &str)> = (1..=40).flat_map(|t| (1..=20).map(move |s| (t, s, "x"))).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..12_usize {
        forth.reverse();
        let writer = writings[round % 2].writer.clone();
        let batch = batch(&forth);
        tasks.spawn(async move { writer.write(batch).await.unwrap() });
    }
    let written = tasks.join_all().await;
    assert_eq!(written.iter().map(|one| one.stored).sum::<usize>(), 800);
    assert_eq!(written.iter().map(|one| one.duplicates).sum::<usize>(), 11 * 800);
    assert_eq!(count(&database, "select count(*) from spans").await, 800);
    assert_eq!(count(&database, "select count(*) from pending").await, 40);
}

#[tokio::test]
async fn what_is_stored_reads_as_it_was_sent() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let mut odd = span(3, 1, "nul \0 in the name");
    odd.end_time_unix_nano = odd.start_time_unix_nano - 5;
    odd.trace_state = "vendor=1".to_owned();
    let sent = export(vec![odd, span(3, 2, "a plain one")]);
    writing.writer.write(encode(sent.clone(), &days())).await.unwrap();
    let loaded = load_all(&database, 3).await;
    assert!(!loaded.truncated);
    assert_eq!(Some(&*loaded.spans[0].resource), sent[0].resource.as_ref());
    assert_eq!(Some(&*loaded.spans[0].scope), sent[0].scope_spans[0].scope.as_ref());
    let mut spans: Vec<_> = loaded.spans.into_iter().map(|received| received.span).collect();
    spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
    assert_eq!(spans, sent[0].scope_spans[0].spans);
    let named = "select count(*) from spans where name = 'nul ' || chr(65533) || ' in the name'";
    assert_eq!(count(&database, named).await, 1);
}

#[tokio::test]
async fn a_large_trace_loads_its_earliest_spans() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let spans = (1..=20).map(|id| {
        let mut one = span(1, id, "x");
        one.start_time_unix_nano += u64::from(id);
        one
    });
    writing.writer.write(encode(export(spans.collect()), &days())).await.unwrap();
    let trace_id = TraceId::from_bytes(&[1; 16]).unwrap();
    let wanted = TraceDays { trace_id, first_day: days().first(), last_day: days().last() };
    let loaded = database.store.load(&[wanted], 7).await.unwrap().remove(0);
    assert!(loaded.truncated);
    assert_eq!(loaded.spans.iter().map(|one| one.span.span_id[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn a_day_that_nobody_made_is_made_by_the_first_span_of_it() {
    let database = Database::fresh().await;
    assert_eq!(count(&database, "select count(*) from debunk_days()").await, 0);
    let writing = Writing::start(&database);
    writing.writer.write(batch(&[(1, 1, "a")])).await.unwrap();
    assert_eq!(count(&database, "select count(*) from debunk_days() where state = 'attached'").await, 5);
}

#[tokio::test]
async fn a_full_queue_refuses_and_later_accepts() {
    let database = Database::fresh().await;
    let bytes = batch(&[(1, 1, "a")]).bytes();
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), bytes + bytes / 2);
    // Nobody takes from the queue yet.
    let mut first = Box::pin(writer.write(batch(&[(1, 1, "a")])));
    assert!(futures::poll!(&mut first).is_pending());
    assert_eq!(writer.write(batch(&[(2, 1, "a")])).await, Err(WriteError::Full));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(work);
    assert_eq!(first.await, Ok(Written { stored: 1, duplicates: 0 }));
    assert_eq!(writer.write(batch(&[(2, 1, "a")])).await, Ok(Written { stored: 1, duplicates: 0 }));
    drop(writer);
    tasks.join_all().await;
}

#[tokio::test]
async fn an_export_larger_than_the_queue_goes_alone() {
    let database = Database::fresh().await;
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 64);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(work);
    assert_eq!(
        writer.write(batch(&[(1, 1, "a"), (1, 2, "b")])).await,
        Ok(Written { stored: 2, duplicates: 0 })
    );
}

#[tokio::test]
async fn what_is_queued_at_the_end_is_still_written() {
    let database = Database::fresh().await;
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 1 << 20);
    let mut queued: Vec<_> = (1..=50)
        .map(|trace| {
            let writer = writer.clone();
            Box::pin(async move { writer.write(batch(&[(trace, 1, "a")])).await })
        })
        .collect();
    for write in &mut queued {
        assert!(futures::poll!(write).is_pending());
    }
    drop(writer);
    let (answers, ()) = tokio::join!(futures::future::join_all(queued), work);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(count(&database, "select count(*) from spans").await, 50);
}

#[tokio::test]
async fn a_lock_on_the_table_is_unavailable_not_an_answer() {
    let config = debunk::config::Database {
        statement_timeout: debunk::config::Period(Duration::from_millis(300)),
        ..debunk::config::Database::default()
    };
    let database = Database::with(&config).await;
    let writing = Writing::start(&database);
    let mut transaction = database.pool.begin().await.unwrap();
    sqlx::query("lock table spans").execute(&mut *transaction).await.unwrap();
    assert_eq!(writing.writer.write(batch(&[(1, 1, "a")])).await, Err(WriteError::Unavailable));
    transaction.rollback().await.unwrap();
    assert_eq!(writing.writer.write(batch(&[(1, 1, "a")])).await, Ok(Written { stored: 1, duplicates: 0 }));
}
