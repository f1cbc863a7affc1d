//! The page of alerts: receivers with their health, what was given up first, and buttons that only our own pages may
//! press.

use axum::Router;
use axum::body::Body;
use debunk::config::Config;
use debunk::view::Shown;
use http::header::{HeaderMap, LOCATION};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::peer::{Peer, Reply};
use super::*;

fn pages(database: &Database, receivers: &Receivers) -> Router {
    debunk::web::router(Shown {
        store: database.store.clone(),
        metrics: Metrics::new(),
        config: Config::default().into(),
        receivers: receivers.clone().into(),
    })
}

async fn ask(pages: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = pages.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(pages: &Router, path: &str) -> String {
    let (status, _, body) = ask(pages, Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

/// As a browser sends a form of ours.
async fn press(pages: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", "http://127.0.0.1:4320")
        .header("sec-fetch-site", "same-origin");
    ask(pages, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn where_nobody_is_told_the_page_says_how_to_change_that() {
    let database = Database::fresh().await;
    let page = get(&pages(&database, &Receivers::default()), "/alerts").await;
    assert!(page.contains("[[receivers]]") && page.contains("Nothing was told yet"), "{page}");
}

#[tokio::test]
async fn what_was_given_up_stands_first_and_can_be_tried_again() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(400)]).await;
    let receivers = receivers(&peer.url);
    let pages = pages(&database, &receivers);
    let dead = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    deliver.step().await.unwrap();
    let waiting = enqueue(&database, &receivers, &change(2, Event::Opened), 1).await;
    let page = get(&pages, "/alerts").await;
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not on the page: {page}"));
    assert!(place("Given up</h3>") < place(&dead.to_string()), "{page}");
    assert!(place(&dead.to_string()) < place(&waiting.to_string()), "{page}");
    assert!(page.contains("answered 400 Bad Request") && page.contains("class=\"health failing\""), "{page}");
    assert!(!page.contains("/hook"), "of the address only the host is shown");

    let (status, headers, _) = press(&pages, &format!("/alerts/deliveries/{dead}/retry")).await;
    assert_eq!((status, headers[LOCATION].to_str().unwrap()), (StatusCode::SEE_OTHER, "/alerts#deliveries"));
    deliver_all(&deliver, &database).await;
    assert_eq!(row(&database, dead).await.state, "delivered");
    assert!(get(&pages, "/alerts").await.contains("class=\"health ok\""));
    assert_eq!(press(&pages, &format!("/alerts/deliveries/{dead}/retry")).await.0, StatusCode::CONFLICT);
    assert_eq!(press(&pages, "/alerts/deliveries/7/retry").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_button_tries_a_receiver_and_the_page_says_what_came_of_it() {
    let database = Database::fresh().await;
    let peer = Peer::start([Reply::Status(204), Reply::Status(404)]).await;
    let pages = pages(&database, &receivers(&peer.url));
    let (status, _, page) = press(&pages, "/alerts/receivers/ops/test").await;
    assert!(status == StatusCode::OK && page.contains("answered 204"), "{page}");
    assert_eq!(peer.seen()[0].event(), "test");
    let (_, _, page) = press(&pages, "/alerts/receivers/ops/test").await;
    assert!(page.contains("did not take the message: answered 404 Not Found"), "{page}");
    assert!(get(&pages, "/alerts").await.contains("class=\"health failing\""), "it counts for its health");
    assert_eq!(press(&pages, "/alerts/receivers/nobody/test").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_of_other_sites_can_press_no_button() {
    let database = Database::fresh().await;
    let peer = Peer::start([]).await;
    let receivers = receivers(&peer.url);
    let pages = pages(&database, &receivers);
    let id = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await;
    sqlx::query("update deliveries set state = 'dead'").execute(&database.pool).await.unwrap();
    for path in ["/alerts/receivers/ops/test".to_owned(), format!("/alerts/deliveries/{id}/retry")] {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let request = Request::post(&path).header(name, value).body(Body::empty()).unwrap();
            assert_eq!(ask(&pages, request).await.0, StatusCode::FORBIDDEN, "{path} {name}: {value}");
        }
        let (status, ..) = ask(&pages, Request::get(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert!(peer.seen().is_empty());
    assert_eq!(row(&database, id).await.state, "dead");
}

#[tokio::test]
async fn deliveries_are_filtered_by_the_address() {
    let database = Database::fresh().await;
    let receivers = receivers("http://127.0.0.1:9/");
    let pages = pages(&database, &receivers);
    let one = enqueue(&database, &receivers, &change(1, Event::Opened), 1).await.to_string();
    let two = enqueue(&database, &receivers, &change(2, Event::Opened), 1).await.to_string();
    let page = get(&pages, "/alerts?finding=0000000000000002").await;
    assert!(page.contains(&two) && !page.contains(&one));
    let page = get(&pages, "/alerts?limit=1").await;
    let next = page.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let page = get(&pages, &next.replace("&amp;", "&")).await;
    assert!(page.contains(&one) && !page.contains(&two), "{page}");
    assert!(get(&pages, "/alerts?state=dead").await.contains("No delivery is like that"));
    for wrong in ["?state=lost", "?finding=x", "?after=x", "?colour=red"] {
        let request = Request::get(format!("/alerts{wrong}")).body(Body::empty()).unwrap();
        assert_eq!(ask(&pages, request).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}
