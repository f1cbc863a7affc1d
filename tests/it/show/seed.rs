//! Findings, occurrences and spans to look at, put straight into the tables.

use axum::Router;
use debunk::alert::Receivers;
use debunk::config::Config;
use debunk::store::{Days, Writer};
use debunk::telemetry::Metrics;
use debunk::view::Shown;
use debunk::{api, clock, web};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

use crate::support::database::Database;

/// One row of `findings`; what a test does not care about is filled in.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) id: i64,
    pub(super) rule: &'static str,
    pub(super) fallacy: &'static str,
    pub(super) status: &'static str,
    pub(super) severity: i16,
    pub(super) confidence: i16,
    pub(super) environment: &'static str,
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) callee: Option<String>,
    pub(super) headline: String,
    pub(super) occurrences: i64,
    pub(super) first_seen: OffsetDateTime,
    pub(super) last_seen: OffsetDateTime,
}

/// One row of `occurrences`.
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) finding: i64,
    pub(super) seen_at: OffsetDateTime,
    pub(super) absorbed_by: Option<i64>,
    pub(super) why: String,
    pub(super) evidence: serde_json::Value,
    pub(super) not_visible: Vec<String>,
    pub(super) drawing: String,
}

/// A fixed instant of today's retention window, so that snapshots and ages agree.
pub(super) fn minutes_ago(minutes: i64) -> OffsetDateTime {
    (clock::now() - Duration::minutes(minutes)).replace_nanosecond(0).unwrap()
}

impl Default for Finding {
    fn default() -> Self {
        Self {
            id: 1,
            rule: "n_plus_one",
            fallacy: "transport_cost_is_zero",
            status: "open",
            severity: 3,
            confidence: 3,
            environment: "production",
            service: "shop".to_owned(),
            operation: "GET /cart".to_owned(),
            callee: Some("postgresql".to_owned()),
            headline: "`SELECT item` is called once per item".to_owned(),
            occurrences: 7,
            first_seen: minutes_ago(90),
            last_seen: minutes_ago(1),
        }
    }
}

impl Default for Occurrence {
    fn default() -> Self {
        Self {
            trace: 0xabc0_0000_0000_0000_0000_0000_0000_0001,
            span: 1,
            finding: 1,
            seen_at: minutes_ago(1),
            absorbed_by: None,
            why: "12 calls of `SELECT item`, one after another, took 96 ms of 130 ms".to_owned(),
            evidence: serde_json::json!([
                {"span_id": "0000000000000001", "role": "unit", "service": "shop", "operation": "GET /cart",
                 "offset_ms": 0.0, "duration_ms": 130.0, "note": ""},
                {"span_id": "0000000000000002", "role": "call", "service": "shop", "operation": "SELECT item",
                 "offset_ms": 10.0, "duration_ms": 8.0, "note": "first of 12"}
            ]),
            not_visible: vec!["The statement's arguments are hidden.".to_owned()],
            drawing: "|====| shop  server  GET /cart\n| =  |   shop  db  SELECT item   <<\n".to_owned(),
        }
    }
}

pub(super) async fn finding(database: &Database, row: &Finding) {
    sqlx::query(
        "insert into findings (fingerprint, rule, fallacy, variant, environment, service, operation, callee, headline,
             status, severity, confidence, time_ns, calls, occurrences, traces, first_seen, last_seen, opened_at)
         values ($1, $2, $3, 'db', $4, $5, $6, $7, $8, $9, $10, $11, 88000000, 11, $12, $12, $13, $14,
             case when $9 = 'open' then $13 end)",
    )
    .bind(row.id)
    .bind(row.rule)
    .bind(row.fallacy)
    .bind(row.environment)
    .bind(&row.service)
    .bind(&row.operation)
    .bind(&row.callee)
    .bind(&row.headline)
    .bind(row.status)
    .bind(row.severity)
    .bind(row.confidence)
    .bind(row.occurrences)
    .bind(row.first_seen)
    .bind(row.last_seen)
    .execute(&database.pool)
    .await
    .unwrap();
}

pub(super) async fn occurrence(database: &Database, row: &Occurrence) {
    sqlx::query("select debunk_ensure_day(current_date)").execute(&database.pool).await.unwrap();
    sqlx::query(
        "insert into occurrences (day, trace_id, fingerprint, span_id, seen_at, absorbed_by, time_ns, bytes, calls,
             unknown_outcomes, duplicate_effects, exposed_calls, severity, confidence, counted, rule, version, why,
             evidence, not_visible, drawing)
         values (current_date, $1, $2, $3, $4, $5, 88000000, 0, 11, 0, 0, 0, 3, 3, $5 is null, 'n_plus_one', '2.3.1',
             $6, $7, $8, $9)",
    )
    .bind(sqlx::types::Uuid::from_u128(row.trace))
    .bind(row.finding)
    .bind(row.span.cast_signed())
    .bind(row.seen_at)
    .bind(row.absorbed_by)
    .bind(&row.why)
    .bind(&row.evidence)
    .bind(&row.not_visible)
    .bind(&row.drawing)
    .execute(&database.pool)
    .await
    .unwrap();
}

