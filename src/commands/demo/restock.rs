//! Restock: waits for a supplier without any limit. Its twin gives up early and takes the last known answer.
//!
//! A minute is long for a demonstration: the supplier takes three seconds, and Debunk is told to take two for too long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};
use super::shop::Visit;

const SUPPLIER_TAKES: Duration = Duration::from_secs(3);
const GIVE_UP_AFTER: Duration = Duration::from_millis(400);

/// Opens both services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let supplier = opening.service("supplier")?;
    let router = supplier.route(Router::new(), Method::GET, "/supplies/{item}", |_: Inbound| async {
        tokio::time::sleep(SUPPLIER_TAKES).await;
        StatusCode::OK
    });
    let to = opening.listen(router).await?;
    let restock = opening.service("restock")?;
    let (endless, limited) = ("/restock/{item}", "/restock-limited/{item}");
    let router = restock.handle(Router::new(), (Method::GET, endless), (to, None), ask);
    let router = restock.handle(router, (Method::GET, limited), (to, Some(GIVE_UP_AFTER)), ask);
    let at = opening.listen(router).await?;
    Ok([
        Visit::fault(
            "unbounded_wait",
            (Method::GET, endless, at),
            "a slow supplier, waited for without a limit",
        )
        .often(),
        Visit::twin((Method::GET, limited, at), "the same, given up early for the last known answer"),
    ])
}

async fn ask(
    restock: Arc<Service>,
    (to, timeout): (SocketAddr, Option<Duration>),
    request: Inbound,
) -> StatusCode {
    let supplies = Outbound::new(Method::GET, to, "/supplies/{item}", request.number);
    match restock.ask(&request.span, Outbound { timeout, ..supplies }).await {
        Answer::Status(_) | Answer::TimedOut => StatusCode::OK,
        Answer::Failed => StatusCode::BAD_GATEWAY,
    }
}
