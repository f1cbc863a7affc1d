//! `/api/v1/receivers`: who is told, how that goes, and a message to try it with. URLs and secrets are not shown.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::{Missing, Nothing, Refused, Unwanted};
use super::{Asked, Command, List};
use crate::alert::Answer;
use crate::view::{Health as Known, Shown};

/// A receiver and its health.
#[derive(Serialize, ToSchema)]
#[schema(as = Receiver)]
pub(super) struct Health {
    name: String,
    /// The host of its URL: the rest may be a secret.
    host: String,
    /// `ok`, `failing`, `paused` or `disabled`.
    state: &'static str,
    /// It answered 410 and is left alone until this process starts again.
    disabled: bool,
    pending: i64,
    dead: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    oldest_pending_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    last_delivered_at: Option<OffsetDateTime>,
    /// The last request to it, tests included: when, what it answered, and what was wrong; null where nothing was.
    #[serde(with = "time::serde::rfc3339::option")]
    last_tried_at: Option<OffsetDateTime>,
    last_status: Option<i32>,
    last_error: Option<String>,
    /// First failed request since the last that went well.
    #[serde(with = "time::serde::rfc3339::option")]
    failing_since: Option<OffsetDateTime>,
    /// It asked not to be told anything before.
    #[serde(with = "time::serde::rfc3339::option")]
    paused_until: Option<OffsetDateTime>,
}

/// How a test went.
#[derive(Serialize, ToSchema)]
pub(super) struct Tested {
    /// Id of the message, as the receiver saw it.
    id: String,
    delivered: bool,
    /// HTTP status of the answer, where one came.
    status: Option<u16>,
    error: Option<String>,
}

/// Answers `GET /receivers`, in the order of the settings.
#[utoipa::path(
    get, path = "/receivers", tag = "alerts",
    responses(
        (status = 200, description = "Receivers in the order of the settings", body = List<Health>),
        Refused,
    ),
)]
pub(super) async fn list(State(shown): State<Shown>, asked: Asked) -> Result<Json<List<Health>>, ApiError> {
    asked.nothing()?;
    let items = shown.health().await?.into_iter().map(shape).collect();
    Ok(Json(List { items, next: None }))
}

/// Answers `POST /receivers/{name}/test`: one message of type `test`, once, now.
#[utoipa::path(
    post, path = "/receivers/{name}/test", tag = "alerts",
    request_body = Nothing,
    params(("name" = String, Path, description = "As the settings call it")),
    responses(
        (status = 200, description = "How the test went", body = Tested),
        Missing,
        Unwanted,
        Refused,
    ),
)]
pub(super) async fn test(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    asked: Asked,
    command: Command,
) -> Result<Json<Tested>, ApiError> {
    asked.nothing()?;
    command.nothing()?;
    let tested = shown.test(&name).await?;
    let (delivered, status, error) = match tested.answer {
        Answer::Delivered { status } => (true, Some(status), None),
        Answer::Later { status, why, .. } => (false, status, Some(why)),
        Answer::Refused { status, why } => (false, Some(status), Some(why)),
    };
    Ok(Json(Tested { id: tested.id.to_string(), delivered, status, error }))
}

fn shape(known: Known<'_>) -> Health {
    let state = known.state().id();
    let Known { receiver, row } = known;
    Health {
        host: receiver.host().to_owned(),
        state,
        disabled: receiver.is_disabled(),
        name: row.receiver,
        pending: row.pending,
        dead: row.dead,
        oldest_pending_at: row.oldest_pending_at,
        last_delivered_at: row.last_delivered_at,
        last_tried_at: row.tried_at,
        last_status: row.status,
        last_error: row.error,
        failing_since: row.failing_since,
        paused_until: row.paused_until,
    }
}
