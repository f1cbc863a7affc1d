//! What is open and was told before, for those who want to hear of it again: people after a while, and receivers that
//! forget what they are not told.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::findings::{read_all, severity_rank};
use super::judged::{Told, told_of};
use super::pending::interval;
use super::{Change, NewDelivery, Store, StoreError};
use crate::findings::Fingerprint;
use crate::findings::life::Event;
use crate::findings::shape::Finding;
use crate::rules::{Fallacy, Severity};

/// Reminders written by one transaction, so that none holds locks for long.
const BATCH: i64 = 50;
/// Most open findings that a receiver is told again and again.
const MAX_STANDING: i64 = 2_000;

/// Which findings a receiver wants to hear of. Empty lists want all, but for those of a canary.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the settings")]
pub struct Scope {
    pub min_severity: Severity,
    pub environments: Vec<String>,
    pub services: Vec<String>,
    pub fallacies: Vec<Fallacy>,
}

impl Scope {
    fn fallacies(&self) -> Vec<String> {
        self.fallacies.iter().map(|fallacy| fallacy.id().to_owned()).collect()
    }
}

impl Store {
    /// Writes reminders for one receiver: of what is open, acknowledged by nobody, and was last told, or opened, at least
    /// `every` ago. Nothing is added while something of the finding still waits to be told. Returns how many; there may
    /// be more.
    pub async fn remind(
        &self,
        receiver: &str,
        scope: &Scope,
        every: Duration,
        now: OffsetDateTime,
        tell: &(dyn Fn(&Change) -> NewDelivery + Sync),
    ) -> Result<usize, StoreError> {
        let mut connection = self.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        // A replica that came later would not see what this one is about to write.
        let alone = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock(hashtext('remind'), hashtext($1)) as "alone!""#,
            receiver
        )
        .fetch_one(&mut *transaction)
        .await?;
        if !alone {
            return Ok(0);
        }
        let due = Self::due(&mut transaction, receiver, scope, every, now).await?;
        let count = due.len();
        let changes = changes(&mut transaction, &due, now).await?;
        Self::put_reminders(&mut transaction, receiver, &changes, tell).await?;
        transaction.commit().await?;
        Ok(count)
    }

    /// Findings to remind of, each given its next change.
    async fn due(
        connection: &mut PgConnection,
        receiver: &str,
        scope: &Scope,
        every: Duration,
        now: OffsetDateTime,
    ) -> Result<Vec<i64>, StoreError> {
        // Whoever holds a row is changing it, and tells of that itself.
        let due = sqlx::query_scalar!(
            r#"
            with due as (
                select f.fingerprint
                from findings f
                left join lateral (
                    select d.state, coalesce(d.delivered_at, d.created_at) as told_at
                    from deliveries d
                    where d.receiver = $1 and d.fingerprint = f.fingerprint
                    order by d.transition desc
                    limit 1
                ) last on true
                where f.status = 'open'
                    and f.handling = 'none'
                    and $2::smallint <= coalesce(f.told_severity, f.severity)
                    and (cardinality($3::text[]) = 0 or f.environment = any($3))
                    and (f.service = any($4::text[]) or (cardinality($4) = 0 and not f.canary))
                    and (cardinality($5::text[]) = 0 or f.fallacy = any($5))
                    and last.state is distinct from 'pending'
                    and coalesce(last.told_at, f.opened_at) <= $6::timestamptz - $7::interval
                order by f.fingerprint
                limit $8
                for update of f skip locked
            )
            update findings f
            set transition = f.transition + 1
            from due
            where f.fingerprint = due.fingerprint
            returning f.fingerprint
            "#,
            receiver,
            severity_rank(scope.min_severity),
            &scope.environments,
            &scope.services,
            &scope.fallacies(),
            now,
            interval(every),
            BATCH
        )
        .fetch_all(connection)
        .await?;
        Ok(due)
    }

    async fn put_reminders(
        connection: &mut PgConnection,
        receiver: &str,
        changes: &[(i64, Change)],
        tell: &(dyn Fn(&Change) -> NewDelivery + Sync),
    ) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = changes.iter().map(|_| Uuid::now_v7()).collect();
        let fingerprints: Vec<i64> = changes.iter().map(|(fingerprint, _)| *fingerprint).collect();
        let payloads: Vec<String> = changes.iter().map(|(_, change)| tell(change).payload).collect();
        sqlx::query!(
            r#"
            insert into deliveries (
                id, receiver, event, fingerprint, transition, payload, next_attempt_at, created_at
            )
            select w.id, $4, $5, f.fingerprint, f.transition, w.payload, now(), now()
            from unnest($1::uuid[], $2::bigint[], $3::text[]) as w (id, fingerprint, payload)
            join findings f on f.fingerprint = w.fingerprint
            on conflict (receiver, fingerprint, transition) do nothing
            "#,
            &ids,
            &fingerprints,
            &payloads,
            receiver,
            Event::Reminded.id()
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// What is open now and not muted, worst first, at most [`MAX_STANDING`].
    pub async fn standing(&self, scope: &Scope, now: OffsetDateTime) -> Result<Vec<Change>, StoreError> {
        let ids = sqlx::query_scalar!(
            r#"
            select f.fingerprint
            from findings f
            where f.status = 'open'
                and f.handling <> 'muted'
                and $1::smallint <= coalesce(f.told_severity, f.severity)
                and (cardinality($2::text[]) = 0 or f.environment = any($2))
                and (f.service = any($3::text[]) or (cardinality($3) = 0 and not f.canary))
                and (cardinality($4::text[]) = 0 or f.fallacy = any($4))
            order by f.severity desc, f.fingerprint desc
            limit $5
            "#,
            severity_rank(scope.min_severity),
            &scope.environments,
            &scope.services,
            &scope.fallacies(),
            MAX_STANDING
        )
        .fetch_all(self.pool())
        .await?;
        let changes = changes(&mut *self.pool().acquire().await?, &ids, now).await?;
        Ok(changes.into_iter().map(|(_, change)| change).collect())
    }
}

/// What is to be told of these findings, each with its fingerprint. Of one that is gone meanwhile nothing is.
async fn changes(
    connection: &mut PgConnection,
    ids: &[i64],
    now: OffsetDateTime,
) -> Result<Vec<(i64, Change)>, StoreError> {
    let findings = read_all(&mut *connection, ids, "").await?;
    let mut findings: BTreeMap<String, Finding> =
        findings.into_iter().map(|finding| (finding.claim.id.clone(), finding)).collect();
    let mut known = told_of(connection, ids).await?;
    let changes = ids.iter().filter_map(|id| {
        let finding = findings.remove(&Fingerprint(id.cast_unsigned()).to_string())?;
        let Told { severity, example } = known.remove(id)?;
        let told = severity.unwrap_or(finding.claim.severity);
        Some((*id, Change { event: Event::Reminded, at: now, finding, told, previous: None, example }))
    });
    Ok(changes.collect())
}
