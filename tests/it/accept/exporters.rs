//! The exporters that people use. (The Python ones: `tests/exporters/python.py`.)

use std::time::Duration;

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};

use super::house::{House, client};

/// Ends so many spans and flushes them.
fn produce(exporter: SpanExporter, count: usize) {
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).build())
        .build();
    let tracer = provider.tracer("test");
    for number in 0..count {
        tracer.start(format!("span {number}")).end();
    }
    provider.shutdown().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_exporter_over_grpc_is_accepted() {
    let house = House::open().await;
    let endpoint = format!("http://{}", house.grpc);
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().unwrap();
    tokio::task::spawn_blocking(|| produce(exporter, 300)).await.unwrap();
    assert_eq!(house.stored().await, 300);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_exporter_over_http_is_accepted() {
    let house = House::open().await;
    let endpoint = format!("http://{}/v1/traces", house.http);
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client(client(), tokio::runtime::Handle::current()))
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    tokio::task::spawn_blocking(|| produce(exporter, 300)).await.unwrap();
    assert_eq!(house.stored().await, 300);
    house.close().await;
}

/// The batch processor runs on a thread without a runtime; the client needs one.
#[derive(Debug)]
struct Client(reqwest::Client, tokio::runtime::Handle);

#[tonic::async_trait]
impl opentelemetry_http::HttpClient for Client {
    async fn send_bytes(
        &self,
        request: ::http::Request<bytes::Bytes>,
    ) -> Result<::http::Response<bytes::Bytes>, opentelemetry_http::HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.0.clone();
        let sent = async move {
            let response = client.execute(request).await?;
            let (status, body) = (response.status(), response.bytes().await?);
            Ok::<_, reqwest::Error>((status, body))
        };
        let (status, body) = self.1.spawn(sent).await??;
        Ok(::http::Response::builder().status(status).body(body)?)
    }
}
