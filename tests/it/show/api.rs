//! The API: every route, every parameter, every refusal.

use axum::body::Body;
use debunk::config::{self, Config};
use debunk::store::Store;
use debunk::telemetry::Metrics;
use debunk::view::Shown;
use http::{Request, StatusCode};
use insta::assert_json_snapshot;

use super::seed::{self, Finding, Occurrence, minutes_ago};
use super::{ask, get};
use crate::support::database::Database;

/// Four findings that differ in everything a list can ask for.
async fn four(database: &Database) {
    let rows = [
        Finding { id: 1, last_seen: minutes_ago(1), ..Finding::default() },
        Finding {
            id: 2,
            rule: "chatty_sequential_calls",
            fallacy: "latency_is_zero",
            severity: 4,
            confidence: 4,
            service: "web".to_owned(),
            operation: "GET /home".to_owned(),
            callee: None,
            headline: "Five services are asked one after another".to_owned(),
            occurrences: 90,
            last_seen: minutes_ago(5),
            first_seen: minutes_ago(10),
            ..Finding::default()
        },
        Finding {
            id: 3,
            environment: "staging",
            severity: 1,
            confidence: 2,
            last_seen: minutes_ago(180),
            ..Finding::default()
        },
        Finding { id: -4, status: "candidate", ..Finding::default() },
    ];
    for row in rows {
        seed::finding(database, &row).await;
    }
}

const A: &str = "0000000000000001";
const B: &str = "0000000000000002";
const C: &str = "0000000000000003";
const D: &str = "fffffffffffffffc";

