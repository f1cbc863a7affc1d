//! The door: OTLP over gRPC and over HTTP.
//!
//! ```text
//! listen ─► grpc · http ─► read ─► accept ─► store::Writer ─► reply
//! ```
//!
//! The transports only frame; `accept` is the same for both, and so is every limit. A request is
//! refused before it is buffered, and a success reply means that its spans are committed. Of attributes it knows the length, and
//! who a resource is.

mod accept;
mod budget;
pub mod grpc;
mod health;
pub mod http;
mod listen;
mod other_signals;
mod read;
mod rows;
mod sizes;
mod status;
mod trim;

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::decode::plain;
use crate::store::{Store, Writer};
use crate::telemetry::Metrics;

/// What becomes of spans of this service itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Nobody asked for them: they would tell of each other.
    Rejected,
    /// Somebody did.
    Taken,
}

/// What is exported. Profiles are not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Traces,
    /// The exceptions of spans are kept.
    Logs,
    /// Nothing is kept.
    Metrics,
}

/// What both transports share.
pub struct Door {
    limits: config::Otlp,
    own: Own,
    retention: Duration,
    budget: Arc<budget::Budget>,
    writer: Writer,
    metrics: Metrics,
    notices: other_signals::Notices,
    sizes: sizes::Sizes,
}

impl Signal {
    /// The signal whose OTLP/HTTP path this is.
    fn at(path: &str) -> Option<Self> {
        [Self::Traces, Self::Logs, Self::Metrics].into_iter().find(|signal| signal.path() == path)
    }

    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
        }
    }
}

impl Door {
    /// A door into the store. `retention` tells how old a span may be to be kept under its own day.
    pub fn new(
        limits: &config::Otlp,
        own: Own,
        retention: Duration,
        store: Store,
        writer: Writer,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.clone(),
            own,
            retention,
            budget: budget::Budget::new(limits, metrics.clone()),
            writer,
            metrics,
            notices: other_signals::Notices::default(),
            sizes: sizes::Sizes::new(store, limits.max_spans_per_trace),
        })
    }

    fn connections(&self, transport: &'static str) -> listen::Limits {
        listen::Limits {
            max_streams: self.limits.max_streams,
            idle: self.limits.idle_timeout.0,
            metrics: self.metrics.clone(),
            transport,
        }
    }

    /// Logs and metrics are not served; counts one that came.
    fn refuses(&self, signal: Signal) -> bool {
        let refuses = signal != Signal::Traces && self.limits.other_signals == config::OtherSignals::Refuse;
        if refuses {
            self.metrics.rejection("other_signal", 1);
        }
        refuses
    }

    /// What a span may have.
    fn limits_of_spans(&self) -> plain::Limits {
        plain::Limits { count: self.limits.max_attributes as usize, length: self.limits.max_value.0 as usize }
    }

    /// Largest body and largest decompressed body.
    fn max_request(&self) -> usize {
        self.limits.max_request.0 as usize
    }
}
