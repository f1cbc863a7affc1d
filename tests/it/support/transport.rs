//! Senders that are not ours, over every way in: tonic's client and reqwest, with any bytes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic_types::{StatusExt, pb};

use super::process::Process;
use super::raw::Raw;

pub(crate) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Where to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl From<&Process> for Doors {
    fn from(process: &Process) -> Self {
        Self { grpc: process.grpc, http: process.http }
    }
}

/// The three ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

pub(crate) const TRANSPORTS: [Transport; 3] = [Transport::Grpc, Transport::HttpProtobuf, Transport::HttpJson];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Deflate,
    Zstd,
}

pub(crate) const PACKINGS: [Packing; 4] = [Packing::None, Packing::Gzip, Packing::Deflate, Packing::Zstd];

/// What a sender of any transport makes of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Partial { rejected: i64, message: String },
    Malformed(String),
    TooLarge,
    Later(Duration),
    Unsupported,
    Other(String),
}

impl Transport {
    pub(crate) fn encode(self, request: &ExportTraceServiceRequest) -> Vec<u8> {
        match self {
            Self::Grpc | Self::HttpProtobuf => request.encode_to_vec(),
            Self::HttpJson => serde_json::to_vec(request).unwrap(),
        }
    }

    pub(crate) async fn export(self, to: impl Into<Doors>, request: &ExportTraceServiceRequest) -> Answer {
        self.send(to, self.encode(request), Packing::None).await
    }

    pub(crate) async fn send(self, to: impl Into<Doors>, body: Vec<u8>, packing: Packing) -> Answer {
        let to = to.into();
        let sending = async {
            match self {
                Self::Grpc => send_grpc(to, body, packing).await,
                Self::HttpProtobuf => send_http(to, "application/x-protobuf", body, packing).await,
                Self::HttpJson => send_http(to, "application/json", body, packing).await,
            }
        };
        tokio::time::timeout(PATIENCE, sending).await.unwrap()
    }
}

/// Calls any method with bytes that need be no message.
pub(crate) async fn call(
    to: impl Into<Doors>,
    path: &'static str,
    body: Vec<u8>,
    packing: Packing,
    named: Option<&'static str>,
) -> Result<Bytes, tonic::Status> {
    call_at(to.into().grpc, path, body, packing, named).await
}

/// The same, at any port.
pub(crate) async fn call_at(
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

async fn send_grpc(to: Doors, body: Vec<u8>, packing: Packing) -> Answer {
    match call(to, EXPORT, body, packing, None).await {
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

pub(crate) fn client() -> reqwest::Client {
    built(reqwest::Client::builder())
}

/// A client that speaks HTTP/2 without being asked to.
pub(crate) fn http2_client() -> reqwest::Client {
    built(reqwest::Client::builder().http2_prior_knowledge())
}

fn built(builder: reqwest::ClientBuilder) -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    builder.timeout(PATIENCE).no_proxy().build().unwrap()
}

async fn send_http(to: Doors, kind: &str, body: Vec<u8>, packing: Packing) -> Answer {
    let url = format!("http://{}/v1/traces", to.http);
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

pub(crate) fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
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
pub(crate) fn slow_body(first: usize) -> (tokio::sync::mpsc::Sender<Bytes>, reqwest::Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let first = Bytes::from(vec![b' '; first]);
    let rest = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let chunks = futures::StreamExt::chain(futures::stream::iter([first]), rest);
    let chunks = futures::StreamExt::map(chunks, Ok::<_, std::io::Error>);
    (sender, reqwest::Body::wrap_stream(chunks))
}
