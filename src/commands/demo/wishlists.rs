//! Wish lists: one query for each item of a list, and its twin that asks for all items at once.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Service};
use super::shop::Visit;
use super::table::{Statement, Table};

/// Items of every list.
const ITEMS: u32 = 12;

const ONE: Statement = Statement {
    operation: "SELECT",
    text: "SELECT title, price FROM items WHERE id = $1",
    takes: Duration::from_millis(7),
};
const ALL: Statement = Statement {
    operation: "SELECT",
    text: "SELECT title, price FROM items WHERE id = ANY($1)",
    takes: Duration::from_millis(15),
};

/// Opens the service.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let wishlists = opening.service("wishlists")?;
    let items = Arc::new(Table::new("items", (1..=ITEMS).collect()));
    let (one, all) = ("/wishlists/{user}", "/wishlists-at-once/{user}");
    let router = wishlists.handle(Router::new(), (Method::GET, one), Arc::clone(&items), one_by_one);
    let router = wishlists.handle(router, (Method::GET, all), items, at_once);
    let at = opening.listen(router).await?;
    Ok([
        Visit::fault("n_plus_one", (Method::GET, one, at), "a list with one query for each of its items"),
        Visit::twin((Method::GET, all, at), "the same list with one query for all of them"),
    ])
}

async fn one_by_one(wishlists: Arc<Service>, items: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    let mut found = 0;
    for item in 1..=ITEMS {
        let matching = |rows: &[u32]| rows.iter().copied().filter(|row| *row == item).collect::<Vec<_>>();
        found += items.select(&wishlists, &request.span, &ONE, matching).await.len();
    }
    complete(found)
}

async fn at_once(wishlists: Arc<Service>, items: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    complete(items.select(&wishlists, &request.span, &ALL, <[u32]>::to_vec).await.len())
}

fn complete(found: usize) -> StatusCode {
    if found == ITEMS as usize { StatusCode::OK } else { StatusCode::NOT_FOUND }
}
