//! Our own logs, metrics and spans.

mod clients;
pub mod metrics;
pub mod trace;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use opentelemetry_semantic_conventions::attribute;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

pub use clients::{Clients, Sent};
pub use metrics::{BOUNDS, LoopSteps, Metrics};

/// How we call ourselves in our own spans.
pub const SERVICE: &str = "debunk";

/// One export of our own spans takes so long at most, and the last one as well.
const EXPORT: Duration = Duration::from_secs(5);

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Spans that still have to go out when the process ends.
#[derive(Default)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends log lines to standard error: `level` as in `info` or `info,sqlx=warn`. Spans go to `endpoint`, OTLP over
    /// gRPC, where one is given; the connection needs a runtime, so this is called within one. What is wrong with it
    /// otherwise.
    pub fn start(level: &str, lines: Lines, endpoint: Option<&str>) -> Result<Self, String> {
        let filter = EnvFilter::try_new(level).map_err(|error| format!("--log {level}: {error}"))?;
        let provider = endpoint.map(provider).transpose()?;
        let spans = provider.as_ref().map(|provider| {
            let ours = Targets::new().with_target("debunk", LevelFilter::INFO);
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(SERVICE))
                .with_location(false)
                .with_threads(false)
                .with_filter(ours)
        });
        // A second call, as tests make it, changes nothing.
        let _already = tracing_subscriber::registry().with(self::lines(lines, filter)).with(spans).try_init();
        Ok(Self(provider))
    }

    /// Sends what is left. A receiver that is gone costs a few seconds at most.
    pub fn end(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(EXPORT)
        {
            tracing::warn!(%error, "the last spans of this process were not exported");
        }
    }
}

fn lines<S>(lines: Lines, filter: EnvFilter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let stderr = std::io::stderr;
    match lines {
        Lines::Text => {
            fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_filter(filter).boxed()
        }
        Lines::Json => fmt::layer().json().with_writer(stderr).with_filter(filter).boxed(),
    }
}

fn provider(endpoint: &str) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT)
        .build()
        .map_err(|error| format!("telemetry.otlp_endpoint: {error}"))?;
    let resource = Resource::builder_empty()
        .with_service_name(SERVICE)
        .with_attributes([
            KeyValue::new(attribute::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(attribute::SERVICE_INSTANCE_ID, uuid::Uuid::now_v7().to_string()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build())
}
