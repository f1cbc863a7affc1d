//! The demo shop: its faults really happen, its twins really are well behaved, and its spans say so.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use debunk::commands::demo::{Args, run_into};
use debunk::findings::{Settings, judge_all};
use debunk::model::{Assembly, Received};
use debunk::rules::{Confidence, Thresholds};
use debunk::semconv::{self, secrets};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio_stream::wrappers::TcpListenerStream;

use crate::support::client;
use crate::support::process::Process;

/// What a demonstration cannot wait for.
const SCALED: &str = "[rules.unbounded_wait]\nmin_wait = \"2s\"\n";

/// A collector that keeps everything.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ResourceSpans>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().extend(request.into_inner().resource_spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What the shop sends in one round, and what the command printed.
async fn one_round() -> (Vec<ResourceSpans>, String) {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let serving = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let mut printed = Vec::new();
    let args = Args { to, rounds: None, once: true };
    let code = tokio::select! {
        code = run_into(args, &mut printed) => code.unwrap(),
        ended = serving => panic!("the collector ended: {ended:?}"),
    };
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(code, ExitCode::SUCCESS, "{printed}");
    let sent = std::mem::take(&mut *collector.0.lock().unwrap());
    (sent, printed)
}

/// Each span with its service.
fn by_service(sent: Vec<ResourceSpans>) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for of_resource in sent {
        let resource = of_resource.resource.unwrap();
        let environment = text(&resource.attributes, "deployment.environment.name");
        assert!(["production", "staging"].contains(&environment), "{environment}");
        assert_eq!(text(&resource.attributes, "telemetry.sdk.language"), "rust");
        assert!(!text(&resource.attributes, "service.instance.id").is_empty());
        let service = text(&resource.attributes, "service.name").to_owned();
        let of_scopes = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(of_scopes.map(|span| (service.clone(), span)));
    }
    spans
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        Some(Value::ArrayValue(array)) => match array.values.as_slice() {
            [AnyValue { value: Some(Value::StringValue(text)) }] => text,
            other => panic!("{key} is no list of one text: {other:?}"),
        },
        _ => "",
    }
}

fn duration(span: &Span) -> u64 {
    span.end_time_unix_nano - span.start_time_unix_nano
}

/// One trace, asked by the names of its spans.
struct Trace<'a>(Vec<&'a Span>);

impl Trace<'_> {
    fn named(&self, name: &str, kind: SpanKind) -> Vec<&Span> {
        let mut found: Vec<_> =
            self.0.iter().copied().filter(|span| span.name == name && span.kind == kind as i32).collect();
        found.sort_by_key(|span| span.start_time_unix_nano);
        found
    }

    fn only(&self, name: &str, kind: SpanKind) -> &Span {
        match self.named(name, kind).as_slice() {
            [span] => span,
            other => panic!("{} spans named {name}", other.len()),
        }
    }
}

/// The traces of the round whose root has this name.
fn traces<'a>(spans: &'a [(String, Span)], root: &str) -> Vec<Trace<'a>> {
    let mut by_trace: HashMap<&[u8], Vec<&Span>> = HashMap::new();
    for (_, span) in spans {
        by_trace.entry(&span.trace_id).or_default().push(span);
    }
    let has_root =
        |spans: &Vec<&Span>| spans.iter().any(|span| span.parent_span_id.is_empty() && span.name == root);
    let found: Vec<_> = by_trace.into_values().filter(has_root).map(Trace).collect();
    assert_eq!(found.len(), 3, "visits of {root}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_faults_of_the_shop_are_real_and_its_twins_are_sound() {
    let (sent, printed) = one_round().await;
    the_judge_finds_the_faults_and_nothing_else(&sent);
    let spans = by_service(sent);
    assert!(printed.contains(&format!("{} spans sent", spans.len())), "{printed}");
    for told in [
        "POST /checkout              201 201 201  3 orders, 6 charges",
        "POST /checkout-keyed        201 201 201  3 orders, 3 charges",
        "POST /orders                504 504 504  3 failed orders, 3 reservations",
        "POST /orders-compensated    504 504 504  3 failed orders, 0 reservations",
    ] {
        assert!(printed.contains(told), "{told}\n{printed}");
    }
    the_page_waits_for_its_parts_in_turn(&spans);
    a_late_charge_is_repeated(&spans);
    a_key_prevents_the_second_charge(&spans);
    a_reservation_comes_after_its_caller_left(&spans);
}

