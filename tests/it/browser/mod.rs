//! The pages as people see them: in Debian's Chromium, of the real program, on real traces.

mod access;
mod walk;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::support::process::Process;
use crate::support::{client, eventually};

/// Sends spans as an exporter does.
async fn export(process: &Process, request: &ExportTraceServiceRequest) {
    let url = format!("http://{}/v1/traces", process.http);
    let sent =
        client().post(url).header("content-type", "application/x-protobuf").body(request.encode_to_vec());
    assert_eq!(sent.send().await.unwrap().status(), 200);
}

/// Waits until the list of findings has some that are like this.
async fn found(process: &Process, query: &str) {
    eventually(&format!("findings: {query}"), async || {
        let (_, list) = process.get(&format!("/api/v1/findings?{query}")).await;
        list.contains("\"id\"")
    })
    .await;
}
