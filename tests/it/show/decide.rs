//! Decisions as programs and forms ask for them.

use axum::Router;
use axum::body::Body;
use debunk::config::Config;
use http::{Request, StatusCode};

use super::seed::{self, Finding, Occurrence};
use super::{Answer, ask, get};
use crate::support::database::Database;

const FINDING: &str = "/findings/0000000000000001";

async fn seeded() -> (Database, Router) {
    let database = Database::fresh().await;
    seed::finding(&database, &Finding::default()).await;
    seed::occurrence(&database, &Occurrence::default()).await;
    let routes = seed::routes(&database, Config::default());
    (database, routes)
}

async fn decide(routes: &Router, body: &str) -> Answer {
    let request =
        Request::post(format!("/api/v1{FINDING}/decisions")).header("content-type", "application/json");
    ask(routes, request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn submit(routes: &Router, body: &str, origin: &str) -> Answer {
    let request = Request::post(format!("{FINDING}/decisions"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", origin);
    ask(routes, request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_program_decides_and_reads_it_back() {
    let (_database, routes) = seeded().await;
    let made =
        decide(&routes, r#"{"action":"mute","reason":"accepted","until":"7d","note":"until the rewrite"}"#)
            .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(made.json()["note"], "until the rewrite");
    let finding = get(&routes, &format!("/api/v1{FINDING}")).await.json();
    assert_eq!(finding["handling"], "muted");
    assert_eq!(finding["muted_until"], finding["decisions"][0]["until"]);
    assert_eq!(finding["decisions"][0]["reason"], "accepted");
    assert_eq!(finding["changes"][0]["event"], "finding.muted");

    assert!(get(&routes, "/api/v1/findings").await.ids().is_empty(), "lists leave out what is muted");
    assert_eq!(get(&routes, "/api/v1/findings?handling=muted").await.ids(), ["0000000000000001"]);
    assert_eq!(decide(&routes, r#"{"action":"unmute"}"#).await.status, StatusCode::CREATED);
    assert_eq!(get(&routes, "/api/v1/findings").await.ids(), ["0000000000000001"]);
}

#[tokio::test]
async fn what_does_not_apply_or_cannot_be_read_changes_nothing() {
    let (_database, routes) = seeded().await;
    for (body, status, word) in [
        (r#"{"action":"reopen"}"#, 409, "resolved"),
        (r#"{"action":"unmute"}"#, 409, "muted"),
        (r#"{"action":"delete"}"#, 400, "action"),
        (r#"{"action":["mute"]}"#, 400, "action"),
        (r#"{"action":"mute","until":"0s"}"#, 400, "until"),
        (r#"{"action":"mute","colour":"red"}"#, 400, "colour"),
        (r#"["mute"]"#, 400, "object"),
        ("", 400, "action"),
    ] {
        let answer = decide(&routes, body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{body}: {}", answer.body);
    }
    let unknown = Request::post("/api/v1/findings/00000000000000ff/decisions")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"action":"resolve"}"#))
        .unwrap();
    assert_eq!(ask(&routes, unknown).await.status, StatusCode::NOT_FOUND);
    let finding = get(&routes, &format!("/api/v1{FINDING}")).await.json();
    assert_eq!((&finding["status"], &finding["handling"]), (&"open".into(), &"none".into()));
    assert_eq!(finding["decisions"], serde_json::json!([]));
}

#[tokio::test]
async fn a_form_decides_and_leads_back_to_where_it_stood() {
    let (_database, routes) = seeded().await;
    let ours = "http://127.0.0.1:4320";
    let page = get(&routes, FINDING).await.body;
    for offered in ["value=\"acknowledge\"", "value=\"mute\"", "value=\"resolve\""] {
        assert!(page.contains(offered), "{offered}");
    }
    for absent in ["value=\"unmute\"", "value=\"reopen\""] {
        assert!(!page.contains(absent), "{absent} does not apply");
    }
    let list = get(&routes, "/findings?severity=high").await.body;
    for in_place in ["value=\"acknowledge\"", "value=\"mute\"", "value=\"/findings?severity=high\""] {
        assert!(list.contains(in_place), "{in_place}: {list}");
    }
    let back = "%2Ffindings%3Fseverity%3Dhigh";
    let done = submit(&routes, &format!("action=acknowledge&back={back}"), ours).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/findings?severity=high"));
    let done =
        submit(&routes, "action=resolve&note=it+is+%3Cb%3Efixed&until=&back=https://evil.example", ours)
            .await;
    assert_eq!(done.header("location"), format!("{FINDING}#log"), "{}", done.body);
    let page = get(&routes, FINDING).await.body;
    for said in ["Somebody</b> acknowledged it", "Somebody</b> resolved it", "it is &lt;b&gt;fixed"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let late = submit(&routes, "action=resolve", ours).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert!(late.body.contains("Nothing was changed"), "{}", late.body);
}

#[tokio::test]
async fn a_page_of_another_site_decides_nothing() {
    let (_database, routes) = seeded().await;
    for origin in ["https://evil.example", "http://127.0.0.1:8080", "null"] {
        let answer = submit(&routes, "action=resolve", origin).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
    }
    let plain = Request::post(format!("/api/v1{FINDING}/decisions")).header("content-type", "text/plain");
    let answer = ask(&routes, plain.body(Body::from(r#"{"action":"resolve"}"#)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(get(&routes, &format!("/api/v1{FINDING}")).await.json()["status"], "open");
}
