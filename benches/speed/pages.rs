//! How soon pages begin to answer with a million spans stored: a finding, and a trace of ten thousand spans, beside the
//! pages that people open first. Of a real process on a private PostgreSQL.

use std::time::{Duration, Instant};

use debunk::model::TraceId;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use sqlx::PgConnection;

use crate::finding::{judged, post, rush, share};
use crate::process::Process;
use crate::{judge, traffic};

/// Spans that are stored before anything is asked for.
const STORED: usize = 1_000_000;
/// Spans of the large trace.
const LARGE: usize = 10_000;
/// Answers of each page.
const ANSWERS: usize = 200;

pub(crate) async fn run() {
    let mut process = Process::new();
    process.start().await;
    let mut database = process.connect().await;
    let url = format!("http://{}/v1/traces", process.http);
    rush(STORED, &url, &mut database).await;
    let large = TraceId(rand::random::<u128>() | 1);
    send(large, &url).await;
    judged(&mut database).await;
    let stored: i64 =
        sqlx::query_scalar("select count(*) from spans").fetch_one(&mut database).await.unwrap();
    println!("pages: {stored} spans stored");
    let findings = findings(&mut database).await;
    measure(&process, "a finding", &findings).await;
    for (what, path) in [
        ("a trace of 10000 spans", format!("/traces/{large}")),
        ("its last page", format!("/traces/{large}?page={}", LARGE / 500)),
        ("the board", "/".to_owned()),
        ("the list of findings", "/findings".to_owned()),
        ("the list of traces", "/traces".to_owned()),
        ("services", "/services".to_owned()),
    ] {
        measure(&process, what, &[path]).await;
    }
}

async fn send(id: TraceId, url: &str) {
    let spans = judge::trace(&traffic::recorded(), id, LARGE);
    for some in spans.chunks(2_000) {
        let request = ExportTraceServiceRequest { resource_spans: traffic::nest(some.to_vec()) };
        post(url, request.encode_to_vec()).await;
    }
}

/// Pages of the findings that are seen most often.
async fn findings(database: &mut PgConnection) -> Vec<String> {
    let query = "select '/findings/' || lpad(to_hex(fingerprint), 16, '0')
        from findings where status = 'open' order by occurrences desc, fingerprint limit 20";
    sqlx::query_scalar(query).fetch_all(database).await.unwrap()
}

/// Prints how soon the first byte came, and how much came in all.
async fn measure(process: &Process, what: &str, paths: &[String]) {
    let client = crate::client();
    let (mut waits, mut bytes): (Vec<Duration>, _) = (Vec::new(), 0);
    for path in paths.iter().cycle().take(ANSWERS) {
        let begun = Instant::now();
        let answer = client.get(format!("http://{}{path}", process.web)).send().await.unwrap();
        waits.push(begun.elapsed());
        assert_eq!(answer.status(), 200, "{path}");
        bytes += answer.bytes().await.unwrap().len();
    }
    println!(
        "  {what}: first byte after {:.1} ms (p50), {:.1} ms (p99), {} kB",
        share(&waits, 50),
        share(&waits, 99),
        bytes / ANSWERS / 1_000
    );
}
