//! What services do, who asks whom, which traces there are, and how often a finding was seen.

use debunk::config::Config;

use super::get;
use super::seed::{self, Finding, Occurrence};
use crate::support::database::Database;

const TRACE: u128 = 0xabc0_0000_0000_0000_0000_0000_0000_0001;

async fn seeded() -> Database {
    let database = Database::fresh().await;
    seed::finding(&database, &Finding { callee: Some("redis".to_owned()), ..Finding::default() }).await;
    seed::occurrence(&database, &Occurrence::default()).await;
    seed::judged(&database, TRACE).await;
    seed::traffic(&database, TRACE, 20).await;
    database
}

#[tokio::test]
async fn a_service_is_known_by_its_work() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let list = get(&routes, "/api/v1/services").await.json();
    let shop = &list["items"][0];
    assert_eq!((&shop["name"], &shop["units"], &shop["open"]), (&"shop".into(), &20.into(), &1.into()));
    assert_eq!(
        (&shop["error_ratio"], &shop["p50_ms"], &shop["p95_ms"]),
        (&0.05.into(), &10.0.into(), &19.0.into())
    );
    assert_eq!(shop["versions"], serde_json::json!(["2.3.1"]));
    let whole = get(&routes, "/api/v1/services/shop").await.json();
    assert_eq!(
        (&whole["operations"][0]["name"], &whole["operations"][0]["units"]),
        (&"GET /cart".into(), &20.into())
    );
    let callees: Vec<&str> =
        whole["callees"].as_array().unwrap().iter().map(|callee| callee["name"].as_str().unwrap()).collect();
    assert_eq!(callees, ["payment", "redis"]);
    assert_eq!(whole["callers"], serde_json::json!([]));
    assert_eq!(
        get(&routes, "/api/v1/services?environment=staging").await.json()["items"],
        serde_json::json!([])
    );
    assert_eq!(get(&routes, "/api/v1/services/nobody").await.status, 404);
    assert_eq!(get(&routes, "/api/v1/services?colour=red").await.status, 400);
}

#[tokio::test]
async fn the_map_holds_also_those_who_send_no_spans() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let map = get(&routes, "/api/v1/map").await.json();
    let kinds: Vec<(&str, &str)> = map["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(kinds, [("shop", "service"), ("payment", "outside"), ("redis", "outside")]);
    let edges = map["edges"].as_array().unwrap();
    let redis = edges.iter().find(|edge| edge["callee"] == "redis").unwrap();
    assert_eq!((&redis["calls"], &redis["worst"]), (&20.into(), &"high".into()));
    assert_eq!(
        edges.iter().find(|edge| edge["callee"] == "payment").unwrap()["worst"],
        serde_json::Value::Null
    );
    let page = get(&routes, "/services").await.body;
    assert!(page.contains("class=\"edge high\"") && page.contains("sends no spans"), "{page}");
}

#[tokio::test]
async fn traces_are_found_by_who_what_how_slow_and_what_was_found() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let found = async |query: &str| {
        let answer = get(&routes, &format!("/api/v1/traces{query}")).await;
        assert!(answer.status.is_success(), "{query}: {}", answer.body);
        answer.json()["items"].as_array().unwrap().len()
    };
    for query in [
        "",
        "?service=shop",
        "?operation=GET%20/cart",
        "?rule=n_plus_one",
        "?finding=0000000000000001",
        "?max_ms=1",
    ] {
        assert_eq!(found(query).await, 1, "{query}");
    }
    for query in [
        "?service=other",
        "?operation=x",
        "?rule=plaintext_transport",
        "?finding=0000000000000002",
        "?min_ms=1",
        "?error=true",
    ] {
        assert_eq!(found(query).await, 0, "{query}");
    }
}

#[tokio::test]
async fn pages_of_traces_hold_each_once_while_others_come() {
    let database = Database::fresh().await;
    for trace in 1..=25 {
        seed::judged(&database, trace).await;
    }
    let routes = seed::routes(&database, Config::default());
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let page = get(&routes, &format!("/api/v1/traces?limit=10{next}")).await.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["trace_id"].as_str().unwrap().to_owned()));
        seed::judged(&database, 1_000 + seen.len() as u128).await;
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&after={cursor}");
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((all, seen.len()), (25, 25));
}

#[tokio::test]
async fn the_board_and_the_history_count_what_is_stored() {
    let database = seeded().await;
    let hour = "insert into finding_hours (fingerprint, hour, occurrences, traces, high_traces, confirmed_traces, time_ns,
                first_seen, last_seen)
                values (1, date_trunc('hour', now() - interval '3 hours'), 7, 5, 5, 0, 88000000, now(), now())";
    sqlx::query(hour).execute(&database.pool).await.unwrap();
    let routes = seed::routes(&database, Config::default());
    let board = get(&routes, "/api/v1/fallacies").await.json();
    let rows = board["items"].as_array().unwrap();
    assert_eq!(rows.len(), 9);
    let cost = rows.iter().find(|row| row["fallacy"] == "transport_cost_is_zero").unwrap();
    assert_eq!((&cost["open"], &cost["worst"]), (&1.into(), &"high".into()));
    assert!(cost["rules"].as_array().unwrap().contains(&"n_plus_one".into()));

    let history = get(&routes, "/api/v1/findings/0000000000000001/history").await.json();
    assert_eq!((&history["step"], &history["points"][0]["occurrences"]), (&"1h".into(), &7.into()));
    assert_eq!(
        (&history["points"][0]["traces"], &history["points"][0]["time_ms"]),
        (&5.into(), &88.0.into())
    );
    let earlier = get(&routes, "/api/v1/findings/0000000000000001/history?until=1d").await.json();
    assert_eq!(earlier["points"], serde_json::json!([]));
    let page = get(&routes, "/findings/0000000000000001").await.body;
    assert!(page.contains("7 occurrences in the last seven days, at most 7 in an hour"), "{page}");
    assert!(get(&routes, "/").await.body.contains("7 occurrences in the last seven days"));
}

#[tokio::test]
async fn what_a_page_was_asked_for_its_json_is_asked_for_too() {
    let database = Database::fresh().await;
    seed::traffic(&database, 0xabc, 3).await;
    let routes = seed::routes(&database, Config::default());
    for (page, json) in [
        ("/services?since=7d&environment=production", "/api/v1/map?since=7d&amp;environment=production"),
        ("/services/shop?since=24h", "/api/v1/services/shop?since=24h"),
        ("/alerts?state=dead", "/api/v1/deliveries?state=dead"),
    ] {
        let body = get(&routes, page).await.body;
        assert!(body.contains(&format!("<a href=\"{json}\">This page as JSON")), "{page}: {body}");
        assert_eq!(get(&routes, &json.replace("&amp;", "&")).await.status, 200, "{json}");
    }
}
