//! `/api/v1/services`, `/api/v1/map` and `/api/v1/fallacies`: who does what with whose help, and what is wrong with it.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::{InEnvironment, Lately, Missing, OfService, Paged, Refused};
use super::{Asked, List};
use crate::clock;
use crate::rules::{Fallacy, RULES, Severity};
use crate::store::{Pace, PartRow, ServiceRow};
use crate::view::{Failure, Place, Shown};

/// How often, how often badly, how long.
#[derive(Serialize, ToSchema)]
struct Times {
    error_ratio: f64,
    p50_ms: f64,
    p95_ms: f64,
}

/// A service in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Service {
    name: String,
    environments: Vec<String>,
    versions: Vec<String>,
    instances: i64,
    units: i64,
    #[serde(flatten)]
    times: Times,
    /// Open findings that nobody muted.
    open: i64,
    worst: Option<Severity>,
}

/// One service whole.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceDetail)]
pub(super) struct Whole {
    #[serde(flatten)]
    service: Service,
    operations: Vec<Operation>,
    callers: Vec<Neighbour>,
    callees: Vec<Neighbour>,
}

#[derive(Serialize, ToSchema)]
struct Operation {
    name: String,
    units: i64,
    #[serde(flatten)]
    times: Times,
}

#[derive(Serialize, ToSchema)]
struct Neighbour {
    name: String,
    operation: String,
    calls: i64,
    #[serde(flatten)]
    times: Times,
}

/// Who asks whom.
#[derive(Serialize, ToSchema)]
pub(super) struct Map {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Serialize, ToSchema)]
struct Node {
    id: String,
    name: String,
    /// `service`, or `outside` for what sends no spans.
    kind: &'static str,
    /// Absent for what exports no spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95_ms: Option<f64>,
    worst: Option<Severity>,
}

#[derive(Serialize, ToSchema)]
struct Edge {
    caller: String,
    callee: String,
    calls: i64,
    error_ratio: f64,
    p95_ms: f64,
    worst: Option<Severity>,
}

/// One fallacy of the board.
#[derive(Serialize, ToSchema)]
#[schema(as = FallacyRow)]
pub(super) struct Row {
    fallacy: Fallacy,
    title: &'static str,
    open: i64,
    candidate: i64,
    worst: Option<Severity>,
    rules: Vec<&'static str>,
}

/// Answers `GET /services`.
#[utoipa::path(
    get, path = "/services", tag = "services",
    params(InEnvironment, Lately, Paged),
    responses((status = 200, description = "Services by name", body = List<Service>), Refused),
)]
pub(super) async fn list(
    State(shown): State<Shown>,
    Asked(parameters): Asked,
) -> Result<Json<List<Service>>, ApiError> {
    Ok(Json(List::of(shown.services(parameters, clock::now()).await?, shape)))
}

/// Answers `GET /services/{name}`.
#[utoipa::path(
    get, path = "/services/{name}", tag = "services",
    params(("name" = String, Path, description = "As it calls itself"), InEnvironment, Lately),
    responses((status = 200, description = "The service", body = Whole), Missing, Refused),
)]
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    Asked(parameters): Asked,
) -> Result<Json<Whole>, ApiError> {
    let place = Place::read(parameters, clock::now())?;
    let found = shown.service(&name, &place).await?.ok_or_else(|| Failure::missing("such service"))?;
    let operation =
        |row: PartRow| Operation { name: row.name, units: row.pace.count, times: row.pace.into() };
    let neighbour = |row: PartRow| Neighbour {
        name: row.name,
        operation: row.operation.unwrap_or_default(),
        calls: row.pace.count,
        times: row.pace.into(),
    };
    Ok(Json(Whole {
        service: shape(found.service),
        operations: found.operations.into_iter().map(operation).collect(),
        callers: found.callers.into_iter().map(neighbour).collect(),
        callees: found.callees.into_iter().map(neighbour).collect(),
    }))
}

/// Answers `GET /map`.
#[utoipa::path(
    get, path = "/map", tag = "services",
    params(InEnvironment, Lately),
    responses((status = 200, description = "Who asks whom", body = Map), Refused),
)]
pub(super) async fn map(State(shown): State<Shown>, Asked(parameters): Asked) -> Result<Json<Map>, ApiError> {
    let place = Place::read(parameters, clock::now())?;
    let (services, edges) = shown.map(&place).await?;
    let known: BTreeSet<&str> = services.iter().map(|row| row.name.as_str()).collect();
    let named = edges.iter().flat_map(|edge| [edge.caller.as_str(), edge.callee.as_str()]);
    let others: BTreeSet<&str> = named.filter(|name| !known.contains(name)).collect();
    let others = others.into_iter().map(|name| Node {
        id: name.to_owned(),
        name: name.to_owned(),
        kind: "outside",
        units: None,
        error_ratio: None,
        p95_ms: None,
        worst: None,
    });
    let nodes = services.iter().map(|row| Node {
        id: row.name.clone(),
        name: row.name.clone(),
        kind: "service",
        units: Some(row.pace.count),
        error_ratio: Some(row.pace.error_ratio),
        p95_ms: Some(row.pace.p95_ms),
        worst: row.worst,
    });
    let nodes = nodes.chain(others).collect();
    let edges = edges.iter().map(|row| Edge {
        caller: row.caller.clone(),
        callee: row.callee.clone(),
        calls: row.pace.count,
        error_ratio: row.pace.error_ratio,
        p95_ms: row.pace.p95_ms,
        worst: row.worst,
    });
    let edges = edges.collect();
    Ok(Json(Map { nodes, edges }))
}

/// Answers `GET /fallacies`: the board.
#[utoipa::path(
    get, path = "/fallacies", tag = "findings",
    params(OfService, InEnvironment),
    responses((status = 200, description = "All nine", body = List<Row>), Refused),
)]
pub(super) async fn fallacies(
    State(shown): State<Shown>,
    Asked(mut parameters): Asked,
) -> Result<Json<List<Row>>, ApiError> {
    let services = parameters.texts("service")?;
    let environments = parameters.texts("environment")?;
    parameters.finish()?;
    let counts = shown.store.counts_by_fallacy(&services, &environments).await?;
    let row = |fallacy: Fallacy| {
        let count = counts.get(fallacy.id()).copied().unwrap_or_default();
        Row {
            fallacy,
            title: fallacy.title(),
            open: count.open,
            candidate: count.candidate,
            worst: count.worst,
            rules: RULES.iter().filter(|rule| rule.fallacy == fallacy).map(|rule| rule.id).collect(),
        }
    };
    Ok(Json(List { items: Fallacy::ALL.map(row).into(), next: None }))
}

fn shape(row: ServiceRow) -> Service {
    Service {
        name: row.name,
        environments: row.environments,
        versions: row.versions,
        instances: row.instances,
        units: row.pace.count,
        times: row.pace.into(),
        open: row.open,
        worst: row.worst,
    }
}

impl From<Pace> for Times {
    fn from(pace: Pace) -> Self {
        let Pace { error_ratio, p50_ms, p95_ms, count: _ } = pace;
        Self { error_ratio, p50_ms, p95_ms }
    }
}
