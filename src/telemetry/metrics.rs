//! Every metric name. Label values come from small fixed sets, never from spans.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use time::OffsetDateTime;

use super::clients::{Clients, Sent, Table as ClientTable};
use crate::clock;

macro_rules! label_set {
    ($($name:ident { $($field:ident),+ })+) => { $(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($field: String),+ }
    )+ };
}

label_set! {
    RequestLabels { transport, outcome }
    Outcome { outcome }
    Reason { reason }
    Bound { bound }
    Transport { transport }
    Rule { rule }
    RuleConfidence { rule, confidence }
    ReceiverOutcome { receiver, outcome }
    Receiver { receiver }
    Loop { r#loop }
    Table { table }
    FindingLabels { rule, status, severity }
    Build { version }
}

/// What one background loop did so far in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopSteps {
    /// Its name.
    pub name: &'static str,
    /// End of the last step that went well; `None` before the first.
    pub last_step_at: Option<OffsetDateTime>,
    /// Steps that failed.
    pub failures: u64,
}

/// Why requests are refused for now, one bound each.
pub const BOUNDS: [&str; 6] = ["bytes", "streams", "database", "trace_size", "disk", "time"];

/// All counters, gauges and histograms of the process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    spans: Family<Outcome, Counter>,
    log_records: Family<Outcome, Counter>,
    rejections: Family<Reason, Counter>,
    refusals: Family<Bound, Counter>,
    request_duration: Family<Transport, Histogram>,
    commit_duration: Histogram,
    in_flight: Gauge,
    connections: Family<Transport, Gauge>,
    clients: ClientTable,
    last_span: Gauge<f64, AtomicU64>,
    pending: Gauge,
    lag: Gauge<f64, AtomicU64>,
    evaluations: Family<Outcome, Counter>,
    cut_traces: Counter,
    evaluation_duration: Histogram,
    rule_panics: Family<Rule, Counter>,
    occurrences: Family<RuleConfidence, Counter>,
    findings: Family<FindingLabels, Gauge<i64, AtomicI64>>,
    deliveries: Family<ReceiverOutcome, Counter>,
    deliveries_pending: Family<Receiver, Gauge>,
    delivery_lag: Family<Receiver, Gauge<f64, AtomicU64>>,
    database_up: Gauge,
    loop_failures: Family<Loop, Counter>,
    loop_steps: Mutex<BTreeMap<&'static str, Option<OffsetDateTime>>>,
    started_at: OffsetDateTime,
    storage: Family<Table, Gauge>,
    dropped_days: Family<Reason, Counter>,
    trimmed_traces: Counter,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Self {
        let mut inner = Inner {
            registry: Registry::with_prefix("debunk"),
            requests: Family::default(),
            spans: Family::default(),
            log_records: Family::default(),
            rejections: Family::default(),
            refusals: Family::default(),
            request_duration: Family::new_with_constructor(seconds),
            commit_duration: seconds(),
            in_flight: Gauge::default(),
            connections: Family::default(),
            clients: ClientTable::default(),
            last_span: Gauge::default(),
            pending: Gauge::default(),
            lag: Gauge::default(),
            evaluations: Family::default(),
            cut_traces: Counter::default(),
            evaluation_duration: seconds(),
            rule_panics: Family::default(),
            occurrences: Family::default(),
            findings: Family::default(),
            deliveries: Family::default(),
            deliveries_pending: Family::default(),
            delivery_lag: Family::default(),
            database_up: Gauge::default(),
            loop_failures: Family::default(),
            loop_steps: Mutex::default(),
            started_at: clock::now(),
            storage: Family::default(),
            dropped_days: Family::default(),
            trimmed_traces: Counter::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }

    /// The OpenMetrics text of `/metrics`.
    pub fn expose(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("writing to a String cannot fail");
        text
    }

    /// One OTLP request ended. `outcome`: `ok`, `partial`, `refused`, `rejected`.
    pub fn request(&self, transport: &str, outcome: &str, seconds: f64) {
        let labels = RequestLabels { transport: transport.to_owned(), outcome: outcome.to_owned() };
        self.0.requests.get_or_create(&labels).inc();
        self.0
            .request_duration
            .get_or_create(&Transport { transport: transport.to_owned() })
            .observe(seconds);
    }

    /// Spans ended as `stored`, `duplicate` or `rejected`.
    pub fn spans(&self, outcome: &str, count: u64) {
        self.0.spans.get_or_create(&Outcome { outcome: outcome.to_owned() }).inc_by(count);
    }

    /// Log records ended as `kept`, `rejected` or `ignored`.
    pub fn log_records(&self, outcome: &str, count: u64) {
        self.0.log_records.get_or_create(&Outcome { outcome: outcome.to_owned() }).inc_by(count);
    }

    /// Spans or requests that were malformed, by reason.
    pub fn rejection(&self, reason: &str, count: u64) {
        self.0.rejections.get_or_create(&Reason { reason: reason.to_owned() }).inc_by(count);
    }

    /// Something was refused by one of [`BOUNDS`].
    pub fn refusal(&self, bound: &str) {
        self.0.refusals.get_or_create(&Bound { bound: bound.to_owned() }).inc();
    }

    /// A commit of spans took so long.
    pub fn commit(&self, seconds: f64) {
        self.0.commit_duration.observe(seconds);
    }

    /// A connection came (1) or went (-1).
    pub fn connection(&self, transport: &str, change: i64) {
        self.0.connections.get_or_create(&Transport { transport: transport.to_owned() }).inc_by(change);
    }

    /// Connections that are open now.
    pub fn connections(&self, transport: &str) -> i64 {
        self.0.connections.get_or_create(&Transport { transport: transport.to_owned() }).get()
    }

    /// A peer's request ended.
    pub fn client(&self, peer: IpAddr, sent: Sent) {
        self.0.clients.add(peer, sent, clock::now());
    }

    /// What each peer sent.
    pub fn clients(&self) -> Clients {
        self.0.clients.read()
    }

    /// Spans that ended so, in all.
    pub fn spans_so_far(&self, outcome: &str) -> u64 {
        self.0.spans.get_or_create(&Outcome { outcome: outcome.to_owned() }).get()
    }

    /// Bytes of requests being read or waiting for their commit.
    pub fn in_flight(&self, bytes: i64) {
        self.0.in_flight.set(bytes);
    }

    /// Time of receipt of the newest span.
    pub fn last_span(&self, unix_seconds: f64) {
        self.0.last_span.set(unix_seconds);
    }

    /// Traces that await a look, and the age of the oldest one that is due.
    pub fn pending(&self, traces: i64, lag_seconds: f64) {
        self.0.pending.set(traces);
        self.0.lag.set(lag_seconds);
    }

    /// A trace had more than is judged.
    pub fn cut_trace(&self) {
        self.0.cut_traces.inc();
    }

    /// Traces were judged. `outcome`: `ok`, `late`, `fenced`, `failed`, `quarantined`.
    pub fn evaluations(&self, outcome: &str, count: u64) {
        self.0.evaluations.get_or_create(&Outcome { outcome: outcome.to_owned() }).inc_by(count);
    }

    /// Judging one trace took so long.
    pub fn evaluation(&self, seconds: f64) {
        self.0.evaluation_duration.observe(seconds);
    }

    /// One rule panicked.
    pub fn rule_panic(&self, rule: &str) {
        self.0.rule_panics.get_or_create(&Rule { rule: rule.to_owned() }).inc();
    }

    /// One rule found something.
    pub fn occurrence(&self, rule: &str, confidence: &str) {
        let labels = RuleConfidence { rule: rule.to_owned(), confidence: confidence.to_owned() };
        self.0.occurrences.get_or_create(&labels).inc();
    }

    /// Replaces the numbers of findings: (rule, status, severity, count).
    pub fn findings(&self, counts: &[(String, String, String, i64)]) {
        self.0.findings.clear();
        for (rule, status, severity, count) in counts {
            let labels =
                FindingLabels { rule: rule.clone(), status: status.clone(), severity: severity.clone() };
            self.0.findings.get_or_create(&labels).set(*count);
        }
    }

    /// One try of a delivery ended. `outcome`: `delivered`, `retry`, `dead`; `refreshed`, `not_refreshed` where a receiver
    /// was told again of what still fires.
    pub fn delivery(&self, receiver: &str, outcome: &str) {
        let labels = ReceiverOutcome { receiver: receiver.to_owned(), outcome: outcome.to_owned() };
        self.0.deliveries.get_or_create(&labels).inc();
    }

    /// Deliveries that wait for one receiver, and for how long the oldest has.
    pub fn deliveries_pending(&self, receiver: &str, count: i64, lag: Duration) {
        let labels = Receiver { receiver: receiver.to_owned() };
        self.0.deliveries_pending.get_or_create(&labels).set(count);
        self.0.delivery_lag.get_or_create(&labels).set(lag.as_secs_f64());
    }

    /// Whether the last statement reached the database.
    pub fn database_up(&self, up: bool) {
        self.0.database_up.set(i64::from(up));
    }

    /// Whether it did.
    pub fn is_database_up(&self) -> bool {
        self.0.database_up.get() == 1
    }

    /// A loop's step failed.
    pub fn loop_failure(&self, name: &str) {
        self.0.loop_failures.get_or_create(&Loop { r#loop: name.to_owned() }).inc();
    }

    /// A loop starts; several may bear one name.
    pub fn loop_starts(&self, name: &'static str) {
        self.0.loop_steps.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default();
    }

    /// A loop's step went well.
    pub fn loop_step(&self, name: &'static str, at: OffsetDateTime) {
        self.0.loop_steps.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Some(at));
    }

    /// When this was made: with the process.
    pub fn started_at(&self) -> OffsetDateTime {
        self.0.started_at
    }

    /// What the loops did, by name.
    pub fn loops(&self) -> Vec<LoopSteps> {
        let steps = self.0.loop_steps.lock().unwrap_or_else(PoisonError::into_inner);
        let failures =
            |name: &str| self.0.loop_failures.get_or_create(&Loop { r#loop: name.to_owned() }).get();
        let each = steps.iter();
        each.map(|(name, at)| LoopSteps { name, last_step_at: *at, failures: failures(name) }).collect()
    }

    /// Bytes of requests being read or waiting for their commit, now.
    pub fn bytes_in_flight(&self) -> i64 {
        self.0.in_flight.get()
    }

    /// Requests refused so far for one of [`BOUNDS`].
    pub fn refused(&self, bound: &str) -> u64 {
        self.0.refusals.get_or_create(&Bound { bound: bound.to_owned() }).get()
    }

    /// Bytes of each table with its indexes.
    pub fn storage(&self, tables: &[(String, i64)]) {
        for (table, bytes) in tables {
            self.0.storage.get_or_create(&Table { table: table.clone() }).set(*bytes);
        }
    }

    /// Days were dropped, of `age` or for `size`.
    pub fn dropped_days(&self, reason: &str, count: u64) {
        self.0.dropped_days.get_or_create(&Reason { reason: reason.to_owned() }).inc_by(count);
    }

    /// Traces of a day that could not be dropped were removed for size.
    pub fn trimmed_traces(&self, count: u64) {
        self.0.trimmed_traces.inc_by(count);
    }
}

impl Inner {
    fn register(&mut self) {
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION").to_owned() }).set(1);
        let registry = &mut self.registry;
        // The library adds `_total` to counters.
        registry.register("requests", "OTLP requests by transport and outcome", self.requests.clone());
        registry.register(
            "spans",
            "Spans, and exceptions of spans that came as log records, by outcome",
            self.spans.clone(),
        );
        registry.register("log_records", "Log records by outcome", self.log_records.clone());
        registry.register("rejections", "Malformed spans and requests by reason", self.rejections.clone());
        registry.register("refusals", "Requests refused for now, by bound", self.refusals.clone());
        registry.register("request_duration_seconds", "OTLP requests", self.request_duration.clone());
        registry.register("commit_duration_seconds", "Commits of spans", self.commit_duration.clone());
        registry.register("in_flight_bytes", "Requests being read or committed", self.in_flight.clone());
        registry.register("connections", "Connections of senders", self.connections.clone());
        registry.register(
            "last_span_timestamp_seconds",
            "Receipt of the newest span",
            self.last_span.clone(),
        );
        registry.register("traces_pending", "Traces that await a look", self.pending.clone());
        registry.register("trace_lag_seconds", "Age of the oldest trace that is due", self.lag.clone());
        registry.register("cut_traces", "Looks at the beginning of a large trace", self.cut_traces.clone());
        registry.register("evaluations", "Judged traces by outcome", self.evaluations.clone());
        registry.register(
            "evaluation_duration_seconds",
            "Judging one trace",
            self.evaluation_duration.clone(),
        );
        registry.register("rule_panics", "Panics of a rule, caught", self.rule_panics.clone());
        registry.register("occurrences", "Occurrences by rule and confidence", self.occurrences.clone());
        registry.register("findings", "Findings by rule, status and severity", self.findings.clone());
        registry.register("deliveries", "Tries of deliveries by outcome", self.deliveries.clone());
        registry.register("deliveries_pending", "Deliveries that wait", self.deliveries_pending.clone());
        registry.register("delivery_lag_seconds", "Age of the oldest that waits", self.delivery_lag.clone());
        registry.register(
            "database_up",
            "1 when the last statement reached the database",
            self.database_up.clone(),
        );
        registry.register("loop_failures", "Failed steps of background loops", self.loop_failures.clone());
        registry.register("storage_bytes", "Bytes of a table with its indexes", self.storage.clone());
        registry.register("retention_dropped_days", "Days dropped, by reason", self.dropped_days.clone());
        registry.register("retention_trimmed_traces", "Traces removed for size", self.trimmed_traces.clone());
        registry.register("build_info", "Version", build);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_documented_ones() {
        let metrics = Metrics::new();
        metrics.request("grpc", "ok", 0.001);
        metrics.loop_failure("evaluate");
        let text = metrics.expose();
        assert!(text.contains("debunk_requests_total{transport=\"grpc\",outcome=\"ok\"} 1"), "{text}");
        assert!(text.contains("debunk_loop_failures_total{loop=\"evaluate\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
