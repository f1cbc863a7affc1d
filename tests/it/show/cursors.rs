//! Cursors at their worst: rows come, move and go in the very moment a page is read, also the row where the last page
//! ended; and cursors that nobody gave, or that another list gave.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use debunk::config::Config;
use serde_json::Value;
use sqlx::types::Uuid;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

use super::seed::{self, Finding, Occurrence, minutes_ago};
use super::{Answer, get};
use crate::support::database::Database;

/// Rows of each list that nobody touches.
const STILL: u64 = 24;
/// The traces whose spans are listed. They stand in no list of traces: nobody judged them.
const LOOKED_AT: [u128; 2] = [0xabc0, 0xabc1];

/// A list of the API: its address with a query begun, where its items stand, and what tells them apart.
struct List {
    path: String,
    items: &'static str,
    id: &'static str,
}

fn lists() -> Vec<List> {
    let list = |path: String, items, id| List { path: format!("/api/v1/{path}"), items, id };
    let mut lists = vec![
        list("traces?".to_owned(), "items", "trace_id"),
        list("deliveries?".to_owned(), "items", "id"),
        list("services?".to_owned(), "items", "name"),
    ];
    for sort in ["severity", "last_seen", "first_seen", "occurrences"] {
        lists.push(list(format!("findings?sort={sort}"), "items", "id"));
    }
    for finding in [1, 2] {
        lists.push(list(format!("findings/{finding:016x}/occurrences?"), "items", "trace_id"));
    }
    for trace in LOOKED_AT {
        lists.push(list(format!("traces/{trace:032x}?"), "spans", "span_id"));
    }
    lists
}

struct Bench {
    database: Database,
    routes: Router,
    now: OffsetDateTime,
}

/// Ids in no order, all of them different.
fn id(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn trace(n: u64) -> u128 {
    u128::from(id(n)) << 64 | u128::from(n)
}

impl Bench {
    async fn of(rows: u64) -> Arc<Self> {
        let database = Database::fresh().await;
        let routes = seed::routes(&database, Config::default());
        let bench = Self { database, routes, now: minutes_ago(10) };
        for finding in [1, 2] {
            seed::finding(&bench.database, &Finding { id: finding, ..bench.finding(0) }).await;
        }
        for n in 1..=rows {
            bench.add(n).await;
        }
        Arc::new(bench)
    }

    /// One of four instants, so that many rows share each.
    fn instant(&self, n: u64) -> OffsetDateTime {
        self.now - Duration::seconds((id(n) >> 62).cast_signed())
    }

    fn finding(&self, n: u64) -> Finding {
        let quarter = (id(n) >> 62).cast_signed();
        Finding {
            id: id(n).cast_signed(),
            severity: 1 + quarter as i16,
            occurrences: quarter,
            first_seen: self.instant(n),
            last_seen: self.instant(n),
            ..Finding::default()
        }
    }

    /// Adds an item to every list.
    async fn add(&self, n: u64) {
        let database = &self.database;
        seed::finding(database, &self.finding(n)).await;
        for finding in [1, 2] {
            let seen_at = self.instant(n);
            let row = Occurrence { trace: trace(n), finding, seen_at, ..Occurrence::default() };
            seed::occurrence(database, &row).await;
        }
        seed::judged(database, trace(n)).await;
        for looked_at in LOOKED_AT {
            let span = seed::span(looked_at, id(n), 0, "GET /cart", id(n) >> 62, 5);
            seed::spans(database, "shop", vec![span]).await;
        }
        self.run(n, "update traces set received_at = $2 where trace_id = $1 and $3::bigint is not null")
            .await;
        self.run(
            n,
            "insert into units (day, trace_id, span_id, received_at, duration_ns, root, orphan, kind, outcome,
                 environment, service, operation)
             select current_date, $1, 1, now() - ($2 - $2), 1, true, false, 'server', 'ok', 'production',
                 to_hex($3::bigint), 'GET'",
        )
        .await;
        self.run(
            n,
            "insert into deliveries (id, receiver, event, fingerprint, transition, payload, next_attempt_at, created_at)
             values ($1, 'hook', 'finding.opened', $3::bigint, 1, '{}', $2, $2)",
        )
        .await;
    }

    /// Another place in every list that has places to move to.
    async fn shift(&self, n: u64) {
        self.run(
            n,
            "update findings
             set severity = 5 - severity, occurrences = 3 - occurrences, first_seen = $2 - ($2 - first_seen) * 3,
                 last_seen = $2 + interval '1 second'
             where fingerprint = $3 and $1 is not null",
        )
        .await;
        for statement in [
            "update occurrences set seen_at = $2 - interval '2 seconds' where trace_id = $1 and $3::bigint is not null",
            "update traces set received_at = $2 - interval '2 seconds' where trace_id = $1 and $3::bigint is not null",
            "update deliveries set state = 'dead', next_attempt_at = $2 where id = $1 and $3::bigint is not null",
        ] {
            self.run(n, statement).await;
        }
    }

    async fn remove(&self, n: u64) {
        let gone = "delete from findings where fingerprint = $3 and $1 is not null and $2 is not null";
        self.run(n, gone).await;
        for statement in [
            "delete from occurrences where trace_id = $1 and $2 is not null and $3::bigint is not null",
            "delete from traces where trace_id = $1 and $2 is not null and $3::bigint is not null",
            "delete from units where trace_id = $1 and $2 is not null and $3::bigint is not null",
            "delete from deliveries where id = $1 and $2 is not null and $3::bigint is not null",
        ] {
            self.run(n, statement).await;
        }
    }

    /// `$1` is the trace, which is also the delivery; `$2` an instant; `$3` the finding.
    async fn run(&self, n: u64, statement: &'static str) {
        let query = sqlx::query(statement).bind(Uuid::from_u128(trace(n)));
        let query = query.bind(self.instant(n)).bind(id(n).cast_signed());
        query.execute(&self.database.pool).await.unwrap();
    }

    /// What is new moves while the next page is read, and is gone while the one after is: so cursors come to stand where
    /// nothing stands any more.
    async fn churn(&self, n: u64) {
        self.add(n).await;
        self.shift(n - 1).await;
        self.remove(n - 2).await;
    }

    async fn page(&self, list: &List, limit: u32, after: Option<&str>) -> Answer {
        let after = after.map(|cursor| format!("&after={cursor}")).unwrap_or_default();
        get(&self.routes, &format!("{}&limit={limit}{after}", list.path)).await
    }

    /// A cursor of each list, and the address that gave it.
    async fn cursors(&self) -> Vec<(List, String)> {
        let mut cursors = Vec::new();
        for list in lists() {
            let json = self.page(&list, 1, None).await.json();
            let next = json["next"].as_str().unwrap_or_else(|| panic!("{}: {json}", list.path)).to_owned();
            cursors.push((list, next));
        }
        cursors
    }
}

