//! The history of a shop: a query that returns every event there ever was, and its twin that asks for the newest ones.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Service};
use super::shop::Visit;
use super::table::{Statement, Table};

/// Every shop has had so many.
const EVENTS: u32 = 20_000;

const EVERYTHING: Statement =
    Statement { operation: "SELECT", text: "SELECT * FROM events", takes: Duration::from_millis(90) };
const NEWEST: Statement = Statement {
    operation: "SELECT",
    text: "SELECT * FROM events ORDER BY id DESC LIMIT 50",
    takes: Duration::from_millis(6),
};

/// Opens the service.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let history = opening.service("history")?;
    let events = Arc::new(Table::new("events", (0..EVENTS).collect()));
    let (all, newest) = ("/history/{shop}", "/history-newest/{shop}");
    let router = history.handle(Router::new(), (Method::GET, all), Arc::clone(&events), everything);
    let router = history.handle(router, (Method::GET, newest), events, latest);
    let at = opening.listen(router).await?;
    Ok([
        Visit::fault("unbounded_result_set", (Method::GET, all, at), "a query that returns 20,000 rows"),
        Visit::twin((Method::GET, newest, at), "the same query with a limit"),
    ])
}

async fn everything(history: Arc<Service>, events: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    status(&events.select(&history, &request.span, &EVERYTHING, <[u32]>::to_vec).await)
}

async fn latest(history: Arc<Service>, events: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    let newest = |rows: &[u32]| rows.iter().rev().take(50).copied().collect();
    status(&events.select(&history, &request.span, &NEWEST, newest).await)
}

fn status(events: &[u32]) -> StatusCode {
    if events.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK }
}
