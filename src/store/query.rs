//! Questions about traces and about the whole: one trace's summary, and how much has arrived.

use time::OffsetDateTime;

use super::{Store, StoreError, TraceDays};
use crate::model::TraceId;

/// What is known of a trace beyond its spans.
#[derive(Clone, Debug)]
pub struct TraceRow {
    /// Environment of its root.
    pub environment: String,
    /// Service of its root.
    pub service: String,
    /// Operation of its root.
    pub operation: String,
    /// Start of the earliest span, nanoseconds since 1970 by its own clock.
    pub start_ns: i64,
    /// From the earliest start to the latest end.
    pub duration_ns: i64,
    /// First receipt of any of its spans.
    pub received_at: OffsetDateTime,
    /// When it was judged.
    pub evaluated_at: OffsetDateTime,
    /// Spans judged.
    pub spans: i32,
    /// Distinct services.
    pub services: i32,
    /// Spans with status error.
    pub errors: i32,
    /// Occurrences that count.
    pub occurrences: i32,
    /// Nothing of it is known to be missing.
    pub complete: bool,
    /// Oddities, one line each.
    pub defects: Vec<String>,
}

/// Where the spans of a trace lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Their days.
    pub days: TraceDays,
    /// It awaits a look, the first one or another.
    pub pending: bool,
}

/// How much has arrived, as far as the tables tell at little cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    /// Receipt of the latest spans.
    pub last_at: Option<OffsetDateTime>,
    /// Traces that await a look.
    pub pending: i64,
    /// Traces judged that were received within the last minute.
    pub traces: i64,
    /// Their spans.
    pub spans: i64,
}

impl Store {
    /// The summary of a judged trace.
    pub async fn trace(&self, id: TraceId) -> Result<Option<TraceRow>, StoreError> {
        let row = sqlx::query_as!(
            TraceRow,
            r#"
            select
                environment, service, operation, start_ns, duration_ns, received_at, evaluated_at, spans, services,
                errors, occurrences, complete, defects
            from traces
            where trace_id = $1
            order by evaluated_at desc
            limit 1
            "#,
            uuid::Uuid::from_u128(id.0),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row)
    }

    /// Where the spans of a trace lie; `None` for a trace that was never seen or is no longer kept.
    pub async fn whereabouts(&self, id: TraceId) -> Result<Option<Whereabouts>, StoreError> {
        let row = sqlx::query!(
            r#"
            select min(first_day) as first_day, max(last_day) as last_day, bool_or(pending) as pending
            from (
                select first_day, last_day, false as pending from traces where trace_id = $1
                union all
                select first_day, last_day, true from pending where trace_id = $1
            ) as known
            "#,
            uuid::Uuid::from_u128(id.0),
        )
        .fetch_one(&self.pool)
        .await?;
        let days = row.first_day.zip(row.last_day);
        Ok(days.map(|(first_day, last_day)| Whereabouts {
            days: TraceDays { trace_id: id, first_day, last_day },
            pending: row.pending.unwrap_or_default(),
        }))
    }

    /// How much has arrived.
    pub async fn arrival(&self) -> Result<Arrival, StoreError> {
        let row = sqlx::query!(
            r#"
            select
                greatest(
                    (select max(last_seen) from pending),
                    (select max(received_at) from traces)
                ) as last_at,
                (select count(*) from pending) as "pending!",
                count(*) as "traces!",
                coalesce(sum(spans), 0)::bigint as "spans!"
            from traces
            where received_at > now() - interval '1 minute'
            "#,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Arrival { last_at: row.last_at, pending: row.pending, traces: row.traces, spans: row.spans })
    }
}
