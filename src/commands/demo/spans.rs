//! What the shop's spans say, by the current semantic conventions. Names come from the conventions' own crate, so
//! that the shop shares no table with the code that reads it.

use http::{HeaderMap, Method, StatusCode, Uri};
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_semantic_conventions::attribute;

use super::service::{IDEMPOTENCY_KEY, Outbound};

/// Headers that this shop records. Because one of them stands on every POST, an idempotency key that is not there
/// is seen to be absent, not merely unrecorded.
const CAPTURED: [&str; 2] = ["content-type", IDEMPOTENCY_KEY];

/// W3C Trace Context.
pub(super) fn propagator() -> TraceContextPropagator {
    TraceContextPropagator::new()
}

/// Attributes of a server span at its start.
pub(super) fn of_request_served(
    method: &Method,
    route: &'static str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, method.to_string()),
        KeyValue::new(attribute::HTTP_ROUTE, route),
        KeyValue::new(attribute::URL_SCHEME, "http"),
        KeyValue::new(attribute::URL_PATH, uri.path().to_owned()),
        KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, "1.1"),
    ];
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    if let Some((address, port)) = host.and_then(|host| host.rsplit_once(':')) {
        attributes.push(KeyValue::new(attribute::SERVER_ADDRESS, address.to_owned()));
        attributes.extend(
            port.parse::<u16>().ok().map(|port| KeyValue::new(attribute::SERVER_PORT, i64::from(port))),
        );
    }
    for name in CAPTURED {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            attributes.push(header(name, value));
        }
    }
    attributes
}

/// Attributes of a client span at its start.
pub(super) fn of_request_sent(request: &Outbound, url: &str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, request.method.to_string()),
        KeyValue::new(attribute::URL_FULL, url.to_owned()),
        KeyValue::new(attribute::URL_TEMPLATE, request.template),
        KeyValue::new(
            attribute::SERVER_ADDRESS,
            request.host.map_or(request.to.ip().to_string(), str::to_owned),
        ),
        KeyValue::new(attribute::SERVER_PORT, i64::from(request.to.port())),
        KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, "1.1"),
    ];
    if request.method == Method::POST {
        attributes.push(header("content-type", "application/json"));
    }
    if let Some(key) = &request.key {
        attributes.push(header(IDEMPOTENCY_KEY, key));
    }
    if request.resend > 0 {
        attributes.push(KeyValue::new(attribute::HTTP_REQUEST_RESEND_COUNT, i64::from(request.resend)));
    }
    attributes
}

/// Header values are lists by convention, since a header may stand twice.
fn header(name: &str, value: &str) -> KeyValue {
    let values = Array::String(vec![StringValue::from(value.to_owned())]);
    KeyValue::new(format!("{}.{name}", attribute::HTTP_REQUEST_HEADER), Value::Array(values))
}

/// Attributes of a statement's span.
pub(super) fn of_statement(
    namespace: &'static str,
    operation: &'static str,
    collection: &'static str,
    text: &'static str,
) -> Vec<KeyValue> {
    vec![
        KeyValue::new(attribute::DB_SYSTEM_NAME, "other_sql"),
        KeyValue::new(attribute::DB_NAMESPACE, namespace),
        KeyValue::new(attribute::DB_OPERATION_NAME, operation),
        KeyValue::new(attribute::DB_COLLECTION_NAME, collection),
        KeyValue::new(attribute::DB_QUERY_TEXT, text),
    ]
}

/// Records how many rows a statement gave back.
pub(super) fn rows_returned(span: &Context, rows: usize) {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    span.span().set_attribute(KeyValue::new(attribute::DB_RESPONSE_RETURNED_ROWS, rows));
}

/// Records that the database refused a statement.
pub(super) fn statement_refused(span: &Context, sqlstate: &'static str) {
    let span = span.span();
    span.set_attribute(KeyValue::new(attribute::DB_RESPONSE_STATUS_CODE, sqlstate));
    span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, sqlstate));
    span.set_status(Status::error(""));
}

/// Records the status that a server sent: only 5xx is its own failure.
pub(super) fn status_sent(span: &Context, status: StatusCode) {
    answered(span, status, status.is_server_error());
}

/// Records what a client received.
pub(super) fn received(span: &Context, status: StatusCode, bytes: usize) {
    answered(span, status, status.is_server_error() || status.is_client_error());
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    span.span().set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_BODY_SIZE, bytes));
}

fn answered(span: &Context, status: StatusCode, failed: bool) {
    let span = span.span();
    span.set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16())));
    if failed {
        span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, status.as_u16().to_string()));
        span.set_status(Status::error(""));
    }
}

/// Records that no answer came.
pub(super) fn failed(span: &Context, error: &reqwest::Error) {
    let (kind, message) = if error.is_timeout() {
        ("timeout", "operation timed out")
    } else if error.is_connect() {
        ("connection_refused", "connection refused")
    } else {
        ("connection_error", "connection closed before the answer was whole")
    };
    let span = span.span();
    span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, kind));
    span.add_event(
        "exception",
        vec![
            KeyValue::new(attribute::EXCEPTION_TYPE, "reqwest::Error"),
            KeyValue::new(attribute::EXCEPTION_MESSAGE, message),
        ],
    );
    span.set_status(Status::error(message));
}
