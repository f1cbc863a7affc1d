//! Spans are stored packed or plain, and read the same.

use debunk::config;
use debunk::model::TraceId;
use debunk::store::{Batch, Loaded, Store, TraceDays, Written, encode};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::{Writing, days, export, span};
use crate::support::database::Database;

/// With attributes that the dictionary knows.
fn rich(trace: u8, id: u8) -> Span {
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    let attributes = vec![
        text("http.request.method", "GET"),
        text("url.scheme", "http"),
        text("server.address", "localhost"),
        text("network.protocol.version", "1.1"),
    ];
    Span { attributes, ..span(trace, id, "GET /") }
}

fn batch(spans: &[Span]) -> Batch {
    encode(export(spans.to_vec()), &days())
}

async fn load(database: &Database, trace: u8) -> Loaded {
    let trace_id = TraceId::from_bytes(&[trace; 16]).unwrap();
    let wanted = TraceDays { trace_id, first_day: days().first(), last_day: days().last() };
    database.store.load(&[wanted], 100).await.unwrap().remove(0)
}

fn spans(loaded: Loaded) -> Vec<Span> {
    let mut spans: Vec<Span> = loaded.spans.into_iter().map(|received| received.span).collect();
    spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
    spans
}

async fn dictionaries(database: &Database) -> Vec<i16> {
    sqlx::query_scalar("select dictionary from spans order by span_id")
        .fetch_all(&database.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn packed_and_plain_spans_read_as_they_were_sent() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let writer = &writing.writer;
    let sent = [rich(1, 1), rich(1, 2), span(1, 3, "bare")];
    writer.write(batch(&sent[..1])).await.unwrap();
    writer.write(writer.pack(batch(&sent[1..]))).await.unwrap();
    // What would not become shorter is left.
    assert_eq!(dictionaries(&database).await, [0, 1, 0]);
    assert_eq!(spans(load(&database, 1).await), sent);
    let bytes: Vec<i32> = sqlx::query_scalar("select length(rest) from spans order by span_id")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert!(bytes[1] * 2 < bytes[0], "{bytes:?}");
}

#[tokio::test]
async fn a_packed_span_is_the_same_span() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let writer = &writing.writer;
    writer.write(batch(&[rich(1, 1)])).await.unwrap();
    let again = writer.write(writer.pack(batch(&[rich(1, 1)]))).await;
    assert_eq!(again, Ok(Written { stored: 0, duplicates: 1 }));
}

#[tokio::test]
async fn a_span_that_cannot_be_unpacked_makes_its_trace_incomplete_and_spares_others() {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let writer = &writing.writer;
    let sent: Vec<Span> = [(1, 1), (1, 2), (1, 3), (2, 1)].map(|(trace, id)| rich(trace, id)).to_vec();
    writer.write(writer.pack(batch(&sent))).await.unwrap();
    let spoil = "update spans set dictionary = 77 where span_id = x'0202020202020202'::bigint; \
        update spans set rest = 'no frame' where span_id = x'0303030303030303'::bigint";
    sqlx::raw_sql(spoil).execute(&database.pool).await.unwrap();
    let loaded = load(&database, 1).await;
    assert!(loaded.truncated);
    assert_eq!(spans(loaded), sent[..1]);
    let other = load(&database, 2).await;
    assert!(!other.truncated);
    assert_eq!(spans(other), sent[3..]);
}

#[tokio::test]
async fn a_database_with_another_dictionary_of_the_same_number_gets_plain_spans() {
    let database = Database::fresh().await;
    let change = sqlx::query("update dictionaries set body = 'another' where id = 1");
    assert_eq!(change.execute(&database.pool).await.unwrap().rows_affected(), 1);
    let store = Store::new(&database.options, &config::Database::default());
    store.migrate().await.unwrap();
    let database = Database { store, ..database };
    let writing = Writing::start(&database);
    writing.writer.write(writing.writer.pack(batch(&[rich(1, 1)]))).await.unwrap();
    assert_eq!(dictionaries(&database).await, [0]);
    assert_eq!(spans(load(&database, 1).await), [rich(1, 1)]);
}
