//! What repeating an operation would do, as far as its protocol or its name tells.

use super::template;
use crate::model::{Basis, EffectClass, HttpFacts, Kind, MessagingFacts, MessagingOperation};

/// Words by which a path says that a POST only asks.
const READ_LIKE: &[&str] = &[
    "search",
    "query",
    "lookup",
    "find",
    "list",
    "filter",
    "count",
    "exists",
    "suggest",
    "autocomplete",
    "validate",
    "verify",
    "check",
    "preview",
    "estimate",
    "quote",
    "calculate",
    "convert",
    "render",
    "introspect",
    "token",
    "oauth",
    "login",
    "authenticate",
    "authorize",
    "msearch",
    "mget",
    "compare",
    "match",
];
/// Verbs of methods that only read.
const SAFE_VERBS: &[&str] = &[
    "get",
    "list",
    "find",
    "search",
    "query",
    "lookup",
    "read",
    "fetch",
    "describe",
    "count",
    "exists",
    "check",
    "validate",
    "verify",
    "is",
    "has",
    "watch",
    "subscribe",
    "ping",
    "health",
    "resolve",
    "evaluate",
    "convert",
    "calculate",
    "compute",
    "estimate",
    "quote",
    "preview",
    "recommend",
    "suggest",
    "render",
    "peek",
    "head",
    "stat",
];
const IDEMPOTENT_VERBS: &[&str] = &[
    "set", "put", "upsert", "replace", "delete", "remove", "unset", "clear", "empty", "ensure", "sync",
    "touch",
];
const NON_IDEMPOTENT_VERBS: &[&str] = &[
    "create",
    "add",
    "insert",
    "append",
    "push",
    "send",
    "post",
    "place",
    "submit",
    "charge",
    "pay",
    "purchase",
    "checkout",
    "transfer",
    "withdraw",
    "deposit",
    "debit",
    "credit",
    "refund",
    "book",
    "reserve",
    "order",
    "issue",
    "emit",
    "publish",
    "enqueue",
    "increment",
    "decrement",
    "ship",
    "start",
    "trigger",
    "redeem",
    "notify",
];

/// HTTP: the method, but for a POST that only asks. `graphql` is the type of a GraphQL operation.
pub(super) fn of_http(
    http: &HttpFacts,
    graphql: Option<&str>,
    soap_action: Option<&str>,
) -> (EffectClass, Basis) {
    let method = http.method.as_deref().unwrap_or_default();
    match method {
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY" => return (EffectClass::Safe, Basis::Protocol),
        "PUT" | "DELETE" => return (EffectClass::Idempotent, Basis::Protocol),
        "POST" | "PATCH" => {}
        _ => return (EffectClass::Unknown, Basis::None),
    }
    match graphql {
        Some("query" | "subscription") => return (EffectClass::Safe, Basis::Protocol),
        Some("mutation") => return (EffectClass::NonIdempotent, Basis::Protocol),
        Some(_) | None => {}
    }
    if let Some(action) = soap_action {
        return of_verb(action);
    }
    // The path as sent first: a route may hide the word in a parameter.
    let path = http.path.as_deref().or(http.route.as_deref()).unwrap_or_default();
    let path = path.trim_end_matches('/');
    if path.ends_with("/graphql") {
        return (EffectClass::Unknown, Basis::None);
    }
    if path.rsplit('/').take(2).any(is_read_like) {
        return (EffectClass::Safe, Basis::Name);
    }
    (EffectClass::NonIdempotent, Basis::Protocol)
}

/// `search`, `_search`, `batch_get`, `orders:search`, `validateAddress`: the word opens the segment or is its verb.
fn is_read_like(segment: &str) -> bool {
    let verb = segment.rsplit(':').next().unwrap_or(segment);
    let mut words = template::words(verb).map(str::to_ascii_lowercase);
    let first = words.next().unwrap_or_default();
    let is_batch_get = first == "batchget" || (first == "batch" && words.next().as_deref() == Some("get"));
    is_batch_get || READ_LIKE.contains(&first.as_str())
}

/// RPC, and spans that say no more than a name: the verb that starts the method, or the last part of the name.
pub(super) fn of_verb(method: &str) -> (EffectClass, Basis) {
    // `get my_cache`: the verb stands first, its object behind it.
    let (method, _) = method.trim().split_once(' ').unwrap_or((method, ""));
    let last = method.rsplit(['/', '.', ':', '#']).find(|part| !part.is_empty()).unwrap_or_default();
    let mut words = template::words(last).map(str::to_ascii_lowercase);
    let first = words.next().unwrap_or_default();
    let verb = if first == "batch" || first == "multi" { words.next().unwrap_or_default() } else { first };
    let is = |verbs: &[&str]| verbs.contains(&verb.as_str());
    if is(SAFE_VERBS) {
        (EffectClass::Safe, Basis::Name)
    } else if is(IDEMPOTENT_VERBS) {
        (EffectClass::Idempotent, Basis::Name)
    } else if is(NON_IDEMPOTENT_VERBS) {
        (EffectClass::NonIdempotent, Basis::Name)
    } else {
        (EffectClass::Unknown, Basis::None)
    }
}

