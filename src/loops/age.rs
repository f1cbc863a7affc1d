//! What time does to findings: those that fell silent are resolved, mutes end, what the settings suppress is muted,
//! and what nobody needs any more is forgotten.

use std::sync::Arc;

use super::Progress;
use crate::alert::Receivers;
use crate::clock;
use crate::config::Config;
use crate::store::{Store, StoreError};

/// One pass, in small transactions. Several replicas may make it at once.
pub async fn age(store: &Store, config: &Arc<Config>, receivers: &Receivers) -> Result<Progress, StoreError> {
    let now = clock::now();
    let after = config.findings.resolve_after.0;
    let tell = |change: &_| receivers.deliveries(change);
    let resolved = store.resolve_quiet_findings(now, after, &tell).await?;
    let suppressed = store.apply_suppressions(&config.suppress, now, &tell).await?;
    let unmuted = store.end_mutes(now, &tell).await?;
    let gone = store.forget_findings(now, config.retention.findings.0).await?;
    if resolved == 0 && suppressed == 0 && unmuted == 0 && gone == 0 {
        return Ok(Progress::Idle);
    }
    tracing::info!(resolved, suppressed, unmuted, gone, "findings grew old");
    Ok(Progress::Worked)
}
