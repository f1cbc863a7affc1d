//! What the API says of receivers and deliveries, and what it does with them when asked.

use axum::Router;
use axum::body::Body;
use debunk::config::Config;
use debunk::view::Shown;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::peer::{Peer, Reply};
use super::*;

fn routes(database: &Database, receivers: &Receivers) -> Router {
    debunk::api::router(Shown {
        store: database.store.clone(),
        metrics: Metrics::new(),
        config: Config::default().into(),
        receivers: receivers.clone().into(),
    })
}

async fn ask(routes: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

async fn get(routes: &Router, path: &str) -> Value {
    let (status, body) = ask(routes, Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

async fn post(routes: &Router, path: &str) -> (StatusCode, Value) {
    let request = Request::post(path).header("content-type", "application/json; charset=utf-8");
    ask(routes, request.body(Body::from("{}")).unwrap()).await
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_and_what_it_is_to_be_told_waits() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(410)]).await;
    let receivers = receivers(&peer.url);
    let routes = routes(&database, &receivers);
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    let gone = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    deliver.step().await.unwrap();
    assert_eq!(row(&database, gone).await.state, "dead");
    let next = enqueue(&database, &receivers, &change(2, Event::Opened), 1).await;
    assert_eq!(deliver.step().await.unwrap(), Progress::Idle);
    assert_eq!((row(&database, next).await.state.as_str(), peer.seen().len()), ("pending", 1));

    let health = &get(&routes, "/api/v1/receivers").await["items"][0];
    assert_eq!((&health["name"], &health["host"]), (&json!("ops"), &json!("127.0.0.1")));
    assert_eq!(
        (&health["disabled"], &health["pending"], &health["dead"]),
        (&json!(true), &json!(1), &json!(1))
    );
    assert!(health["oldest_pending_at"].is_string() && health["last_delivered_at"].is_null(), "{health}");
    assert_eq!(
        (&health["state"], &health["last_status"], &health["last_error"]),
        (&json!("disabled"), &json!(410), &json!("answered 410 Gone"))
    );
    assert!(health["last_tried_at"].is_string() && health["failing_since"].is_string(), "{health}");

    // The next start opens it anew.
    let receivers = super::receivers(&peer.url);
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    assert_eq!(deliver.step().await.unwrap(), Progress::Worked);
    assert_eq!(row(&database, next).await.state, "delivered");
}

#[tokio::test]
async fn deliveries_are_listed_newest_first_and_filtered() {
    let database = Database::fresh().await;
    let receivers = receivers("http://127.0.0.1:9/");
    let routes = routes(&database, &receivers);
    let mut made = Vec::new();
    for fingerprint in 1..=3 {
        made.push(enqueue(&database, &receivers, &change(fingerprint, Event::Opened), 1).await.to_string());
    }
    let dead = "update deliveries set state = 'dead', last_status = 500, last_error = 'no', attempts = 9 \
                where fingerprint = 2";
    sqlx::query(dead).execute(&database.pool).await.unwrap();
    let (a, b, c) = (made[0].clone(), made[1].clone(), made[2].clone());
    for (query, expected) in [
        ("", vec![&c, &b, &a]),
        ("?state=dead", vec![&b]),
        ("?state=dead&state=pending", vec![&c, &b, &a]),
        ("?receiver=ops&finding=0000000000000001", vec![&a]),
        ("?receiver=other", vec![]),
    ] {
        let list = get(&routes, &format!("/api/v1/deliveries{query}")).await;
        assert_eq!(ids(&list).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let first = get(&routes, "/api/v1/deliveries?limit=2").await;
    let after = first["next"].as_str().unwrap();
    let second = get(&routes, &format!("/api/v1/deliveries?limit=2&after={after}")).await;
    assert_eq!((ids(&second), &second["next"]), (vec![a], &Value::Null));

    let shown = &get(&routes, "/api/v1/deliveries?state=dead").await["items"][0];
    assert_eq!(shown["finding"], "0000000000000002");
    assert_eq!((&shown["last_status"], &shown["last_error"]), (&json!(500), &json!("no")));
    assert!(shown["next_attempt_at"].is_null(), "it will not be tried: {shown}");
    for wrong in ["?state=lost", "?finding=x", "?after=x", "?colour=red"] {
        let request = Request::get(format!("/api/v1/deliveries{wrong}")).body(Body::empty()).unwrap();
        assert_eq!(ask(&routes, request).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn a_dead_delivery_is_tried_again_under_its_id_with_all_its_tries() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(400), Reply::Status(503)]).await;
    let receivers = receivers(&peer.url);
    let routes = routes(&database, &receivers);
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    let id = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    deliver.step().await.unwrap();
    assert_eq!(row(&database, id).await.state, "dead");

    let path = format!("/api/v1/deliveries/{id}/retry");
    assert_eq!(post(&routes, &path).await, (StatusCode::ACCEPTED, Value::Null));
    assert_eq!(row(&database, id).await.attempts, 0);
    deliver_all(&deliver, &database).await;
    assert_eq!(row(&database, id).await.state, "delivered");
    let seen = peer.seen();
    assert!(seen.len() == 3 && seen.iter().all(|seen| seen.id() == id.to_string()));

    assert_eq!(post(&routes, &path).await.0, StatusCode::CONFLICT, "it has it already");
    let nobody = format!("/api/v1/deliveries/{}/retry", Uuid::now_v7());
    assert_eq!(post(&routes, &nobody).await.0, StatusCode::NOT_FOUND);
    assert_eq!(post(&routes, "/api/v1/deliveries/7/retry").await.0, StatusCode::NOT_FOUND);
    sqlx::query("update deliveries set receiver = 'left', state = 'dead'")
        .execute(&database.pool)
        .await
        .unwrap();
    assert_eq!(post(&routes, &path).await.0, StatusCode::CONFLICT, "nobody would try it");
}

#[tokio::test]
async fn a_test_message_is_signed_sent_once_and_its_answer_told() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(204), Reply::Status(500)]).await;
    let receivers = receivers(&peer.url);
    let routes = routes(&database, &receivers);
    let (status, body) = post(&routes, "/api/v1/receivers/ops/test").await;
    assert_eq!((status, &body["delivered"], &body["status"]), (StatusCode::OK, &json!(true), &json!(204)));
    let seen = &peer.seen()[0];
    assert_eq!(seen.event(), "test");
    assert_eq!(body["id"], seen.id());
    standardwebhooks::Webhook::new(SECRET).unwrap().verify(&seen.body, &seen.headers).unwrap();

    let (_, body) = post(&routes, "/api/v1/receivers/ops/test").await;
    assert_eq!((&body["delivered"], &body["status"]), (&json!(false), &json!(500)));
    assert_eq!(body["error"], "answered 500 Internal Server Error");
    assert_eq!(post(&routes, "/api/v1/receivers/nobody/test").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&routes, "/api/v1/deliveries").await["items"], json!([]));
}

