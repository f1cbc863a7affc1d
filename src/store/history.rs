//! Questions about how often findings were seen over time.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::findings::millis;
use super::{Store, StoreError};
use crate::findings::Fingerprint;

/// What was seen of a finding within one hour of receipt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HourRow {
    /// When the hour began.
    pub hour: OffsetDateTime,
    /// Occurrences.
    pub occurrences: i64,
    /// Traces that show it.
    pub traces: i64,
    /// What all of them cost, in milliseconds.
    pub time_ms: f64,
}

impl Store {
    /// The hours in which a finding was seen, oldest first. `since` and `until` bound when an hour begins.
    pub async fn hours_of(
        &self,
        id: Fingerprint,
        since: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Vec<HourRow>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select hour, occurrences, traces, time_ns
            from finding_hours
            where fingerprint = $1 and $2 <= hour and hour < $3
            order by hour
            "#,
            id.0.cast_signed(),
            since,
            until
        )
        .fetch_all(self.pool())
        .await?;
        let rows = rows.into_iter().map(|row| HourRow {
            hour: row.hour,
            occurrences: row.occurrences,
            traces: row.traces,
            time_ms: millis(row.time_ns),
        });
        Ok(rows.collect())
    }

    /// Occurrences of open findings that nobody muted, by fallacy and day, oldest first.
    pub async fn days_by_fallacy(
        &self,
        since: OffsetDateTime,
    ) -> Result<BTreeMap<String, Vec<(OffsetDateTime, i64)>>, StoreError> {
        let rows = sqlx::query!(
            r#"
            select f.fallacy, date_trunc('day', h.hour) as "day!", sum(h.occurrences)::bigint as "occurrences!"
            from finding_hours h
            join findings f on f.fingerprint = h.fingerprint
            where $1 <= h.hour and f.status = 'open' and f.handling <> 'muted' and not f.canary
            group by f.fallacy, date_trunc('day', h.hour)
            order by f.fallacy, date_trunc('day', h.hour)
            "#,
            since
        )
        .fetch_all(self.pool())
        .await?;
        let mut days: BTreeMap<String, Vec<(OffsetDateTime, i64)>> = BTreeMap::new();
        for row in rows {
            days.entry(row.fallacy).or_default().push((row.day, row.occurrences));
        }
        Ok(days)
    }
}
