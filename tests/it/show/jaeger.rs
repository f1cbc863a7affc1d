//! Traces as clients of Jaeger and Tempo ask for them.

use axum::body::Body;
use debunk::config::Config;
use http::Request;
use http_body_util::BodyExt as _;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message as _;
use tower::ServiceExt as _;

use super::get;
use super::seed::{self, Finding, Occurrence};
use crate::support::database::Database;

const TRACE: u128 = 0xabc0_0000_0000_0000_0000_0000_0000_0001;

async fn seeded() -> Database {
    let database = Database::fresh().await;
    seed::finding(&database, &Finding::default()).await;
    seed::occurrence(&database, &Occurrence::default()).await;
    let mut root = seed::span(TRACE, 1, 0, "GET /cart", 0, 130);
    root.events.push(seed::event("retry", vec![seed::text("why", "<script>")]));
    let mut call = seed::span(TRACE, 2, 1, "SELECT item", 10, 8);
    call.status = Some(seed::error("away"));
    seed::spans(&database, "shop", vec![root, call]).await;
    seed::judged(&database, TRACE).await;
    seed::traffic(&database, TRACE, 20).await;
    database
}

#[tokio::test]
async fn a_trace_comes_with_its_findings_as_warnings() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let answer = get(&routes, &format!("/api/traces/{TRACE:x}")).await.json();
    let trace = &answer["data"][0];
    assert_eq!(trace["traceID"], format!("{TRACE:032x}"));
    let spans = trace["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2);
    let (root, call) = (&spans[0], &spans[1]);
    assert_eq!((&root["operationName"], &root["duration"]), (&"GET /cart".into(), &130_000.into()));
    assert_eq!(call["references"][0]["spanID"], root["spanID"]);
    assert_eq!(call["startTime"].as_i64().unwrap() - root["startTime"].as_i64().unwrap(), 10_000);
    let tags = call["tags"].as_array().unwrap();
    assert!(tags.contains(&serde_json::json!({"key": "error", "type": "bool", "value": true})), "{tags:?}");
    assert_eq!(root["logs"][0]["fields"][1]["value"], "<script>");
    assert_eq!(trace["processes"][root["processID"].as_str().unwrap()]["serviceName"], "shop");
    let warning = root["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("n_plus_one: 12 calls of"), "{warning}");
    assert!(warning.ends_with("http://127.0.0.1:4320/findings/0000000000000001"), "{warning}");
}

#[tokio::test]
async fn services_operations_searches_and_the_graph_are_answered() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let data = async |path: &str| {
        let answer = get(&routes, path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
        answer.json()["data"].clone()
    };
    assert_eq!(data("/api/services").await, serde_json::json!(["shop"]));
    assert_eq!(data("/api/services/shop/operations").await, serde_json::json!(["GET /cart"]));
    for (query, count) in [
        ("service=shop&lookback=custom&limit=20", 1),
        ("service=shop&operation=GET+%2Fcart&start=1&end=9999999999999999", 1),
        ("service=shop&tags=%7B%22error%22%3A%22true%22%7D", 0),
        ("service=shop&minDuration=1h", 0),
        ("service=shop&start=1&end=1778418000000000", 0),
        ("service=other", 0),
    ] {
        assert_eq!(data(&format!("/api/traces?{query}")).await.as_array().unwrap().len(), count, "{query}");
    }
    let graph = data("/api/dependencies").await;
    assert!(
        graph
            .as_array()
            .unwrap()
            .contains(&serde_json::json!({"parent": "shop", "child": "payment", "callCount": 20}))
    );
}

#[tokio::test]
async fn what_is_not_there_or_cannot_be_searched_is_an_error_and_no_empty_list() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    for (path, status) in [
        ("/api/traces/00000000000000000000000000000099", 404),
        ("/api/traces/zz", 404),
        ("/api/traces?service=shop&tags=%7B%22user.id%22%3A%227%22%7D", 400),
        ("/api/traces?service=shop&minDuration=soon", 400),
        ("/api/services?colour=red", 400),
    ] {
        let answer = get(&routes, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        assert_eq!(answer.json()["errors"][0]["code"], status, "{path}");
    }
}

#[tokio::test]
async fn version_three_answers_in_otlp_with_findings_where_jaeger_puts_warnings() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    assert_eq!(get(&routes, "/api/v3/services").await.json(), serde_json::json!({"services": ["shop"]}));
    let operations = get(&routes, "/api/v3/operations?service=shop").await.json();
    assert_eq!(operations["operations"][0]["name"], "GET /cart");
    let one = get(&routes, &format!("/api/v3/traces/{TRACE:x}?startTime=2026-01-01T00:00:00Z")).await.json();
    let spans = &one["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(
        (&spans[0]["traceId"], &spans[0]["name"]),
        (&format!("{TRACE:032x}").into(), &"GET /cart".into())
    );
    let attributes = spans[0]["attributes"].as_array().unwrap();
    let warnings = attributes.iter().find(|one| one["key"] == "@jaeger@warnings").unwrap();
    let warning = warnings["value"]["arrayValue"]["values"][0]["stringValue"].as_str().unwrap();
    assert!(
        warning.starts_with("n_plus_one: 12 calls of") && warning.ends_with("/findings/0000000000000001")
    );
    for (query, count) in [
        ("query.service_name=shop&query.duration_max=1h", 1),
        ("query.serviceName=shop&query.operationName=GET+%2Fcart&query.searchDepth=5", 1),
        ("query.serviceName=shop&query.startTimeMin=2020-01-01T00:00:00Z&query.durationMin=1h", 0),
        ("query.serviceName=shop&query.attributes=%7B%22error%22%3A%22true%22%7D", 0),
    ] {
        let found = get(&routes, &format!("/api/v3/traces?{query}")).await.json();
        assert_eq!(found["result"]["resourceSpans"].as_array().unwrap().len(), count, "{query}: {found}");
    }
    for (path, status) in [
        ("/api/v3/traces/00000000000000000000000000000009", 404),
        ("/api/v3/traces/x", 404),
        ("/api/v3/traces?query.colour=red", 400),
        ("/api/v3/traces?query.startTimeMin=yesterday", 400),
        ("/api/v3/operations", 400),
    ] {
        let answer = get(&routes, path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["httpCode"]),
            (status, &status.into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn tempos_clients_find_a_trace_by_its_id() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    assert_eq!(get(&routes, "/api/echo").await.body, "echo");
    assert_eq!(get(&routes, "/api/status/buildinfo").await.json()["version"], env!("CARGO_PKG_VERSION"));
    let bytes = async |path: &str| {
        let request =
            Request::get(path).header("accept", "application/protobuf").body(Body::empty()).unwrap();
        let answer = routes.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (status.as_u16(), answer.into_body().collect().await.unwrap().to_bytes())
    };
    let (status, old) = bytes(&format!("/api/traces/{TRACE:x}")).await;
    assert_eq!(status, 200);
    let trace = TracesData::decode(old.clone()).unwrap();
    assert_eq!(trace.resource_spans[0].scope_spans[0].spans.len(), 2);
    // The newer form has the same in its first field.
    let (status, new) = bytes(&format!("/api/v2/traces/{TRACE:x}?start=1&end=2")).await;
    let mut framed = vec![1 << 3 | 2];
    prost::encode_length_delimiter(old.len(), &mut framed).unwrap();
    framed.extend_from_slice(&old);
    assert_eq!((status, new.as_ref()), (200, framed.as_slice()));
    for path in ["/api/traces/9", "/api/v2/traces/9", "/api/v2/traces/x"] {
        assert_eq!(bytes(path).await.0, 404, "{path}");
    }
}
