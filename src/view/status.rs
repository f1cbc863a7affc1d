//! How this process and its store are, for whoever keeps it running: the same for `/api/v1/status` and the page.

use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{Failure, Shown};
use crate::clock;
use crate::config::{Config, MOST_CONNECTIONS};
use crate::telemetry::{BOUNDS, Clients, Metrics, Sent};

/// How it is.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceStatus)]
pub struct Status {
    /// Of this program.
    pub version: &'static str,
    /// Number of the newest migration; null while the database is waited for.
    pub schema: Option<i64>,
    /// Since this process started.
    pub uptime_ms: i64,
    /// What goes on by itself in this process.
    pub loops: Vec<Loop>,
    /// Judging, by all replicas.
    pub pending: Pending,
    /// What requests may hold at once in this process, and what was refused since it started.
    pub bounds: Bounds,
    /// How spans ended that this process was sent since it started.
    pub spans: Spans,
    /// Who sent them, the loudest first.
    pub clients: Vec<Client>,
    /// Those that made room in the list for others; absent while all are in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_clients: Option<FormerClients>,
    /// What is kept, and how much room it takes.
    pub storage: Storage,
}

#[derive(Serialize, ToSchema)]
pub struct Loop {
    pub name: &'static str,
    /// End of the last step that went well; null before the first.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_step_at: Option<OffsetDateTime>,
    pub failures: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Pending {
    pub traces: i64,
    /// Milliseconds that the trace longest due is late.
    pub lag_ms: f64,
}

#[derive(Serialize, ToSchema)]
pub struct Bounds {
    pub in_flight_bytes: i64,
    pub max_in_flight_bytes: u64,
    /// Open now; more than `max_connections` at one door wait until others end.
    pub grpc_connections: i64,
    pub http_connections: i64,
    pub max_connections: usize,
    pub refused: Vec<Refused>,
}

#[derive(Serialize, ToSchema)]
pub struct Refused {
    pub bound: &'static str,
    pub requests: u64,
    /// Taken of it now, and what there is; absent where it is no amount, or nobody counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub struct Spans {
    pub stored: u64,
    /// Sent again; they count once.
    pub duplicate: u64,
    pub rejected: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Client {
    #[schema(value_type = String)]
    pub address: IpAddr,
    #[serde(with = "time::serde::rfc3339")]
    pub last_request_at: OffsetDateTime,
    #[serde(flatten)]
    pub counts: Counts,
}

#[derive(Serialize, ToSchema)]
pub struct FormerClients {
    pub clients: u64,
    #[serde(flatten)]
    pub counts: Counts,
}

/// What a client sent.
#[derive(Serialize, ToSchema)]
pub struct Counts {
    pub requests: u64,
    pub refused_requests: u64,
    pub rejected_requests: u64,
    pub stored_spans: u64,
    pub duplicate_spans: u64,
    pub rejected_spans: u64,
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

#[derive(Serialize, ToSchema)]
pub struct Storage {
    pub bytes: i64,
    pub max_bytes: u64,
    pub tables: Vec<Table>,
    /// Of what lies in days, oldest first.
    pub days: Vec<Day>,
}

#[derive(Serialize, ToSchema)]
pub struct Table {
    pub table: String,
    pub bytes: i64,
}

#[derive(Serialize, ToSchema)]
pub struct Day {
    pub day: String,
    pub bytes: i64,
}

impl Shown {
    /// How it is now.
    pub async fn status(&self) -> Result<Status, Failure> {
        let (store, config, metrics) = (&self.store, &self.config, &self.metrics);
        let backlog = store.backlog(config.traces.quiet_period.0).await?;
        let clients = metrics.clients();
        let loops = metrics.loops().into_iter().map(|one| Loop {
            name: one.name,
            last_step_at: one.last_step_at,
            failures: one.failures,
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            schema: store.schema(),
            uptime_ms: i64::try_from((clock::now() - metrics.started_at()).whole_milliseconds())
                .unwrap_or(i64::MAX),
            loops: loops.collect(),
            pending: Pending { traces: backlog.traces, lag_ms: (backlog.lag_seconds * 1e6).round() / 1e3 },
            bounds: bounds(config, metrics),
            spans: Spans {
                stored: metrics.spans_so_far("stored"),
                duplicate: metrics.spans_so_far("duplicate"),
                rejected: metrics.spans_so_far("rejected"),
            },
            clients: by_loudness(&clients),
            former_clients: (0 < clients.others.0)
                .then(|| FormerClients { clients: clients.others.0, counts: clients.others.1.into() }),
            storage: storage(self).await?,
        })
    }
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

async fn storage(shown: &Shown) -> Result<Storage, Failure> {
    let tables = shown.store.storage().await?;
    let days = shown.store.storage_days().await?;
    Ok(Storage {
        bytes: tables.iter().map(|(_, bytes)| bytes).sum(),
        max_bytes: shown.config.retention.max_size.0,
        tables: tables.into_iter().map(|(table, bytes)| Table { table, bytes }).collect(),
        days: days.into_iter().map(|(day, bytes)| Day { day: day.to_string(), bytes }).collect(),
    })
}
