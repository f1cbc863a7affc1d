//! Catalogs: the browser of one asks for all of it, megabytes at a time; its twin asks for the first page.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use axum::body::Bytes;

use super::Opening;
use super::service::{Inbound, Outbound, Reply, Service};
use super::shop::Visit;
use super::table::{Statement, Table};

const WHOLE: usize = 8 << 20;
const PAGE: usize = 16 << 10;

/// Rendered beforehand, so that one row is the whole document.
const READ: Statement = Statement {
    operation: "SELECT",
    text: "SELECT document FROM rendered WHERE shop_id = $1 LIMIT 1",
    takes: Duration::from_millis(160),
};
const READ_PAGE: Statement = Statement { takes: Duration::from_millis(8), ..READ };

/// Opens both services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let catalogs = opening.service("catalogs")?;
    let rendered = Arc::new(Table::new("rendered", vec![document(WHOLE)]));
    let (of_all, of_page) = ("/catalogs/{shop}", "/catalogs/{shop}/page");
    let router = catalogs.handle(Router::new(), (Method::GET, of_all), Arc::clone(&rendered), whole);
    let router = catalogs.handle(router, (Method::GET, of_page), rendered, page);
    let to = opening.listen(router).await?;
    let browse = opening.service("browse")?;
    let (all, first) = ("/browse/{shop}", "/browse-paged/{shop}");
    let router = browse.handle(Router::new(), (Method::GET, all), (to, of_all), ask);
    let router = browse.handle(router, (Method::GET, first), (to, of_page), ask);
    let at = opening.listen(router).await?;
    Ok([
        Visit::fault(
            "oversized_payload",
            (Method::GET, all, at),
            "a page that fetches 8 MiB to show a little",
        ),
        Visit::twin((Method::GET, first, at), "the same page, fetching what it shows"),
    ])
}

fn document(bytes: usize) -> Bytes {
    Bytes::from(format!("[\"{}\"]", "x".repeat(bytes - 4)))
}

async fn ask(
    browse: Arc<Service>,
    (to, template): (SocketAddr, &'static str),
    request: Inbound,
) -> StatusCode {
    let wanted = Outbound::new(Method::GET, to, template, request.number);
    if browse.ask(&request.span, wanted).await.is_success() {
        StatusCode::OK
    } else {
        StatusCode::BAD_GATEWAY
    }
}

async fn whole(catalogs: Arc<Service>, rendered: Arc<Table<Bytes>>, request: Inbound) -> Reply {
    let body = rendered.run(&catalogs, &request.span, &READ, |rows| rows[0].clone()).await;
    Reply { status: StatusCode::OK, body }
}

async fn page(catalogs: Arc<Service>, rendered: Arc<Table<Bytes>>, request: Inbound) -> Reply {
    let body = rendered.run(&catalogs, &request.span, &READ_PAGE, |rows| rows[0].slice(..PAGE)).await;
    Reply { status: StatusCode::OK, body }
}
