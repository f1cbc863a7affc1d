//! Checkout: asks payment to charge and, when no answer comes, asks again. With no key both requests are charged;
//! its twin sends one key with every attempt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};

/// Shorter than payment's first check of a card.
const GIVE_UP_AFTER: Duration = Duration::from_millis(250);
/// Long enough that the first attempt has been charged before the second one arrives.
const PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 2;

/// Opens the service; answers where it listens.
pub(super) async fn open(opening: &mut Opening<'_>, payment: SocketAddr) -> anyhow::Result<SocketAddr> {
    let checkout = opening.service("checkout")?;
    let caller = Arc::clone(&checkout);
    let router = checkout.route(Router::new(), Method::POST, "/checkout", move |request: Inbound| {
        let caller = Arc::clone(&caller);
        async move { charge(&caller, payment, &request, None).await }
    });
    let caller = Arc::clone(&checkout);
    let router = checkout.route(router, Method::POST, "/checkout-keyed", move |request: Inbound| {
        let caller = Arc::clone(&caller);
        // One key for the operation, made before its first attempt.
        let key = Some(uuid::Uuid::now_v7().to_string());
        async move { charge(&caller, payment, &request, key).await }
    });
    opening.listen(router).await
}

async fn charge(
    checkout: &Service,
    payment: SocketAddr,
    request: &Inbound,
    key: Option<String>,
) -> StatusCode {
    for resend in 0..ATTEMPTS {
        if resend > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let attempt = Outbound {
            key: key.clone(),
            resend,
            timeout: Some(GIVE_UP_AFTER),
            ..Outbound::new(Method::POST, payment, "/charges", request.number)
        };
        match checkout.ask(&request.span, attempt).await {
            Answer::Status(status) if status.is_success() => return StatusCode::CREATED,
            Answer::Status(_) => return StatusCode::BAD_GATEWAY,
            Answer::TimedOut | Answer::Failed => {}
        }
    }
    StatusCode::GATEWAY_TIMEOUT
}
