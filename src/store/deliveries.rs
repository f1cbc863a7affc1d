//! Questions about what receivers were told, and the one thing that a person may do about it: have it tried again.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::findings::Fingerprint;

/// Which deliveries. Empty lists and `None` mean "any".
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct WantedDeliveries {
    pub receivers: Vec<String>,
    pub states: Vec<String>,
    pub finding: Option<Fingerprint>,
}

/// One change told to one receiver.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct DeliveryRow {
    pub id: Uuid,
    pub receiver: String,
    pub event: String,
    pub fingerprint: i64,
    pub state: String,
    pub attempts: i32,
    pub next_attempt_at: OffsetDateTime,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub created_at: OffsetDateTime,
    pub delivered_at: Option<OffsetDateTime>,
}

/// How telling one receiver goes.
#[derive(Clone, Debug)]
pub struct ReceiverRow {
    /// Its name.
    pub receiver: String,
    /// Deliveries that wait.
    pub pending: i64,
    /// Deliveries that were given up.
    pub dead: i64,
    /// When the oldest that waits was made.
    pub oldest_pending_at: Option<OffsetDateTime>,
    /// When it last took one.
    pub last_delivered_at: Option<OffsetDateTime>,
    /// When it was last posted to.
    pub tried_at: Option<OffsetDateTime>,
    /// Status that it answered then.
    pub status: Option<i32>,
    /// What was wrong then; `None` where it took it.
    pub error: Option<String>,
    /// First failed try since the last that went well.
    pub failing_since: Option<OffsetDateTime>,
    /// It asked not to be posted to before.
    pub paused_until: Option<OffsetDateTime>,
}

/// What became of the wish to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It is tried next.
    Due,
    /// The receiver has it already.
    Delivered,
    /// Nothing has that id.
    Unknown,
}

impl Store {
    /// Deliveries, newest first, at most `limit`, older than `after`.
    pub async fn deliveries(
        &self,
        wanted: &WantedDeliveries,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = sqlx::query_as!(
            DeliveryRow,
            r#"
            select
                id, receiver, event, fingerprint, state, attempts, next_attempt_at, last_status, last_error,
                created_at, delivered_at
            from deliveries
            where (cardinality($1::text[]) = 0 or receiver = any($1))
                and (cardinality($2::text[]) = 0 or state = any($2))
                and ($3::bigint is null or fingerprint = $3)
                and ($4::uuid is null or id < $4)
            order by id desc
            limit $5
            "#,
            &wanted.receivers,
            &wanted.states,
            wanted.finding.map(|finding| finding.0.cast_signed()),
            after,
            i64::from(limit)
        );
        Ok(rows.fetch_all(self.pool()).await?)
    }

    /// How telling each of these receivers goes, in their order.
    pub async fn receivers(&self, names: &[String]) -> Result<Vec<ReceiverRow>, StoreError> {
        let rows = sqlx::query_as!(
            ReceiverRow,
            r#"
            select
                w.name as "receiver!",
                count(*) filter (where d.state = 'pending') as "pending!",
                count(*) filter (where d.state = 'dead') as "dead!",
                min(d.created_at) filter (where d.state = 'pending') as oldest_pending_at,
                max(d.delivered_at) as last_delivered_at,
                r.tried_at as "tried_at?",
                r.status as "status?",
                r.error as "error?",
                r.failing_since as "failing_since?",
                case when now() < r.paused_until then r.paused_until end as "paused_until?"
            from unnest($1::text[]) with ordinality as w (name, place)
            left join deliveries d on d.receiver = w.name
            left join receivers r on r.name = w.name
            group by w.name, w.place, r.name
            order by w.place
            "#,
            names
        );
        Ok(rows.fetch_all(self.pool()).await?)
    }

    /// The receiver that a delivery is for; `None` when nothing has that id.
    pub async fn receiver_of(&self, id: Uuid) -> Result<Option<String>, StoreError> {
        let receiver = sqlx::query_scalar!("select receiver from deliveries where id = $1", id);
        Ok(receiver.fetch_optional(self.pool()).await?)
    }

    /// Makes a delivery due now, under the same id and with all its tries before it, unless its receiver has it. A try
    /// that is under way goes on.
    pub async fn retry_delivery(&self, id: Uuid, now: OffsetDateTime) -> Result<Retried, StoreError> {
        let row = sqlx::query!(
            r#"
            with known as (
                select id, state from deliveries where id = $1 for update
            ), retried as (
                update deliveries d
                set state = 'pending', attempts = 0, next_attempt_at = $2
                from known k
                where d.id = k.id and k.state <> 'delivered'
                returning d.id
            )
            select k.state as "state!", exists (select from retried) as "retried!"
            from known k
            "#,
            id,
            now
        )
        .fetch_optional(self.pool())
        .await?;
        Ok(match row {
            None => Retried::Unknown,
            Some(row) if row.retried => Retried::Due,
            Some(_) => Retried::Delivered,
        })
    }
}
