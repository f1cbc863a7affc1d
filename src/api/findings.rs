//! `/api/v1/findings`: the list, one of them, its occurrences.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::decisions::{Change, Decision};
use super::error::ApiError;
use super::openapi::{InEnvironment, Missing, OfService, Paged, Refused, WhichFindings, Within};
use super::{Asked, List};
use crate::clock;
use crate::findings::shape::{Finding, Occurrence};
use crate::store::HourRow;
use crate::view::{Detail, Failure, Filter, Shown};

/// A finding, how to fix it, and the trace that shows it best.
#[derive(Serialize, ToSchema)]
#[schema(as = FindingDetail)]
pub(super) struct Whole {
    #[serde(flatten)]
    finding: Finding,
    /// Markdown, from the rule's page.
    remedy: Option<String>,
    /// What the spans of the example could not show.
    not_visible: Vec<String>,
    /// Newest occurrence that is still kept.
    example: Option<Occurrence>,
    related: Vec<Related>,
    /// Newest first.
    decisions: Vec<Decision>,
    /// Newest first.
    changes: Vec<Change>,
}

/// Another finding at the same place.
#[derive(Serialize, ToSchema)]
struct Related {
    id: String,
    /// `covered_by`: the other one counts and says the same and more. `covers`: the other way round.
    relation: &'static str,
}

/// Answers `GET /findings`.
#[utoipa::path(
    get, path = "/findings", tag = "findings",
    params(WhichFindings, OfService, InEnvironment, Within, Paged),
    responses((status = 200, description = "Findings", body = List<Finding>), Refused),
)]
pub(super) async fn list(
    State(shown): State<Shown>,
    Asked(parameters): Asked,
) -> Result<Json<List<Finding>>, ApiError> {
    let filter = Filter::read(parameters, clock::now())?;
    Ok(Json(List::of(shown.findings(&filter).await?, |finding| finding)))
}

/// Answers `GET /findings/{id}`.
#[utoipa::path(
    get, path = "/findings/{id}", tag = "findings",
    params(("id" = String, Path, description = "Fingerprint, 16 hex digits")),
    responses((status = 200, description = "The finding", body = Whole), Missing, Refused),
)]
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<Whole>, ApiError> {
    asked.nothing()?;
    let found = shown.finding(&id, 1).await?;
    Ok(Json(whole(found.ok_or_else(|| Failure::missing("such finding"))?)))
}

/// Answers `GET /findings/{id}/occurrences`.
#[utoipa::path(
    get, path = "/findings/{id}/occurrences", tag = "findings",
    params(("id" = String, Path, description = "Fingerprint, 16 hex digits"), Within, Paged),
    responses(
        (status = 200, description = "Traces that show it, newest first", body = List<Occurrence>),
        Missing,
        Refused,
    ),
)]
pub(super) async fn occurrences(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    Asked(parameters): Asked,
) -> Result<Json<List<Occurrence>>, ApiError> {
    let found = shown.occurrences(&id, parameters, clock::now()).await?;
    let slice = found.ok_or_else(|| Failure::missing("such finding"))?;
    Ok(Json(List::of(slice, |sighting| sighting.occurrence)))
}

/// How often a finding was seen, by hour of receipt. Hours without are left out.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    step: &'static str,
    points: Vec<Point>,
}

/// One hour of it.
#[derive(Serialize, ToSchema)]
struct Point {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    occurrences: i64,
    traces: i64,
    time_ms: f64,
}

/// Answers `GET /findings/{id}/history`.
#[utoipa::path(
    get, path = "/findings/{id}/history", tag = "findings",
    params(("id" = String, Path, description = "Fingerprint, 16 hex digits"), Within),
    responses(
        (status = 200, description = "How often it was seen, by hour", body = History),
        Missing,
        Refused,
    ),
)]
pub(super) async fn history(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    Asked(parameters): Asked,
) -> Result<Json<History>, ApiError> {
    let hours = shown.history(&id, parameters, clock::now()).await?;
    let hours = hours.ok_or_else(|| Failure::missing("such finding"))?;
    let points = hours.into_iter().map(|row| {
        let HourRow { hour, occurrences, traces, time_ms } = row;
        Point { at: hour, occurrences, traces, time_ms }
    });
    Ok(Json(History { step: "1h", points: points.collect() }))
}

fn whole(detail: Detail) -> Whole {
    let example = detail.recent.into_iter().next().map(|sighting| sighting.occurrence);
    let related = detail.related.into_iter().map(|related| Related {
        id: related.finding.to_string(),
        relation: if related.covers_this { "covered_by" } else { "covers" },
    });
    Whole {
        finding: detail.finding,
        remedy: detail.remedy,
        not_visible: example.as_ref().map(|example| example.not_visible.clone()).unwrap_or_default(),
        example,
        related: related.collect(),
        decisions: detail.decisions.into_iter().map(Decision::from).collect(),
        changes: detail.changes.into_iter().map(Change::from).collect(),
    }
}
