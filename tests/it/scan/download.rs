//! A trace that is taken from a server as a file shows the same, and is nothing new to the server.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::{Folder, out};
use crate::support::process::Process;
use crate::support::traffic::charged_twice;
use crate::support::{client, eventually};

async fn export(process: &Process, kind: &str, body: Vec<u8>) {
    let url = format!("http://{}/v1/traces", process.http);
    let sent = client().post(url).header("content-type", kind).body(body).send().await.unwrap();
    assert_eq!(sent.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downloaded_trace_shows_the_same_and_comes_back_as_a_repetition() {
    let mut process = Process::new();
    process.start().await;
    let request: ExportTraceServiceRequest = charged_twice(1, "shop");
    export(&process, "application/x-protobuf", request.encode_to_vec()).await;
    let mut finding = String::new();
    eventually("a finding", async || {
        let (_, list) = process.get("/api/v1/findings").await;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        finding = list["items"][0]["id"].as_str().unwrap_or_default().to_owned();
        !finding.is_empty()
    })
    .await;
    let url = format!("http://{}/api/v1/traces/{:032x}/otlp", process.web, 1);
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], format!("attachment; filename=\"{:032x}.json\"", 1));
    let file = answer.text().await.unwrap();

    let folder = Folder::new();
    folder.file("trace.json", &file);
    let report = folder.debunk(&["scan", "--format", "json", "trace.json"]);
    assert!(out(&report).contains(&finding), "{}", out(&report));

    export(&process, "application/json", file.into_bytes()).await;
    let spans = request.resource_spans.len() as u64;
    assert_eq!(process.metric("debunk_spans_total{outcome=\"stored\"}").await, spans);
    assert_eq!(process.metric("debunk_spans_total{outcome=\"duplicate\"}").await, spans);
}
