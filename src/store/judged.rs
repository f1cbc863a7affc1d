//! What judging yields, written in one transaction: the rows of each trace are replaced, the findings they touch are
//! derived anew, changes are put into the outbox, and the traces leave the list of those that await a look.
//!
//! A look counts only if its claim still stands. Judging a trace again leaves everything as it was: what it said before
//! is taken back first, and times are those of receipt. What a finding's counts mean is decided by `findings::life`.

mod hours;
mod numbers;
mod rows;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::error::sqlstate;
use super::pending::interval;
use super::{Change, Claimed, NewDelivery, Store, StoreError};
use crate::config::{Config, Suppression};
use crate::findings::life::Gate;
use crate::findings::{Judged, Judgement};
use crate::rules::Confidence;

pub(super) use told::{Moved, Told, put_into_outbox, told_of};

/// Tries of one transaction that others were in the way of.
const MOST_TRIES: u32 = 5;

/// What decides when findings open and when a trace is looked at again.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Occurrences at least so sure count.
    pub min_confidence: Confidence,
    /// Traces that open a finding.
    pub gate: Gate,
    /// They lie within so long.
    pub within: Duration,
    /// A trace that could say more is looked at again after so long.
    pub settle: Duration,
    /// Findings that are muted from the first.
    pub suppressions: &'a [Suppression],
}

impl<'a> Policy<'a> {
    /// As the settings say.
    pub fn of(config: &'a Config) -> Self {
        let findings = &config.findings;
        Self {
            min_confidence: findings.min_confidence,
            gate: Gate { high: findings.gate_high, medium: findings.gate_medium },
            within: findings.gate_within.0,
            settle: config.traces.settle_period.0,
            suppressions: &config.suppress,
        }
    }
}

/// Who is to be told of a change.
pub type Tell<'a> = &'a (dyn Fn(&Change) -> Vec<NewDelivery> + Sync);

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Written; the trace is off the list.
    Done,
    /// Written; the trace is looked at again when it has settled.
    Settling,
    /// Written, although spans kept arriving; the trace stays on the list.
    Again,
    /// Not written: new spans arrived, or another took over. The trace is on the list, or somebody else's.
    Fenced,
}

/// A look whose claim stands, with the times that its rows bear.
struct Mine<'a> {
    claimed: &'a Claimed,
    judgement: &'a Judgement,
    /// First receipt of any span of the trace.
    received_at: OffsetDateTime,
    /// Looks at new spans so far, this one included.
    looks: i32,
    /// What is less sure does not count.
    min_confidence: Confidence,
}

impl Mine<'_> {
    /// Sure enough and not absorbed: it counts, and has a finding.
    fn counts(&self, occurrence: &Judged) -> bool {
        self.min_confidence <= occurrence.confidence && occurrence.absorbed_by.is_none()
    }
}

impl Store {
    /// Writes what judging yielded, for those traces whose claim still stands.
    pub async fn finish(
        &self,
        looks: &[(Claimed, Judgement)],
        policy: &Policy<'_>,
        tell: Tell<'_>,
    ) -> Result<Vec<Finished>, StoreError> {
        if looks.is_empty() {
            return Ok(Vec::new());
        }
        for tries in 1.. {
            let mut connection = self.pool().acquire().await?;
            let error = match self.try_to_finish(&mut connection, looks, policy, tell).await {
                Ok(finished) => return Ok(finished),
                Err(TryError::Store(error)) => return Err(error),
                Err(TryError::Again) if tries < MOST_TRIES => continue,
                Err(TryError::Again) => {
                    return Err(StoreError::Invariant(
                        "a finding is forgotten each time it is seen".to_owned(),
                    ));
                }
                Err(TryError::Sql(error)) => error,
            };
            drop(connection);
            match sqlstate(&error).as_deref() {
                Some("40P01" | "40001") if tries < MOST_TRIES => {
                    tokio::time::sleep(Duration::from_millis(rand::random_range(5..50))).await;
                }
                // No partition: the day of a trace has been dropped meanwhile, or was never made.
                Some("23514") if tries < MOST_TRIES => {
                    let days: BTreeSet<Date> = looks.iter().map(|(claimed, _)| claimed.first_day).collect();
                    for day in days {
                        self.ensure_day(day).await?;
                    }
                }
                _ => return Err(error.into()),
            }
        }
        unreachable!("the last try returns")
    }

