//! Questions about occurrences: what of which trace shows a finding. Only counted ones are shown; absorbed ones are
//! relations.

use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::findings::{confidence, count, millis, severity};
use super::{Store, StoreError};
use crate::findings::shape::{Cost, Occurrence};
use crate::findings::{Evidence, Fingerprint};
use crate::model::{SpanId, TraceId};

/// An occurrence, and of what.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Sighting {
    pub finding: Fingerprint,
    pub rule: String,
    pub occurrence: Occurrence,
}

/// Where a page of a finding's occurrences ends, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the key of an occurrence")]
pub struct OccurrencePlace {
    pub seen_at: OffsetDateTime,
    pub trace: TraceId,
    pub span: SpanId,
}

/// Another finding that the same trace shows at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Related {
    /// The other one.
    pub finding: Fingerprint,
    /// The other one is the one that counts, and covers this one.
    pub covers_this: bool,
}

/// One row of `occurrences`.
struct OccurrenceRow {
    rule: String,
    trace_id: Uuid,
    span_id: i64,
    fingerprint: i64,
    seen_at: OffsetDateTime,
    version: Option<String>,
    severity: i16,
    confidence: i16,
    time_ns: i64,
    calls: i32,
    bytes: i64,
    unknown_outcomes: i32,
    duplicate_effects: i32,
    exposed_calls: i32,
    why: String,
    evidence: serde_json::Value,
    not_visible: Vec<String>,
    drawing: String,
}

impl Store {
    /// Counted occurrences of a finding, newest first.
    pub async fn occurrences_of(
        &self,
        id: Fingerprint,
        since: Option<OffsetDateTime>,
        until: Option<OffsetDateTime>,
        after: Option<OccurrencePlace>,
        limit: u32,
    ) -> Result<Vec<Sighting>, StoreError> {
        let rows = sqlx::query_as!(
            OccurrenceRow,
            r#"
            select
                rule, trace_id, span_id, fingerprint, seen_at, version, severity, confidence, time_ns, calls, bytes,
                unknown_outcomes, duplicate_effects, exposed_calls, why, evidence, not_visible, drawing
            from occurrences
            where fingerprint = $1
            and counted
            and ($2::timestamptz is null or $2 <= seen_at)
            and ($3::timestamptz is null or seen_at < $3)
            and (
                $4::timestamptz is null
                or (seen_at, trace_id, span_id) < ($4, $5::uuid, $6::bigint)
            )
            order by seen_at desc, trace_id desc, span_id desc
            limit $7
            "#,
            id.0.cast_signed(),
            since,
            until,
            after.map(|place| place.seen_at),
            after.map(|place| Uuid::from_u128(place.trace.0)),
            after.map(|place| place.span.0.cast_signed()),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(sighting).collect()
    }

    /// Counted occurrences of one trace, worst first.
    pub async fn occurrences_in(&self, trace: TraceId, limit: u32) -> Result<Vec<Sighting>, StoreError> {
        let rows = sqlx::query_as!(
            OccurrenceRow,
            r#"
            select
                rule, trace_id, span_id, fingerprint, seen_at, version, severity, confidence, time_ns, calls, bytes,
                unknown_outcomes, duplicate_effects, exposed_calls, why, evidence, not_visible, drawing
            from occurrences
            where trace_id = $1
            and counted
            order by severity desc, fingerprint, span_id
            limit $2
            "#,
            Uuid::from_u128(trace.0),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(sighting).collect()
    }

    /// Findings that `trace` shows at the same place as `id`: one covers the other.
    pub async fn related_in(&self, trace: TraceId, id: Fingerprint) -> Result<Vec<Related>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select distinct fingerprint, absorbed_by as "absorbed_by!"
            from occurrences
            where trace_id = $1
            and absorbed_by is not null
            and (fingerprint = $2 or absorbed_by = $2)
            order by fingerprint, 2
            limit 20
            "#,
            Uuid::from_u128(trace.0),
            id.0.cast_signed(),
        )
        .fetch_all(&self.pool)
        .await?;
        let related = rows.into_iter().map(|row| {
            let covers_this = row.fingerprint == id.0.cast_signed();
            let other = if covers_this { row.absorbed_by } else { row.fingerprint };
            Related { finding: Fingerprint(other.cast_unsigned()), covers_this }
        });
        Ok(related.collect())
    }
}

fn sighting(row: OccurrenceRow) -> Result<Sighting, StoreError> {
    let evidence = Vec::<Evidence>::deserialize(row.evidence)
        .map_err(|error| StoreError::Invariant(format!("stored evidence cannot be read: {error}")))?;
    let occurrence = Occurrence {
        trace_id: TraceId(row.trace_id.as_u128()).to_string(),
        span_id: SpanId(row.span_id.cast_unsigned()).to_string(),
        seen_at: Some(row.seen_at),
        version: row.version,
        severity: severity(row.severity)?,
        confidence: confidence(row.confidence)?,
        cost: Cost {
            time_ms: millis(row.time_ns),
            calls: count(row.calls.into()),
            bytes: row.bytes.max(0).cast_unsigned(),
            unknown_outcomes: count(row.unknown_outcomes.into()),
            duplicate_effects: count(row.duplicate_effects.into()),
            exposed_calls: count(row.exposed_calls.into()),
        },
        why: row.why,
        evidence,
        not_visible: row.not_visible,
        drawing: row.drawing,
    };
    Ok(Sighting { finding: Fingerprint(row.fingerprint.cast_unsigned()), rule: row.rule, occurrence })
}
