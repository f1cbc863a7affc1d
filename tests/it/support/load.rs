//! Exporters under faults: they send until told to stop, repeat what was not acknowledged, and remember what was.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

use super::process::Process;
use super::raw::Raw;
use super::traffic::{Key, request};
use super::transport::EXPORT;

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What an exporter makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// There is no room for it now. This and the next are said in the protocol's own words, with a hint when to come
    /// again.
    Full,
    /// The database cannot store it now.
    Away,
    /// No answer: nobody knows.
    Broken,
}

/// One exporter with one connection, which it makes again when it breaks.
pub(crate) enum Exporter {
    Grpc(Grpc<Channel>),
    Http(reqwest::Client, String),
}

impl Exporter {
    pub(crate) fn grpc(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(PATIENCE);
        Self::Grpc(Grpc::new(endpoint.connect_lazy()))
    }

    pub(crate) fn http(address: SocketAddr) -> Self {
        Self::Http(super::client_for(PATIENCE), format!("http://{address}/v1/traces"))
    }

    /// Sends it until it is accepted.
    pub(crate) async fn deliver(&mut self, export: &ExportTraceServiceRequest) {
        let begun = Instant::now();
        while self.send(export).await != Answer::Accepted {
            assert!(begun.elapsed() < PATIENCE, "it is not accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends it once.
    pub(crate) async fn send(&mut self, export: &ExportTraceServiceRequest) -> Answer {
        self.send_encoded(export.encode_to_vec().into()).await
    }

    /// The same, encoded. Any answer that the protocol does not provide for fails the test.
    async fn send_encoded(&mut self, export: Bytes) -> Answer {
        match self {
            Self::Grpc(client) => {
                if client.ready().await.is_err() {
                    return Answer::Broken;
                }
                let path = http::uri::PathAndQuery::from_static(EXPORT);
                match client.unary(tonic::Request::new(export), path, Raw).await {
                    Ok(reply) => {
                        let reply = ExportTraceServiceResponse::decode(reply.into_inner()).unwrap();
                        assert_eq!(reply.partial_success, None);
                        Answer::Accepted
                    }
                    Err(status) => {
                        let hint = status.get_details_retry_info().and_then(|info| info.retry_delay);
                        if hint.is_some_and(|hint| Duration::ZERO < hint) {
                            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                            return refused(status.message().as_bytes());
                        }
                        // Ours always say when to come again; these are the client's own words for a broken connection.
                        assert!(is_broken(&status), "{status:?}");
                        Answer::Broken
                    }
                }
            }
            Self::Http(client, url) => {
                let request = client.post(url.as_str()).header("content-type", "application/x-protobuf");
                let Ok(answer) = request.body(export).send().await else {
                    return Answer::Broken;
                };
                let status = answer.status().as_u16();
                let hint = answer.headers().get("retry-after").cloned();
                let Ok(body) = answer.bytes().await else { return Answer::Broken };
                if status == 200 {
                    assert!(body.is_empty(), "rejected");
                    return Answer::Accepted;
                }
                assert_eq!(status, 503);
                let hint: u64 = hint.expect("a hint").to_str().unwrap().parse().unwrap();
                assert!(0 < hint);
                refused(&body)
            }
        }
    }
}

/// Which refusal it was, by its words.
fn refused(said: &[u8]) -> Answer {
    let full = b"too many ";
    if said.windows(full.len()).any(|words| words == full) { Answer::Full } else { Answer::Away }
}

fn is_broken(status: &tonic::Status) -> bool {
    use tonic::Code::{Cancelled, Internal, Unavailable, Unknown};
    matches!(status.code(), Cancelled | Internal | Unavailable | Unknown) && status.details().is_empty()
}

/// What a load saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: BTreeSet<Key>,
    /// Exporters that had something acknowledged.
    pub(crate) served: BTreeSet<usize>,
    /// How long each acknowledgement took.
    pub(crate) waits: Vec<Duration>,
    /// How long it took to hear that there is no room.
    pub(crate) full: Vec<Duration>,
    pub(crate) away: usize,
    pub(crate) broken: usize,
}

impl Tally {
    /// Answers that were no success, and none at all.
    pub(crate) fn failed(&self) -> usize {
        self.full.len() + self.away + self.broken
    }

    /// The time within which 99 of 100 heard that there is no room.
    pub(crate) fn full_p99(&self) -> Duration {
        p99(&self.full)
    }

    /// The time within which 99 of 100 were acknowledged.
    pub(crate) fn acknowledged_p99(&self) -> Duration {
        p99(&self.waits)
    }
}

fn p99(waits: &[Duration]) -> Duration {
    let mut waits = waits.to_vec();
    waits.sort_unstable();
    waits.get(waits.len() * 99 / 100).copied().unwrap_or_default()
}

/// How long an exporter pauses after an answer.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) after_success: Duration,
    pub(crate) after_failure: Duration,
}

impl Default for Pace {
    /// As fast as it goes; after a failure sooner than told, so that a short test sees more.
    fn default() -> Self {
        Self { after_success: Duration::ZERO, after_failure: Duration::from_millis(20) }
    }
}

/// Exporters at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    tasks: JoinSet<()>,
}

