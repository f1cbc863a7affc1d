//! `/api/v1/openapi.json`: what is asked and answered here, for programs. Routes and document are made of the same list
//! (`super::described`), so neither has what the other lacks; the words are those beside the types.

use std::sync::LazyLock;

use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{self, ObjectBuilder, OneOfBuilder, RefOr, Schema};
use utoipa::{IntoParams, IntoResponses, OpenApi, PartialSchema, ToSchema};

use super::Asked;
use super::error::ApiError;
use crate::findings::decision::Reason;
use crate::findings::life::Status;
use crate::findings::shape::Handling;
use crate::rules::{Confidence, Fallacy, Severity};
use crate::view::{MAX_LENGTH, MAX_LIMIT, MAX_VALUES, tagged};

/// What stands above the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Debunk",
        description = "What traces prove of the fallacies of distributed computing.\n\nLists are paged: `next` is the \
            `after` of the next page, null on the last one. A parameter that may stand several times means any of \
            its values. Instants are RFC 3339, in UTC. What is unknown is absent or null; zero is known to be zero.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, Moment, Wish))
)]
pub(super) struct Head;

/// Answers `GET /openapi.json`: this document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses(
    (status = 200, description = "OpenAPI", content_type = "application/json", body = serde_json::Value),
    (status = 304, description = "As it was, by its `etag`."),
    Refused,
))]
pub(super) async fn show(headers: HeaderMap, asked: Asked) -> Result<Response, ApiError> {
    asked.nothing()?;
    Ok(tagged(&headers, "application/json", TEXT.as_str()))
}

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let (_, document) = super::described().split_for_parts();
    document.to_pretty_json().expect("a document is a tree of texts")
});

/// What is wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    pub(super) r#type: &'static str,
    pub(super) title: &'static str,
    pub(super) status: u16,
    /// One sentence.
    pub(super) detail: &'a str,
    /// The parameter that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameter: Option<&'a str>,
}

