//! Lists are read page by page while others write: what was there and did not change is seen once, whatever comes between
//! two pages; and a cursor is one of its own list only.

use std::collections::BTreeSet;

use axum::Router;
use debunk::config::Config;
use serde_json::Value;

use super::get;
use super::seed::{self, Finding, Occurrence, minutes_ago, routes};
use crate::support::database::Database;

/// Rows that are there before the first page.
const ROWS: i64 = 23;
/// Rows of a page: none of the numbers is a multiple of another.
const LIMIT: usize = 4;
const TRACE: u128 = 0xabc0_0000_0000_0000_0000_0000_0000_0001;

/// Something of every kind, all of one minute, so that order hangs on ids as well.
async fn seeded() -> Database {
    let database = Database::fresh().await;
    let (first_seen, last_seen) = (minutes_ago(90), minutes_ago(30));
    for id in 1..=ROWS {
        let severity = (id % 4 + 1) as i16;
        seed::finding(&database, &Finding { id, severity, first_seen, last_seen, ..Finding::default() })
            .await;
        let trace = TRACE + id as u128;
        let seen_at = last_seen;
        seed::occurrence(&database, &Occurrence { trace, span: 1, seen_at, ..Occurrence::default() }).await;
        seed::judged(&database, trace).await;
        delivery(&database, id).await;
        service(&database, &format!("service-{id:02}")).await;
    }
    let spans =
        (1..=ROWS as u64).map(|id| seed::span(TRACE, id, u64::from(id > 1), "GET /", 10 * (id / 3), 5));
    seed::spans(&database, "shop", spans.collect()).await;
    database
}

async fn delivery(database: &Database, transition: i64) {
    sqlx::query(
        "insert into deliveries (id, receiver, event, fingerprint, transition, payload, state, attempts, next_attempt_at,
             created_at)
         values (gen_random_uuid(), 'ops', 'finding.opened', 1, $1, '{}', 'delivered', 1, now(), now())",
    )
    .bind(transition as i32)
    .execute(&database.pool)
    .await
    .unwrap();
}

async fn service(database: &Database, name: &str) {
    sqlx::query(
        "insert into units (day, trace_id, span_id, received_at, duration_ns, root, orphan, kind, outcome, environment,
             service, operation)
         values (current_date, gen_random_uuid(), 1, now(), 1, true, false, 'server', 'ok', '', $1, 'GET /')",
    )
    .bind(name)
    .execute(&database.pool)
    .await
    .unwrap();
}

/// What others write between two pages: new rows at both ends and in between, and an old one that moves.
async fn disturb(database: &Database, round: i64) {
    let id = 1_000 * if round % 2 == 0 { round + 1 } else { -round };
    let (severity, occurrences) = ((round % 4 + 1) as i16, round * 3);
    let last_seen = minutes_ago(29 + 2 * (round % 2));
    seed::finding(database, &Finding { id, severity, occurrences, last_seen, ..Finding::default() }).await;
    let trace = 0xfff0_0000_0000_0000_0000_0000_0000_0000 + round as u128;
    let seen_at = last_seen;
    seed::occurrence(database, &Occurrence { trace, span: 2, seen_at, ..Occurrence::default() }).await;
    seed::judged(database, trace).await;
    delivery(database, 100 + round).await;
    service(database, &format!("service-{:02}-new", 5 * round)).await;
    let late = seed::span(TRACE, 500 + round as u64, 1, "GET /late", 7 * round as u64, 5);
    seed::spans(database, "shop", vec![late]).await;
    // The last row is seen again, and so stands elsewhere.
    sqlx::query("update findings set last_seen = now(), occurrences = occurrences + 100, severity = 4 where fingerprint = $1")
        .bind(ROWS)
        .execute(&database.pool)
        .await
        .unwrap();
}

fn names(page: &Value, list: &str, name: &str) -> Vec<String> {
    let items = page[list].as_array().unwrap_or_else(|| panic!("no {list}: {page}"));
    items.iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
}

