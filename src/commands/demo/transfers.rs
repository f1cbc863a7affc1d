//! Transfers: a transaction stays open, and its rows locked, while an exchange rate is fetched. The twin fetches it first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Outbound, Service};
use super::shop::Visit;
use super::table::{Statement, Table};

const QUOTING: Duration = Duration::from_millis(120);

const BEGIN: Statement = Statement { operation: "BEGIN", text: "BEGIN", takes: Duration::from_millis(1) };
const DEBIT: Statement = Statement {
    operation: "UPDATE",
    text: "UPDATE accounts SET balance = balance - $1 WHERE id = $2",
    takes: Duration::from_millis(4),
};
const CREDIT: Statement = Statement {
    operation: "UPDATE",
    text: "UPDATE accounts SET balance = balance + $1 WHERE id = $2",
    takes: Duration::from_millis(4),
};
const COMMIT: Statement = Statement { operation: "COMMIT", text: "COMMIT", takes: Duration::from_millis(3) };

type Accounts = (Arc<Table<u32>>, SocketAddr);

/// Opens both services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let exchange = opening.service("exchange")?;
    let router = exchange.route(Router::new(), Method::GET, "/quotes/{order}", |_: Inbound| async {
        tokio::time::sleep(QUOTING).await;
        StatusCode::OK
    });
    let quotes = opening.listen(router).await?;
    let transfers = opening.service("transfers")?;
    let state: Accounts = (Arc::new(Table::new("accounts", vec![0])), quotes);
    let router = transfers.handle(Router::new(), (Method::POST, "/transfers"), state.clone(), inside);
    let router = transfers.handle(router, (Method::POST, "/transfers-quoted"), state, before);
    let at = opening.listen(router).await?;
    let story = "a rate is fetched while a transaction holds its locks";
    Ok([
        Visit::fault("remote_call_in_transaction", (Method::POST, "/transfers", at), story),
        Visit::twin(
            (Method::POST, "/transfers-quoted", at),
            "the same, the rate fetched before the transaction",
        ),
    ])
}

async fn inside(transfers: Arc<Service>, (accounts, quotes): Accounts, request: Inbound) -> StatusCode {
    accounts.run(&transfers, &request.span, &BEGIN, |_| ()).await;
    accounts.run(&transfers, &request.span, &DEBIT, |_| ()).await;
    let status = quote(&transfers, quotes, &request).await;
    accounts.run(&transfers, &request.span, &CREDIT, |_| ()).await;
    accounts.run(&transfers, &request.span, &COMMIT, |_| ()).await;
    status
}

async fn before(transfers: Arc<Service>, (accounts, quotes): Accounts, request: Inbound) -> StatusCode {
    let status = quote(&transfers, quotes, &request).await;
    for statement in [&BEGIN, &DEBIT, &CREDIT, &COMMIT] {
        accounts.run(&transfers, &request.span, statement, |_| ()).await;
    }
    status
}

async fn quote(transfers: &Service, quotes: SocketAddr, request: &Inbound) -> StatusCode {
    let quote = Outbound::new(Method::GET, quotes, "/quotes/{order}", request.number);
    if transfers.ask(&request.span, quote).await.is_success() {
        StatusCode::CREATED
    } else {
        StatusCode::BAD_GATEWAY
    }
}