fn the_judge_finds_the_faults_and_nothing_else(sent: &[ResourceSpans]) {
    let mut sent = sent.to_vec();
    // As at the door.
    secrets::redact(&mut sent);
    let spans = semconv::spans(&Received::flatten(sent), &BTreeMap::new());
    let thresholds: Thresholds = toml::from_str(&SCALED.replace("rules.", "")).unwrap();
    let settings = Settings {
        thresholds: &thresholds,
        min_confidence: Confidence::Medium,
        assembly: Assembly::default(),
    };
    let mut found: BTreeMap<_, usize> = BTreeMap::new();
    for judgement in judge_all(spans, settings) {
        assert_eq!(judgement.panicked, Vec::<&str>::new());
        assert_eq!(judgement.summary.defects, Vec::<String>::new());
        for judged in judgement.occurrences.into_iter().filter(|judged| judged.absorbed_by.is_none()) {
            let finding = (judged.rule, judged.variant, judged.service, judged.operation, judged.confidence);
            *found.entry(finding).or_default() += 1;
        }
    }
    let found: Vec<String> = found
        .into_iter()
        .map(|((rule, variant, service, operation, confidence), traces)| {
            format!("{rule}/{variant} {service} {operation} {confidence} {traces}")
        })
        .collect();
    assert_eq!(
        found,
        [
            "chatty_sequential_calls/serial storefront GET /home/{} high 3",
            "credentials_in_telemetry/written_down parcels GET /parcels/{} confirmed 3",
            "environment_crossing/nonprod_to_prod_write preview POST /preview confirmed 3",
            "masked_failure/masked bookings POST /waiting-list high 3",
            "n_plus_one/db wishlists GET /wishlists/{} high 3",
            "orphaned_work/orphaned reports GET /reports/{} confirmed 3",
            "oversized_payload/response browse GET /browse/{} high 3",
            "partial_commit/left bookings POST /bookings high 3",
            "plaintext_transport/plain billing GET /bills/{} confirmed 3",
            "redundant_calls/same_service account GET /account/{} high 3",
            "remote_call_in_transaction/waits transfers POST /transfers high 3",
            "retry_amplification/multiplied edge GET /items/{} confirmed 3",
            "retry_non_idempotent/confirmed_duplicate checkout POST /checkout confirmed 3",
            "timeout_inversion/inverted availability GET /availability/{} medium 6",
            "timeout_partial_failure/late_write orders POST /orders confirmed 3",
            "unbounded_result_set/rows history GET /history/{} high 3",
            "unbounded_wait/wait restock GET /restock/{} medium 6",
            "unknown_outcome_write/reported_failure payouts POST /payouts high 3",
        ]
    );
}

fn the_page_waits_for_its_parts_in_turn(spans: &[(String, Span)]) {
    let parts = |trace: &Trace| -> Vec<(u64, u64)> {
        let calls = trace
            .0
            .iter()
            .filter(|span| span.name.starts_with("GET /") && span.kind == SpanKind::Client as i32);
        let mut times: Vec<_> =
            calls.map(|span| (span.start_time_unix_nano, span.end_time_unix_nano)).collect();
        times.sort_unstable();
        assert_eq!(times.len(), 5);
        times
    };
    for trace in traces(spans, "GET /home/{user}") {
        assert!(parts(&trace).windows(2).all(|pair| pair[0].1 <= pair[1].0), "one after another");
    }
    for trace in traces(spans, "GET /home-parallel/{user}") {
        let times = parts(&trace);
        let first_end = times.iter().map(|(_, end)| *end).min().unwrap();
        assert!(times.iter().all(|(start, _)| *start < first_end), "together");
    }
}

fn a_late_charge_is_repeated(spans: &[(String, Span)]) {
    for trace in traces(spans, "POST /checkout") {
        let attempts = trace.named("POST /charges", SpanKind::Client);
        let served = trace.named("POST /charges", SpanKind::Server);
        let charges = trace.named("INSERT charges", SpanKind::Client);
        assert_eq!((attempts.len(), served.len(), charges.len()), (2, 2, 2));
        assert_eq!(text(&attempts[0].attributes, "error.type"), "timeout");
        assert_eq!(attempts[0].events[0].name, "exception");
        assert_eq!(value(&attempts[0].attributes, "http.response.status_code"), None);
        assert_eq!(value(&attempts[1].attributes, "http.request.resend_count"), Some(&Value::IntValue(1)));
        // Durations alone prove it, whatever the clocks say.
        let waited = charges[0].start_time_unix_nano - served[0].start_time_unix_nano;
        assert!(duration(attempts[0]) <= waited, "charged after the caller had left");
        assert!(charges[1].start_time_unix_nano >= attempts[1].start_time_unix_nano, "and then again");
        assert_eq!(text(&attempts[0].attributes, "http.request.header.idempotency-key"), "");
    }
}

