//! A new connection is made for each call, where one would do for all.
//!
//! ## What it detects
//! At least three calls of one unit of work to one host and port, one after another, of which each made a connection of
//! its own (TCP, TLS, a database's handshake), where this takes 30 % of their time or more, and 15 ms in all.
//! ## Why it matters
//! A connection costs one round trip for TCP and one or two for TLS, before the first byte is asked for, and begins slowly.
//! Under load the ports run out, and the other side spends its time on handshakes.
//! ## Example
//! ```trace
//! |========================================| kiosk  server  GET /invoices
//! | ==========                             |   kiosk  client  GET billing/invoices/88417  {url.full=https://billing:443/invoices/88417}  << call
//! | =====                                  |     kiosk  local  tls.connect  << connect
//! | ==                                     |       kiosk  local  tcp.connect  {server.address=billing, server.port=443}
//! |            ==========                  |   kiosk  client  GET billing/invoices/88418  {url.full=https://billing:443/invoices/88418}  << call
//! |            =====                       |     kiosk  local  tls.connect  << connect
//! |                       ==========       |   kiosk  client  GET billing/invoices/88419  {url.full=https://billing:443/invoices/88419}  << call
//! |                       =====            |     kiosk  local  tls.connect  << connect
//! ```
//! Where the connection's span stands beside the call, host, port and time tell whose it is.
//! ```trace
//! |==================================| kiosk  server  GET /invoices
//! | ====                             |   kiosk  client  pg.connect  {db.system.name=postgresql, server.address=pg, server.port=5432}  << connect
//! |      ===                         |   kiosk  db  SELECT a  {server.address=pg, server.port=5432}  << call
//! |          ====                    |   kiosk  client  pg.connect  {db.system.name=postgresql, server.address=pg, server.port=5432}  << connect
//! |               ===                |   kiosk  db  SELECT b  {server.address=pg, server.port=5432}  << call
//! |                   ====           |   kiosk  client  pg.connect  {db.system.name=postgresql, server.address=pg, server.port=5432}  << connect
//! |                        ===       |   kiosk  db  SELECT c  {server.address=pg, server.port=5432}  << call
//! ```
//! ## Not flagged
//! Calls side by side need a connection each; a pool grows once.
//! ```trace
//! |==============================| web  server  GET /dispatch
//! | ==========                   |   web  client  GET route/between?to=101
//! | =====                        |     web  local  tcp.connect
//! | ==========                   |   web  client  GET route/between?to=102
//! | =====                        |     web  local  tcp.connect
//! | ==========                   |   web  client  GET route/between?to=103
//! | =====                        |     web  local  tcp.connect
//! |            =====             |   web  client  GET route/between?to=104
//! |            =====             |   web  client  GET route/between?to=105
//! ```
//! The first call after a start, and connections that are taken from a pool.
//! ```trace
//! |==============================| web  server  GET /orders
//! | ==========                   |   web  client  GET stock/88417
//! | =====                        |     web  local  tcp.connect
//! |            ===               |   web  client  GET stock/88418
//! |                ===           |   web  client  GET stock/88419
//! |                    =         |   web  client  pg-pool.connect  {db.system.name=postgresql, server.address=pg, server.port=5432}
//! |                      ==      |   web  db  SELECT a  {server.address=pg, server.port=5432}
//! ```
//! ## Remedy
//! Share one client, with a pool, for the life of the process; leave keep-alive on; let the pool hold as many idle
//! connections as calls run at once (Go: `MaxIdleConnsPerHost`, and read every body to its end); close idle connections
//! later here than there. HTTP/2 needs one connection.
//! ## Blind spots
//! Without spans of connecting the rule is silent: Node records them (`instrumentation-net`), Go with `otelhttptrace`,
//! Java with Netty; Python does not. .NET puts them into a trace of their own. That the other side closes connections
//! (`Connection: close`) looks the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Connected, Target, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Millis, Occurrence, whole_ms as ms};

/// Most calls that are shown.
const MOST_SHOWN: usize = 6;
const CLOSED_THERE: &str =
    "whether the other side closes its connections: headers of answers are not recorded";

/// When new connections are worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Fewest calls with a connection of their own.
    pub min_connections: usize,
    /// Least time that making connections takes in all.
    pub min_setup: Millis,
    /// Least share of the calls' time that this is.
    pub min_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_connections: 3, min_setup: Millis(15), min_share: 0.3 }
    }
}

/// Finds hosts to which each call made a connection of its own.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let units = trace.units().filter(|unit| !unit.is_self_defence());
    units
        .flat_map(Unit::connected_alone)
        .filter(|(_, calls)| is_churn(calls, limits))
        .map(|(target, calls)| occurrence(target, &calls))
        .collect()
}

fn setup_ns(calls: &[Connected<'_>]) -> i64 {
    calls.iter().map(Connected::setup_ns).sum()
}

fn duration_ns(calls: &[Connected<'_>]) -> i64 {
    calls.iter().map(Connected::duration_ns).sum()
}

fn is_churn(calls: &[Connected<'_>], limits: &Thresholds) -> bool {
    let setup = setup_ns(calls);
    limits.min_connections <= calls.len()
        && limits.min_setup.ns() <= setup
        && limits.min_share * duration_ns(calls) as f64 <= setup as f64
}

fn occurrence((host, port): Target<'_>, calls: &[Connected<'_>]) -> Occurrence {
    const HALF: f64 = 0.5;
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let (setup, count) = (setup_ns(calls), calls.len());
    let needed = calls.iter().map(Connected::setup_ns).max().unwrap_or_default();
    let waited: i64 = calls.iter().map(|one| one.call.on_path_ns()).sum();
    Occurrence {
        at: calls[0].call.at(),
        variant: "churn",
        family: "churn",
        group: String::new(),
        headline: format!("makes a new connection to `{host}{port}` for each call"),
        why: format!(
            "{count} calls to {host}{port}, one after another, made {count} connections; that took {} ms of {} ms",
            ms(setup),
            ms(duration_ns(calls))
        ),
        evidence: calls.iter().take(MOST_SHOWN).flat_map(shown).collect(),
        cost: Cost {
            time: Duration::from_nanos(setup.saturating_sub(needed).max(0) as u64),
            calls: count as u32 - 1,
            ..Cost::default()
        },
        harm: Harm::Churned { mostly: 0 < waited && HALF * waited as f64 <= setup as f64 },
        confidence: Confidence::High,
        not_visible: vec![CLOSED_THERE.to_owned()],
    }
}

fn shown(one: &Connected<'_>) -> Vec<Evidence> {
    let trace = one.call.trace();
    let took = |at| format!("{} ms", ms(trace.span(at).duration_ns));
    let setup = one.setup.iter().map(|at| Evidence::new(*at, "connect", took(*at)));
    std::iter::once(Evidence::new(one.call.at(), "call", "")).chain(setup).collect()
}
