//! Charges. The first check of a card takes longer than callers wait, and what was begun is charged all the same.
//!
//! With an idempotency key a repeated request is answered from the charge that exists; without one it is charged again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};

use super::Opening;
use super::service::{Inbound, Service};
use super::table::{Statement, Table, Taken};

/// A card that the acquirer has not seen: past every caller's deadline.
const FIRST_CHECK: Duration = Duration::from_millis(600);
const LATER_CHECK: Duration = Duration::from_millis(20);
/// Cards that the acquirer remembers: several rounds of them.
const REMEMBERED: usize = 100;

const FIND: Statement = Statement {
    operation: "SELECT",
    text: "SELECT order_id FROM charges WHERE idempotency_key = $1",
    takes: Duration::from_millis(2),
};
const CHARGE: Statement = Statement {
    operation: "INSERT",
    text: "INSERT INTO charges (order_id) VALUES ($1)",
    takes: Duration::from_millis(6),
};
/// A unique index on the key stands behind it.
const CHARGE_ONCE: Statement = Statement {
    operation: "INSERT",
    text: "INSERT INTO charges (order_id, idempotency_key) VALUES ($1, $2)",
    takes: Duration::from_millis(6),
};

/// A row of `charges`.
pub(super) struct Charge {
    pub(super) order: u32,
    key: Option<String>,
}

struct Payment {
    service: Arc<Service>,
    charges: Arc<Table<Charge>>,
    /// Orders whose card was checked, newest last.
    checked: Mutex<VecDeque<u32>>,
}

/// Opens the service; answers where it listens, and its table.
pub(super) async fn open(opening: &mut Opening<'_>) -> anyhow::Result<(SocketAddr, Arc<Table<Charge>>)> {
    let service = opening.service("payment")?;
    let charges = Arc::new(Table::new("charges", Vec::new()));
    let payment = Arc::new(Payment {
        service: Arc::clone(&service),
        charges: Arc::clone(&charges),
        checked: Mutex::default(),
    });
    let router = service.route(Router::new(), Method::POST, "/charges", move |request| {
        let payment = Arc::clone(&payment);
        async move { payment.charge(request).await }
    });
    Ok((opening.listen(router).await?, charges))
}

impl Payment {
    async fn charge(&self, request: Inbound) -> StatusCode {
        let Inbound { number: order, key, span, .. } = request;
        let (service, charges) = (&*self.service, &*self.charges);
        if key.is_none() {
            tokio::time::sleep(self.check(order)).await;
            charges.run(service, &span, &CHARGE, |rows| rows.push(Charge { order, key })).await;
            return StatusCode::CREATED;
        }
        let charged = |rows: &mut Vec<Charge>| rows.iter().any(|row| row.key == key);
        if charges.run(service, &span, &FIND, charged).await {
            return StatusCode::CREATED;
        }
        tokio::time::sleep(self.check(order)).await;
        let same_key = |one: &Charge, other: &Charge| one.key == other.key;
        match charges.insert_unique(service, &span, &CHARGE_ONCE, Charge { order, key }, same_key).await {
            // Where another attempt came first after all, its charge answers this one too.
            Ok(()) | Err(Taken) => StatusCode::CREATED,
        }
    }

    /// How long the acquirer takes for the card of this order.
    fn check(&self, order: u32) -> Duration {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.contains(&order) {
            return LATER_CHECK;
        }
        if checked.len() == REMEMBERED {
            checked.pop_front();
        }
        checked.push_back(order);
        FIRST_CHECK
    }
}
