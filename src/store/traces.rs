//! Questions about many traces: which were judged lately, of which service, how slow, with what found in them.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::findings::Fingerprint;
use crate::model::TraceId;

/// Which traces. Empty lists and `None` mean "any".
#[derive(Clone, Debug, Default)]
pub struct WantedTraces {
    /// One of these had a unit in it.
    pub services: Vec<String>,
    /// What one of them did there; without services, what anybody did.
    pub operation: Option<String>,
    /// Shortest length in nanoseconds.
    pub min_ns: Option<i64>,
    /// Greatest length in nanoseconds.
    pub max_ns: Option<i64>,
    /// Some span of it failed.
    pub error: bool,
    /// It shows this finding.
    pub finding: Option<Fingerprint>,
    /// One of these rules found something in it.
    pub rules: Vec<String>,
    /// Received at or after.
    pub since: Option<OffsetDateTime>,
    /// Received before.
    pub until: Option<OffsetDateTime>,
}

/// Where a page of traces ends, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the key of the list")]
pub struct TracePlace {
    pub received_at: OffsetDateTime,
    pub trace: TraceId,
}

/// A judged trace in a list.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented at query::TraceRow")]
pub struct ListedTrace {
    pub trace_id: Uuid,
    pub environment: String,
    pub service: String,
    pub operation: String,
    pub start_ns: i64,
    pub duration_ns: i64,
    pub received_at: OffsetDateTime,
    pub spans: i32,
    pub services: i32,
    pub errors: i32,
    pub occurrences: i32,
    pub complete: bool,
}

impl Store {
    /// Judged traces, newest first by receipt, at most `limit`, after `after`. `selftest` traces are shown only to whoever
    /// asks for their service.
    pub async fn list_traces(
        &self,
        wanted: &WantedTraces,
        after: Option<TracePlace>,
        limit: u32,
    ) -> Result<Vec<ListedTrace>, StoreError> {
        let rows = sqlx::query_as!(
            ListedTrace,
            r#"
            select
                t.trace_id, t.environment, t.service, t.operation, t.start_ns, t.duration_ns, t.received_at, t.spans,
                t.services, t.errors, t.occurrences, t.complete
            from traces t
            where ($1::timestamptz is null or $1 <= t.received_at)
                and ($2::timestamptz is null or t.received_at < $2)
                and ($3::timestamptz is null or (t.received_at, t.trace_id) < ($3, $4::uuid))
                and (
                    (cardinality($5::text[]) = 0 and $6::text is null and t.service <> 'debunk.selftest')
                    or exists (
                        select
                        from units u
                        where u.trace_id = t.trace_id
                            and (cardinality($5) = 0 or u.service = any($5))
                            and ($6 is null or u.operation = $6)
                    )
                )
                and ($7::bigint is null or $7 <= t.duration_ns)
                and ($8::bigint is null or t.duration_ns <= $8)
                and (not $9 or t.errors > 0)
                and ($10::bigint is null or exists (
                    select
                    from occurrences o
                    where o.trace_id = t.trace_id and o.fingerprint = $10 and o.counted
                ))
                and (cardinality($11::text[]) = 0 or exists (
                    select
                    from occurrences o
                    where o.trace_id = t.trace_id and o.rule = any($11) and o.counted
                ))
            order by t.received_at desc, t.trace_id desc
            limit $12
            "#,
            wanted.since,
            wanted.until,
            after.map(|place| place.received_at),
            after.map(|place| Uuid::from_u128(place.trace.0)),
            &wanted.services,
            wanted.operation,
            wanted.min_ns,
            wanted.max_ns,
            wanted.error,
            wanted.finding.map(|id| id.0.cast_signed()),
            &wanted.rules,
            i64::from(limit)
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows)
    }
}
