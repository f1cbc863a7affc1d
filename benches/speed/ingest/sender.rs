//! Exporters: real clients of both protocols, whose messages are encoded before the clock starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::cpu::EXPORTER;
use crate::raw::Raw;
use crate::traffic::Stamp;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Grpc,
    Http,
}

/// How to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) transport: Transport,
    pub(crate) exporters: usize,
    pub(crate) long: Duration,
    /// From the start of one export to that of the next; zero sends as fast as answers come.
    pub(crate) pace: Duration,
    /// Each export again, as soon as it is acknowledged.
    pub(crate) twice: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) spans: usize,
    pub(crate) seconds: f64,
    /// Sorted; from when an export was due to its answer.
    pub(crate) waits: Vec<Duration>,
}

impl Sent {
    pub(crate) fn rate(&self) -> f64 {
        self.spans as f64 / self.seconds
    }

    /// Milliseconds.
    pub(crate) fn wait(&self, percent: usize) -> f64 {
        self.waits[(self.waits.len() * percent / 100).min(self.waits.len() - 1)].as_secs_f64() * 1e3
    }
}

/// Threads of their own, so that their work can be told from ours.
pub(crate) fn threads() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name(EXPORTER).enable_all().build().unwrap()
}

/// Sends for a while.
pub(crate) async fn send(
    threads: &Runtime,
    address: SocketAddr,
    load: Load,
    stamps: &Arc<Vec<Stamp>>,
) -> Sent {
    let stamps = Arc::clone(stamps);
    let all = async move {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for own in 0..load.exporters {
            tasks.spawn(export(address, load, Arc::clone(&stamps), own, begun));
        }
        let (spans, waits): (Vec<usize>, Vec<Vec<Duration>>) = tasks.join_all().await.into_iter().unzip();
        let mut waits: Vec<Duration> = waits.into_iter().flatten().collect();
        waits.sort_unstable();
        Sent { spans: spans.into_iter().sum(), seconds: begun.elapsed().as_secs_f64(), waits }
    };
    threads.spawn(all).await.unwrap()
}

async fn export(
    address: SocketAddr,
    load: Load,
    stamps: Arc<Vec<Stamp>>,
    own: usize,
    begun: Instant,
) -> (usize, Vec<Duration>) {
    let mut sender = Sender::connect(load.transport, address).await;
    let (mut spans, mut waits) = (0, Vec::new());
    // Exporters do not send in step.
    let offset = load.pace * own as u32 / load.exporters as u32;
    for (number, stamp) in stamps.iter().cycle().skip(own).enumerate() {
        let due = begun + offset + load.pace * number as u32;
        let bytes = stamp.fresh();
        tokio::time::sleep_until(due.into()).await;
        let due = if load.pace.is_zero() { Instant::now() } else { due };
        if load.long < begun.elapsed() {
            break;
        }
        let again = load.twice.then(|| bytes.clone());
        sender.send(bytes).await;
        waits.push(due.elapsed());
        spans += stamp.spans;
        if let Some(bytes) = again {
            sender.send(bytes).await;
            spans += stamp.spans;
        }
    }
    (spans, waits)
}

/// One exporter with one connection.
enum Sender {
    Grpc(tonic::client::Grpc<tonic::transport::Channel>),
    Http(reqwest::Client, String),
}

impl Sender {
    async fn connect(transport: Transport, address: SocketAddr) -> Self {
        match transport {
            Transport::Grpc => {
                let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
                Self::Grpc(tonic::client::Grpc::new(endpoint.connect().await.unwrap()))
            }
            Transport::Http => {
                // The second call in one process finds it installed.
                let _already = rustls::crypto::ring::default_provider().install_default();
                let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
                Self::Http(client, format!("http://{address}/v1/traces"))
            }
        }
    }

    /// Comes back when the export is acknowledged whole.
    async fn send(&mut self, bytes: Vec<u8>) {
        let reply = match self {
            Self::Grpc(client) => {
                client.ready().await.unwrap();
                let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                let path = http::uri::PathAndQuery::from_static(path);
                let request = tonic::Request::new(Bytes::from(bytes));
                client.unary(request, path, Raw).await.unwrap().into_inner()
            }
            Self::Http(client, url) => {
                let request = client.post(url.as_str()).header("content-type", "application/x-protobuf");
                let response = request.body(bytes).send().await.unwrap();
                assert_eq!(response.status(), 200);
                response.bytes().await.unwrap()
            }
        };
        assert!(reply.is_empty(), "some spans were rejected");
    }
}
