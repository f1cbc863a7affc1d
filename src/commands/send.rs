//! `debunk send`: posts trace files to any OTLP server over HTTP, as the protocol asks a sender to: what may be sent
//! again is, after a pause, and what may not is counted.

use std::collections::HashMap;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use rand::Rng;

use super::post::{self, Answer, address, post};
use super::print;
use crate::clock;
use crate::decode::file;
use crate::sketch::visible;

/// Post trace files to an OTLP server. Log records in them are not sent.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Traces as OTLP: JSON, JSON lines or protobuf, compressed or not. `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The server; `/v1/traces` is added where there is no path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318")]
    pub to: String,
    /// Most spans a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Move the times of each trace, so that it ends now.
    #[arg(long)]
    pub now: bool,
}

/// A request of more is sent in parts, as an exporter would have.
const MAX_BODY: usize = 4 << 20;

/// How long one request is tried, and the pauses in between.
const PATIENCE: Duration = Duration::from_mins(2);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Traces whose shift is remembered, for those whose spans are not all in one request.
const MOST_SHIFTS: usize = 1 << 20;

/// Spans of a file, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// In the files.
    pub sent: u64,
    /// Refused for good.
    pub rejected: u64,
}

impl Count {
    /// Taken by the server.
    pub fn accepted(self) -> u64 {
        self.sent - self.rejected
    }
}

/// Sends the files. Exits with 1 if the server did not accept every span.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let total = send(args).await?;
    Ok(ExitCode::from(u8::from(total.rejected > 0)))
}

/// Sends the files one after another, and prints what became of each.
pub async fn send(args: &Args) -> anyhow::Result<Count> {
    let mut sender = Sender::new(args)?;
    let mut total = Count::default();
    let width = args.files.iter().map(|file| name(file).len()).max().unwrap_or(0);
    for file in &args.files {
        let count = sender.file(file).await?;
        print(&line(&name(file), count, width))?;
        total.sent += count.sent;
        total.rejected += count.rejected;
    }
    if args.files.len() > 1 {
        print(&line("total", total, width))?;
    }
    Ok(total)
}

fn line(name: &str, count: Count, width: usize) -> String {
    let Count { sent, rejected } = count;
    format!("{name:width$}  {sent:>9} sent  {:>9} accepted  {rejected:>6} rejected\n", count.accepted())
}

/// The file's own name; whatever is in it is safe on a terminal.
fn name(file: &Path) -> String {
    visible(&file.file_name().unwrap_or(file.as_os_str()).to_string_lossy())
}

struct Sender {
    client: reqwest::Client,
    url: reqwest::Url,
    rate: Option<u32>,
    /// When the next request may go.
    due: Instant,
    shifts: Option<HashMap<Vec<u8>, i64>>,
}

impl Sender {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let (client, shifts) = (post::client()?, args.now.then(HashMap::new));
        Ok(Self { client, url: address(&args.to)?, rate: args.rate, due: Instant::now(), shifts })
    }

    async fn file(&mut self, file: &Path) -> anyhow::Result<Count> {
        let mut count = Count::default();
        for request in file::Requests::open(file)? {
            let file::Request { line, mut resource_spans, .. } = request?;
            if let Some(shifts) = &mut self.shifts {
                move_to_now(&mut resource_spans, shifts);
            }
            for part in parts(resource_spans) {
                let spans = spans(&part);
                let rejected = self
                    .post(&part, spans)
                    .await
                    .with_context(|| format!("{}: line {line}", file.display()))?;
                count.sent += spans;
                count.rejected += rejected;
            }
        }
        Ok(count)
    }

    /// Sends one request until it is answered for good; returns how many of its spans were rejected.
    async fn post(&mut self, request: &ExportTraceServiceRequest, spans: u64) -> anyhow::Result<u64> {
        self.keep_rate(spans).await;
        let body = request.encode_to_vec();
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let (why, wait) = match post(&self.client, &self.url, body.clone()).await {
                Answer::Accepted { rejected, message } => {
                    if !message.is_empty() {
                        note(&message)?;
                    }
                    return Ok(rejected.min(spans));
                }
                Answer::Rejected(why) => {
                    note(&why)?;
                    return Ok(spans);
                }
                Answer::Lost(why) => bail!("{} takes no OTLP: {why}", self.url),
                Answer::Later { why, after } => (why, after),
            };
            // As long as asked, else longer each time; never two senders in step.
            let wait = wait.unwrap_or(pause).mul_f64(rand::rng().random_range(1.0..1.5));
            if PATIENCE < started.elapsed() + wait {
                bail!("cannot deliver to {}: {why}", self.url);
            }
            note(&format!("{why}; trying again in {:.1} s", wait.as_secs_f64()))?;
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until the spans before these have had their time.
    async fn keep_rate(&mut self, spans: u64) {
        let Some(rate) = self.rate else { return };
        tokio::time::sleep_until(self.due.into()).await;
        self.due = self.due.max(Instant::now()) + Duration::from_secs_f64(spans as f64 / f64::from(rate));
    }
}

/// Progress and complaints go where they do not mix with the counts.
fn note(text: &str) -> anyhow::Result<()> {
    writeln!(stderr().lock(), "{}", visible(text)).context("cannot write to standard error")
}

pub(super) fn spans(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|of_resource| &of_resource.scope_spans);
    scopes.map(|of_scope| of_scope.spans.len() as u64).sum()
}

