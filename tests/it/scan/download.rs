//! A trace that is taken from a server as a file shows the same, and is nothing new to the server.

use super::{Folder, out};
use crate::support::load::Exporter;
use crate::support::process::Process;
use crate::support::traffic::{charged_twice, keys};
use crate::support::transport::{Answer, Packing, Transport};
use crate::support::{client, found};

#[tokio::test(flavor = "multi_thread")]
async fn a_downloaded_trace_shows_the_same_and_comes_back_as_a_repetition() {
    let mut process = Process::new();
    process.start().await;
    let request = charged_twice(1, "shop");
    Exporter::http(process.http).deliver(&request).await;
    let finding = found(&process, "").await["id"].as_str().unwrap().to_owned();
    let url = format!("http://{}/api/v1/traces/{:032x}/otlp", process.web, 1);
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], format!("attachment; filename=\"{:032x}.json\"", 1));
    let file = answer.text().await.unwrap();

    let folder = Folder::new();
    folder.file("trace.json", &file);
    let report = folder.debunk(&["scan", "--format", "json", "trace.json"]);
    assert!(out(&report).contains(&finding), "{}", out(&report));

    let answer = Transport::HttpJson.send(&process, file.into_bytes(), Packing::None).await;
    assert_eq!(answer, Answer::Accepted);
    let spans = keys(&request).len() as u64;
    assert_eq!(process.metric("debunk_spans_total{outcome=\"stored\"}").await, spans);
    assert_eq!(process.metric("debunk_spans_total{outcome=\"duplicate\"}").await, spans);
}