/// A judged trace's summary; its spans are written by `spans`.
pub(super) async fn judged(database: &Database, trace: u128) {
    sqlx::query("select debunk_ensure_day(current_date)").execute(&database.pool).await.unwrap();
    sqlx::query(
        "insert into traces (day, trace_id, first_day, last_day, start_ns, duration_ns, received_at, evaluated_at, spans,
             services, errors, occurrences, looks, complete, environment, service, operation, defects)
         values (current_date, $1, current_date - 1, current_date, 0, 0, now() - interval '1 minute', now(), 3, 2, 0, 1,
             1, true, 'production', 'shop', 'GET /cart', '{}')",
    )
    .bind(sqlx::types::Uuid::from_u128(trace))
    .execute(&database.pool)
    .await
    .unwrap();
    sqlx::query("delete from pending where trace_id = $1")
        .bind(sqlx::types::Uuid::from_u128(trace))
        .execute(&database.pool)
        .await
        .unwrap();
}

/// Units of `shop`, as many as asked for, of which the first failed; each asks `payment` and `redis` once.
pub(super) async fn traffic(database: &Database, trace: u128, units: i64) {
    sqlx::query("select debunk_ensure_day(current_date)").execute(&database.pool).await.unwrap();
    let trace = sqlx::types::Uuid::from_u128(trace);
    sqlx::query(
        "insert into units (day, trace_id, span_id, received_at, duration_ns, root, orphan, kind, outcome, environment,
             service, operation, instance, version)
         select current_date, $1, n, now(), n * 1000000, true, false, 'server', case when n = 1 then 'error' else 'ok' end,
             'production', 'shop', 'GET /cart', 'shop-1', '2.3.1'
         from generate_series(1, $2::bigint) n",
    )
    .bind(trace)
    .bind(units)
    .execute(&database.pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into calls (day, trace_id, span_id, unit_span_id, received_at, duration_ns, attempts, role, class, outcome,
             effect, environment, caller, callee, operation)
         select current_date, $1, n, n, now(), 2000000, 1, 'client', 'safe', 'ok', 'applied', 'production', 'shop', callee,
             operation
         from generate_series(1, $2::bigint) n,
             (values ('payment', 'POST /charge'), ('redis', 'GET')) as asked (callee, operation)",
    )
    .bind(trace)
    .bind(units)
    .execute(&database.pool)
    .await
    .unwrap();
}

/// A span of `trace`; times in milliseconds since a minute ago.
pub(super) fn span(trace: u128, id: u64, parent: u64, name: &str, start_ms: u64, length_ms: u64) -> Span {
    let minute = clock::now().unix_timestamp() as u64 / 60 * 60 - 60;
    let start = minute * 1_000_000_000 + start_ms * 1_000_000;
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
        name: name.to_owned(),
        kind: if parent == 0 { 2 } else { 3 },
        start_time_unix_nano: start,
        end_time_unix_nano: start + length_ms * 1_000_000,
        ..Span::default()
    }
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

pub(super) fn event(name: &str, attributes: Vec<KeyValue>) -> span::Event {
    span::Event { name: name.to_owned(), attributes, ..span::Event::default() }
}

pub(super) fn error(message: &str) -> Status {
    Status { message: message.to_owned(), code: 2 }
}

/// Stores spans of one service as an exporter's would be.
pub(super) async fn spans(database: &Database, service: &str, spans: Vec<Span>) {
    let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 64 << 20);
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    let scope = InstrumentationScope { name: "test".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let export = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    let days = Days::new(clock::now().date(), std::time::Duration::from_hours(7 * 24));
    writer.write(debunk::store::encode(vec![export], &days)).await.unwrap();
}

/// Everything that is shown, over one database.
pub(super) fn routes(database: &Database, config: Config) -> Router {
    let receivers = Receivers::open(&config.receivers, &config.server.public_url).unwrap();
    let shown = Shown {
        store: database.store.clone(),
        metrics: Metrics::new(),
        config: config.into(),
        receivers: receivers.into(),
    };
    api::router(shown.clone()).merge(web::router(shown))
}
