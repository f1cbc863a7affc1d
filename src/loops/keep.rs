//! Brings the tables up to date, makes the days that spans will need, and lets go of what is past retention.

use time::OffsetDateTime;

use super::Progress;
use super::fit::count_days;
use crate::clock;
use crate::config::Retention;
use crate::store::{Days, Store, StoreError};
use crate::telemetry::Metrics;

/// One pass. The first that reaches the database also migrates it, so that the service may start before it.
pub async fn keep(store: &Store, retention: &Retention, metrics: &Metrics) -> Result<Progress, StoreError> {
    if !store.is_prepared() {
        store.migrate().await?;
    }
    let now = clock::now();
    let days = Days::new(now.date(), retention.traces.0);
    store.ensure_days(&days).await?;
    let dropped = count_days(&store.drop_days(&days).await?);
    if 0 < dropped {
        metrics.dropped_days("age", dropped);
        tracing::info!(days = dropped, "dropped days past retention");
    }
    forget(store, retention, &days, now).await?;
    Ok(Progress::Idle)
}

/// What lies in no day.
async fn forget(
    store: &Store,
    retention: &Retention,
    days: &Days,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let mut deliveries = 0;
    let mut hours = 0;
    while let gone @ 1.. = store.forget_deliveries(now, retention.deliveries.0).await? {
        deliveries += gone;
    }
    while let gone @ 1.. = store.forget_hours(now, retention.findings.0).await? {
        hours += gone;
    }
    let emitters = store.forget_emitters(days).await?;
    if 0 < deliveries + hours + emitters {
        tracing::info!(deliveries, hours, emitters, "forgot what is past retention");
    }
    Ok(())
}
