//! What receivers are to be told, kept until they have it.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::findings::life::{Event, Status};
use crate::findings::shape::Finding;
use crate::model::TraceId;
use crate::rules::Severity;

/// A finding that changed so that people should hear of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub event: Event,
    /// When; the time of the transaction that writes it.
    pub at: OffsetDateTime,
    /// The finding as it is now. Its `url` is filled in by whoever tells.
    pub finding: Finding,
    /// Severity that people know: what this tells them or, where something ends, what they were told before.
    pub told: Severity,
    /// What it was before, with the severity that people knew; `None` for one that was never seen.
    pub previous: Option<(Status, Severity)>,
    /// The latest trace that shows it; `None` when none is left.
    pub example: Option<Example>,
}

/// A trace that shows a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Which.
    pub trace_id: TraceId,
    /// One sentence with its numbers.
    pub why: String,
}

/// What one receiver is to be told of one change. The payload is fixed here: every try sends the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The receiver's name.
    pub receiver: String,
    /// The body of the request.
    pub payload: String,
}

/// How fast one receiver may be posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests at once.
    pub at_once: u32,
    /// Requests in a minute of the clock, by all replicas.
    pub per_minute: u32,
}

/// A delivery that is due and ours to try, until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    /// The same at every try.
    pub id: Uuid,
    /// The body of the request.
    pub payload: String,
    /// Tries, this one included.
    pub attempts: u32,
    receiver: String,
    claim: i64,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The receiver has it.
    Delivered {
        /// Status of the answer.
        status: u16,
    },
    /// It will be tried again.
    Retry {
        /// Status of the answer, where one came.
        status: Option<u16>,
        /// In words.
        why: String,
        /// Pause until then.
        wait: Duration,
        /// Pause that the receiver asked for, whatever it is to be told.
        pause: Duration,
    },
    /// It will not be tried again.
    Dead {
        /// Status of the answer, where one came.
        status: Option<u16>,
        /// In words.
        why: String,
    },
}

impl Store {
    /// Takes deliveries of one receiver that are due, oldest first, as many as it allows. One that tells a later
    /// change of a finding waits until the earlier ones are through or dead. Whoever takes them has `lease` to say how it
    /// ended; after that another may try, so a receiver may get one twice, under one id.
    pub async fn claim_deliveries(
        &self,
        receiver: &str,
        lease: Duration,
        allowance: Allowance,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let most = self.room(receiver, allowance).await?;
        if most == 0 {
            return Ok(Vec::new());
        }
        let claim: i64 = rand::random();
        let rows = sqlx::query!(
            r#"
            with due as (
                select d.id
                from deliveries d
                where d.receiver = $1
                  and d.state = 'pending'
                  and d.next_attempt_at <= now()
                  and d.leased_until <= now()
                  and not exists (
                      select from deliveries earlier
                      where earlier.receiver = d.receiver
                        and earlier.fingerprint = d.fingerprint
                        and earlier.transition < d.transition
                        and earlier.state = 'pending'
                  )
                order by d.next_attempt_at, d.id
                limit $2
                for update of d skip locked
            )
            update deliveries d
            set claim = $3, leased_until = now() + make_interval(secs => $4), attempts = d.attempts + 1
            from due
            where d.id = due.id
            returning d.id, d.payload, d.attempts
            "#,
            receiver,
            i64::from(most),
            claim,
            lease.as_secs_f64(),
        )
        .fetch_all(self.pool())
        .await?;
        let due = rows.into_iter().map(|row| DueDelivery {
            id: row.id,
            payload: row.payload,
            attempts: row.attempts.unsigned_abs(),
            receiver: receiver.to_owned(),
            claim,
        });
        let due: Vec<DueDelivery> = due.collect();
        self.count_tries(receiver, due.len()).await?;
        Ok(due)
    }

    /// Requests that may be made now. Replicas that ask at once may each take what is left, so a minute may see a few
    /// more.
    async fn room(&self, receiver: &str, allowance: Allowance) -> Result<u32, StoreError> {
        let left = sqlx::query_scalar!(
            r#"
            select
                case when now() < paused_until then 0
                    when minute = date_trunc('minute', now()) then $2 - tries
                    else $2
                end as "left!"
            from receivers
            where name = $1
            "#,
            receiver,
            i32::try_from(allowance.per_minute).unwrap_or(i32::MAX)
        )
        .fetch_optional(self.pool())
        .await?;
        Ok(left.map_or(allowance.per_minute, |left| left.max(0).unsigned_abs()).min(allowance.at_once))
    }

