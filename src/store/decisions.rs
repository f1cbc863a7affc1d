//! What people decided about findings: written with what it changes, under the lock of the finding, and never edited.

use std::str::FromStr;

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::findings::{severity, word};
use super::judged::{Moved, Tell, put_into_outbox};
use super::{Store, StoreError};
use crate::findings::Fingerprint;
use crate::findings::decision::{Action, Decision, DoesNotApply, Outcome, Reason, decide};
use crate::findings::life::{Event, Status};
use crate::findings::shape::Handling;
use crate::rules::Severity;

/// Mutes that one step ends, so that none holds locks for long.
const BATCH: i64 = 200;

/// What became of a decision.
#[derive(Clone, Debug)]
pub enum Decided {
    /// It holds, and stands in the log.
    Done(DecisionRow),
    /// The finding is not in a state for it; nothing was changed.
    DoesNotApply(DoesNotApply),
    /// Nothing has that id.
    Unknown,
}

/// A decision as it stands in the log.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented at findings::decision")]
pub struct DecisionRow {
    pub id: Uuid,
    pub action: Action,
    pub reason: Option<Reason>,
    pub until: Option<OffsetDateTime>,
    pub note: Option<String>,
    /// Name of the token that asked; `None` where no token is asked for.
    pub who: Option<String>,
    pub at: OffsetDateTime,
}

/// A change of a finding as it stands in the log, told or not.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented at findings::life")]
pub struct ChangeRow {
    pub event: String,
    pub reason: String,
    pub severity: Severity,
    pub at: OffsetDateTime,
}

/// A finding under its lock.
struct Locked {
    status: String,
    handling: String,
    severity: i16,
    told_severity: Option<i16>,
    now: OffsetDateTime,
    example_trace_id: Option<Uuid>,
    example_why: Option<String>,
}

impl Store {
    /// Makes a decision hold. Of two at once the later one finds what the earlier one left.
    pub async fn decide(
        &self,
        id: Fingerprint,
        decision: &Decision,
        who: Option<&str>,
        tell: Tell<'_>,
    ) -> Result<Decided, StoreError> {
        let id = id.0.cast_signed();
        let mut connection = self.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        let Some(locked) = lock(&mut transaction, id).await? else { return Ok(Decided::Unknown) };
        let status: Status = locked.status.parse().map_err(StoreError::Invariant)?;
        let handling = word("handling", &locked.handling)?;
        let outcome = match decide(status, handling, decision.action) {
            Ok(outcome) => outcome,
            Err(why) => return Ok(Decided::DoesNotApply(why)),
        };
        update(&mut transaction, id, outcome, decision).await?;
        let row = log(&mut transaction, id, decision, who, locked.now).await?;
        if let Some(event) = outcome.event {
            tell_of(&mut transaction, id, locked, status, event, tell).await?;
        }
        transaction.commit().await?;
        Ok(Decided::Done(row))
    }

    /// Ends the mutes whose time is over, and tells what is open then. Returns how many; there may be more.
    pub async fn end_mutes(&self, now: OffsetDateTime, tell: Tell<'_>) -> Result<usize, StoreError> {
        let mut connection = self.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        let over = sqlx::query_scalar!(
            r#"
            select fingerprint
            from findings
            where handling = 'muted' and muted_until <= $1
            order by fingerprint
            limit $2
            for update skip locked
            "#,
            now,
            BATCH
        )
        .fetch_all(&mut *transaction)
        .await?;
        let unmute = Decision { action: Action::Unmute, reason: None, until: None, note: None };
        for id in &over {
            let Some(locked) = lock(&mut transaction, *id).await? else { continue };
            let status: Status = locked.status.parse().map_err(StoreError::Invariant)?;
            let outcome = decide(status, Handling::Muted, Action::Unmute)
                .map_err(|why| StoreError::Invariant(why.to_string()))?;
            update(&mut transaction, *id, outcome, &unmute).await?;
            if let Some(event) = outcome.event {
                tell_of(&mut transaction, *id, locked, status, event, tell).await?;
            }
        }
        transaction.commit().await?;
        Ok(over.len())
    }

