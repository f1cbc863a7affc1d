//! Billing: asks a partner for exchange rates without encryption, by the partner's public name. Its twin asks the mirror
//! in the own network.
//!
//! The partner is a stand-in: its name leads to loopback, so nothing leaves this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Outbound, PUBLIC_HOST, Service};
use super::shop::Visit;

/// Opens billing, the partner and the mirror.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let partner = rates(opening, "rates-partner").await?;
    let mirror = rates(opening, "rates-mirror").await?;
    let billing = opening.service("billing")?;
    let (public, private) = ("/bills/{order}", "/bills-mirrored/{order}");
    let router = billing.handle(Router::new(), (Method::GET, public), (partner, Some(PUBLIC_HOST)), bill);
    let router = billing.handle(router, (Method::GET, private), (mirror, None), bill);
    let at = opening.listen(router).await?;
    let story = "rates fetched over plain HTTP from a public host";
    Ok([
        Visit::fault("plaintext_transport", (Method::GET, public, at), story),
        Visit::twin((Method::GET, private, at), "the same, from a mirror in the own network"),
    ])
}

async fn rates(opening: &mut Opening<'_>, name: &'static str) -> anyhow::Result<SocketAddr> {
    let rates = opening.service(name)?;
    let router = rates.route(Router::new(), Method::GET, "/rates/{order}", |_: Inbound| async {
        tokio::time::sleep(Duration::from_millis(12)).await;
        StatusCode::OK
    });
    opening.listen(router).await
}

async fn bill(
    billing: Arc<Service>,
    (to, host): (SocketAddr, Option<&'static str>),
    request: Inbound,
) -> StatusCode {
    let rates = Outbound { host, ..Outbound::new(Method::GET, to, "/rates/{order}", request.number) };
    if billing.ask(&request.span, rates).await.is_success() {
        StatusCode::OK
    } else {
        StatusCode::BAD_GATEWAY
    }
}
