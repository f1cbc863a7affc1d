//! Reports: statistics that go on reading for a caller who has left. The twin's callee is told how long it has, and
//! stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};
use super::shop::Visit;
use super::table::{Statement, Table};

/// Shorter than it takes to read all that is asked for.
const GIVE_UP_AFTER: Duration = Duration::from_millis(250);

/// What a report sums up, one after another.
const QUESTIONS: [Statement; 3] = [
    sums("SELECT sum(total) FROM sales WHERE shop_id = $1"),
    sums("SELECT avg(rating), count(*) FROM opinions WHERE shop_id = $1"),
    sums("SELECT max(delay) FROM deliveries WHERE shop_id = $1"),
];

const fn sums(text: &'static str) -> Statement {
    Statement { operation: "SELECT", text, takes: Duration::from_millis(210) }
}

/// Opens both services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let statistics = opening.service("statistics")?;
    let shops = Arc::new(Table::new("shops", Vec::new()));
    let router = statistics.handle(Router::new(), (Method::GET, "/statistics/{shop}"), shops, sum_up);
    let to = opening.listen(router).await?;
    let reports = opening.service("reports")?;
    let (deaf, told) = ("/reports/{shop}", "/reports-in-time/{shop}");
    let router = reports.handle(Router::new(), (Method::GET, deaf), (to, false), report);
    let router = reports.handle(router, (Method::GET, told), (to, true), report);
    let at = opening.listen(router).await?;
    let story = "statistics that are read on for a caller who has left";
    Ok([
        Visit::fault("orphaned_work", (Method::GET, deaf, at), story),
        Visit::twin((Method::GET, told, at), "the same, stopped when the time that was given is up"),
    ])
}

async fn report(
    reports: Arc<Service>,
    (to, tells_deadline): (SocketAddr, bool),
    request: Inbound,
) -> StatusCode {
    let wanted = Outbound::get(to, "/statistics/{shop}", request.number, GIVE_UP_AFTER);
    match reports.ask(&request.span, Outbound { tells_deadline, ..wanted }).await {
        Answer::Status(status) if status.is_success() => StatusCode::OK,
        Answer::Status(_) | Answer::Failed => StatusCode::BAD_GATEWAY,
        Answer::TimedOut => StatusCode::GATEWAY_TIMEOUT,
    }
}

async fn sum_up(statistics: Arc<Service>, shops: Arc<Table<u32>>, request: Inbound) -> StatusCode {
    for question in &QUESTIONS {
        // Whoever asked must still be there when this has been read.
        if request.until.is_some_and(|until| until < Instant::now() + question.takes) {
            return StatusCode::GATEWAY_TIMEOUT;
        }
        shops.run(&statistics, &request.span, question, |_| ()).await;
    }
    StatusCode::OK
}
