//! `/api/v1/findings/{id}/decisions`: what people decide, and the log of it.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::{Missing, Refused, Unwanted, Wish};
use super::{Asked, Command};
use crate::clock;
use crate::findings::decision::{Action, Reason};
use crate::rules::Severity;
use crate::store::{ChangeRow, DecisionRow};
use crate::view::{Failure, Shown, decide as wish};

/// One decision of the log.
#[derive(Serialize, ToSchema)]
pub(super) struct Decision {
    id: String,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// When a mute ends by itself.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    until: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Name of the token that asked, where one is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// One change of the log, by evidence or by a person.
#[derive(Serialize, ToSchema)]
pub(super) struct Change {
    event: String,
    reason: String,
    severity: Severity,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

impl From<DecisionRow> for Decision {
    fn from(row: DecisionRow) -> Self {
        let DecisionRow { id, action, reason, until, note, who, at } = row;
        Self { id: id.to_string(), action, reason, until, note, who, at }
    }
}

impl From<ChangeRow> for Change {
    fn from(row: ChangeRow) -> Self {
        let ChangeRow { event, reason, severity, at } = row;
        Self { event, reason, severity, at }
    }
}

/// Answers `POST /findings/{id}/decisions`: 409 where the decision does not apply to how the finding is.
#[utoipa::path(
    post, path = "/findings/{id}/decisions", tag = "findings",
    request_body = Wish,
    params(("id" = String, Path, description = "Fingerprint, 16 hex digits")),
    responses((status = 201, description = "It holds", body = Decision), Missing, Unwanted, Refused),
)]
pub(super) async fn decide(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    asked: Asked,
    Command(parameters): Command,
) -> Result<(StatusCode, Json<Decision>), ApiError> {
    asked.nothing()?;
    let decision = wish::read(parameters, clock::now())?;
    let row = shown.decide(&id, &decision).await?.ok_or_else(|| Failure::missing("such finding"))?;
    Ok((StatusCode::CREATED, Json(row.into())))
}
