//! A door on a real database, and senders that are not ours: tonic's client and reqwest.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use debunk::config;
use debunk::otlp::{self, Door, Own};
use debunk::store::{Store, Writer};
use debunk::telemetry::Metrics;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_types::{StatusExt, pb};

use crate::support::database::Database;

pub(super) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// Both listeners of a door, with or without a database behind it.
pub(super) struct House {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) metrics: Metrics,
    database: Option<Database>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl House {
    pub(super) async fn open() -> Self {
        Self::with(config::Otlp::default()).await
    }

    pub(super) async fn with(limits: config::Otlp) -> Self {
        let database = Database::fresh().await;
        let store = database.store.clone();
        Self { database: Some(database), ..Self::on(store, limits).await }
    }

    /// Another door before the same database.
    pub(super) async fn replica(&self, limits: config::Otlp) -> Self {
        Self::on(self.database.as_ref().unwrap().store.clone(), limits).await
    }

    /// Nobody listens where the database should be.
    pub(super) async fn without_database() -> Self {
        let nowhere = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1).username("nobody");
        let settings =
            config::Database { connect_timeout: config::Period::secs(1), ..config::Database::default() };
        Self::on(Store::new(&nowhere, &settings), config::Otlp::default()).await
    }

    async fn on(store: Store, limits: config::Otlp) -> Self {
        let metrics = Metrics::new();
        let (writer, work) = Writer::start(store.clone(), metrics.clone(), 64 << 20);
        let door =
            Door::new(&limits, Own::Rejected, Duration::from_hours(7 * 24), store, writer, metrics.clone());
        let [one, other] = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
        let (one, other) = (one.unwrap(), other.unwrap());
        let (grpc, http) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let stop = watch::Sender::new(false);
        let stopped = |mut stop: watch::Receiver<bool>| async move {
            stop.wait_for(|stop| *stop).await.unwrap();
        };
        let (first, second) = (stopped(stop.subscribe()), stopped(stop.subscribe()));
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        let grpc_door = std::sync::Arc::clone(&door);
        tasks.spawn(async move { otlp::grpc::serve(grpc_door, one, first).await.unwrap() });
        tasks.spawn(async move { otlp::http::serve(door, other, second).await.unwrap() });
        Self { grpc, http, metrics, database: None, stop, tasks }
    }

    /// Spans that are stored.
    pub(super) async fn stored(&self) -> i64 {
        let pool = &self.database.as_ref().unwrap().pool;
        sqlx::query_scalar("select count(*) from spans").fetch_one(pool).await.unwrap()
    }

    /// Spans that are stored and began since yesterday.
    pub(super) async fn stored_since_yesterday(&self) -> i64 {
        let pool = &self.database.as_ref().unwrap().pool;
        let query =
            "select count(*) from spans where to_timestamp(start_ns / 1e9) > now() - interval '1 day'";
        sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
    }

    /// Spans whose stored bytes hold this text.
    pub(super) async fn stored_with(&self, text: &str) -> i64 {
        let pool = &self.database.as_ref().unwrap().pool;
        let query = "select count(*) from spans where position(convert_to($1, 'UTF8') in rest) > 0 or position($1 in name) > 0";
        sqlx::query_scalar(query).bind(text).fetch_one(pool).await.unwrap()
    }

    /// The value of a metric.
    pub(super) fn metric(&self, name: &str) -> Option<String> {
        let text = self.metrics.expose();
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next().map(ToOwned::to_owned)
    }

    /// Tells both listeners and the writers to end, and waits for them.
    pub(super) async fn close(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
    }
}

/// The three ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

pub(super) const TRANSPORTS: [Transport; 3] = [Transport::Grpc, Transport::HttpProtobuf, Transport::HttpJson];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Deflate,
    Zstd,
}

pub(super) const PACKINGS: [Packing; 4] = [Packing::None, Packing::Gzip, Packing::Deflate, Packing::Zstd];

/// What a sender of any transport makes of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Partial { rejected: i64, message: String },
    Malformed(String),
    TooLarge,
    Later(Duration),
    Unsupported,
    Other(String),
}

impl Transport {
    pub(super) fn encode(self, request: &ExportTraceServiceRequest) -> Vec<u8> {
        match self {
            Self::Grpc | Self::HttpProtobuf => request.encode_to_vec(),
            Self::HttpJson => serde_json::to_vec(request).unwrap(),
        }
    }

    pub(super) async fn export(self, house: &House, request: &ExportTraceServiceRequest) -> Answer {
        self.send(house, self.encode(request), Packing::None).await
    }

    pub(super) async fn send(self, house: &House, body: Vec<u8>, packing: Packing) -> Answer {
        let sending = async {
            match self {
                Self::Grpc => send_grpc(house, body, packing).await,
                Self::HttpProtobuf => send_http(house, "application/x-protobuf", body, packing).await,
                Self::HttpJson => send_http(house, "application/json", body, packing).await,
            }
        };
        tokio::time::timeout(PATIENCE, sending).await.unwrap()
    }
}

/// Calls any method with bytes that need be no message.
pub(super) async fn call(
    house: &House,
    path: &'static str,
    body: Vec<u8>,
    packing: Packing,
    named: Option<&'static str>,
) -> Result<Bytes, tonic::Status> {
    call_at(house.grpc, path, body, packing, named).await
}

