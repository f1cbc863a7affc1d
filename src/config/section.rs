//! The sections. A doc line per field: `config.example.toml` is generated from them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Bytes, Period, Secret};
use crate::rules::Confidence;

/// `[server]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of the pages, the API, health and metrics.
    pub listen: SocketAddr,
    /// How others reach `listen`; links in alerts and dashboards start with it.
    pub public_url: String,
    /// Time for requests in flight when told to stop.
    pub shutdown_grace: Period,
    /// Bind beyond loopback although nothing asks for credentials.
    pub allow_insecure: bool,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// File that holds the URL. Without it and without `DEBUNK_DATABASE__URL`, Debunk starts a private PostgreSQL.
    pub url_file: Option<PathBuf>,
    /// The URL itself; only by the environment, so that no password stands in a file that is shared.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub url: Secret,
    /// Where the private PostgreSQL keeps its data. Without it: `/var/lib/debunk/postgres` as root, else
    /// `~/.local/share/debunk/postgres`.
    pub private_dir: Option<PathBuf>,
    /// Most connections at once.
    pub max_connections: u32,
    /// A statement that takes longer is cancelled.
    pub statement_timeout: Period,
    /// Longest wait for a connection.
    pub connect_timeout: Period,
}

/// Connections at once; more wait in the system's queue.
pub const MOST_CONNECTIONS: usize = 1_024;

/// `[otlp]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Address of OTLP over gRPC.
    pub grpc: SocketAddr,
    /// Address of OTLP over HTTP.
    pub http: SocketAddr,
    /// Largest request after decompression, both transports.
    pub max_request: Bytes,
    /// Most bytes of requests that are being read or wait for their commit; above it, requests are refused with "try later".
    pub max_in_flight: Bytes,
    /// Longest time for reading one request.
    pub read_timeout: Period,
    /// Longest time for the headers of a request, and for a connection without one; then it is closed.
    pub idle_timeout: Period,
    /// Most requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Most attributes kept of one span; the rest are counted as dropped.
    pub max_attributes: u32,
    /// Longest text of an attribute kept; the rest is cut.
    pub max_value: Bytes,
    /// Spans that one trace may have; more are rejected, and the trace says so.
    pub max_spans_per_trace: u32,
    /// What happens to logs and metrics: "discard" accepts them and keeps nothing but exceptions that log records tell of a
    /// span, "refuse" answers that they are not served.
    pub other_signals: OtherSignals,
}

/// What the door does with logs and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherSignals {
    /// Accepted and forgotten: senders often have one endpoint for all signals.
    #[default]
    Discard,
    /// Not served: 404, or `UNIMPLEMENTED`.
    Refuse,
}

/// `[traces]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// A trace is judged when none of its spans arrived for so long.
    pub quiet_period: Period,
    /// And again after so long, where an outcome is unknown or a unit failed.
    pub settle_period: Period,
    /// A trace that is never quiet is judged so long after its first span.
    pub max_wait: Period,
    /// How long a replica may take to judge what it claimed before another may.
    pub lease: Period,
    /// Spans of one trace that are judged; of larger ones the first so many.
    pub max_spans_evaluated: u32,
    /// Bytes of stored spans that one worker loads at once; what a single trace has beyond is not judged.
    pub max_bytes_evaluated: Bytes,
    /// Traces judged at the same time.
    pub workers: u32,
}

/// `[findings]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Findings {
    /// Occurrences at least so sure count: low, medium, high, confirmed.
    pub min_confidence: Confidence,
    /// Distinct traces with confidence high that open a finding.
    pub gate_high: u32,
    /// Distinct traces with confidence medium that open a finding.
    pub gate_medium: u32,
    /// The traces must lie within so long.
    pub gate_within: Period,
    /// A finding that was not seen for so long is resolved, if its operation was at work meanwhile.
    pub resolve_after: Period,
}

/// `[retention]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Spans and everything judged from them. Whole days are dropped.
    pub traces: Period,
    /// Findings that were resolved, and how often all of them were seen hour by hour.
    pub findings: Period,
    /// What receivers were told.
    pub deliveries: Period,
    /// Most bytes of all tables. Above it the oldest day goes, and the next; where only today is left, its oldest traces go
    /// from four fifths of it on.
    pub max_size: Bytes,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Log lines: `text` or `json`.
    pub log_format: LogFormat,
    /// Where our own spans go: OTLP over gRPC, such as `http://127.0.0.1:4317`; empty: nowhere, and then
    /// spans of a service called `debunk` are rejected at our own door.
    pub otlp_endpoint: String,
}

