//! Payouts through a bank that sends no spans: it does not answer in time, and nobody asks what became of the payout.
//! The twin looks it up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};
use super::shop::Visit;

const GIVE_UP_AFTER: Duration = Duration::from_millis(250);
/// What the bank takes for a payout.
const BANKING: Duration = Duration::from_millis(600);

/// Opens the bank, which tells nobody of itself, and the service that pays out.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let pay = || async {
        tokio::time::sleep(BANKING).await;
        StatusCode::CREATED
    };
    let router = Router::new()
        .route("/transactions", axum::routing::post(pay))
        .route("/transactions/{order}", axum::routing::get(|| async { StatusCode::OK }));
    let bank = opening.listen(router).await?;
    let payouts = opening.service("payouts")?;
    let router = payouts.handle(Router::new(), (Method::POST, "/payouts"), bank, pay_out);
    let router = payouts.handle(router, (Method::POST, "/payouts-looked-up"), bank, pay_out_and_look);
    let at = opening.listen(router).await?;
    let story = "a payout whose outcome nobody knows, reported as failed";
    Ok([
        Visit::fault("unknown_outcome_write", (Method::POST, "/payouts", at), story),
        Visit::twin((Method::POST, "/payouts-looked-up", at), "the same, looked up before it is reported"),
    ])
}

async fn pay(payouts: &Service, bank: SocketAddr, request: &Inbound) -> Answer {
    let payout = Outbound::new(Method::POST, bank, "/transactions", request.number);
    payouts.ask(&request.span, Outbound { timeout: Some(GIVE_UP_AFTER), ..payout }).await
}

async fn pay_out(payouts: Arc<Service>, bank: SocketAddr, request: Inbound) -> StatusCode {
    match pay(&payouts, bank, &request).await {
        Answer::Status(status) => status,
        Answer::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Answer::Failed => StatusCode::BAD_GATEWAY,
    }
}

async fn pay_out_and_look(payouts: Arc<Service>, bank: SocketAddr, request: Inbound) -> StatusCode {
    match pay(&payouts, bank, &request).await {
        Answer::Status(status) => return status,
        Answer::Failed => return StatusCode::BAD_GATEWAY,
        Answer::TimedOut => tokio::time::sleep(BANKING).await,
    }
    let known = Outbound::new(Method::GET, bank, "/transactions/{order}", request.number);
    if payouts.ask(&request.span, known).await.is_success() {
        StatusCode::CREATED
    } else {
        StatusCode::GATEWAY_TIMEOUT
    }
}
