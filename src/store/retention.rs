//! Days: made ahead, dropped whole. No span and nothing judged from one is deleted row by row, but for a day that
//! alone is more than may be kept (`trim.rs`); what is small and
//! lies in no day is, in batches.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use time::{Date, OffsetDateTime};

use super::error::sqlstate;
use super::pending::interval;
use super::{Days, Store, StoreError};

/// Nobody waits longer than this for the locks that dropping a day takes.
const LOCK_TIMEOUT: &str = "set lock_timeout = '2s'";
/// Rows that one statement deletes, so that none holds locks for long.
const BATCH: i64 = 5_000;

impl Store {
    /// Makes the partitions of one day, once, however many ask.
    pub async fn ensure_day(&self, day: Date) -> Result<(), StoreError> {
        sqlx::query!("select debunk_ensure_day($1)", day).execute(self.pool()).await?;
        Ok(())
    }

    /// Makes the partitions of every day that a span may be kept under, and of the day after them.
    pub async fn ensure_days(&self, days: &Days) -> Result<(), StoreError> {
        let ahead = days.last().next_day().unwrap_or(days.last());
        let mut day = days.first();
        while day <= ahead {
            self.ensure_day(day).await?;
            let Some(next) = day.next_day() else { break };
            day = next;
        }
        Ok(())
    }

    /// Drops days before the window, a day later than they could, so that spans which are on their way find theirs.
    /// Returns the tables dropped. Where others hold a day for too long, the rest waits for the next time.
    pub async fn drop_days(&self, days: &Days) -> Result<Vec<String>, StoreError> {
        self.drop(Old::Before(days.first().previous_day().unwrap_or(days.first()))).await
    }

    /// Drops the oldest day that holds anything, but never `today`'s, and makes it anew, empty, because spans of it may
    /// still come. Returns the tables dropped: none, when nothing older is left or others hold it for too long.
    pub async fn drop_oldest_day(&self, today: Date) -> Result<Vec<String>, StoreError> {
        let oldest = sqlx::query_scalar!(
            r#"
            select min(day)
            from debunk_days()
            where day < $1
                and (state <> 'attached' or 0 < pg_relation_size(child::regclass))
            "#,
            today
        );
        let Some(day) = oldest.fetch_one(self.pool()).await? else { return Ok(Vec::new()) };
        let dropped = self.drop(Old::Only(day)).await?;
        let left =
            sqlx::query_scalar!(r#"select count(*) as "left!" from debunk_days() where day = $1"#, day);
        // What others hold would hold us as well; the writer makes the day when a span of it comes.
        if left.fetch_one(self.pool()).await? == 0 {
            self.ensure_day(day).await?;
        }
        Ok(dropped)
    }

    async fn drop(&self, old: Old) -> Result<Vec<String>, StoreError> {
        let mut connection = self.pool().acquire().await?;
        // Its settings and its lock must not reach another question, whatever happens.
        connection.close_on_drop();
        let dropped = drop_tables(&mut connection, old).await;
        // The server takes a moment to notice a connection that is gone; the next pass need not wait for that.
        sqlx::query!("select pg_advisory_unlock_all()").execute(&mut *connection).await?;
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "a connection did not close in order");
        }
        dropped
    }

    /// Bytes of each table with its indexes, its days summed.
    pub async fn storage(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select t.name as "table!", sum(pg_total_relation_size(t.id))::bigint as "bytes!"
            from (
                select parent as name, child::regclass as id from debunk_days()
                union all
                select c.relname, c.oid::regclass
                from pg_class c
                where c.relnamespace = current_schema()::regnamespace
                    and c.relkind = 'r'
                    and c.relname not like '\_sqlx%'
                    and c.relname not in (select child from debunk_days())
            ) t
            group by t.name
            order by t.name
            "#
        );
        Ok(rows.fetch_all(self.pool()).await?.into_iter().map(|row| (row.table, row.bytes)).collect())
    }

    /// Bytes of each day with its indexes, oldest first; days that hold nothing are left out.
    pub async fn storage_days(&self) -> Result<Vec<(Date, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select day as "day!", sum(pg_total_relation_size(child::regclass))::bigint as "bytes!"
            from debunk_days()
            group by day
            having 0 < sum(pg_relation_size(child::regclass))
            order by day
            "#
        );
        Ok(rows.fetch_all(self.pool()).await?.into_iter().map(|row| (row.day, row.bytes)).collect())
    }

    /// Forgets deliveries that ended and were made more than `kept` ago. Returns how many; there may be more.
    pub async fn forget_deliveries(&self, now: OffsetDateTime, kept: Duration) -> Result<u64, StoreError> {
        let gone = sqlx::query!(
            r#"
            delete from deliveries
            where id in (
                select id
                from deliveries
                where state <> 'pending' and created_at <= $1::timestamptz - $2::interval
                limit $3
                for update skip locked
            )
            "#,
            now,
            interval(kept),
            BATCH
        );
        Ok(gone.execute(self.pool()).await?.rows_affected())
    }

    /// Forgets hours of more than `kept` ago, and all of findings that are gone. The hour in which a finding was first
    /// seen stays with it. Returns how many; there may be more.
    pub async fn forget_hours(&self, now: OffsetDateTime, kept: Duration) -> Result<u64, StoreError> {
        let gone = sqlx::query!(
            r#"
            delete from finding_hours
            where (fingerprint, hour) in (
                select h.fingerprint, h.hour
                from finding_hours h
                left join findings f on f.fingerprint = h.fingerprint
                where h.hour <= $1::timestamptz - $2::interval
                    and (f.fingerprint is null or date_trunc('hour', f.first_seen, 'UTC') <> h.hour)
                limit $3
                for update of h skip locked
            )
            "#,
            now,
            interval(kept),
            BATCH
        );
        Ok(gone.execute(self.pool()).await?.rows_affected())
    }

    /// Forgets resources and scopes that no kept span can name: a span may lie a day after its receipt, and its day is
    /// dropped a day late. Whoever uses one says so each day, in the transaction of its spans.
    pub async fn forget_emitters(&self, days: &Days) -> Result<u64, StoreError> {
        let before = days.first().saturating_sub(time::Duration::days(3));
        let mut gone = 0;
        let resources = sqlx::query!("delete from resources where last_day < $1", before);
        gone += resources.execute(self.pool()).await?.rows_affected();
        let scopes = sqlx::query!("delete from scopes where last_day < $1", before);
        gone += scopes.execute(self.pool()).await?.rows_affected();
        Ok(gone)
    }
}