impl Load {
    /// So many exporters, by turns over gRPC and HTTP, each with so many spans at once.
    pub(crate) fn start(process: &Process, exporters: usize, spans: usize) -> Self {
        Self::paced(process, exporters, spans, Pace::default())
    }

    /// The same, at a pace.
    pub(crate) fn paced(process: &Process, exporters: usize, spans: usize, pace: Pace) -> Self {
        let mut load = Self { stop: Arc::default(), tally: Arc::default(), tasks: JoinSet::new() };
        for number in 0..exporters {
            let mut exporter =
                if number % 2 == 0 { Exporter::grpc(process.grpc) } else { Exporter::http(process.http) };
            let (stop, tally) = (Arc::clone(&load.stop), Arc::clone(&load.tally));
            load.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    deliver(&mut exporter, number, spans, pace, &stop, &tally).await;
                }
            });
        }
        load
    }

    /// A look at what it saw so far.
    pub(crate) fn see<T>(&self, look: impl FnOnce(&Tally) -> T) -> T {
        look(&self.tally.lock().unwrap())
    }

    /// Waits until something more is acknowledged; returns how long that took.
    pub(crate) async fn acknowledged_again(&self) -> Duration {
        let before = self.see(|tally| tally.acknowledged.len());
        self.until(|tally| before < tally.acknowledged.len()).await
    }

    /// Waits until what it saw is enough; returns how long that took.
    pub(crate) async fn until(&self, enough: impl Fn(&Tally) -> bool) -> Duration {
        let begun = Instant::now();
        while !self.see(&enough) {
            assert!(begun.elapsed() < PATIENCE, "it does not come: {}", self.see(summary));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    }

    /// Ends it, each exporter after its answer.
    pub(crate) async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

fn summary(tally: &Tally) -> String {
    let Tally { acknowledged, full, away, broken, .. } = tally;
    format!("{} acknowledged, {} full, {away} away, {broken} broken", acknowledged.len(), full.len())
}

/// Sends one new export until it is accepted.
async fn deliver(
    exporter: &mut Exporter,
    number: usize,
    spans: usize,
    pace: Pace,
    stop: &AtomicBool,
    tally: &Mutex<Tally>,
) {
    let (export, keys) = request(spans);
    let export = Bytes::from(export.encode_to_vec());
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let answer = exporter.send_encoded(export.clone()).await;
        {
            let mut tally = tally.lock().unwrap();
            match answer {
                Answer::Accepted => {
                    tally.acknowledged.extend(&keys);
                    tally.served.insert(number);
                    tally.waits.push(sent.elapsed());
                }
                Answer::Full => tally.full.push(sent.elapsed()),
                Answer::Away => tally.away += 1,
                Answer::Broken => tally.broken += 1,
            }
        }
        if answer == Answer::Accepted {
            return tokio::time::sleep(pace.after_success).await;
        }
        tokio::time::sleep(pace.after_failure).await;
    }
}
