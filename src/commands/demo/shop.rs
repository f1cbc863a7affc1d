//! The whole shop: its services, what is visited in a round, and what its tables then say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use futures::future::join_all;
use http::{Method, StatusCode};
use rand::Rng as _;
use tokio::task::JoinSet;

use super::export::{Shipped, Tally};
use super::payment::Charge;
use super::service::{Order, Outbound, Service};
use super::table::Table;
use super::{
    account, availability, billing, bookings, catalogs, checkout, history, inventory, orders, pages, parcels,
    payment, payouts, preview, reports, restock, reviews, service, transfers, wishlists,
};

/// Visits of one place in one round: enough to open a finding of confidence high (two traces) at once.
const VISITS: u32 = 3;
/// Enough where the spans suggest it only (five traces).
const MANY_VISITS: u32 = 6;

/// Visitors wait for every answer.
const VISITOR_PATIENCE: Duration = Duration::from_secs(30);

/// A shop that is being opened.
pub(super) struct Opening<'a> {
    to: &'a str,
    shipped: Shipped,
    services: Vec<Arc<Service>>,
    servers: JoinSet<std::io::Result<()>>,
}

impl Opening<'_> {
    /// A service with its own SDK.
    pub(super) fn service(&mut self, name: &'static str) -> anyhow::Result<Arc<Service>> {
        self.service_in("production", name)
    }

    /// The same, elsewhere.
    pub(super) fn service_in(
        &mut self,
        environment: &'static str,
        name: &'static str,
    ) -> anyhow::Result<Arc<Service>> {
        let service = Service::new(name, environment, self.to, &self.shipped)?;
        self.services.push(Arc::clone(&service));
        Ok(service)
    }

    /// Serves `router` on a free port of loopback.
    pub(super) async fn listen(&mut self, router: Router) -> anyhow::Result<SocketAddr> {
        service::listen(&mut self.servers, router).await
    }
}

/// Something that visitors do, and what should come of it.
pub(super) struct Visit {
    pub(super) method: Method,
    pub(super) template: &'static str,
    at: SocketAddr,
    /// What happens, in words.
    pub(super) story: &'static str,
    /// The rule that finds it; `None` for the well-behaved twins.
    pub(super) found_by: Option<&'static str>,
    ledger: Ledger,
    /// In one round.
    times: u32,
}

