//! Brings the tables up to date, makes the days that spans will need, and drops those past retention.

use std::time::Duration;

use crate::clock;
use crate::store::{Days, Store, StoreError};

use super::Progress;

/// One pass. The first that reaches the database also migrates it, so that the service may start before it.
pub async fn keep(store: &Store, retention: Duration) -> Result<Progress, StoreError> {
    if !store.is_prepared() {
        store.migrate().await?;
    }
    let days = Days::new(clock::now().date(), retention);
    store.ensure_days(&days).await?;
    let dropped = store.drop_days(&days).await?;
    if !dropped.is_empty() {
        tracing::info!(tables = dropped.len(), "dropped days past retention");
    }
    Ok(Progress::Idle)
}
