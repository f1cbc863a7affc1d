//! Room within a day that cannot be dropped: the traces of it that were received first go, row by row, and what they
//! held is filled again. Dearer than dropping a day, so this is for a day that alone is more than may be kept.

use sqlx::{AssertSqlSafe, Connection as _};
use time::Date;
use uuid::Uuid;

use super::{Store, StoreError};

/// Traces that one transaction removes, so that none holds locks for long.
const BATCH: i64 = 500;

/// What lies in one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayUse {
    /// Bytes of its tables with their indexes, the free room in them included.
    pub bytes: i64,
    /// Traces: those judged, and those that await it.
    pub traces: i64,
}

impl Store {
    /// What lies in the day.
    pub async fn day_use(&self, day: Date) -> Result<DayUse, StoreError> {
        let row = sqlx::query_as!(
            DayUse,
            r#"
            select
                coalesce(sum(pg_total_relation_size(d.child::regclass)), 0)::bigint as "bytes!",
                (
                    (select count(*) from traces where traces.day = $1)
                    + (
                        select count(*)
                        from pending p
                        where p.first_day = $1
                            and not exists (select from traces t where t.trace_id = p.trace_id and t.day = $1)
                            and exists (select from spans s where s.trace_id = p.trace_id and s.day = $1)
                    )
                ) as "traces!"
            from debunk_days() d
            where d.day = $1
            "#,
            day
        );
        Ok(row.fetch_one(self.pool()).await?)
    }

    /// Removes up to `count` traces of the day, those received first, with all that was judged from them. What their
    /// findings were seen hour by hour stays. Returns how many.
    pub async fn trim_day(&self, day: Date, count: u64) -> Result<u64, StoreError> {
        let mut gone = 0;
        while gone < count {
            let most = BATCH.min(i64::try_from(count - gone).unwrap_or(BATCH));
            let ids = self.oldest_traces(day, most).await?;
            if ids.is_empty() {
                break;
            }
            self.remove_traces(day, &ids).await?;
            gone += ids.len() as u64;
        }
        Ok(gone)
    }

    async fn oldest_traces(&self, day: Date, most: i64) -> Result<Vec<Uuid>, StoreError> {
        let ids = sqlx::query_scalar!(
            r#"
            select known.trace_id as "trace_id!"
            from (
                select trace_id, received_at from traces where day = $1
                union all
                select p.trace_id, p.first_seen
                from pending p
                where p.first_day = $1
                    and not exists (select from traces t where t.trace_id = p.trace_id and t.day = $1)
                    and exists (select from spans s where s.trace_id = p.trace_id and s.day = $1)
            ) known
            order by known.received_at
            limit $2
            "#,
            day,
            most
        );
        Ok(ids.fetch_all(self.pool()).await?)
    }

    /// In the order in which judging replaces them, spans last.
    async fn remove_traces(&self, day: Date, ids: &[Uuid]) -> Result<(), StoreError> {
        let mut connection = self.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        sqlx::query!("delete from occurrences where trace_id = any($1) and day = $2", ids, day)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!("delete from units where trace_id = any($1) and day = $2", ids, day)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!("delete from calls where trace_id = any($1) and day = $2", ids, day)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!("delete from traces where trace_id = any($1) and day = $2", ids, day)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!("delete from spans where trace_id = any($1) and day = $2", ids, day)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Makes the room of removed rows free for new ones at once, instead of whenever the server comes by.
    pub async fn reuse_day(&self, day: Date) -> Result<(), StoreError> {
        let tables = sqlx::query_scalar!(
            r#"select child as "child!" from debunk_days() where day = $1 and state = 'attached' order by child"#,
            day
        );
        let tables = tables.fetch_all(self.pool()).await?;
        let mut connection = self.pool().acquire().await?;
        // A large table takes longer than a statement may; the setting must not outlive this connection.
        connection.close_on_drop();
        sqlx::query!("set statement_timeout = 0").execute(&mut *connection).await?;
        for table in tables {
            // The names come from the catalogue, where only our own function makes them.
            let vacuum = format!("vacuum (truncate off) {table}");
            sqlx::raw_sql(AssertSqlSafe(vacuum)).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
