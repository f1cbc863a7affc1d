//! Stored traces that somebody wants to see judged again: which there are, what they show so far, and a claim of them
//! that is worth as much as any other.

use std::time::Duration;

use rand::Rng as _;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::pending::interval;
use super::{Claimed, Store, StoreError, TraceDays};
use crate::findings::Fingerprint;
use crate::model::TraceId;

/// A trace that was judged before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// First receipt of any of its spans.
    pub received_at: OffsetDateTime,
    /// Where its spans lie.
    pub days: TraceDays,
}

/// That a trace shows a finding, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct Shows {
    pub trace_id: TraceId,
    pub fingerprint: Fingerprint,
    pub rule: String,
    pub service: String,
    pub operation: String,
    pub headline: String,
}

impl Store {
    /// Judged traces received at or after `since`, oldest first, after `after`, at most `limit`. A trace that awaits
    /// a look is left out: it will have one.
    pub async fn judged_traces(
        &self,
        since: OffsetDateTime,
        after: Option<&Known>,
        limit: u32,
    ) -> Result<Vec<Known>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select t.trace_id, t.received_at, t.first_day, t.last_day
            from traces t
            where $1 <= t.received_at
                and ($2::timestamptz is null or (t.received_at, t.trace_id) > ($2, $3::uuid))
                and not exists (select from pending p where p.trace_id = t.trace_id)
            order by t.received_at, t.trace_id
            limit $4
            "#,
            since,
            after.map(|known| known.received_at),
            after.map(|known| Uuid::from_u128(known.days.trace_id.0)),
            i64::from(limit)
        );
        let rows = rows.fetch_all(self.pool()).await?;
        let known = |trace_id: Uuid, received_at, first_day: Date, last_day: Date| Known {
            received_at,
            days: TraceDays { trace_id: TraceId(trace_id.as_u128()), first_day, last_day },
        };
        Ok(rows
            .into_iter()
            .map(|row| known(row.trace_id, row.received_at, row.first_day, row.last_day))
            .collect())
    }

    /// What these traces show so far, as far as it counts.
    pub async fn shown_by(&self, traces: &[Known]) -> Result<Vec<Shows>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select distinct o.trace_id, o.fingerprint, f.rule, f.service, f.operation, f.headline
            from occurrences o
            join findings f on f.fingerprint = o.fingerprint
            where o.trace_id = any($1) and o.day between $2 and $3 and o.counted
            "#,
            &ids(traces),
            traces.iter().map(|known| known.days.first_day).min(),
            traces.iter().map(|known| known.days.last_day).max()
        );
        let rows = rows.fetch_all(self.pool()).await?;
        Ok(rows
            .into_iter()
            .map(|row| Shows {
                trace_id: TraceId(row.trace_id.as_u128()),
                fingerprint: Fingerprint(row.fingerprint.cast_unsigned()),
                rule: row.rule,
                service: row.service,
                operation: row.operation,
                headline: row.headline,
            })
            .collect())
    }

    /// Claims traces for another look, but for those that somebody else is to look at. Should this look never end, its
    /// lease does, and the trace is judged like any other. `settle`: traces received so long ago have come to rest.
    pub async fn claim_again(
        &self,
        traces: &[Known],
        lease: Duration,
        settle: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let claim: i64 = rand::rng().random();
        let rows = sqlx::query!(
            r#"
            insert into pending (trace_id, claim, leased_until, first_day, last_day, attempts)
            select t.trace_id, $2, now() + $3::interval, min(t.first_day), max(t.last_day), 1
            from traces t
            where t.trace_id = any($1)
            group by t.trace_id
            order by t.trace_id
            on conflict do nothing
            returning
                trace_id, first_day, last_day, first_seen, last_seen,
                (
                    select max(received_at) < now() - $4::interval
                    from traces
                    where traces.trace_id = pending.trace_id
                ) as "settled!"
            "#,
            &ids(traces),
            claim,
            interval(lease),
            interval(settle)
        );
        let rows = rows.fetch_all(self.pool()).await?;
        Ok(rows
            .into_iter()
            .map(|row| Claimed {
                trace_id: TraceId(row.trace_id.as_u128()),
                claim,
                first_day: row.first_day,
                last_day: row.last_day,
                first_seen: row.first_seen,
                last_seen: row.last_seen,
                attempts: 1,
                overdue: false,
                settled: row.settled,
            })
            .collect())
    }
}

fn ids(traces: &[Known]) -> Vec<Uuid> {
    traces.iter().map(|known| Uuid::from_u128(known.days.trace_id.0)).collect()
}