    /// What people decided about a finding, newest first, at most `limit`.
    pub async fn decisions(&self, id: Fingerprint, limit: u32) -> Result<Vec<DecisionRow>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select id, action, reason, until, note, who, decided_at
            from decisions
            where fingerprint = $1
            order by decided_at desc, id desc
            limit $2
            "#,
            id.0.cast_signed(),
            i64::from(limit)
        )
        .fetch_all(self.pool())
        .await?;
        let rows = rows.into_iter().map(|row| {
            Ok(DecisionRow {
                id: row.id,
                action: stored(&row.action)?,
                reason: row.reason.as_deref().map(stored).transpose()?,
                until: row.until,
                note: row.note,
                who: row.who,
                at: row.decided_at,
            })
        });
        rows.collect()
    }

    /// What changed about a finding, newest first, at most `limit`.
    pub async fn changes(&self, id: Fingerprint, limit: u32) -> Result<Vec<ChangeRow>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select event, reason, severity, changed_at
            from changes
            where fingerprint = $1
            order by transition desc
            limit $2
            "#,
            id.0.cast_signed(),
            i64::from(limit)
        )
        .fetch_all(self.pool())
        .await?;
        let rows = rows.into_iter().map(|row| {
            let severity = severity(row.severity)?;
            Ok(ChangeRow { event: row.event, reason: row.reason, severity, at: row.changed_at })
        });
        rows.collect()
    }
}

async fn lock(connection: &mut PgConnection, id: i64) -> Result<Option<Locked>, sqlx::Error> {
    sqlx::query_as!(
        Locked,
        r#"
        select f.status, f.handling, f.severity, f.told_severity, now() as "now!", f.example_trace_id, (
            select o.why
            from occurrences o
            where o.day = f.example_day
                and o.trace_id = f.example_trace_id
                and o.fingerprint = f.fingerprint
                and o.span_id = f.example_span_id
        ) as example_why
        from findings f
        where f.fingerprint = $1
        for update of f
        "#,
        id
    )
    .fetch_optional(connection)
    .await
}

async fn update(
    connection: &mut PgConnection,
    id: i64,
    outcome: Outcome,
    decision: &Decision,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update findings
        set status = $2,
            handling = $3,
            muted_until = case when $3 = 'muted' then (case when $5 = 'mute' then $6 else muted_until end) end,
            opened_at = case when $5 = 'reopen' then now() else opened_at end,
            resolved_at = case $5 when 'resolve' then now() when 'reopen' then null else resolved_at end,
            reopened = reopened + ($5 = 'reopen')::int,
            told_severity = case when $5 in ('reopen', 'unmute') and $2 = 'open' then severity else told_severity end,
            transition = transition + $4::bool::int
        where fingerprint = $1
        "#,
        id,
        outcome.status.id(),
        outcome.handling.id(),
        outcome.event.is_some(),
        decision.action.id(),
        decision.until
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn log(
    connection: &mut PgConnection,
    finding: i64,
    decision: &Decision,
    who: Option<&str>,
    at: OffsetDateTime,
) -> Result<DecisionRow, sqlx::Error> {
    let id = Uuid::now_v7();
    let Decision { action, reason, until, note } = decision.clone();
    sqlx::query!(
        r#"
        insert into decisions (id, fingerprint, action, reason, until, note, who, decided_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        "#,
        id,
        finding,
        action.id(),
        reason.map(Reason::id),
        until,
        note,
        who,
        at
    )
    .execute(connection)
    .await?;
    Ok(DecisionRow { id, action, reason, until, note, who: who.map(ToOwned::to_owned), at })
}

async fn tell_of(
    connection: &mut PgConnection,
    fingerprint: i64,
    locked: Locked,
    status: Status,
    event: Event,
    tell: Tell<'_>,
) -> Result<(), StoreError> {
    let worst = locked.told_severity.map_or(locked.severity, |told| told.max(locked.severity));
    let moved = Moved {
        fingerprint,
        event,
        at: locked.now,
        previous: Some((status, severity(worst)?)),
        example_trace_id: locked.example_trace_id,
        example_why: locked.example_why,
    };
    Ok(put_into_outbox(connection, moved, tell).await?)
}

/// Reads a word that a check constraint vouches for.
fn stored<T: FromStr<Err = String>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(StoreError::Invariant)
}
