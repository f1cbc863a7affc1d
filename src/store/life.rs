//! What time does to findings: silence resolves them where there was occasion to see them, and what nobody needs any
//! more is forgotten. `findings::life` says when; the instant is given, so that every replica and every test means the
//! same.
//!
//! Each pass may run anywhere, any number of times: a change is made under the lock of its finding, and written
//! together with what receivers are told of it.

use std::time::Duration;

use sqlx::Connection as _;
use time::OffsetDateTime;

use super::Store;
use super::error::StoreError;
use super::findings::{severity, worst};
use super::judged::{Moved, Tell, put_into_outbox};
use super::pending::interval;
use crate::findings::life::{self, Event, Status};

/// Findings moved by one transaction, so that none holds locks for long.
const BATCH: i64 = 200;

impl Store {
    /// Resolves open findings that were not seen for `after`, although their service and operation served enough units
    /// since. Returns how many; there may be more.
    pub async fn resolve_quiet_findings(
        &self,
        now: OffsetDateTime,
        after: Duration,
        tell: Tell<'_>,
    ) -> Result<usize, StoreError> {
        let mut connection = self.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        // Whoever holds the row is judging a trace that shows it: there is nothing to resolve.
        let resolved = sqlx::query!(
            r#"
            with quiet as (
                select f.fingerprint, f.severity
                from findings f
                where f.status = 'open'
                    and f.last_seen <= $1::timestamptz - $2::interval
                    -- Whoever reopened it is given as long to show why.
                    and f.opened_at <= $1::timestamptz - $2::interval
                    and $3 <= (
                        select count(*)
                        from (
                            select
                            from units u
                            where u.service = f.service
                                and u.operation = f.operation
                                and u.environment = f.environment
                                and f.last_seen < u.received_at
                            limit $3
                        ) served
                    )
                order by f.fingerprint
                limit $4
                for update of f skip locked
            )
            update findings f
            set status = 'resolved', resolved_at = $1, transition = f.transition + 1
            from quiet q
            where f.fingerprint = q.fingerprint
            returning f.fingerprint, f.severity, f.told_severity
            "#,
            now,
            interval(after),
            i64::from(life::EXERCISED),
            BATCH
        )
        .fetch_all(&mut *transaction)
        .await?;
        let count = resolved.len();
        for row in resolved {
            let known = severity(worst(row.told_severity, row.severity))?;
            let moved = Moved {
                fingerprint: row.fingerprint,
                event: Event::Quiet,
                at: now,
                previous: Some((Status::Open, known)),
            };
            put_into_outbox(&mut transaction, moved, tell).await?;
        }
        transaction.commit().await?;
        Ok(count)
    }

    /// Forgets candidates and canaries that were not seen for a while, and findings that were resolved more than `kept`
    /// ago, with their hours and their log. What is muted stays. Returns how many; there may be more.
    pub async fn forget_findings(&self, now: OffsetDateTime, kept: Duration) -> Result<usize, StoreError> {
        let candidates = Duration::from_hours(24 * u64::from(life::CANDIDATE_DAYS));
        let canaries = Duration::from_hours(u64::from(life::CANARY_HOURS));
        let gone = sqlx::query!(
            r#"
            with gone as (
                delete from findings
                where fingerprint in (
                    select fingerprint
                    from findings
                    where handling <> 'muted' and (
                        (status = 'candidate' and last_seen <= $1::timestamptz - $2::interval)
                            or (status = 'resolved' and resolved_at <= $1::timestamptz - $3::interval)
                            or (canary and last_seen <= $1::timestamptz - $5::interval)
                        )
                    order by fingerprint
                    limit $4
                    for update skip locked
                )
                returning fingerprint
            ), hours as (
                delete from finding_hours h
                using gone
                where h.fingerprint = gone.fingerprint
            ), log as (
                delete from changes c
                using gone
                where c.fingerprint = gone.fingerprint
            ), decided as (
                delete from decisions d
                using gone
                where d.fingerprint = gone.fingerprint
            )
            select fingerprint from gone
            "#,
            now,
            interval(candidates),
            interval(kept),
            BATCH,
            interval(canaries)
        )
        .fetch_all(self.pool())
        .await?;
        Ok(gone.len())
    }
}
