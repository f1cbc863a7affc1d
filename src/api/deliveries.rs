//! `/api/v1/deliveries`: what receivers were told, and trying it again.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::ApiError;
use super::{Asked, Command, List};
use crate::clock;
use crate::findings::Fingerprint;
use crate::store::{DeliveryRow, Retried, WantedDeliveries};
use crate::view::{Cursor, Failure, Shown, Slice};

const LIST: &str = "deliveries";

/// One change told to one receiver.
#[derive(Serialize)]
pub(super) struct Delivery {
    id: String,
    receiver: String,
    event: String,
    /// Id of the finding.
    finding: String,
    /// `pending`, `delivered` or `dead`.
    state: String,
    attempts: i32,
    /// Only where it is still to be tried.
    #[serde(with = "time::serde::rfc3339::option")]
    next_attempt_at: Option<OffsetDateTime>,
    /// HTTP status of the last answer, where one came.
    last_status: Option<i32>,
    last_error: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    delivered_at: Option<OffsetDateTime>,
}

/// Answers `GET /deliveries`.
pub(super) async fn list(
    State(shown): State<Shown>,
    Asked(mut parameters): Asked,
) -> Result<Json<List<Delivery>>, ApiError> {
    let states = [("pending", "pending"), ("delivered", "delivered"), ("dead", "dead")];
    let wanted = WantedDeliveries {
        receivers: parameters.texts("receiver")?,
        states: parameters.words("state", &states)?.into_iter().map(ToOwned::to_owned).collect(),
        finding: parameters.text("finding")?.map(|id| finding(&id)).transpose()?,
    };
    let after = parameters.text("after")?.map(|text| Cursor::key_of::<1>(&text, LIST)).transpose()?;
    let after = after.map(|[id]| Uuid::from_u128(id.cast_unsigned()));
    let limit = parameters.limit()?;
    parameters.finish()?;
    let rows = shown.store.deliveries(&wanted, after, limit + 1).await?;
    let slice = Slice::of(rows, limit, |last| Cursor::new(LIST, vec![last.id.as_u128().cast_signed()]));
    Ok(Json(List::of(slice, shape)))
}

/// Answers `POST /deliveries/{id}/retry`: it is tried as if it were new, under the same id.
pub(super) async fn retry(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    asked: Asked,
    command: Command,
) -> Result<StatusCode, ApiError> {
    asked.nothing()?;
    command.nothing()?;
    let unknown = || Failure::missing("such delivery");
    let id = Uuid::parse_str(&id).map_err(|_| unknown())?;
    let receiver = shown.store.receiver_of(id).await?.ok_or_else(unknown)?;
    if shown.receivers.find(&receiver).is_none() {
        return Err(Failure::conflict("the settings no longer name its receiver").into());
    }
    match shown.store.retry_delivery(id, clock::now()).await? {
        Retried::Due => Ok(StatusCode::ACCEPTED),
        Retried::Delivered => Err(Failure::conflict("its receiver has it already").into()),
        Retried::Unknown => Err(unknown().into()),
    }
}

fn finding(id: &str) -> Result<Fingerprint, Failure> {
    id.parse().map_err(|_| Failure::parameter("finding", "an id has 16 hex digits"))
}

fn shape(row: DeliveryRow) -> Delivery {
    Delivery {
        id: row.id.to_string(),
        receiver: row.receiver,
        event: row.event,
        finding: Fingerprint(row.fingerprint.cast_unsigned()).to_string(),
        next_attempt_at: (row.state == "pending").then_some(row.next_attempt_at),
        state: row.state,
        attempts: row.attempts,
        last_status: row.last_status,
        last_error: row.last_error,
        created_at: row.created_at,
        delivered_at: row.delivered_at,
    }
}
