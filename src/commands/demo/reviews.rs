//! Reviews of an item whose service is down: the edge tries three times, and for each of these the reviews try three
//! times more. In the twin only the edge does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Answer, Inbound, Outbound, Service};
use super::shop::Visit;

const ATTEMPTS: u32 = 3;
const PAUSES: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(120)];

/// Whom to ask, for what, and how often.
type Asked = (SocketAddr, &'static str, u32);

/// Opens the three services.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<[Visit; 2]> {
    let ratings = opening.service("ratings")?;
    let router = ratings.route(Router::new(), Method::GET, "/ratings/{item}", |_: Inbound| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        StatusCode::SERVICE_UNAVAILABLE
    });
    let below = opening.listen(router).await?;
    let reviews = opening.service("reviews")?;
    let (stubborn, modest) = ("/reviews/{item}", "/reviews-once/{item}");
    let asked = |times| -> Asked { (below, "/ratings/{item}", times) };
    let router = reviews.handle(Router::new(), (Method::GET, stubborn), asked(ATTEMPTS), ask);
    let router = reviews.handle(router, (Method::GET, modest), asked(1), ask);
    let to = opening.listen(router).await?;
    let edge = opening.service("edge")?;
    let (multiplied, single) = ("/items/{item}", "/items-once/{item}");
    let router = edge.handle(Router::new(), (Method::GET, multiplied), (to, stubborn, ATTEMPTS), ask);
    let router = edge.handle(router, (Method::GET, single), (to, modest, ATTEMPTS), ask);
    let at = opening.listen(router).await?;
    let story = "retries at two layers make nine requests of one";
    Ok([
        Visit::fault("retry_amplification", (Method::GET, multiplied, at), story),
        Visit::twin((Method::GET, single, at), "the same, retried at one layer"),
    ])
}

/// Asks until there is an answer that is no failure, with growing pauses.
async fn ask(service: Arc<Service>, (to, template, attempts): Asked, request: Inbound) -> StatusCode {
    for resend in 0..attempts {
        if let Some(pause) = resend.checked_sub(1).and_then(|before| PAUSES.get(before as usize)) {
            tokio::time::sleep(*pause).await;
        }
        let attempt = Outbound { resend, ..Outbound::new(Method::GET, to, template, request.number) };
        if let Answer::Status(status) = service.ask(&request.span, attempt).await
            && !status.is_server_error()
        {
            return status;
        }
    }
    StatusCode::SERVICE_UNAVAILABLE
}
