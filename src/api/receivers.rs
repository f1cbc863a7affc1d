//! `/api/v1/receivers`: who is told, how that goes, and a message to try it with. URLs and secrets are not shown.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::ApiError;
use super::{Asked, Command, List};
use crate::alert::Answer;
use crate::clock;
use crate::store::ReceiverRow;
use crate::view::{Failure, Shown};

/// A receiver and its health.
#[derive(Serialize)]
pub(super) struct Health {
    name: String,
    /// The host of its URL: the rest may be a secret.
    host: String,
    /// It answered 410 and is left alone until this process starts again.
    disabled: bool,
    pending: i64,
    dead: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    oldest_pending_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_delivered_at: Option<OffsetDateTime>,
}

/// How a test went.
#[derive(Serialize)]
pub(super) struct Tested {
    /// Id of the message, as the receiver saw it.
    id: String,
    delivered: bool,
    /// HTTP status of the answer, where one came.
    status: Option<u16>,
    error: Option<String>,
}

/// Answers `GET /receivers`, in the order of the settings.
pub(super) async fn list(State(shown): State<Shown>, asked: Asked) -> Result<Json<List<Health>>, ApiError> {
    asked.nothing()?;
    let names: Vec<String> = shown.receivers.iter().map(|receiver| receiver.name().to_owned()).collect();
    let rows = shown.store.receivers(&names).await?;
    let items = rows.into_iter().filter_map(|row| shape(&shown, row)).collect();
    Ok(Json(List { items, next: None }))
}

/// Answers `POST /receivers/{name}/test`: one message of type `test`, once, now.
pub(super) async fn test(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    asked: Asked,
    command: Command,
) -> Result<Json<Tested>, ApiError> {
    asked.nothing()?;
    command.nothing()?;
    let receiver = shown.receivers.find(&name).ok_or_else(|| Failure::missing("such receiver"))?;
    let id = Uuid::now_v7();
    let (delivered, status, error) = match receiver.test(id, clock::now()).await {
        Answer::Delivered { status } => (true, Some(status), None),
        Answer::Later { status, why, .. } => (false, status, Some(why)),
        Answer::Refused { status, why } => (false, Some(status), Some(why)),
    };
    Ok(Json(Tested { id: id.to_string(), delivered, status, error }))
}

fn shape(shown: &Shown, row: ReceiverRow) -> Option<Health> {
    let receiver = shown.receivers.find(&row.receiver)?;
    Some(Health {
        host: receiver.host().to_owned(),
        disabled: receiver.is_disabled(),
        name: row.receiver,
        pending: row.pending,
        dead: row.dead,
        oldest_pending_at: row.oldest_pending_at,
        last_delivered_at: row.last_delivered_at,
    })
}
