//! Orders: reserves, gives up waiting, and reports failure. Its twin then takes the reservation back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};

/// Shorter than it takes to count the shelf.
const GIVE_UP_AFTER: Duration = Duration::from_millis(250);
/// A release must come after the reservation, or it finds nothing to take back.
const PAUSE: Duration = Duration::from_millis(600);

/// Opens the service; answers where it listens.
pub(super) async fn open(opening: &mut Opening<'_>, inventory: SocketAddr) -> anyhow::Result<SocketAddr> {
    let orders = opening.service("orders")?;
    let caller = Arc::clone(&orders);
    let router = orders.route(Router::new(), Method::POST, "/orders", move |request: Inbound| {
        let caller = Arc::clone(&caller);
        async move {
            match reserve(&caller, inventory, &request).await {
                Answer::Status(status) if status.is_success() => StatusCode::CREATED,
                Answer::Status(_) | Answer::Failed => StatusCode::BAD_GATEWAY,
                Answer::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            }
        }
    });
    let caller = Arc::clone(&orders);
    let router = orders.route(router, Method::POST, "/orders-compensated", move |request: Inbound| {
        let caller = Arc::clone(&caller);
        async move {
            match reserve(&caller, inventory, &request).await {
                Answer::Status(status) if status.is_success() => StatusCode::CREATED,
                Answer::Status(_) | Answer::Failed => StatusCode::BAD_GATEWAY,
                Answer::TimedOut => release(&caller, inventory, &request).await,
            }
        }
    });
    opening.listen(router).await
}

async fn reserve(orders: &Service, inventory: SocketAddr, request: &Inbound) -> Answer {
    let reservation = Outbound::new(Method::POST, inventory, "/reservations", request.number);
    orders.ask(&request.span, Outbound { timeout: Some(GIVE_UP_AFTER), ..reservation }).await
}

async fn release(orders: &Service, inventory: SocketAddr, request: &Inbound) -> StatusCode {
    tokio::time::sleep(PAUSE).await;
    let release = Outbound::new(Method::POST, inventory, "/reservations/{order}/release", request.number);
    match orders.ask(&request.span, release).await {
        // The order failed, but nothing of it is left behind.
        Answer::Status(status) if status.is_success() => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
