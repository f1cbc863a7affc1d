//! `/api/v1/status`: how this process and its store are, for whoever keeps it running.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use time::OffsetDateTime;

use super::Asked;
use super::error::ApiError;
use crate::clock;
use crate::config::Config;
use crate::otlp::MOST_CONNECTIONS;
use crate::telemetry::{BOUNDS, Clients, Metrics, Sent};
use crate::view::Shown;

/// How it is.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// Number of the newest migration; null while the database is waited for.
    schema: Option<i64>,
    uptime_ms: i64,
    /// What goes on by itself in this process.
    loops: Vec<Loop>,
    /// Judging, by all replicas.
    pending: Pending,
    /// What requests may hold at once in this process, and what was refused since it started.
    bounds: Bounds,
    /// How spans ended that this process was sent since it started.
    spans: Spans,
    /// Who sent them, the loudest first.
    clients: Vec<Client>,
    /// Those that made room in the list for others; absent while all are in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    former_clients: Option<FormerClients>,
    storage: Storage,
}

#[derive(Serialize)]
struct Loop {
    name: &'static str,
    /// End of the last step that went well; null before the first.
    #[serde(with = "time::serde::rfc3339::option")]
    last_step_at: Option<OffsetDateTime>,
    failures: u64,
}

#[derive(Serialize)]
struct Pending {
    traces: i64,
    /// Milliseconds that the trace longest due is late.
    lag_ms: f64,
}

#[derive(Serialize)]
struct Bounds {
    in_flight_bytes: i64,
    max_in_flight_bytes: u64,
    /// Open now; more than `max_connections` at one door wait until others end.
    grpc_connections: i64,
    http_connections: i64,
    max_connections: usize,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    bound: &'static str,
    requests: u64,
    /// Taken of it now, and what there is; absent where it is no amount, or nobody counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<u64>,
}

#[derive(Serialize)]
struct Spans {
    stored: u64,
    /// Sent again; they count once.
    duplicate: u64,
    rejected: u64,
}

#[derive(Serialize)]
struct Client {
    address: IpAddr,
    #[serde(with = "time::serde::rfc3339")]
    last_request_at: OffsetDateTime,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct FormerClients {
    clients: u64,
    #[serde(flatten)]
    counts: Counts,
}

/// What a client sent.
#[derive(Serialize)]
struct Counts {
    requests: u64,
    refused_requests: u64,
    rejected_requests: u64,
    stored_spans: u64,
    duplicate_spans: u64,
    rejected_spans: u64,
}

impl From<Sent> for Counts {
    fn from(sent: Sent) -> Self {
        Self {
            requests: sent.requests,
            refused_requests: sent.refused,
            rejected_requests: sent.rejected,
            stored_spans: sent.stored,
            duplicate_spans: sent.duplicates,
            rejected_spans: sent.rejected_spans,
        }
    }
}

#[derive(Serialize)]
struct Storage {
    bytes: i64,
    max_bytes: u64,
    tables: Vec<Table>,
    /// Of what lies in days, oldest first.
    days: Vec<Day>,
}

#[derive(Serialize)]
struct Table {
    table: String,
    bytes: i64,
}

#[derive(Serialize)]
struct Day {
    day: String,
    bytes: i64,
}

/// Answers `GET /status`.
pub(super) async fn show(State(shown): State<Shown>, asked: Asked) -> Result<Json<Status>, ApiError> {
    asked.nothing()?;
    let (store, config, metrics) = (&shown.store, &shown.config, &shown.metrics);
    let backlog = store.backlog(config.traces.quiet_period.0).await?;
    let clients = metrics.clients();
    let loops = metrics.loops().into_iter().map(|one| Loop {
        name: one.name,
        last_step_at: one.last_step_at,
        failures: one.failures,
    });
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        schema: store.schema(),
        uptime_ms: i64::try_from((clock::now() - metrics.started_at()).whole_milliseconds())
            .unwrap_or(i64::MAX),
        loops: loops.collect(),
        pending: Pending { traces: backlog.traces, lag_ms: backlog.lag_seconds * 1e3 },
        bounds: bounds(config, metrics),
        spans: Spans {
            stored: metrics.spans_so_far("stored"),
            duplicate: metrics.spans_so_far("duplicate"),
            rejected: metrics.spans_so_far("rejected"),
        },
        clients: by_loudness(&clients),
        former_clients: (0 < clients.others.0)
            .then(|| FormerClients { clients: clients.others.0, counts: clients.others.1.into() }),
        storage: storage(&shown).await?,
    }))
}

fn bounds(config: &Config, metrics: &Metrics) -> Bounds {
    let refused = BOUNDS.into_iter().map(|bound| {
        let (used, most) = match bound {
            "bytes" => (u64::try_from(metrics.bytes_in_flight()).ok(), Some(config.otlp.max_in_flight.0)),
            "streams" => (None, Some(config.otlp.max_streams.into())),
            "trace_size" => (None, Some(config.otlp.max_spans_per_trace.into())),
            _ => (None, None),
        };
        Refused { bound, requests: metrics.refused(bound), used, most }
    });
    Bounds {
        in_flight_bytes: metrics.bytes_in_flight(),
        max_in_flight_bytes: config.otlp.max_in_flight.0,
        grpc_connections: metrics.connections("grpc"),
        http_connections: metrics.connections("http"),
        max_connections: MOST_CONNECTIONS,
        refused: refused.collect(),
    }
}

fn by_loudness(clients: &Clients) -> Vec<Client> {
    let client = |(address, (sent, last)): (&IpAddr, &(Sent, OffsetDateTime))| Client {
        address: *address,
        last_request_at: *last,
        counts: (*sent).into(),
    };
    let mut all: Vec<Client> = clients.by_address.iter().map(client).collect();
    all.sort_by_key(|client| std::cmp::Reverse(client.counts.requests));
    all
}

async fn storage(shown: &Shown) -> Result<Storage, ApiError> {
    let tables = shown.store.storage().await?;
    let days = shown.store.storage_days().await?;
    Ok(Storage {
        bytes: tables.iter().map(|(_, bytes)| bytes).sum(),
        max_bytes: shown.config.retention.max_size.0,
        tables: tables.into_iter().map(|(table, bytes)| Table { table, bytes }).collect(),
        days: days.into_iter().map(|(day, bytes)| Day { day: day.to_string(), bytes }).collect(),
    })
}