fn ids(list: &List, page: &Value) -> Vec<String> {
    let items = page[list.items].as_array().unwrap_or_else(|| panic!("{}: {page}", list.path));
    items.iter().map(|item| item[list.id].as_str().unwrap().to_owned()).collect()
}

fn refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 400, "{what}: {}", answer.body);
    assert_eq!(answer.json()["parameter"], "after", "{what}: {}", answer.body);
}

#[tokio::test]
async fn what_stays_as_it_is_comes_once_and_in_order_while_others_write() {
    let bench = Bench::of(STILL).await;
    let mut still = Vec::new();
    for list in lists() {
        let page = bench.page(&list, 200, None).await.json();
        let found = ids(&list, &page);
        assert!(STILL as usize <= found.len() && page["next"].is_null(), "{}: {page}", list.path);
        still.push((list, found));
    }
    let mut writer = JoinSet::new();
    let mut n = 1_000;
    for (list, expected) in still {
        let known: HashSet<&String> = expected.iter().collect();
        let (mut found, mut next, mut pages) = (Vec::new(), None, 0);
        loop {
            n += 1;
            let writing = Arc::clone(&bench);
            writer.spawn(async move { writing.churn(n).await });
            let page = bench.page(&list, 3, next.as_deref()).await.json();
            writer.join_next().await.unwrap().unwrap();
            found.extend(ids(&list, &page).into_iter().filter(|id| known.contains(id)));
            pages += 1;
            assert!(pages < 200, "{} does not end", list.path);
            next = page["next"].as_str().map(ToOwned::to_owned);
            if next.is_none() {
                break;
            }
        }
        assert!(STILL / 3 <= pages, "{}", list.path);
        assert_eq!(found, expected, "{}", list.path);
    }
}

#[tokio::test]
async fn a_cursor_of_one_list_is_refused_by_every_other() {
    let bench = Bench::of(3).await;
    let cursors = bench.cursors().await;
    for (list, own) in &cursors {
        let answer = bench.page(list, 1, Some(own)).await;
        assert_eq!(answer.status, 200, "{}: {}", list.path, answer.body);
        for (other, cursor) in cursors.iter().filter(|(other, _)| other.path != list.path) {
            refused(&bench.page(list, 1, Some(cursor)).await, &format!("{} in {}", other.path, list.path));
        }
    }
}

#[tokio::test]
async fn a_broken_cursor_is_refused_by_its_name() {
    let bench = Bench::of(3).await;
    let encoded = |plain: &[u8]| URL_SAFE_NO_PAD.encode(plain);
    for (list, own) in bench.cursors().await {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(&own).unwrap()).unwrap();
        let (name, key) = plain.split_once(' ').unwrap_or_else(|| panic!("{}: {plain}", list.path));
        let mut broken = vec![String::new(), "!".to_owned(), format!("{own}!"), "A".repeat(1_000)];
        for noise in ["x", "\0", "\0\0\0", " ", name, "nobody 1", "nobody 1 2 3", &format!("{name}  \0")] {
            broken.push(encoded(noise.as_bytes()));
        }
        broken.push(encoded(b"\xff"));
        broken.push(encoded(&[name.as_bytes(), b" \xff"].concat()));
        // The key of a list by name is any name.
        let numbers: Vec<&str> = key.split(' ').filter(|number| number.parse::<i128>().is_ok()).collect();
        for at in 0..numbers.len() {
            let with = |number: &str| {
                let mut other = numbers.clone();
                other[at] = number;
                encoded(format!("{name} {}", other.join(" ")).as_bytes())
            };
            broken.extend(["", "x", "1.5", &"9".repeat(40)].map(with));
            // Where these are no place of the list they are refused; the database is never asked what it cannot know.
            for odd in
                [i128::MIN, i64::MIN.into(), -1, u64::MAX.into(), i128::MAX, -377_705_116_800_000_000_000]
            {
                let answer = bench.page(&list, 1, Some(&with(&odd.to_string()))).await;
                if answer.status != 200 {
                    refused(&answer, &format!("{}: {odd} at {at}", list.path));
                }
            }
        }
        if !numbers.is_empty() {
            broken.push(encoded(format!("{plain} 1").as_bytes()));
        }
        for cursor in broken {
            refused(&bench.page(&list, 1, Some(&cursor)).await, &format!("{}: {cursor}", list.path));
        }
    }
}
