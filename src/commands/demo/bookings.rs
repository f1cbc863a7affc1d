//! Bookings: a seat is charged, the seat is then refused, and the charge stays. The twin gives the money back.
//!
//! And subscriptions: a write that fails, and is answered as if it had not. The twin says what failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Outbound, Service};
use super::shop::Visit;
use super::table::{Statement, Table};

const DEBIT: Statement = Statement {
    operation: "INSERT",
    text: "INSERT INTO debits (order_id) VALUES ($1)",
    takes: Duration::from_millis(6),
};
const REFUND: Statement = Statement {
    operation: "DELETE",
    text: "DELETE FROM debits WHERE order_id = $1",
    takes: Duration::from_millis(5),
};

/// Debits, and seats of which none is left.
type Below = (SocketAddr, SocketAddr);

/// Opens the three services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 4]> {
    let below = (debits(opening).await?, seats(opening).await?);
    let bookings = opening.service("bookings")?;
    let router = bookings.handle(Router::new(), (Method::POST, "/bookings"), below, book);
    let router = bookings.handle(router, (Method::POST, "/bookings-refunded"), below, book_or_refund);
    let router = bookings.handle(router, (Method::POST, "/waiting-list"), below.1, pretend);
    let router = bookings.handle(router, (Method::POST, "/waiting-list-honest"), below.1, admit);
    let at = opening.listen(router).await?;
    Ok([
        Visit::fault(
            "partial_commit",
            (Method::POST, "/bookings", at),
            "a charge that stays when the seat is refused",
        ),
        Visit::twin((Method::POST, "/bookings-refunded", at), "the same, and the charge is given back"),
        Visit::fault(
            "masked_failure",
            (Method::POST, "/waiting-list", at),
            "a refused seat that is answered with success",
        ),
        Visit::twin((Method::POST, "/waiting-list-honest", at), "the same, and the answer says so"),
    ])
}

async fn debits(opening: &mut Opening<'_>) -> anyhow::Result<SocketAddr> {
    let debits = opening.service("debits")?;
    let rows = Arc::new(Table::new("debits", Vec::new()));
    let router = debits.handle(Router::new(), (Method::POST, "/debits"), Arc::clone(&rows), debit);
    let router = debits.handle(router, (Method::POST, "/debits/{order}/refund"), rows, refund);
    opening.listen(router).await
}

async fn seats(opening: &mut Opening<'_>) -> anyhow::Result<SocketAddr> {
    let seats = opening.service("seats")?;
    let router = seats.route(Router::new(), Method::POST, "/seats", |_: Inbound| async {
        tokio::time::sleep(Duration::from_millis(8)).await;
        StatusCode::SERVICE_UNAVAILABLE
    });
    opening.listen(router).await
}

async fn debit(debits: Arc<Service>, rows: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    // What stays of a failed booking stays for a while, and not for ever.
    let write = |rows: &mut Vec<u32>| {
        rows.truncate(99);
        rows.insert(0, request.number);
    };
    rows.run(&debits, &request.span, &DEBIT, write).await;
    StatusCode::CREATED
}

async fn refund(debits: Arc<Service>, rows: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    rows.run(&debits, &request.span, &REFUND, |rows| rows.retain(|order| *order != request.number)).await;
    StatusCode::OK
}

/// Whether both steps went well.
async fn both(bookings: &Service, (debits, seats): Below, request: &Inbound) -> bool {
    let debit = Outbound::new(Method::POST, debits, "/debits", request.number);
    bookings.ask(&request.span, debit).await.is_success() && seat(bookings, seats, request).await
}

async fn seat(bookings: &Service, seats: SocketAddr, request: &Inbound) -> bool {
    let seat = Outbound::new(Method::POST, seats, "/seats", request.number);
    bookings.ask(&request.span, seat).await.is_success()
}

async fn book(bookings: Arc<Service>, below: Below, request: Inbound) -> StatusCode {
    if both(&bookings, below, &request).await { StatusCode::CREATED } else { StatusCode::BAD_GATEWAY }
}

async fn book_or_refund(bookings: Arc<Service>, below: Below, request: Inbound) -> StatusCode {
    if both(&bookings, below, &request).await {
        return StatusCode::CREATED;
    }
    let refund = Outbound::new(Method::POST, below.0, "/debits/{order}/refund", request.number);
    bookings.ask(&request.span, refund).await;
    StatusCode::BAD_GATEWAY
}

async fn pretend(bookings: Arc<Service>, seats: SocketAddr, request: Inbound) -> StatusCode {
    seat(&bookings, seats, &request).await;
    StatusCode::OK
}

async fn admit(bookings: Arc<Service>, seats: SocketAddr, request: Inbound) -> StatusCode {
    if seat(&bookings, seats, &request).await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
