//! Reservations. Counting the shelf takes longer than orders will wait, and the reservation is written all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::Inbound;
use super::table::{Statement, Table};

/// Past the caller's deadline.
const COUNT_SHELF: Duration = Duration::from_millis(600);

const RESERVE: Statement = Statement {
    operation: "INSERT",
    text: "INSERT INTO reservations (order_id) VALUES ($1)",
    takes: Duration::from_millis(6),
};
const RELEASE: Statement = Statement {
    operation: "DELETE",
    text: "DELETE FROM reservations WHERE order_id = $1",
    takes: Duration::from_millis(5),
};

/// Opens the service; answers where it listens, and its table of reserved orders.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<(SocketAddr, Arc<Table<u32>>)> {
    let inventory = opening.service("inventory")?;
    let reservations: Arc<Table<u32>> = Arc::new(Table::new("reservations", Vec::new()));
    let (owner, rows) = (Arc::clone(&inventory), Arc::clone(&reservations));
    let router = inventory.route(Router::new(), Method::POST, "/reservations", move |request: Inbound| {
        let (owner, rows) = (Arc::clone(&owner), Arc::clone(&rows));
        async move {
            tokio::time::sleep(COUNT_SHELF).await;
            rows.run(&owner, &request.span, &RESERVE, |orders| orders.push(request.number)).await;
            StatusCode::CREATED
        }
    });
    let (owner, rows) = (Arc::clone(&inventory), Arc::clone(&reservations));
    let release = "/reservations/{order}/release";
    let router = inventory.route(router, Method::POST, release, move |request: Inbound| {
        let (owner, rows) = (Arc::clone(&owner), Arc::clone(&rows));
        async move {
            let released = rows.run(&owner, &request.span, &RELEASE, |orders| {
                let before = orders.len();
                orders.retain(|order| *order != request.number);
                orders.len() < before
            });
            if released.await { StatusCode::OK } else { StatusCode::NOT_FOUND }
        }
    });
    Ok((opening.listen(router).await?, reservations))
}