/// The same, at any port.
pub(super) async fn call_at(
    address: SocketAddr,
    path: &'static str,
    body: Vec<u8>,
    packing: Packing,
    named: Option<&'static str>,
) -> Result<Bytes, tonic::Status> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    let encoding = match packing {
        Packing::None => None,
        Packing::Gzip => Some(CompressionEncoding::Gzip),
        Packing::Deflate => Some(CompressionEncoding::Deflate),
        Packing::Zstd => Some(CompressionEncoding::Zstd),
    };
    if let Some(encoding) = encoding {
        client = client.send_compressed(encoding);
    }
    client.ready().await.unwrap();
    let mut request = tonic::Request::new(Bytes::from(body));
    if let Some(named) = named {
        request.metadata_mut().insert("grpc-encoding", named.parse().unwrap());
    }
    let path = ::http::uri::PathAndQuery::from_static(path);
    client.unary(request, path, Raw).await.map(tonic::Response::into_inner)
}

async fn send_grpc(house: &House, body: Vec<u8>, packing: Packing) -> Answer {
    match call(house, EXPORT, body, packing, None).await {
        Ok(reply) => success(ExportTraceServiceResponse::decode(reply).unwrap()),
        Err(status) => {
            let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
            failure(status.code(), status.message(), retry)
        }
    }
}

fn success(response: ExportTraceServiceResponse) -> Answer {
    match response.partial_success {
        None => Answer::Accepted,
        Some(partial) => Answer::Partial { rejected: partial.rejected_spans, message: partial.error_message },
    }
}

fn failure(code: tonic::Code, message: &str, retry: Option<Duration>) -> Answer {
    match (code, retry) {
        (tonic::Code::Unavailable, Some(after)) => Answer::Later(after),
        (tonic::Code::InvalidArgument, None) => Answer::Malformed(message.to_owned()),
        (tonic::Code::ResourceExhausted, None) => Answer::TooLarge,
        (tonic::Code::Unimplemented, None) => Answer::Unsupported,
        _ => Answer::Other(format!("{code:?} {message} {retry:?}")),
    }
}

pub(super) fn client() -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap()
}

async fn send_http(house: &House, kind: &str, body: Vec<u8>, packing: Packing) -> Answer {
    let url = format!("http://{}/v1/traces", house.http);
    let mut request = client().post(url).header("content-type", kind);
    if packing != Packing::None {
        request = request.header("content-encoding", format!("{packing:?}").to_lowercase());
    }
    let response = request.body(pack(packing, &body)).send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], kind, "{status}");
    let after = response.headers().get("retry-after").map(|after| after.to_str().unwrap().parse().unwrap());
    let body = response.bytes().await.unwrap();
    if status == 200 {
        return if kind == "application/json" {
            json_success(&body)
        } else {
            success(Message::decode(body).unwrap())
        };
    }
    let (code, message) = if kind == "application/json" {
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
        (status["code"].as_i64().unwrap() as i32, status["message"].as_str().unwrap().to_owned())
    } else {
        let status = pb::Status::decode(body).unwrap();
        (status.code, status.message)
    };
    let expected = match status {
        400 => tonic::Code::InvalidArgument,
        413 => tonic::Code::ResourceExhausted,
        415 => tonic::Code::Unimplemented,
        503 => tonic::Code::Unavailable,
        _ => return Answer::Other(format!("{status} {message}")),
    };
    assert_eq!(tonic::Code::from_i32(code), expected, "{status} {message}");
    failure(expected, &message, after.map(Duration::from_secs))
}

fn json_success(body: &[u8]) -> Answer {
    let reply: serde_json::Value = serde_json::from_slice(body).unwrap();
    if reply == serde_json::json!({}) {
        return Answer::Accepted;
    }
    let partial = &reply["partialSuccess"];
    Answer::Partial {
        rejected: partial["rejectedSpans"].as_str().unwrap().parse().unwrap(),
        message: partial["errorMessage"].as_str().unwrap().to_owned(),
    }
}

pub(super) fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    match packing {
        Packing::None => bytes.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// A body that begins, and goes on when told to.
pub(super) fn slow_body(first: usize) -> (tokio::sync::mpsc::Sender<Bytes>, reqwest::Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let first = Bytes::from(vec![b' '; first]);
    let rest = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let chunks = futures::StreamExt::chain(futures::stream::iter([first]), rest);
    let chunks = futures::StreamExt::map(chunks, Ok::<_, std::io::Error>);
    (sender, reqwest::Body::wrap_stream(chunks))
}

/// A codec that passes bytes through, so that a test may send anything.
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

/// Spans of one trace, as an SDK would send them.
pub(super) fn request(trace: u8, count: u64) -> ExportTraceServiceRequest {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    let start = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let start = start.unix_timestamp_nanos() as u64;
    let span = |number: u64| Span {
        trace_id: vec![trace; 16],
        span_id: number.to_be_bytes().to_vec(),
        name: format!("GET /{number}"),
        kind: 2,
        start_time_unix_nano: start + number * 1_000_000,
        end_time_unix_nano: start + number * 1_000_000 + 500_000,
        attributes: vec![attribute("http.request.method", "GET"), attribute("url.path", "/")],
        ..Span::default()
    };
    let resource = Resource { attributes: vec![attribute("service.name", "shop")], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans: (1..=count).map(span).collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
            ..ResourceSpans::default()
        }],
    }
}

pub(super) fn spans(request: &mut ExportTraceServiceRequest) -> &mut Vec<Span> {
    &mut request.resource_spans[0].scope_spans[0].spans
}
