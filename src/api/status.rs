//! `/api/v1/status`: how this process and its store are, for whoever keeps it running.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use time::OffsetDateTime;

use super::Asked;
use super::error::ApiError;
use crate::clock;
use crate::telemetry::BOUNDS;
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
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    bound: &'static str,
    requests: u64,
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
    let loops = metrics.loops().into_iter().map(|one| Loop {
        name: one.name,
        last_step_at: one.last_step_at,
        failures: one.failures,
    });
    let refused = BOUNDS.into_iter().map(|bound| Refused { bound, requests: metrics.refused(bound) });
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        schema: store.schema(),
        uptime_ms: i64::try_from((clock::now() - metrics.started_at()).whole_milliseconds())
            .unwrap_or(i64::MAX),
        loops: loops.collect(),
        pending: Pending { traces: backlog.traces, lag_ms: backlog.lag_seconds * 1e3 },
        bounds: Bounds {
            in_flight_bytes: metrics.bytes_in_flight(),
            max_in_flight_bytes: config.otlp.max_in_flight.0,
            refused: refused.collect(),
        },
        storage: storage(&shown).await?,
    }))
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