/// Requests small enough to send: halves, and halves of those, of resources, then scopes, then spans.
fn parts(resource_spans: Vec<ResourceSpans>) -> Vec<ExportTraceServiceRequest> {
    let mut waiting = vec![ExportTraceServiceRequest { resource_spans }];
    let mut parts = Vec::new();
    while let Some(request) = waiting.pop() {
        if request.encoded_len() <= MAX_BODY {
            parts.push(request);
            continue;
        }
        match halves(request) {
            // The second half waits below the first, so that order is kept.
            (first, Some(second)) => waiting.extend([second, first]),
            // One span of that size: the server shall say what it thinks of it.
            (single, None) => parts.push(single),
        }
    }
    parts
}

fn halves(
    mut request: ExportTraceServiceRequest,
) -> (ExportTraceServiceRequest, Option<ExportTraceServiceRequest>) {
    let resources = request.resource_spans.len();
    let rest = if resources > 1 {
        request.resource_spans.split_off(resources / 2)
    } else {
        let Some(of_resource) = request.resource_spans.first_mut() else { return (request, None) };
        let scopes = of_resource.scope_spans.len();
        let scope_spans = if scopes > 1 {
            of_resource.scope_spans.split_off(scopes / 2)
        } else {
            match of_resource.scope_spans.first_mut() {
                Some(of_scope) if of_scope.spans.len() > 1 => {
                    let spans = of_scope.spans.split_off(of_scope.spans.len() / 2);
                    vec![ScopeSpans {
                        spans,
                        scope: of_scope.scope.clone(),
                        schema_url: of_scope.schema_url.clone(),
                    }]
                }
                _ => return (request, None),
            }
        };
        let (resource, schema_url) = (of_resource.resource.clone(), of_resource.schema_url.clone());
        vec![ResourceSpans { resource, scope_spans, schema_url }]
    };
    (request, Some(ExportTraceServiceRequest { resource_spans: rest }))
}

/// Shifts every trace as a whole. All its spans move by the same, also those that come in later requests.
pub(super) fn move_to_now(resource_spans: &mut [ResourceSpans], shifts: &mut HashMap<Vec<u8>, i64>) {
    if MOST_SHIFTS < shifts.len() {
        shifts.clear();
    }
    let mut ends: HashMap<Vec<u8>, u64> = HashMap::new();
    for span in all_spans(resource_spans) {
        let end = ends.entry(span.trace_id.clone()).or_default();
        *end = (*end).max(span.end_time_unix_nano);
    }
    let now = clock::now().unix_timestamp_nanos() as i64;
    for span in all_spans(resource_spans) {
        let end = ends.get(&span.trace_id).copied().unwrap_or_default();
        let shift = *shifts.entry(span.trace_id.clone()).or_insert_with(|| now.wrapping_sub_unsigned(end));
        let events = span.events.iter_mut().map(|event| &mut event.time_unix_nano);
        for time in [&mut span.start_time_unix_nano, &mut span.end_time_unix_nano].into_iter().chain(events) {
            // Zero is no time but the lack of one.
            if *time != 0 {
                *time = time.wrapping_add_signed(shift);
            }
        }
    }
}

fn all_spans(resource_spans: &mut [ResourceSpans]) -> impl Iterator<Item = &mut Span> {
    resource_spans
        .iter_mut()
        .flat_map(|of_resource| &mut of_resource.scope_spans)
        .flat_map(|of_scope| &mut of_scope.spans)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::span::Event;

    use super::*;

    fn span(trace: u8, start: u64, end: u64) -> Span {
        Span {
            trace_id: vec![trace; 16],
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..Span::default()
        }
    }

    fn export(spans: Vec<Span>) -> Vec<ResourceSpans> {
        vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }]
    }

    #[test]
    fn a_trace_moves_as_a_whole_and_ends_now() {
        let mut shifts = HashMap::new();
        let mut first = export(vec![
            Span { events: vec![Event { time_unix_nano: 150, ..Event::default() }], ..span(1, 100, 200) },
            span(1, 120, 300),
            span(2, 5, 0),
        ]);
        move_to_now(&mut first, &mut shifts);
        let mut second = export(vec![span(1, 350, 400)]);
        move_to_now(&mut second, &mut shifts);

        let spans = &first[0].scope_spans[0].spans;
        let now = clock::now().unix_timestamp_nanos() as u64;
        assert!(now - spans[1].end_time_unix_nano < 60_000_000_000);
        assert_eq!(spans[1].end_time_unix_nano - spans[0].start_time_unix_nano, 200);
        assert_eq!(spans[0].events[0].time_unix_nano - spans[0].start_time_unix_nano, 50);
        assert_eq!(spans[2].end_time_unix_nano, 0);
        let late = &second[0].scope_spans[0].spans[0];
        assert_eq!(late.start_time_unix_nano - spans[1].end_time_unix_nano, 50);
    }

    #[test]
    fn a_large_request_goes_in_parts_and_in_order() {
        let big = |number: u64| Span { name: "x".repeat(600_000), ..span(1, number, number) };
        let mut exports = export((0..20).map(big).collect());
        exports.extend(export((20..23).map(big).collect()));
        exports[0].schema_url = "kept".to_owned();
        let parts = parts(exports);
        assert!(parts.iter().all(|part| part.encoded_len() <= MAX_BODY));
        let mut starts = Vec::new();
        for mut part in parts {
            assert_eq!(part.resource_spans[0].schema_url == "kept", starts.len() < 20);
            starts.extend(all_spans(&mut part.resource_spans).map(|span| span.start_time_unix_nano));
        }
        assert_eq!(starts, (0..23).collect::<Vec<u64>>());
        let giant = Span { name: "x".repeat(MAX_BODY), ..span(1, 0, 0) };
        assert_eq!(super::parts(export(vec![giant])).len(), 1);
    }
}