/// Messaging: what is sent twice is two messages. What is received is the handler's affair.
pub(super) fn of_messaging(messaging: &MessagingFacts, kind: Kind) -> (EffectClass, Basis) {
    match messaging.operation {
        Some(MessagingOperation::Send) => (EffectClass::NonIdempotent, Basis::Protocol),
        Some(MessagingOperation::Receive | MessagingOperation::Settle) if kind != Kind::Consumer => {
            (EffectClass::Safe, Basis::Protocol)
        }
        _ => (EffectClass::Unknown, Basis::None),
    }
}

/// A cloud provider's API: `S3/PutObject`.
pub(super) fn of_cloud(method: &str) -> (EffectClass, Basis) {
    let (service, operation) = method.rsplit_once('/').unwrap_or(("", method));
    let service = service.rsplit('.').next().unwrap_or(service).to_ascii_lowercase();
    let starts = |verbs: &[&str]| verbs.iter().any(|verb| operation.starts_with(verb));
    let class = match service.as_str() {
        _ if starts(&["Get", "List", "Describe", "Head", "BatchGet", "Query", "Scan"]) => EffectClass::Safe,
        "s3" if starts(&["Put", "Delete", "Copy"]) => EffectClass::Idempotent,
        "dynamodb" if starts(&["Put", "Delete", "BatchWrite"]) => EffectClass::Idempotent,
        "sqs" if starts(&["SendMessage"]) => EffectClass::NonIdempotent,
        "sqs" if starts(&["Receive", "Delete", "Change"]) => EffectClass::Idempotent,
        "sns" if starts(&["Publish"]) => EffectClass::NonIdempotent,
        "ses" | "sesv2" if starts(&["Send"]) => EffectClass::NonIdempotent,
        "kinesis" | "firehose" if starts(&["Put"]) => EffectClass::NonIdempotent,
        "eventbridge" | "events" if starts(&["PutEvents"]) => EffectClass::NonIdempotent,
        "lambda" if starts(&["Invoke"]) => EffectClass::NonIdempotent,
        "ec2" if starts(&["RunInstances"]) => EffectClass::NonIdempotent,
        _ => return (EffectClass::Unknown, Basis::None),
    };
    (class, Basis::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(method: &str, path: &str) -> EffectClass {
        let facts = HttpFacts {
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            ..HttpFacts::default()
        };
        of_http(&facts, None, None).0
    }

    #[test]
    fn a_post_that_only_asks_is_safe() {
        for path in [
            "/items/search",
            "/risk/check",
            "/orders/search/7",
            "/_search",
            "/batch_get",
            "/v1/orders:search",
            "/oauth/token",
        ] {
            assert_eq!(http("POST", path), EffectClass::Safe, "{path}");
        }
        for path in ["/checkout", "/charges", "/payments/7/capture", "/listings", "/search/7/orders/8"] {
            assert_eq!(http("POST", path), EffectClass::NonIdempotent, "{path}");
        }
    }

    #[test]
    fn methods_decide_what_paths_do_not() {
        assert_eq!(http("GET", "/charge"), EffectClass::Safe);
        assert_eq!(http("PUT", "/search"), EffectClass::Idempotent);
        assert_eq!(http("BREW", "/"), EffectClass::Unknown);
        assert_eq!(http("POST", "/graphql"), EffectClass::Unknown);
        let post = HttpFacts { method: Some("POST".to_owned()), ..HttpFacts::default() };
        assert_eq!(of_http(&post, Some("query"), None).0, EffectClass::Safe);
        assert_eq!(of_http(&post, Some("mutation"), None).0, EffectClass::NonIdempotent);
        assert_eq!(of_http(&post, None, Some("\"urn:GetPrice\"")).0, EffectClass::Safe);
    }

    #[test]
    fn the_first_word_of_a_method_is_its_verb() {
        for (method, class) in [
            ("shop.v1.Stock/GetItem", EffectClass::Safe),
            ("shop.v1.Stock/BatchGetItems", EffectClass::Safe),
            ("oteldemo.CartService/EmptyCart", EffectClass::Idempotent),
            ("oteldemo.CheckoutService/PlaceOrder", EffectClass::NonIdempotent),
            ("Cart/Checkout", EffectClass::NonIdempotent),
            ("shop/CreateReservation", EffectClass::NonIdempotent),
            ("queryForStationId", EffectClass::Safe),
            ("Driver::findNearest", EffectClass::Safe),
            ("get my_cache_v2", EffectClass::Safe),
            ("Settle", EffectClass::Unknown),
            ("", EffectClass::Unknown),
        ] {
            assert_eq!(of_verb(method).0, class, "{method}");
        }
    }

    #[test]
    fn cloud_apis_are_known_by_service() {
        assert_eq!(of_cloud("S3/PutObject").0, EffectClass::Idempotent);
        assert_eq!(of_cloud("SQS/SendMessageBatch").0, EffectClass::NonIdempotent);
        assert_eq!(of_cloud("SecretsManager/GetSecretValue").0, EffectClass::Safe);
        assert_eq!(of_cloud("StepFunctions/StartExecution").0, EffectClass::Unknown);
    }
}
