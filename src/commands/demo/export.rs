//! Each service's own OpenTelemetry SDK and its exporter: OTLP over gRPC, batched, as any service would have it.
//!
//! It reads none of the `OTEL_…` variables of the shell, so that the shop looks the same everywhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use opentelemetry_semantic_conventions::attribute;

/// Short, so that the spans of one trace arrive in several exports, as they do in life.
const EXPORT_EVERY: Duration = Duration::from_millis(500);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of the spans of all services.
#[derive(Clone, Default)]
pub(super) struct Shipped(Arc<Mutex<Tally>>);

#[derive(Clone, Default)]
pub(super) struct Tally {
    /// Spans that the receiver accepted.
    pub(super) accepted: usize,
    /// Spans that it did not.
    pub(super) lost: usize,
    /// The newest reason.
    pub(super) error: Option<String>,
}

impl Shipped {
    /// The numbers since the last call.
    pub(super) fn take(&self) -> Tally {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, spans: usize, result: &OTelSdkResult) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => tally.accepted += spans,
            Err(error) => {
                tally.lost += spans;
                tally.error = Some(error.to_string());
            }
        }
    }
}

/// The SDK tells nobody when a batch fails between two flushes; this exporter keeps count.
struct Counted {
    inner: OtlpExporter,
    shipped: Shipped,
}

impl fmt::Debug for Counted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.shipped.note(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The SDK of the service `name` in `environment`, exporting to `to`. Needs a Tokio runtime, whose reactor the connection uses.
pub(super) fn provider(
    name: &'static str,
    environment: &'static str,
    to: &str,
    shipped: &Shipped,
) -> anyhow::Result<SdkTracerProvider> {
    let inner = OtlpExporter::builder()
        .with_tonic()
        .with_endpoint(to)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .with_context(|| format!("cannot export to {to}"))?;
    let batches = BatchConfigBuilder::default().with_scheduled_delay(EXPORT_EVERY).build();
    let processor = BatchSpanProcessor::builder(Counted { inner, shipped: shipped.clone() })
        .with_batch_config(batches)
        .build();
    Ok(SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource(name, environment))
        .with_span_processor(processor)
        .build())
}

fn resource(name: &'static str, environment: &'static str) -> Resource {
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(name)
        .with_attributes([
            KeyValue::new(attribute::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(attribute::SERVICE_INSTANCE_ID, uuid::Uuid::now_v7().to_string()),
            KeyValue::new(attribute::DEPLOYMENT_ENVIRONMENT_NAME, environment),
        ])
        .build()
}
