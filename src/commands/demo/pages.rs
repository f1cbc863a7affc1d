//! The storefront's page of five parts: fetched one after another, and its twin that fetches them together.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::join_all;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};
use super::table::{Statement, Table};

/// Known to every part of the page. Three digits and more: they read as data, not as part of a path.
pub(super) const USERS: Range<u32> = 4100..4200;

/// One part of the page: a service of its own, with one table.
struct Part {
    service: &'static str,
    route: &'static str,
    table: &'static str,
    select: Statement,
}

const PARTS: [Part; 5] = [
    Part {
        service: "profile",
        route: "/profiles/{user}",
        table: "profiles",
        select: select("SELECT name, city FROM profiles WHERE user_id = $1", 26),
    },
    Part {
        service: "cart",
        route: "/carts/{user}",
        table: "carts",
        select: select("SELECT items FROM carts WHERE user_id = $1", 31),
    },
    Part {
        service: "recommendations",
        route: "/recommendations/{user}",
        table: "recommendations",
        select: select("SELECT products FROM recommendations WHERE user_id = $1", 37),
    },
    Part {
        service: "offers",
        route: "/offers/{user}",
        table: "offers",
        select: select("SELECT code FROM offers WHERE user_id = $1", 28),
    },
    Part {
        service: "notices",
        route: "/notices/{user}",
        table: "notices",
        select: select("SELECT text FROM notices WHERE user_id = $1", 24),
    },
];

const fn select(text: &'static str, takes_ms: u64) -> Statement {
    Statement { operation: "SELECT", text, takes: Duration::from_millis(takes_ms) }
}

/// Opens the five parts and the storefront; answers the storefront's address.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<std::net::SocketAddr> {
    let mut parts = Vec::new();
    for part in &PARTS {
        parts.push((part.route, open_part(opening, part).await?));
    }
    let parts = Arc::new(parts);
    let storefront = opening.service("storefront")?;
    let (caller, asked) = (Arc::clone(&storefront), Arc::clone(&parts));
    let router = storefront.route(Router::new(), Method::GET, "/home/{user}", move |request: Inbound| {
        let (caller, asked) = (Arc::clone(&caller), Arc::clone(&asked));
        async move {
            let mut answers = Vec::new();
            for (route, to) in asked.iter() {
                let part = Outbound::new(Method::GET, *to, route, request.number);
                answers.push(caller.ask(&request.span, part).await);
            }
            page(&answers)
        }
    });
    let caller = Arc::clone(&storefront);
    let router = storefront.route(router, Method::GET, "/home-parallel/{user}", move |request: Inbound| {
        let (caller, asked) = (Arc::clone(&caller), Arc::clone(&parts));
        async move {
            let parts = asked.iter().map(|(route, to)| {
                caller.ask(&request.span, Outbound::new(Method::GET, *to, route, request.number))
            });
            page(&join_all(parts).await)
        }
    });
    opening.listen(router).await
}

fn page(answers: &[Answer]) -> StatusCode {
    if answers.iter().all(|answer| answer.is_success()) { StatusCode::OK } else { StatusCode::BAD_GATEWAY }
}

async fn open_part(opening: &mut Opening<'_>, part: &'static Part) -> anyhow::Result<std::net::SocketAddr> {
    let service = opening.service(part.service)?;
    let rows = Arc::new(Table::new(part.table, USERS.collect::<Vec<u32>>()));
    let owner: Arc<Service> = Arc::clone(&service);
    let router = service.route(Router::new(), Method::GET, part.route, move |request: Inbound| {
        let (owner, rows) = (Arc::clone(&owner), Arc::clone(&rows));
        async move {
            let known =
                rows.run(&owner, &request.span, &part.select, |users| users.contains(&request.number)).await;
            if known { StatusCode::OK } else { StatusCode::NOT_FOUND }
        }
    });
    opening.listen(router).await
}