/// All pages, one after another, with something between each two; every name once.
async fn read(routes: &Router, database: &Database, path: &str, list: &str, name: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut after = String::new();
    let parted = if path.contains('?') { '&' } else { '?' };
    for round in 0.. {
        assert!(round < 100, "{path} has no end");
        let answer = get(routes, &format!("{path}{parted}limit={LIMIT}{after}")).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
        let page = answer.json();
        seen.extend(names(&page, list, name));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
        disturb(database, round).await;
    }
    seen
}

#[tokio::test]
async fn what_did_not_change_is_seen_once_whatever_is_written_between_two_pages() {
    for (path, list, name) in [
        ("/api/v1/findings?sort=severity", "items", "id"),
        ("/api/v1/findings?sort=last_seen", "items", "id"),
        ("/api/v1/findings?sort=first_seen", "items", "id"),
        ("/api/v1/findings?sort=occurrences", "items", "id"),
        ("/api/v1/findings/0000000000000001/occurrences", "items", "trace_id"),
        ("/api/v1/traces", "items", "trace_id"),
        ("/api/v1/deliveries", "items", "id"),
        ("/api/v1/services", "items", "name"),
        (&format!("/api/v1/traces/{TRACE:032x}"), "spans", "span_id"),
    ] {
        let database = seeded().await;
        let routes = routes(&database, Config::default());
        let parted = if path.contains('?') { '&' } else { '?' };
        let whole = get(&routes, &format!("{path}{parted}limit=200")).await.json();
        let before: BTreeSet<String> = names(&whole, list, name).into_iter().collect();
        assert!(ROWS as usize <= before.len() && whole["next"].is_null(), "{path}: {}", before.len());
        let seen = read(&routes, &database, path, list, name).await;
        let once: BTreeSet<String> = seen.iter().cloned().collect();
        // The one that moved may be met at both places, or at none.
        let moved = format!("{ROWS:016x}");
        let missed: Vec<_> = before.difference(&once).filter(|id| **id != moved).collect();
        assert!(missed.is_empty(), "{path} misses {missed:?}");
        let again = seen.len() - once.len();
        assert!(again <= usize::from(path.contains("/findings?")), "{path} repeats {again}");
    }
}

#[tokio::test]
async fn a_cursor_is_one_of_its_own_list_and_order_only() {
    let database = seeded().await;
    let routes = routes(&database, Config::default());
    let lists = [
        "/api/v1/findings?sort=severity".to_owned(),
        "/api/v1/findings?sort=occurrences".to_owned(),
        "/api/v1/findings/0000000000000001/occurrences?since=7d".to_owned(),
        "/api/v1/traces?since=7d".to_owned(),
        "/api/v1/deliveries?receiver=ops".to_owned(),
        "/api/v1/services?since=1h".to_owned(),
        format!("/api/v1/traces/{TRACE:032x}?limit=2"),
    ];
    let mut cursors = Vec::new();
    for path in &lists {
        let limit = if path.contains("limit") { "" } else { "&limit=2" };
        let page = get(&routes, &format!("{path}{limit}")).await.json();
        cursors.push(page["next"].as_str().unwrap_or_else(|| panic!("{path}: {page}")).to_owned());
    }
    for (own, path) in lists.iter().enumerate() {
        for (other, cursor) in cursors.iter().enumerate() {
            let answer = get(&routes, &format!("{path}&after={cursor}")).await;
            if own == other {
                assert!(answer.status.is_success(), "{path}: {}", answer.body);
            } else {
                let named = (answer.status.as_u16(), answer.json()["parameter"].clone());
                assert_eq!(named, (400, "after".into()), "{path} takes the cursor of {}", lists[other]);
            }
        }
        for broken in ["x", "", &cursors[own][1..]] {
            let answer = get(&routes, &format!("{path}&after={broken}")).await;
            let named = (answer.status.as_u16(), answer.json()["parameter"].clone());
            assert_eq!(named, (400, "after".into()), "{path} takes {broken:?}");
        }
    }
}
