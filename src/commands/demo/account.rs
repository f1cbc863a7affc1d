//! The account page: each of its parts looks the same user up. Its twin looks once and hands the answer on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Outbound, Service};
use super::shop::Visit;

/// Parts of the page that want to know who asks.
const PARTS: u32 = 4;

/// Opens both services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let users = opening.service("users")?;
    let router = users.route(Router::new(), Method::GET, "/users/{user}", |_: Inbound| async {
        tokio::time::sleep(Duration::from_millis(18)).await;
        StatusCode::OK
    });
    let to = opening.listen(router).await?;
    let account = opening.service("account")?;
    let (again, once) = ("/account/{user}", "/account-once/{user}");
    let router = account.handle(Router::new(), (Method::GET, again), (to, PARTS), look_up);
    let router = account.handle(router, (Method::GET, once), (to, 1), look_up);
    let at = opening.listen(router).await?;
    Ok([
        Visit::fault("redundant_calls", (Method::GET, again, at), "a page that looks one user up four times"),
        Visit::twin((Method::GET, once, at), "the same page, looking once"),
    ])
}

async fn look_up(account: Arc<Service>, (to, times): (SocketAddr, u32), request: Inbound) -> StatusCode {
    for _ in 0..times {
        let user = Outbound::new(Method::GET, to, "/users/{user}", request.number);
        if !account.ask(&request.span, user).await.is_success() {
            return StatusCode::BAD_GATEWAY;
        }
    }
    StatusCode::OK
}