    async fn count_tries(&self, receiver: &str, tries: usize) -> Result<(), StoreError> {
        if tries == 0 {
            return Ok(());
        }
        sqlx::query!(
            r#"
            insert into receivers as r (name, minute, tries)
            values ($1, date_trunc('minute', now()), $2)
            on conflict (name) do update
            set minute = excluded.minute,
                tries = excluded.tries + case when r.minute = excluded.minute then r.tries else 0 end
            "#,
            receiver,
            i32::try_from(tries).unwrap_or(i32::MAX)
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Writes down how a receiver took a request: its health, and the pause that it asked for.
    pub async fn note_try(&self, receiver: &str, tried: &Tried) -> Result<(), StoreError> {
        let (status, why, pause) = match tried {
            Tried::Delivered { status } => (Some(*status), None, Duration::ZERO),
            Tried::Retry { status, why, pause, .. } => (*status, Some(why), *pause),
            Tried::Dead { status, why } => (*status, Some(why), Duration::ZERO),
        };
        sqlx::query!(
            r#"
            insert into receivers as r (name, tried_at, status, error, failing_since, paused_until)
            values (
                $1, now(), $2, $3, case when $3::text is not null then now() end, now() + make_interval(secs => $4)
            )
            on conflict (name) do update
            set tried_at = excluded.tried_at,
                status = excluded.status,
                error = excluded.error,
                failing_since = case when excluded.error is not null then coalesce(r.failing_since, now()) end,
                paused_until = greatest(r.paused_until, excluded.paused_until)
            "#,
            receiver,
            status.map(i32::from),
            why,
            pause.as_secs_f64()
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Writes down how a try ended; `false` if its lease had ended and another took it over, who will say.
    pub async fn end_delivery(&self, due: &DueDelivery, tried: &Tried) -> Result<bool, StoreError> {
        let (state, status, why, wait) = match tried {
            Tried::Delivered { status } => ("delivered", Some(*status), None, Duration::ZERO),
            Tried::Retry { status, why, wait, .. } => ("pending", *status, Some(why), *wait),
            Tried::Dead { status, why } => ("dead", *status, Some(why), Duration::ZERO),
        };
        let ended = sqlx::query!(
            r#"
            update deliveries
            set state = $3,
                last_status = $4,
                last_error = $5,
                next_attempt_at = now() + make_interval(secs => $6),
                delivered_at = case when $3 = 'delivered' then now() end,
                claim = null,
                leased_until = '-infinity'
            where id = $1 and claim = $2
            "#,
            due.id,
            due.claim,
            state,
            status.map(i32::from),
            why,
            wait.as_secs_f64(),
        )
        .execute(self.pool())
        .await?;
        self.note_try(&due.receiver, tried).await?;
        Ok(ended.rows_affected() == 1)
    }

    /// Deliveries of one receiver that wait, and for how long the oldest has.
    pub async fn waiting_deliveries(&self, receiver: &str) -> Result<(i64, Duration), StoreError> {
        let waiting = sqlx::query!(
            r#"
            select count(*) as "count!", extract(epoch from now() - min(created_at))::float8 as lag_seconds
            from deliveries
            where receiver = $1 and state = 'pending'
            "#,
            receiver,
        )
        .fetch_one(self.pool())
        .await?;
        let lag = Duration::try_from_secs_f64(waiting.lag_seconds.unwrap_or_default()).unwrap_or_default();
        Ok((waiting.count, lag))
    }

    /// Gives up deliveries to receivers that the settings no longer name; nobody would ever try them.
    pub async fn give_up_deliveries(&self, known: &[String]) -> Result<u64, StoreError> {
        let ended = sqlx::query!(
            r#"
            update deliveries
            set state = 'dead', last_error = 'the settings no longer name this receiver', claim = null
            where state = 'pending' and receiver <> all($1)
            "#,
            known,
        )
        .execute(self.pool())
        .await?;
        Ok(ended.rows_affected())
    }
}