impl Visit {
    /// A fault that a rule finds.
    pub(super) fn fault(
        rule: &'static str,
        (method, template, at): (Method, &'static str, SocketAddr),
        story: &'static str,
    ) -> Self {
        Self { method, template, at, story, found_by: Some(rule), ledger: Ledger::None, times: VISITS }
    }

    /// The same done well.
    pub(super) fn twin(
        (method, template, at): (Method, &'static str, SocketAddr),
        story: &'static str,
    ) -> Self {
        Self { method, template, at, story, found_by: None, ledger: Ledger::None, times: VISITS }
    }

    /// A fault that single traces only suggest.
    pub(super) fn often(self) -> Self {
        Self { times: MANY_VISITS, ..self }
    }

    fn counted_in(self, ledger: Ledger) -> Self {
        Self { ledger, ..self }
    }
}

/// Where the effects of a visit are counted.
#[derive(Clone, Copy)]
enum Ledger {
    None,
    Charges,
    Reservations,
}

/// What came of the visits of one place.
pub(super) struct Visited {
    pub(super) statuses: Vec<Option<StatusCode>>,
    numbers: Vec<u32>,
    ledger: Ledger,
}

/// The shop, open.
pub(super) struct Shop {
    services: Vec<Arc<Service>>,
    charges: Arc<Table<Charge>>,
    reservations: Arc<Table<u32>>,
    shipped: Shipped,
    visitor: reqwest::Client,
    /// The next order's number.
    next: u32,
    pub(super) visits: Vec<Visit>,
    /// Dropping them stops the servers.
    _servers: JoinSet<std::io::Result<()>>,
}

impl Shop {
    /// Starts every service; their spans go to `to`.
    pub(super) async fn open(to: &str) -> anyhow::Result<Self> {
        let shipped = Shipped::default();
        let mut opening =
            Opening { to, shipped: shipped.clone(), services: Vec::new(), servers: JoinSet::new() };
        let storefront = pages::open(&mut opening).await?;
        let (payment, charges) = payment::open(&mut opening).await?;
        let checkout = checkout::open(&mut opening, payment).await?;
        let (inventory, reservations) = inventory::open(&mut opening).await?;
        let orders = orders::open(&mut opening, inventory).await?;
        let mut visits = visits(storefront, checkout, orders);
        visits.extend(wishlists::open(&mut opening).await?);
        visits.extend(catalogs::open(&mut opening).await?);
        visits.extend(history::open(&mut opening).await?);
        visits.extend(billing::open(&mut opening).await?);
        visits.extend(parcels::open(&mut opening).await?);
        visits.extend(preview::open(&mut opening).await?);
        visits.extend(reports::open(&mut opening).await?);
        visits.extend(availability::open(&mut opening).await?);
        visits.extend(restock::open(&mut opening).await?);
        visits.extend(payouts::open(&mut opening).await?);
        visits.extend(bookings::open(&mut opening).await?);
        visits.extend(transfers::open(&mut opening).await?);
        visits.extend(reviews::open(&mut opening).await?);
        visits.extend(account::open(&mut opening).await?);
        let visitor = service::client(Some(VISITOR_PATIENCE))?;
        Ok(Self {
            services: opening.services,
            charges,
            reservations,
            shipped,
            visitor,
            next: rand::rng().random_range(100_000..900_000),
            visits,
            _servers: opening.servers,
        })
    }

    /// Names of the services.
    pub(super) fn services(&self) -> Vec<&'static str> {
        self.services.iter().map(|service| service.name).collect()
    }

    /// Makes every visit of a round, each kind a few times at once. Visitors have no tracing: traces begin in the shop.
    pub(super) async fn round(&mut self) -> Vec<Visited> {
        let mut visited = Vec::new();
        for index in 0..self.visits.len() {
            let numbers: Vec<u32> = (0..self.visits[index].times).map(|_| self.number(index)).collect();
            let visit = &self.visits[index];
            let statuses = join_all(numbers.iter().map(|number| self.visit(visit, *number))).await;
            visited.push(Visited { statuses, numbers, ledger: visit.ledger });
        }
        // Work that callers gave up on ends within the round, so that the tables can be read and the spans sent.
        for service in &self.services {
            service.settle().await;
        }
        visited
    }

    fn number(&mut self, index: usize) -> u32 {
        if matches!(self.visits[index].ledger, Ledger::None) {
            rand::rng().random_range(pages::USERS)
        } else {
            self.next += 1;
            self.next
        }
    }

    async fn visit(&self, visit: &Visit, number: u32) -> Option<StatusCode> {
        let path = Outbound::new(visit.method.clone(), visit.at, visit.template, number).path();
        let mut request = self.visitor.request(visit.method.clone(), format!("http://{}{path}", visit.at));
        if visit.method == Method::POST {
            request = request.json(&Order { order: number });
        }
        Some(request.send().await.ok()?.status())
    }

    /// What the tables say of these visits, in words.
    pub(super) fn effects(&self, visited: &Visited) -> String {
        let of_these = |order: &u32| visited.numbers.contains(order);
        let asked = visited.numbers.len();
        match visited.ledger {
            Ledger::None => String::new(),
            Ledger::Charges => {
                let rows = self.charges.look(|rows| rows.iter().filter(|row| of_these(&row.order)).count());
                format!("{asked} orders, {rows} charges")
            }
            Ledger::Reservations => {
                let rows = self.reservations.look(|rows| rows.iter().filter(|order| of_these(order)).count());
                format!("{asked} failed orders, {rows} reservations")
            }
        }
    }

    /// Exports what has ended, says how that went, and clears the tables, which else would grow for ever.
    pub(super) async fn ship(&self) -> anyhow::Result<Tally> {
        self.charges.look(Vec::clear);
        self.reservations.look(Vec::clear);
        self.on_each_service(Service::flush).await?;
        Ok(self.shipped.take())
    }

    /// Exports the rest and stops.
    pub(super) async fn close(self) -> anyhow::Result<Tally> {
        self.on_each_service(Service::stop).await?;
        Ok(self.shipped.take())
    }

    /// The SDK blocks, and its exporter needs this runtime meanwhile: hence threads of their own.
    async fn on_each_service(&self, act: fn(&Service)) -> anyhow::Result<()> {
        let mut acting = JoinSet::new();
        for service in &self.services {
            let service = Arc::clone(service);
            acting.spawn_blocking(move || act(&service));
        }
        while let Some(done) = acting.join_next().await {
            done.context("an exporter's thread died")?;
        }
        Ok(())
    }
}

fn visits(storefront: SocketAddr, checkout: SocketAddr, orders: SocketAddr) -> Vec<Visit> {
    vec![
        Visit::fault(
            "chatty_sequential_calls",
            (Method::GET, "/home/{user}", storefront),
            "a page that asks five services, one after another",
        ),
        Visit::twin(
            (Method::GET, "/home-parallel/{user}", storefront),
            "the same page, asking all five at once",
        ),
        Visit::fault(
            "retry_non_idempotent",
            (Method::POST, "/checkout", checkout),
            "a charge that times out, happens late, and is sent again",
        )
        .counted_in(Ledger::Charges),
        Visit::twin(
            (Method::POST, "/checkout-keyed", checkout),
            "the same, with one idempotency key on every attempt",
        )
        .counted_in(Ledger::Charges),
        Visit::fault(
            "timeout_partial_failure",
            (Method::POST, "/orders", orders),
            "an order that fails, its reservation made after the caller gave up",
        )
        .counted_in(Ledger::Reservations),
        Visit::twin(
            (Method::POST, "/orders-compensated", orders),
            "the same, and the reservation is then released",
        )
        .counted_in(Ledger::Reservations),
    ]
}
