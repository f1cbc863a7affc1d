//! `/api/v1/rules`: what is looked for, and with which thresholds.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::{Missing, Refused};
use super::{Asked, List};
use crate::rules::{self, Fallacy};
use crate::view::{Failure, Shown, tagged};

/// A rule.
#[derive(Serialize, ToSchema)]
pub(super) struct Rule {
    id: &'static str,
    fallacy: Fallacy,
    title: String,
    /// What it looks at: one trace at a time.
    kind: &'static str,
    enabled: bool,
    thresholds: Value,
    /// Findings that are open now.
    open: i64,
}

/// A rule and its page.
#[derive(Serialize, ToSchema)]
#[schema(as = RuleDetail)]
struct Whole {
    #[serde(flatten)]
    rule: Rule,
    /// Markdown.
    page: String,
}

/// Answers `GET /rules`.
#[utoipa::path(
    get, path = "/rules", tag = "rules",
    responses((status = 200, description = "All rules", body = List<Rule>), Refused),
)]
pub(super) async fn list(State(shown): State<Shown>, asked: Asked) -> Result<Json<List<Rule>>, ApiError> {
    asked.nothing()?;
    let open = open(&shown).await?;
    let items = rules::RULES.iter().map(|rule| shape(rule, &shown, &open)).collect();
    Ok(Json(List { items, next: None }))
}

/// Answers `GET /rules/{id}`.
#[utoipa::path(
    get, path = "/rules/{id}", tag = "rules",
    params(("id" = String, Path, description = "Id of a rule")),
    responses(
        (status = 200, description = "The rule", body = Whole),
        (status = 304, description = "As it was, by its `etag`."),
        Missing,
        Refused,
    ),
)]
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, ApiError> {
    asked.nothing()?;
    let rule = rules::find(&id).ok_or_else(|| Failure::missing("such rule"))?;
    let open = open(&shown).await?;
    let whole = Whole { rule: shape(rule, &shown, &open), page: rule.page() };
    let body = serde_json::to_string(&whole).map_err(|error| {
        tracing::error!(rule = rule.id, %error, "cannot shape a rule");
        Failure::Broken
    })?;
    Ok(tagged(&headers, "application/json", body))
}

/// Open findings by rule.
async fn open(shown: &Shown) -> Result<Vec<(String, i64)>, Failure> {
    let counts = shown.store.open_counts().await?;
    Ok(counts.into_iter().map(|count| (count.rule, count.open)).collect())
}

fn shape(rule: &rules::Rule, shown: &Shown, open: &[(String, i64)]) -> Rule {
    Rule {
        id: rule.id,
        fallacy: rule.fallacy,
        title: rule.title(),
        kind: "trace",
        enabled: rule.is_enabled(&shown.config.rules),
        thresholds: rule.thresholds(&shown.config.rules),
        open: open.iter().filter(|(id, _)| id == rule.id).map(|(_, count)| count).sum(),
    }
}
