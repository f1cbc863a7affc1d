//! Parcels: asks the carrier with a password in the URL, where every span and log gets a copy of it. Its twin sends the
//! secret in a header that nobody records.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Outbound, Service};
use super::shop::Visit;

/// Invented, and the key to nothing.
const SECRET: &str = "?customer=shop&password=swordfish-77";

/// Opens both services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let carrier = opening.service("carrier")?;
    let router = carrier.route(Router::new(), Method::GET, "/shipments/{parcel}", |_: Inbound| async {
        tokio::time::sleep(Duration::from_millis(9)).await;
        StatusCode::OK
    });
    let to = opening.listen(router).await?;
    let parcels = opening.service("parcels")?;
    let (open, hidden) = ("/parcels/{parcel}", "/parcels-by-header/{parcel}");
    let router = parcels.handle(Router::new(), (Method::GET, open), (to, SECRET), track);
    let router = parcels.handle(router, (Method::GET, hidden), (to, ""), track);
    let at = opening.listen(router).await?;
    Ok([
        Visit::fault(
            "credentials_in_telemetry",
            (Method::GET, open, at),
            "a request with a password in its URL",
        ),
        Visit::twin((Method::GET, hidden, at), "the same, with nothing secret in what is recorded"),
    ])
}

async fn track(
    parcels: Arc<Service>,
    (to, query): (SocketAddr, &'static str),
    request: Inbound,
) -> StatusCode {
    let shipment = Outbound::new(Method::GET, to, "/shipments/{parcel}", request.number);
    let answer = parcels.ask(&request.span, Outbound { query, ..shipment }).await;
    if answer.is_success() { StatusCode::OK } else { StatusCode::BAD_GATEWAY }
}
