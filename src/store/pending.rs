//! Traces that await a look. Spans and the touch of their trace commit together, so whoever sees the row sees the
//! spans; a touch voids the claim, so a look that missed a span never counts (`judged.rs` asks before it writes).
//!
//! Several replicas claim from the same table; none waits for another.

use std::time::Duration;

use rand::Rng as _;
use sqlx::postgres::types::PgInterval;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::{Store, StoreError, TraceDays};
use crate::model::TraceId;

/// Each look at new spans doubles the pause before the next, this often at most.
const MOST_DOUBLINGS: i32 = 6;

/// When a trace may be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Claims {
    /// None of its spans arrived for so long.
    pub quiet: Duration,
    /// Or it has been waiting for so long.
    pub max_wait: Duration,
    /// How long the claim keeps others away.
    pub lease: Duration,
    /// Most traces at once.
    pub limit: u32,
}

/// A trace that is ours to look at, until its lease runs out or new spans of it arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Which trace.
    pub trace_id: TraceId,
    /// Random number of this claim. A count would start anew with a new row and fit a stalled claim of the old one.
    pub claim: i64,
    /// Earliest day of its spans.
    pub first_day: Date,
    /// Latest day of its spans.
    pub last_day: Date,
    /// First receipt of a span since it was last looked at.
    pub first_seen: OffsetDateTime,
    /// Last receipt of a span.
    pub last_seen: OffsetDateTime,
    /// Claims since spans last arrived, this one included; more than a few tell of a trace that cannot be judged.
    pub attempts: i32,
    /// Never quiet: looked at because it has waited long enough.
    pub overdue: bool,
    /// The second look, after the settle period: what is absent now may be called absent.
    pub settled: bool,
}

/// How far judging is behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// Traces that await a look.
    pub traces: i64,
    /// Seconds that the one longest due is late; 0 when none is.
    pub lag_seconds: f64,
}

impl Claimed {
    /// What to load for it.
    pub fn days(&self) -> TraceDays {
        TraceDays { trace_id: self.trace_id, first_day: self.first_day, last_day: self.last_day }
    }
}

struct Row {
    trace_id: Uuid,
    first_day: Date,
    last_day: Date,
    first_seen: OffsetDateTime,
    last_seen: OffsetDateTime,
    attempts: i32,
    overdue: bool,
    settled: bool,
    paused: bool,
}

