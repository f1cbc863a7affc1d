//! `selftest`: sends one trace whose fault is known through a running server, and says when its spans, its finding
//! and what receivers are told of it could be read back.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use rand::Rng as _;
use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::post::{self, Answer, address, chain, post};
use super::{period, print, send};
use crate::findings::life::CANARY;
use crate::model::TraceId;
use crate::sketch::{self, visible};

/// Send a trace with a known fault through a running server, and time its way
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where spans go: OTLP over HTTP; `/v1/traces` is added where there is no path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318")]
    pub to: String,
    /// Where findings are read.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4320")]
    pub api: String,
    /// How long to wait for each step: the server's quiet period and more.
    #[arg(long, value_name = "PERIOD", default_value = "60s", value_parser = period)]
    pub timeout: Duration,
}

/// Found at once, by what the peer recorded: one trace is enough to open it.
const RULE: &str = "retry_non_idempotent";
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Prints each step's time. Exits with 1 where a step fails or takes too long.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (client, to) = (post::client()?, address(&args.to)?);
    let api = Api { client: client.clone(), base: address(&args.api)?, timeout: args.timeout };
    match watch(&client, &to, &api).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            print(&format!("failed     {}\n", visible(&format!("{error:#}"))))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn watch(client: &reqwest::Client, to: &Url, api: &Api) -> anyhow::Result<()> {
    let (trace, request) = canary();
    let spans = send::spans(&request);
    let begun = Instant::now();
    match post(client, to, request.encode_to_vec()).await {
        Answer::Accepted { rejected: 0, .. } => say("accepted", begun, &format!("{spans} spans"))?,
        Answer::Accepted { rejected, message } => bail!("{rejected} spans were rejected: {message}"),
        Answer::Rejected(why) | Answer::Lost(why) | Answer::Later { why, .. } => bail!("{to}: {why}"),
    }
    let shown = format!("traces/{trace}");
    api.wait("the trace", &shown, |body| (body["span_count"] == spans).then_some(())).await?;
    say("stored", begun, &api.link(&shown))?;

    let found = |body: &Value| {
        let all = body["occurrences"].as_array()?;
        let ours = all.iter().find(|occurrence| occurrence["rule"] == RULE)?;
        Some(ours["finding"].as_str()?.to_owned())
    };
    let finding = api.wait(&format!("a finding of {RULE} in the trace"), &shown, found).await?;
    let shown = format!("findings/{finding}");
    api.wait("an open finding", &shown, |body| (body["status"] == "open").then_some(())).await?;
    say("finding", begun, &api.link(&shown))?;

    // Written together with the finding: what is not there now will not come.
    let ended = api.wait("its deliveries", &format!("deliveries?finding={finding}"), deliveries).await?;
    if ended.is_empty() {
        return print(&format!("delivery   nobody is told: no receiver names {CANARY} in `services`\n"))
            .context("cannot write");
    }
    for (receiver, delivered) in ended {
        if !delivered {
            bail!("the delivery to {receiver} is dead");
        }
        say("delivery", begun, &receiver)?;
    }
    Ok(())
}

/// Who was told, and whether they took it; nothing while a delivery still waits.
fn deliveries(body: &Value) -> Option<Vec<(String, bool)>> {
    let all = body["items"].as_array()?.iter();
    all.map(|one| match (one["receiver"].as_str()?, one["state"].as_str()?) {
        (_, "pending") => None,
        (receiver, state) => Some((receiver.to_owned(), state == "delivered")),
    })
    .collect()
}

fn say(step: &str, begun: Instant, more: &str) -> anyhow::Result<()> {
    let took_ms = begun.elapsed().as_secs_f64() * 1e3;
    print(&format!("{step:<9} {took_ms:>9.1} ms  {}\n", visible(more))).context("cannot write")
}

/// The API of the server.
struct Api {
    client: reqwest::Client,
    base: Url,
    timeout: Duration,
}

impl Api {
    /// Asks until the answer holds what is wanted. A trace or finding that is not there may still come; a server that
    /// cannot answer is a failure.
    async fn wait<T>(
        &self,
        what: &str,
        path: &str,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        let url = self.base.join(&format!("/api/v1/{path}")).context("no such address")?;
        let begun = Instant::now();
        while begun.elapsed() < self.timeout {
            let answer = self.client.get(url.clone()).send().await;
            let answer = answer.map_err(|error| anyhow::anyhow!("{}", chain(&error)))?;
            let status = answer.status();
            let body: Value = answer.json().await.unwrap_or_default();
            if status.is_success() {
                if let Some(found) = wanted(&body) {
                    return Ok(found);
                }
            } else if status != StatusCode::NOT_FOUND {
                let detail = body["detail"].as_str().unwrap_or_default();
                bail!("{url} answered {status} {detail}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("{what} did not come within {:?} ({url})", self.timeout)
    }

    fn link(&self, path: &str) -> String {
        self.base.join(&format!("/{path}")).map_or_else(|_| path.to_owned(), |url| url.to_string())
    }
}

/// A charge that was sent twice and taken twice. Each canary has an operation of its own, so that its finding is a new
/// one and whoever is to be told is told.
fn canary() -> (TraceId, ExportTraceServiceRequest) {
    let mut random = rand::rng();
    let trace = TraceId(random.random_range(1..=u128::MAX));
    let letters: String = (0..12).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
    let drawing = sketch::parse(&drawing(&letters)).expect("the drawing is ours, and a test reads it");
    let mut resource_spans: Vec<ResourceSpans> = drawing
        .spans
        .into_iter()
        .map(|mut received| {
            received.span.trace_id = trace.0.to_be_bytes().to_vec();
            ResourceSpans {
                resource: Some((*received.resource).clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some((*received.scope).clone()),
                    spans: vec![received.span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }
        })
        .collect();
    send::move_to_now(&mut resource_spans, &mut HashMap::new());
    (trace, ExportTraceServiceRequest { resource_spans })
}

fn drawing(letters: &str) -> String {
    format!(
        "|==============================| {CANARY}  server  POST /canary/{letters}\n\
         | =========x                   |   {CANARY}  client  POST peer/charge  {{exception.type=ReadTimeout}}\n\
         |  ==============              |     {CANARY}.peer  server  POST /charge\n\
         |             ==               |       {CANARY}.peer  db  INSERT INTO charges VALUES (?)\n\
         |                 =====        |   {CANARY}  client  POST peer/charge  {{http.request.resend_count=1}}\n\
         |                  ===         |     {CANARY}.peer  server  POST /charge\n\
         |                  ==          |       {CANARY}.peer  db  INSERT INTO charges VALUES (?)\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_a_trace_of_its_own() {
        let ((first, request), (second, _)) = (canary(), canary());
        assert_ne!(first, second);
        let spans = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans[0].spans);
        assert!(spans.clone().all(|span| span.trace_id == first.0.to_be_bytes()));
        assert_eq!(spans.count(), 7);
    }

    #[test]
    fn a_delivery_that_waits_is_waited_for() {
        let of = |states: &[&str]| {
            let items: Vec<Value> =
                states.iter().map(|state| serde_json::json!({"receiver": "ops", "state": state})).collect();
            deliveries(&serde_json::json!({"items": items}))
        };
        assert_eq!(of(&[]), Some(Vec::new()));
        assert_eq!(of(&["delivered", "pending"]), None);
        let both = [("ops".to_owned(), true), ("ops".to_owned(), false)];
        assert_eq!(of(&["delivered", "dead"]).as_deref(), Some(both.as_slice()));
    }
}