/// Which days go.
#[derive(Clone, Copy)]
enum Old {
    Before(Date),
    Only(Date),
}

/// Detaching beside readers and writers waits for their transactions, and cannot run inside one.
async fn drop_tables(connection: &mut PgConnection, old: Old) -> Result<Vec<String>, StoreError> {
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *connection).await?;
    let alone =
        sqlx::query_scalar!("select pg_try_advisory_lock(hashtext('debunk_drop_days')) as \"alone!\"");
    if !alone.fetch_one(&mut *connection).await? {
        return Ok(Vec::new());
    }
    let (first, last) = match old {
        Old::Before(day) => (None, day.saturating_sub(time::Duration::DAY)),
        Old::Only(day) => (Some(day), day),
    };
    let old = sqlx::query!(
        r#"
        select parent as "parent!", child as "child!", state as "state!"
        from debunk_days()
        where ($1::date is null or $1 <= day) and day <= $2
        order by day, parent
        "#,
        first,
        last
    );
    let mut dropped = Vec::new();
    for table in old.fetch_all(&mut *connection).await? {
        // The names come from the catalogue, where only our own function makes them.
        let (parent, child) = (&table.parent, &table.child);
        let detach = match table.state.as_str() {
            "attached" => Some(format!("alter table {parent} detach partition {child} concurrently")),
            "detaching" => Some(format!("alter table {parent} detach partition {child} finalize")),
            _ => None,
        };
        for statement in detach.into_iter().chain([format!("drop table {child}")]) {
            match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await {
                Ok(_) => {}
                Err(error) if sqlstate(&error).as_deref() == Some("55P03") => {
                    tracing::info!(table = child, "an old day is in use; it is dropped later");
                    return Ok(dropped);
                }
                Err(error) => return Err(error.into()),
            }
        }
        dropped.push(table.child);
    }
    Ok(dropped)
}