impl Store {
    /// Claims traces that are due, those that have waited longest first. Of those whose last look came to nothing, one
    /// at a time: any of them may have ended it, and would end the next one for all others with it.
    pub async fn claim(&self, claims: &Claims) -> Result<Vec<Claimed>, StoreError> {
        let number: i64 = rand::rng().random();
        // `traces` knows the days of spans that an earlier look saw, and how many looks there were.
        let rows = sqlx::query_as!(
            Row,
            r#"
            with due as (
                select trace_id, attempts
                from pending
                where (last_seen < now() - $1::interval or first_seen < now() - $2::interval)
                    and leased_until < now()
                    and not_before < now()
                order by first_seen
                limit $3
                for update skip locked
            ), chosen as (
                select trace_id from due where attempts = 0
                union all
                (select trace_id from due where 0 < attempts order by attempts, trace_id limit 1)
            ), mine as (
                update pending p
                set claim = $4, leased_until = now() + $5::interval, attempts = p.attempts + 1
                from chosen
                where p.trace_id = chosen.trace_id
                returning p.*
            )
            select
                m.trace_id as "trace_id!",
                least(m.first_day, t.first_day) as "first_day!",
                greatest(m.last_day, t.last_day) as "last_day!",
                m.first_seen as "first_seen!",
                m.last_seen as "last_seen!",
                m.attempts as "attempts!",
                m.last_seen >= now() - $1::interval as "overdue!",
                m.not_before > '-infinity' as "settled!",
                m.not_before = '-infinity'
                    and m.last_seen >= now() - $1::interval * (2 ^ least(coalesce(t.looks, 0), $6::int))
                    and m.first_seen >= now() - $2::interval as "paused!"
            from mine m
            left join lateral (
                select min(first_day) as first_day, max(last_day) as last_day, max(looks) as looks
                from traces
                where traces.trace_id = m.trace_id
            ) t on true
            order by m.first_seen, m.trace_id
            "#,
            interval(claims.quiet),
            interval(claims.max_wait),
            i64::from(claims.limit),
            number,
            interval(claims.lease),
            MOST_DOUBLINGS
        )
        .fetch_all(self.pool())
        .await?;
        let (paused, due): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.paused);
        self.postpone(number, claims, &paused).await?;
        Ok(due.into_iter().map(|row| row.claimed(number)).collect())
    }

    /// Gives back traces whose pause is not over; they are leased to nobody until then. A touch ends the lease.
    async fn postpone(&self, number: i64, claims: &Claims, paused: &[Row]) -> Result<(), StoreError> {
        if paused.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = paused.iter().map(|row| row.trace_id).collect();
        sqlx::query!(
            r#"
            with mine as (
                select p.trace_id, t.looks
                from pending p
                cross join lateral (
                    select max(looks) as looks from traces where traces.trace_id = p.trace_id
                ) t
                where p.trace_id = any($1) and p.claim = $2
                for update of p skip locked
            )
            update pending p
            set claim = null,
                attempts = 0,
                leased_until = least(
                    p.last_seen + $3::interval * (2 ^ least(coalesce(mine.looks, 0), $5::int)),
                    p.first_seen + $4::interval
                )
            from mine
            where p.trace_id = mine.trace_id
            "#,
            &ids,
            number,
            interval(claims.quiet),
            interval(claims.max_wait),
            MOST_DOUBLINGS
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Takes traces off the list without a result: their spans are gone, or they cannot be judged. Returns how many of
    /// the claims still stood.
    pub async fn give_up(&self, claimed: &[Claimed]) -> Result<u64, StoreError> {
        let ids: Vec<Uuid> = claimed.iter().map(|one| Uuid::from_u128(one.trace_id.0)).collect();
        let claims: Vec<i64> = claimed.iter().map(|one| one.claim).collect();
        let done = sqlx::query!(
            r#"
            with mine as (
                select p.trace_id
                from pending p
                join unnest($1::uuid[], $2::bigint[]) as w (trace_id, claim)
                    on w.trace_id = p.trace_id and w.claim = p.claim
                for update of p skip locked
            )
            delete from pending p
            using mine
            where p.trace_id = mine.trace_id
            "#,
            &ids,
            &claims
        )
        .execute(self.pool())
        .await?;
        Ok(done.rows_affected())
    }

    /// How many traces wait, and how late the one longest due is.
    pub async fn backlog(&self, quiet: Duration) -> Result<Backlog, StoreError> {
        let row = sqlx::query!(
            r#"
            select
                count(*) as "traces!",
                coalesce(extract(epoch from max(now() - greatest(last_seen + $1::interval, not_before, leased_until))
                    filter (where leased_until < now())), 0)::double precision as "lag!"
            from pending
            "#,
            interval(quiet)
        )
        .fetch_one(self.pool())
        .await?;
        Ok(Backlog { traces: row.traces, lag_seconds: row.lag.max(0.0) })
    }
}

impl Row {
    fn claimed(self, claim: i64) -> Claimed {
        Claimed {
            trace_id: TraceId(self.trace_id.as_u128()),
            claim,
            first_day: self.first_day,
            last_day: self.last_day,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            attempts: self.attempts,
            overdue: self.overdue,
            settled: self.settled,
        }
    }
}

/// PostgreSQL's intervals have microseconds, and its instants begin 4713 BC: a thousand years are enough.
pub(super) fn interval(length: Duration) -> PgInterval {
    const MOST: u128 = 1_000 * 365 * 86_400 * 1_000_000;
    PgInterval { months: 0, days: 0, microseconds: length.as_micros().min(MOST) as i64 }
}
