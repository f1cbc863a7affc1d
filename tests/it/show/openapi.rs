//! The document that describes the API: it is looked at when it changes, and what it says holds of a running server.

use std::process::{Command, Output};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use debunk::config::Config;
use http::Request;
use serde_json::Value;

use super::seed::{self, Finding, Occurrence, routes};
use super::{Answer, ask, get};
use crate::support::database::Database;
use crate::support::tools::package;

#[tokio::test]
async fn the_document_is_looked_at_when_it_changes() {
    let database = Database::fresh().await;
    let answer = get(&routes(&database, Config::default()), "/api/v1/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    insta::assert_json_snapshot!(document, { ".info.version" => "[version]" });
}

/// Every parameter of the document is read, and every address has parameters that are not.
#[tokio::test]
async fn what_the_document_does_not_name_is_refused_by_its_name() {
    let (_database, routes, document) = described().await;
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(read) = methods.get("get").filter(|_| path.starts_with("/api/v1")) else { continue };
        let path = path.replace("{id}", "x").replace("{name}", "x");
        let named = |answer: Answer, name: &str| {
            assert_eq!((answer.status.as_u16(), &answer.json()["parameter"]), (400, &name.into()), "{path}");
        };
        named(get(&routes, &format!("{path}?colour=red")).await, "colour");
        let parameters = read["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            named(get(&routes, &format!("{path}?{name}=a%00b")).await, name);
            named(get(&routes, &format!("{path}?{name}={}", "x".repeat(1_025))).await, name);
            if parameter["schema"]["type"].to_string().contains("array") {
                named(get(&routes, &format!("{path}?{}", format!("{name}=open&").repeat(51))).await, name);
            } else {
                named(get(&routes, &format!("{path}?{name}=1&{name}=1")).await, name);
            }
            asked += 1;
        }
    }
    assert!(30 < asked, "{asked} parameters");
}

/// Instants that are none, or that no database knows.
const NO_INSTANTS: [&str; 7] = [
    "",
    "soon",
    "-1h",
    "2026-13-01T00:00:00Z",
    "2026-01-31",
    "9999-12-31T23:59:59-01:00",
    "0000-01-01T00:00:00%2B01:00",
];

#[tokio::test]
async fn instants_that_are_none_are_refused_by_name() {
    let (_database, routes, document) = described().await;
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "0000000000000001").replace("{name}", "shop");
        let parameters = methods["get"]["parameters"].as_array().into_iter().flatten();
        for name in parameters.filter_map(|parameter| parameter["name"].as_str()) {
            if !["since", "until"].contains(&name) {
                continue;
            }
            for instant in NO_INSTANTS {
                let answer = get(&routes, &format!("{path}?{name}={instant}")).await;
                let found = (answer.status.as_u16(), &answer.json()["parameter"]);
                assert_eq!(found, (400, &name.into()), "{path}: {instant}");
                asked += 1;
            }
        }
    }
    assert!(50 < asked, "{asked} times");
}

/// Addresses that no text column and no text can hold.
#[tokio::test]
async fn names_that_nothing_can_have_are_not_there() {
    let (_database, routes, document) = described().await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for name in ["%00", "a%00b", "%ff", "%F0%9F", &"x".repeat(5_000)] {
            let asked = path.replace("{id}", name).replace("{name}", name);
            for method in methods.as_object().unwrap().keys().filter(|_| asked != *path) {
                let request = Request::builder().method(method.to_uppercase().as_str()).uri(&asked);
                let request = request.header("content-type", "application/json");
                let body = if path.ends_with("/decisions") { r#"{"action":"acknowledge"}"# } else { "{}" };
                let answer = ask(&routes, request.body(Body::from(body)).unwrap()).await;
                assert_eq!(answer.status, 404, "{method} {asked}: {}", answer.body);
                assert_eq!(answer.header("content-type"), "application/problem+json", "{asked}");
            }
        }
    }
}

/// A database with something of everything, what is shown of it, and the document.
async fn described() -> (Database, Router, Value) {
    let database = Database::fresh().await;
    seeded(&database).await;
    let routes = routes(&database, Config::default());
    let document = get(&routes, "/api/v1/openapi.json").await.json();
    (database, routes, document)
}

async fn seeded(database: &Database) {
    seed::finding(database, &Finding::default()).await;
    seed::occurrence(database, &Occurrence::default()).await;
    let trace = Occurrence::default().trace;
    seed::spans(database, "shop", vec![seed::span(trace, 1, 0, "GET /cart", 0, 130)]).await;
    seed::judged(database, trace).await;
    seed::traffic(database, trace, 3).await;
}

/// Schemathesis asks everything in many ways, good and bad: no answer is a server error, and none is undocumented.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_document_says() {
    let Some(program) = package("python/bin/schemathesis") else { return };
    let (_database, routes, _) = described().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args(["--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/show/schemathesis.toml"), "run"])
        .arg(format!("http://{address}/api/v1/openapi.json"))
        .env("SCHEMATHESIS_FOLDER", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/show"))
        .current_dir(folder.path());
    let work = tokio::task::spawn_blocking(move || command.output().unwrap());
    let done: Output = tokio::time::timeout(Duration::from_mins(5), work).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("Tested:"), "{said}");
}