fn a_key_prevents_the_second_charge(spans: &[(String, Span)]) {
    for trace in traces(spans, "POST /checkout-keyed") {
        let keys: Vec<_> = [SpanKind::Client, SpanKind::Server]
            .into_iter()
            .flat_map(|kind| trace.named("POST /charges", kind))
            .map(|span| text(&span.attributes, "http.request.header.idempotency-key"))
            .collect();
        assert_eq!(keys.len(), 4);
        assert!(!keys[0].is_empty() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }
}

fn a_reservation_comes_after_its_caller_left(spans: &[(String, Span)]) {
    for root in ["POST /orders", "POST /orders-compensated"] {
        for trace in traces(spans, root) {
            let asked = trace.only("POST /reservations", SpanKind::Client);
            let served = trace.only("POST /reservations", SpanKind::Server);
            let written = trace.only("INSERT reservations", SpanKind::Client);
            assert!(duration(asked) <= written.start_time_unix_nano - served.start_time_unix_nano);
            assert_eq!(value(&served.attributes, "http.response.status_code"), Some(&Value::IntValue(201)));
            let released = trace.named("POST /reservations/{order}/release", SpanKind::Server).len();
            assert_eq!(released, usize::from(root == "POST /orders-compensated"));
        }
    }
}

/// What the API lists, open or not yet: rule, variant, service, operation, status.
async fn listed(client: &reqwest::Client, debunk: &Process) -> Vec<String> {
    let url = format!("http://{}/api/v1/findings?status=open&status=candidate&status=resolved", debunk.web);
    let page: serde_json::Value = client.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(page["next"], serde_json::Value::Null);
    let mut found: Vec<String> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            ["rule", "variant", "service", "operation", "status"]
                .map(|field| finding[field].as_str().unwrap())
                .join(" ")
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_the_shop_opens_each_promised_finding_and_no_other() {
    // What is told from absence is told when a trace has settled.
    let mut debunk = Process::with(&format!("{SCALED}[traces]\nsettle_period = \"2s\"\n"));
    debunk.start().await;
    let client = client();
    let args = Args { to: format!("http://{}", debunk.grpc), rounds: None, once: true };
    let mut printed = Vec::new();
    let code = run_into(args, &mut printed).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS, "{}", String::from_utf8_lossy(&printed));
    let begun = Instant::now();
    // Which traces have findings shows only when all of them are judged.
    while judged(&debunk).await < VISITS {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", debunk.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        listed(&client, &debunk).await,
        [
            "chatty_sequential_calls serial storefront GET /home/{} open",
            "credentials_in_telemetry written_down parcels GET /parcels/{} open",
            "environment_crossing nonprod_to_prod_write preview POST /preview open",
            "masked_failure masked bookings POST /waiting-list open",
            "n_plus_one db wishlists GET /wishlists/{} open",
            "orphaned_work orphaned reports GET /reports/{} open",
            "oversized_payload response browse GET /browse/{} open",
            "partial_commit left bookings POST /bookings open",
            "plaintext_transport plain billing GET /bills/{} open",
            "redundant_calls same_service account GET /account/{} open",
            "remote_call_in_transaction waits transfers POST /transfers open",
            "retry_amplification multiplied edge GET /items/{} open",
            "retry_non_idempotent confirmed_duplicate checkout POST /checkout open",
            "timeout_inversion inverted availability GET /availability/{} open",
            "timeout_partial_failure late_write orders POST /orders open",
            "unbounded_result_set rows history GET /history/{} open",
            "unbounded_wait wait restock GET /restock/{} open",
            "unknown_outcome_write reported_failure payouts POST /payouts open",
        ]
    );
}

/// Traces of one round.
const VISITS: i64 = 114;

/// How many traces were judged and await no further look.
async fn judged(debunk: &Process) -> i64 {
    let query = "select count(*) from traces t
        where not exists (select from pending p where p.trace_id = t.trace_id)";
    sqlx::query_scalar(query).fetch_one(&mut debunk.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_not_there_is_named_and_fails_the_command() {
    // A port that was free a moment ago.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut printed = Vec::new();
    let code = run_into(Args { to: to.clone(), rounds: Some(1), once: false }, &mut printed).await.unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(code, ExitCode::from(3), "{printed}");
    assert!(printed.contains(&format!("lost: cannot export to {to}")), "{printed}");
}
