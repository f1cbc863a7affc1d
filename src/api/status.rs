//! `/api/v1/status`.

use axum::Json;
use axum::extract::State;

use super::Asked;
use super::error::ApiError;
use super::openapi::Refused;
use crate::view::{Shown, Status};

/// Answers `GET /status`.
#[utoipa::path(
    get, path = "/status", tag = "service",
    responses((status = 200, description = "How it is", body = Status), Refused),
)]
pub(super) async fn show(State(shown): State<Shown>, asked: Asked) -> Result<Json<Status>, ApiError> {
    asked.nothing()?;
    Ok(Json(shown.status().await?))
}
