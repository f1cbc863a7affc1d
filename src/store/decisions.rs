//! What people decided about findings: written with what it changes, under the lock of the finding, and never edited.

use std::str::FromStr;

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::findings::{severity, word, worst};
use super::judged::{Moved, Tell, put_into_outbox};
use super::{Store, StoreError};
use crate::findings::Fingerprint;
use crate::findings::decision::{Action, Decision, DoesNotApply, Outcome, Reason, decide};
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
    /// Name of the token that asked, or the settings; `None` where no token is asked for.
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
    fingerprint: i64,
    status: String,
    handling: String,
    severity: i16,
    told_severity: Option<i16>,
    now: OffsetDateTime,
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
        match decide_locked(&mut transaction, id, decision, who, tell).await? {
            None => Ok(Decided::Unknown),
            Some(Err(why)) => Ok(Decided::DoesNotApply(why)),
            Some(Ok(row)) => {
                transaction.commit().await?;
                Ok(Decided::Done(row))
            }
        }
    }

    /// Ends the mutes whose time is over, and tells what is open then. Returns how many; there may be more.
    pub async fn end_mutes(&self, now: OffsetDateTime, tell: Tell<'_>) -> Result<usize, StoreError> {
        let mut connection = self.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        let over = sqlx::query_as!(
            Locked,
            r#"
            select fingerprint, status, handling, severity, told_severity, now() as "now!"
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
        let count = over.len();
        for locked in over {
            let outcome = carry_out(&mut transaction, &locked, &unmute, tell).await?;
            outcome.map_err(|why| StoreError::Invariant(why.to_string()))?;
        }
        transaction.commit().await?;
        Ok(count)
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

/// A decision within the caller's transaction, under the lock of its finding; `None` where there is no such finding.
pub(super) async fn decide_locked(
    connection: &mut PgConnection,
    id: i64,
    decision: &Decision,
    who: Option<&str>,
    tell: Tell<'_>,
) -> Result<Option<Result<DecisionRow, DoesNotApply>>, StoreError> {
    let Some(locked) = lock(&mut *connection, id).await? else { return Ok(None) };
    if let Err(why) = carry_out(&mut *connection, &locked, decision, tell).await? {
        return Ok(Some(Err(why)));
    }
    let row = log(connection, id, decision, who, locked.now).await?;
    Ok(Some(Ok(row)))
}

async fn lock(connection: &mut PgConnection, id: i64) -> Result<Option<Locked>, sqlx::Error> {
    sqlx::query_as!(
        Locked,
        r#"
        select fingerprint, status, handling, severity, told_severity, now() as "now!"
        from findings
        where fingerprint = $1
        for update
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

/// Changes the row, and tells of it.
async fn carry_out(
    connection: &mut PgConnection,
    locked: &Locked,
    decision: &Decision,
    tell: Tell<'_>,
) -> Result<Result<(), DoesNotApply>, StoreError> {
    let status = word("status", &locked.status)?;
    let outcome = match decide(status, word("handling", &locked.handling)?, decision.action) {
        Ok(outcome) => outcome,
        Err(why) => return Ok(Err(why)),
    };
    update(connection, locked.fingerprint, outcome, decision).await?;
    if let Some(event) = outcome.event {
        let known = severity(worst(locked.told_severity, locked.severity))?;
        let previous = Some((status, known));
        let moved = Moved { fingerprint: locked.fingerprint, event, at: locked.now, previous };
        put_into_outbox(connection, moved, tell).await?;
    }
    Ok(Ok(()))
}

/// Reads a word that a check constraint vouches for.
fn stored<T: FromStr<Err = String>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(StoreError::Invariant)
}
