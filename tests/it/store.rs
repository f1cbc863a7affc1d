//! The store on a real PostgreSQL.

mod accept;
mod churn;
mod days;
mod decide;
mod forget;
mod judge;
mod life;
mod outage;
mod packed;
mod room;
mod ways;

use std::time::Duration;

use debunk::store::{self, Days, Store, Writer};
use debunk::telemetry::Metrics;
use debunk::{clock, config};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::task::JoinSet;

use crate::support::database::Database;

/// A writer at work; its tasks end with it.
struct Writing {
    writer: Writer,
    _tasks: JoinSet<()>,
}

impl Writing {
    fn start(database: &Database) -> Self {
        let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 64 << 20);
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        Self { writer, _tasks: tasks }
    }
}

fn days() -> Days {
    Days::new(clock::now().date(), Duration::from_hours(7 * 24))
}

/// A span of an hour ago; the ids are the numbers repeated.
fn span(trace: u8, id: u8, name: &str) -> Span {
    let start = (clock::now().replace_nanosecond(0).unwrap().unix_timestamp() as u64 - 3_600) / 600 * 600;
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: start * 1_000_000_000,
        end_time_unix_nano: start * 1_000_000_000 + 5_000_000,
        ..Span::default()
    }
}

fn export(spans: Vec<Span>) -> Vec<ResourceSpans> {
    let name = AnyValue { value: Some(any_value::Value::StringValue("shop".to_owned())) };
    let resource = Resource {
        attributes: vec![KeyValue {
            key: "service.name".to_owned(),
            value: Some(name),
            ..KeyValue::default()
        }],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "test".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }]
}

#[tokio::test]
async fn a_fresh_database_is_migrated_and_answers() {
    let database = Database::fresh().await;
    assert!(database.store.is_prepared());
    database.store.ping().await.unwrap();
    let views: i64 = sqlx::query_scalar(
        "select count(*) from information_schema.views where table_schema = 'debunk_views'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(views, 8);
}

#[tokio::test]
async fn the_url_of_a_database_reaches_it() {
    let database = Database::fresh().await;
    let settings =
        config::Database { url: config::Secret::new(database.url()), ..config::Database::default() };
    let options = store::address(&settings).unwrap().unwrap();
    assert_eq!(options.get_database(), database.options.get_database());
    Store::new(&options, &settings).ping().await.unwrap();
}

#[tokio::test]
async fn without_a_url_there_is_no_address() {
    assert!(store::address(&config::Database::default()).unwrap().is_none());
    let wrong =
        config::Database { url: config::Secret::new("hunter2".into()), ..config::Database::default() };
    let error = store::address(&wrong).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}