/// Answers that every route may give.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it stands for what `ApiError` and the router answer")]
pub(super) enum Refused {
    /// A parameter is unknown, cannot be read, or stands twice.
    #[response(status = 400, content_type = "application/problem+json")]
    Parameter(#[to_schema] Problem<'static>),
    /// The database cannot be reached; `retry-after` says when to ask again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem<'static>),
}

/// Answers of routes that name one thing.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it stands for what `ApiError` answers")]
pub(super) enum Missing {
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    Missing(#[to_schema] Problem<'static>),
}

/// Answers of routes that do something.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it stands for what `Command` answers")]
pub(super) enum Unwanted {
    /// Asked by a page of another site.
    #[response(status = 403, content_type = "application/problem+json")]
    Foreign(#[to_schema] Problem<'static>),
    /// It does not apply to how things are.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem<'static>),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem<'static>),
    /// The body is not said to be `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(#[to_schema] Problem<'static>),
}

/// A page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `Parameters` reads")]
pub(super) struct Paged {
    /// Items of this page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(max_length = 1024)]
    after: Option<String>,
}

/// What was last seen, or received, within this time.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `Parameters` reads")]
pub(super) struct Within {
    /// Not before.
    #[param(value_type = Option<Moment>)]
    since: Option<String>,
    /// Not after.
    #[param(value_type = Option<Moment>)]
    until: Option<String>,
}

/// Since when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `Parameters` reads")]
pub(super) struct Lately {
    /// Not before; without it an hour ago.
    #[param(value_type = Option<Moment>)]
    since: Option<String>,
}

/// Where.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `Parameters` reads")]
pub(super) struct InEnvironment {
    /// Any of these environments.
    #[param(schema_with = texts)]
    environment: Option<Vec<String>>,
}

/// Whose.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `Parameters` reads")]
pub(super) struct OfService {
    /// Any of these services.
    #[param(schema_with = texts)]
    service: Option<Vec<String>>,
}

/// Which findings.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `Filter` reads")]
pub(super) struct WhichFindings {
    /// Any of these; without it `open`.
    #[param(inline, max_items = 50)]
    status: Option<Vec<Status>>,
    /// Any of these; without it all but `muted`.
    #[param(inline, max_items = 50)]
    handling: Option<Vec<Handling>>,
    /// Any of these.
    #[param(inline, max_items = 50)]
    fallacy: Option<Vec<Fallacy>>,
    /// Ids of rules: any of these.
    #[param(schema_with = rules)]
    rule: Option<Vec<String>>,
    /// At least so severe.
    #[param(inline)]
    severity: Option<Severity>,
    /// At least so sure.
    #[param(inline)]
    confidence: Option<Confidence>,
    /// Part of the headline, the operation or the callee.
    #[param(schema_with = text)]
    q: Option<String>,
    /// What stands first: the most, or the latest.
    #[param(inline)]
    sort: Option<Sorting>,
}

/// Orders of findings.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", default = "severity")]
#[expect(dead_code, reason = "it stands for what `Filter` reads")]
pub(super) enum Sorting {
    Severity,
    LastSeen,
    FirstSeen,
    Occurrences,
}

/// Which traces.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `TraceFilter` reads")]
pub(super) struct WhichTraces {
    /// Of the root.
    #[param(schema_with = text)]
    operation: Option<String>,
    /// Milliseconds.
    #[param(minimum = 0.0, maximum = 1e12)]
    min_ms: Option<f64>,
    /// Milliseconds.
    #[param(minimum = 0.0, maximum = 1e12)]
    max_ms: Option<f64>,
    /// Only those with a failed span.
    error: Option<bool>,
    /// Only those that show this finding.
    #[param(pattern = "^[0-9a-fA-F]{16}$")]
    finding: Option<String>,
    /// Only those in which any of these rules found something.
    #[param(schema_with = texts)]
    rule: Option<Vec<String>>,
}

/// Which deliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for what `DeliveryFilter` reads")]
pub(super) struct WhichDeliveries {
    /// Any of these receivers.
    #[param(schema_with = texts)]
    receiver: Option<Vec<String>>,
    /// Any of these.
    #[param(inline, max_items = 50)]
    state: Option<Vec<DeliveryState>>,
    /// Only those of this finding.
    #[param(pattern = "^[0-9a-fA-F]{16}$")]
    finding: Option<String>,
}

/// How far a delivery is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands for words of the store")]
pub(super) enum DeliveryState {
    Pending,
    Delivered,
    Dead,
}

/// An instant, or an age.
pub(super) struct Moment;

impl ToSchema for Moment {}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let age = length("^[0-9]{1,3}(ms|s|m|h|d)$", "So long ago, such as `30m`, `24h` or `7d`");
        OneOfBuilder::new().item(instant()).item(age).into()
    }
}

/// A decision to be made.
pub(super) struct Wish;

impl ToSchema for Wish {}

impl PartialSchema for Wish {
    fn schema() -> RefOr<Schema> {
        let any = object(&["acknowledge", "unmute", "resolve", "reopen"]);
        let reason = OneOfBuilder::new().item(Reason::schema()).item(null());
        let from_now = length("^[1-9][0-9]{0,2}(s|m|h|d)$", "So long from now, such as `7d`");
        let until = OneOfBuilder::new()
            .item(instant())
            .item(from_now)
            .item(null())
            .description(Some("When it ends by itself, which must be to come"));
        let mute = object(&["mute"]).property("reason", reason).property("until", until);
        OneOfBuilder::new().item(any).item(mute).into()
    }
}

/// A wish without a word.
pub(super) struct Nothing;

impl ToSchema for Nothing {}

impl PartialSchema for Nothing {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().additional_properties(Some(closed())).into()
    }
}

fn object(actions: &[&str]) -> ObjectBuilder {
    let action =
        ObjectBuilder::new().schema_type(openapi::Type::String).enum_values(Some(actions.iter().copied()));
    ObjectBuilder::new()
        .property("action", action)
        .required("action")
        .property("note", OneOfBuilder::new().item(text()).item(null()))
        .additional_properties(Some(closed()))
}

/// Fields that nobody knows are refused.
fn closed() -> AdditionalProperties<Schema> {
    AdditionalProperties::FreeForm(false)
}

fn null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(openapi::Type::Null)
}

fn instant() -> ObjectBuilder {
    let format = openapi::SchemaFormat::KnownFormat(openapi::KnownFormat::DateTime);
    ObjectBuilder::new().schema_type(openapi::Type::String).format(Some(format)).description(Some("RFC 3339"))
}

fn length(pattern: &str, says: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(openapi::Type::String).pattern(Some(pattern)).description(Some(says))
}

/// Any text that `Parameters` takes.
fn text() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(openapi::Type::String)
        .max_length(Some(MAX_LENGTH))
        .pattern(Some("^[^\\u0000]*$"))
}

fn texts() -> openapi::schema::Array {
    openapi::schema::ArrayBuilder::new().items(text()).max_items(Some(MAX_VALUES)).build()
}

fn rules() -> openapi::schema::Array {
    let ids = crate::rules::RULES.iter().map(|rule| rule.id);
    let rule = ObjectBuilder::new().schema_type(openapi::Type::String).enum_values(Some(ids));
    openapi::schema::ArrayBuilder::new().items(rule).max_items(Some(MAX_VALUES)).build()
}

// Attributes take literals only.
const _: () = assert!(MAX_LIMIT == 200 && MAX_LENGTH == 1024 && MAX_VALUES == 50);