/// `[environments]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Environments {
    /// Other names of an environment, lower-case; added to the built-in ones (`prod`, `stg`, `dev`, …).
    pub aliases: BTreeMap<String, String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4320)),
            public_url: "http://127.0.0.1:4320".to_owned(),
            shutdown_grace: Period::secs(10),
            allow_insecure: false,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url_file: None,
            url: Secret::default(),
            private_dir: None,
            max_connections: 10,
            statement_timeout: Period::secs(15),
            connect_timeout: Period::secs(5),
        }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            grpc: SocketAddr::from(([127, 0, 0, 1], 4317)),
            http: SocketAddr::from(([127, 0, 0, 1], 4318)),
            max_request: Bytes::mib(16),
            max_in_flight: Bytes::mib(256),
            read_timeout: Period::secs(30),
            idle_timeout: Period::secs(60),
            max_streams: 100,
            max_attributes: 128,
            max_value: Bytes(4096),
            max_spans_per_trace: 50_000,
            other_signals: OtherSignals::Discard,
        }
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            quiet_period: Period::secs(10),
            settle_period: Period::secs(60),
            max_wait: Period::secs(300),
            lease: Period::secs(30),
            max_spans_evaluated: 10_000,
            max_bytes_evaluated: Bytes::mib(64),
            workers: 1,
        }
    }
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            min_confidence: Confidence::Medium,
            gate_high: 2,
            gate_medium: 5,
            gate_within: Period::secs(86_400),
            resolve_after: Period::secs(86_400),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            traces: Period::secs(7 * 86_400),
            findings: Period::secs(90 * 86_400),
            deliveries: Period::secs(30 * 86_400),
            max_size: Bytes(20 << 30),
        }
    }
}

impl Default for Environments {
    fn default() -> Self {
        let known = [
            ("prod", "production"),
            ("prd", "production"),
            ("live", "production"),
            ("stg", "staging"),
            ("stage", "staging"),
            ("dev", "development"),
        ];
        Self { aliases: known.into_iter().map(|(alias, name)| (alias.to_owned(), name.to_owned())).collect() }
    }
}

impl Server {
    pub(super) fn validate(&self, otlp: &Otlp) -> Result<(), String> {
        let doors = [("server.listen", self.listen), ("otlp.grpc", otlp.grpc), ("otlp.http", otlp.http)];
        if let Some((name, address)) = doors.iter().find(|(_, address)| !address.ip().is_loopback())
            && !self.allow_insecure
        {
            return Err(format!(
                "{name}: {address} is reachable by others, and nothing asks them for credentials; \
                 where something else guards it, set allow_insecure = true in [server]"
            ));
        }
        let is_address = self.public_url.parse().is_ok_and(|url: http::Uri| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some()
                && url.query().is_none()
        });
        if !is_address {
            return Err(format!("server.public_url: {:?} is no http or https address", self.public_url));
        }
        Ok(())
    }
}

impl Database {
    pub(super) fn validate(&self) -> Result<(), String> {
        // Two writers, one evaluator, one reader for the API: fewer would deadlock on each other's waiting.
        if !(4..=1000).contains(&self.max_connections) {
            return Err("database.max_connections: between 4 and 1000".to_owned());
        }
        if self.statement_timeout.0.is_zero() || self.connect_timeout.0.is_zero() {
            return Err("database: statement_timeout and connect_timeout at least 1ms".to_owned());
        }
        Ok(())
    }
}

impl Otlp {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.max_request.0 == 0 || self.max_request.0 > 64 << 20 {
            return Err("otlp.max_request: between 1 and 64MiB".to_owned());
        }
        if self.max_in_flight < self.max_request || Bytes::mib(1 << 20) < self.max_in_flight {
            return Err("otlp.max_in_flight: between max_request and 1024GiB".to_owned());
        }
        for (name, timeout) in [("read_timeout", self.read_timeout), ("idle_timeout", self.idle_timeout)] {
            if timeout.0.is_zero() {
                return Err(format!("otlp.{name}: at least 1ms"));
            }
        }
        if self.max_streams == 0 || self.max_attributes == 0 || self.max_value.0 < 64 {
            return Err("otlp: max_streams and max_attributes at least 1, max_value at least 64".to_owned());
        }
        if self.max_spans_per_trace == 0 {
            return Err("otlp.max_spans_per_trace: at least 1".to_owned());
        }
        Ok(())
    }
}

impl Traces {
    pub(super) fn validate(&self) -> Result<(), String> {
        let nothing = self.max_spans_evaluated == 0 || self.max_bytes_evaluated.0 == 0;
        if !(1..=64).contains(&self.workers) || nothing {
            return Err(
                "traces: workers between 1 and 64, max_spans_evaluated and max_bytes_evaluated at least 1"
                    .to_owned(),
            );
        }
        if self.lease < Period::secs(1) {
            return Err("traces.lease: at least 1s".to_owned());
        }
        if self.max_wait < self.quiet_period {
            return Err("traces.max_wait: at least quiet_period".to_owned());
        }
        Ok(())
    }
}

impl Findings {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.gate_high == 0 || self.gate_medium == 0 || self.gate_within.0.is_zero() {
            return Err("findings: gate_high and gate_medium at least 1, gate_within at least 1ms".to_owned());
        }
        Ok(())
    }
}

impl Retention {
    pub(super) fn validate(&self) -> Result<(), String> {
        // Whole days are dropped, and the day that is being written cannot be.
        if self.traces < Period::secs(86_400) {
            return Err("retention.traces: at least 1d".to_owned());
        }
        Ok(())
    }
}

impl Telemetry {
    /// Where our own spans go, if anywhere.
    pub fn endpoint(&self) -> Option<&str> {
        Some(self.otlp_endpoint.as_str()).filter(|endpoint| !endpoint.is_empty())
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        match self.endpoint() {
            Some(endpoint) if !endpoint.starts_with("http://") => {
                Err("telemetry.otlp_endpoint: expected http://HOST:PORT".to_owned())
            }
            _ => Ok(()),
        }
    }
}
