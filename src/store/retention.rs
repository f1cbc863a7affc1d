//! Days: made ahead, dropped whole. Nothing is ever deleted row by row.

use sqlx::{AssertSqlSafe, PgConnection};
use time::Date;

use super::error::sqlstate;
use super::{Days, Store, StoreError};

/// Nobody waits longer than this for the locks that dropping a day takes.
const LOCK_TIMEOUT: &str = "set lock_timeout = '2s'";

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
        let before = days.first().previous_day().unwrap_or(days.first());
        let mut connection = self.pool().acquire().await?;
        // Its settings and its lock must not reach another question, whatever happens.
        connection.close_on_drop();
        let dropped = drop_before(&mut connection, before).await;
        // The server takes a moment to notice a connection that is gone; the next pass need not wait for that.
        sqlx::query!("select pg_advisory_unlock_all()").execute(&mut *connection).await?;
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "a connection did not close in order");
        }
        dropped
    }
}

/// Detaching beside readers and writers waits for their transactions, and cannot run inside one.
async fn drop_before(connection: &mut PgConnection, before: Date) -> Result<Vec<String>, StoreError> {
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *connection).await?;
    let alone =
        sqlx::query_scalar!("select pg_try_advisory_lock(hashtext('debunk_drop_days')) as \"alone!\"");
    if !alone.fetch_one(&mut *connection).await? {
        return Ok(Vec::new());
    }
    let old = sqlx::query!(
        r#"
        select parent as "parent!", child as "child!", state as "state!"
        from debunk_days()
        where day < $1
        order by day, parent
        "#,
        before
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