    async fn try_to_finish(
        &self,
        connection: &mut PgConnection,
        looks: &[(Claimed, Judgement)],
        policy: &Policy<'_>,
        tell: Tell<'_>,
    ) -> Result<Vec<Finished>, TryError> {
        let mut transaction = connection.begin().await?;
        let first_seen = lock_mine(&mut transaction, looks).await?;
        if first_seen.is_empty() {
            return Ok(vec![Finished::Fenced; looks.len()]);
        }
        let standing: Vec<&(Claimed, Judgement)> =
            looks.iter().filter(|(claimed, _)| first_seen.contains_key(&claimed.trace_id.0)).collect();
        let (kept, before) = rows::remove(&mut transaction, &standing).await?;
        let mine: Vec<Mine> = standing
            .iter()
            .map(|(claimed, judgement)| {
                let was = kept.get(&claimed.trace_id.0);
                let since = first_seen[&claimed.trace_id.0];
                Mine {
                    claimed,
                    judgement,
                    received_at: was.map_or(since, |was| was.received_at.min(since)),
                    looks: was.map_or(0, |was| was.looks) + i32::from(!claimed.settled),
                    min_confidence: policy.min_confidence,
                }
            })
            .collect();
        let after = rows::insert(&mut transaction, &mine).await?;
        numbers::derive(&mut transaction, &mine, &before, &after, policy, tell).await?;
        let finished = looks
            .iter()
            .map(|(claimed, judgement)| match first_seen.contains_key(&claimed.trace_id.0) {
                false => Finished::Fenced,
                true if claimed.overdue => Finished::Again,
                true if judgement.unsettled && !claimed.settled => Finished::Settling,
                true => Finished::Done,
            })
            .collect::<Vec<_>>();
        leave(&mut transaction, looks, &finished, policy).await?;
        transaction.commit().await?;
        Ok(finished)
    }
}

/// Why one try failed.
pub(super) enum TryError {
    Sql(sqlx::Error),
    Store(StoreError),
    /// Something moved in between; the same again will do.
    Again,
}

impl From<sqlx::Error> for TryError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<TryError> for StoreError {
    /// For whoever does not try again.
    fn from(error: TryError) -> Self {
        match error {
            TryError::Sql(error) => error.into(),
            TryError::Store(error) => error,
            TryError::Again => Self::Unavailable("a finding moved meanwhile".to_owned()),
        }
    }
}

impl From<StoreError> for TryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Locks the traces whose claim stands; they come back with the receipt of their first span. A touch that has not
/// committed yet is waited for, as it voids the claim. Locks are taken in the order of ids, as touches take them, so
/// that neither waits for the other; passing over locked rows would lose looks to claims that only glance at a row.
async fn lock_mine(
    connection: &mut PgConnection,
    looks: &[(Claimed, Judgement)],
) -> Result<BTreeMap<u128, OffsetDateTime>, sqlx::Error> {
    let ids: Vec<Uuid> = looks.iter().map(|(claimed, _)| Uuid::from_u128(claimed.trace_id.0)).collect();
    let claims: Vec<i64> = looks.iter().map(|(claimed, _)| claimed.claim).collect();
    let overdue: Vec<bool> = looks.iter().map(|(claimed, _)| claimed.overdue).collect();
    // A trace that is never quiet is touched during every look, so its look counts although the claim is gone; the
    // trace stays on the list.
    let rows = sqlx::query!(
        r#"
        select p.trace_id, p.first_seen
        from pending p
        join unnest($1::uuid[], $2::bigint[], $3::boolean[]) as w (trace_id, claim, overdue)
            on w.trace_id = p.trace_id
        where p.claim = w.claim or (w.overdue and p.claim is null)
        order by p.trace_id
        for update of p
        "#,
        &ids,
        &claims,
        &overdue
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.trace_id.as_u128(), row.first_seen)).collect())
}

/// Takes traces off the list, or says when they are looked at again. Their rows are locked already.
async fn leave(
    connection: &mut PgConnection,
    looks: &[(Claimed, Judgement)],
    finished: &[Finished],
    policy: &Policy<'_>,
) -> Result<(), sqlx::Error> {
    let which = |wanted: Finished| -> Vec<Uuid> {
        let both = looks.iter().zip(finished).filter(|(_, finished)| **finished == wanted);
        both.map(|((claimed, _), _)| Uuid::from_u128(claimed.trace_id.0)).collect()
    };
    let (done, settling, again) = (which(Finished::Done), which(Finished::Settling), which(Finished::Again));
    if !done.is_empty() {
        sqlx::query!("delete from pending where trace_id = any($1)", &done).execute(&mut *connection).await?;
    }
    if !settling.is_empty() {
        sqlx::query!(
            r#"
            update pending
            set claim = null, leased_until = '-infinity', attempts = 0, not_before = now() + $2::interval
            where trace_id = any($1)
            "#,
            &settling,
            interval(policy.settle)
        )
        .execute(&mut *connection)
        .await?;
    }
    if !again.is_empty() {
        sqlx::query!(
            r#"
            update pending
            set claim = null, leased_until = '-infinity', attempts = 0, first_seen = now()
            where trace_id = any($1)
            "#,
            &again
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
