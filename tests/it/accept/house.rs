//! A door on a real database.

use std::net::SocketAddr;
use std::time::Duration;

use debunk::config;
use debunk::otlp::{self, Door, Own};
use debunk::store::{Store, Writer};
use debunk::telemetry::Metrics;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::database::Database;
use crate::support::stored::spans_with;
use crate::support::transport::PATIENCE;
pub(super) use crate::support::transport::{
    Answer, Doors, EXPORT, PACKINGS, Packing, TRANSPORTS, Transport, call, call_at, client, http2_client,
    slow_body,
};

impl From<&House> for Doors {
    fn from(house: &House) -> Self {
        Self { grpc: house.grpc, http: house.http }
    }
}

/// Both listeners of a door, with or without a database behind it.
pub(super) struct House {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) metrics: Metrics,
    database: Option<Database>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl House {
    pub(super) async fn open() -> Self {
        Self::with(config::Otlp::default()).await
    }

    pub(super) async fn with(otlp: config::Otlp) -> Self {
        let database = Database::fresh().await;
        let store = database.store.clone();
        Self { database: Some(database), ..Self::on(store, otlp).await }
    }

    /// Another door before the same database.
    pub(super) async fn replica(&self, otlp: config::Otlp) -> Self {
        Self::on(self.database.as_ref().unwrap().store.clone(), otlp).await
    }

    /// Nobody listens where the database should be.
    pub(super) async fn without_database() -> Self {
        let nowhere = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1).username("nobody");
        let settings =
            config::Database { connect_timeout: config::Period::secs(1), ..config::Database::default() };
        Self::on(Store::new(&nowhere, &settings), config::Otlp::default()).await
    }

    async fn on(store: Store, limits: config::Otlp) -> Self {
        let metrics = Metrics::new();
        let (writer, work) = Writer::start(store.clone(), metrics.clone(), 64 << 20);
        let week = Duration::from_hours(7 * 24);
        let door = Door::new(&limits, Own::Rejected, week, store, writer, metrics.clone());
        let [one, other] = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
        let (one, other) = (one.unwrap(), other.unwrap());
        let (grpc, http) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let stop = watch::Sender::new(false);
        let stopped = |mut stop: watch::Receiver<bool>| async move {
            stop.wait_for(|stop| *stop).await.unwrap();
        };
        let (first, second) = (stopped(stop.subscribe()), stopped(stop.subscribe()));
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        let grpc_door = std::sync::Arc::clone(&door);
        tasks.spawn(async move { otlp::grpc::serve(grpc_door, one, first).await.unwrap() });
        tasks.spawn(async move { otlp::http::serve(door, other, second).await.unwrap() });
        Self { grpc, http, metrics, database: None, stop, tasks }
    }

    /// What it stores in.
    pub(super) fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    /// Spans that are stored.
    pub(super) async fn stored(&self) -> i64 {
        let pool = &self.database.as_ref().unwrap().pool;
        sqlx::query_scalar("select count(*) from spans").fetch_one(pool).await.unwrap()
    }

    /// Spans that are stored and began since yesterday.
    pub(super) async fn stored_since_yesterday(&self) -> i64 {
        let pool = &self.database.as_ref().unwrap().pool;
        let query =
            "select count(*) from spans where to_timestamp(start_ns / 1e9) > now() - interval '1 day'";
        sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
    }

    /// Spans that are stored with this text in them.
    pub(super) async fn stored_with(&self, text: &str) -> usize {
        spans_with(&self.database.as_ref().unwrap().options, text).await
    }

    /// The value of a metric.
    pub(super) fn metric(&self, name: &str) -> Option<String> {
        let text = self.metrics.expose();
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next().map(ToOwned::to_owned)
    }

    /// Tells both listeners and the writers to end, and waits for them.
    pub(super) async fn close(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
    }
}

/// Spans of one trace, as an SDK would send them.
pub(super) fn request(trace: u8, count: u64) -> ExportTraceServiceRequest {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    let start = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let start = start.unix_timestamp_nanos() as u64;
    let span = |number: u64| Span {
        trace_id: vec![trace; 16],
        span_id: number.to_be_bytes().to_vec(),
        name: format!("GET /{number}"),
        kind: 2,
        start_time_unix_nano: start + number * 1_000_000,
        end_time_unix_nano: start + number * 1_000_000 + 500_000,
        attributes: vec![attribute("http.request.method", "GET"), attribute("url.path", "/")],
        ..Span::default()
    };
    let resource = Resource { attributes: vec![attribute("service.name", "shop")], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans: (1..=count).map(span).collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
            ..ResourceSpans::default()
        }],
    }
}

pub(super) fn spans(request: &mut ExportTraceServiceRequest) -> &mut Vec<Span> {
    &mut request.resource_spans[0].scope_spans[0].spans
}
