//! Availability: the outer caller waits for less time than the inner one, so the inner answer comes when nobody can use
//! it. The twin's inner timeout is the shorter one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};
use super::shop::Visit;

const OUTER: Duration = Duration::from_millis(250);
const INNER_LONG: Duration = Duration::from_secs(2);
const INNER_SHORT: Duration = Duration::from_millis(120);
/// What the warehouse takes to count.
const COUNTING: Duration = Duration::from_millis(700);

/// Opens the three services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let warehouse = opening.service("warehouse")?;
    let router = warehouse.route(Router::new(), Method::GET, "/shelves/{item}", |_: Inbound| async {
        tokio::time::sleep(COUNTING).await;
        StatusCode::OK
    });
    let shelves = opening.listen(router).await?;
    let stock = opening.service("stock")?;
    let (patient, brisk) = ("/stock/{item}", "/stock-estimated/{item}");
    let router = stock.handle(Router::new(), (Method::GET, patient), (shelves, INNER_LONG), count);
    let router = stock.handle(router, (Method::GET, brisk), (shelves, INNER_SHORT), count);
    let to = opening.listen(router).await?;
    let availability = opening.service("availability")?;
    let (inverted, ordered) = ("/availability/{item}", "/availability-estimated/{item}");
    let router = availability.handle(Router::new(), (Method::GET, inverted), (to, patient), show);
    let router = availability.handle(router, (Method::GET, ordered), (to, brisk), show);
    let at = opening.listen(router).await?;
    let story = "an inner call that may take longer than the outer one is waited for";
    Ok([
        Visit::fault("timeout_inversion", (Method::GET, inverted, at), story).often(),
        Visit::twin(
            (Method::GET, ordered, at),
            "the same, the inner call given less time, and an estimate instead",
        ),
    ])
}

async fn count(
    stock: Arc<Service>,
    (shelves, patience): (SocketAddr, Duration),
    request: Inbound,
) -> StatusCode {
    let shelf = Outbound::get(shelves, "/shelves/{item}", request.number, patience);
    match stock.ask(&request.span, shelf).await {
        // Without a count there is an estimate.
        Answer::Status(_) | Answer::TimedOut => StatusCode::OK,
        Answer::Failed => StatusCode::BAD_GATEWAY,
    }
}

async fn show(
    availability: Arc<Service>,
    (to, template): (SocketAddr, &'static str),
    request: Inbound,
) -> StatusCode {
    match availability.ask(&request.span, Outbound::get(to, template, request.number, OUTER)).await {
        Answer::Status(status) => status,
        Answer::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Answer::Failed => StatusCode::BAD_GATEWAY,
    }
}
