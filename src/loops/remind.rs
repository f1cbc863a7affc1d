//! Tells receivers again of what is still so: people after a while of what nobody acknowledged, and Alertmanager of all
//! that fires, since it takes what it does not hear of for resolved.

use super::Progress;
use crate::alert::{Answer, Receiver};
use crate::clock;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

/// One pass for one receiver. Several replicas may make it at once: a reminder is written once, and what is refreshed may
/// be told twice.
pub async fn remind(store: &Store, receiver: &Receiver, metrics: &Metrics) -> Result<Progress, StoreError> {
    if receiver.is_disabled() {
        return Ok(Progress::Idle);
    }
    if receiver.forgets() {
        refresh(store, receiver, metrics).await?;
    }
    let Some(every) = receiver.remind_every() else { return Ok(Progress::Idle) };
    let tell = |change: &_| receiver.delivery(change);
    let written = store.remind(receiver.name(), receiver.scope(), every, clock::now(), &tell).await?;
    Ok(if written == 0 { Progress::Idle } else { Progress::Worked })
}

/// What fails is made up for by the next pass, long before the receiver forgets.
async fn refresh(store: &Store, receiver: &Receiver, metrics: &Metrics) -> Result<(), StoreError> {
    let standing = store.standing(receiver.scope(), clock::now()).await?;
    let name = receiver.name();
    match receiver.refresh(&standing).await {
        None => {}
        Some(Answer::Delivered { .. }) => metrics.delivery(name, "refreshed"),
        Some(Answer::Later { why, .. } | Answer::Refused { why, .. }) => {
            metrics.delivery(name, "not_refreshed");
            tracing::warn!(receiver = name, why, "what fires could not be told again");
        }
    }
    Ok(())
}
