//! Accepted and committed spans a second, through both doors, from 1, 16 and 64 exporters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes};
use debunk::config;
use debunk::otlp::{self, Door, Own};
use debunk::store::Writer;
use debunk::telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::database::Database;
use crate::reference;
use crate::traffic::{self, Stamp};

const LONG: Duration = Duration::from_secs(3);
const EXPORTERS: [usize; 3] = [1, 16, 64];
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Transport {
    Grpc,
    Http,
}

pub(crate) async fn run() {
    let stamps = Arc::new(traffic::protobuf());
    let (spans, bytes) =
        stamps.iter().fold((0, 0), |sum, one| (sum.0 + one.spans, sum.1 + one.fresh().len()));
    println!(
        "ingest: {} spans an export, {} B a span; limit: the same rows by COPY, 2 connections, 2,048 a commit",
        spans / stamps.len(),
        bytes / spans
    );
    println!("  door  exporters    spans/s    limit/s  ratio   ack p50   ack p99");
    for transport in [Transport::Grpc, Transport::Http] {
        for exporters in EXPORTERS {
            measure(transport, exporters, &stamps).await;
        }
    }
}

async fn measure(transport: Transport, exporters: usize, stamps: &Arc<Vec<Stamp>>) {
    let database = Database::fresh().await;
    let house = House::open(&database).await;
    let address = house.address(transport);
    let (ours, mut waits) = export(transport, address, exporters, stamps).await;
    house.close().await;
    let limit = reference::rate(&database.options).await;
    waits.sort_unstable();
    let wait = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "  {:<5} {exporters:>9} {ours:>10.0} {limit:>10.0} {:>6.2} {:>6.1} ms {:>6.1} ms",
        format!("{transport:?}").to_lowercase(),
        ours / limit,
        wait(50),
        wait(99),
    );
    database.pool.close().await;
    database.store.close().await;
}

/// Acknowledged spans a second, and how long each acknowledgement took.
async fn export(
    transport: Transport,
    address: SocketAddr,
    exporters: usize,
    stamps: &Arc<Vec<Stamp>>,
) -> (f64, Vec<Duration>) {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for own in 0..exporters {
        let (stamps, acknowledged) = (Arc::clone(stamps), Arc::clone(&acknowledged));
        tasks.spawn(async move {
            let mut sender = Sender::connect(transport, address).await;
            let mut waits = Vec::new();
            for stamp in stamps.iter().cycle().skip(own) {
                let bytes = stamp.fresh();
                let sent = Instant::now();
                if LONG < begun.elapsed() {
                    break;
                }
                sender.send(bytes).await;
                waits.push(sent.elapsed());
                acknowledged.fetch_add(stamp.spans, Ordering::Relaxed);
            }
            waits
        });
    }
    let waits: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    (acknowledged.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64(), waits)
}

/// Both listeners of a door before a real database.
struct House {
    grpc: SocketAddr,
    http: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl House {
    async fn open(database: &Database) -> Self {
        let limits = config::Otlp::default();
        let metrics = Metrics::new();
        let capacity = limits.max_in_flight.0 as usize;
        let (writer, work) = Writer::start(database.store.clone(), metrics.clone(), capacity);
        let door = Door::new(
            &limits,
            Own::Rejected,
            Duration::from_hours(7 * 24),
            database.store.clone(),
            writer,
            metrics,
        );
        let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (grpc, http) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let stop = watch::Sender::new(false);
        let stopped = |mut stop: watch::Receiver<bool>| async move {
            stop.wait_for(|stop| *stop).await.unwrap();
        };
        let (first, second) = (stopped(stop.subscribe()), stopped(stop.subscribe()));
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        let grpc_door = Arc::clone(&door);
        tasks.spawn(async move { otlp::grpc::serve(grpc_door, one, first).await.unwrap() });
        tasks.spawn(async move { otlp::http::serve(door, other, second).await.unwrap() });
        Self { grpc, http, stop, tasks }
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Grpc => self.grpc,
            Transport::Http => self.http,
        }
    }

    async fn close(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
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

/// A codec that passes bytes through: a message is encoded before the clock starts.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
