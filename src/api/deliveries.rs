//! `/api/v1/deliveries`: what receivers were told, and trying it again.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::{Missing, Nothing, Paged, Refused, Unwanted, WhichDeliveries};
use super::{Asked, Command, List};
use crate::clock;
use crate::findings::Fingerprint;
use crate::store::DeliveryRow;
use crate::view::{DeliveryFilter, Shown};

/// One change told to one receiver.
#[derive(Serialize, ToSchema)]
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
#[utoipa::path(
    get, path = "/deliveries", tag = "alerts",
    params(WhichDeliveries, Paged),
    responses((status = 200, description = "Deliveries, newest first", body = List<Delivery>), Refused),
)]
pub(super) async fn list(
    State(shown): State<Shown>,
    Asked(parameters): Asked,
) -> Result<Json<List<Delivery>>, ApiError> {
    let slice = shown.deliveries(&DeliveryFilter::read(parameters)?).await?;
    Ok(Json(List::of(slice, shape)))
}

/// Answers `POST /deliveries/{id}/retry`: it is tried as if it were new, under the same id.
#[utoipa::path(
    post, path = "/deliveries/{id}/retry", tag = "alerts",
    request_body = Nothing,
    params(("id" = String, Path, description = "A UUID")),
    responses((status = 202, description = "It is tried again"), Missing, Unwanted, Refused),
)]
pub(super) async fn retry(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    asked: Asked,
    command: Command,
) -> Result<StatusCode, ApiError> {
    asked.nothing()?;
    command.nothing()?;
    shown.retry(&id, clock::now()).await?;
    Ok(StatusCode::ACCEPTED)
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