#[tokio::test]
async fn every_filter_of_findings_filters() {
    let database = Database::fresh().await;
    four(&database).await;
    let routes = seed::routes(&database, Config::default());
    for (query, expected) in [
        ("", vec![B, A, C]),
        ("?status=candidate", vec![D]),
        ("?status=open&status=candidate", vec![B, A, D, C]),
        ("?status=resolved", vec![]),
        ("?handling=none", vec![B, A, C]),
        ("?fallacy=latency_is_zero", vec![B]),
        ("?fallacy=latency_is_zero&fallacy=transport_cost_is_zero", vec![B, A, C]),
        ("?severity=high", vec![B, A]),
        ("?severity=low", vec![B, A, C]),
        ("?confidence=confirmed", vec![B]),
        ("?service=web", vec![B]),
        ("?service=web&service=shop&service=none", vec![B, A, C]),
        ("?environment=staging", vec![C]),
        ("?q=SERVICES%20are", vec![B]),
        ("?q=%2Fhome", vec![B]),
        ("?q=POSTGRES", vec![A, C]),
        ("?q=%25", vec![]),
        ("?since=1h", vec![B, A]),
        ("?until=1h", vec![C]),
        ("?sort=last_seen", vec![A, B, C]),
        ("?sort=first_seen", vec![B, C, A]),
        ("?sort=occurrences", vec![B, C, A]),
        ("?severity=high&service=shop", vec![A]),
    ] {
        let answer = get(&routes, &format!("/api/v1/findings{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        assert_eq!(answer.ids(), expected, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name() {
    let database = Database::fresh().await;
    let routes = seed::routes(&database, Config::default());
    for (path, parameter) in [
        ("/api/v1/findings?colour=red", "colour"),
        ("/api/v1/findings?status=broken", "status"),
        ("/api/v1/findings?status=", "status"),
        ("/api/v1/findings?handling=ignored", "handling"),
        ("/api/v1/findings?fallacy=time_is_money", "fallacy"),
        ("/api/v1/findings?rule=no_such_rule", "rule"),
        ("/api/v1/findings?severity=terrible", "severity"),
        ("/api/v1/findings?severity=low&severity=high", "severity"),
        ("/api/v1/findings?confidence=sure", "confidence"),
        ("/api/v1/findings?sort=colour", "sort"),
        ("/api/v1/findings?since=soon", "since"),
        ("/api/v1/findings?until=2026-13-01T00:00:00Z", "until"),
        ("/api/v1/findings?limit=0", "limit"),
        ("/api/v1/findings?limit=201", "limit"),
        ("/api/v1/findings?after=nonsense", "after"),
        ("/api/v1/findings?service=a%00b", "service"),
        ("/api/v1/findings/0000000000000001?limit=1", "limit"),
        ("/api/v1/findings/0000000000000001/occurrences?after=AAAA", "after"),
        ("/api/v1/findings/0000000000000001/occurrences?service=x", "service"),
        ("/api/v1/traces/1?page=2", "page"),
        ("/api/v1/rules?x=1", "x"),
    ] {
        let answer = get(&routes, path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.json()["parameter"], parameter, "{path}: {}", answer.body);
    }
    let many = vec!["service=x"; 51].join("&");
    let answer = get(&routes, &format!("/api/v1/findings?{many}")).await;
    assert_eq!(answer.json()["parameter"], "service");
}

#[tokio::test]
async fn a_cursor_of_one_order_is_refused_in_another() {
    let database = Database::fresh().await;
    four(&database).await;
    let routes = seed::routes(&database, Config::default());
    let first = get(&routes, "/api/v1/findings?limit=1").await.json();
    let next = first["next"].as_str().unwrap().to_owned();
    let answer = get(&routes, &format!("/api/v1/findings?limit=1&after={next}&sort=last_seen")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["parameter"], "after");
}

#[tokio::test]
async fn pages_of_findings_are_complete_and_hold_nothing_twice_while_others_arrive() {
    let database = Database::fresh().await;
    for id in 1..=25 {
        // Equal severities, so that only the id tells places apart.
        seed::finding(&database, &Finding { id, severity: (id % 2 + 2) as i16, ..Finding::default() }).await;
    }
    let routes = seed::routes(&database, Config::default());
    for sort in ["severity", "last_seen", "first_seen", "occurrences"] {
        let mut seen = Vec::new();
        let mut after = String::new();
        let mut arriving = 1000;
        loop {
            let answer = get(&routes, &format!("/api/v1/findings?limit=4&sort={sort}{after}")).await;
            seen.extend(answer.ids());
            let Some(next) = answer.json()["next"].as_str().map(ToOwned::to_owned) else { break };
            after = format!("&after={next}");
            arriving += 1;
            let id = arriving + sort.len() as i64 * 100;
            seed::finding(&database, &Finding { id, service: "late".to_owned(), ..Finding::default() }).await;
        }
        let mut distinct = seen.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len(), "{sort}: something twice");
        for id in 1..=25 {
            assert!(seen.contains(&format!("{id:016x}")), "{sort}: {id} is missing");
        }
        sqlx::query("delete from findings where service = 'late'").execute(&database.pool).await.unwrap();
    }
}

#[tokio::test]
async fn one_finding_comes_with_its_example_and_what_it_covers() {
    let database = Database::fresh().await;
    let row = Finding { first_seen: minutes_ago(90), ..Finding::default() };
    seed::finding(&database, &row).await;
    seed::occurrence(&database, &Occurrence::default()).await;
    let covered = Occurrence { finding: 9, absorbed_by: Some(1), ..Occurrence::default() };
    seed::occurrence(&database, &covered).await;
    let routes = seed::routes(&database, Config::default());
    let answer = get(&routes, "/api/v1/findings/0000000000000001").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let mut json = answer.json();
    let remedy = json["remedy"].take();
    assert_eq!(remedy, debunk::rules::find("n_plus_one").unwrap().section("Remedy"));
    assert_json_snapshot!(json, {
        ".first_seen" => "[instant]", ".last_seen" => "[instant]", ".opened_at" => "[instant]",
        ".example.seen_at" => "[instant]",
    });
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_document() {
    let database = Database::fresh().await;
    let routes = seed::routes(&database, Config::default());
    for path in [
        "/api/v1/findings/00000000000000ff",
        "/api/v1/findings/xyz",
        "/api/v1/findings/00000000000000ff/occurrences",
        "/api/v1/traces/00000000000000000000000000000001",
        "/api/v1/traces/not-a-trace",
        "/api/v1/rules/no_such_rule",
        "/api/v1/nothing",
        "/api/v2/findings",
        "/api",
        "/api/",
    ] {
        let answer = get(&routes, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.json()["status"], 404, "{path}");
    }
    let post = Request::post("/api/v1/findings").body(Body::empty()).unwrap();
    let answer = ask(&routes, post).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn occurrences_are_paged_newest_first_and_absorbed_ones_do_not_count() {
    let database = Database::fresh().await;
    seed::finding(&database, &Finding::default()).await;
    for trace in 1..=9_u128 {
        // Three to a minute: the trace tells them apart.
        let seen_at = minutes_ago(trace.div_ceil(3) as i64);
        seed::occurrence(&database, &Occurrence { trace, seen_at, ..Occurrence::default() }).await;
    }
    let absorbed = Occurrence { trace: 77, absorbed_by: Some(5), ..Occurrence::default() };
    seed::occurrence(&database, &absorbed).await;
    let routes = seed::routes(&database, Config::default());
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/findings/{A}/occurrences?limit=4{after}");
        let json = get(&routes, &path).await.json();
        for item in json["items"].as_array().unwrap() {
            seen.push(u128::from_str_radix(item["trace_id"].as_str().unwrap(), 16).unwrap());
        }
        let Some(next) = json["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, [3, 2, 1, 6, 5, 4, 9, 8, 7]);
    let recent = get(&routes, &format!("/api/v1/findings/{A}/occurrences?since=90s")).await.json();
    assert_eq!(recent["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_trace_shows_its_spans_in_pages_with_what_was_found() {
    let database = Database::fresh().await;
    let trace = 0xabc0_0000_0000_0000_0000_0000_0000_0001_u128;
    let mut failed = seed::span(trace, 2, 1, "SELECT item", 10, 8);
    failed.attributes =
        vec![seed::text("db.system.name", "postgresql"), seed::text("db.query.text", "SELECT * FROM item")];
    failed.events = vec![seed::event("exception", vec![seed::text("exception.type", "TimeoutError")])];
    failed.status = Some(seed::error("too slow"));
    let last = seed::span(trace, 3, 99, "lost its parent", 50, 20);
    seed::spans(&database, "shop", vec![last, failed, seed::span(trace, 1, 0, "GET /cart", 0, 130)]).await;
    let routes = seed::routes(&database, Config::default());

    let path = format!("/api/v1/traces/{trace:032x}");
    let early = get(&routes, &path).await.json();
    assert_eq!(early["pending"], true, "{early}");
    assert_eq!(early["evaluated_at"], serde_json::Value::Null);

    seed::finding(&database, &Finding::default()).await;
    seed::occurrence(&database, &Occurrence::default()).await;
    seed::judged(&database, trace).await;
    let json = get(&routes, &path).await.json();
    assert_json_snapshot!(json, {
        ".started_at" => "[instant]", ".received_at" => "[instant]", ".evaluated_at" => "[instant]",
        ".occurrences[].seen_at" => "[instant]", ".spans[].events[].offset_ms" => "[offset]",
    });

    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let json = get(&routes, &format!("{path}?limit=1{after}")).await.json();
        names.extend(
            json["spans"].as_array().unwrap().iter().map(|span| span["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = json["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(names, ["GET /cart", "SELECT item", "lost its parent"]);
}

#[tokio::test]
async fn every_rule_is_listed_with_its_thresholds_and_its_page_is_sent_once() {
    let database = Database::fresh().await;
    seed::finding(&database, &Finding::default()).await;
    let routes = seed::routes(&database, Config::default());
    let list = get(&routes, "/api/v1/rules").await;
    assert_eq!(list.ids(), debunk::rules::RULES.iter().map(|rule| rule.id).collect::<Vec<_>>());
    for rule in debunk::rules::RULES {
        let path = format!("/api/v1/rules/{}", rule.id);
        let first = get(&routes, &path).await;
        let json = first.json();
        assert_eq!(json["page"], rule.page(), "{path}");
        assert_eq!(json["enabled"], true, "{path}");
        assert_eq!(json["open"], i32::from(rule.id == "n_plus_one"), "{path}");
        assert_eq!(json["thresholds"]["enabled"], true, "{path}");
        let again = Request::get(&path).header("if-none-match", first.header("etag"));
        let again = ask(&routes, again.body(Body::empty()).unwrap()).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(again.body, "");
    }
}

#[tokio::test]
async fn health_tells_the_process_from_its_database() {
    let database = Database::fresh().await;
    let routes = seed::routes(&database, Config::default());
    assert_eq!(get(&routes, "/livez").await.json(), serde_json::json!({"live": true}));
    let ready = get(&routes, "/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(
        ready.json(),
        serde_json::json!({"ready": true, "checks": {"database": "ok", "migrations": "ok"}})
    );
    let metrics = get(&routes, "/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert!(metrics.body.contains("debunk_database_up 1\n"), "{}", metrics.body);
    assert!(metrics.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn without_a_database_everything_says_try_later_and_names_nothing_inside() {
    let nowhere = sqlx::postgres::PgConnectOptions::new().host("/nonexistent/socket").username("secret_user");
    let settings =
        config::Database { connect_timeout: config::Period::secs(1), ..config::Database::default() };
    let shown = Shown {
        store: Store::new(&nowhere, &settings),
        metrics: Metrics::new(),
        config: Config::default().into(),
        receivers: debunk::alert::Receivers::default().into(),
    };
    let routes = debunk::api::router(shown.clone()).merge(debunk::web::router(shown));
    for path in [
        "/api/v1/findings",
        "/api/v1/findings/0000000000000001",
        "/api/v1/findings/0000000000000001/occurrences",
        "/api/v1/traces/1",
        "/api/v1/rules",
        "/api/v1/receivers",
        "/api/v1/status",
        "/api/v1/deliveries",
        "/readyz",
        "/",
        "/findings",
        "/findings/0000000000000001",
        "/traces/1",
        "/rules",
    ] {
        let answer = get(&routes, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.body);
        assert_eq!(answer.header("retry-after"), "5", "{path}");
        assert!(!answer.body.contains("secret_user") && !answer.body.contains("socket"), "{}", answer.body);
    }
    assert_eq!(get(&routes, "/livez").await.status, StatusCode::OK);
    assert_eq!(get(&routes, "/metrics").await.status, StatusCode::OK);
}