#[tokio::test]
async fn what_does_something_is_done_for_programs_and_our_own_pages_only() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    let routes = routes(&database, &receivers(&peer.url));
    let json = ("content-type", "application/json");
    for (headers, body, expected) in [
        (vec![json, ("origin", "https://evil.example")], "{}", StatusCode::FORBIDDEN),
        (vec![json, ("origin", "null")], "{}", StatusCode::FORBIDDEN),
        (vec![json, ("sec-fetch-site", "cross-site")], "{}", StatusCode::FORBIDDEN),
        (vec![json, ("sec-fetch-site", "same-site")], "{}", StatusCode::FORBIDDEN),
        (vec![("origin", "http://127.0.0.1:4320")], "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![("content-type", "text/plain")], "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![("content-type", "application/x-www-form-urlencoded")], "", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![json], "{\"to\":\"all\"}", StatusCode::BAD_REQUEST),
        (vec![json], "{", StatusCode::BAD_REQUEST),
    ] {
        let mut request = Request::post("/api/v1/receivers/ops/test");
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let (status, answer) = ask(&routes, request.body(Body::from(body)).unwrap()).await;
        assert_eq!(status, expected, "{headers:?} {body}: {answer}");
    }
    assert!(peer.seen().is_empty());
    let own = Request::post("/api/v1/receivers/ops/test")
        .header("content-type", "application/json")
        .header("origin", "http://127.0.0.1:4320")
        .header("sec-fetch-site", "same-origin");
    assert_eq!(ask(&routes, own.body(Body::empty()).unwrap()).await.0, StatusCode::OK);
    assert_eq!(peer.seen().len(), 1);
}
