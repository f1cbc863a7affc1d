//! OTLP over gRPC: frames unary calls by hand, so that a message is admitted, counted and decompressed by the same
//! code as over HTTP, before it takes memory. (A ready-made server buffers it first, and answers one that is too
//! large with a code that OTLP reads as "send it again".)
//!
//! Streaming and reflection are not here.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming as Body;
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::accept::{Encoding, Incoming, Receipt, Refusal, accept};
use super::listen::{self, Reply};
use super::status::Success;
use super::{Door, Signal, health, other_signals, read};
use crate::decode::bounded::Compression;
use crate::telemetry::trace;

/// Before each message: one byte whether it is compressed, four how long it is.
const PREFIX: usize = 5;

/// Longest question about health: a name.
const MOST_QUESTION: usize = 1_024;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Serves OTLP over gRPC until `shutdown` resolves and all calls in flight are answered.
pub async fn serve(
    door: Arc<Door>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = door.connections("grpc");
    listen::serve(listener, limits, shutdown, move |request, peer| {
        let door = Arc::clone(&door);
        async move { answer(&door, request, peer).await }
    })
    .await
}

async fn answer(door: &Door, request: Request<Body>, peer: IpAddr) -> Response<Reply> {
    if !is_grpc(request.headers()) || request.method() != Method::POST {
        return not_grpc();
    }
    match request.uri().path() {
        TRACES => export(door, request, peer, Signal::Traces, TRACES).await,
        LOGS if door.refuses(Signal::Logs) => failure(&Status::unimplemented(other_signals::REFUSED)),
        LOGS => export(door, request, peer, Signal::Logs, LOGS).await,
        METRICS if door.refuses(Signal::Metrics) => failure(&Status::unimplemented(other_signals::REFUSED)),
        METRICS => match read::discard(door, request.into_body(), door.max_request() + PREFIX).await {
            Ok(()) => success(door.notice(peer)),
            Err(refusal) => failure(&refusal.grpc()),
        },
        health::CHECK => match checked(door, request.into_body()).await {
            Ok(message) => framed(&message),
            Err(status) => failure(&status),
        },
        path => failure(&Status::unimplemented(format!(
            "there is no {path:?}; debunk serves TraceService/Export of OTLP"
        ))),
    }
}

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/grpc") && !kind.starts_with(b"application/grpc-web")
    })
}

async fn export(
    door: &Door,
    request: Request<Body>,
    peer: IpAddr,
    signal: Signal,
    path: &'static str,
) -> Response<Reply> {
    let (started, span) = (Instant::now(), trace::grpc(&path[1..]));
    let outcome = take(door, request, signal).instrument(span.clone()).await;
    door.count(signal, "grpc", peer, started, &outcome);
    match outcome {
        Ok(receipt) => {
            trace::end_grpc(&span, Code::Ok);
            success(door.success(signal, peer, &receipt))
        }
        Err(refusal) => {
            let status = refusal.grpc();
            trace::end_grpc(&span, status.code());
            failure(&status)
        }
    }
}

async fn take(door: &Door, request: Request<Body>, signal: Signal) -> Result<Receipt, Refusal> {
    let (parts, body) = request.into_parts();
    let named = compression(&parts.headers)?;
    let (bytes, share) = read::whole(door, body, door.max_request() + PREFIX, announced).await?;
    let (compressed, bytes) = unframe(bytes)?;
    let compression = match (compressed, named) {
        (false, _) => Compression::None,
        (true, Compression::None) => {
            return Err(Refusal::Malformed("a compressed message, but no grpc-encoding".to_owned()));
        }
        (true, named) => named,
    };
    accept(door, Incoming { signal, encoding: Encoding::Protobuf, compression, bytes, share }).await
}

/// Reads a question about health, which is small, and answers it.
async fn checked(door: &Door, body: Body) -> Result<Bytes, Status> {
    let (bytes, _share) =
        read::whole(door, body, MOST_QUESTION + PREFIX, announced).await.map_err(|no| no.grpc())?;
    let (compressed, message) = unframe(bytes).map_err(|malformed| malformed.grpc())?;
    if compressed {
        return Err(Status::unimplemented("no compression here"));
    }
    health::check(message, door.metrics.is_database_up())
}

fn compression(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let Some(name) = headers.get("grpc-encoding") else { return Ok(Compression::None) };
    name.to_str().ok().and_then(Compression::from_name).ok_or_else(|| {
        Refusal::Unsupported(format!("grpc-encoding {name:?} is none of identity, gzip, deflate, zstd"))
    })
}

/// How long the body of a unary call will be.
fn announced(start: &[u8]) -> Option<usize> {
    let length = start.get(1..PREFIX)?.try_into().map(u32::from_be_bytes).ok()?;
    (length as usize).checked_add(PREFIX)
}

/// The one message of a unary call.
fn unframe(mut bytes: Bytes) -> Result<(bool, Bytes), Refusal> {
    let malformed = |why: &str| Refusal::Malformed(why.to_owned());
    if bytes.len() < PREFIX {
        return Err(malformed("no message"));
    }
    let flag = bytes.get_u8();
    let length = bytes.get_u32() as usize;
    match flag {
        0 | 1 if length == bytes.len() => Ok((flag == 1, bytes)),
        0 | 1 if length < bytes.len() => Err(malformed("more than one message")),
        0 | 1 => Err(malformed("the message ends before its time")),
        _ => Err(malformed("byte 0: neither compressed nor uncompressed")),
    }
}

fn success(success: Success) -> Response<Reply> {
    framed(&success.encode(Encoding::Protobuf))
}

/// A call that went well, with its message.
fn framed(message: &[u8]) -> Response<Reply> {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(framed.freeze()).with_trailers(async { Some(Ok(trailers)) });
    with_headers(Response::new(body.boxed_unsync()))
}

/// A call that failed, with nothing but the reason.
pub(super) fn failure(status: &Status) -> Response<Reply> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    // Only metadata can be no header, and there is none.
    status.add_header(response.headers_mut()).expect("codes, escaped text and base64 are headers");
    with_headers(response)
}

fn with_headers(mut response: Response<Reply>) -> Response<Reply> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,deflate,zstd"));
    response
}

/// Somebody took this port for the other one.
fn not_grpc() -> Response<Reply> {
    let text = "this port speaks OTLP over gRPC; OTLP over HTTP has a port of its own, usually 4318\n";
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_carries_exactly_one_message() {
        let framed = |flag: u8, length: u32, message: &[u8]| {
            let mut bytes = vec![flag];
            bytes.extend(length.to_be_bytes());
            bytes.extend(message);
            unframe(bytes.into())
        };
        assert_eq!(framed(0, 3, b"abc"), Ok((false, Bytes::from_static(b"abc"))));
        assert_eq!(framed(1, 0, b""), Ok((true, Bytes::new())));
        for wrong in [
            framed(0, 3, b"ab"),
            framed(0, 3, b"abcd"),
            framed(2, 3, b"abc"),
            unframe(Bytes::from_static(b"\0\0")),
        ] {
            assert!(matches!(wrong, Err(Refusal::Malformed(_))));
        }
    }
}
