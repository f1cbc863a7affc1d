//! A preview on staging whose settings name the mailer of production, so that customers get what was meant for a
//! tester. Its twin has a mailer of its own environment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Outbound, Service};
use super::shop::Visit;
use super::table::{Statement, Table};

const STAGING: &str = "staging";

const QUEUE: Statement = Statement {
    operation: "INSERT",
    text: "INSERT INTO mails (order_id) VALUES ($1)",
    takes: Duration::from_millis(7),
};

/// Opens the preview and both mailers.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let mailer = opening.service("mailer")?;
    let real = listen(opening, mailer).await?;
    let mailer = opening.service_in(STAGING, "mailer")?;
    let pretended = listen(opening, mailer).await?;
    let preview = opening.service_in(STAGING, "preview")?;
    let router = preview.handle(Router::new(), (Method::POST, "/preview"), real, send);
    let router = preview.handle(router, (Method::POST, "/preview-contained"), pretended, send);
    let at = opening.listen(router).await?;
    let story = "a preview on staging that mails through production";
    Ok([
        Visit::fault("environment_crossing", (Method::POST, "/preview", at), story),
        Visit::twin((Method::POST, "/preview-contained", at), "the same, through staging's own mailer"),
    ])
}

async fn listen(opening: &mut Opening<'_>, mailer: Arc<Service>) -> anyhow::Result<SocketAddr> {
    let mails = Arc::new(Table::new("mails", Vec::new()));
    let router = mailer.handle(Router::new(), (Method::POST, "/mails"), mails, queue);
    opening.listen(router).await
}

async fn queue(mailer: Arc<Service>, mails: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    // Sent at once, so that the table does not grow.
    let deliver = |rows: &mut Vec<u32>| {
        rows.clear();
        rows.push(request.number);
    };
    mails.run(&mailer, &request.span, &QUEUE, deliver).await;
    StatusCode::CREATED
}

async fn send(preview: Arc<Service>, mailer: SocketAddr, request: Inbound) -> StatusCode {
    let mail = Outbound::new(Method::POST, mailer, "/mails", request.number);
    if preview.ask(&request.span, mail).await.is_success() { StatusCode::OK } else { StatusCode::BAD_GATEWAY }
}
