//! A change of a finding is written down, and becomes one row of the outbox for each receiver that wants to hear of it,
//! in the transaction that makes the change. Of what is muted nobody hears.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::error::StoreError;
use super::super::findings::{read, severity};
use super::{Tell, TryError};
use crate::findings::life::{Event, Status};
use crate::findings::shape::Handling;
use crate::model::TraceId;
use crate::rules::Severity;
use crate::store::{Change, Example};

/// A change that was just written to the row of its finding.
pub(in crate::store) struct Moved {
    pub(in crate::store) fingerprint: i64,
    pub(in crate::store) event: Event,
    pub(in crate::store) at: OffsetDateTime,
    /// `None` for a finding that was never seen before.
    pub(in crate::store) previous: Option<(Status, Severity)>,
}

/// What receivers are told of a finding beside the finding itself.
pub(in crate::store) struct Told {
    /// Severity that people were last told.
    pub(in crate::store) severity: Option<Severity>,
    pub(in crate::store) example: Option<Example>,
}

/// One row of the log, and one for each receiver. The payload is fixed now; every try sends the same.
pub(in crate::store) async fn put_into_outbox(
    connection: &mut PgConnection,
    moved: Moved,
    tell: Tell<'_>,
) -> Result<(), TryError> {
    let finding = read(&mut *connection, moved.fingerprint, "")
        .await?
        .ok_or_else(|| StoreError::Invariant("a finding vanished under its lock".to_owned()))?;
    write_down(&mut *connection, &moved).await?;
    if finding.claim.handling == Handling::Muted && moved.event != Event::Muted {
        return Ok(());
    }
    let known = told_of(&mut *connection, &[moved.fingerprint]).await?.remove(&moved.fingerprint);
    let Told { severity, example } =
        known.ok_or_else(|| StoreError::Invariant("a finding vanished under its lock".to_owned()))?;
    // What is not open any more was told of before.
    let told =
        severity.or_else(|| moved.previous.map(|(_, severity)| severity)).unwrap_or(finding.claim.severity);
    let change =
        Change { event: moved.event, at: moved.at, finding, told, previous: moved.previous, example };
    let told = tell(&change);
    let ids: Vec<Uuid> = told.iter().map(|_| Uuid::now_v7()).collect();
    let (receivers, payloads): (Vec<String>, Vec<String>) =
        told.into_iter().map(|new| (new.receiver, new.payload)).unzip();
    sqlx::query!(
        r#"
        insert into deliveries (
            id, receiver, event, fingerprint, transition, payload, next_attempt_at, created_at
        )
        select w.id, w.receiver, $4, f.fingerprint, f.transition, w.payload, now(), now()
        from unnest($1::uuid[], $2::text[], $3::text[]) as w (id, receiver, payload)
        cross join findings f
        where f.fingerprint = $5
        on conflict (receiver, fingerprint, transition) do nothing
        "#,
        &ids,
        &receivers,
        &payloads,
        moved.event.id(),
        moved.fingerprint
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_down(connection: &mut PgConnection, moved: &Moved) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into changes (fingerprint, transition, event, reason, severity, changed_at)
        select fingerprint, transition, $2, $3, severity, $4 from findings where fingerprint = $1
        on conflict do nothing
        "#,
        moved.fingerprint,
        moved.event.id(),
        moved.event.reason(),
        moved.at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is told beside these findings, by fingerprint. One that is gone is left out.
pub(in crate::store) async fn told_of(
    connection: &mut PgConnection,
    ids: &[i64],
) -> Result<BTreeMap<i64, Told>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select f.fingerprint, f.told_severity, f.example_trace_id, o.why as "why?"
        from findings f
        left join occurrences o
            on o.day = f.example_day
            and o.trace_id = f.example_trace_id
            and o.fingerprint = f.fingerprint
            and o.span_id = f.example_span_id
        where f.fingerprint = any($1)
        "#,
        ids
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| {
        let example = row.example_trace_id.zip(row.why);
        let example = example.map(|(trace, why)| Example { trace_id: TraceId(trace.as_u128()), why });
        Ok((row.fingerprint, Told { severity: row.told_severity.map(severity).transpose()?, example }))
    });
    rows.collect()
}
